package projection

import (
	"strings"

	"github.com/ncruces/go-sqlite3"

	"kimberlite/internal/record"
)

// replayStatements are the statements that carry out a table's row events,
// each made when first needed.
type replayStatements struct {
	insert, update, move, remove *sqlite3.Stmt
}

func (r *replayStatements) close() {
	for _, s := range []**sqlite3.Stmt{&r.insert, &r.update, &r.move, &r.remove} {
		_ = (*s).Close() // reports the statement's last error, which was dealt with
		*s = nil
	}
}

// maxReplayStatements bounds how many replay statements stay prepared.
const maxReplayStatements = 128

// replayStatement prepares *s when it is not there yet.
func (w *writer) replayStatement(s **sqlite3.Stmt, text func() string) (*sqlite3.Stmt, error) {
	if *s != nil {
		return *s, nil
	}
	if w.openReplays >= maxReplayStatements {
		for _, t := range w.tables {
			t.replay.close()
		}
		w.openReplays = 0
	}
	var made *sqlite3.Stmt
	err := w.c.extending(func() (err error) {
		made, _, err = w.c.db.PrepareFlags(text(), sqlite3.PREPARE_PERSISTENT)
		return err
	})
	if err != nil {
		return nil, w.c.fail("apply", "", err)
	}
	*s = made
	w.openReplays++
	return made, nil
}

// replayEvents carries out a transaction's events in their order.
func (w *writer) replayEvents(events []record.Event) error {
	for i := range events {
		if err := w.replayEvent(&events[i]); err != nil {
			return err
		}
	}
	return nil
}

func (w *writer) replayEvent(e *record.Event) error {
	switch e.Kind {
	case record.Schema:
		return w.replaySchema(e.SQL)
	case record.StreamCreated, record.StreamAltered, record.StreamDropped:
		return w.changeStream(e)
	case record.RowInserted, record.RowUpdated, record.RowDeleted, record.Message:
	default:
		return w.diverged("an event has the unknown kind %d", e.Kind)
	}
	if e.StreamOffset == unnumbered {
		return nil // of a group that is put together again before it is logged
	}
	if at := w.takeOffset(e.Stream); at != e.StreamOffset {
		return w.diverged("stream %d stands at %d, the event at %d", e.Stream, at, e.StreamOffset)
	}
	s := w.st.streams.byNumber[e.Stream]
	if s == nil || s.Dropped {
		return w.diverged("there is no stream %d", e.Stream)
	}
	if e.Kind == record.Message {
		return w.replayInternal(e)
	}
	return w.replayRow(s, e)
}

// replaySchema runs the text of a Schema event.
func (w *writer) replaySchema(text string) error {
	if isSequenceText(text) {
		return w.replaySequence(text)
	}
	if err := w.c.extendForText(text); err != nil {
		return err
	}
	old := w.c.auth.mode
	w.c.auth.mode = replay
	defer func() { w.c.auth.mode = old }()
	w.c.auth.begin()
	w.defined = true
	err := w.c.extending(func() error { return w.c.db.Exec(text) })
	w.schemaChanged()
	if err != nil {
		return w.replayFailed(err, "a change of the schema cannot be repeated")
	}
	return nil
}

// replayFailed tells an error of the store or the machine, which says nothing
// about the log, from one of SQL, which says that the tables do not fit it.
func (w *writer) replayFailed(err error, what string) error {
	failed := w.c.fail("apply", "", err)
	if isStatementError(failed) {
		return w.diverged("%s (%v)", what, failed)
	}
	return failed
}

func (w *writer) replayRow(s *stream, e *record.Event) error {
	t, err := w.table(s.Name)
	if err != nil {
		return err
	}
	if e.SchemaVersion != t.version || e.After != nil && len(e.After) != len(t.columns) || e.Before != nil && len(e.Before) != len(t.columns) {
		return w.diverged("a row of stream %d has another shape", e.Stream)
	}
	defer w.c.asOurselves()()
	stmt, err := w.bindRow(t, e)
	if err != nil || stmt == nil {
		return err
	}
	if err := stmt.Exec(); err != nil {
		return w.replayFailed(err, "a row change cannot be repeated")
	}
	if n := w.c.db.Changes(); n != 1 {
		return w.diverged("a change of one row of stream %d met %d", e.Stream, n)
	}
	return nil
}

// bindRow returns the statement of a row event, ready to run; nil when there
// is nothing to do.
func (w *writer) bindRow(t *table, e *record.Event) (*sqlite3.Stmt, error) {
	var stmt *sqlite3.Stmt
	var err error
	var args []record.Value
	switch {
	case e.Kind == record.RowInserted:
		stmt, err = w.replayStatement(&t.replay.insert, t.insertText)
		args = e.After
		if !t.withoutRowID() && t.rowidColumn < 0 {
			args = append(args[:len(args):len(args)], e.RowID)
		}
	case e.Kind == record.RowDeleted:
		stmt, err = w.replayStatement(&t.replay.remove, t.removeText)
		args = t.place(nil, e)
	case !t.withoutRowID() && e.RowID == e.OldRowID:
		if t.rowidColumn >= 0 && len(t.columns) == 1 {
			return nil, nil
		}
		stmt, err = w.replayStatement(&t.replay.update, t.updateText)
		args = t.place(t.settable(e.After), e)
	default:
		stmt, err = w.replayStatement(&t.replay.move, t.moveText)
		args = append([]record.Value{}, e.After...)
		if !t.withoutRowID() && t.rowidColumn < 0 {
			args = append(args, e.RowID)
		}
		args = t.place(args, e)
	}
	if err != nil {
		return nil, err
	}
	for i, a := range args {
		if err := bindValue(stmt, i+1, a); err != nil {
			return nil, w.c.fail("apply", "", err)
		}
	}
	return stmt, nil
}

// settable returns the values but for the INTEGER PRIMARY KEY.
func (t *table) settable(values []record.Value) []record.Value {
	if t.rowidColumn < 0 {
		return values[:len(values):len(values)]
	}
	rest := make([]record.Value, 0, len(values))
	rest = append(rest, values[:t.rowidColumn]...)
	return append(rest, values[t.rowidColumn+1:]...)
}

// place appends what finds the row that an event changes.
func (t *table) place(args []record.Value, e *record.Event) []record.Value {
	if !t.withoutRowID() {
		return append(args, e.OldRowID)
	}
	for _, at := range t.key {
		args = append(args, e.Before[at])
	}
	return args
}

// where is the condition that place fills.
func (t *table) where() string {
	if !t.withoutRowID() {
		return " WHERE " + t.rowid + "=?"
	}
	var b strings.Builder
	for i, at := range t.key {
		b.WriteString(word(i == 0, " WHERE ", " AND "))
		b.WriteString(quoteName(t.columns[at].Name) + "=?")
	}
	return b.String()
}

func word(first bool, a, b string) string {
	if first {
		return a
	}
	return b
}

// names lists the columns that a row event sets.
func (t *table) names(withKey bool) []string {
	names := make([]string, 0, len(t.columns)+1)
	for i, c := range t.columns {
		if withKey || i != t.rowidColumn {
			names = append(names, quoteName(c.Name))
		}
	}
	if withKey && !t.withoutRowID() && t.rowidColumn < 0 {
		names = append(names, t.rowid)
	}
	return names
}

// OR ABORT overrules the conflict clauses of the table: events never conflict.

func (t *table) insertText() string {
	names := t.names(true)
	return "INSERT OR ABORT INTO main." + quoteName(t.name) + "(" + strings.Join(names, ",") +
		") VALUES(?" + strings.Repeat(",?", len(names)-1) + ")"
}

func (t *table) updateText() string {
	return "UPDATE OR ABORT main." + quoteName(t.name) + " SET " + strings.Join(t.names(false), "=?,") + "=?" + t.where()
}

func (t *table) moveText() string {
	return "UPDATE OR ABORT main." + quoteName(t.name) + " SET " + strings.Join(t.names(true), "=?,") + "=?" + t.where()
}

func (t *table) removeText() string {
	return "DELETE FROM main." + quoteName(t.name) + t.where()
}
