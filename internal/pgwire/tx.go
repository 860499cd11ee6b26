package pgwire

import (
	"context"
	"strings"

	"kimberlite/internal/dialect"
	"kimberlite/internal/fault"
	"kimberlite/internal/schema"
	"kimberlite/internal/tenant"
)

// Status of a session's transaction, as ReadyForQuery says it.
const (
	statusIdle   = 'I'
	statusOpen   = 'T'
	statusFailed = 'E'
)

// transaction is the state of a session's transaction.
//
//	     BEGIN            an error
//	idle ─────► block ───────────────► failed block
//	 ▲ ◄─ COMMIT, ROLLBACK ─┘ ◄── ROLLBACK TO ┘ │
//	 └───────────────── COMMIT, ROLLBACK ◄───────┘
//
// Several statements of one query string, or of one pipeline up to Sync, run
// in an implicit transaction: implicit is set and block is not.
type transaction struct {
	// tx is the tenant's; nil until a statement needs it.
	tx *tenant.Tx
	// block says that a BEGIN is open, implicit that statements share a
	// transaction without one.
	block, implicit, failed bool
	readOnly                bool
	// ddl says that it has changed the schema: what was planned in it is not
	// to be used after it.
	ddl        bool
	savepoints []savepoint
	// wrote says that a statement wrote, and work is a hash of those.
	wrote bool
	work  workHash
	// saved are the settings as of its begin.
	saved *savedSettings
}

// savepoint is a savepoint of a block.
type savepoint struct {
	name  string
	saved *savedSettings
}

// status is what ReadyForQuery says.
func (t *transaction) status() byte {
	switch {
	case t.failed:
		return statusFailed
	case t.block:
		return statusOpen
	}
	return statusIdle
}

// open says whether statements run inside a transaction.
func (t *transaction) open() bool { return t.block || t.implicit }

// abandon rolls back what is open, at the end of the session.
func (t *transaction) abandon() {
	if t.tx != nil {
		_ = t.tx.Rollback() // it may have been rolled back for being idle
	}
	*t = transaction{}
}

// errAborted is the answer to a statement in a failed transaction.
func errAborted() error {
	return fault.New("sql", fault.SQL, "current transaction is aborted, commands ignored until end of transaction block").WithState("25P02")
}

// enter returns the tenant's transaction, beginning it if need be.
func (s *session) enter(ctx context.Context) (*tenant.Tx, error) {
	if s.tx.tx != nil {
		if err := s.spoolPortals(); err != nil {
			return nil, err
		}
		return s.tx.tx, nil
	}
	tx, err := s.tenant.Begin(ctx)
	if err != nil {
		return nil, err
	}
	s.tx.tx = tx
	return tx, nil
}

// schema returns the schema that the next statement sees.
func (s *session) schema(ctx context.Context) (*schema.Schema, error) {
	if s.tx.tx != nil && s.tx.ddl {
		if err := s.spoolPortals(); err != nil {
			return nil, err
		}
		return s.tx.tx.Schema(ctx)
	}
	return s.tenant.Schema(ctx)
}

// failTransaction notes that a statement failed. A block is failed until it is
// rolled back; one that has no savepoint to go back to gives up at once what
// it holds.
func (s *session) failTransaction() {
	switch {
	case s.tx.block:
		s.dropPortalsSince(len(s.tx.savepoints) - 1)
		s.tx.failed = true
		if len(s.tx.savepoints) == 0 && s.tx.tx != nil {
			_ = s.tx.tx.Rollback() // it may be over already
			s.tx.tx = nil
		}
	case s.tx.implicit:
		s.endTransaction(false)
		s.tx.implicit = false
	}
}

// endTransaction forgets a transaction that was committed, or rolls it back.
func (s *session) endTransaction(committed bool) {
	s.dropPortals()
	if s.tx.tx != nil && !committed {
		_ = s.tx.tx.Rollback() // it may be over already
	}
	if s.tx.saved != nil && !committed {
		s.settings.restore(s.tx.saved)
	}
	s.settings.dropLocal()
	if s.tx.ddl {
		s.plans.outdate()
	}
	s.srv.locks.releaseTransaction(s)
	s.tx = transaction{}
}

// commit makes the open transaction durable, if there is anything to it.
func (s *session) commit(ctx context.Context) error {
	if s.tx.tx == nil {
		s.endTransaction(true)
		return nil
	}
	s.dropPortals()
	_, err := s.commitTx(ctx, s.tx.tx)
	if err != nil {
		err = because(ctx, err)
	}
	s.endTransaction(err == nil)
	return err
}

// transactionControl runs BEGIN and its kin and returns the tag.
func (s *session) transactionControl(ctx context.Context, st *dialect.Statement) (tag string, err error) {
	switch st.Kind {
	case dialect.Begin:
		return s.beginBlock(st)
	case dialect.Commit:
		return s.commitBlock(ctx)
	case dialect.Rollback:
		if !s.tx.block {
			err := s.w.send(notice("WARNING", "25P01", "there is no transaction in progress"))
			if s.tx.implicit {
				s.endTransaction(false)
			}
			return "ROLLBACK", err
		}
		s.endTransaction(false)
		return "ROLLBACK", nil
	}
	return s.savepointControl(ctx, st)
}

func (s *session) beginBlock(st *dialect.Statement) (string, error) {
	if s.tx.failed {
		return "", errAborted()
	}
	if s.tx.block {
		return st.Tag, s.w.send(notice("WARNING", "25001", "there is already a transaction in progress"))
	}
	s.tx.block = true
	s.tx.readOnly = s.readOnlyMode(st)
	return st.Tag, nil
}

func (s *session) commitBlock(ctx context.Context) (string, error) {
	switch {
	case s.tx.failed:
		s.endTransaction(false)
		return "ROLLBACK", nil
	case !s.tx.block:
		if err := s.w.send(notice("WARNING", "25P01", "there is no transaction in progress")); err != nil {
			return "", err
		}
		if !s.tx.implicit {
			return "COMMIT", nil
		}
	}
	return "COMMIT", s.commit(ctx)
}

// savepointControl runs SAVEPOINT, ROLLBACK TO and RELEASE.
func (s *session) savepointControl(ctx context.Context, st *dialect.Statement) (string, error) {
	what := map[dialect.Kind]string{dialect.Savepoint: "SAVEPOINT", dialect.RollbackTo: "ROLLBACK TO SAVEPOINT", dialect.Release: "RELEASE SAVEPOINT"}[st.Kind]
	if !s.tx.block {
		return "", fault.New("sql", fault.SQL, "%s can only be used in transaction blocks", what).WithState("25P01")
	}
	if s.tx.failed && st.Kind != dialect.RollbackTo {
		return "", errAborted()
	}
	if st.Kind == dialect.Savepoint {
		tx, err := s.enter(ctx)
		if err != nil {
			return "", err
		}
		if err := tx.Savepoint(ctx, st.Name); err != nil {
			return "", err
		}
		s.tx.savepoints = append(s.tx.savepoints, savepoint{st.Name, s.settings.snapshot()})
		return "SAVEPOINT", nil
	}
	at := s.findSavepoint(st.Name)
	if at < 0 || s.tx.tx == nil {
		return "", fault.New("sql", fault.SQL, "savepoint %q does not exist", st.Name).WithState("3B001")
	}
	if st.Kind == dialect.Release {
		if err := s.spoolPortals(); err != nil {
			return "", err
		}
		for _, p := range s.portals {
			p.level = min(p.level, at)
		}
		if err := s.tx.tx.Release(ctx, st.Name); err != nil {
			return "", err
		}
		s.tx.savepoints = s.tx.savepoints[:at]
		return "RELEASE", nil
	}
	s.dropPortalsSince(at)
	if err := s.tx.tx.RollbackTo(ctx, st.Name); err != nil {
		return "", err
	}
	s.tx.failed = false
	s.settings.restore(s.tx.savepoints[at].saved)
	s.tx.savepoints = s.tx.savepoints[:at+1]
	if s.tx.ddl {
		s.plans.outdate()
	}
	return "ROLLBACK", nil
}

// findSavepoint returns the newest savepoint of a name, or -1.
func (s *session) findSavepoint(name string) int {
	for i := len(s.tx.savepoints) - 1; i >= 0; i-- {
		if s.tx.savepoints[i].name == name {
			return i
		}
	}
	return -1
}

// readOnlyMode says whether a block that st begins may not write.
func (s *session) readOnlyMode(st *dialect.Statement) bool {
	if v, ok := accessMode(st); ok {
		return v
	}
	v, _ := s.settings.get("default_transaction_read_only")
	return v == "on"
}

// errReadOnly is the answer to a write where only reading is allowed.
func errReadOnly(tag string) error {
	command, _, _ := strings.Cut(tag, " ")
	return fault.New("sql", fault.Denied, "cannot execute %s in a read-only transaction", command).WithState("25006")
}
