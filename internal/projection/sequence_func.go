package projection

import (
	"math"
	"slices"
	"strconv"
	"strings"

	"kimberlite/internal/fault"
)

// sequenceNamed finds the sequence that an argument of nextval names: as a
// text that is folded like an identifier, or as an object number.
func (w *writer) sequenceNamed(arg any) (*sequenceRow, error) {
	switch v := arg.(type) {
	case string:
		name := sequenceName(v)
		if q := w.drawn[lower(name)]; q != nil {
			return q, nil
		}
		return nil, noSequence("sql", name)
	case int64:
		if s := w.schemas.current.Load(); s != nil && v > 0 && v <= math.MaxUint32 {
			if q, ok := s.SequenceByOID(uint32(v)); ok && w.drawn[lower(q.Name)] != nil {
				return w.drawn[lower(q.Name)], nil
			}
		}
		return nil, noSequence("sql", strconv.FormatInt(v, 10))
	}
	return nil, fault.New("sql", fault.SQL, "a sequence is named by a text").WithState("42883")
}

// sequenceName takes the schema and the quotes off a name.
func sequenceName(s string) string {
	s = strings.TrimSpace(s)
	for _, prefix := range []string{`public.`, `"public".`} {
		if hasPrefixFold(s, prefix) {
			s = s[len(prefix):]
		}
	}
	if len(s) >= 2 && s[0] == '"' && s[len(s)-1] == '"' {
		s = strings.ReplaceAll(s[1:len(s)-1], `""`, `"`)
	}
	return s
}

// draw returns a sequence's next number.
func (q *sequenceRow) draw() (int64, error) {
	if !q.called {
		q.called, q.moved = true, true
		return q.value, nil
	}
	next := q.value + q.Increment
	if (next > q.value) != (q.Increment > 0) {
		return 0, fault.New("sql", fault.Constraint, "sequence %q has reached its end", clip(q.Name)).WithState(stateSequenceEnd)
	}
	q.value, q.moved = next, true
	return next, nil
}

// sequenceFunctions are the SQL functions over sequences.
var sequenceFunctions = []struct {
	name string
	args int
	call func(c *conn, s *Session, args []any) (any, error)
}{
	{"nextval", 1, sqlNextval},
	{"currval", 1, sqlCurrval},
	{"lastval", 0, sqlLastval},
	{"setval", 2, sqlSetval},
	{"setval", 3, sqlSetval},
}

// callsWriter says whether a text has a word in it that names a function that
// writes. It decides where a statement runs, and not what it may do.
func callsWriter(sql string) bool {
	return slices.ContainsFunc(scanTokens(sql), func(t token) bool { return writingFunctions[lower(t.text)] })
}

// drawer returns the writer that a connection belongs to.
func (c *conn) drawer(name string) (*writer, error) {
	if c.w == nil || c.w.drawn == nil {
		return nil, fault.New("sql", fault.Denied, "cannot execute %s() in a statement that only reads", name).WithState(stateReadOnly)
	}
	if refused := c.auth.access.Require(RightWrite); refused != nil {
		return nil, refused.ForTenant(c.tenant)
	}
	return c.w, nil
}

func sqlNextval(c *conn, s *Session, args []any) (any, error) {
	if args[0] == nil {
		return nil, nil //nolint:nilnil // NULL of NULL
	}
	w, err := c.drawer("nextval")
	if err != nil {
		return nil, err
	}
	q, err := w.sequenceNamed(args[0])
	if err != nil {
		return nil, err
	}
	n, err := q.draw()
	if err != nil {
		return nil, err
	}
	s.note(q.Name, n)
	return n, nil
}

func sqlCurrval(_ *conn, s *Session, args []any) (any, error) {
	name, ok := args[0].(string)
	if args[0] == nil {
		return nil, nil //nolint:nilnil // NULL of NULL
	}
	name = sequenceName(name)
	if n, known := s.current(name); ok && known && name != "" {
		return n, nil
	}
	return nil, fault.New("sql", fault.Invalid, "currval of sequence %q is not yet defined in this session", clip(name)).WithState(stateNotInSession)
}

func sqlLastval(_ *conn, s *Session, _ []any) (any, error) {
	if n, ok := s.current(""); ok {
		return n, nil
	}
	return nil, fault.New("sql", fault.Invalid, "lastval is not yet defined in this session").WithState(stateNotInSession)
}

func sqlSetval(c *conn, s *Session, args []any) (any, error) {
	w, err := c.drawer("setval")
	if err != nil {
		return nil, err
	}
	n, ok := args[1].(int64)
	if args[0] == nil || args[1] == nil {
		return nil, nil //nolint:nilnil // NULL of NULL
	}
	if !ok {
		return nil, fault.New("sql", fault.SQL, "setval sets a sequence to an integer").WithState("42883")
	}
	q, err := w.sequenceNamed(args[0])
	if err != nil {
		return nil, err
	}
	q.value, q.called, q.moved = n, true, true
	if len(args) == 3 {
		called, _ := args[2].(int64)
		q.called = called != 0
	}
	if q.called {
		s.note(q.Name, n)
	}
	return n, nil
}
