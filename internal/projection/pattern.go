package projection

import (
	"errors"
	"unicode/utf8"

	"github.com/ncruces/go-sqlite3"
)

// errPattern has the text that SQLite has for it.
var errPattern = errors.New("LIKE or GLOB pattern too complex")

// errEscape likewise.
var errEscape = errors.New("ESCAPE expression must be a single character")

// sqlLike is like(Y, X) and like(Y, X, Z), which is X LIKE Y ESCAPE Z.
func sqlLike(ctx sqlite3.Context, arg ...sqlite3.Value) {
	if blobs(ctx, arg) {
		return
	}
	m := matcher{ctx: ctx, all: '%', one: '_', escape: -1, fold: true}
	if len(arg) == 3 && arg[2].Type() != sqlite3.NULL {
		escape := arg[2].RawText()
		r, n := character(escape)
		if n == 0 || n != len(escape) {
			ctx.ResultError(errEscape)
			return
		}
		m.escape = r
	}
	t, ok := texts(arg)
	if !ok {
		return // NULL
	}
	m.pattern = t[0]
	m.result(t[1])
}

// sqlGlob is glob(Y, X), which is X GLOB Y.
func sqlGlob(ctx sqlite3.Context, arg ...sqlite3.Value) {
	if blobs(ctx, arg) {
		return
	}
	t, ok := texts(arg)
	if !ok {
		return // NULL
	}
	m := matcher{ctx: ctx, pattern: t[0], all: '*', one: '?', set: true, escape: -1}
	m.result(t[1])
}

// blobs says that there is a blob, which matches nothing.
func blobs(ctx sqlite3.Context, arg []sqlite3.Value) bool {
	if arg[0].Type() != sqlite3.BLOB && arg[1].Type() != sqlite3.BLOB {
		return false
	}
	ctx.ResultBool(false)
	return true
}

// matcher compares texts with a pattern of LIKE or GLOB.
type matcher struct {
	ctx     sqlite3.Context
	pattern []byte
	// all stands for any text, one for any character, escape takes the
	// meaning of the next character away; -1 for none.
	all, one, escape rune
	fold             bool // letters of ASCII match in either case
	set              bool // [abc] stands for one of these characters
	steps            uint
}

// stepsBetween is how many steps are made before the time is asked for.
const stepsBetween = 1 << 14

// result sets the result to whether text matches.
func (m *matcher) result(text []byte) {
	if len(m.pattern) > m.ctx.Conn().Limit(sqlite3.LIMIT_LIKE_PATTERN_LENGTH, -1) {
		m.ctx.ResultError(errPattern)
		return
	}
	found, err := m.match(text)
	if err != nil {
		m.ctx.ResultError(err)
		return
	}
	m.ctx.ResultBool(found)
}

// match goes over text and pattern once, but that whenever they differ, the
// last "all" takes one character more and the rest is tried again. Only the
// last can need more: what stands before it has been found as early as can be.
func (m *matcher) match(text []byte) (bool, error) {
	at, in := 0, 0            // in the text, in the pattern
	retryAt, retryIn := 0, -1 // where to go on when they differ
	for at < len(text) {
		if m.steps++; m.steps%stepsBetween == 0 && m.ctx.Conn().GetInterrupt().Err() != nil {
			return false, sqlite3.INTERRUPT
		}
		width, all := m.next(in)
		if all {
			retryAt, retryIn = at, in+width
			if in = retryIn; in == len(m.pattern) {
				return true, nil
			}
			continue
		}
		r, n := character(text[at:])
		if width > 0 && m.matches(m.pattern[in:in+width], r) {
			at, in = at+n, in+width
			continue
		}
		if retryIn < 0 {
			return false, nil
		}
		_, n = character(text[retryAt:])
		retryAt += n
		at, in = retryAt, retryIn
	}
	for in < len(m.pattern) {
		width, all := m.next(in)
		if !all {
			return false, nil
		}
		in += width
	}
	return true, nil
}

// next returns the length of the pattern's element at a place, and whether it
// is the one that stands for any text. 0 is no element that a character can
// match: the end, or what is not complete.
func (m *matcher) next(in int) (width int, all bool) {
	p := m.pattern[in:]
	if len(p) == 0 {
		return 0, false
	}
	r, n := character(p)
	switch {
	case r == m.escape:
		if len(p) == n {
			return 0, false
		}
		_, more := character(p[n:])
		return n + more, false
	case r == m.all:
		return n, true
	case r == '[' && m.set:
		return setLength(p), false
	}
	return n, false
}

// matches says whether a character matches an element.
func (m *matcher) matches(element []byte, r rune) bool {
	e, n := character(element)
	switch {
	case e == m.escape:
		e, _ = character(element[n:])
	case e == m.one:
		return true
	case e == '[' && m.set:
		return inSet(element[1:len(element)-1], r)
	}
	return e == r || m.fold && foldASCII(e) == foldASCII(r)
}

func foldASCII(r rune) rune {
	if r >= 'A' && r <= 'Z' {
		return r + 'a' - 'A'
	}
	return r
}

// character decodes the first character. Each byte that is none is a character
// of its own, different from all others.
func character(b []byte) (rune, int) {
	if len(b) == 0 {
		return -1, 0
	}
	if b[0] < utf8.RuneSelf {
		return rune(b[0]), 1
	}
	r, n := utf8.DecodeRune(b)
	if r == utf8.RuneError && n == 1 {
		return utf8.MaxRune + 1 + rune(b[0]), 1
	}
	return r, n
}

// setLength returns the length of "[...]", 0 when it does not end. A ] that
// comes first is one of the set.
func setLength(p []byte) int {
	at := 1
	if at < len(p) && p[at] == '^' {
		at++
	}
	if at < len(p) && p[at] == ']' {
		at++
	}
	for ; at < len(p); at++ {
		if p[at] == ']' {
			return at + 1
		}
	}
	return 0
}

// inSet says whether a character is in a set, given without its brackets.
func inSet(set []byte, r rune) bool {
	invert := len(set) > 0 && set[0] == '^'
	if invert {
		set = set[1:]
	}
	found := false
	if len(set) > 0 && set[0] == ']' {
		found, set = r == ']', set[1:]
	}
	before := rune(-1) // can begin a range
	for len(set) > 0 {
		c, n := character(set)
		set = set[n:]
		if c == '-' && before >= 0 && len(set) > 0 {
			var end rune
			end, n = character(set)
			set = set[n:]
			found = found || r >= before && r <= end
			before = -1
			continue
		}
		found = found || c == r
		before = c
	}
	return found != invert
}
