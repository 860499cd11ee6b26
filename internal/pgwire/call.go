package pgwire

import (
	"context"
	"strconv"
	"strings"
	"time"

	"kimberlite/internal/credential"
	"kimberlite/internal/dialect"
	"kimberlite/internal/fault"
	"kimberlite/internal/sqltype"
)

// sessionCall is SELECT of functions that the session itself answers, since
// they are about sessions and not about tables: locks, waiting, settings.
type sessionCall struct{ calls []functionCall }

// functionCall is one of them.
type functionCall struct {
	f    *sessionFunction
	args []callArgument
}

// callArgument is a parameter, from 1, or a literal; null without either.
type callArgument struct {
	param   int
	literal any
}

// sessionFunction is a function that the session answers.
type sessionFunction struct {
	name   string
	args   [][]sqltype.Type // one list a form of it
	result sqltype.Type
	call   func(ctx context.Context, s *session, args []any) (any, error)
}

var (
	lockArguments = [][]sqltype.Type{{sqltype.Int8}, {sqltype.Int4, sqltype.Int4}}
	pidArgument   = [][]sqltype.Type{{sqltype.Int4}}
)

// sessionFunctions are by name.
var sessionFunctions = makeSessionFunctions()

func makeSessionFunctions() map[string]*sessionFunction {
	all := []*sessionFunction{
		{"pg_backend_pid", [][]sqltype.Type{{}}, sqltype.Int4, func(_ context.Context, s *session, _ []any) (any, error) { return int64(s.pid), nil }},
		{"pg_sleep", [][]sqltype.Type{{sqltype.Float8}}, sqltype.Void, sleep},
		{"set_config", [][]sqltype.Type{{sqltype.Text, sqltype.Text, sqltype.Bool}}, sqltype.Text, setConfig},
		{"pg_cancel_backend", pidArgument, sqltype.Bool, cancelBackend},
		{"pg_terminate_backend", append(pidArgument, []sqltype.Type{sqltype.Int4, sqltype.Int8}), sqltype.Bool, terminateBackend},
		{"pg_advisory_unlock", lockArguments, sqltype.Bool, unlock(true)},
		{"pg_advisory_unlock_shared", lockArguments, sqltype.Bool, unlock(false)},
		{"pg_advisory_unlock_all", [][]sqltype.Type{{}}, sqltype.Void, func(_ context.Context, s *session, _ []any) (any, error) {
			s.srv.locks.releaseSession(s)
			return "", nil
		}},
	}
	for _, try := range []bool{false, true} {
		for _, transaction := range []bool{false, true} {
			for _, exclusive := range []bool{true, false} {
				name, result := "pg_", sqltype.Void
				if try {
					name, result = "pg_try_", sqltype.Bool
				}
				name += "advisory_"
				if transaction {
					name += "xact_"
				}
				name += "lock"
				if !exclusive {
					name += "_shared"
				}
				all = append(all, &sessionFunction{name, lockArguments, result, lockFunction(exclusive, transaction, try)})
			}
		}
	}
	byName := make(map[string]*sessionFunction, len(all))
	for _, f := range all {
		byName[f.name] = f
	}
	return byName
}

// keyOf makes the key of a lock from a function's arguments.
func (s *session) keyOf(args []any) lockKey {
	a, _ := args[0].(int64)
	if len(args) == 2 {
		b, _ := args[1].(int64)
		return lockKey{tenant: s.tenantID, pair: true, hi: int32(a), lo: int32(b)} //nolint:gosec // checked by their type
	}
	return lockKey{tenant: s.tenantID, hi: int32(a >> 32), lo: int32(a)} //nolint:gosec // the two halves
}

func lockFunction(exclusive, transaction, try bool) func(context.Context, *session, []any) (any, error) {
	return func(ctx context.Context, s *session, args []any) (any, error) {
		if d := s.settings.lockWait; d > 0 && !try {
			var stop context.CancelFunc
			ctx, stop = context.WithTimeoutCause(ctx, d, fault.New("advisory lock", fault.Timeout, "canceling statement due to lock timeout").WithState("55P03"))
			defer stop()
		}
		got, err := s.srv.locks.acquire(ctx, s, s.keyOf(args), exclusive, transaction, try)
		if err != nil {
			return nil, because(ctx, err)
		}
		if !try {
			return "", nil
		}
		if got {
			return int64(1), nil
		}
		return int64(0), nil
	}
}

func unlock(exclusive bool) func(context.Context, *session, []any) (any, error) {
	return func(_ context.Context, s *session, args []any) (any, error) {
		if s.srv.locks.unlock(s, s.keyOf(args), exclusive) {
			return int64(1), nil
		}
		kind := "ExclusiveLock"
		if !exclusive {
			kind = "ShareLock"
		}
		return int64(0), s.warn("01000", "you don't own a lock of type "+kind)
	}
}

func sleep(ctx context.Context, _ *session, args []any) (any, error) {
	seconds, _ := args[0].(float64)
	if n, ok := args[0].(int64); ok {
		seconds = float64(n)
	}
	if !(seconds > 0) {
		return "", nil
	}
	const longest = 24 * 3600
	t := time.NewTimer(time.Duration(min(seconds, longest) * float64(time.Second)))
	defer t.Stop()
	select {
	case <-t.C:
		return "", nil
	case <-ctx.Done():
		return nil, fault.OfContext("pg_sleep", ctx)
	}
}

func setConfig(_ context.Context, s *session, args []any) (any, error) {
	name, _ := args[0].(string)
	value, _ := args[1].(string)
	local := args[2] == int64(1)
	if local && !s.tx.open() {
		v, ok := s.settings.get(name) // set for this statement only, so not at all
		if !ok && !isCustom(name) {
			return nil, errUnknownSetting(name)
		}
		_ = v
		return value, nil
	}
	if err := s.settings.set(name, value, local); err != nil {
		return nil, err
	}
	if v, ok := s.settings.get(name); ok {
		return v, nil
	}
	return value, nil
}

// backend returns the session of a process id, if it is of the same tenant: to
// a client there are no others.
func (s *session) backend(args []any) (*session, error) {
	pid, _ := args[0].(int64)
	if pid > 0 && pid < 1<<31 {
		if other := s.srv.session(uint32(pid)); other != nil && other.tenantID == s.tenantID {
			if other.user != s.user && s.proof.Principal().Role != credential.Owner {
				return nil, fault.New("sql", fault.Denied, "only the tenant's owner may end the sessions of other users")
			}
			return other, nil
		}
	}
	return nil, s.warn("01000", "PID "+strconv.FormatInt(pid, 10)+" is not a PostgreSQL backend process")
}

func cancelBackend(_ context.Context, s *session, args []any) (any, error) {
	other, err := s.backend(args)
	if other == nil {
		return int64(0), err
	}
	other.cancelStatement(errUserCancel)
	return int64(1), nil
}

func terminateBackend(_ context.Context, s *session, args []any) (any, error) {
	other, err := s.backend(args)
	if other == nil {
		return int64(0), err
	}
	other.end(fault.New("session", fault.Closed, "terminating connection due to administrator command").WithState("57P01"), true)
	return int64(1), nil
}

// runCall answers the functions, one row.
func (s *session) runCall(ctx context.Context, c *sessionCall, args []any, w *rowWriter) (outcome, error) {
	values := make([]any, len(c.calls))
	for i, call := range c.calls {
		given := make([]any, len(call.args))
		null := false
		for j, a := range call.args {
			given[j] = a.literal
			if a.param > 0 {
				given[j] = args[a.param-1]
			}
			null = null || given[j] == nil
		}
		if null { // they are all strict
			continue
		}
		var err error
		if values[i], err = call.f.call(ctx, s, given); err != nil {
			return outcome{}, err
		}
	}
	if !s.tx.open() {
		s.srv.locks.releaseTransaction(s)
	}
	return outcome{"SELECT", 1}, w.values(values...)
}

// matchCall returns the plan of a text that selects nothing but functions of
// the session, or nil. Anything that it cannot read is left to the dialect.
func matchCall(text string, declared []uint32) *plan {
	if len(text) > 1<<10 || !mentionsCall(text) {
		return nil
	}
	m := &callMatcher{rest: text}
	if !m.word("select") {
		return nil
	}
	p := &plan{st: &dialect.Statement{Kind: dialect.Query, Tag: "SELECT", Returns: true}, call: &sessionCall{}, readOnly: true, columns: []column{}}
	for {
		call, name, ok := m.call()
		if !ok {
			return nil
		}
		p.call.calls = append(p.call.calls, call)
		p.columns = append(p.columns, newColumn(name, call.f.result))
		if !m.punct(',') {
			break
		}
	}
	m.punct(';')
	if m.space(); m.rest != "" {
		return nil
	}
	for len(m.params) < len(declared) {
		m.params = append(m.params, sqltype.Text)
	}
	for i, t := range m.params {
		if i < len(declared) && declared[i] != 0 {
			known, ok := sqltype.Lookup(declared[i])
			if !ok {
				return nil
			}
			t = known
		}
		if t.IsZero() {
			return nil
		}
		m.params[i] = t
	}
	p.params = m.params
	p.st.Params = m.params
	return p
}

// mentionsCall looks cheaply for what a call of such a function needs.
func mentionsCall(text string) bool {
	trimmed := strings.TrimLeft(text, " \t\r\n")
	if len(trimmed) < 6 || !strings.EqualFold(trimmed[:6], "select") {
		return false
	}
	lower := strings.ToLower(trimmed)
	for _, s := range [...]string{"pg_advisory", "pg_try_advisory", "pg_sleep", "pg_backend_pid", "set_config", "pg_cancel_backend", "pg_terminate_backend"} {
		if strings.Contains(lower, s) {
			return true
		}
	}
	return false
}
