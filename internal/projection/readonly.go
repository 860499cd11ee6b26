package projection

import (
	"context"
	"sync"

	"kimberlite/internal/fault"
)

// maxReadOnlyAnswers bounds how many answers are remembered.
const maxReadOnlyAnswers = 256

// readOnlyCache remembers which texts only read, for one state of the schema.
type readOnlyCache struct {
	mu      sync.Mutex // guards all below
	schema  uint64
	answers map[readOnlyKey]bool
}

// readOnlyKey is a text and on whose behalf it was compiled.
type readOnlyKey struct {
	sql    string
	access Access
}

func (r *readOnlyCache) get(sql readOnlyKey, schema uint64) (answer, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.schema != schema {
		return false, false
	}
	answer, ok = r.answers[sql]
	return answer, ok
}

func (r *readOnlyCache) set(sql readOnlyKey, schema uint64, answer bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.answers == nil || r.schema != schema || len(r.answers) >= maxReadOnlyAnswers {
		r.answers = map[readOnlyKey]bool{}
		r.schema = schema
	}
	r.answers[sql] = answer
}

// ReadOnly says whether a text only reads: one statement, as compiled by
// SQLite on the committed schema. A text of several statements counts as
// writing. Errors are those of compiling it, Denied for what access does not
// allow.
func (d *DB) ReadOnly(ctx context.Context, access Access, sql string) (answer bool, err error) {
	schema := d.schemaVersion.Load()
	key := readOnlyKey{sql, access}
	if answer, ok := d.readOnly.get(key, schema); ok {
		return answer, nil
	}
	err = d.ownRead(func(c *conn) (err error) {
		if err := c.lookAgain(schema); err != nil {
			return err
		}
		answer, err = c.onlyReads(ctx, access, sql)
		return err
	})
	if err == nil && len(sql) <= maxCachedText {
		d.readOnly.set(key, schema, answer)
	}
	return answer, err
}

func (c *conn) onlyReads(ctx context.Context, access Access, sql string) (bool, error) {
	var g guard
	g.start(ctx, c.limits.StatementTimeout)
	c.begin(&g, access)
	p, tail, err := c.prepare("sql", sql)
	if err != nil || p == nil {
		return p == nil && err == nil, err
	}
	defer c.release(p)
	if !p.readOnly {
		return false, nil
	}
	if err := c.checkTail("sql", tail); fault.Is(err, fault.Invalid) {
		return false, nil
	}
	return true, nil
}
