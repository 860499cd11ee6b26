package projection

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/ncruces/go-sqlite3"

	"kimberlite/internal/fault"
	"kimberlite/internal/record"
	"kimberlite/internal/schema"
)

// Sequences are rows of one of our own tables. Numbers are drawn in memory,
// by SQL functions; at the end of a transaction the sequences that have moved
// are written, in the table and in the log, as the statement that sets them:
// like the counters of AUTOINCREMENT. A transaction that is rolled back may
// have drawn numbers that are given again; no two committed ones draw the same.

// sequenceRow is a sequence as it stands.
type sequenceRow struct {
	schema.Sequence
	value  int64
	called bool // value was given already
	moved  bool // since it was written
}

const sequenceColumns = `name, owner, owned, start, increment, value, called`

// Beginnings of the texts of events that set and drop a sequence. No text of a
// client that changes the schema begins like this.
const (
	setSequenceText = "INSERT INTO _kimberlite_sequence(" + sequenceColumns + ") VALUES("
	setSequenceEnd  = `) ON CONFLICT(name) DO UPDATE SET owner=excluded.owner, owned=excluded.owned,
		start=excluded.start, increment=excluded.increment, value=excluded.value, called=excluded.called`
	putSequenceText  = setSequenceText + "?1,?2,?3,?4,?5,?6,?7" + setSequenceEnd // the same, compiled once
	dropSequenceText = "DELETE FROM _kimberlite_sequence WHERE name="
)

func isSequenceText(text string) bool {
	return strings.HasPrefix(text, setSequenceText) || strings.HasPrefix(text, dropSequenceText)
}

// text is the statement that puts the sequence as it stands.
func (q *sequenceRow) text() string {
	var b strings.Builder
	b.WriteString(setSequenceText)
	for _, s := range []string{q.Name, q.Table, q.Column} {
		b.WriteString(quoteText(s))
		b.WriteByte(',')
	}
	called := int64(0)
	if q.called {
		called = 1
	}
	for i, n := range []int64{q.Start, q.Increment, q.value, called} {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.FormatInt(n, 10))
	}
	b.WriteString(setSequenceEnd)
	return b.String()
}

// readSequenceRows reads all sequences, by name.
func readSequenceRows(c *conn) ([]*sequenceRow, error) {
	var all []*sequenceRow
	err := c.each(`SELECT `+sequenceColumns+` FROM _kimberlite_sequence ORDER BY name`, func(s *sqlite3.Stmt) error {
		all = append(all, &sequenceRow{
			Sequence: schema.Sequence{
				Name: s.ColumnText(0), Table: s.ColumnText(1), Column: s.ColumnText(2),
				Start: s.ColumnInt64(3), Increment: s.ColumnInt64(4),
			},
			value: s.ColumnInt64(5), called: s.ColumnInt64(6) != 0,
		})
		return nil
	})
	return all, err
}

// loadDrawn makes the sequences known: functions cannot ask SQLite. What was
// drawn and not written yet stays drawn.
func (w *writer) loadDrawn() error {
	if w.drawn != nil && w.drawnAt == w.changes {
		return nil
	}
	rows, err := readSequenceRows(w.c)
	if err != nil {
		return err
	}
	old := w.drawn
	w.drawn, w.drawnAt = make(map[string]*sequenceRow, len(rows)), w.changes
	for _, q := range rows {
		if was := old[lower(q.Name)]; was != nil && was.moved {
			q.value, q.called, q.moved = was.value, was.called, true
		}
		w.drawn[lower(q.Name)] = q
	}
	return nil
}

// putSequence writes a sequence and adds the event that does the same.
func (w *writer) putSequence(q *sequenceRow) error {
	text := q.text()
	called := int64(0)
	if q.called {
		called = 1
	}
	if err := w.c.exec(putSequenceText, q.Name, q.Table, q.Column, q.Start, q.Increment, q.value, called); err != nil {
		return err
	}
	q.moved = false
	w.capture.add(record.Event{Kind: record.Schema, SQL: text}, len(text))
	return nil
}

// dropSequence removes a sequence and adds the event that does the same.
func (w *writer) dropSequence(name string) error {
	text := dropSequenceText + quoteText(name)
	if err := w.c.script(text); err != nil {
		return err
	}
	delete(w.drawn, lower(name))
	w.capture.add(record.Event{Kind: record.Schema, SQL: text}, len(text))
	return nil
}

// noteDrawn writes the sequences that have moved, at the end of a transaction.
func (w *writer) noteDrawn() error {
	for _, name := range slices.Sorted(maps.Keys(w.drawn)) {
		if q := w.drawn[name]; q.moved {
			if err := w.putSequence(q); err != nil {
				return err
			}
		}
	}
	return nil
}

// dropOwnedSequences drops the sequences of a table that is gone. One that
// another table draws from belongs to that table from then on: a table that is
// made anew takes its sequences over.
func (w *writer) dropOwnedSequences(table string, left objects) error {
	for _, name := range slices.Sorted(maps.Keys(w.drawn)) {
		if q := w.drawn[name]; q.Table != "" && lower(q.Table) == lower(table) {
			draws := "nextval(" + quoteText(q.Name) + ")"
			heir := slices.IndexFunc(left, func(o object) bool { return o.kind == "table" && strings.Contains(o.sql, draws) })
			if heir >= 0 {
				q.Table = left[heir].name
				if err := w.putSequence(q); err != nil {
					return err
				}
				continue
			}
			if err := w.dropSequence(q.Name); err != nil {
				return err
			}
		}
	}
	return nil
}

// moveOwnedSequences follows a table's, or a column's, new name.
func (w *writer) moveOwnedSequences(s *stream, table string, columns []record.Column) error {
	for _, name := range slices.Sorted(maps.Keys(w.drawn)) {
		q := w.drawn[name]
		if q.Table == "" || lower(q.Table) != lower(s.Name) {
			continue
		}
		was := q.Sequence
		q.Table = table
		for i, col := range s.Columns {
			if lower(col.Name) == lower(q.Column) && len(columns) == len(s.Columns) {
				q.Column = columns[i].Name
				break
			}
		}
		if q.Sequence != was {
			if err := w.putSequence(q); err != nil {
				return err
			}
		}
	}
	return nil
}

// replaySequence carries out the event of a sequence.
func (w *writer) replaySequence(text string) error {
	defer w.c.asOurselves()()
	err := w.c.db.Exec(text)
	w.drawn = nil
	w.changes++
	if err != nil {
		return w.replayFailed(err, "a sequence cannot be set again")
	}
	return nil
}

// CreateSequence makes a sequence in the transaction under way. An Increment
// of 0 means 1, and a Start of 0 the first number in its direction.
// AlreadyExists says that a table, view, stream or sequence has the name.
func (g *Group) CreateSequence(q schema.Sequence) (err error) {
	if err := g.inTxn(); err != nil {
		return err
	}
	if denied := g.access.Require(RightDefine); denied != nil {
		return denied.ForTenant(g.d.tenant)
	}
	if err := checkStreamName(q.Name); err != nil {
		return err.ForTenant(g.d.tenant)
	}
	w := g.w
	defer w.c.protect("sequence create", &err)
	if err := w.loadDrawn(); err != nil {
		return err
	}
	taken := w.drawn[lower(q.Name)] != nil || w.st.streams.named(q.Name) != nil
	err = w.c.each(`SELECT 1 FROM sqlite_schema WHERE name=?1 COLLATE NOCASE`, func(*sqlite3.Stmt) error {
		taken = true
		return errStop
	}, q.Name)
	if err != nil {
		return err
	}
	if taken {
		return fault.New("sequence create", fault.AlreadyExists, "relation %q already exists", clip(q.Name)).WithState(stateTwice).ForTenant(g.d.tenant)
	}
	if q.Increment == 0 {
		q.Increment = 1
	}
	if q.Start == 0 {
		q.Start = 1
		if q.Increment < 0 {
			q.Start = -1
		}
	}
	return g.changedSequence(func() error {
		row := &sequenceRow{Sequence: q, value: q.Start}
		w.drawn[lower(q.Name)] = row
		if err := w.putSequence(row); err != nil {
			return err
		}
		return g.noteChange("create sequence", q.Name)
	})
}

// DropSequence drops a sequence in the transaction under way. NotFound says
// that there is none.
func (g *Group) DropSequence(name string) (err error) {
	if err := g.inTxn(); err != nil {
		return err
	}
	if denied := g.access.Require(RightDefine); denied != nil {
		return denied.ForTenant(g.d.tenant)
	}
	defer g.w.c.protect("sequence drop", &err)
	if err := g.w.loadDrawn(); err != nil {
		return err
	}
	q := g.w.drawn[lower(name)]
	if q == nil {
		return noSequence("sequence drop", name).ForTenant(g.d.tenant)
	}
	return g.changedSequence(func() error {
		if err := g.w.dropSequence(q.Name); err != nil {
			return err
		}
		return g.noteChange("drop sequence", q.Name)
	})
}

func noSequence(op, name string) *fault.Error {
	return fault.New(op, fault.NotFound, "sequence %q does not exist", clip(name)).WithState(stateNoTable)
}

// changedSequence runs a change of what sequences there are as a statement of
// its own: undone as a whole when it fails.
func (g *Group) changedSequence(change func() error) error {
	w := g.w
	if err := w.c.exec(`SAVEPOINT statement`); err != nil {
		return err
	}
	before := w.mark()
	if err := change(); err != nil {
		if undone := w.c.backTo("statement"); undone != nil {
			g.recover(undone)
			return err
		}
		w.schemaChanged()
		w.forget(before)
		return err
	}
	if err := w.c.exec(`RELEASE statement`); err != nil {
		return err
	}
	w.schemaChanged()
	w.drawnAt = w.changes
	g.txn.statements++
	g.txn.wrote = true
	return nil
}
