package pgwire

import (
	"strconv"
	"strings"

	"kimberlite/internal/sqltype"
)

// callMatcher reads "SELECT f(1, $1::bigint, 'x') AS name, …" and nothing else.
type callMatcher struct {
	rest   string
	params []sqltype.Type
}

func (m *callMatcher) space() {
	m.rest = strings.TrimLeft(m.rest, " \t\r\n")
}

func (m *callMatcher) punct(c byte) bool {
	m.space()
	if m.rest == "" || m.rest[0] != c {
		return false
	}
	m.rest = m.rest[1:]
	return true
}

// name reads an identifier, folded to lower case unless it is quoted.
func (m *callMatcher) name() string {
	m.space()
	if strings.HasPrefix(m.rest, `"`) {
		inner, after, ok := strings.Cut(m.rest[1:], `"`)
		if !ok || strings.HasPrefix(after, `"`) {
			return ""
		}
		m.rest = after
		return inner
	}
	i := 0
	for i < len(m.rest) && (m.rest[i] == '_' || m.rest[i]|0x20 >= 'a' && m.rest[i]|0x20 <= 'z' || i > 0 && m.rest[i] >= '0' && m.rest[i] <= '9') {
		i++
	}
	name := strings.ToLower(m.rest[:i])
	m.rest = m.rest[i:]
	return name
}

func (m *callMatcher) word(w string) bool {
	before := m.rest
	if m.name() == w {
		return true
	}
	m.rest = before
	return false
}

// call reads one function with its arguments and the name of its column.
func (m *callMatcher) call() (functionCall, string, bool) {
	none := functionCall{}
	name := m.name()
	if name == "pg_catalog" {
		if !m.punct('.') {
			return none, "", false
		}
		name = m.name()
	}
	f := sessionFunctions[name]
	if f == nil || !m.punct('(') {
		return none, "", false
	}
	var args []callArgument
	if !m.punct(')') {
		for {
			a, ok := m.argument()
			if !ok {
				return none, "", false
			}
			args = append(args, a)
			if m.punct(')') {
				break
			}
			if !m.punct(',') {
				return none, "", false
			}
		}
	}
	if !m.fit(f, args) {
		return none, "", false
	}
	if m.cast() == nil {
		return none, "", false // the result is cast
	}
	if m.word("as") {
		if name = m.name(); name == "" {
			return none, "", false
		}
	} else if m.space(); m.rest != "" && m.rest[0] != ',' && m.rest[0] != ';' {
		return none, "", false
	}
	return functionCall{f, args}, name, true
}

// noCast says that there was none.
var noCast = sqltype.Unknown

// cast reads "::type" if there is one. nil says that there is.
func (m *callMatcher) cast() *sqltype.Type {
	m.space()
	if strings.HasPrefix(m.rest, "::") {
		return nil
	}
	return &noCast
}

// argument reads a literal or a parameter, with or without a cast.
func (m *callMatcher) argument() (callArgument, bool) {
	m.space()
	a, ok := m.plain()
	if !ok {
		return a, false
	}
	m.space()
	if !strings.HasPrefix(m.rest, "::") {
		return a, true
	}
	m.rest = m.rest[2:]
	t, ok := sqltype.Parse(m.name())
	if !ok {
		return a, false
	}
	if a.param > 0 {
		m.parameter(a.param, t)
	} else if a.literal != nil {
		v, err := t.Cast(a.literal)
		if err != nil {
			return a, false
		}
		a.literal = v
	}
	return a, true
}

// parameter notes that a parameter has a type.
func (m *callMatcher) parameter(n int, t sqltype.Type) {
	for len(m.params) < n {
		m.params = append(m.params, sqltype.Type{})
	}
	if m.params[n-1].IsZero() {
		m.params[n-1] = t
	}
}

func (m *callMatcher) plain() (callArgument, bool) {
	if m.rest == "" {
		return callArgument{}, false
	}
	switch c := m.rest[0]; {
	case c == '$':
		i := 1
		for i < len(m.rest) && m.rest[i] >= '0' && m.rest[i] <= '9' {
			i++
		}
		n, err := strconv.Atoi(m.rest[1:i])
		m.rest = m.rest[i:]
		return callArgument{param: n}, err == nil && n > 0 && n <= 16
	case c == '\'':
		inner, after, ok := strings.Cut(m.rest[1:], "'")
		if !ok || strings.HasPrefix(after, "'") {
			return callArgument{}, false
		}
		m.rest = after
		return callArgument{literal: inner}, true
	case c == '-' || c == '.' || c >= '0' && c <= '9':
		i := 1
		for i < len(m.rest) && (m.rest[i] == '.' || m.rest[i] >= '0' && m.rest[i] <= '9') {
			i++
		}
		text := m.rest[:i]
		m.rest = m.rest[i:]
		if n, err := strconv.ParseInt(text, 10, 64); err == nil {
			return callArgument{literal: n}, true
		}
		f, err := strconv.ParseFloat(text, 64)
		return callArgument{literal: f}, err == nil
	}
	switch m.name() {
	case "true":
		return callArgument{literal: int64(1)}, true
	case "false":
		return callArgument{literal: int64(0)}, true
	case "null":
		return callArgument{}, true
	}
	return callArgument{}, false
}

// fit finds the form of f that the arguments fit and brings literals into its
// types.
func (m *callMatcher) fit(f *sessionFunction, args []callArgument) bool {
	for _, form := range f.args {
		if len(form) != len(args) {
			continue
		}
		for i := range args {
			if args[i].param > 0 {
				m.parameter(args[i].param, form[i])
				continue
			}
			if args[i].literal == nil {
				continue
			}
			v, err := form[i].Cast(args[i].literal)
			if err != nil || form[i].Check(v) != nil {
				return false
			}
			args[i].literal = v
		}
		return true
	}
	return false
}
