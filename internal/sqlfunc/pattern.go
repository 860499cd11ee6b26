package sqlfunc

import (
	"regexp"
	"strings"
	"sync"
	"unicode/utf8"
)

// patternFunctions are LIKE and its kin, and regular expressions. These are
// RE2's, which cannot take exponential time; back references, which it lacks,
// are refused.
func patternFunctions() []Function {
	var list []Function
	for _, name := range []string{"like", "ilike", "similar"} {
		list = append(list, times(strict("pg_"+name, 2, func(args []any) (any, error) {
			escape := `\`
			if len(args) > 2 {
				escape = text(args[2])
			}
			if utf8.RuneCountInString(escape) > 1 {
				return nil, fail(stateInvalidEscape, "invalid escape string: it must be empty or one character")
			}
			if name == "similar" {
				return similar(text(args[0]), text(args[1]), escape)
			}
			return like(text(args[0]), text(args[1]), escape, name == "ilike")
		}), 2, 3)...)
	}
	match := func(flags string) call {
		return func(args []any) (any, error) {
			re, err := compiled(text(args[1]), flags)
			if err != nil {
				return nil, err
			}
			return boolean(re.MatchString(text(args[0])))
		}
	}
	list = append(list, strict("pg_regexp_match", 2, match("")), strict("pg_regexp_imatch", 2, match("i")),
		strict("pg_regexp_count", 2, func(args []any) (any, error) {
			re, err := compiled(text(args[1]), "")
			if err != nil {
				return nil, err
			}
			return int64(len(re.FindAllStringIndex(text(args[0]), -1))), nil
		}),
		strict("pg_regexp_substr", 2, func(args []any) (any, error) { return firstMatch(text(args[0]), text(args[1]), false) }),
		strict("pg_substring_regexp", 2, func(args []any) (any, error) { return firstMatch(text(args[0]), text(args[1]), true) }),
		strict("pg_substring_similar", 3, substringSimilar),
	)
	list = append(list, times(strict("pg_regexp_like", 2, func(args []any) (any, error) {
		re, err := compiled(text(args[1]), flagsOf(args, 2))
		if err != nil {
			return nil, err
		}
		return boolean(re.MatchString(text(args[0])))
	}), 2, 3)...)
	list = append(list, times(strict("pg_regexp_replace", 3, regexpReplace), 3, 4)...)
	list = append(list, times(strict("pg_regexp_match_array", 2, regexpMatchArray), 2, 3)...)
	return append(list, times(strict("pg_regexp_split", 2, regexpSplit), 2, 3)...)
}

func flagsOf(args []any, i int) string {
	if len(args) > i {
		return text(args[i])
	}
	return ""
}

// like matches % and _; fold ignores case.
func like(s, pattern, escape string, fold bool) (any, error) {
	if fold {
		s, pattern = strings.ToLower(s), strings.ToLower(pattern)
	}
	if len(pattern) > maxPattern {
		return nil, fail(stateTooMuch, "a pattern has at most %d bytes", maxPattern)
	}
	parts, err := likeParts(pattern, escape)
	if err != nil {
		return nil, err
	}
	return boolean(likeMatch([]rune(s), parts))
}

const maxPattern = 50_000

// likePart is a character of a pattern, or one that stands for any (_) or many
// (%).
type likePart struct {
	r         rune
	any, many bool
}

func likeParts(pattern, escape string) ([]likePart, error) {
	escapeRune, _ := utf8.DecodeRuneInString(escape)
	parts := make([]likePart, 0, len(pattern))
	escaped := false
	for _, r := range pattern {
		switch {
		case escaped:
			parts, escaped = append(parts, likePart{r: r}), false
		case escape != "" && r == escapeRune:
			escaped = true
		case r == '%':
			if n := len(parts); n == 0 || !parts[n-1].many {
				parts = append(parts, likePart{many: true})
			}
		default:
			parts = append(parts, likePart{r: r, any: r == '_'})
		}
	}
	if escaped {
		return nil, fail(stateInvalidEscape, "LIKE pattern must not end with escape character")
	}
	return parts, nil
}

// likeMatch tries again from the last % only: quadratic at worst.
func likeMatch(s []rune, parts []likePart) bool {
	i, j, star, from := 0, 0, -1, 0
	for i < len(s) {
		switch {
		case j < len(parts) && parts[j].many:
			star, from = j, i
			j++
		case j < len(parts) && (parts[j].any || parts[j].r == s[i]):
			i++
			j++
		case star >= 0:
			from++
			i, j = from, star+1
		default:
			return false
		}
	}
	for j < len(parts) && parts[j].many {
		j++
	}
	return j == len(parts)
}

func similar(s, pattern, escape string) (any, error) {
	re, err := compiled("^(?:"+similarToRegexp(pattern, escape)+")$", "s")
	if err != nil {
		return nil, err
	}
	return boolean(re.MatchString(s))
}

// similarToRegexp turns SQL's pattern into a regular expression.
func similarToRegexp(pattern, escape string) string {
	escapeRune, _ := utf8.DecodeRuneInString(escape)
	var b strings.Builder
	escaped, class := false, false
	for _, r := range pattern {
		switch {
		case escaped:
			b.WriteString(regexp.QuoteMeta(string(r)))
			escaped = false
		case escape != "" && r == escapeRune:
			escaped = true
		case class:
			b.WriteRune(r)
			class = r != ']'
		case r == '[':
			b.WriteRune(r)
			class = true
		case r == '%':
			b.WriteString(".*")
		case r == '_':
			b.WriteByte('.')
		case strings.ContainsRune(`.^$\`, r):
			b.WriteString(`\` + string(r))
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// substringSimilar is substring(s SIMILAR pattern ESCAPE e): the part between
// the two e" of the pattern.
func substringSimilar(args []any) (any, error) {
	s, pattern, escape := text(args[0]), text(args[1]), text(args[2])
	parts := strings.Split(pattern, escape+`"`)
	if escape == "" || len(parts) != 3 {
		return nil, fail(stateNotSupported, "substring SIMILAR needs two escaped double quotes in its pattern")
	}
	re, err := compiled("^(?:"+similarToRegexp(parts[0], escape)+")("+similarToRegexp(parts[1], escape)+")(?:"+similarToRegexp(parts[2], escape)+")$", "s")
	if err != nil {
		return nil, err
	}
	if m := re.FindStringSubmatch(s); m != nil {
		return m[1], nil
	}
	return nil, nil //nolint:nilnil // NULL
}

// cache holds compiled expressions; it is emptied when it is full.
var cache struct {
	sync.Mutex // guards compiled
	compiled   map[string]*regexp.Regexp
}

const maxCached = 256

// compiled compiles an expression with PostgreSQL's flags: i ignores case, n
// and m let ^ and $ match at lines, s does not, x allows blanks; g and c are
// looked at elsewhere.
func compiled(pattern, flags string) (*regexp.Regexp, error) {
	if len(pattern) > maxPattern {
		return nil, fail(stateTooMuch, "a pattern has at most %d bytes", maxPattern)
	}
	key := flags + "/" + pattern
	cache.Lock()
	defer cache.Unlock()
	if re := cache.compiled[key]; re != nil {
		return re, nil
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
		cache.compiled = map[string]*regexp.Regexp{}
	}
	cache.compiled[key] = re
	return re, nil
}

// firstMatch is the first match, or, with group, its first group.
func firstMatch(s, pattern string, group bool) (any, error) {
	re, err := compiled(pattern, "")
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
	re, err := compiled(text(args[1]), flags)
	if err != nil {
		return nil, err
	}
	s, with := text(args[0]), replacement(text(args[2]))
	if strings.Contains(flags, "g") {
		return made(re.ReplaceAllString(s, with))
	}
	m := re.FindStringSubmatchIndex(s)
	if m == nil {
		return s, nil
	}
	return made(s[:m[0]] + string(re.ExpandString(nil, with, s, m)) + s[m[1]:])
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
	re, err := compiled(text(args[1]), flags)
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
	re, err := compiled(text(args[1]), flagsOf(args, 2))
	if err != nil {
		return nil, err
	}
	var parts []any
	for _, p := range re.Split(text(args[0]), -1) {
		parts = append(parts, p)
	}
	return arrayText(parts)
}
