package projection

import (
	"bytes"
	"errors"
	"io"
	"regexp"
	"regexp/syntax"
	"unicode/utf8"

	"github.com/ncruces/go-sqlite3"
)

// maxRegexp is the longest regular expression: it bounds how large a compiled
// one becomes.
const maxRegexp = 1000

var errRegexpLong = errors.New("REGEXP pattern too long")

// regexpFunction is regexp(Y, X), which is X REGEXP Y, and regexpi, which
// passes over case: whether Y is found anywhere in X. The syntax is Go's, and
// \u1234 for a character.
func regexpFunction(prefix string) sqlite3.ScalarFunction {
	return func(ctx sqlite3.Context, arg ...sqlite3.Value) {
		t, ok := texts(arg)
		if !ok {
			return // NULL
		}
		compiled, ok := ctx.GetAuxData(0).(*regexp.Regexp)
		if !ok {
			var err error
			if compiled, err = compileRegexp(prefix, t[0]); err != nil {
				ctx.ResultError(err)
				return
			}
			ctx.SetAuxData(0, compiled)
			t, _ = texts(arg) // noting it may have moved them
		}
		in := timedReader{ctx: ctx, text: t[1]}
		found := compiled.MatchReader(&in)
		if in.late {
			ctx.ResultError(sqlite3.INTERRUPT)
			return
		}
		ctx.ResultBool(found)
	}
}

// compileRegexp compiles a pattern. Its errors do not repeat the pattern, which
// can come from a row.
func compileRegexp(prefix string, pattern []byte) (*regexp.Regexp, error) {
	if len(pattern) > maxRegexp {
		return nil, errRegexpLong
	}
	compiled, err := regexp.Compile(prefix + goSyntax(pattern))
	var detail *syntax.Error
	switch {
	case errors.As(err, &detail):
		return nil, errors.New("malformed regular expression: " + detail.Code.String())
	case err != nil:
		return nil, errors.New("malformed regular expression")
	}
	return compiled, nil
}

// goSyntax writes \u1234 as \x{1234}.
func goSyntax(pattern []byte) string {
	if !bytes.Contains(pattern, []byte(`\u`)) {
		return string(pattern)
	}
	out := make([]byte, 0, len(pattern)+8)
	for at := 0; at < len(pattern); at++ {
		if pattern[at] != '\\' || at+1 == len(pattern) {
			out = append(out, pattern[at])
			continue
		}
		if pattern[at+1] == 'u' && at+5 < len(pattern) {
			out = append(append(append(out, `\x{`...), pattern[at+2:at+6]...), '}')
			at += 5
			continue
		}
		out = append(out, pattern[at], pattern[at+1])
		at++
	}
	return string(out)
}

// timedReader gives out a text's characters until the statement's time is up.
type timedReader struct {
	ctx   sqlite3.Context
	text  []byte
	given uint
	late  bool
}

// ReadRune implements [io.RuneReader].
func (r *timedReader) ReadRune() (rune, int, error) {
	if r.given++; r.given%16 == 0 && r.ctx.Conn().GetInterrupt().Err() != nil {
		r.late = true
	}
	if len(r.text) == 0 || r.late {
		return 0, 0, io.EOF
	}
	c, n := utf8.DecodeRune(r.text)
	r.text = r.text[n:]
	return c, n, nil
}
