package dialect

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// escaped reads the content of E'…', at the quote.
func (l *lexer) escaped(start int) (string, error) {
	l.at++
	var b strings.Builder
	for l.at < len(l.text) {
		switch c := l.text[l.at]; {
		case c == '\'' && l.peek(1) == '\'':
			b.WriteByte('\'')
			l.at += 2
		case c == '\'':
			l.at++
			if !utf8.ValidString(b.String()) || strings.IndexByte(b.String(), 0) >= 0 {
				return "", failAt(l.text, start, stateEncoding, "the escapes of this string do not make valid UTF-8 text")
			}
			return b.String(), nil
		case c == '\\':
			if err := l.escape(&b); err != nil {
				return "", err
			}
		default:
			b.WriteByte(c)
			l.at++
		}
	}
	return "", failAt(l.text, start, stateSyntax, "unterminated quoted string")
}

var simpleEscapes = map[byte]byte{'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t'}

// escape reads one \ sequence.
func (l *lexer) escape(b *strings.Builder) error {
	at := l.at
	c := l.peek(1)
	l.at = min(l.at+2, len(l.text))
	switch {
	case simpleEscapes[c] != 0:
		b.WriteByte(simpleEscapes[c])
	case c >= '0' && c <= '7':
		n := int(c - '0')
		for i := 0; i < 2 && l.peek(0) >= '0' && l.peek(0) <= '7'; i++ {
			n = n*8 + int(l.peek(0)-'0')
			l.at++
		}
		b.WriteByte(byte(n))
	case c == 'x' && hexValue(l.peek(0)) >= 0:
		n := 0
		for i := 0; i < 2 && hexValue(l.peek(0)) >= 0; i++ {
			n = n*16 + hexValue(l.peek(0))
			l.at++
		}
		b.WriteByte(byte(n))
	case c == 'u', c == 'U':
		r, err := l.codePoint(at, map[byte]int{'u': 4, 'U': 8}[c])
		if err != nil {
			return err
		}
		if utf8.ValidRune(r) {
			b.WriteRune(r)
			return nil
		}
		// The first half of a surrogate pair.
		if r < 0xD800 || r > 0xDBFF || l.peek(0) != '\\' || l.peek(1) != 'u' {
			return failAt(l.text, at, stateSyntax, "invalid Unicode escape value")
		}
		l.at += 2
		low, err := l.codePoint(at, 4)
		if err != nil || low < 0xDC00 || low > 0xDFFF {
			return failAt(l.text, at, stateSyntax, "invalid Unicode surrogate pair")
		}
		b.WriteRune((r-0xD800)<<10 + (low - 0xDC00) + 0x10000)
	default:
		if l.at-1 < len(l.text) && c != 0 {
			l.at = at + 1
			_, n := utf8.DecodeRuneInString(l.text[l.at:])
			b.WriteString(l.text[l.at : l.at+n])
			l.at += n
		}
	}
	return nil
}

// codePoint reads n hexadecimal digits.
func (l *lexer) codePoint(at, n int) (rune, error) {
	if l.at+n > len(l.text) {
		return 0, failAt(l.text, at, stateSyntax, "invalid Unicode escape")
	}
	v, err := strconv.ParseUint(l.text[l.at:l.at+n], 16, 32)
	if err != nil || v > utf8.MaxRune || v == 0 {
		return 0, failAt(l.text, at, stateSyntax, "invalid Unicode escape")
	}
	l.at += n
	return rune(v), nil
}

func hexValue(c byte) int {
	switch {
	case isDigit(c):
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

// unicode reads U&'…' or U&"…", in which \1234 and \+123456 are characters.
func (l *lexer) unicode(start int) (token, error) {
	l.at += 2
	var t token
	var err error
	if l.peek(0) == '"' {
		t, err = l.quotedName(start)
	} else {
		t, err = l.quotedString(start, l.at, false)
	}
	if err != nil {
		return token{}, err
	}
	inner := lexer{text: t.value}
	var b strings.Builder
	for inner.at < len(inner.text) {
		c := inner.text[inner.at]
		if c != '\\' {
			b.WriteByte(c)
			inner.at++
			continue
		}
		n := 4
		switch inner.peek(1) {
		case '\\':
			b.WriteByte('\\')
			inner.at += 2
			continue
		case '+':
			n = 6
			inner.at++
		}
		inner.at++
		r, err := inner.codePoint(0, n)
		if err != nil || !utf8.ValidRune(r) {
			return token{}, failAt(l.text, start, stateSyntax, "invalid Unicode escape")
		}
		b.WriteRune(r)
	}
	t.value = b.String()
	return t, nil
}

// dollar reads $1 or $tag$…$tag$.
func (l *lexer) dollar() (token, error) {
	start := l.at
	if isDigit(l.peek(1)) {
		l.at++
		for isDigit(l.peek(0)) {
			l.at++
		}
		if isIdentStart(l.peek(0)) {
			return token{}, failAt(l.text, start, stateSyntax, "trailing junk after parameter")
		}
		return token{kind: tokParam, start: start, end: l.at, value: l.text[start+1 : l.at]}, nil
	}
	end := start + 1
	for end < len(l.text) && isIdentByte(l.text[end]) && l.text[end] != '$' {
		end++
	}
	if end >= len(l.text) || l.text[end] != '$' {
		return token{}, failAt(l.text, start, stateSyntax, `syntax error at or near "$"`)
	}
	tag := l.text[start : end+1]
	length := strings.Index(l.text[end+1:], tag)
	if length < 0 {
		return token{}, failAt(l.text, start, stateSyntax, "unterminated dollar-quoted string")
	}
	value := l.text[end+1 : end+1+length]
	l.at = end + 1 + length + len(tag)
	return token{kind: tokString, start: start, end: l.at, value: value}, nil
}

// backtick reads SQLite's `name`.
func (l *lexer) backtick() (token, error) {
	start := l.at
	value, err := l.untilQuote('`', "identifier", start)
	return token{kind: tokSQLite, start: start, end: l.at, value: value}, err
}

// question reads a ? alone, which is an operator of jsonb or SQLite's
// parameter, as what stands around it says.
func (l *lexer) question() token {
	start := l.at
	l.at++
	if isDigit(l.peek(0)) {
		for isDigit(l.peek(0)) {
			l.at++
		}
		return token{kind: tokSQLite, start: start, end: l.at, value: l.text[start:l.at]}
	}
	return token{kind: tokOperator, start: start, end: l.at, value: "?"}
}

// mark reads punctuation.
func (l *lexer) mark() (token, error) {
	start := l.at
	l.at++
	if l.text[start] == ':' && (l.peek(0) == ':' || l.peek(0) == '=') {
		l.at++
	}
	return token{kind: tokPunct, start: start, end: l.at, value: l.text[start:l.at]}, nil
}

// operator reads the longest operator. One of several characters ends in + or
// - only when it holds one of the characters that standard SQL has no use for.
func (l *lexer) operator() token {
	start := l.at
	end := start
	for end < len(l.text) && isOperatorByte(l.text[end]) {
		if end > start && (strings.HasPrefix(l.text[end:], "--") || strings.HasPrefix(l.text[end:], "/*")) {
			break
		}
		end++
	}
	if !strings.ContainsAny(l.text[start:end], "~!@#%^&|?") {
		for end-start > 1 && (l.text[end-1] == '+' || l.text[end-1] == '-') {
			end--
		}
	}
	l.at = end
	value := l.text[start:end]
	if value == "!=" {
		value = "<>"
	}
	return token{kind: tokOperator, start: start, end: end, value: value}
}
