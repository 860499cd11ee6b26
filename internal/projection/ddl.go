package projection

import (
	"github.com/ncruces/go-sqlite3"

	"kimberlite/internal/fault"
	"kimberlite/internal/record"
)

// object is a row of SQLite's schema.
type object struct {
	kind, name, table string
	root              int64
	sql               string
}

// objects are the tenant's part of SQLite's schema.
type objects []object

// readSchema reads the schema without our own and SQLite's own objects.
func readSchema(c *conn) (objects, error) {
	var all objects
	err := c.each(`SELECT type, name, tbl_name, rootpage, coalesce(sql,'') FROM sqlite_schema`, func(s *sqlite3.Stmt) error {
		o := object{s.ColumnText(0), s.ColumnText(1), s.ColumnText(2), s.ColumnInt64(3), s.ColumnText(4)}
		if !internalTables[o.table] && !hasPrefixFold(o.name, "sqlite_") {
			all = append(all, o)
		}
		return nil
	})
	return all, err
}

func (s objects) byName() map[[2]string]object {
	m := make(map[[2]string]object, len(s))
	for _, o := range s {
		m[[2]string{o.kind, o.name}] = o
	}
	return m
}

// tablesByRoot maps tables by the page they begin at, which stays the same
// when a table is renamed or its columns change.
func (s objects) tablesByRoot() map[int64]object {
	m := map[int64]object{}
	for _, o := range s {
		if o.kind == "table" {
			m[o.root] = o
		}
	}
	return m
}

// noteSchema turns what a DDL statement has changed into events. text is the
// statement. It refuses changes that a client may not make, or that could not
// be replayed; the caller then goes back to before the statement.
func (w *writer) noteSchema(before objects, text string) error {
	after, err := readSchema(w.c)
	if err != nil {
		return err
	}
	w.schemaChanged()
	old, made := before.byName(), objects{}
	changed := len(before) != len(after)
	for _, o := range after {
		was, ok := old[[2]string{o.kind, o.name}]
		if ok && was == o {
			continue
		}
		changed = true
		if err := w.checkObject(o); err != nil {
			return err
		}
		if !ok && len(after) > len(before) {
			made = append(made, o)
		}
	}
	if !changed {
		return nil
	}
	if len(made) == 1 {
		text = made[0].sql // as SQLite keeps it: CREATE TABLE AS has become plain
	}
	w.capture.add(record.Event{Kind: record.Schema, SQL: text}, len(text))
	return w.noteTables(before.tablesByRoot(), after.tablesByRoot(), after)
}

// checkObject refuses names that are reserved or taken, and references to our
// own tables.
func (w *writer) checkObject(o object) error {
	if err := checkName(o.name); err != nil {
		return err.ForTenant(w.c.tenant)
	}
	if hasPrefixFold(o.name, "pragma_") && (o.kind == "table" || o.kind == "view") {
		// It would stand in the way of the table-valued pragma of that name.
		return fault.New("sql", fault.Denied, "the name %q is reserved: tables and views do not begin with pragma_", clip(o.name)).ForTenant(w.c.tenant)
	}
	if s := w.st.streams.named(o.name); s != nil && s.Kind == record.EventStream && (o.kind == "table" || o.kind == "view") {
		return fault.New("sql", fault.AlreadyExists, "there is an event stream %q already", clip(s.Name)).ForTenant(w.c.tenant)
	}
	if o.kind != "table" && o.kind != "view" {
		return nil
	}
	if isCatalogTable(o.name) {
		return fault.New("sql", fault.Denied, "the name %q is that of a table of PostgreSQL's catalog", clip(o.name)).ForTenant(w.c.tenant)
	}
	if w.drawn[lower(o.name)] != nil {
		return fault.New("sql", fault.AlreadyExists, "there is a sequence %q already", clip(o.name)).WithState(stateTwice).ForTenant(w.c.tenant)
	}
	if o.kind != "table" {
		return nil
	}
	return w.c.each(`SELECT "table" FROM pragma_foreign_key_list(?1, 'main')`, func(s *sqlite3.Stmt) error {
		if err := checkName(s.ColumnText(0)); err != nil {
			return err.ForTenant(w.c.tenant)
		}
		return nil
	}, o.name)
}

// noteTables adds the events of tables that were dropped, changed and made,
// in the order of the schema.
func (w *writer) noteTables(before, after map[int64]object, order objects) error {
	for root, was := range before {
		if _, ok := after[root]; ok {
			continue
		}
		s := w.st.streams.named(was.name)
		if s == nil {
			return fault.New("sql", fault.Internal, "table %q has no stream", clip(was.name)).ForTenant(w.c.tenant)
		}
		if err := w.emitStream(record.Event{Kind: record.StreamDropped, Stream: s.Number, Name: s.Name, StreamKind: record.TableStream}); err != nil {
			return err
		}
		if err := w.dropOwnedSequences(s.Name, order); err != nil {
			return err
		}
	}
	for _, o := range order {
		if o.kind != "table" {
			continue
		}
		was, ok := before[o.root]
		var err error
		switch {
		case !ok:
			err = w.noteCreated(o)
		case was != o:
			err = w.noteAltered(was, o)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (w *writer) noteCreated(o object) error {
	if s := w.st.streams.named(o.name); s != nil {
		return fault.New("sql", fault.AlreadyExists, "there is a stream %q already", clip(s.Name)).ForTenant(w.c.tenant)
	}
	t, err := describe(w.c, o.name)
	if err != nil {
		return err
	}
	err = w.emitStream(record.Event{
		Kind: record.StreamCreated, Stream: w.st.streams.top + 1, Name: o.name, StreamKind: record.TableStream,
		SchemaVersion: 1, Columns: t.columns,
	})
	if err != nil {
		return err
	}
	return w.captureRows(o.name)
}

func (w *writer) noteAltered(was, o object) error {
	s := w.st.streams.named(was.name)
	if s == nil {
		return fault.New("sql", fault.Internal, "table %q has no stream", clip(was.name)).ForTenant(w.c.tenant)
	}
	t, err := describe(w.c, o.name)
	if err != nil {
		return err
	}
	if o.name == s.Name && sameColumns(t.columns, s.Columns) {
		return nil
	}
	if err := w.moveOwnedSequences(s, o.name, t.columns); err != nil {
		return err
	}
	return w.emitStream(record.Event{
		Kind: record.StreamAltered, Stream: s.Number, Name: o.name, StreamKind: record.TableStream,
		SchemaVersion: s.SchemaVersion + 1, Columns: t.columns,
	})
}

func sameColumns(a, b []record.Column) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// emitStream adds an event about a stream and carries it out.
func (w *writer) emitStream(e record.Event) error {
	size := len(e.Name)
	for _, c := range e.Columns {
		size += len(c.Name) + len(c.Type) + 8
	}
	if err := w.changeStream(&e); err != nil {
		return err
	}
	w.capture.add(e, size)
	return nil
}

// captureRows adds the rows of a table that was made with rows in it, by
// CREATE TABLE AS: the preupdate hook does not see them.
func (w *writer) captureRows(name string) error {
	t, err := w.table(name)
	if err != nil {
		return err
	}
	query := t.selectAll("")
	err = w.c.each(query, func(s *sqlite3.Stmt) error {
		values := make([]record.Value, len(t.columns))
		size := len(values) * valueBytes
		at := 0
		e := record.Event{Kind: record.RowInserted, Stream: t.stream, SchemaVersion: t.version}
		if !t.withoutRowID() {
			e.RowID = s.ColumnInt64(0)
			at = 1
		}
		for i := range values {
			var n int
			values[i], n = columnValue(s, at+i)
			size += n
		}
		e.After = values
		e.StreamOffset = w.takeOffset(t.stream)
		w.capture.add(e, size)
		if w.capture.full() {
			return w.capture.err
		}
		return nil
	})
	w.c.dropInternal(query)
	return err
}

// selectAll is a query for the rowid, if there is one, and all stored columns.
func (t *table) selectAll(tail string) string {
	q := "SELECT "
	if !t.withoutRowID() {
		q += t.rowid + ", "
	}
	for i, c := range t.columns {
		if i > 0 {
			q += ", "
		}
		q += quoteName(c.Name)
	}
	return q + " FROM main." + quoteName(t.name) + tail
}

// columnValue copies a column of a result and returns its extra size.
func columnValue(s *sqlite3.Stmt, at int) (record.Value, int) {
	switch s.ColumnType(at) {
	case sqlite3.INTEGER:
		return s.ColumnInt64(at), 0
	case sqlite3.FLOAT:
		return s.ColumnFloat(at), 0
	case sqlite3.TEXT:
		v := s.ColumnText(at)
		return v, len(v)
	case sqlite3.BLOB:
		v := s.ColumnBlob(at, []byte{})
		return v, len(v)
	case sqlite3.NULL:
	}
	return nil, 0
}
