package projection

import (
	"context"
	"errors"
	"math"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/vfs"

	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/pgcatalog"
)

// conn is one connection to SQLite with its file, authorizer and prepared
// statements. It is used by one goroutine at a time.
type conn struct {
	d      *DB
	db     *sqlite3.Conn
	file   *file
	tenant ident.TenantID
	limits *Limits
	// pageLimit is the projection's limit in bytes, for error messages.
	pageLimit *atomic.Int64
	auth      authorizer
	cache     stmtCache
	internal  map[string]*sqlite3.Stmt
	// schemaSeen is the DB's schemaVersion when the connection looked last.
	schemaSeen uint64
	// w is the writer that the connection belongs to, nil for a reader's.
	w *writer
	// env is what the catalog answers from, made when it is first asked, and
	// envChanges the writer's changes that it knows.
	env        *pgcatalog.Env
	envChanges int
	// extended has the folded names of our functions and tables that it knows.
	extended map[string]bool
	// dead says that the connection broke down and must only be closed.
	dead bool
	// worn says that it has done large work: its memory has grown, and only
	// closing it gives that back.
	worn bool
}

// Work from which on a connection is worn. Opening another one takes less than
// a hundredth of the time that such work took.
const (
	largeCalls = 5000    // rows, or thousands of instructions
	largeBytes = 4 << 20 // of results or events
)

// wear notes work that was done.
func (c *conn) wear(g *guard, bytes int64) {
	if g.calls > largeCalls || bytes > largeBytes {
		c.worn = true
	}
}

// close gives the connection's memory back, whatever state it is in: SQLite
// unmaps it only when no statement is left.
func (c *conn) close() {
	for _, s := range slices.Collect(c.db.Stmts()) {
		evenIfBroken(func() { _ = s.Close() }) // reports the statement's last error, which was dealt with
	}
	evenIfBroken(func() { _ = c.db.Close() }) // a connection without statements closes
	c.dead = true
	c.file.release()
}

// evenIfBroken runs fn on a connection that may have broken down.
func evenIfBroken(fn func()) {
	defer func() { _ = recover() }() // there is nothing left to save
	fn()
}

// begin prepares for a client's statement: g will end it, access bounds it,
// and errors of earlier ones are forgotten.
func (c *conn) begin(g *guard, access Access) {
	c.db.SetInterrupt(g)
	c.auth.access = access
	c.file.kept = nil
	c.auth.info.denied = nil
}

// look puts a reader's connection on the latest version. It has a read
// transaction open all the time, which costs a statement nothing when nothing
// was committed since the last one: neither locks nor a look at the first
// page. Between uses the version is parked.
func (c *conn) look() (err error) {
	if c.file.resume() {
		return nil
	}
	defer c.protect("read", &err)
	if !c.db.GetAutocommit() {
		if c.file.lock == vfs.LOCK_NONE {
			return nil // it has read nothing, and pins when it does
		}
		if err := c.exec(`COMMIT`); err != nil {
			c.dead = true // whatever keeps it open ends with the connection
			return err
		}
	}
	return c.exec(`BEGIN`)
}

// stillLooking is nil while the version is held that look found: SQLite ends
// the transaction by itself after some failures.
func (c *conn) stillLooking() error {
	if c.db.GetAutocommit() {
		return fault.New("read", fault.Unavailable, "an earlier failure has ended the snapshot: begin another").ForTenant(c.tenant)
	}
	return nil
}

// neverSeen is the schemaSeen of a connection that has not looked yet.
const neverSeen = math.MaxUint64

// lookAgain makes SQLite load the schema anew if it has changed: it would not
// notice by itself that a new table of the tenant hides a system table.
func (c *conn) lookAgain(version uint64) (err error) {
	if c.schemaSeen == version {
		return nil
	}
	defer c.protect("read", &err)
	c.cache.clear()
	if c.schemaSeen != neverSeen {
		if err := c.exec(`SELECT 1 FROM _kimberlite_meta WHERE k=0`); err != nil {
			return err
		}
	}
	if err := c.extendForSchema(version); err != nil {
		return err
	}
	c.schemaSeen = version
	return nil
}

// prepared is a statement of a client, compiled under the authorizer.
type prepared struct {
	stmt *sqlite3.Stmt
	sql  string
	info stmtInfo
	// readOnly is SQLite's own judgement, but for functions that write.
	readOnly bool
	params   params
	busy     bool
	used     uint64 // when it was used last, in uses of the cache
}

// prepare compiles the first statement of a client's text. It returns nil
// when there is none. tail is what follows it. The caller has set the guard.
func (c *conn) prepare(op, sql string) (p *prepared, tail string, err error) {
	if p := c.cache.take(sql); p != nil {
		if refused := c.auth.access.Require(p.info.needs); refused != nil {
			c.release(p)
			return nil, "", refused.ForTenant(c.tenant)
		}
		return p, "", nil
	}
	if err := c.checkText(op, sql); err != nil {
		return nil, "", err
	}
	var stmt *sqlite3.Stmt
	err = c.extending(func() (err error) {
		c.auth.begin()
		stmt, tail, err = c.db.Prepare(sql)
		return err
	})
	if err != nil {
		return nil, "", c.fail(op, sql, err)
	}
	info := c.auth.info
	if stmt == nil {
		return nil, tail, nil
	}
	p = &prepared{stmt: stmt, sql: sql, info: info, readOnly: stmt.ReadOnly(), busy: true}
	refused := info.check()
	if refused == nil && info.draws && callsWriter(sql[:len(sql)-len(tail)]) {
		p.info.needs, p.readOnly = info.needs|RightWrite, false
		refused = c.auth.access.Require(RightWrite)
	}
	if refused != nil {
		_ = stmt.Close() // never run
		return nil, "", refused.ForTenant(c.tenant)
	}
	if strings.TrimSpace(tail) != "" {
		p.info.once = true // its text is more than the statement
	}
	if p.params, err = readParams(stmt); err != nil {
		_ = stmt.Close() // never run
		return nil, "", err
	}
	return p, tail, nil
}

func (c *conn) checkText(op, sql string) error {
	if len(sql) > c.limits.MaxStatementBytes {
		return fault.New(op, fault.TooLarge, "the statement has %d bytes, the limit is %d", len(sql), c.limits.MaxStatementBytes).ForTenant(c.tenant)
	}
	if strings.IndexByte(sql, 0) >= 0 {
		return fault.New(op, fault.Invalid, "the statement holds a NUL byte").ForTenant(c.tenant)
	}
	return nil
}

// prepareSingle compiles a text that must be exactly one statement.
func (c *conn) prepareSingle(op, sql string) (*prepared, error) {
	p, tail, err := c.prepare(op, sql)
	if err != nil {
		return nil, err
	}
	if p == nil {
		if strings.TrimSpace(tail) != "" {
			return c.prepareSingle(op, tail)
		}
		return nil, fault.New(op, fault.SQL, "there is no statement in the text").ForTenant(c.tenant)
	}
	if err := c.checkTail(op, tail); err != nil {
		c.release(p)
		return nil, err
	}
	return p, nil
}

// checkTail refuses a second statement behind the first; only SQLite can tell
// one from a comment.
func (c *conn) checkTail(op, tail string) error {
	for strings.TrimSpace(tail) != "" {
		c.auth.begin()
		stmt, rest, err := c.db.Prepare(tail)
		if stmt != nil || err != nil {
			_ = stmt.Close()        // never run
			_ = c.auth.takeDenied() // of the second statement, which does not count
			return fault.New(op, fault.Invalid, "more than one statement: give them one at a time").ForTenant(c.tenant)
		}
		tail = rest
	}
	return nil
}

// release resets a statement and keeps it for the next time if it is worth
// it.
func (c *conn) release(p *prepared) {
	if p == nil || !p.busy {
		return
	}
	p.busy = false
	if c.dead {
		return // all goes with the connection
	}
	_ = p.stmt.Reset() // reports the error of the last step, which was dealt with
	if p.params.large {
		p.params.large = false
		_ = p.stmt.ClearBindings() // cannot fail
	}
	if !c.cache.keep(p) {
		_ = p.stmt.Close() // likewise
	}
}

// exec runs one of our own statements to its end, outside a client's guard
// and rules.
func (c *conn) exec(sql string, args ...any) error {
	s, err := c.own(sql, args)
	if err != nil {
		return err
	}
	defer c.asOurselves()()
	return c.fail("projection", "", s.Exec())
}

// errStop ends each early and without an error.
var errStop = errors.New("stop")

// each runs one of our own statements and gives fn each row.
func (c *conn) each(sql string, fn func(s *sqlite3.Stmt) error, args ...any) (err error) {
	s, err := c.own(sql, args)
	if err != nil {
		return err
	}
	defer c.asOurselves()()
	defer func() {
		if resetErr := s.Reset(); err == nil {
			err = c.fail("projection", "", resetErr)
		}
	}()
	for s.Step() {
		if err := fn(s); err == errStop { //nolint:errorlint // it is never wrapped
			return nil
		} else if err != nil {
			return err
		}
	}
	return c.fail("projection", "", s.Err())
}

// own returns one of our own statements, prepared once, with args bound.
func (c *conn) own(sql string, args []any) (*sqlite3.Stmt, error) {
	c.db.SetInterrupt(context.Background())
	s := c.internal[sql]
	if s == nil {
		defer c.asOurselves()()
		err := c.extending(func() (err error) {
			s, _, err = c.db.PrepareFlags(sql, sqlite3.PREPARE_PERSISTENT)
			return err
		})
		if err != nil {
			return nil, c.fail("projection", sql, err)
		}
		if c.internal == nil {
			c.internal = map[string]*sqlite3.Stmt{}
		}
		c.internal[sql] = s
	}
	for i, a := range args {
		if err := bindValue(s, i+1, a); err != nil {
			return nil, c.fail("projection", "", err)
		}
	}
	return s, nil
}

// dropInternal closes our own statements whose number is not fixed.
func (c *conn) dropInternal(sql string) {
	if s := c.internal[sql]; s != nil {
		delete(c.internal, sql)
		_ = s.Close() // reports the statement's last error, which was dealt with
	}
}

// asOurselves lifts the client's rules until the returned function is called.
func (c *conn) asOurselves() func() {
	old := c.auth.mode
	c.auth.mode = ourselves
	return func() { c.auth.mode = old }
}

// script runs our own statements, each once.
func (c *conn) script(sql string) error {
	c.db.SetInterrupt(context.Background())
	defer c.asOurselves()()
	return c.fail("projection", sql, c.db.Exec(sql))
}

// backTo undoes a savepoint and ends it.
func (c *conn) backTo(savepoint string) error {
	if err := c.exec("ROLLBACK TO " + savepoint); err != nil {
		return err
	}
	return c.exec("RELEASE " + savepoint)
}
