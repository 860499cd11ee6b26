package sqltype

import (
	"encoding/binary"
	"math"
	"time"
)

// epoch is where PostgreSQL's binary times count from.
var epoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// InputBinary reads PostgreSQL's binary form of a value and returns its stored
// form. Errors are *fault.Error with the SQLSTATE that PostgreSQL would give.
// b is not kept.
func (t Type) InputBinary(b []byte) (any, error) {
	switch t.OID {
	case Bytea.OID:
		return append([]byte{}, b...), nil
	case JSONB.OID:
		if len(b) == 0 || b[0] != 1 {
			return nil, t.invalidBinary()
		}
		return t.Input(string(b[1:]))
	case Numeric.OID:
		return t.inputBinaryNumeric(b)
	case Float4.OID, Float8.OID:
		return t.inputBinaryFloat(b)
	case Date.OID, Time.OID, Timestamp.OID, Timestamptz.OID:
		return t.inputBinaryTime(b)
	case Interval.OID:
		return t.inputBinaryInterval(b)
	case UUID.OID:
		if len(b) != 16 {
			return nil, t.invalidBinary()
		}
		return formatUUID(b), nil
	case Void.OID:
		return "", nil
	}
	if n, ok := t.binaryInteger(); ok {
		return t.inputBinaryInteger(b, n)
	}
	if e, ok := t.Element(); ok {
		return t.inputBinaryArray(e, b)
	}
	return t.Input(string(b)) // texts
}

// binaryInteger returns the bytes of a type that travels as an integer.
func (t Type) binaryInteger() (int, bool) {
	switch t.OID {
	case Bool.OID, Int2.OID, Int4.OID, Int8.OID, OIDType.OID, XID.OID,
		Regclass.OID, Regtype.OID, Regproc.OID, Regnamespace.OID, Regrole.OID:
		return int(t.Size()), true
	}
	return 0, false
}

func (t Type) inputBinaryInteger(b []byte, size int) (any, error) {
	if len(b) != size {
		return nil, t.invalidBinary()
	}
	switch {
	case t.OID == Bool.OID:
		if b[0] != 0 {
			return int64(1), nil
		}
		return int64(0), nil
	case t.OID == Int4.OID:
		return int64(int32(binary.BigEndian.Uint32(b))), nil //nolint:gosec // two's complement
	case size == 2:
		return int64(int16(binary.BigEndian.Uint16(b))), nil //nolint:gosec // likewise
	case size == 4:
		return int64(binary.BigEndian.Uint32(b)), nil
	}
	return int64(binary.BigEndian.Uint64(b)), nil //nolint:gosec // likewise
}

func (t Type) inputBinaryFloat(b []byte) (any, error) {
	if len(b) != int(t.Size()) {
		return nil, t.invalidBinary()
	}
	if t.OID == Float4.OID {
		return t.checkFloat(float64(math.Float32frombits(binary.BigEndian.Uint32(b))))
	}
	return t.checkFloat(math.Float64frombits(binary.BigEndian.Uint64(b)))
}

func (t Type) inputBinaryTime(b []byte) (any, error) {
	if len(b) != int(t.Size()) {
		return nil, t.invalidBinary()
	}
	if t.OID == Date.OID {
		days := int32(binary.BigEndian.Uint32(b)) //nolint:gosec // two's complement
		if days == math.MaxInt32 || days == math.MinInt32 {
			return nil, fail(stateNotSupported, "infinity is not supported in type date")
		}
		return t.formatInstant(epoch.AddDate(0, 0, int(days)))
	}
	micros := int64(binary.BigEndian.Uint64(b)) //nolint:gosec // likewise
	if t.OID == Time.OID {
		if micros < 0 || micros > microsDay {
			return nil, t.outOfField()
		}
		return formatClock(roundTo(time.Duration(micros)*time.Microsecond, t.digits())), nil
	}
	if micros == math.MaxInt64 || micros == math.MinInt64 {
		return nil, fail(stateNotSupported, "infinity is not supported in type %s", t.SQL())
	}
	seconds, rest := micros/microsSecond, micros%microsSecond
	at := time.Unix(epoch.Unix()+seconds, rest*1000).UTC()
	if t.digits() < 6 {
		unit := time.Second
		for range t.digits() {
			unit /= 10
		}
		at = at.Round(unit)
	}
	return t.formatInstant(at)
}

func (t Type) inputBinaryInterval(b []byte) (any, error) {
	if len(b) != 16 {
		return nil, t.invalidBinary()
	}
	p := span{
		micros: int64(binary.BigEndian.Uint64(b)),             //nolint:gosec // two's complement
		days:   int64(int32(binary.BigEndian.Uint32(b[8:]))),  //nolint:gosec // likewise
		months: int64(int32(binary.BigEndian.Uint32(b[12:]))), //nolint:gosec // likewise
	}
	if p.micros/microsHour > maxHours || p.micros/microsHour < -maxHours {
		return nil, fail(stateDatetimeField, "interval field value out of range")
	}
	p.round(t.digits())
	return p.String(), nil
}

// A numeric's binary form, 16-bit numbers: how many digits of base 10000, the
// weight of the first one, the sign, the digits behind the point, the digits.
const (
	numericHeader   = 8
	numericNegative = 0x4000
	numericSpecial  = 0xC000 // NaN and the infinities have these bits
)

func (t Type) inputBinaryNumeric(b []byte) (any, error) {
	if len(b) < numericHeader {
		return nil, t.invalidBinary()
	}
	n := int(binary.BigEndian.Uint16(b))
	weight := int(int16(binary.BigEndian.Uint16(b[2:]))) //nolint:gosec // two's complement
	sign := binary.BigEndian.Uint16(b[4:])
	if len(b) != numericHeader+2*n {
		return nil, t.invalidBinary()
	}
	if sign&numericSpecial == numericSpecial {
		return nil, fail(stateOutOfRange, "NaN and infinity cannot be stored in type numeric")
	}
	if sign != 0 && sign != numericNegative {
		return nil, t.invalidBinary()
	}
	d := decimal{negative: sign == numericNegative, point: 4 * (weight + 1)}
	for i := range n {
		digit := binary.BigEndian.Uint16(b[numericHeader+2*i:])
		if digit > 9999 {
			return nil, t.invalidBinary()
		}
		d.digits = append(d.digits, byte('0'+digit/1000), byte('0'+digit/100%10), byte('0'+digit/10%10), byte('0'+digit%10))
	}
	d.trim()
	return t.numericOf(d)
}

// inputBinaryArray reads dimensions, a flag, the elements' OID, each
// dimension's length and lower bound, and the elements with their lengths.
func (t Type) inputBinaryArray(element Type, b []byte) (any, error) {
	if len(b) < 12 {
		return nil, t.invalidBinary()
	}
	dimensions := int(binary.BigEndian.Uint32(b))
	if oid := binary.BigEndian.Uint32(b[8:]); oid != element.OID {
		return nil, fail(stateWrongType, "wrong element type for type %s", t.SQL())
	}
	b = b[12:]
	if dimensions == 0 {
		return "[]", nil
	}
	if dimensions > maxDimensions || len(b) < 8*dimensions {
		return nil, t.invalidBinary()
	}
	lengths := make([]int, dimensions)
	total := 1
	for i := range lengths {
		lengths[i] = int(binary.BigEndian.Uint32(b[8*i:]))
		if lengths[i] < 1 || lengths[i] > len(b) || total > len(b) {
			return nil, t.invalidBinary()
		}
		total *= lengths[i]
	}
	out, rest, err := t.binaryElements(nil, element, lengths, b[8*dimensions:])
	if err != nil {
		return nil, err
	}
	if len(rest) != 0 {
		return nil, t.invalidBinary()
	}
	return string(out), nil
}

func (t Type) binaryElements(dst []byte, element Type, lengths []int, b []byte) ([]byte, []byte, error) {
	dst = append(dst, '[')
	for i := range lengths[0] {
		if i > 0 {
			dst = append(dst, ',')
		}
		var err error
		if len(lengths) > 1 {
			if dst, b, err = t.binaryElements(dst, element, lengths[1:], b); err != nil {
				return nil, nil, err
			}
			continue
		}
		if len(b) < 4 {
			return nil, nil, t.invalidBinary()
		}
		n := int(int32(binary.BigEndian.Uint32(b))) //nolint:gosec // -1 is NULL
		b = b[4:]
		if n == -1 {
			dst = append(dst, "null"...)
			continue
		}
		if n < 0 || n > len(b) {
			return nil, nil, t.invalidBinary()
		}
		v, err := element.InputBinary(b[:n])
		if err != nil {
			return nil, nil, err
		}
		dst, b = element.appendElement(dst, v), b[n:]
	}
	return append(dst, ']'), b, nil
}
