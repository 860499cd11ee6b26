package sqlfunc

import (
	"regexp"
	"strings"
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
			re, err := compiled(text(args[1]), flags, text(args[0]))
			if err != nil {
				return nil, err
			}
			return boolean(re.MatchString(text(args[0])))
		}
	}
	list = append(list, strict("pg_regexp_match", 2, match("")), strict("pg_regexp_imatch", 2, match("i")),
		strict("pg_regexp_count", 2, func(args []any) (any, error) {
			re, err := compiled(text(args[1]), "", text(args[0]))
			if err != nil {
				return nil, err
			}
			found := len(re.FindAllStringIndex(text(args[0]), maxElements+1))
			if found > maxElements {
				return nil, tooManyElements()
			}
			return int64(found), nil
		}),
		strict("pg_regexp_substr", 2, func(args []any) (any, error) { return firstMatch(text(args[0]), text(args[1]), false) }),
		strict("pg_substring_regexp", 2, func(args []any) (any, error) { return firstMatch(text(args[0]), text(args[1]), true) }),
		strict("pg_substring_similar", 3, substringSimilar),
	)
	list = append(list, times(strict("pg_regexp_like", 2, func(args []any) (any, error) {
		re, err := compiled(text(args[1]), flagsOf(args, 2), text(args[0]))
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
	found, err := likeMatch([]rune(s), parts)
	if err != nil {
		return nil, err
	}
	return boolean(found)
}

// Bounds of one call: SQLite looks at the clock between calls only.
const (
	maxPattern = 50_000
	// maxSteps is how many characters a pattern may be compared with, and
	// maxRegexpSteps how often a part of a regular expression with one.
	maxSteps       = 1 << 28
	maxRegexpSteps = 1 << 26
	// maxElements is how many matches may be found, and how many elements an
	// array may have.
	maxElements = 1_000_000
)

func tooManySteps() error {
	return fail(stateTooMuch, "the pattern is too costly for a text of this length: use a shorter text or a simpler pattern")
}

func tooManyElements() error {
	return fail(stateTooMuch, "more than %d elements or matches: ask for less at a time", maxElements)
}

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
func likeMatch(s []rune, parts []likePart) (bool, error) {
	i, j, star, from := 0, 0, -1, 0
	for steps := 0; i < len(s); steps++ {
		if steps > maxSteps {
			return false, tooManySteps()
		}
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
			return false, nil
		}
	}
	for j < len(parts) && parts[j].many {
		j++
	}
	return j == len(parts), nil
}

func similar(s, pattern, escape string) (any, error) {
	re, err := compiled("^(?:"+similarToRegexp(pattern, escape)+")$", "s", s)
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
	re, err := compiled("^(?:"+similarToRegexp(parts[0], escape)+")("+similarToRegexp(parts[1], escape)+")(?:"+similarToRegexp(parts[2], escape)+")$", "s", s)
	if err != nil {
		return nil, err
	}
	if m := re.FindStringSubmatch(s); m != nil {
		return m[1], nil
	}
	return nil, nil //nolint:nilnil // NULL
}
