package sqlfunc

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// textFunctions are those that take texts apart and put them together.
func textFunctions() []Function {
	one := func(name string, fn func(string) string) Function {
		return strict(name, 1, func(args []any) (any, error) { return made(fn(text(args[0]))) })
	}
	list := []Function{
		one("pg_lower", strings.ToLower), one("pg_upper", strings.ToUpper), one("pg_initcap", initcap), one("pg_reverse", reverse),
		strict("pg_ascii", 1, func(args []any) (any, error) {
			r, size := utf8.DecodeRuneInString(text(args[0]))
			if size == 0 {
				return int64(0), nil
			}
			return int64(r), nil
		}),
		strict("pg_chr", 1, chr),
		strict("pg_translate", 3, func(args []any) (any, error) { return made(translate(text(args[0]), text(args[1]), text(args[2]))) }),
		strict("pg_left", 2, func(args []any) (any, error) { return left(text(args[0]), integer(args[1])), nil }),
		strict("pg_right", 2, func(args []any) (any, error) { return right(text(args[0]), integer(args[1])), nil }),
		strict("pg_repeat", 2, func(args []any) (any, error) {
			s, n := text(args[0]), max(0, integer(args[1]))
			if s != "" && n > int64(maxText/len(s)) {
				return nil, tooLong()
			}
			if s == "" {
				return "", nil
			}
			return strings.Repeat(s, int(n)), nil
		}),
		strict("pg_split_part", 3, splitPart),
		strict("pg_starts_with", 2, func(args []any) (any, error) { return boolean(strings.HasPrefix(text(args[0]), text(args[1]))) }),
		loose("pg_concat", -1, func(args []any) (any, error) { return joined("", args) }),
		loose("pg_concat_ws", -1, func(args []any) (any, error) {
			if len(args) == 0 || args[0] == nil {
				return nil, nil //nolint:nilnil // NULL
			}
			return joined(text(args[0]), args[1:])
		}),
		loose("pg_format", -1, format),
		strict("pg_normalize", 1, func(args []any) (any, error) {
			s := text(args[0])
			for _, r := range s {
				if r >= 0x300 { // below, every character is its own normal form
					return nil, fail(stateNotSupported, "normalize() of such characters is not supported: normalise in the client")
				}
			}
			return s, nil
		}),
	}
	for name, sides := range map[string][2]bool{"pg_btrim": {true, true}, "pg_ltrim": {true, false}, "pg_rtrim": {false, true}} {
		list = append(list, times(strict(name, 1, func(args []any) (any, error) { return trim(args, sides[0], sides[1]) }), 1, 2)...)
	}
	for _, right := range []bool{false, true} {
		name := map[bool]string{false: "pg_lpad", true: "pg_rpad"}[right]
		list = append(list, times(strict(name, 2, func(args []any) (any, error) { return pad(args, right) }), 2, 3)...)
	}
	list = append(list, times(strict("pg_substring", 2, substring), 2, 3)...)
	list = append(list, times(strict("pg_overlay", 3, overlay), 3, 4)...)
	return list
}

func initcap(s string) string {
	inWord := false
	return strings.Map(func(r rune) rune {
		letter := unicode.IsLetter(r) || unicode.IsDigit(r)
		defer func() { inWord = letter }()
		if inWord {
			return unicode.ToLower(r)
		}
		return unicode.ToUpper(r)
	}, s)
}

func reverse(s string) string {
	runes := []rune(s)
	for i, j := 0, len(runes)-1; i < j; i, j = i+1, j-1 {
		runes[i], runes[j] = runes[j], runes[i]
	}
	return string(runes)
}

func chr(args []any) (any, error) {
	n := integer(args[0])
	if n <= 0 || n > unicode.MaxRune || !utf8.ValidRune(rune(n)) {
		return nil, fail(stateTooMuch, "the requested character is not one of Unicode's")
	}
	return string(rune(n)), nil
}

func translate(s, from, to string) string {
	target := []rune(to)
	m := map[rune]rune{}
	i := 0
	for _, r := range from {
		if _, ok := m[r]; !ok {
			m[r] = -1
			if i < len(target) {
				m[r] = target[i]
			}
		}
		i++
	}
	return strings.Map(func(r rune) rune {
		if t, ok := m[r]; ok {
			return t
		}
		return r
	}, s)
}

// left is the first n characters, or all but the last -n.
func left(s string, n int64) string {
	runes := []rune(s)
	if n < 0 {
		n += int64(len(runes))
	}
	return string(runes[:max(0, min(n, int64(len(runes))))])
}

// right is the last n characters, or all but the first -n.
func right(s string, n int64) string {
	runes := []rune(s)
	if n < 0 {
		n += int64(len(runes))
	}
	return string(runes[int64(len(runes))-max(0, min(n, int64(len(runes)))):])
}

func splitPart(args []any) (any, error) {
	s, separator, n := text(args[0]), text(args[1]), integer(args[2])
	if n == 0 {
		return nil, fail(stateInvalidArgument, "field position must not be zero")
	}
	parts := []string{s}
	if separator != "" {
		parts = strings.Split(s, separator)
	}
	if n < 0 {
		n += int64(len(parts)) + 1
	}
	if n < 1 || n > int64(len(parts)) {
		return "", nil
	}
	return parts[n-1], nil
}

// joined puts texts together and leaves NULLs out.
func joined(separator string, args []any) (any, error) {
	var b strings.Builder
	first := true
	for _, a := range args {
		if a == nil {
			continue
		}
		if !first {
			b.WriteString(separator)
		}
		first = false
		b.WriteString(text(a))
		if b.Len() > maxText {
			return nil, tooLong()
		}
	}
	return b.String(), nil
}

func trim(args []any, atStart, atEnd bool) (any, error) {
	if b, ok := args[0].([]byte); ok && len(args) > 1 {
		set := string(blob(args[1]))
		start, end := 0, len(b)
		for atStart && start < end && strings.IndexByte(set, b[start]) >= 0 {
			start++
		}
		for atEnd && start < end && strings.IndexByte(set, b[end-1]) >= 0 {
			end--
		}
		return append([]byte{}, b[start:end]...), nil
	}
	s, set := text(args[0]), " "
	if len(args) > 1 {
		set = text(args[1])
	}
	if atStart {
		s = strings.TrimLeft(s, set)
	}
	if atEnd {
		s = strings.TrimRight(s, set)
	}
	return s, nil
}

func pad(args []any, atEnd bool) (any, error) {
	s, n, fill := []rune(text(args[0])), max(0, integer(args[1])), []rune{' '}
	if len(args) > 2 {
		fill = []rune(text(args[2]))
	}
	if n > maxText/4 {
		return nil, tooLong()
	}
	if int64(len(s)) >= n || len(fill) == 0 {
		return string(s[:min(int64(len(s)), n)]), nil
	}
	padding := make([]rune, n-int64(len(s)))
	for i := range padding {
		padding[i] = fill[i%len(fill)]
	}
	if atEnd {
		return string(s) + string(padding), nil
	}
	return string(padding) + string(s), nil
}

// substring counts from 1, and takes the part of a range that is there.
func substring(args []any) (any, error) {
	start, length := integer(args[1])-1, int64(-1)
	if len(args) > 2 {
		if length = integer(args[2]); length < 0 {
			return nil, fail(stateSubstring, "negative substring length not allowed")
		}
	}
	if b, ok := args[0].([]byte); ok {
		from, to := part(int64(len(b)), start, length)
		return append([]byte{}, b[from:to]...), nil
	}
	runes := []rune(text(args[0]))
	from, to := part(int64(len(runes)), start, length)
	return string(runes[from:to]), nil
}

// part cuts a range to what is there; a length of -1 has no end.
func part(n, start, length int64) (from, to int64) {
	to = n
	if length >= 0 && start < n-length {
		to = start + length
	}
	from = max(0, min(start, n))
	return from, max(from, min(to, n))
}

func overlay(args []any) (any, error) {
	s, with, start := []rune(text(args[0])), text(args[1]), integer(args[2])
	length := int64(utf8.RuneCountInString(with))
	if len(args) > 3 {
		length = integer(args[3])
	}
	if start <= 0 {
		return nil, fail(stateSubstring, "negative substring length not allowed")
	}
	n := int64(len(s))
	before := s[:min(start-1, n)]
	after := s[max(0, min(n, start-1+length)):]
	return made(string(before) + with + string(after))
}

// format is format(): %s, %I, %L and %%, with positions and widths.
func format(args []any) (any, error) {
	if len(args) == 0 || args[0] == nil {
		return nil, nil //nolint:nilnil // NULL
	}
	var b strings.Builder
	f := formatter{args: args[1:], text: text(args[0])}
	for f.at < len(f.text) {
		c := f.text[f.at]
		f.at++
		if c != '%' {
			b.WriteByte(c)
			continue
		}
		s, err := f.verb()
		if err != nil {
			return nil, err
		}
		b.WriteString(s)
		if b.Len() > maxText {
			return nil, tooLong()
		}
	}
	return b.String(), nil
}

// formatter reads a format.
type formatter struct {
	text string
	at   int
	args []any
	next int
}

func (f *formatter) number() (n int, ok bool) {
	for f.at < len(f.text) && f.text[f.at] >= '0' && f.text[f.at] <= '9' && n < maxText {
		n, ok = n*10+int(f.text[f.at]-'0'), true
		f.at++
	}
	return n, ok
}

func (f *formatter) verb() (string, error) {
	if strings.HasPrefix(f.text[f.at:], "%") {
		f.at++
		return "%", nil
	}
	minus := false
	start := f.at
	if n, ok := f.number(); ok && f.at < len(f.text) && f.text[f.at] == '$' {
		if n == 0 {
			return "", fail(stateInvalidArgument, "format specifies argument 0, but arguments are numbered from 1")
		}
		f.at++
		f.next = n - 1
	} else {
		f.at = start
	}
	if strings.HasPrefix(f.text[f.at:], "-") {
		minus = true
		f.at++
	}
	if strings.HasPrefix(f.text[f.at:], "*") {
		return "", fail(stateNotSupported, "a width of * in format() is not supported")
	}
	width, _ := f.number()
	if f.at >= len(f.text) {
		return "", fail(stateInvalidArgument, "unterminated format() type specifier")
	}
	kind := f.text[f.at]
	f.at++
	if strings.IndexByte("sIL", kind) < 0 {
		return "", fail(stateInvalidArgument, "unrecognized format() type specifier: use %%s, %%I, %%L or %%%%")
	}
	if f.next >= len(f.args) {
		return "", fail(stateInvalidArgument, "too few arguments for format()")
	}
	arg := f.args[f.next]
	f.next++
	s, err := formatted(kind, arg)
	if err != nil || width == 0 {
		return s, err
	}
	if width > maxText/4 {
		return "", tooLong()
	}
	blank := strings.Repeat(" ", max(0, width-utf8.RuneCountInString(s)))
	if minus {
		return s + blank, nil
	}
	return blank + s, nil
}

func formatted(kind byte, arg any) (string, error) {
	switch {
	case kind == 'I' && arg == nil:
		return "", fail("22004", "null values cannot be formatted as an SQL identifier")
	case kind == 'I':
		return quoteIdentifier(text(arg)), nil
	case kind == 'L' && arg == nil:
		return "NULL", nil
	case kind == 'L':
		return quoteLiteral(text(arg)), nil
	}
	return text(arg), nil
}
