package dialect

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxStatementBytes is the longest text that is read.
const maxStatementBytes = 4 << 20

// maxTokens is how many tokens it may have: each takes ten times the memory of
// its shortest text.
const maxTokens = 2 << 20

// lexer cuts a text into tokens by PostgreSQL's rules. Comments are no tokens.
type lexer struct {
	text string
	at   int
}

// lex returns the tokens of a text, the last of which is tokEnd.
func lex(text string) ([]token, error) {
	if len(text) > maxStatementBytes {
		return nil, tooComplex(text, 0, "the statement is longer than %d bytes", maxStatementBytes)
	}
	if at := strings.IndexByte(text, 0); at >= 0 {
		return nil, failAt(text, at, stateEncoding, "a NUL byte cannot be part of a statement")
	}
	if !utf8.ValidString(text) {
		return nil, failAt(text, 0, stateEncoding, "the statement is not valid UTF-8: send it in UTF-8")
	}
	l := lexer{text: text}
	tokens := make([]token, 0, len(text)/4+2)
	for {
		t, err := l.next()
		if err != nil {
			return nil, err
		}
		tokens = append(tokens, t)
		if t.kind == tokEnd {
			return tokens, nil
		}
		if len(tokens) > maxTokens {
			return nil, tooComplex(text, t.start, "the statement has more than %d words and marks", maxTokens)
		}
	}
}

// space skips white space and comments.
func (l *lexer) space() error {
	for l.at < len(l.text) {
		switch c := l.text[l.at]; {
		case c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' || c == '\v':
			l.at++
		case c == '-' && l.peek(1) == '-':
			end := strings.IndexByte(l.text[l.at:], '\n')
			if end < 0 {
				l.at = len(l.text)
				return nil
			}
			l.at += end + 1
		case c == '/' && l.peek(1) == '*':
			if err := l.comment(); err != nil {
				return err
			}
		default:
			return nil
		}
	}
	return nil
}

// comment skips a comment, which may hold others.
func (l *lexer) comment() error {
	start, depth := l.at, 0
	for l.at < len(l.text) {
		switch {
		case l.text[l.at] == '/' && l.peek(1) == '*':
			depth++
			l.at += 2
		case l.text[l.at] == '*' && l.peek(1) == '/':
			depth--
			l.at += 2
			if depth == 0 {
				return nil
			}
		default:
			l.at++
		}
	}
	return failAt(l.text, start, stateSyntax, "unterminated /* comment")
}

// peek returns the byte that stands n further, 0 at the end.
func (l *lexer) peek(n int) byte {
	if l.at+n < len(l.text) {
		return l.text[l.at+n]
	}
	return 0
}

func (l *lexer) next() (token, error) {
	if err := l.space(); err != nil {
		return token{}, err
	}
	if l.at >= len(l.text) {
		return token{kind: tokEnd, start: l.at, end: l.at}, nil
	}
	switch c := l.text[l.at]; {
	case isIdentStart(c):
		return l.word()
	case isDigit(c), c == '.' && isDigit(l.peek(1)):
		return l.number()
	case c == '\'':
		return l.quotedString(l.at, l.at, false)
	case c == '"':
		return l.quotedName(l.at)
	case c == '$':
		return l.dollar()
	case c == '`':
		return l.backtick()
	case c == '?' && !isOperatorByte(l.peek(1)):
		return l.question(), nil
	case strings.IndexByte("()[],;.:", c) >= 0:
		return l.mark()
	case isOperatorByte(c):
		return l.operator(), nil
	}
	r, _ := utf8.DecodeRuneInString(l.text[l.at:])
	return token{}, failAt(l.text, l.at, stateSyntax, "syntax error at or near %s", strconv.QuoteRune(r))
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func isIdentStart(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' || c >= 0x80
}

func isIdentByte(c byte) bool { return isIdentStart(c) || isDigit(c) || c == '$' }

func isOperatorByte(c byte) bool { return c != 0 && strings.IndexByte("+-*/<>=~!@#%^&|?", c) >= 0 }

// fold lowers the letters of ASCII, as PostgreSQL does with bare names.
func fold(name string) string {
	for i := 0; i < len(name); i++ {
		if c := name[i]; c >= 'A' && c <= 'Z' {
			b := []byte(name)
			for ; i < len(b); i++ {
				if b[i] >= 'A' && b[i] <= 'Z' {
					b[i] += 'a' - 'A'
				}
			}
			return string(b)
		}
	}
	return name
}

// word reads an identifier or keyword, or a string or name with a prefix.
func (l *lexer) word() (token, error) {
	start := l.at
	if l.text[l.at] < 0x80 {
		switch next := l.peek(1); l.text[l.at] | 0x20 {
		case 'e':
			if next == '\'' {
				return l.quotedString(start, start+1, true)
			}
		case 'n':
			if next == '\'' {
				return l.quotedString(start, start+1, false)
			}
		case 'b', 'x':
			if next == '\'' {
				t, err := l.quotedString(start, start+1, false)
				t.kind = tokBits
				return t, err
			}
		case 'u':
			if next == '&' && (l.peek(2) == '\'' || l.peek(2) == '"') {
				return l.unicode(start)
			}
		}
	}
	for l.at < len(l.text) && isIdentByte(l.text[l.at]) {
		l.at++
	}
	return token{kind: tokWord, start: start, end: l.at, value: shorten(fold(l.text[start:l.at]))}, nil
}

// maxNameBytes is where PostgreSQL cuts names.
const maxNameBytes = 63

func shorten(name string) string {
	if len(name) <= maxNameBytes {
		return name
	}
	at := maxNameBytes
	for at > 0 && !utf8.RuneStart(name[at]) {
		at--
	}
	return name[:at]
}

// quotedName reads "a name", at the quote.
func (l *lexer) quotedName(start int) (token, error) {
	value, err := l.untilQuote('"', "quoted identifier", start)
	if err != nil {
		return token{}, err
	}
	if value == "" {
		return token{}, failAt(l.text, start, stateSyntax, "zero-length delimited identifier")
	}
	return token{kind: tokQuoted, start: start, end: l.at, value: shorten(value)}, nil
}

// untilQuote reads from an opening quote to the closing one; a doubled one
// stands for itself.
func (l *lexer) untilQuote(quote byte, what string, start int) (string, error) {
	l.at++
	from := l.at
	var b strings.Builder
	for {
		end := strings.IndexByte(l.text[l.at:], quote)
		if end < 0 {
			return "", failAt(l.text, start, stateSyntax, "unterminated %s", what)
		}
		l.at += end + 1
		if l.peek(0) != quote {
			if b.Len() == 0 {
				return l.text[from : l.at-1], nil
			}
			b.WriteString(l.text[from : l.at-1])
			return b.String(), nil
		}
		b.WriteString(l.text[from:l.at])
		l.at++
		from = l.at
	}
}

// quotedString reads a string whose quote stands at open. Strings that only
// white space with a line break parts are one.
func (l *lexer) quotedString(start, open int, escapes bool) (token, error) {
	l.at = open
	var all string
	for {
		var part string
		var err error
		if escapes {
			part, err = l.escaped(start)
		} else {
			part, err = l.untilQuote('\'', "quoted string", start)
		}
		if err != nil {
			return token{}, err
		}
		all += part
		end := l.at
		if !l.continued() {
			l.at = end
			return token{kind: tokString, start: start, end: end, value: all}, nil
		}
	}
}

// continued skips white space that holds a line break, up to a quote.
func (l *lexer) continued() bool {
	from := l.at
	for l.at < len(l.text) && strings.IndexByte(" \t\n\r\f\v", l.text[l.at]) >= 0 {
		l.at++
	}
	return strings.IndexByte(l.text[from:l.at], '\n') >= 0 && l.peek(0) == '\''
}

// number reads a number.
func (l *lexer) number() (token, error) {
	start := l.at
	if l.text[l.at] == '0' {
		if base := map[byte]int{'x': 16, 'o': 8, 'b': 2}[l.peek(1)|0x20]; base != 0 && l.peek(2) != '\'' {
			return l.based(base)
		}
	}
	kind := tokInteger
	l.digits()
	if l.peek(0) == '.' && l.peek(1) != '.' {
		kind = tokDecimal
		l.at++
		l.digits()
	}
	if c := l.peek(0); c == 'e' || c == 'E' {
		n := 1
		if s := l.peek(1); s == '+' || s == '-' {
			n = 2
		}
		if isDigit(l.peek(n)) {
			kind = tokDecimal
			l.at += n
			l.digits()
		}
	}
	if isIdentStart(l.peek(0)) {
		return token{}, failAt(l.text, start, stateSyntax, "trailing junk after numeric literal")
	}
	value := l.text[start:l.at]
	if strings.IndexByte(value, '_') >= 0 {
		value = strings.ReplaceAll(value, "_", "")
	}
	return token{kind: kind, start: start, end: l.at, value: value}, nil
}

// digits skips digits, between which single underscores may stand.
func (l *lexer) digits() {
	for isDigit(l.peek(0)) || l.peek(0) == '_' && isDigit(l.peek(1)) && l.at > 0 && isDigit(l.text[l.at-1]) {
		l.at++
	}
}

// based reads 0x1f, 0o17 or 0b1.
func (l *lexer) based(base int) (token, error) {
	start := l.at
	l.at += 2
	for isIdentByte(l.peek(0)) {
		l.at++
	}
	n, err := strconv.ParseUint(strings.ReplaceAll(l.text[start+2:l.at], "_", ""), base, 63)
	if err != nil {
		return token{}, failAt(l.text, start, stateSyntax, "invalid or too large integer in base %d", base)
	}
	return token{kind: tokInteger, start: start, end: l.at, value: strconv.FormatUint(n, 10)}, nil
}
