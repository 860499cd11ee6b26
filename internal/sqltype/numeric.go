package sqltype

import (
	"math"
	"strconv"
	"strings"
)

// maxDigits is how many significant digits a float64 holds exactly.
const maxDigits = 15

// decimal is a number as its digits: 0.DIGITS × 10^point, without zeros at
// either end; no digits are zero.
type decimal struct {
	negative bool
	digits   []byte // '0'..'9'
	point    int
}

// maxExponent bounds what is taken of an exponent: far beyond any number that
// can be stored.
const maxExponent = 100000

// parseDecimal reads a number in PostgreSQL's syntax: 12.50, -.5e3.
func parseDecimal(s string) (d decimal, ok bool) {
	if s != "" && (s[0] == '-' || s[0] == '+') {
		d.negative = s[0] == '-'
		s = s[1:]
	}
	mantissa, exponent := s, ""
	if at := strings.IndexAny(s, "eE"); at >= 0 {
		mantissa, exponent = s[:at], s[at+1:]
		if strings.Trim(exponent, "0123456789+-") != "" {
			return d, false
		}
	}
	whole, fraction, _ := strings.Cut(mantissa, ".")
	if whole == "" && fraction == "" || strings.Trim(whole, "0123456789") != "" || strings.Trim(fraction, "0123456789") != "" {
		return d, false
	}
	d.digits = append([]byte(whole), fraction...)
	d.point = len(whole)
	if exponent != "" || mantissa != s {
		n, err := strconv.ParseInt(exponent, 10, 32)
		if err != nil && !isRange(err) {
			return d, false
		}
		d.point += int(max(-maxExponent, min(maxExponent, n)))
	}
	d.trim()
	return d, true
}

// trim takes zeros off both ends.
func (d *decimal) trim() {
	for len(d.digits) > 0 && d.digits[0] == '0' {
		d.digits = d.digits[1:]
		d.point--
	}
	for len(d.digits) > 0 && d.digits[len(d.digits)-1] == '0' {
		d.digits = d.digits[:len(d.digits)-1]
	}
	if len(d.digits) == 0 {
		d.negative, d.point = false, 0
	}
}

// round keeps scale digits behind the point, half away from zero.
func (d *decimal) round(scale int) {
	keep := d.point + scale
	if keep >= len(d.digits) {
		return
	}
	if keep < 0 {
		d.digits = nil
		d.trim()
		return
	}
	up := d.digits[keep] >= '5'
	d.digits = append([]byte(nil), d.digits[:keep]...)
	if up {
		i := keep - 1
		for ; i >= 0 && d.digits[i] == '9'; i-- {
			d.digits[i] = '0'
		}
		if i >= 0 {
			d.digits[i]++
		} else {
			d.digits = append([]byte{'1'}, d.digits...)
			d.point++
		}
	}
	d.trim()
}

// appendFixed writes the number with at least scale digits behind the point.
func (d *decimal) appendFixed(dst []byte, scale int) []byte {
	if d.negative {
		dst = append(dst, '-')
	}
	at := func(i int) byte { // the digit of 10^(point-1-i)
		if i < 0 || i >= len(d.digits) {
			return '0'
		}
		return d.digits[i]
	}
	if d.point <= 0 {
		dst = append(dst, '0')
	}
	for i := range max(d.point, 0) {
		dst = append(dst, at(i))
	}
	scale = max(scale, len(d.digits)-d.point)
	if scale > 0 {
		dst = append(dst, '.')
	}
	for i := range max(scale, 0) {
		dst = append(dst, at(d.point+i))
	}
	return dst
}

func (t Type) inputNumeric(text string) (any, error) {
	s := strings.TrimSpace(text)
	d, ok := parseDecimal(s)
	if ok {
		return t.numericOf(d)
	}
	switch strings.ToLower(strings.TrimLeft(s, "+-")) {
	case "nan", "inf", "infinity":
		return nil, fail(stateOutOfRange, "NaN and infinity cannot be stored in type numeric")
	}
	return nil, t.invalidText()
}

// numericOf returns the stored form of a number, rounded to the scale.
func (t Type) numericOf(d decimal) (any, error) {
	if precision, scale, ok := t.Precision(); ok {
		d.round(scale)
		if d.point > precision-scale {
			return nil, fail(stateOutOfRange, "numeric field overflow: type %s holds numbers below 10^%d", t.SQL(), precision-scale)
		}
	}
	if len(d.digits) <= d.point && d.point <= 19 || len(d.digits) == 0 {
		n, err := strconv.ParseInt(string(d.appendFixed(nil, 0)), 10, 64)
		if err == nil {
			return n, nil
		}
	}
	if len(d.digits) > maxDigits {
		return nil, fail(stateOutOfRange, "a numeric is stored with at most %d significant digits, or as a whole number of 64 bits: round it", maxDigits)
	}
	f, err := strconv.ParseFloat(d.scientific(), 64)
	if err != nil || f == 0 || math.Abs(f) < smallestNormal {
		return nil, t.outOfRange()
	}
	return f, nil
}

// smallestNormal is the least number that has all of its digits.
const smallestNormal = 0x1p-1022

func (d *decimal) scientific() string {
	b := make([]byte, 0, len(d.digits)+12)
	if d.negative {
		b = append(b, '-')
	}
	b = append(b, "0."...)
	b = append(b, d.digits...)
	b = append(b, 'e')
	return string(strconv.AppendInt(b, int64(d.point), 10))
}

// decimalOf returns the digits of a number.
func decimalOf(v any) (d decimal, ok bool) {
	switch v := v.(type) {
	case int64:
		return parseDecimal(strconv.FormatInt(v, 10))
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return d, false
		}
		return parseDecimal(strconv.FormatFloat(v, 'e', -1, 64))
	}
	return d, false
}

// checkNumeric says whether a number is one that Input would have made.
func (t Type) checkNumeric(v any) error {
	if n, ok := v.(int64); ok {
		precision, scale, limited := t.Precision()
		if !limited || precision-scale >= 19 || abs(n) < pow10(precision-scale) {
			return nil
		}
		return fail(stateOutOfRange, "numeric field overflow: type %s holds numbers below 10^%d", t.SQL(), precision-scale)
	}
	d, ok := decimalOf(v)
	if !ok {
		return t.wrongStored(v)
	}
	before := len(d.digits)
	if before > maxDigits {
		return fail(stateOutOfRange, "a numeric is stored with at most %d significant digits: round it, or cast it to %s", maxDigits, t.SQL())
	}
	precision, scale, limited := t.Precision()
	if limited && before-d.point > scale {
		return fail(stateOutOfRange, "the number has more than %d digits behind the point: round it, or cast it to %s", scale, t.SQL())
	}
	if limited && d.point > precision-scale {
		return fail(stateOutOfRange, "numeric field overflow: type %s holds numbers below 10^%d", t.SQL(), precision-scale)
	}
	return nil
}

func abs(n int64) uint64 {
	if n < 0 {
		return -uint64(n) //nolint:gosec // the magnitude, of the least one too
	}
	return uint64(n)
}

func pow10(n int) uint64 {
	p := uint64(1)
	for range n {
		p *= 10
	}
	return p
}
