package record

import (
	"encoding/binary"
	"math"

	"kimberlite/internal/fault"
)

// The fewest bytes that one of each takes. They bound what a damaged count
// can make the decoder allocate.
const (
	minTxnBytes    = 5
	minEventBytes  = 2
	minColumnBytes = 3
	minValueBytes  = 1
)

// DecodePayload reads what [EncodePayload] wrote. Blobs and message data share
// memory with b, which must not change afterwards. It never panics, and
// allocates at most a few hundred bytes for each byte of b. Bytes that
// EncodePayload does not write are a Corruption that names no file; an unknown
// kind of event or stream is Incompatible.
func DecodePayload(b []byte) (*Payload, error) {
	if len(b) > MaxPayloadBytes {
		return nil, corrupt("a payload has at most %d bytes, not %d", MaxPayloadBytes, len(b))
	}
	// One copy serves all texts, which saves an allocation for each.
	d := &decoder{b: b, text: string(b)}
	p := &Payload{}
	if n := d.count(minTxnBytes); n > 0 {
		p.Txns = make([]Txn, n)
	}
	for i := range p.Txns {
		d.txn(&p.Txns[i])
		if d.err != nil {
			return nil, d.err
		}
	}
	if d.err == nil && d.at != len(b) {
		d.fail("bytes after its end")
	}
	if d.err != nil {
		return nil, d.err
	}
	return p, nil
}

// decoder reads from b at at; after the first error every read returns zero.
type decoder struct {
	b    []byte
	text string // the same bytes
	at   int
	err  error
}

func (d *decoder) txn(t *Txn) {
	t.IdempotencyKey = d.string()
	if len(t.IdempotencyKey) > MaxIdempotencyKey {
		d.fail("an idempotency key over the limit")
	}
	if t.IdempotencyKey != "" {
		copy(t.Fingerprint[:], d.take(len(t.Fingerprint)))
	}
	t.Result.RowsAffected = d.signed()
	t.Result.LastInsertID = d.signed()
	t.Result.FirstOffset = d.number()
	n := d.count(minEventBytes)
	if n > 0 {
		// Grown as events are found: an event is a hundred times larger here
		// than its shortest encoding, too much to trust a count with.
		t.Events = make([]Event, 0, min(n, 256))
	}
	for range n {
		t.Events = append(t.Events, Event{})
		d.event(&t.Events[len(t.Events)-1])
		if d.err != nil {
			return
		}
	}
}

func (d *decoder) event(e *Event) {
	e.Kind = EventKind(d.byte())
	switch e.Kind {
	case StreamCreated, StreamAltered:
		d.stream(e)
	case StreamDropped:
		e.Stream = d.number()
	case Schema:
		e.SQL = d.string()
	case RowInserted, RowUpdated, RowDeleted:
		d.row(e)
	case Message:
		e.Stream = d.number()
		e.StreamOffset = d.number()
		e.ContentType = d.string()
		e.Data = d.bytes()
	default:
		d.unknown("event", byte(e.Kind))
	}
}

func (d *decoder) stream(e *Event) {
	e.Stream = d.number()
	e.StreamKind = StreamKind(d.byte())
	if d.err == nil && e.StreamKind != TableStream && e.StreamKind != EventStream {
		d.unknown("stream", byte(e.StreamKind))
	}
	e.SchemaVersion = d.number()
	e.Name = d.string()
	if n := d.count(minColumnBytes); n > 0 {
		e.Columns = make([]Column, n)
	}
	for i := range e.Columns {
		c := &e.Columns[i]
		c.Name, c.Type = d.string(), d.string()
		key := d.number()
		if key > math.MaxUint32 {
			d.fail("a column's place in the key is over the limit")
		}
		c.Key = uint32(key)
		if d.err != nil {
			return
		}
	}
}

func (d *decoder) row(e *Event) {
	e.Stream = d.number()
	e.StreamOffset = d.number()
	e.SchemaVersion = d.number()
	e.RowID = d.signed()
	e.OldRowID = d.signed()
	if e.Kind == RowUpdated {
		e.OldRowID += e.RowID
	}
	if e.Kind != RowInserted {
		e.Before = d.values(nil)
	}
	if e.Kind != RowDeleted {
		e.After = d.values(e.Before)
	}
}

// values reads a row that may refer to the values of base.
func (d *decoder) values(base []Value) []Value {
	row := make([]Value, d.count(minValueBytes))
	for i := range row {
		tag := d.byte()
		if tag == tagSame {
			if i >= len(base) {
				d.fail("a value that refers to none")
				return nil
			}
			row[i] = base[i]
			continue
		}
		row[i] = d.value(tag)
		if d.err == nil && i < len(base) && sameValue(row[i], base[i]) {
			d.fail("a repeated value")
		}
		if d.err != nil {
			return nil
		}
	}
	return row
}

func (d *decoder) value(tag byte) Value {
	switch tag {
	case tagNull:
		return nil
	case tagInteger:
		return d.signed()
	case tagReal:
		if bits := d.take(8); bits != nil {
			return math.Float64frombits(binary.BigEndian.Uint64(bits))
		}
		return nil
	case tagText:
		return d.string()
	case tagBlob:
		return d.bytes()
	}
	d.unknown("value", tag)
	return nil
}

// number reads an unsigned varint in its shortest form.
func (d *decoder) number() uint64 {
	if d.err != nil {
		return 0
	}
	v, n := binary.Uvarint(d.b[d.at:])
	if n <= 0 || n > 1 && d.b[d.at+n-1] == 0 {
		d.fail("a malformed number")
		return 0
	}
	d.at += n
	return v
}

// signed reads a zigzag varint.
func (d *decoder) signed() int64 {
	u := d.number()
	return int64(u>>1) ^ -int64(u&1)
}

// count reads how many things of at least size bytes each follow.
func (d *decoder) count(size int) int {
	n := d.number()
	if n > uint64((len(d.b)-d.at)/size) {
		d.fail("a count over what is there")
		return 0
	}
	return int(n)
}

func (d *decoder) byte() byte {
	if b := d.take(1); b != nil {
		return b[0]
	}
	return 0
}

// take returns the next n bytes, or nil when they are not there.
func (d *decoder) take(n int) []byte {
	if d.err == nil && n > len(d.b)-d.at {
		d.fail("it ends too early")
	}
	if d.err != nil {
		return nil
	}
	b := d.b[d.at : d.at+n : d.at+n]
	d.at += n
	return b
}

// string reads a text, whatever bytes it holds: SQLite does not check UTF-8.
func (d *decoder) string() string {
	n := d.count(1)
	start := d.at
	if d.take(n) == nil {
		return ""
	}
	return d.text[start:d.at]
}

// bytes reads a byte string; an empty one is not nil.
func (d *decoder) bytes() []byte {
	return d.take(d.count(1))
}

func (d *decoder) fail(what string) {
	if d.err == nil {
		d.err = corrupt("the payload is damaged at byte %d: %s", d.at, what)
	}
}

func (d *decoder) unknown(what string, kind byte) {
	if d.err == nil {
		d.err = fault.New("record", fault.Incompatible, "the payload holds the unknown %s kind %d: use a newer kimberlite", what, kind)
	}
}
