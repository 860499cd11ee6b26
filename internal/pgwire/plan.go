package pgwire

import (
	"context"
	"math"
	"strings"

	"kimberlite/internal/dialect"
	"kimberlite/internal/fault"
	"kimberlite/internal/projection"
	"kimberlite/internal/schema"
	"kimberlite/internal/sqltype"
)

// Limits of the plans that a session keeps for texts of simple queries.
const (
	maxCachedPlans = 16
	maxCachedText  = 2 << 10
)

// planOverhead is what a plan holds besides its texts, roughly.
const planOverhead = 512

// stale is a version that no schema has.
const stale = math.MaxUint64

// plan is a statement as it runs: translated, with what goes in and comes out.
// It is not changed once made.
type plan struct {
	st *dialect.Statement
	// version is the schema's that it was made for; stale when it was made in
	// a transaction that had changed the schema.
	version uint64
	columns []column // of its result; nil for none
	params  []sqltype.Type
	// readOnly says that it changes nothing, by SQLite's word.
	readOnly bool
	// settings is the state of the settings whose values it holds, 0 for none.
	settings uint64
	// query is what DECLARE opens a cursor for.
	query *plan
	// call is set for functions that the session itself answers.
	call *sessionCall
}

// returns says whether rows come back.
func (p *plan) returns() bool { return p.columns != nil }

// bytes is what it holds, roughly.
func (p *plan) bytes() int {
	return planOverhead + len(p.st.SQL) + 64*(len(p.columns)+len(p.params))
}

// prepared is a named statement, or the unnamed one.
type prepared struct {
	text     string
	declared []uint32
	plan     *plan
	// described says that the client was told the result's columns.
	described bool
	held      int
}

// plans are the statements that a session keeps.
type plans struct {
	named  map[string]*prepared
	simple map[string]*plan
	held   int // bytes of named, and of portals
	// asked says that the plan being made holds the value of a setting.
	asked bool
}

// outdate makes all plans be made anew: the schema that they were made for
// will never be.
func (ps *plans) outdate() {
	clear(ps.simple)
	for _, p := range ps.named {
		if p.plan.version == stale {
			continue
		}
		renewed := *p.plan
		renewed.version = stale
		p.plan = &renewed
	}
}

// planText plans the text of a simple query's statement, or finds it.
func (s *session) planText(ctx context.Context, text string) (*plan, error) {
	if p := s.plans.simple[text]; p != nil {
		if fresh, err := s.fresh(ctx, p); fresh || err != nil {
			return p, err
		}
		delete(s.plans.simple, text)
	}
	p, err := s.makePlan(ctx, text, nil)
	if err != nil {
		return nil, err
	}
	if len(text) <= maxCachedText && p.version != stale && cacheable(p.st.Kind) {
		if s.plans.simple == nil {
			s.plans.simple = map[string]*plan{}
		}
		if len(s.plans.simple) >= maxCachedPlans {
			for k := range s.plans.simple { // any one
				delete(s.plans.simple, k)
				break
			}
		}
		s.plans.simple[text] = p
	}
	return p, nil
}

func cacheable(k dialect.Kind) bool {
	switch k {
	case dialect.Query, dialect.Insert, dialect.Update, dialect.Delete, dialect.Begin, dialect.Commit, dialect.Rollback:
		return true
	}
	return false
}

// fresh says whether a plan still fits the schema.
func (s *session) fresh(ctx context.Context, p *plan) (bool, error) {
	if p.st.Kind == dialect.Fetch {
		return sameColumns(p.columns, s.cursorColumns(p.st.Name)), nil
	}
	if !isData(p.st.Kind) && p.st.Kind != dialect.Copy && p.st.Kind != dialect.Declare || p.call != nil {
		return true, nil
	}
	sc, err := s.schema(ctx)
	if err != nil {
		return false, err
	}
	if p.settings != 0 && p.settings != s.settings.changes+1 {
		return false, nil
	}
	return p.version == sc.Version && !s.tx.ddl, nil
}

// isData says whether SQLite runs statements of the kind.
func isData(k dialect.Kind) bool {
	switch k {
	case dialect.Query, dialect.Insert, dialect.Update, dialect.Delete, dialect.DDL, dialect.Explain:
		return true
	}
	return false
}

// controls says whether a statement may run in a failed transaction.
func controls(k dialect.Kind) bool {
	return k == dialect.Commit || k == dialect.Rollback || k == dialect.RollbackTo
}

// makePlan translates a text and has the tenant compile it.
func (s *session) makePlan(ctx context.Context, text string, declared []uint32) (*plan, error) {
	if call := matchCall(text, declared); call != nil {
		if s.tx.failed {
			return nil, errAborted()
		}
		return call, nil
	}
	sc, err := s.schema(ctx)
	if err != nil {
		return nil, err
	}
	env := dialect.Env{Schema: sc, User: s.user, Database: s.database, Setting: s.setting, Backend: s.pid}
	s.plans.asked = false
	st, err := dialect.Translate(text, declared, env)
	if s.tx.failed && (err != nil || !controls(st.Kind) && st.Kind != dialect.Empty) {
		return nil, errAborted()
	}
	if err != nil {
		return nil, err
	}
	p := &plan{st: st, version: sc.Version, params: st.Params}
	if s.plans.asked {
		p.settings = s.settings.changes + 1
	}
	if s.tx.ddl {
		p.version = stale
	}
	return p, s.describePlan(ctx, p, sc)
}

// describePlan fills in what comes out of a plan.
func (s *session) describePlan(ctx context.Context, p *plan, sc *schema.Schema) error {
	switch st := p.st; st.Kind {
	case dialect.Query, dialect.Insert, dialect.Update, dialect.Delete:
		d, err := s.compile(ctx, st.SQL)
		if err != nil {
			return err
		}
		p.readOnly = d.ReadOnly && st.ReadOnlyHint
		if st.Returns || len(d.Columns) > 0 && st.Kind == dialect.Query {
			p.columns, err = resultColumns(st, &d, sc)
		}
		return err
	case dialect.Explain:
		p.readOnly = true
		p.columns = []column{newColumn("QUERY PLAN", sqltype.Text)}
	case dialect.Show:
		p.columns = showColumns(st.Show)
	case dialect.Declare:
		p.query = &plan{st: st.Query, version: p.version, params: p.params}
		err := s.describePlan(ctx, p.query, sc)
		p.readOnly = p.query.readOnly
		return err
	case dialect.Fetch:
		p.columns = s.cursorColumns(st.Name)
	case dialect.Execute:
		target, ok := s.plans.named[st.Name]
		if !ok {
			return errNoStatement(st.Name)
		}
		p.columns = target.plan.columns
	case dialect.Copy:
		p.readOnly = !st.Copy.From
	}
	return nil
}

// compile has SQLite compile a statement, in the transaction when that has
// tables of its own.
func (s *session) compile(ctx context.Context, sql string) (projection.Description, error) {
	if s.tx.ddl && s.tx.tx != nil {
		if err := s.spoolPortals(); err != nil {
			return projection.Description{}, err
		}
		return s.tx.tx.Describe(ctx, sql)
	}
	return s.tenant.Describe(ctx, sql)
}

// setting is what the dialect asks for settings.
func (s *session) setting(name string) (string, bool) {
	s.plans.asked = true
	return s.settings.get(name)
}

// resultColumns puts together what the dialect knows of a result's columns and
// what SQLite does.
func resultColumns(st *dialect.Statement, d *projection.Description, sc *schema.Schema) ([]column, error) {
	if st.Columns != nil && len(st.Columns) != len(d.Columns) {
		return nil, fault.New("sql", fault.Internal, "the statement has %d columns and not %d", len(d.Columns), len(st.Columns))
	}
	columns := make([]column, len(d.Columns))
	for i, c := range d.Columns {
		name, t := c.Name, sqltype.Type{}
		if st.Columns != nil {
			name, t = st.Columns[i].Name, st.Columns[i].Type
		}
		if t.IsZero() {
			t = sqltype.Text
			if c.Declared != "" || c.Column != "" {
				t, _ = sqltype.FromDeclared(c.Declared)
			}
		}
		columns[i] = newColumn(name, t)
		if c.Table == "" {
			continue
		}
		if table, ok := sc.Table(c.Table); ok {
			if _, at, ok := table.Column(c.Column); ok {
				columns[i].table, columns[i].number = table.OID, uint16(at+1) //nolint:gosec // at most 2,000
			}
		}
	}
	return columns, nil
}

func errNoStatement(name string) error {
	return fault.New("sql", fault.NotFound, "prepared statement %q does not exist", name).WithState("26000")
}

// keepStatement stores a prepared statement under its name.
func (s *session) keepStatement(name string, p *prepared) error {
	old := s.plans.named[name]
	if name != "" && old != nil {
		return fault.New("sql", fault.AlreadyExists, "prepared statement %q already exists", name).WithState("42P05")
	}
	p.held = len(name) + len(p.text) + p.plan.bytes()
	held := s.plans.held + p.held
	if old != nil {
		held -= old.held
	}
	count := len(s.plans.named)
	if s.plans.named[""] != nil {
		count-- // the unnamed one is always there to be replaced
	}
	if name != "" && count >= s.srv.limits.MaxStatements {
		return fault.New("sql", fault.TooLarge, "a connection keeps at most %d prepared statements: close some, or use DEALLOCATE", s.srv.limits.MaxStatements)
	}
	if held > s.srv.limits.MaxHeldBytes {
		return fault.New("sql", fault.TooLarge, "the connection's prepared statements and portals are over %d bytes: close some", s.srv.limits.MaxHeldBytes)
	}
	if s.plans.named == nil {
		s.plans.named = map[string]*prepared{}
	}
	s.plans.held = held
	s.plans.named[name] = p
	return nil
}

// dropStatement forgets a prepared statement; it says whether there was one.
func (s *session) dropStatement(name string) bool {
	p, ok := s.plans.named[name]
	if ok {
		s.plans.held -= p.held
		delete(s.plans.named, name)
	}
	return ok
}

// dropStatements forgets all prepared statements.
func (s *session) dropStatements() {
	for name := range s.plans.named {
		s.dropStatement(name)
	}
	s.plans.simple = nil
}

// renewed returns a prepared statement's plan, made anew when the schema has
// changed. A client that was told other columns is not given these.
func (s *session) renewed(ctx context.Context, p *prepared) (*plan, error) {
	if s.tx.failed {
		if !controls(p.plan.st.Kind) {
			return nil, errAborted()
		}
		return p.plan, nil
	}
	if fresh, err := s.fresh(ctx, p.plan); fresh || err != nil {
		return p.plan, err
	}
	made, err := s.makePlan(ctx, p.text, p.declared)
	if err != nil {
		return nil, err
	}
	if p.described && !sameColumns(made.columns, p.plan.columns) {
		return nil, fault.New("sql", fault.Unsupported, "cached plan must not change result type")
	}
	p.plan = made
	return made, nil
}

func sameColumns(a, b []column) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i].typ.OID != b[i].typ.OID || !strings.EqualFold(a[i].name, b[i].name) {
			return false
		}
	}
	return true
}
