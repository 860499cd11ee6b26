package sqltype

import (
	"encoding/hex"
	"encoding/json"
	"math"
	"strconv"
	"strings"
)

// maxDimensions is PostgreSQL's limit of an array's dimensions.
const maxDimensions = 6

// arrayScanner reads PostgreSQL's text form of an array, {1,NULL,"a b"}.
type arrayScanner struct {
	t, element Type
	s          string
	at         int
}

func (t Type) inputArray(element Type, text string) (any, error) {
	s := strings.TrimSpace(text)
	if strings.HasPrefix(s, "[") { // [0:1]={…}: the lower bound is not kept
		_, rest, ok := strings.Cut(s, "=")
		if !ok {
			return nil, t.malformedArray()
		}
		s = strings.TrimSpace(rest)
	}
	p := arrayScanner{t: t, element: element, s: s}
	out, err := p.array(nil, 0)
	if err != nil {
		return nil, err
	}
	if p.at != len(p.s) {
		return nil, t.malformedArray()
	}
	return string(out), nil
}

func (t Type) malformedArray() error {
	return fail(stateInvalidText, "malformed array literal for type %s", t.SQL())
}

func (p *arrayScanner) blank() byte {
	for p.at < len(p.s) && strings.IndexByte(" \t\r\n", p.s[p.at]) >= 0 {
		p.at++
	}
	if p.at < len(p.s) {
		return p.s[p.at]
	}
	return 0
}

func (p *arrayScanner) array(dst []byte, depth int) ([]byte, error) {
	if depth >= maxDimensions || p.blank() != '{' {
		return nil, p.t.malformedArray()
	}
	p.at++
	dst = append(dst, '[')
	for first := true; ; first = false {
		c := p.blank()
		if c == '}' && first {
			p.at++
			return append(dst, ']'), nil
		}
		if !first {
			dst = append(dst, ',')
		}
		var err error
		if c == '{' {
			dst, err = p.array(dst, depth+1)
		} else {
			dst, err = p.item(dst)
		}
		if err != nil {
			return nil, err
		}
		switch p.blank() {
		case ',':
			p.at++
		case '}':
			p.at++
			return append(dst, ']'), nil
		default:
			return nil, p.t.malformedArray()
		}
	}
}

// item reads one element, in quotes or without.
func (p *arrayScanner) item(dst []byte) ([]byte, error) {
	quoted := p.blank() == '"'
	if quoted {
		p.at++
	}
	var b []byte
	for ; ; p.at++ {
		if p.at >= len(p.s) {
			return nil, p.t.malformedArray()
		}
		c := p.s[p.at]
		if quoted && c == '"' {
			p.at++
			break
		}
		if !quoted && (c == ',' || c == '}') {
			break
		}
		if !quoted && (c == '{' || c == '"') {
			return nil, p.t.malformedArray()
		}
		if c == '\\' {
			if p.at++; p.at >= len(p.s) {
				return nil, p.t.malformedArray()
			}
			c = p.s[p.at]
		}
		b = append(b, c)
	}
	text := string(b)
	if !quoted {
		text = strings.TrimSpace(text)
		if text == "" {
			return nil, p.t.malformedArray()
		}
		if strings.EqualFold(text, "null") {
			return append(dst, "null"...), nil
		}
	}
	v, err := p.element.Input(text)
	if err != nil {
		return nil, err
	}
	return p.element.appendElement(dst, v), nil
}

// appendElement writes a stored value as an element of the JSON that an array
// is stored as.
func (t Type) appendElement(dst []byte, v any) []byte {
	switch v := v.(type) {
	case int64:
		if t.OID == Bool.OID {
			return strconv.AppendBool(dst, v != 0)
		}
		return strconv.AppendInt(dst, v, 10)
	case float64:
		if math.IsInf(v, 0) {
			return appendJSONText(dst, string(appendFloat(nil, v, 64)))
		}
		return strconv.AppendFloat(dst, v, 'g', -1, 64)
	case string:
		return appendJSONText(dst, v)
	case []byte:
		return appendJSONText(dst, `\x`+hex.EncodeToString(v))
	}
	return append(dst, "null"...)
}

// elementOf reads an element of stored JSON back: nil, int64, float64, string
// or []byte, or an array's JSON as a string with nested set.
func (t Type) elementOf(raw json.RawMessage) (v any, nested bool, err error) {
	text := strings.TrimSpace(string(raw))
	switch text[0] {
	case 'n':
		return nil, false, nil
	case '[':
		return text, true, nil
	case 't':
		return int64(1), false, nil
	case 'f':
		return int64(0), false, nil
	case '"':
		var s string
		if err := json.Unmarshal(raw, &s); err != nil {
			return nil, false, t.invalidText()
		}
		if t.OID == Bytea.OID || t.OID == Float8.OID || t.OID == Float4.OID {
			v, err := t.Input(s)
			return v, false, err
		}
		return s, false, nil
	case '{':
		return text, false, nil
	}
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		return n, false, nil
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return nil, false, t.invalidText()
	}
	return f, false, nil
}

// appendArray writes stored JSON in PostgreSQL's text form of an array.
func (t Type) appendArray(dst []byte, element Type, s string) ([]byte, error) {
	all, ok := jsonElements(s)
	if !ok {
		return append(dst, s...), nil // in PostgreSQL's form already
	}
	dst = append(dst, '{')
	for i, raw := range all {
		if i > 0 {
			dst = append(dst, ',')
		}
		v, nested, err := element.elementOf(raw)
		switch {
		case err != nil:
			return nil, err
		case nested:
			dst, err = t.appendArray(dst, element, v.(string)) //nolint:forcetypeassert // nested is a string
		case v == nil:
			dst = append(dst, "NULL"...)
		default:
			var b []byte
			b, err = element.AppendText(nil, v)
			dst = appendArrayText(dst, string(b))
		}
		if err != nil {
			return nil, err
		}
	}
	return append(dst, '}'), nil
}

// appendArrayText writes an element, in quotes where it needs them.
func appendArrayText(dst []byte, s string) []byte {
	if s != "" && !strings.EqualFold(s, "null") && !strings.ContainsAny(s, "{}\",\\ \t\n\r\v\f") {
		return append(dst, s...)
	}
	dst = append(dst, '"')
	for i := range len(s) {
		if s[i] == '"' || s[i] == '\\' {
			dst = append(dst, '\\')
		}
		dst = append(dst, s[i])
	}
	return append(dst, '"')
}

// checkArray says whether a text is an array's stored form.
func (t Type) checkArray(element Type, s string) error {
	all, ok := jsonElements(s)
	if !ok || len(s) == 0 || s[0] != '[' {
		return fail(stateWrongType, "the value is not a stored %s: cast it", t.SQL())
	}
	for _, raw := range all {
		v, nested, err := element.elementOf(raw)
		if err == nil && nested {
			err = t.checkArray(element, v.(string)) //nolint:forcetypeassert // nested is a string
		} else if err == nil {
			err = element.Check(v)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
