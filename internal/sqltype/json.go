package sqltype

import (
	"bytes"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// maxNesting bounds how deep JSON may nest.
const maxNesting = 1000

// maxNumberDigits bounds how long a JSON number becomes without its exponent.
const maxNumberDigits = 1000

func (t Type) inputJSON(text string) (any, error) {
	if !json.Valid([]byte(text)) {
		return nil, t.invalidText()
	}
	return text, nil
}

// inputJSONB returns the text as PostgreSQL prints a jsonb: keys by length and
// then bytes, the last of equal ones, and one blank behind ":" and ",".
func (t Type) inputJSONB(text string) (any, error) {
	if !json.Valid([]byte(text)) {
		return nil, t.invalidText()
	}
	p := jsonbParser{t: t, s: text}
	out, err := p.value(make([]byte, 0, len(text)), 0)
	if err != nil {
		return nil, err
	}
	return string(out), nil
}

// jsonbParser walks JSON that is known to be valid.
type jsonbParser struct {
	t  Type
	s  string
	at int
}

func (p *jsonbParser) blank() {
	for p.at < len(p.s) && strings.IndexByte(" \t\r\n", p.s[p.at]) >= 0 {
		p.at++
	}
}

// value appends the normalised next value.
func (p *jsonbParser) value(dst []byte, depth int) ([]byte, error) {
	if depth > maxNesting {
		return nil, fail("54001", "the JSON nests deeper than %d", maxNesting)
	}
	p.blank()
	switch c := p.s[p.at]; c {
	case '{':
		return p.object(dst, depth)
	case '[':
		return p.array(dst, depth)
	case '"':
		s, err := p.text()
		return appendJSONText(dst, s), err
	case 't', 'f', 'n':
		n := 4
		if c == 'f' {
			n = 5
		}
		p.at += n
		return append(dst, p.s[p.at-n:p.at]...), nil
	}
	return p.number(dst)
}

func (p *jsonbParser) array(dst []byte, depth int) ([]byte, error) {
	p.at++
	dst = append(dst, '[')
	for first := true; ; first = false {
		p.blank()
		if p.s[p.at] == ']' {
			p.at++
			return append(dst, ']'), nil
		}
		if !first {
			p.at++ // the comma
			dst = append(dst, ", "...)
		}
		var err error
		if dst, err = p.value(dst, depth+1); err != nil {
			return nil, err
		}
	}
}

// member is one key of an object with its normalised value.
type member struct {
	key   string
	value []byte
}

func (p *jsonbParser) object(dst []byte, depth int) ([]byte, error) {
	p.at++
	var members []member
	for {
		p.blank()
		switch p.s[p.at] {
		case '}':
			p.at++
			return appendMembers(dst, members), nil
		case ',':
			p.at++
			p.blank()
		}
		key, err := p.text()
		if err != nil {
			return nil, err
		}
		p.blank()
		p.at++ // the colon
		v, err := p.value(nil, depth+1)
		if err != nil {
			return nil, err
		}
		members = append(members, member{key, v})
	}
}

func appendMembers(dst []byte, members []member) []byte {
	slices.SortStableFunc(members, func(a, b member) int {
		if len(a.key) != len(b.key) {
			return len(a.key) - len(b.key)
		}
		return strings.Compare(a.key, b.key)
	})
	dst = append(dst, '{')
	first := true
	for i, m := range members {
		if i+1 < len(members) && members[i+1].key == m.key {
			continue // a later one of the same name counts
		}
		if !first {
			dst = append(dst, ", "...)
		}
		first = false
		dst = appendJSONText(dst, m.key)
		dst = append(dst, ": "...)
		dst = append(dst, m.value...)
	}
	return append(dst, '}')
}

// text reads a string and resolves its escapes.
func (p *jsonbParser) text() (string, error) {
	p.at++
	start := p.at
	for p.s[p.at] != '"' && p.s[p.at] != '\\' {
		p.at++
	}
	if p.s[p.at] == '"' {
		p.at++
		return p.s[start : p.at-1], nil
	}
	b := []byte(p.s[start:p.at])
	for p.s[p.at] != '"' {
		if p.s[p.at] != '\\' {
			b = append(b, p.s[p.at])
			p.at++
			continue
		}
		p.at += 2
		switch c := p.s[p.at-1]; c {
		case 'b':
			b = append(b, '\b')
		case 'f':
			b = append(b, '\f')
		case 'n':
			b = append(b, '\n')
		case 'r':
			b = append(b, '\r')
		case 't':
			b = append(b, '\t')
		case 'u':
			r, err := p.unicode()
			if err != nil {
				return "", err
			}
			b = utf8.AppendRune(b, r)
		default:
			b = append(b, c)
		}
	}
	p.at++
	return string(b), nil
}

// unicode reads the digits of \uXXXX, and of the second half of a pair.
func (p *jsonbParser) unicode() (rune, error) {
	r := p.hex()
	if r == 0 {
		return 0, fail(stateUntranslatable, "unsupported Unicode escape sequence: \\u0000 cannot be converted to text")
	}
	if !utf16.IsSurrogate(r) {
		return r, nil
	}
	if strings.HasPrefix(p.s[p.at:], `\u`) {
		p.at += 2
		if r = utf16.DecodeRune(r, p.hex()); r != utf8.RuneError {
			return r, nil
		}
	}
	return 0, p.t.invalidText()
}

func (p *jsonbParser) hex() rune {
	n, _ := strconv.ParseUint(p.s[p.at:p.at+4], 16, 32) // valid JSON has four digits there
	p.at += 4
	return rune(n) //nolint:gosec // 16 bits
}

// number writes a number as numeric prints it: no exponent, zeros at its end
// kept.
func (p *jsonbParser) number(dst []byte) ([]byte, error) {
	start := p.at
	for p.at < len(p.s) && strings.IndexByte("+-.eE0123456789", p.s[p.at]) >= 0 {
		p.at++
	}
	s := p.s[start:p.at]
	mantissa, exponent := s, 0
	if at := strings.IndexAny(s, "eE"); at >= 0 {
		n, err := strconv.Atoi(s[at+1:])
		if err != nil || n > maxNumberDigits || n < -maxNumberDigits {
			return nil, Numeric.outOfRange()
		}
		mantissa, exponent = s[:at], n
	}
	_, fraction, _ := strings.Cut(mantissa, ".")
	d, ok := parseDecimal(s)
	if !ok {
		return nil, p.t.invalidText()
	}
	return d.appendFixed(dst, max(0, len(fraction)-exponent)), nil
}

// appendJSONText writes a string as PostgreSQL's JSON output does.
func appendJSONText(dst []byte, s string) []byte {
	const digits = "0123456789abcdef"
	dst = append(dst, '"')
	for i := range len(s) {
		c := s[i]
		if at := strings.IndexByte("\b\f\n\r\t\"\\", c); at >= 0 {
			dst = append(dst, '\\', `bfnrt"\`[at])
		} else if c < ' ' {
			dst = append(dst, '\\', 'u', '0', '0', digits[c>>4], digits[c&15])
		} else {
			dst = append(dst, c)
		}
	}
	return append(dst, '"')
}

// isJSON says whether a text is JSON, and for jsonb whether it is normalised.
func (t Type) isJSON(s string) bool {
	if t.OID == JSON.OID {
		return json.Valid([]byte(s))
	}
	v, err := t.inputJSONB(s)
	return err == nil && v == s
}

// jsonElements reads a JSON array's elements; an element that is an array
// itself stays JSON text.
func jsonElements(s string) ([]json.RawMessage, bool) {
	var all []json.RawMessage
	d := json.NewDecoder(bytes.NewReader([]byte(s)))
	if d.Decode(&all) != nil || d.More() {
		return nil, false
	}
	return all, true
}
