package projection

import (
	"context"
	"errors"
	"strings"

	"github.com/ncruces/go-sqlite3"

	"kimberlite/internal/fault"
)

// maxMessage is the longest text of SQLite that is passed on: it can quote
// from the statement.
const maxMessage = 300

// fail turns an error of SQLite into one of ours. sql is the text that was
// being compiled, or "". limit is the projection's limit in bytes, or 0.
func (c *conn) fail(op, sql string, err error) error {
	if err == nil {
		return nil
	}
	return c.classify(op, sql, err)
}

func (c *conn) classify(op, sql string, err error) error {
	var known *fault.Error
	if errors.As(err, &known) {
		return known
	}
	var code sqlite3.ErrorCode
	if !errors.As(err, &code) {
		return fault.Wrap(op, fault.Internal, err, "SQLite failed").ForTenant(c.tenant)
	}
	kept := c.file.takeError()
	if denied := c.auth.takeDenied(); denied != nil {
		return denied.ForTenant(c.tenant)
	}
	if kept != nil && storeCode(code) {
		return c.storeError(op, kept)
	}
	return c.codeError(op, sql, code, err).ForTenant(c.tenant)
}

// storeCode says whether SQLite's code can come from the page store.
func storeCode(code sqlite3.ErrorCode) bool {
	switch code {
	case sqlite3.IOERR, sqlite3.CANTOPEN, sqlite3.FULL, sqlite3.CORRUPT, sqlite3.NOTADB, sqlite3.READONLY, sqlite3.ERROR:
		return true
	}
	return false
}

func (c *conn) storeError(op string, err error) error {
	var e *fault.Error
	if errors.As(err, &e) {
		return e
	}
	return fault.Wrap(op, fault.Unavailable, err, "the projection's file failed").ForTenant(c.tenant)
}

func (c *conn) codeError(op, sql string, code sqlite3.ErrorCode, err error) *fault.Error {
	message := messageOf(err)
	switch code {
	case sqlite3.INTERRUPT:
		return c.interrupted(op)
	case sqlite3.CONSTRAINT:
		var extended sqlite3.ExtendedErrorCode
		_ = errors.As(err, &extended) // every constraint has one
		return constraintError(op, message, extended)
	case sqlite3.MISMATCH:
		return fault.New(op, fault.Constraint, "%s: the value does not fit the column's type", message).WithState(stateWrongType)
	case sqlite3.TOOBIG:
		return fault.New(op, fault.TooLarge, "%s: a value has at most %d bytes, a statement %d", message, c.limits.MaxValueBytes, c.limits.MaxStatementBytes)
	case sqlite3.FULL:
		return c.full(op)
	case sqlite3.CORRUPT, sqlite3.NOTADB:
		return c.malformed(op, message)
	case sqlite3.AUTH, sqlite3.PERM, sqlite3.READONLY:
		return fault.New(op, fault.Denied, "not allowed here: %s", message)
	case sqlite3.RANGE, sqlite3.MISUSE:
		return fault.New(op, fault.Invalid, "%s", message)
	case sqlite3.ERROR, sqlite3.SCHEMA, sqlite3.ABORT:
		return sqlError(op, sql, message, err)
	}
	return fault.New(op, fault.Internal, "SQLite failed: %s", message)
}

// malformed is damage that the page store could not see: SQLite's own
// structures do not hold. It puts the projection in doubt.
func (c *conn) malformed(op, message string) *fault.Error {
	e := fault.New(op, fault.Corruption, "the projection is malformed (%s): remove its file, it is rebuilt from the log", message).ForTenant(c.tenant)
	c.file.src.suspect(e)
	return e
}

func (c *conn) full(op string) *fault.Error {
	limit := c.pageLimit.Load()
	if limit == 0 {
		return fault.New(op, fault.TooLarge, "the projection has reached the most pages that a file can have")
	}
	e := fault.New(op, fault.QuotaExceeded, "the tables would grow over max_projections: delete data or raise the limit")
	e.Quota = &fault.Quota{Limit: "max_projections", Value: limit, Usage: c.file.src.store.Pages() * pageBytes}
	return e
}

// interrupted says why the guard ended a statement.
func (c *conn) interrupted(op string) *fault.Error {
	err := c.db.GetInterrupt().Err()
	var known *fault.Error
	if errors.As(err, &known) {
		return known
	}
	if g, ok := c.db.GetInterrupt().(*guard); ok && g.parent.Err() != nil {
		return fault.OfContext(op, g.parent)
	}
	return fault.Wrap(op, fault.Timeout, context.DeadlineExceeded, "the statement ran longer than its limit of %s", c.limits.StatementTimeout)
}

// tooLargeTexts are beginnings or parts of SQLite's messages that tell of a
// limit.
var tooLargeTexts = []string{
	"too many", "too large", "too big", "too deep", "too complex", "parser stack overflow",
	"exceeds limit", "limit exceeded", "too long", "recursion limit", "maximum recursion",
	"variable number must be between",
}

func sqlError(op, sql, message string, err error) *fault.Error {
	kind := fault.SQL
	lower := strings.ToLower(message)
	for _, text := range tooLargeTexts {
		if strings.Contains(lower, text) {
			kind = fault.TooLarge
		}
	}
	if strings.HasPrefix(lower, "too many arguments on") && strings.Contains(lower, "() - max") {
		kind = fault.SQL // a table-valued function that takes fewer
	}
	if strings.Contains(message, "VACUUM") {
		return fault.New(op, fault.Unsupported, "VACUUM is not offered: the projection reuses its free pages")
	}
	state := ""
	if kind == fault.SQL {
		state = stateOfMessage(message)
	}
	e := fault.New(op, kind, "%s", message).WithState(state)
	var detail *sqlite3.Error
	if sql != "" && errors.As(err, &detail) {
		if rest := detail.SQL(); rest != "" && len(rest) <= len(sql) {
			at := len(sql) - len(rest)
			e = fault.New(op, kind, "%s, at byte %d of the statement", message, at).WithState(state)
			e.Position = positionOf(sql, at)
		}
	}
	return e
}

// badPath begins SQLite's message that goes on with the path itself.
const badPath = "bad JSON path"

// messageOf returns SQLite's text without the prefixes that repeat its code.
func messageOf(err error) string {
	text := err.Error()
	var x sqlite3.ExtendedErrorCode
	if errors.As(err, &x) {
		if rest, ok := strings.CutPrefix(text, x.Error()+": "); ok {
			text = rest
		}
	}
	text = strings.TrimPrefix(text, "sqlite3: ")
	// The path can come from a row, and errors hold no row data.
	if at := strings.Index(text, badPath); at >= 0 {
		text = text[:at+len(badPath)]
	}
	if len(text) > maxMessage {
		text = strings.ToValidUTF8(text[:maxMessage], "") + "…"
	}
	return text
}

// outOfMemory is the driver's panic for an allocation that failed.
const outOfMemory = "sqlite3: out of memory"

// noEnd is its panic for a name that is longer than it reads.
const noEnd = "sqlite3: missing NUL terminator"

// protect is deferred around every use of a connection: the driver panics
// when memory runs out, and a fault inside SQLite's machine surfaces as a
// panic too. The connection is not used again.
func (c *conn) protect(op string, errp *error) {
	if p := recover(); p != nil {
		*errp = c.brokeDown(op, p)
	}
}

// brokeDown is the error of a panic of the driver.
func (c *conn) brokeDown(op string, p any) error {
	c.dead = true
	if e, ok := p.(error); ok {
		switch e.Error() {
		case outOfMemory:
			return fault.New(op, fault.TooLarge, "the statement needs more memory than a connection's %d bytes: sort or return less at a time", c.limits.MaxMemoryBytes).ForTenant(c.tenant)
		case noEnd:
			return fault.New(op, fault.TooLarge, "a name in the statement or in its result is longer than a million bytes: give it a shorter one by AS").ForTenant(c.tenant)
		}
	}
	return fault.New(op, fault.Internal, "SQLite broke down: %v", p).ForTenant(c.tenant)
}
