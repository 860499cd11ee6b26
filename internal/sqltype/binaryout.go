package sqltype

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"math"
	"time"
)

// AppendBinary appends PostgreSQL's binary form of a stored value. A value of
// another form is converted if it can be, and refused otherwise. nil appends
// nothing: NULL has no bytes.
func (t Type) AppendBinary(dst []byte, v any) ([]byte, error) {
	if v == nil {
		return dst, nil
	}
	if n, ok := t.binaryInteger(); ok {
		return t.appendBinaryInteger(dst, v, n)
	}
	switch t.OID {
	case Float4.OID, Float8.OID:
		return t.appendBinaryFloat(dst, v)
	case Numeric.OID:
		return t.appendBinaryNumeric(dst, v)
	case Date.OID, Time.OID, Timestamp.OID, Timestamptz.OID:
		return t.appendBinaryTime(dst, v)
	case Interval.OID:
		return t.appendBinaryInterval(dst, v)
	case UUID.OID:
		return t.appendBinaryUUID(dst, v)
	case JSONB.OID:
		return t.AppendText(append(dst, 1), v)
	case Bytea.OID:
		if b, ok := v.([]byte); ok {
			return append(dst, b...), nil
		}
		if s, ok := v.(string); ok {
			return append(dst, s...), nil
		}
		return nil, t.wrongStored(v)
	}
	if e, ok := t.Element(); ok {
		if s, ok := v.(string); ok {
			return t.appendBinaryArray(dst, e, s)
		}
		return nil, t.wrongStored(v)
	}
	return t.AppendText(dst, v)
}

func (t Type) appendBinaryInteger(dst []byte, v any, size int) ([]byte, error) {
	n, ok := v.(int64)
	if !ok {
		c, err := t.Cast(v)
		if err != nil {
			return nil, err
		}
		if n, ok = c.(int64); !ok {
			return nil, t.wrongStored(v)
		}
	}
	if low, high := t.bounds(); n < low || n > high {
		return nil, t.outOfRange()
	}
	switch size {
	case 1:
		if n != 0 {
			return append(dst, 1), nil
		}
		return append(dst, 0), nil
	case 2:
		return binary.BigEndian.AppendUint16(dst, uint16(n)), nil //nolint:gosec // in bounds
	case 4:
		return binary.BigEndian.AppendUint32(dst, uint32(n)), nil //nolint:gosec // likewise
	}
	return binary.BigEndian.AppendUint64(dst, uint64(n)), nil //nolint:gosec // likewise
}

func (t Type) appendBinaryFloat(dst []byte, v any) ([]byte, error) {
	f, ok := v.(float64)
	if !ok {
		c, err := t.Cast(v)
		if err != nil {
			return nil, err
		}
		f, _ = c.(float64)
	}
	if t.OID == Float4.OID {
		return binary.BigEndian.AppendUint32(dst, math.Float32bits(float32(f))), nil
	}
	return binary.BigEndian.AppendUint64(dst, math.Float64bits(f)), nil
}

func (t Type) appendBinaryTime(dst []byte, v any) ([]byte, error) {
	at, err := t.ParseTime(v)
	if err != nil {
		return nil, err
	}
	seconds, micros := at.Unix()-epoch.Unix(), int64(at.Nanosecond()/1000)
	switch t.OID {
	case Date.OID:
		return binary.BigEndian.AppendUint32(dst, uint32(seconds/86400)), nil //nolint:gosec // within 10000 years
	case Time.OID:
		midnight := time.Date(at.Year(), 1, 1, 0, 0, 0, 0, time.UTC)
		return binary.BigEndian.AppendUint64(dst, uint64(at.Sub(midnight)/time.Microsecond)), nil //nolint:gosec // within a day
	}
	return binary.BigEndian.AppendUint64(dst, uint64(seconds*microsSecond+micros)), nil //nolint:gosec // two's complement
}

func (t Type) appendBinaryInterval(dst []byte, v any) ([]byte, error) {
	s, ok := v.(string)
	var p span
	if !ok || !p.parseWords(s) {
		return nil, t.wrongStored(v)
	}
	dst = binary.BigEndian.AppendUint64(dst, uint64(p.micros))       //nolint:gosec // two's complement
	dst = binary.BigEndian.AppendUint32(dst, uint32(p.days))         //nolint:gosec // likewise
	return binary.BigEndian.AppendUint32(dst, uint32(p.months)), nil //nolint:gosec // likewise
}

func (t Type) appendBinaryUUID(dst []byte, v any) ([]byte, error) {
	s, ok := v.(string)
	if ok {
		c, err := t.Input(s)
		if err != nil {
			return nil, err
		}
		s, _ = c.(string)
	}
	if len(s) != 36 {
		return nil, t.wrongStored(v)
	}
	for _, part := range []string{s[:8], s[9:13], s[14:18], s[19:23], s[24:]} {
		raw, _ := hex.DecodeString(part) // Input made it
		dst = append(dst, raw...)
	}
	return dst, nil
}

func (t Type) appendBinaryNumeric(dst []byte, v any) ([]byte, error) {
	if s, ok := v.(string); ok {
		c, err := t.Input(s)
		if err != nil {
			return nil, err
		}
		v = c
	}
	d, ok := decimalOf(v)
	if !ok {
		return nil, t.wrongStored(v)
	}
	_, scale, limited := t.Precision()
	if limited {
		d.round(scale)
	}
	scale = max(scale, len(d.digits)-d.point, 0)
	groups := d.groups()
	sign := uint16(0)
	if d.negative {
		sign = numericNegative
	}
	weight := (d.point+3)>>2 - 1 // floor
	if len(groups) == 0 {
		weight = 0
	}
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(groups))) //nolint:gosec // a few
	dst = binary.BigEndian.AppendUint16(dst, uint16(weight))      //nolint:gosec // two's complement
	dst = binary.BigEndian.AppendUint16(dst, sign)
	dst = binary.BigEndian.AppendUint16(dst, uint16(scale)) //nolint:gosec // a few hundred
	for _, g := range groups {
		dst = binary.BigEndian.AppendUint16(dst, g)
	}
	return dst, nil
}

// groups returns the digits by four, aligned at the point.
func (d *decimal) groups() []uint16 {
	if len(d.digits) == 0 {
		return nil
	}
	lead := (4 - d.point&3) & 3 // zeros before the first digit
	groups := make([]uint16, (lead+len(d.digits)+3)/4)
	for i := range len(groups) * 4 {
		digit := uint16(0)
		if at := i - lead; at >= 0 && at < len(d.digits) {
			digit = uint16(d.digits[at] - '0')
		}
		groups[i/4] = groups[i/4]*10 + digit
	}
	return groups
}

func (t Type) appendBinaryArray(dst []byte, element Type, s string) ([]byte, error) {
	if all, ok := jsonElements(s); !ok || all == nil {
		c, err := t.Input(s) // in PostgreSQL's form
		if err != nil {
			return nil, err
		}
		s, _ = c.(string)
	}
	var lengths []int
	var flat []json.RawMessage
	if !flatten(s, 0, &lengths, &flat) || len(lengths) > maxDimensions {
		return nil, fail(stateInvalidText, "the array's parts differ in length")
	}
	if len(flat) == 0 {
		lengths = nil
	}
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(lengths))) //nolint:gosec // at most maxDimensions
	flag := len(dst)
	dst = binary.BigEndian.AppendUint32(dst, 0)
	dst = binary.BigEndian.AppendUint32(dst, element.OID)
	for _, n := range lengths {
		dst = binary.BigEndian.AppendUint32(dst, uint32(n)) //nolint:gosec // bounded by the value's size
		dst = binary.BigEndian.AppendUint32(dst, 1)
	}
	for _, raw := range flat {
		v, _, err := element.elementOf(raw)
		if err != nil {
			return nil, err
		}
		at := len(dst)
		dst = binary.BigEndian.AppendUint32(dst, math.MaxUint32) // -1: NULL
		if v == nil {
			dst[flag+3] = 1
			continue
		}
		if dst, err = element.AppendBinary(dst, v); err != nil {
			return nil, err
		}
		binary.BigEndian.PutUint32(dst[at:], uint32(len(dst)-at-4)) //nolint:gosec // bounded likewise
	}
	return dst, nil
}

// flatten lists an array's elements and the length of each dimension; false
// says that its parts are not alike.
func flatten(s string, depth int, lengths *[]int, flat *[]json.RawMessage) bool {
	all, ok := jsonElements(s)
	if !ok || depth > maxDimensions {
		return false
	}
	if depth == len(*lengths) {
		*lengths = append(*lengths, len(all))
	}
	if (*lengths)[depth] != len(all) {
		return false
	}
	for _, raw := range all {
		if raw[0] == '[' {
			if !flatten(string(raw), depth+1, lengths, flat) {
				return false
			}
			continue
		}
		if len(*lengths) != depth+1 {
			return false
		}
		*flat = append(*flat, raw)
	}
	return true
}
