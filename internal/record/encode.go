package record

import (
	"bytes"
	"encoding/binary"
	"math"
	"slices"
)

// The payload, before sealing. Numbers are LEB128 varints in their shortest
// form (signed ones zigzag), text and bytes have their length before them.
//
//	payload = n, n × txn
//	txn     = idempotency key, fingerprint (16 bytes, only if the key is not
//	          empty), rows affected (signed), last insert id (signed),
//	          first offset, n, n × event
//	event   = kind (1 byte), then by kind:
//	  1, 3 stream created, altered: stream, stream kind (1 byte), schema
//	       version, name, n, n × (name, declared type, place in the key)
//	  2    stream dropped: stream
//	  4    schema: SQL text
//	  5    row inserted: place, row id, old row id, values after
//	  6    row updated:  place, row id, old row id minus row id (modulo 2^64),
//	       values before, values after
//	  7    row deleted:  place, row id, old row id, values before
//	  8    message: stream, stream offset, content type, data
//	place   = stream, stream offset, schema version
//	values  = n, n × value
//	value   = 0 | 1 signed | 2 float64 bits (8 bytes) | 3 text | 4 blob
//	        | 5 (in "values after" of an update only: the same value, bit for
//	          bit, as stands at that place in "values before")
//
// Value 5 must be used where it can be, so that a payload has one encoding.
const (
	tagNull    = 0
	tagInteger = 1
	tagReal    = 2
	tagText    = 3
	tagBlob    = 4
	tagSame    = 5
)

// sampleEvents is after how many events of a transaction the size of the rest is
// estimated.
const sampleEvents = 1024

// EncodePayload appends the encoding of p to dst and returns it. The same
// payload gives the same bytes. Fields that do not belong to an event's kind
// are not stored, nor is the fingerprint of a transaction without an
// idempotency key. It fails with TooLarge over [MaxPayloadBytes], and with
// Invalid when p holds what the format cannot say.
func EncodePayload(dst []byte, p *Payload) ([]byte, error) {
	start := len(dst)
	b := binary.AppendUvarint(dst, uint64(len(p.Txns)))
	for i := range p.Txns {
		t := &p.Txns[i]
		if len(t.IdempotencyKey) > MaxIdempotencyKey {
			return nil, invalid("an idempotency key has at most %d bytes, not %d", MaxIdempotencyKey, len(t.IdempotencyKey))
		}
		b = appendText(b, t.IdempotencyKey)
		if t.IdempotencyKey != "" {
			b = append(b, t.Fingerprint[:]...)
		}
		b = binary.AppendVarint(b, t.Result.RowsAffected)
		b = binary.AppendVarint(b, t.Result.LastInsertID)
		b = binary.AppendUvarint(b, t.Result.FirstOffset)
		b = binary.AppendUvarint(b, uint64(len(t.Events)))
		first := len(b)
		for j := range t.Events {
			if j == sampleEvents {
				// A long transaction's events are much alike: the rest is
				// taken at once, not by copying what there is again and again.
				rest := (len(b) - first) / sampleEvents * (len(t.Events) - j)
				b = slices.Grow(b, min(rest+rest/8, MaxPayloadBytes))
			}
			var err error
			if b, err = appendEvent(b, &t.Events[j]); err != nil {
				return nil, err
			}
			// Checked as it grows, so that a huge transaction is not
			// copied in full only to be refused.
			if len(b)-start > MaxPayloadBytes {
				return nil, tooLarge(len(b) - start)
			}
		}
	}
	if len(b)-start > MaxPayloadBytes {
		return nil, tooLarge(len(b) - start)
	}
	return b, nil
}

func appendEvent(b []byte, e *Event) ([]byte, error) {
	b = append(b, byte(e.Kind))
	switch e.Kind {
	case StreamCreated, StreamAltered:
		if e.StreamKind != TableStream && e.StreamKind != EventStream {
			return nil, invalid("unknown stream kind %d", e.StreamKind)
		}
		b = binary.AppendUvarint(b, e.Stream)
		b = append(b, byte(e.StreamKind))
		b = binary.AppendUvarint(b, e.SchemaVersion)
		b = appendText(b, e.Name)
		b = binary.AppendUvarint(b, uint64(len(e.Columns)))
		for i := range e.Columns {
			b = appendText(b, e.Columns[i].Name)
			b = appendText(b, e.Columns[i].Type)
			b = binary.AppendUvarint(b, uint64(e.Columns[i].Key))
		}
		return b, nil
	case StreamDropped:
		return binary.AppendUvarint(b, e.Stream), nil
	case Schema:
		return appendText(b, e.SQL), nil
	case RowInserted, RowUpdated, RowDeleted:
		return appendRow(b, e)
	case Message:
		b = binary.AppendUvarint(b, e.Stream)
		b = binary.AppendUvarint(b, e.StreamOffset)
		b = appendText(b, e.ContentType)
		b = binary.AppendUvarint(b, uint64(len(e.Data)))
		return append(b, e.Data...), nil
	}
	return nil, invalid("unknown event kind %d", e.Kind)
}

func appendRow(b []byte, e *Event) ([]byte, error) {
	if e.Kind == RowInserted && e.Before != nil || e.Kind == RowDeleted && e.After != nil {
		return nil, invalid("an inserted row has no values before, a deleted one none after")
	}
	b = binary.AppendUvarint(b, e.Stream)
	b = binary.AppendUvarint(b, e.StreamOffset)
	b = binary.AppendUvarint(b, e.SchemaVersion)
	b = binary.AppendVarint(b, e.RowID)
	old := e.OldRowID
	if e.Kind == RowUpdated {
		old -= e.RowID // nearly always 0; wraps, and so does the decoder
	}
	b = binary.AppendVarint(b, old)
	var err error
	if e.Kind != RowInserted {
		if b, err = appendValues(b, e.Before, nil); err != nil {
			return nil, err
		}
	}
	if e.Kind != RowDeleted {
		if b, err = appendValues(b, e.After, e.Before); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// appendValues writes a row; base holds the values that it may refer to.
func appendValues(b []byte, row, base []Value) ([]byte, error) {
	b = binary.AppendUvarint(b, uint64(len(row)))
	for i, v := range row {
		if i < len(base) && sameValue(v, base[i]) {
			b = append(b, tagSame)
			continue
		}
		switch v := v.(type) {
		case nil:
			b = append(b, tagNull)
		case int64:
			b = binary.AppendVarint(append(b, tagInteger), v)
		case float64:
			b = binary.BigEndian.AppendUint64(append(b, tagReal), math.Float64bits(v))
		case string:
			b = appendText(append(b, tagText), v)
		case []byte:
			b = binary.AppendUvarint(append(b, tagBlob), uint64(len(v)))
			b = append(b, v...)
		default:
			return nil, invalid("a value is nil, int64, float64, string or []byte, not %T", v)
		}
	}
	return b, nil
}

// sameValue reports whether two values are the same bit for bit. Values of a
// type that SQLite does not store are never the same.
func sameValue(a, b Value) bool {
	switch a := a.(type) {
	case nil:
		return b == nil
	case int64:
		b, ok := b.(int64)
		return ok && a == b
	case float64:
		b, ok := b.(float64)
		return ok && math.Float64bits(a) == math.Float64bits(b)
	case string:
		b, ok := b.(string)
		return ok && a == b
	case []byte:
		b, ok := b.([]byte)
		return ok && bytes.Equal(a, b)
	}
	return false
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}
