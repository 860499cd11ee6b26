package sqltype

// What most values look like is recognised here without building anything: a
// short cut of Input and Check, which must never answer other than the long
// way does where it answers at all.

// inputPlain is Input for the plainest spelling of a value; !ok says nothing.
func (t Type) inputPlain(text string) (v any, ok bool) {
	switch t.OID {
	case Int2.OID, Int4.OID, Int8.OID:
		n, ok := plainInteger(text)
		if low, high := t.bounds(); !ok || n < low || n > high {
			return nil, false
		}
		return n, true
	case Bool.OID:
		switch text {
		case "t", "true", "1":
			return int64(1), true
		case "f", "false", "0":
			return int64(0), true
		}
	case Date.OID:
		if plainDate(text) {
			return text, true
		}
	case Numeric.OID:
		return t.plainNumeric(text)
	}
	return nil, false
}

// plainInteger reads up to 18 digits, which no int64 is too small for, with or
// without a minus.
func plainInteger(s string) (n int64, ok bool) {
	digits := s
	if s != "" && s[0] == '-' {
		digits = s[1:]
	}
	if len(digits) == 0 || len(digits) > 18 {
		return 0, false
	}
	for i := range len(digits) {
		c := digits[i] - '0'
		if c > 9 {
			return 0, false
		}
		n = n*10 + int64(c)
	}
	if len(digits) != len(s) {
		n = -n
	}
	return n, true
}

// plainDate says whether a text is a day of the years 0001 to 9999, written
// YYYY-MM-DD.
func plainDate(s string) bool {
	if len(s) != 10 || s[4] != '-' || s[7] != '-' {
		return false
	}
	year, ok1 := plainInteger(s[:4])
	month, ok2 := plainInteger(s[5:7])
	day, ok3 := plainInteger(s[8:])
	if !ok1 || !ok2 || !ok3 || year < 1 || month < 1 || month > 12 || day < 1 {
		return false
	}
	// Of the last days of months, only those that all of that name have.
	return day <= 28 || month != 2 && (day <= 30 || day == 31 && month != 4 && month != 6 && month != 9 && month != 11)
}

// tens are the powers of ten that a float64 holds exactly and maxDigits needs.
var tens = [maxDigits + 1]int64{1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15}

// plainNumeric reads up to 15 digits with a point among them: then the digits
// and the power of ten are exact floats, and their quotient is the float next
// to the number. Rounding to a scale is left to the long way.
func (t Type) plainNumeric(s string) (any, bool) {
	negative := s != "" && s[0] == '-'
	if negative {
		s = s[1:]
	}
	n, count, point := int64(0), 0, -1
	for i := range len(s) {
		if s[i] == '.' && point < 0 {
			point = count
			continue
		}
		c := s[i] - '0'
		if c > 9 || count == maxDigits {
			return nil, false
		}
		n = n*10 + int64(c)
		count++
	}
	behind := 0
	if point >= 0 {
		behind = count - point
	}
	precision, scale, limited := t.Precision()
	if count == 0 || limited && behind > scale || limited && count-behind > precision-scale {
		return nil, false
	}
	if negative {
		n = -n
	}
	if p := tens[behind]; n%p == 0 {
		return n / p, true
	}
	return float64(n) / float64(tens[behind]), true
}

// checkPlain is Check for values of the plainest kind; false says nothing.
func (t Type) checkPlain(v any) bool {
	switch v := v.(type) {
	case string:
		return t.OID == Date.OID && plainDate(v)
	case float64:
		if t.OID != Numeric.OID {
			return false
		}
		precision, scale, limited := t.Precision()
		if !limited || precision > maxDigits || scale > precision {
			return false
		}
		// A whole number of scale-th parts, below the precision, whose
		// nearest float is v: it is what Input makes of that number.
		p := float64(tens[scale])
		parts := v * p
		if !(parts > -float64(tens[precision]) && parts < float64(tens[precision])) {
			return false
		}
		n := int64(parts + 0.5)
		if parts < 0 {
			n = int64(parts - 0.5)
		}
		return n > -tens[precision] && n < tens[precision] && float64(n)/p == v
	}
	return false
}
