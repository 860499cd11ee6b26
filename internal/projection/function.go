package projection

import (
	"bytes"
	"unicode/utf8"

	"github.com/ncruces/go-sqlite3"
)

// SQLite asks whether a statement's time is up between its instructions, and
// one call of a function is one instruction. The functions here are those of
// SQLite whose time grows with the product of their arguments' sizes: hours,
// on values that are within the limits. Ours do the same in linear time, or
// ask for themselves. Others that are as slow are not on the list of allowed
// functions.

// functions are ours, by name and number of arguments.
var functions = []struct {
	name string
	args int
	call sqlite3.ScalarFunction
}{
	{"instr", 2, sqlInstr},
	{"replace", 3, sqlReplace},
	{"trim", 1, trimmer(true, true)}, {"trim", 2, trimmer(true, true)},
	{"ltrim", 1, trimmer(true, false)}, {"ltrim", 2, trimmer(true, false)},
	{"rtrim", 1, trimmer(false, true)}, {"rtrim", 2, trimmer(false, true)},
	{"unhex", 2, sqlUnhex},
	{"like", 2, sqlLike}, {"like", 3, sqlLike},
	{"glob", 2, sqlGlob},
	{"regexp", 2, regexpFunction("")}, {"regexpi", 2, regexpFunction("(?i)")},
}

// registerFunctions puts ours in the place of SQLite's.
func registerFunctions(c *conn) error {
	for _, f := range functions {
		if err := c.db.CreateFunction(f.name, f.args, sqlite3.DETERMINISTIC|sqlite3.INNOCUOUS, f.call); err != nil {
			return c.fail("projection open", "", err)
		}
	}
	return nil
}

// texts returns the arguments as text, without copying; false says that one is
// NULL. Converting one can move the others, so that they are asked again then.
func texts(arg []sqlite3.Value) ([3][]byte, bool) {
	var all [3][]byte
	converted := false
	for i, a := range arg {
		switch a.Type() {
		case sqlite3.NULL:
			return all, false
		case sqlite3.TEXT:
		default:
			converted = true
		}
		all[i] = a.RawText()
	}
	if converted {
		for i, a := range arg {
			all[i] = a.RawText()
		}
	}
	return all, true
}

// sqlInstr is instr(X, Y): where Y is in X, from 1, in bytes when both are
// blobs and in characters otherwise; 0 when it is not there.
func sqlInstr(ctx sqlite3.Context, arg ...sqlite3.Value) {
	if arg[0].Type() == sqlite3.BLOB && arg[1].Type() == sqlite3.BLOB {
		ctx.ResultInt64(int64(bytes.Index(arg[0].RawBlob(), arg[1].RawBlob())) + 1)
		return
	}
	t, ok := texts(arg)
	if !ok {
		return // NULL
	}
	at := bytes.Index(t[0], t[1])
	if at >= 0 {
		at = characters(t[0][:at]) + 1
	}
	ctx.ResultInt64(int64(max(at, 0)))
}

// characters counts the bytes that begin a character.
func characters(b []byte) int {
	n := 0
	for _, c := range b {
		if c&0xc0 != 0x80 {
			n++
		}
	}
	return n
}

// sqlReplace is replace(X, Y, Z): X with each Y in it replaced by Z.
func sqlReplace(ctx sqlite3.Context, arg ...sqlite3.Value) {
	t, ok := texts(arg[:2])
	if !ok {
		return // NULL
	}
	if len(t[1]) == 0 {
		ctx.ResultText(string(t[0]))
		return
	}
	if t, ok = texts(arg); !ok {
		return // NULL
	}
	n := bytes.Count(t[0], t[1])
	if len(t[0])+n*(len(t[2])-len(t[1])) > ctx.Conn().Limit(sqlite3.LIMIT_LENGTH, -1) {
		ctx.ResultError(sqlite3.TOOBIG)
		return
	}
	ctx.ResultText(string(bytes.ReplaceAll(t[0], t[1], t[2])))
}

// trimmer is trim(X), trim(X, Y) and their halves: X without the characters of
// Y, or without spaces, at its ends.
func trimmer(left, right bool) sqlite3.ScalarFunction {
	return func(ctx sqlite3.Context, arg ...sqlite3.Value) {
		t, ok := texts(arg)
		if !ok {
			return // NULL
		}
		set := newCharacterSet(t[1])
		if len(arg) == 1 {
			set = newCharacterSet([]byte{' '})
		}
		x := t[0]
		for left && len(x) > 0 {
			n := characterLength(x)
			if !set.has(x[:n]) {
				break
			}
			x = x[n:]
		}
		for right && len(x) > 0 {
			n := lastCharacterLength(x)
			if !set.has(x[len(x)-n:]) {
				break
			}
			x = x[:len(x)-n]
		}
		ctx.ResultText(string(x))
	}
}

// characterSet is the characters of a text.
type characterSet struct {
	ascii [utf8.RuneSelf]bool
	more  map[string]struct{}
}

func newCharacterSet(text []byte) *characterSet {
	s := &characterSet{}
	for len(text) > 0 {
		n := characterLength(text)
		switch c := text[:n]; {
		case c[0] < utf8.RuneSelf:
			s.ascii[c[0]] = true
		default:
			if s.more == nil {
				s.more = map[string]struct{}{}
			}
			s.more[string(c)] = struct{}{}
		}
		text = text[n:]
	}
	return s
}

func (s *characterSet) has(c []byte) bool {
	if c[0] < utf8.RuneSelf {
		return s.ascii[c[0]]
	}
	_, ok := s.more[string(c)]
	return ok
}

// characterLength is the length of the first character, as SQLite counts: a
// byte from 0xC0 on takes all continuation bytes that follow.
func characterLength(b []byte) int {
	n := 1
	if b[0] >= 0xc0 {
		for n < len(b) && b[n]&0xc0 == 0x80 {
			n++
		}
	}
	return n
}

// lastCharacterLength is that of the last one.
func lastCharacterLength(b []byte) int {
	at := len(b) - 1
	for at > 0 && b[at]&0xc0 == 0x80 {
		at--
	}
	if b[at] < 0xc0 { // continuation bytes that continue nothing
		return 1
	}
	return len(b) - at
}

// sqlUnhex is unhex(X, Y): the bytes that X spells, where characters of Y may
// stand between them; NULL when X has any others.
func sqlUnhex(ctx sqlite3.Context, arg ...sqlite3.Value) {
	t, ok := texts(arg)
	if !ok {
		return // NULL
	}
	x, pass := t[0], newCharacterSet(t[1])
	out := make([]byte, 0, len(x)/2)
	for len(x) > 0 {
		high := hexDigit(x[0])
		if high < 0 {
			n := characterLength(x)
			if !pass.has(x[:n]) {
				return // NULL
			}
			x = x[n:]
			continue
		}
		if len(x) < 2 || hexDigit(x[1]) < 0 {
			return // NULL
		}
		out = append(out, byte(high<<4|hexDigit(x[1])))
		x = x[2:]
	}
	ctx.ResultBlob(out)
}

func hexDigit(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}
