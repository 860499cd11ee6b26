package sqlfunc

import (
	"regexp"
	"regexp/syntax"
	"strings"
	"sync"
)

// cache holds compiled expressions; it is emptied when it is full.
var cache struct {
	sync.Mutex // guards compiled
	compiled   map[string]expression
}

// expression is a compiled one and the number of its parts.
type expression struct {
	re    *regexp.Regexp
	parts int
}

// over returns the expression, if matching s is not too costly.
func (e expression) over(s string) (*regexp.Regexp, error) {
	if len(s) > maxRegexpSteps/max(e.parts, 1) {
		return nil, tooManySteps()
	}
	return e.re, nil
}

const maxCached = 256

// compiled compiles an expression for matching s, with PostgreSQL's flags: i
// ignores case, n and m let ^ and $ match at lines, s does not, x allows blanks; g and c are
// looked at elsewhere.
func compiled(pattern, flags, s string) (*regexp.Regexp, error) {
	if len(pattern) > maxPattern {
		return nil, fail(stateTooMuch, "a pattern has at most %d bytes", maxPattern)
	}
	key := flags + "/" + pattern
	cache.Lock()
	defer cache.Unlock()
	if e, ok := cache.compiled[key]; ok {
		return e.over(s)
	}
	prefix := "s" // a dot matches a line's end in PostgreSQL
	for _, f := range flags {
		switch f {
		case 'i':
			prefix += "i"
		case 'n', 'm':
			prefix = strings.ReplaceAll(prefix, "s", "") + "m"
		case 's', 'g', 'c', 't':
		default:
			return nil, fail(stateInvalidArgument, "invalid regular expression option: use g, i, n, m, s or c")
		}
	}
	source := strings.NewReplacer(`\m`, `\b`, `\M`, `\b`, `\y`, `\b`, `\Y`, `\B`).Replace(pattern)
	re, err := regexp.Compile("(?" + prefix + ")" + source)
	if err != nil {
		return nil, fail(stateInvalidRegexp, "invalid regular expression: it is RE2's syntax, without back references and look-around")
	}
	if cache.compiled == nil || len(cache.compiled) >= maxCached {
		cache.compiled = map[string]expression{}
	}
	e := expression{re, programSize(re)}
	cache.compiled[key] = e
	return e.over(s)
}

// programSize is how many instructions an expression is compiled to: what each
// character of a text may cost.
func programSize(re *regexp.Regexp) int {
	tree, err := syntax.Parse(re.String(), syntax.Perl)
	if err != nil {
		return maxPattern // it was read already
	}
	program, err := syntax.Compile(tree.Simplify())
	if err != nil {
		return maxPattern // likewise
	}
	return len(program.Inst)
}

// firstMatch is the first match, or, with group, its first group.
func firstMatch(s, pattern string, group bool) (any, error) {
	re, err := compiled(pattern, "", s)
	if err != nil {
		return nil, err
	}
	m := re.FindStringSubmatchIndex(s)
	switch {
	case m == nil:
		return nil, nil //nolint:nilnil // NULL
	case group && len(m) > 2:
		if m[2] < 0 {
			return nil, nil //nolint:nilnil // NULL
		}
		return s[m[2]:m[3]], nil
	}
	return s[m[0]:m[1]], nil
}

func regexpReplace(args []any) (any, error) {
	flags := flagsOf(args, 3)
	re, err := compiled(text(args[1]), flags, text(args[0]))
	if err != nil {
		return nil, err
	}
	s, with := text(args[0]), replacement(text(args[2]))
	if strings.Contains(flags, "g") {
		return replacedAll(re, s, with)
	}
	m := re.FindStringSubmatchIndex(s)
	if m == nil {
		return s, nil
	}
	return made(s[:m[0]] + string(re.ExpandString(nil, with, s, m)) + s[m[1]:])
}

// replacedAll replaces every match, within the bounds of what is made.
func replacedAll(re *regexp.Regexp, s, with string) (any, error) {
	found := re.FindAllStringSubmatchIndex(s, maxElements+1)
	if len(found) > maxElements {
		return nil, tooManyElements()
	}
	var b []byte
	at := 0
	for _, m := range found {
		b = re.ExpandString(append(b, s[at:m[0]]...), with, s, m)
		if at = m[1]; len(b) > maxText {
			return nil, tooLong()
		}
	}
	return made(string(append(b, s[at:]...)))
}

// replacement turns \1 and \& into Go's ${1} and ${0}.
func replacement(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '$':
			b.WriteString("$$")
		case s[i] != '\\' || i+1 == len(s):
			b.WriteByte(s[i])
		default:
			i++
			switch c := s[i]; {
			case c >= '1' && c <= '9':
				b.WriteString("${" + string(c) + "}")
			case c == '&':
				b.WriteString("${0}")
			case c == '\\':
				b.WriteByte('\\')
			default:
				b.WriteString(`\` + string(c))
			}
		}
	}
	return b.String()
}

func regexpMatchArray(args []any) (any, error) {
	flags := flagsOf(args, 2)
	if strings.Contains(flags, "g") {
		return nil, fail(stateInvalidArgument, "regexp_match() does not support the option g: use regexp_matches")
	}
	re, err := compiled(text(args[1]), flags, text(args[0]))
	if err != nil {
		return nil, err
	}
	s := text(args[0])
	m := re.FindStringSubmatchIndex(s)
	if m == nil {
		return nil, nil //nolint:nilnil // NULL
	}
	if len(m) == 2 {
		return arrayText([]any{s[m[0]:m[1]]})
	}
	var groups []any
	for i := 2; i < len(m); i += 2 {
		if m[i] < 0 {
			groups = append(groups, nil)
			continue
		}
		groups = append(groups, s[m[i]:m[i+1]])
	}
	return arrayText(groups)
}

func regexpSplit(args []any) (any, error) {
	re, err := compiled(text(args[1]), flagsOf(args, 2), text(args[0]))
	if err != nil {
		return nil, err
	}
	var parts []any
	for _, p := range re.Split(text(args[0]), maxElements+1) {
		parts = append(parts, p)
	}
	if len(parts) > maxElements {
		return nil, tooManyElements()
	}
	return arrayText(parts)
}
