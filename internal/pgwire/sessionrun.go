package pgwire

import (
	"context"
	"encoding/binary"
	"math"
	"strings"

	"kimberlite/internal/dialect"
	"kimberlite/internal/fault"
	"kimberlite/internal/sqltype"
)

// runSession runs a statement that is about the session and not about tables.
func (s *session) runSession(ctx context.Context, st *dialect.Statement, w *rowWriter) (outcome, error) {
	switch st.Kind {
	case dialect.Begin, dialect.Commit, dialect.Rollback, dialect.Savepoint, dialect.RollbackTo, dialect.Release:
		options, block := st.TxOptions, s.tx.block
		tag, err := s.transactionControl(ctx, st)
		if err == nil && st.Chain && block {
			s.tx.block = true
			s.tx.readOnly = options.ReadOnly
		}
		return outcome{tag, -1}, err
	case dialect.Set:
		return outcome{st.Tag, -1}, s.runSet(st)
	case dialect.Show:
		return s.runShow(st, w)
	case dialect.Reset:
		return outcome{st.Tag, -1}, s.settings.reset(st.Name)
	case dialect.Discard:
		return outcome{st.Tag, -1}, s.runDiscard(st)
	case dialect.Prepare:
		return outcome{st.Tag, -1}, s.runPrepare(ctx, st)
	case dialect.Deallocate:
		if st.Name == "" {
			s.dropStatements()
		} else if !s.dropStatement(st.Name) {
			return outcome{}, errNoStatement(st.Name)
		}
		return outcome{st.Tag, -1}, nil
	case dialect.Nothing:
		return outcome{st.Tag, -1}, nil
	}
	return outcome{}, fault.New("sql", fault.Unsupported, "%s is not offered", st.Tag)
}

// accessMode returns whether BEGIN says that its transaction may only read,
// and whether it says anything of it.
func accessMode(st *dialect.Statement) (readOnly, said bool) {
	return st.TxOptions.ReadOnly, st.TxOptions.ReadOnly || st.TxOptions.ReadWrite
}

// runSet runs SET, and SET TRANSACTION, which has no Set.
func (s *session) runSet(st *dialect.Statement) error {
	if st.Set == nil {
		readOnly, said := accessMode(st)
		if said && s.tx.block {
			s.tx.readOnly = readOnly
		}
		if !s.tx.block && !s.tx.implicit {
			return s.warn("25P01", "SET TRANSACTION can only be used in transaction blocks")
		}
		return nil
	}
	if st.Set.Local && !s.tx.open() {
		return s.warn("25P01", "SET LOCAL can only be used in transaction blocks")
	}
	if st.Set.Default {
		return s.settings.reset(st.Set.Name)
	}
	return s.settings.set(st.Set.Name, st.Set.Value, st.Set.Local)
}

// warn sends a warning.
func (s *session) warn(state, text string) error {
	if err := s.w.send(notice("WARNING", state, text)); err != nil {
		return connection{err}
	}
	return nil
}

func showColumns(name string) []column {
	if strings.EqualFold(name, "all") {
		return []column{newColumn("name", sqltype.Text), newColumn("setting", sqltype.Text), newColumn("description", sqltype.Text)}
	}
	shown := strings.ToLower(name)
	for _, r := range reports { // such as TimeZone, in the case that clients know
		if r.name == shown {
			shown = r.shown
		}
	}
	return []column{newColumn(shown, sqltype.Text)}
}

func (s *session) runShow(st *dialect.Statement, w *rowWriter) (outcome, error) {
	if strings.EqualFold(st.Show, "all") {
		for _, row := range s.settings.all() {
			if err := w.values(row[0], row[1], row[2]); err != nil {
				return outcome{}, err
			}
		}
		return outcome{"SHOW", -1}, w.begin()
	}
	value, ok := s.settings.get(st.Show)
	if !ok {
		return outcome{}, errUnknownSetting(st.Show)
	}
	return outcome{"SHOW", -1}, w.values(value)
}

// runDiscard runs DISCARD. There are no temporary tables.
func (s *session) runDiscard(st *dialect.Statement) error {
	switch st.Name {
	case "all":
		if s.tx.open() {
			return fault.New("sql", fault.SQL, "DISCARD ALL cannot run inside a transaction block").WithState("25001")
		}
		s.dropPortals()
		s.dropStatements()
		s.idempotencyKey = ""
		s.drawn.Reset()
		s.srv.locks.releaseSession(s)
		return s.settings.reset("")
	case "sequences":
		s.drawn.Reset()
	case "plans":
		s.plans.simple = nil
	}
	return nil
}

// runPrepare runs PREPARE.
func (s *session) runPrepare(ctx context.Context, st *dialect.Statement) error {
	p, err := s.makePlan(ctx, st.Prepared, st.PreparedParams)
	if err != nil {
		return err
	}
	return s.keepStatement(st.Name, &prepared{text: st.Prepared, declared: st.PreparedParams, plan: p})
}

// appendValues appends a DataRow of stored values.
func appendValues(dst []byte, columns []column, formats []int16, values []any) ([]byte, error) {
	start := len(dst)
	dst = header(dst, 'D')
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(columns))) //nolint:gosec // a handful
	var err error
	for i := range columns {
		at := len(dst)
		dst = append(dst, 0, 0, 0, 0)
		if values[i] == nil {
			binary.BigEndian.PutUint32(dst[at:], math.MaxUint32)
			continue
		}
		if columns[i].typ.OID != sqltype.Void.OID { // whose only value is empty
			if dst, err = appendValue(dst, &columns[i], formatOf(formats, i), values[i]); err != nil {
				return dst[:start], err
			}
		}
		binary.BigEndian.PutUint32(dst[at:], uint32(len(dst)-at-4)) //nolint:gosec // short
	}
	return finish(dst, start), nil
}
