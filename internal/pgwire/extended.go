package pgwire

import (
	"bytes"
	"context"

	"github.com/jackc/pgx/v5/pgproto3"

	"kimberlite/internal/dialect"
	"kimberlite/internal/fault"
)

// parse handles Parse: it plans a statement and keeps it.
func (s *session) parse(body []byte) error {
	var m pgproto3.Parse
	if err := m.Decode(body); err != nil {
		return connection{protocolError("a Parse message is not well formed")}
	}
	if err := checkText(m.Query + m.Name); err != nil {
		return err
	}
	if m.Name == "" {
		s.dropStatement("")
	} else if s.plans.named[m.Name] != nil {
		return fault.New("sql", fault.AlreadyExists, "prepared statement %q already exists", m.Name).WithState("42P05")
	}
	err := s.planned(func(ctx context.Context) error {
		p, err := s.makePlan(ctx, m.Query, m.ParameterOIDs)
		if err != nil {
			return err
		}
		return s.keepStatement(m.Name, &prepared{text: m.Query, declared: m.ParameterOIDs, plan: p})
	})
	if err != nil {
		return err
	}
	return s.over(s.w.empty('1'))
}

// planned runs something that is no statement of its own, but may take long
// and can be cancelled.
func (s *session) planned(run func(ctx context.Context) error) error {
	ctx := s.begin()
	defer s.done()
	return because(ctx, run(ctx))
}

// bind handles Bind: it makes a portal of a statement and its arguments.
func (s *session) bind(body []byte) error {
	var m pgproto3.Bind
	if err := m.Decode(body); err != nil {
		return connection{protocolError("a Bind message is not well formed")}
	}
	target, ok := s.plans.named[m.PreparedStatement]
	if !ok {
		if m.PreparedStatement == "" {
			return fault.New("sql", fault.NotFound, "unnamed prepared statement does not exist").WithState("26000")
		}
		return errNoStatement(m.PreparedStatement)
	}
	p := target.plan
	if fresh, err := s.fresh(s.parent, p); !fresh || err != nil || s.tx.failed {
		err := s.planned(func(ctx context.Context) (err error) {
			p, err = s.renewed(ctx, target)
			return err
		})
		if err != nil {
			return err
		}
	}
	args, err := readParameters(p.params, m.ParameterFormatCodes, m.Parameters)
	if err != nil {
		return err
	}
	if err := checkFormats(m.ResultFormatCodes, len(p.columns), "result columns"); err != nil {
		return err
	}
	formats := m.ResultFormatCodes
	if len(formats) == 0 {
		formats = nil
	}
	if err := s.keepPortal(&portal{name: m.DestinationPortal, plan: p, args: args, formats: formats, held: portalOverhead + len(body)}); err != nil {
		return err
	}
	return s.over(s.w.empty('2'))
}

// describe handles Describe of a statement or a portal.
func (s *session) describe(body []byte) error {
	if len(body) < 2 || body[len(body)-1] != 0 || bytes.IndexByte(body, 0) != len(body)-1 {
		return connection{protocolError("a Describe message is not well formed")}
	}
	name := string(body[1 : len(body)-1])
	switch body[0] {
	case 'S':
		target, ok := s.plans.named[name]
		if !ok {
			return errNoStatement(name)
		}
		if s.tx.failed && target.plan.returns() {
			return errAborted()
		}
		err := s.planned(func(ctx context.Context) error {
			_, err := s.renewed(ctx, target)
			return err
		})
		if err != nil {
			return err
		}
		target.described = true
		if err := s.over(s.w.parameterDescription(target.plan.params)); err != nil {
			return err
		}
		return s.describeColumns(target.plan, nil)
	case 'P':
		p, ok := s.portals[name]
		if !ok {
			return errNoPortal(name)
		}
		return s.describeColumns(p.plan, p.formats)
	}
	return connection{protocolError("a Describe message is not well formed")}
}

func (s *session) describeColumns(p *plan, formats []int16) error {
	if !p.returns() {
		return s.over(s.w.empty('n'))
	}
	return s.over(s.w.rowDescription(p.columns, formats))
}

// close handles Close of a statement or a portal; none of the name is fine.
func (s *session) close(body []byte) error {
	if len(body) < 2 || body[len(body)-1] != 0 || bytes.IndexByte(body, 0) != len(body)-1 {
		return connection{protocolError("a Close message is not well formed")}
	}
	name := string(body[1 : len(body)-1])
	switch body[0] {
	case 'S':
		s.dropStatement(name)
	case 'P':
		s.dropPortal(name)
	default:
		return connection{protocolError("a Close message is not well formed")}
	}
	return s.over(s.w.empty('3'))
}

// execute handles Execute: it runs a portal, or goes on with it.
func (s *session) execute(body []byte) error {
	var m pgproto3.Execute
	if err := m.Decode(body); err != nil || len(body) != len(m.Portal)+5 {
		return connection{protocolError("an Execute message is not well formed")}
	}
	p, ok := s.portals[m.Portal]
	if !ok {
		return errNoPortal(m.Portal)
	}
	if p.plan.st.Kind == dialect.Empty {
		return s.over(s.w.empty('I'))
	}
	if p.finished {
		// PostgreSQL runs a query once; asking again finds no more rows.
		if p.plan.st.Kind != dialect.Query {
			return fault.New("sql", fault.SQL, "portal %q cannot be run again", m.Portal).WithState("55000")
		}
		return s.over(s.w.commandComplete(p.out.tag, 0))
	}
	if err := s.decideTransaction(p.plan); err != nil {
		return err
	}
	limit := int64(0)
	if m.MaxRows > 0 && m.MaxRows < 1<<31 && p.plan.returns() {
		limit = int64(m.MaxRows)
	}
	suspended := false
	out, err := s.timed(&p.plan.st.Tag, func(ctx context.Context) (out outcome, err error) {
		if limit == 0 && p.cursor == nil {
			out, err = s.run(ctx, p.plan, p.args, &rowWriter{s: s, columns: p.plan.columns, formats: p.formats})
			p.finished = true
			return out, err
		}
		out, suspended, err = s.runPortal(ctx, p, limit)
		return out, err
	})
	if err != nil {
		s.dropPortal(m.Portal)
		return err
	}
	p.out = out
	if suspended {
		return s.over(s.w.empty('s'))
	}
	return s.over(s.w.commandComplete(out.tag, out.count))
}

// decideTransaction begins the implicit transaction that the statements of a
// pipeline share, unless this one is alone before Sync: then it needs none. To
// know, it waits for what the client sends next; nothing that the client waits
// for is held back by that.
func (s *session) decideTransaction(p *plan) error {
	if s.tx.open() || s.tx.failed {
		return nil
	}
	switch p.st.Kind {
	case dialect.Query, dialect.Insert, dialect.Update, dialect.Delete, dialect.DDL, dialect.Copy, dialect.Execute:
	default:
		return nil
	}
	alone, err := s.r.alone()
	if err != nil {
		return connection{err}
	}
	s.tx.implicit = !alone
	return nil
}

// alone says whether the next thing of consequence that the client sends is a
// Sync: only messages that close something may come before it.
func (r *reader) alone() (bool, error) {
	for at := 0; ; {
		if err := r.need(at + 1); err != nil {
			return false, err
		}
		if r.buf[r.r+at] == 'S' {
			return true, nil
		}
		if r.buf[r.r+at] != 'C' {
			return false, nil
		}
		if err := r.need(at + 5); err != nil {
			return false, err
		}
		n, err := r.bodyLength(r.buf[r.r+at+1:])
		if err != nil || at+5+n > idleReadBytes/2 {
			return false, nil //nolint:nilerr // it is reported where the message is read
		}
		at += 5 + n
	}
}

// tagCommit is what an implicit COMMIT is called.
var tagCommit = "COMMIT"

// sync handles Sync: it ends the implicit transaction, and the skipping.
func (s *session) sync() error {
	s.skipping = false
	if s.tx.implicit && !s.tx.block {
		_, err := s.timed(&tagCommit, func(ctx context.Context) (outcome, error) { return outcome{}, s.commit(ctx) })
		if err != nil {
			if err := s.fail(err); err != nil {
				return err
			}
		}
	}
	s.tx.implicit = false
	if !s.tx.block {
		s.dropPortals()
	}
	if err := s.ready(); err != nil {
		return err
	}
	return nil
}
