package record

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"kimberlite/internal/fault"
)

// everything is a payload with each kind of event and each awkward value.
func everything() *Payload {
	values := []Value{
		nil, int64(0), int64(-1), int64(math.MinInt64), int64(math.MaxInt64), int64(1 << 40),
		0.0, math.Copysign(0, -1), math.NaN(), math.Float64frombits(0xfff8dead0000beef), math.Inf(1), math.Inf(-1), math.SmallestNonzeroFloat64,
		"", "a\x00b", "\xff\xfe not UTF-8 \xc3(", "日本語", []byte{}, []byte{0, 255}, bytes.Repeat([]byte{7}, 300),
	}
	changed := append([]Value(nil), values...)
	changed[1], changed[6], changed[8], changed[13], changed[17] = 0.0, math.Copysign(0, -1), nil, []byte{}, ""
	return &Payload{Txns: []Txn{
		{},
		{
			IdempotencyKey: strings.Repeat("k", MaxIdempotencyKey),
			Fingerprint:    [16]byte{1, 2, 15: 16},
			Result:         Result{RowsAffected: math.MaxInt64, LastInsertID: math.MinInt64, FirstOffset: math.MaxUint64},
			Events: []Event{
				{Kind: StreamCreated, Stream: 1, Name: "patients", StreamKind: TableStream, SchemaVersion: 1, Columns: []Column{
					{Name: "id", Type: "INTEGER", Key: 1}, {Name: "na\xffme"}, {Name: "", Type: "VARCHAR(10)", Key: math.MaxUint32},
				}},
				{Kind: StreamCreated, Stream: math.MaxUint64, Name: "vitals", StreamKind: EventStream},
				{Kind: StreamAltered, Stream: 1, Name: "people", StreamKind: TableStream, SchemaVersion: 2},
				{Kind: StreamDropped, Stream: 9},
				{Kind: Schema, SQL: "CREATE TABLE patients(id INTEGER PRIMARY KEY)"},
				{Kind: RowInserted, Stream: 1, StreamOffset: 7, SchemaVersion: 1, RowID: -5, OldRowID: 3, After: values},
				{Kind: RowUpdated, Stream: 1, StreamOffset: 8, SchemaVersion: 1, RowID: math.MinInt64, OldRowID: math.MaxInt64, Before: values, After: changed},
				{Kind: RowUpdated, Stream: 1, StreamOffset: 9, SchemaVersion: 1, RowID: 4, OldRowID: 4, Before: values, After: values},
				{Kind: RowUpdated, Stream: 1, Before: values[:3], After: values},
				{Kind: RowUpdated, Stream: 1, Before: values, After: values[:3]},
				{Kind: RowDeleted, Stream: 1, StreamOffset: 10, SchemaVersion: 1, OldRowID: 99, Before: values},
				{Kind: RowInserted, Stream: 1, After: []Value{}},
				{Kind: Message, Stream: 2, StreamOffset: math.MaxUint64, ContentType: "application/json", Data: []byte(`{"a":1}`)},
				{Kind: Message, Stream: 2, Data: []byte{}},
			},
		},
	}}
}

// same compares payloads with values bit for bit, so that NaN equals NaN and
// -0 differs from 0.
func same(a, b *Payload) error {
	if show(a) != show(b) {
		return fmt.Errorf("%s\n!=\n%s", show(a), show(b))
	}
	return nil
}

func show(p *Payload) string {
	var b strings.Builder
	for _, t := range p.Txns {
		fmt.Fprintf(&b, "txn %q %x %+v\n", t.IdempotencyKey, t.Fingerprint, t.Result)
		for _, e := range t.Events {
			before, after := e.Before, e.After
			e.Before, e.After = nil, nil
			fmt.Fprintf(&b, " %#v %t %t\n", e, before == nil, after == nil)
			for _, v := range append(append([]Value{}, before...), after...) {
				if f, ok := v.(float64); ok {
					v = fmt.Sprintf("real %x", math.Float64bits(f))
				}
				fmt.Fprintf(&b, "  %#v\n", v)
			}
		}
	}
	return b.String()
}

func TestPayloadRoundTripsEveryKindAndValue(t *testing.T) {
	want := everything()
	b, err := EncodePayload([]byte("before"), want)
	if err != nil {
		t.Fatal(err)
	}
	if string(b[:6]) != "before" {
		t.Fatal("EncodePayload does not append")
	}
	got, err := DecodePayload(b[6:])
	if err != nil {
		t.Fatal(err)
	}
	if err := same(want, got); err != nil {
		t.Fatal(err)
	}
	again, err := EncodePayload(nil, got)
	if err != nil || !bytes.Equal(again, b[6:]) {
		t.Fatalf("the same payload gave other bytes (%v)", err)
	}
}

func TestPayloadRoundTripsAtRandom(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		want := randomPayload(rng)
		b, err := EncodePayload(nil, want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := DecodePayload(b)
		if err != nil {
			t.Fatalf("%v\n%s", err, show(want))
		}
		if err := same(want, got); err != nil {
			t.Fatal(err)
		}
	}
}

func randomPayload(rng *rand.Rand) *Payload {
	p := &Payload{}
	for range rng.IntN(3) {
		tx := Txn{Result: Result{RowsAffected: rng.Int64(), LastInsertID: -rng.Int64(), FirstOffset: rng.Uint64() >> rng.IntN(64)}}
		if rng.IntN(2) == 0 {
			tx.IdempotencyKey = fmt.Sprint(rng.Uint32())
			tx.Fingerprint[rng.IntN(16)] = byte(rng.Uint32())
		}
		for range rng.IntN(4) {
			tx.Events = append(tx.Events, randomEvent(rng))
		}
		p.Txns = append(p.Txns, tx)
	}
	return p
}

func randomEvent(rng *rand.Rand) Event {
	e := Event{Kind: EventKind(1 + rng.IntN(8)), Stream: rng.Uint64() >> rng.IntN(64)}
	row := func() []Value {
		v := make([]Value, rng.IntN(6))
		for i := range v {
			v[i] = randomValue(rng)
		}
		return v
	}
	switch e.Kind {
	case StreamCreated, StreamAltered:
		e.StreamKind, e.Name, e.SchemaVersion = StreamKind(1+rng.IntN(2)), randomText(rng), rng.Uint64N(300)
		for range rng.IntN(4) {
			e.Columns = append(e.Columns, Column{randomText(rng), randomText(rng), rng.Uint32() >> rng.IntN(32)})
		}
	case Schema:
		e.Stream, e.SQL = 0, randomText(rng)
	case RowInserted, RowUpdated, RowDeleted:
		e.StreamOffset, e.SchemaVersion = rng.Uint64N(1000), rng.Uint64N(300)
		e.RowID, e.OldRowID = int64(rng.Uint64()), int64(rng.Uint64())>>rng.IntN(64)
		if e.Kind != RowInserted {
			e.Before = row()
		}
		if e.Kind != RowDeleted {
			e.After = row()
			for i := range min(len(e.After), len(e.Before)) {
				if rng.IntN(2) == 0 {
					e.After[i] = e.Before[i]
				}
			}
		}
	case Message:
		e.StreamOffset, e.ContentType, e.Data = rng.Uint64(), randomText(rng), []byte(randomText(rng))
	}
	return e
}

func randomValue(rng *rand.Rand) Value {
	switch rng.IntN(5) {
	case 0:
		return int64(rng.Uint64()) >> rng.IntN(64)
	case 1:
		return math.Float64frombits(rng.Uint64() &^ (1 << 51)) // signalling NaNs too
	case 2:
		return randomText(rng)
	case 3:
		return []byte(randomText(rng))
	}
	return nil
}

func randomText(rng *rand.Rand) string {
	b := make([]byte, rng.IntN(20)*rng.IntN(20))
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return string(b)
}

func TestPayloadRefusesWhatItCannotSay(t *testing.T) {
	for name, p := range map[string]*Payload{
		"a Go int as value":       rows(Event{Kind: RowInserted, After: []Value{1}}),
		"values before an insert": rows(Event{Kind: RowInserted, Before: []Value{nil}}),
		"values after a delete":   rows(Event{Kind: RowDeleted, After: []Value{nil}}),
		"event kind 0":            rows(Event{}),
		"event kind 9":            rows(Event{Kind: 9}),
		"stream kind 3":           rows(Event{Kind: StreamCreated, StreamKind: 3}),
		"a long idempotency key":  {Txns: []Txn{{IdempotencyKey: strings.Repeat("k", MaxIdempotencyKey+1)}}},
	} {
		if _, err := EncodePayload(nil, p); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func rows(events ...Event) *Payload { return &Payload{Txns: []Txn{{Events: events}}} }

func TestPayloadOverTheLimitIsTooLarge(t *testing.T) {
	data := make([]byte, MaxPayloadBytes/2)
	event := Event{Kind: Message, Data: data}
	if _, err := EncodePayload(nil, rows(event, event)); !fault.Is(err, fault.TooLarge) {
		t.Fatal(err)
	}
	event.Data = make([]byte, MaxPayloadBytes-20)
	b, err := EncodePayload(nil, rows(event))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := DecodePayload(b); err != nil {
		t.Fatal(err)
	}
}

func TestPayloadDecoderTakesOnlyWhatTheEncoderWrites(t *testing.T) {
	for name, c := range map[string]struct {
		hex  string
		kind fault.Kind
	}{
		"nothing":                    {"", fault.Corruption},
		"bytes after the end":        {"0000", fault.Corruption},
		"a number in a long form":    {"8000", fault.Corruption},
		"an endless number":          {"ffffffffffffffffffffff", fault.Corruption},
		"a count over what is there": {"ffffffff0f", fault.Corruption},
		"a cut fingerprint":          {"01" + "0161" + "0102030405", fault.Corruption},
		"an unknown event":           {"01" + "00000000" + "01" + "0900", fault.Incompatible},
		"an unknown stream kind":     {"01" + "00000000" + "01" + "01" + "01" + "03" + "000000", fault.Incompatible},
		"an unknown value":           {"01" + "00000000" + "01" + "05" + "0100000000" + "01" + "06", fault.Incompatible},
		"a reference on insert":      {"01" + "00000000" + "01" + "05" + "0100000000" + "01" + "05", fault.Corruption},
		"a repeated value":           {"01" + "00000000" + "01" + "06" + "0100000000" + "01" + "0102" + "01" + "0102", fault.Corruption},
	} {
		b, err := hex.DecodeString(c.hex)
		if err != nil {
			t.Fatal(name, err)
		}
		if _, err := DecodePayload(b); !fault.Is(err, c.kind) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestUpdateStoresUnchangedValuesOnce(t *testing.T) {
	wide := make([]Value, 50)
	for i := range wide {
		wide[i] = strings.Repeat("x", 100)
	}
	after := append([]Value(nil), wide...)
	after[7] = "new"
	b, err := EncodePayload(nil, rows(Event{Kind: RowUpdated, Before: wide, After: after}))
	if err != nil || len(b) > 50*102+200 {
		t.Fatalf("%d bytes, %v", len(b), err)
	}
}

// A damaged count must not make the decoder allocate what it says.
func TestPayloadDecoderAllocatesInProportion(t *testing.T) {
	b := append([]byte{1, 0, 0, 0, 0}, 0xff, 0xff, 0x7f) // two million events
	b = append(b, make([]byte, 5<<20)...)                // of kind 0
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, err := DecodePayload(b); err == nil {
		t.Fatal("decoded")
	}
	runtime.ReadMemStats(&after)
	n := after.TotalAlloc - before.TotalAlloc
	if n > uint64(2*len(b)) {
		t.Fatalf("%d bytes allocated for %d", n, len(b))
	}
}

func FuzzPayload(f *testing.F) {
	b, err := EncodePayload(nil, everything())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte{})
	f.Add([]byte{0})
	for i := 1; i < len(b); i += 97 {
		f.Add(b[:i])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := DecodePayload(b)
		if err != nil {
			if k := fault.KindOf(err); k != fault.Corruption && k != fault.Incompatible {
				t.Fatal(err)
			}
			return
		}
		again, err := EncodePayload(nil, p)
		if err != nil || !bytes.Equal(again, b) {
			t.Fatalf("%x decodes and encodes to %x (%v)", b, again, err)
		}
	})
}

func TestErrorsHoldNoValues(t *testing.T) {
	type secret string
	_, err := EncodePayload(nil, rows(Event{Kind: RowInserted, After: []Value{secret("Alice")}}))
	var e *fault.Error
	if !errors.As(err, &e) || strings.Contains(err.Error(), "Alice") {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(e.Kind, fault.Invalid) {
		t.Fatal(e.Kind)
	}
}

func BenchmarkEncodePayload(b *testing.B) { benchmarkPayload(b, false) }
func BenchmarkDecodePayload(b *testing.B) { benchmarkPayload(b, true) }

func benchmarkPayload(b *testing.B, decode bool) {
	p := rows(Event{Kind: RowInserted, Stream: 1, StreamOffset: 1e6, SchemaVersion: 1, RowID: 1e6,
		After: []Value{int64(1e6), "Alice", "Smith", "1985-03-15", 72.5, nil, int64(3), "12 High Street"}})
	buf, err := EncodePayload(nil, p)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(buf)))
	b.ReportAllocs()
	for b.Loop() {
		if decode {
			_, err = DecodePayload(buf)
		} else {
			buf, err = EncodePayload(buf[:0], p)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}
