package sqltype

import (
	"encoding/hex"
	"errors"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Input reads PostgreSQL's text form of a value and returns its stored form.
// Errors are *fault.Error with the SQLSTATE that PostgreSQL would give.
func (t Type) Input(text string) (any, error) {
	if v, ok := t.inputPlain(text); ok {
		return v, nil
	}
	return t.inputAny(text)
}

func (t Type) inputAny(text string) (any, error) {
	if err := checkText(text); err != nil {
		return nil, err
	}
	switch t.OID {
	case Bool.OID:
		return t.inputBool(text)
	case Int2.OID, Int4.OID, Int8.OID, OIDType.OID, XID.OID:
		return t.inputInteger(text)
	case Float4.OID, Float8.OID:
		return t.inputFloat(text)
	case Numeric.OID:
		return t.inputNumeric(text)
	case Varchar.OID, BPChar.OID, Name.OID, Char.OID:
		return t.limitText(text, false)
	case Date.OID, Timestamp.OID, Timestamptz.OID, Time.OID:
		return t.inputDatetime(text)
	case Interval.OID:
		return t.inputInterval(text)
	case UUID.OID:
		return t.inputUUID(text)
	case JSON.OID:
		return t.inputJSON(text)
	case JSONB.OID:
		return t.inputJSONB(text)
	case Bytea.OID:
		return t.inputBytea(text)
	case Regclass.OID, Regtype.OID, Regproc.OID, Regnamespace.OID, Regrole.OID:
		if n, err := strconv.ParseUint(text, 10, 32); err == nil {
			return int64(n), nil //nolint:gosec // 32 bits
		}
		return text, nil
	}
	if e, ok := t.Element(); ok {
		return t.inputArray(e, text)
	}
	return text, nil
}

// checkText refuses what PostgreSQL's UTF8 does.
func checkText(text string) error {
	if !utf8.ValidString(text) || strings.IndexByte(text, 0) >= 0 {
		return fail(stateEncoding, "invalid byte sequence for encoding \"UTF8\"")
	}
	return nil
}

func (t Type) inputBool(text string) (any, error) {
	s := strings.ToLower(strings.TrimSpace(text))
	switch {
	case s == "1", s == "on", s != "" && (strings.HasPrefix("true", s) || strings.HasPrefix("yes", s)):
		return int64(1), nil
	case s == "0", s == "of", s == "off", s != "" && (strings.HasPrefix("false", s) || strings.HasPrefix("no", s)):
		return int64(0), nil
	}
	return nil, t.invalidText()
}

// bounds are the least and the greatest value of an integer type.
func (t Type) bounds() (low, high int64) {
	switch t.OID {
	case Int2.OID:
		return math.MinInt16, math.MaxInt16
	case Int4.OID:
		return math.MinInt32, math.MaxInt32
	case OIDType.OID, XID.OID:
		return 0, math.MaxUint32
	}
	return math.MinInt64, math.MaxInt64
}

func (t Type) inputInteger(text string) (any, error) {
	s := strings.TrimSpace(text)
	base := 10
	digits := strings.TrimLeft(s, "+-")
	if len(digits) > 1 && digits[0] == '0' && strings.ContainsRune("xXoObB", rune(digits[1])) || strings.Contains(s, "_") {
		base = 0 // 0x1F, 1_000
	}
	if base == 0 && len(digits) > 1 && digits[0] == '0' && digits[1] >= '0' && digits[1] <= '9' {
		return nil, t.invalidText() // 01_0 would be octal
	}
	n, err := strconv.ParseInt(s, base, 64)
	if err != nil {
		if isRange(err) {
			return nil, t.outOfRange()
		}
		return nil, t.invalidText()
	}
	return t.checkInteger(n)
}

func isRange(err error) bool {
	return errors.Is(err, strconv.ErrRange)
}

func (t Type) checkInteger(n int64) (any, error) {
	if t.OID == OIDType.OID && n < 0 && n >= math.MinInt32 {
		n += 1 << 32 // PostgreSQL takes -1 as 4294967295
	}
	if low, high := t.bounds(); n < low || n > high {
		return nil, t.outOfRange()
	}
	return n, nil
}

func (t Type) inputFloat(text string) (any, error) {
	s := strings.ToLower(strings.TrimSpace(text))
	if strings.ContainsAny(s, "_xp") {
		return nil, t.invalidText()
	}
	bits := 64
	if t.OID == Float4.OID {
		bits = 32
	}
	f, err := strconv.ParseFloat(s, bits)
	if err != nil {
		if isRange(err) {
			return nil, t.outOfRange()
		}
		return nil, t.invalidText()
	}
	return t.checkFloat(f)
}

func (t Type) checkFloat(f float64) (any, error) {
	if math.IsNaN(f) {
		return nil, fail(stateOutOfRange, "NaN cannot be stored in type %s", t.SQL())
	}
	if t.OID == Float4.OID && !math.IsInf(f, 0) {
		short := float64(float32(f))
		if math.IsInf(short, 0) {
			return nil, t.outOfRange()
		}
		f = short
	}
	return f + 0, nil
}

// maxName is the longest name of type name, in bytes.
const maxName = 63

// limitText applies the length of varchar(n), bpchar(n), name and "char". An
// explicit cast cuts, a value that is stored must fit but for blanks.
func (t Type) limitText(s string, cut bool) (any, error) {
	switch t.OID {
	case Name.OID:
		for len(s) > maxName {
			_, n := utf8.DecodeLastRuneInString(s)
			s = s[:len(s)-n]
		}
		return s, nil
	case Char.OID:
		if s == "" {
			return s, nil
		}
		_, n := utf8.DecodeRuneInString(s)
		return s[:n], nil
	}
	limit, limited := t.Length()
	if limited && len(s) > limit && utf8.RuneCountInString(s) > limit {
		at := 0
		for range limit {
			_, n := utf8.DecodeRuneInString(s[at:])
			at += n
		}
		if !cut && strings.Trim(s[at:], " ") != "" {
			return nil, fail(stateTooLong, "value too long for type %s", t.SQL())
		}
		s = s[:at]
	}
	if t.OID == BPChar.OID {
		s = strings.TrimRight(s, " ")
	}
	return s, nil
}

func (t Type) inputUUID(text string) (any, error) {
	s := text
	if strings.HasPrefix(s, "{") && strings.HasSuffix(s, "}") {
		s = s[1 : len(s)-1]
	}
	var raw [16]byte
	n := 0
	for i := 0; i < len(s); {
		if s[i] == '-' && n > 0 && n%2 == 0 && n < len(raw) && s[i-1] != '-' {
			i++
			continue
		}
		if n == len(raw) || i+2 > len(s) {
			return nil, t.invalidText()
		}
		if _, err := hex.Decode(raw[n:n+1], []byte(s[i:i+2])); err != nil {
			return nil, t.invalidText()
		}
		n++
		i += 2
	}
	if n != len(raw) {
		return nil, t.invalidText()
	}
	return formatUUID(raw[:]), nil
}

// formatUUID writes 16 bytes with dashes.
func formatUUID(raw []byte) string {
	var b [36]byte
	hex.Encode(b[:8], raw[:4])
	b[8] = '-'
	hex.Encode(b[9:13], raw[4:6])
	b[13] = '-'
	hex.Encode(b[14:18], raw[6:8])
	b[18] = '-'
	hex.Encode(b[19:23], raw[8:10])
	b[23] = '-'
	hex.Encode(b[24:], raw[10:16])
	return string(b[:])
}

// inputBytea reads both of PostgreSQL's forms: \x… and escapes.
func (t Type) inputBytea(text string) (any, error) {
	if digits, ok := strings.CutPrefix(text, `\x`); ok {
		if strings.ContainsAny(digits, " \t\n\r") {
			digits = strings.Join(strings.Fields(digits), "")
		}
		b, err := hex.DecodeString(digits)
		if err != nil {
			return nil, fail("22023", "invalid hexadecimal digits for type bytea: write pairs of 0-9 and a-f after \\x")
		}
		return b, nil
	}
	b := make([]byte, 0, len(text))
	for i := 0; i < len(text); i++ {
		switch {
		case text[i] != '\\':
			b = append(b, text[i])
		case i+1 < len(text) && text[i+1] == '\\':
			b = append(b, '\\')
			i++
		case i+3 < len(text):
			n, err := strconv.ParseUint(text[i+1:i+4], 8, 8)
			if err != nil {
				return nil, t.invalidText()
			}
			b = append(b, byte(n))
			i += 3
		default:
			return nil, t.invalidText()
		}
	}
	return b, nil
}
