package projection

import (
	"context"
	"time"

	"github.com/ncruces/go-sqlite3"

	"kimberlite/internal/audit"
)

// AuditTable gives the rows of kimberlite.audit. SystemTables implement it
// when there is a trail.
type AuditTable interface {
	// Audit returns the entries of the trail from an offset on.
	Audit(ctx context.Context, from uint64) (AuditCursor, error)
}

// AuditCursor walks over the audit trail.
type AuditCursor interface {
	// Next returns the next entry, or nil at the end.
	Next() (*AuditRow, error)
}

// AuditRow is a row of kimberlite.audit.
type AuditRow struct {
	Offset uint64
	Time   time.Time
	audit.Entry
}

// bestAudit makes use of offset >= ? or > ? or = ?. SQLite checks it again.
func bestAudit(info *sqlite3.IndexInfo) int {
	for i, c := range info.Constraint {
		if c.Usable && c.Column == 0 && (c.Op == sqlite3.INDEX_CONSTRAINT_GE || c.Op == sqlite3.INDEX_CONSTRAINT_GT || c.Op == sqlite3.INDEX_CONSTRAINT_EQ) {
			info.ConstraintUsage[i].ArgvIndex = 1
			info.EstimatedCost, info.EstimatedRows = 1e3, 1e3
			return 1
		}
	}
	return 0
}

func openAudit(d *DB, c *sqlite3.Conn, plan int, args []sqlite3.Value) (rowSource, error) {
	table, ok := d.system.(AuditTable)
	if !ok {
		return &auditRows{}, nil
	}
	from := uint64(0)
	if plan == 1 && args[0].Type() == sqlite3.INTEGER {
		from = uint64(max(0, args[0].Int64())) //nolint:gosec // not negative
	}
	cursor, err := table.Audit(c.GetInterrupt(), from)
	if err != nil {
		return nil, err
	}
	return &auditRows{cursor: cursor}, nil
}

// auditRows is kimberlite.audit.
type auditRows struct {
	cursor AuditCursor
	row    *AuditRow
}

func (r *auditRows) next() (more bool, err error) {
	if r.cursor == nil {
		return false, nil
	}
	r.row, err = r.cursor.Next()
	return r.row != nil, err
}

func (r *auditRows) close() error { return nil }

func (r *auditRows) column(ctx sqlite3.Context, n int) {
	e := r.row
	text := func(s string) {
		if s != "" {
			ctx.ResultText(s)
		}
	}
	switch n {
	case 0:
		ctx.ResultInt64(int64(e.Offset)) //nolint:gosec // counts from 0
	case 1:
		ctx.ResultText(e.Time.UTC().Format(time.RFC3339Nano))
	case 2:
		text(e.Principal)
	case 3:
		text(e.Role)
	case 4:
		text(e.Remote)
	case 5:
		text(e.Action)
	case 6:
		text(e.Object)
	case 7:
		text(e.Outcome)
	case 8:
		text(e.DetailJSON())
	}
}
