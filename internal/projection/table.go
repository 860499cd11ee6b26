package projection

import (
	"strings"

	"github.com/ncruces/go-sqlite3"

	"kimberlite/internal/fault"
	"kimberlite/internal/record"
)

// table is what capture and replay need to know of one table.
type table struct {
	name    string
	stream  uint64
	version uint64
	// columns are the stored ones, in order; source has each one's place
	// among all columns, generated ones included.
	columns []record.Column
	source  []int
	// real says which columns hold REAL numbers: SQLite stores 5.0 as 5 in
	// them, and hands out the 5.
	real []bool
	// key are the places in columns of the primary key, in its order, for a
	// table WITHOUT ROWID.
	key []int
	// rowidColumn is the place in columns of the INTEGER PRIMARY KEY, or -1.
	rowidColumn int
	// enforced are the columns whose values are checked.
	enforced []enforced
	// rowid is the name by which the rowid is reached, "" for WITHOUT ROWID.
	rowid         string
	autoincrement bool
	replay        replayStatements
}

func (t *table) withoutRowID() bool { return t.rowid == "" }

// describe reads a table's shape from SQLite. It fails with Unsupported for a
// table whose rows cannot be named when events are replayed.
func describe(c *conn, name string) (*table, error) {
	t := &table{name: name, rowidColumn: -1}
	all := map[string]bool{}
	keyed := 0
	at := 0
	err := c.each(`SELECT name, type, pk, hidden FROM pragma_table_xinfo(?1, 'main')`, func(s *sqlite3.Stmt) error {
		column := record.Column{Name: s.ColumnText(0), Type: s.ColumnText(1), Key: uint32(s.ColumnInt64(2))} //nolint:gosec // at most LIMIT_COLUMN
		all[lower(column.Name)] = true
		if hidden := s.ColumnInt64(3); hidden == 0 {
			t.columns = append(t.columns, column)
			t.source = append(t.source, at)
			t.real = append(t.real, realAffinity(column.Type))
			if column.Key > 0 {
				keyed++
			}
		}
		at++
		return nil
	}, name)
	if err != nil {
		return nil, err
	}
	if at == 0 {
		return nil, fault.New("sql", fault.Internal, "table %q is not there", clip(name))
	}
	t.enforced = enforcedColumns(t.columns)
	without, pkIndex, err := tableKind(c, name)
	if err != nil {
		return nil, err
	}
	if without {
		t.key = keyPlaces(t.columns, keyed)
		return t, nil
	}
	if keyed == 1 && !pkIndex {
		t.rowidColumn = keyPlaces(t.columns, 1)[0]
		t.rowid = quoteName(t.columns[t.rowidColumn].Name)
		_, _, _, _, auto, err := c.db.TableColumnMetadata("main", name, t.columns[t.rowidColumn].Name)
		t.autoincrement = auto
		return t, c.fail("sql", "", err)
	}
	for _, alias := range []string{"rowid", "_rowid_", "oid"} {
		if !all[alias] {
			t.rowid = alias
			return t, nil
		}
	}
	return nil, fault.New("sql", fault.Unsupported, "table %q hides its row number behind columns named rowid, _rowid_ and oid: rename one of them, or add an INTEGER PRIMARY KEY", clip(name)).ForTenant(c.tenant)
}

// tableKind says whether a table is WITHOUT ROWID, and whether its primary key
// is an index of its own rather than the rowid.
func tableKind(c *conn, name string) (without, pkIndex bool, err error) {
	err = c.each(`SELECT wr FROM pragma_table_list(?1) WHERE schema='main'`, func(s *sqlite3.Stmt) error {
		without = s.ColumnInt64(0) != 0
		return nil
	}, name)
	if err != nil {
		return false, false, err
	}
	err = c.each(`SELECT 1 FROM pragma_index_list(?1, 'main') WHERE origin='pk'`, func(*sqlite3.Stmt) error {
		pkIndex = true
		return nil
	}, name)
	return without, pkIndex, err
}

func keyPlaces(columns []record.Column, n int) []int {
	key := make([]int, n)
	for i, c := range columns {
		if c.Key > 0 && int(c.Key) <= n {
			key[c.Key-1] = i
		}
	}
	return key
}

// realAffinity says whether SQLite gives a declared type REAL affinity.
func realAffinity(declared string) bool {
	u := strings.ToUpper(declared)
	for _, other := range []string{"INT", "CHAR", "CLOB", "TEXT", "BLOB"} {
		if strings.Contains(u, other) {
			return false
		}
	}
	return strings.Contains(u, "REAL") || strings.Contains(u, "FLOA") || strings.Contains(u, "DOUB")
}

// table returns what is known of a live table, by its exact name.
func (w *writer) table(name string) (*table, error) {
	if t := w.tables[name]; t != nil {
		return t, nil
	}
	s := w.st.streams.named(name)
	if s == nil || s.Kind != record.TableStream {
		return nil, fault.New("sql", fault.Internal, "table %q has no stream", clip(name)).ForTenant(w.c.tenant)
	}
	t, err := describe(w.c, s.Name)
	if err != nil {
		return nil, err
	}
	t.stream, t.version = s.Number, s.SchemaVersion
	if w.tables == nil {
		w.tables = map[string]*table{}
	}
	w.tables[name] = t
	return t, nil
}

// foresee makes a table known before its rows change: the preupdate hook
// cannot ask SQLite. Views and tables being made have no rows to capture.
func (w *writer) foresee(name string) error {
	if s := w.st.streams.named(name); s == nil || s.Kind != record.TableStream {
		return nil
	}
	_, err := w.table(name)
	return err
}

// schemaChanged forgets what was derived from the schema.
func (w *writer) schemaChanged() {
	for _, t := range w.tables {
		t.replay.close()
	}
	w.openReplays = 0
	w.tables = nil
	w.counters = counterTableUnknown
	w.c.cache.clear()
	w.changes++
}
