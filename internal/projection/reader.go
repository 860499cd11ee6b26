package projection

import (
	"context"
	"slices"

	"kimberlite/internal/fault"
)

// Reader reads from the projection on a connection of its own. Each statement
// sees what is committed when it starts; between BeginSnapshot and EndSnapshot
// all see the same. It is used by one goroutine at a time; Release it.
type Reader struct {
	d      *DB
	c      *conn // nil until the first statement
	open   []*Rows
	access Access
	// snapshot says that a read transaction is open.
	snapshot bool
	released bool
}

// Read returns a reader. It waits for one to become free until ctx ends, and
// pins nothing until its first statement.
func (d *DB) Read(ctx context.Context) (*Reader, error) {
	if err := d.src.err(); err != nil {
		return nil, err
	}
	if err := d.readers.enter(ctx, d); err != nil {
		return nil, err
	}
	return &Reader{d: d}, nil
}

// As bounds the statements from now on to an access, and returns r.
func (r *Reader) As(a Access) *Reader {
	r.access = a
	return r
}

// Release gives the reader back. Its rows are closed, its snapshot ends.
// Releasing twice does nothing.
func (r *Reader) Release() {
	if r.released {
		return
	}
	r.released = true
	if r.c != nil {
		for len(r.open) > 0 {
			r.open[len(r.open)-1].Close()
		}
		r.EndSnapshot()
		r.d.readers.put(r.c)
		r.c = nil
	}
	r.d.readers.leave()
}

func (r *Reader) connect() error {
	if r.released {
		return fault.New("read", fault.Closed, "the reader was released").ForTenant(r.d.tenant)
	}
	if err := r.d.src.err(); err != nil {
		return err
	}
	if r.c != nil && r.c.dead {
		return fault.New("read", fault.Closed, "the reader's connection broke down: take another reader").ForTenant(r.d.tenant)
	}
	if r.c == nil {
		c, err := r.d.readers.get(r.d)
		if err != nil {
			return err
		}
		r.c = c
	}
	if r.snapshot || r.reading() {
		return r.c.stillLooking()
	}
	// What is looked at must not be older than what is known of the schema.
	version := r.d.schemaVersion.Load()
	if err := r.c.look(); err != nil {
		return err
	}
	return r.c.lookAgain(version)
}

// reading says whether a statement is under way.
func (r *Reader) reading() bool {
	return slices.ContainsFunc(r.open, func(rows *Rows) bool { return !rows.halted })
}

// rest lets go of what is pinned when nothing needs it any more.
func (r *Reader) rest() {
	if r.c != nil && !r.snapshot && !r.reading() {
		r.c.file.park()
	}
}

// Query runs one statement that only reads. Unsupported says that it writes.
// The first row is looked for at once, so that most errors show here.
func (r *Reader) Query(ctx context.Context, sql string, args []any) (rows *Rows, err error) {
	if err := r.connect(); err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		return nil, fault.OfContext("sql", ctx).ForTenant(r.d.tenant)
	}
	rows = &Rows{r: r}
	rows.left = r.d.limits.MaxResultBytes
	rows.guard.start(ctx, r.d.limits.StatementTimeout)
	if err := rows.start(sql, args); err != nil {
		r.rest()
		return nil, err
	}
	return rows, nil
}

// Each runs one statement that only reads and gives fn each row; it stops with
// fn's error. The row is valid until fn returns.
func (r *Reader) Each(ctx context.Context, sql string, args []any, fn func(*Row) error) error {
	rows, err := r.Query(ctx, sql, args)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := fn(&rows.Row); err != nil {
			return err
		}
	}
	return rows.Err()
}

// BeginSnapshot pins what is committed now, for all statements until
// EndSnapshot.
func (r *Reader) BeginSnapshot(ctx context.Context) (err error) {
	if err := r.connect(); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return fault.OfContext("sql", ctx).ForTenant(r.d.tenant)
	}
	if r.snapshot {
		return fault.New("read", fault.Internal, "a snapshot is open already").ForTenant(r.d.tenant)
	}
	defer r.c.protect("read", &err)
	r.snapshot = true
	return r.c.exec(`SELECT 1 FROM _kimberlite_meta`) // SQLite pins at the first read
}

// EndSnapshot ends the snapshot, if there is one. Rows must be closed before.
func (r *Reader) EndSnapshot() {
	if !r.snapshot || r.c == nil {
		return
	}
	r.snapshot = false
	r.rest()
}

func (r *Reader) forget(rows *Rows) {
	if n := len(r.open); n > 0 && r.open[n-1] == rows {
		r.open[n-1] = nil
		r.open = r.open[:n-1]
		return
	}
	r.open = slices.DeleteFunc(r.open, func(o *Rows) bool { return o == rows })
}
