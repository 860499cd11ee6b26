package projection

import (
	"errors"
	"time"

	"github.com/ncruces/go-sqlite3"

	"kimberlite/internal/fault"
	"kimberlite/internal/record"
)

// The system tables are virtual tables in an attached database in memory,
// schema "kimberlite". Both are made before the first text of a client, and
// cannot be changed from then on.

// systemTable is one virtual table.
type systemTable struct {
	name    string
	declare string
	// open returns the rows that match; the arguments are those that best
	// asked for.
	open func(d *DB, c *sqlite3.Conn, plan int, args []sqlite3.Value) (rowSource, error)
	// best says in a number which constraints are made use of.
	best func(*sqlite3.IndexInfo) int
}

// rowSource is a virtual table's rows, one at a time.
type rowSource interface {
	// next moves to the next row; false is the end.
	next() (bool, error)
	// column sets the result to a column of the row.
	column(ctx sqlite3.Context, n int)
	close() error
}

var systemTables = []systemTable{
	{
		name: "events",
		declare: `CREATE TABLE x(stream TEXT, stream_offset INTEGER, log_offset INTEGER, time TEXT, kind TEXT,
			before TEXT, after TEXT, content_type TEXT, data BLOB)`,
		open: openEvents, best: bestEvents,
	},
	{
		name:    "streams",
		declare: `CREATE TABLE x(stream TEXT, number INTEGER, kind TEXT, next_offset INTEGER, schema_version INTEGER, columns TEXT)`,
		open:    openStreams,
	},
	{
		name:    "usage",
		declare: `CREATE TABLE x(name TEXT, value INTEGER, max INTEGER)`,
		open:    openUsage,
	},
	{
		name: "audit",
		declare: `CREATE TABLE x("offset" INTEGER, time TEXT, principal TEXT, role TEXT, remote TEXT, action TEXT,
			object TEXT, outcome TEXT, detail TEXT)`,
		open: openAudit, best: bestAudit,
	},
}

// attachSystem makes the system tables on a new connection.
func attachSystem(c *conn, d *DB) error {
	text := `ATTACH ':memory:' AS ` + systemSchema + `; PRAGMA ` + systemSchema + `.page_size=512;`
	for i := range systemTables {
		t := &systemTables[i]
		construct := func(db *sqlite3.Conn, _, _, _ string, _ ...string) (*virtualTable, error) {
			return &virtualTable{t: t, d: d, c: c}, db.DeclareVTab(t.declare)
		}
		//nolint:staticcheck // the generic method needs a newer Go than ours
		if err := sqlite3.CreateModule(c.db, "kimberlite_"+t.name, construct, construct); err != nil {
			return c.fail("projection open", "", err)
		}
		text += `CREATE VIRTUAL TABLE ` + systemSchema + `.` + t.name + ` USING kimberlite_` + t.name + `;`
	}
	return c.script(text)
}

// virtualTable is a system table on one connection.
type virtualTable struct {
	t *systemTable
	d *DB
	c *conn
}

// BestIndex implements [sqlite3.VTab].
func (v *virtualTable) BestIndex(info *sqlite3.IndexInfo) error {
	info.EstimatedCost, info.EstimatedRows = 1e6, 1e6
	if v.t.best == nil {
		info.EstimatedCost, info.EstimatedRows = 100, 100
		return nil
	}
	info.IdxNum = v.t.best(info)
	return nil
}

// Open implements [sqlite3.VTab].
func (v *virtualTable) Open() (sqlite3.VTabCursor, error) { return &virtualCursor{v: v}, nil }

// Destroy implements [sqlite3.VTabDestroyer].
func (v *virtualTable) Destroy() error { return nil }

// virtualCursor walks over a system table.
type virtualCursor struct {
	v    *virtualTable
	rows rowSource
	more bool
	at   int64
}

// Filter implements [sqlite3.VTabCursor].
func (vc *virtualCursor) Filter(plan int, _ string, args ...sqlite3.Value) error {
	if err := vc.Close(); err != nil {
		return err
	}
	rows, err := vc.v.t.open(vc.v.d, vc.v.c.db, plan, args)
	if err != nil {
		return vc.failed(err)
	}
	vc.rows, vc.at = rows, 0
	return vc.Next()
}

// failed keeps an error for the caller: SQLite carries its text only.
func (vc *virtualCursor) failed(err error) error {
	var e *fault.Error
	if err != nil && !errors.As(err, &e) {
		err = fault.Wrap("sql", fault.KindOf(err), err, "a system table cannot be read")
	}
	if vc.v.c.file.kept == nil {
		vc.v.c.file.kept = err
	}
	return err
}

// Next implements [sqlite3.VTabCursor].
func (vc *virtualCursor) Next() (err error) {
	vc.at++
	if vc.more, err = vc.rows.next(); err != nil {
		return vc.failed(err)
	}
	return nil
}

// EOF implements [sqlite3.VTabCursor].
func (vc *virtualCursor) EOF() bool { return !vc.more }

// Column implements [sqlite3.VTabCursor].
func (vc *virtualCursor) Column(ctx sqlite3.Context, n int) error {
	vc.rows.column(ctx, n)
	return nil
}

// RowID implements [sqlite3.VTabCursor].
func (vc *virtualCursor) RowID() (int64, error) { return vc.at, nil }

// Close ends the walk; SQLite calls it when it is done with the cursor.
func (vc *virtualCursor) Close() error {
	if vc.rows == nil {
		return nil
	}
	rows := vc.rows
	vc.rows, vc.more = nil, false
	return rows.close()
}

// Columns of kimberlite.events that narrow down what is read.
const (
	eventsStream = 0
	eventsOffset = 1
)

// bestEvents makes use of stream = ? (plan bit 1) and with it of
// stream_offset >= ? or > ? or = ? (plan bit 2). SQLite checks them again.
func bestEvents(info *sqlite3.IndexInfo) int {
	stream, from := -1, -1
	for i, c := range info.Constraint {
		switch {
		case !c.Usable:
		case c.Column == eventsStream && c.Op == sqlite3.INDEX_CONSTRAINT_EQ && stream < 0:
			stream = i
		case c.Column == eventsOffset && from < 0 && (c.Op == sqlite3.INDEX_CONSTRAINT_GE || c.Op == sqlite3.INDEX_CONSTRAINT_GT || c.Op == sqlite3.INDEX_CONSTRAINT_EQ):
			from = i
		}
	}
	if stream < 0 {
		return 0
	}
	info.ConstraintUsage[stream].ArgvIndex = 1
	info.EstimatedCost, info.EstimatedRows = 1e4, 1e4
	if from < 0 {
		return 1
	}
	info.ConstraintUsage[from].ArgvIndex = 2
	info.EstimatedCost, info.EstimatedRows = 1e3, 1e3
	return 3
}

func openEvents(d *DB, c *sqlite3.Conn, plan int, args []sqlite3.Value) (rowSource, error) {
	var q EventQuery
	if plan&1 != 0 {
		q.Stream = d.onlyStreamNamed(args[0].Text())
	}
	if plan&2 != 0 && q.Stream != 0 && args[1].Type() == sqlite3.INTEGER {
		q.From = uint64(max(0, args[1].Int64())) //nolint:gosec // not negative
	}
	if d.system == nil {
		return &eventRows{}, nil
	}
	cursor, err := d.system.Events(c.GetInterrupt(), q)
	if err != nil {
		return nil, err
	}
	return &eventRows{d: d, cursor: cursor}, nil
}

// onlyStreamNamed returns the number of the one stream that has, or had when
// it was dropped, a name; 0 when there is none or several.
func (d *DB) onlyStreamNamed(name string) uint64 {
	found := uint64(0)
	for _, s := range d.streams.Load().byNumber {
		if s.Name != name || isInternal(s.Number) {
			continue
		}
		if found != 0 {
			return 0
		}
		found = s.Number
	}
	return found
}

// eventRows is kimberlite.events.
type eventRows struct {
	d      *DB
	cursor EventCursor
	e      *LoggedEvent
}

func (r *eventRows) next() (more bool, err error) {
	if r.cursor == nil {
		return false, nil
	}
	r.e, err = r.cursor.Next()
	return r.e != nil, err
}

func (r *eventRows) close() error {
	if r.cursor == nil {
		return nil
	}
	return r.cursor.Close()
}

// eventKinds are the names of the kinds in kimberlite.events.
var eventKinds = map[record.EventKind]string{
	record.StreamCreated: "create", record.StreamDropped: "drop", record.StreamAltered: "alter", record.Schema: "schema",
	record.RowInserted: "insert", record.RowUpdated: "update", record.RowDeleted: "delete", record.Message: "message",
}

func (r *eventRows) column(ctx sqlite3.Context, n int) {
	e := &r.e.Event
	switch n {
	case eventsStream:
		if s := r.d.streams.Load().byNumber[e.Stream]; s != nil {
			ctx.ResultText(s.Name)
		}
	case eventsOffset:
		if counted(e.Kind) {
			ctx.ResultInt64(int64(e.StreamOffset)) //nolint:gosec // counts from 0
		}
	case 2:
		ctx.ResultInt64(int64(r.e.LogOffset)) //nolint:gosec // counts from 0
	case 3:
		ctx.ResultText(r.e.Time.UTC().Format(time.RFC3339Nano))
	case 4:
		ctx.ResultText(eventKinds[e.Kind])
	case 5:
		r.image(ctx, e, e.Before)
	case 6:
		r.image(ctx, e, e.After)
	case 7:
		if e.Kind == record.Message && e.ContentType != "" {
			ctx.ResultText(e.ContentType)
		}
	case 8:
		switch e.Kind {
		case record.Message:
			ctx.ResultBlob(append([]byte{}, e.Data...))
		case record.Schema:
			ctx.ResultText(e.SQL)
		default:
		}
	}
}

// image sets the result to a row as a JSON object.
func (r *eventRows) image(ctx sqlite3.Context, e *record.Event, values []record.Value) {
	if values == nil {
		return
	}
	columns, err := r.d.StreamColumns(e.Stream, e.SchemaVersion)
	if err != nil {
		ctx.ResultError(err)
		return
	}
	ctx.ResultText(string(rowJSON(columns, values)))
}

// streamRows is kimberlite.streams.
type streamRows struct {
	all []StreamInfo
	at  int
}

func openStreams(d *DB, _ *sqlite3.Conn, _ int, _ []sqlite3.Value) (rowSource, error) {
	return &streamRows{all: d.Streams()}, nil
}

func (r *streamRows) next() (bool, error) {
	r.at++
	return r.at <= len(r.all), nil
}

func (r *streamRows) close() error { return nil }

func (r *streamRows) column(ctx sqlite3.Context, n int) {
	s := &r.all[r.at-1]
	switch n {
	case 0:
		ctx.ResultText(s.Name)
	case 1:
		ctx.ResultInt64(int64(s.Number)) //nolint:gosec // counts from 1
	case 2:
		ctx.ResultText(map[record.StreamKind]string{record.TableStream: "table", record.EventStream: "stream"}[s.Kind])
	case 3:
		ctx.ResultInt64(int64(s.Next.Uint64())) //nolint:gosec // counts from 0
	case 4:
		if s.Kind == record.TableStream {
			ctx.ResultInt64(int64(s.SchemaVersion)) //nolint:gosec // counts from 1
		}
	case 5:
		if s.Kind == record.TableStream {
			ctx.ResultText(string(columnsJSON(s.Columns)))
		}
	}
}

// usageRows is kimberlite.usage.
type usageRows struct {
	all []UsageRow
	at  int
}

func openUsage(d *DB, c *sqlite3.Conn, _ int, _ []sqlite3.Value) (rowSource, error) {
	if d.system == nil {
		return &usageRows{}, nil
	}
	all, err := d.system.Usage(c.GetInterrupt())
	return &usageRows{all: all}, err
}

func (r *usageRows) next() (bool, error) {
	r.at++
	return r.at <= len(r.all), nil
}

func (r *usageRows) close() error { return nil }

func (r *usageRows) column(ctx sqlite3.Context, n int) {
	u := &r.all[r.at-1]
	switch n {
	case 0:
		ctx.ResultText(u.Name)
	case 1:
		ctx.ResultInt64(u.Value)
	case 2:
		if u.Limit != 0 {
			ctx.ResultInt64(u.Limit)
		}
	}
}
