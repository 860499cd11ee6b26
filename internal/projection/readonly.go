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
	answers map[string]bool
}

func (r *readOnlyCache) get(sql string, schema uint64) (answer, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.schema != schema {
		return false, false
	}
	answer, ok = r.answers[sql]
	return answer, ok
}

func (r *readOnlyCache) set(sql string, schema uint64, answer bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.answers == nil || r.schema != schema || len(r.answers) >= maxReadOnlyAnswers {
		r.answers = map[string]bool{}
		r.schema = schema
	}
	r.answers[sql] = answer
}

// ReadOnly says whether a text only reads: one statement, as compiled by
// SQLite on the committed schema. A text of several statements counts as
// writing. Errors are those of compiling it.
func (d *DB) ReadOnly(ctx context.Context, sql string) (answer bool, err error) {
	schema := d.schemaVersion.Load()
	if answer, ok := d.readOnly.get(sql, schema); ok {
		return answer, nil
	}
	err = d.ownRead(func(c *conn) (err error) {
		if err := c.lookAgain(schema); err != nil {
			return err
		}
		answer, err = c.onlyReads(ctx, sql)
		return err
	})
	if err == nil && len(sql) <= maxCachedText {
		d.readOnly.set(sql, schema, answer)
	}
	return answer, err
}

func (c *conn) onlyReads(ctx context.Context, sql string) (bool, error) {
	var g guard
	g.start(ctx, c.limits.StatementTimeout)
	c.begin(&g)
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
