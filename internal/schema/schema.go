// Package schema is a tenant's tables as the doors see them: an immutable
// value, made by the projection from SQLite's own schema and read by the
// dialect, the catalog and the PostgreSQL door.
//
// It guarantees look-ups by name that fold the case of ASCII letters, as SQLite
// does, and object numbers from 16384 on that are the same as long as the
// schema's version is. It is pure: it knows nothing of SQLite, and does no I/O.
package schema

import (
	"slices"
	"strings"

	"kimberlite/internal/sqltype"
)

// FirstOID is the lowest object number of a tenant's own objects.
const FirstOID = 16384

// The kinds of a Table.
const (
	KindTable  = "table"
	KindView   = "view"
	KindSystem = "system" // a table of Kimberlite's own, read only
)

// Schema is a tenant's schema. It is not to be changed once it is shared.
type Schema struct {
	// Version names the state of the schema; it grows with each change.
	Version uint64
	// Tables are sorted by name, Sequences too.
	Tables    []*Table
	Sequences []*Sequence

	tables    map[string]*Table
	sequences map[string]*Sequence
	oids      map[uint32]any
}

// Table is a table or a view.
type Table struct {
	Name string
	// Kind is KindTable, KindView or KindSystem.
	Kind    string
	OID     uint32
	Columns []Column
	Indexes []Index
	// ForeignKeys are those that the table declares.
	ForeignKeys []ForeignKey
	Checks      []Check
	Triggers    []Trigger
	// SQL is the CREATE statement as SQLite keeps it; "" for system tables.
	SQL          string
	WithoutRowID bool
}

// Column is a column of a table or a view.
type Column struct {
	Name string
	// Declared is the declared type as written, "" for none.
	Declared string
	// Type is the PostgreSQL type that the declaration means.
	Type sqltype.Type
	// Enforced says that every value is checked to be one of Type.
	Enforced bool
	// NotNull says that NULL is refused; columns of a primary key are.
	NotNull bool
	// Hidden says that SELECT * leaves it out.
	Hidden bool
	// Generated says that its value is computed from others.
	Generated bool
	// Default is the SQL text of its default, "" for none.
	Default string
	// PrimaryKey is its place in the primary key from 1, or 0.
	PrimaryKey int
	// Sequence names the sequence that belongs to the column, "" for none.
	Sequence string
	// Identity is "a" for always, "d" for by default, "" for neither.
	Identity string
}

// Index is an index, or the rowid that serves as a primary key.
type Index struct {
	Name string
	OID  uint32
	// Unique and Primary are as declared; Constraint says that it belongs to a
	// constraint and not to a CREATE INDEX.
	Unique, Primary, Constraint bool
	// Columns are in the order of the key, "" for an expression.
	Columns []string
	// Where is the condition of a partial index, "" for none.
	Where string
	// SQL is the CREATE INDEX text, "" for one that SQLite made.
	SQL string
}

// ForeignKey is a reference from one table to another.
type ForeignKey struct {
	// Name is the constraint's, or one made from table and columns.
	Name       string
	Columns    []string
	RefTable   string
	RefColumns []string
	// OnUpdate and OnDelete are in SQL's words, such as "NO ACTION".
	OnUpdate, OnDelete string
}

// Check is a CHECK constraint; Expr is the text between its parentheses.
type Check struct{ Name, Expr string }

// Trigger is a trigger with its CREATE text.
type Trigger struct{ Name, SQL string }

// Sequence is a generator of numbers.
type Sequence struct {
	Name string
	OID  uint32
	// Table and Column own the sequence, "" when nothing does: it goes when
	// the table does.
	Table, Column string
	// Start is the first number, Increment the step; it is never 0.
	Start, Increment int64
}

// New returns the schema of tables and sequences, sorted by name; objects
// without an OID get one. The arguments belong to the schema from now on.
func New(version uint64, tables []*Table, sequences []*Sequence) *Schema {
	s := &Schema{
		Version: version, Tables: tables, Sequences: sequences,
		tables: make(map[string]*Table, len(tables)), sequences: make(map[string]*Sequence, len(sequences)),
		oids: map[uint32]any{},
	}
	slices.SortFunc(tables, func(a, b *Table) int { return strings.Compare(a.Name, b.Name) })
	slices.SortFunc(sequences, func(a, b *Sequence) int { return strings.Compare(a.Name, b.Name) })
	s.number()
	for _, t := range tables {
		s.tables[fold(t.Name)] = t
		s.oids[t.OID] = t
	}
	for _, q := range sequences {
		s.sequences[fold(q.Name)] = q
		s.oids[q.OID] = q
	}
	return s
}

// number gives OIDs to what has none: above those that are given, in the order
// of the names.
func (s *Schema) number() {
	next := uint32(FirstOID)
	for _, t := range s.Tables {
		next = max(next, t.OID+1)
		for i := range t.Indexes {
			next = max(next, t.Indexes[i].OID+1)
		}
	}
	for _, q := range s.Sequences {
		next = max(next, q.OID+1)
	}
	give := func(oid *uint32) {
		if *oid == 0 {
			*oid = next
			next++
		}
	}
	for _, t := range s.Tables {
		give(&t.OID)
		for i := range t.Indexes {
			give(&t.Indexes[i].OID)
		}
	}
	for _, q := range s.Sequences {
		give(&q.OID)
	}
}

// Table returns the table or view of a name, in any case of its letters.
func (s *Schema) Table(name string) (*Table, bool) {
	if s == nil {
		return nil, false
	}
	if s.tables == nil { // not made by New
		i := slices.IndexFunc(s.Tables, func(t *Table) bool { return fold(t.Name) == fold(name) })
		if i < 0 {
			return nil, false
		}
		return s.Tables[i], true
	}
	t, ok := s.tables[fold(name)]
	return t, ok
}

// Sequence returns the sequence of a name, in any case of its letters.
func (s *Schema) Sequence(name string) (*Sequence, bool) {
	if s == nil {
		return nil, false
	}
	if s.sequences == nil { // likewise
		i := slices.IndexFunc(s.Sequences, func(q *Sequence) bool { return fold(q.Name) == fold(name) })
		if i < 0 {
			return nil, false
		}
		return s.Sequences[i], true
	}
	q, ok := s.sequences[fold(name)]
	return q, ok
}

// TableByOID returns the table or view of an object number.
func (s *Schema) TableByOID(oid uint32) (*Table, bool) {
	if s == nil {
		return nil, false
	}
	t, ok := s.oids[oid].(*Table)
	return t, ok
}

// SequenceByOID returns the sequence of an object number.
func (s *Schema) SequenceByOID(oid uint32) (*Sequence, bool) {
	if s == nil {
		return nil, false
	}
	q, ok := s.oids[oid].(*Sequence)
	return q, ok
}

// Column returns the column of a name, in any case of its letters, and its
// place from 0.
func (t *Table) Column(name string) (*Column, int, bool) {
	folded := fold(name)
	for i := range t.Columns {
		if fold(t.Columns[i].Name) == folded {
			return &t.Columns[i], i, true
		}
	}
	return nil, 0, false
}

// fold folds case as SQLite compares names: ASCII letters only.
func fold(s string) string {
	for i := range len(s) {
		if c := s[i]; c >= 'A' && c <= 'Z' {
			b := []byte(s)
			for ; i < len(b); i++ {
				if c := b[i]; c >= 'A' && c <= 'Z' {
					b[i] = c + 'a' - 'A'
				}
			}
			return string(b)
		}
	}
	return s
}

// Marks in the text of a column's default that say that it is an identity
// column: SQLite's own schema has no other place for it.
const (
	IdentityAlways    = " /* GENERATED ALWAYS AS IDENTITY */"
	IdentityByDefault = " /* GENERATED BY DEFAULT AS IDENTITY */"
)

// IdentityOf reads the mark in the text of a default: "a" for always, "d" for
// by default, "" for none.
func IdentityOf(text string) string {
	switch {
	case strings.HasSuffix(text, IdentityAlways):
		return "a"
	case strings.HasSuffix(text, IdentityByDefault):
		return "d"
	}
	return ""
}

// ViewMark is the comment after a view's AS that tells the types of its
// columns, as declared, which SQLite keeps no record of.
func ViewMark(types []sqltype.Type) string {
	names := make([]string, len(types))
	for i, t := range types {
		names[i] = t.Declared()
	}
	return viewMark + strings.Join(names, " ") + " */ "
}

const viewMark = "/* columns: "

// ViewTypes reads the types that a view's text tells of its columns; nil says
// that it tells none.
func ViewTypes(sql string) []sqltype.Type {
	_, mark, ok := strings.Cut(sql, " AS "+viewMark)
	if !ok {
		return nil
	}
	mark, _, _ = strings.Cut(mark, " */")
	var types []sqltype.Type
	for name := range strings.FieldsSeq(mark) {
		t, enforced := sqltype.FromDeclared(name)
		if !enforced {
			return nil
		}
		types = append(types, t)
	}
	return types
}
