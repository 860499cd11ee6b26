package dialect_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kimberlite/internal/dialect"
	"kimberlite/internal/fault"
	"kimberlite/internal/schema"
	"kimberlite/internal/sqltype"
)

var update = flag.Bool("update", false, "write the golden files anew")

// hospital is the schema that the tests translate against.
func hospital() *schema.Schema {
	table := func(sql, name string, columns ...schema.Column) *schema.Table {
		t := &schema.Table{Name: name, Kind: schema.KindTable, Columns: columns, WithoutRowID: true, SQL: sql}
		t.Indexes = []schema.Index{{Name: name + "_pkey", Unique: true, Primary: true, Constraint: true, Columns: []string{columns[0].Name}}}
		return t
	}
	col := func(name, typ, def string) schema.Column {
		t, ok := sqltype.Parse(typ)
		if !ok {
			panic(typ)
		}
		return schema.Column{Name: name, Declared: t.Declared(), Type: t, Enforced: true, Default: def}
	}
	key := func(name, def string) schema.Column {
		c := col(name, "int8", def)
		c.NotNull, c.PrimaryKey, c.Identity = true, 1, schema.IdentityOf(def)
		return c
	}
	patient := table(`CREATE TABLE patient (id pg_int8 NOT NULL, name pg_text NOT NULL, born pg_date, CONSTRAINT patient_pkey PRIMARY KEY (id)) WITHOUT ROWID`, "patient",
		key("id", ""), col("name", "text", ""), col("born", "date", ""), col("seen", "timestamptz", "pg_now()"), col("active", "bool", "1"),
		col("weight", "numeric(10,2)", ""), col("code", "uuid", ""), col("data", "jsonb", ""), col("score", "float8", ""), col("age", "int4", ""),
		col("stay", "interval", ""), col("local", "timestamp", ""), col("short", "varchar(5)", ""), col("raw", "bytea", ""), col("tags", "text[]", ""))
	patient.Columns[1].NotNull = true
	visit := table(`CREATE TABLE visit (id pg_int8 NOT NULL DEFAULT (nextval('visit_id_seq')`+schema.IdentityAlways+
		`), patient_id pg_int8 NOT NULL, note pg_text DEFAULT ('none'), CONSTRAINT visit_pkey PRIMARY KEY (id), CONSTRAINT visit_note_check CHECK (note <> '')) WITHOUT ROWID`, "visit",
		key("id", "nextval('visit_id_seq')"+schema.IdentityAlways), col("patient_id", "int8", ""), col("note", "text", "'none'"))
	visit.Columns[0].Sequence = "visit_id_seq"
	visit.Indexes = append(visit.Indexes, schema.Index{Name: "visit_note", Columns: []string{"note"}, SQL: "CREATE INDEX visit_note ON visit (note)"})
	visit.Checks = []schema.Check{{Name: "visit_note_check", Expr: "note <> ''"}}
	bill := table(`CREATE TABLE bill (id pg_int8 NOT NULL, visit_id pg_int8 CONSTRAINT bill_fk REFERENCES visit (id), CONSTRAINT bill_pkey PRIMARY KEY (id)) WITHOUT ROWID`, "bill",
		key("id", ""), col("visit_id", "int8", ""))
	bill.ForeignKeys = []schema.ForeignKey{{Name: "bill_fk", Columns: []string{"visit_id"}, RefTable: "visit", RefColumns: []string{"id"}}}
	ward := table(`CREATE TABLE ward (id pg_int8 NOT NULL, name pg_text, CONSTRAINT ward_pkey PRIMARY KEY (id)) WITHOUT ROWID`, "ward", key("id", ""), col("name", "text", ""))
	old := &schema.Table{Name: "old", Kind: schema.KindTable, SQL: "CREATE TABLE old (id INTEGER PRIMARY KEY, name TEXT, flag BOOLEAN)", Columns: []schema.Column{
		{Name: "id", Declared: "INTEGER", Type: sqltype.Int8, NotNull: true, PrimaryKey: 1, Identity: "d"},
		{Name: "name", Declared: "TEXT", Type: sqltype.Text}, {Name: "flag", Declared: "BOOLEAN", Type: sqltype.Text},
	}}
	view := &schema.Table{Name: "ward_names", Kind: schema.KindView, SQL: "CREATE VIEW ward_names (n) AS /* columns: pg_int8 */ SELECT count(ward.name) AS n FROM ward", Columns: []schema.Column{
		{Name: "n", Declared: "pg_int8", Type: sqltype.Int8, Enforced: true},
	}}
	return schema.New(7, []*schema.Table{patient, visit, bill, ward, old, view}, []*schema.Sequence{
		{Name: "visit_id_seq", Table: "visit", Column: "id", Start: 1, Increment: 1}, {Name: "free_seq", Start: 1, Increment: 1},
	})
}

func env(s *schema.Schema) dialect.Env {
	return dialect.Env{Schema: s, User: "app", Database: "hospital", Setting: func(name string) (string, bool) {
		return "15.0", name == "server_version"
	}}
}

// describe writes a translation as the golden files have it.
func describe(s *dialect.Statement, err error) string {
	var b strings.Builder
	if err != nil {
		var position int64
		if e, ok := err.(*fault.Error); ok {
			position = e.Position
		}
		fmt.Fprintf(&b, "! %s at %d: %s\n", fault.StateOf(err), position, strings.TrimPrefix(strings.TrimPrefix(err.Error(), "sql: "), "value: "))
		return b.String()
	}
	for _, q := range s.NewSequences {
		fmt.Fprintf(&b, "+ sequence %s %s.%s %d %d\n", q.Name, q.Table, q.Column, q.Start, q.Increment)
	}
	for _, sql := range s.Before {
		fmt.Fprintf(&b, "> %s\n", sql)
	}
	if s.SQL != "" {
		fmt.Fprintf(&b, "= %s\n", s.SQL)
	}
	if s.Query != nil {
		fmt.Fprintf(&b, "= %s\n", s.Query.SQL)
	}
	for _, sql := range s.After {
		fmt.Fprintf(&b, "> %s\n", sql)
	}
	for _, q := range s.DropSequences {
		fmt.Fprintf(&b, "- sequence %s\n", q.Name)
	}
	fmt.Fprintf(&b, "  %s", s.Tag)
	for i, p := range s.Params {
		fmt.Fprintf(&b, " $%d:%s", i+1, p.SQL())
	}
	if s.Returns {
		b.WriteString(" ->")
		for _, c := range s.Columns {
			fmt.Fprintf(&b, " %q:%s", c.Name, c.Type.SQL())
		}
	}
	for _, part := range []any{s.Set, s.Copy} {
		if text := fmt.Sprintf("%+v", part); text != "<nil>" {
			b.WriteString(" " + text)
		}
	}
	if s.Name+s.Show != "" {
		b.WriteString(" " + s.Name + s.Show)
	}
	if s.Move != nil {
		fmt.Fprintf(&b, " %+v", *s.Move)
	}
	if s.Locks {
		fmt.Fprintf(&b, " locks, nowait %v", s.NoWait)
	}
	if s.TxOptions != (dialect.TxOptions{}) {
		fmt.Fprintf(&b, " %+v", s.TxOptions)
	}
	if s.Arguments != "" {
		b.WriteString(" " + s.Arguments)
	}
	if s.Notice != "" {
		b.WriteString(" notice: " + s.Notice)
	}
	b.WriteString("\n")
	return b.String()
}

// statements are the queries of a golden file: the lines that have no mark.
func statements(t testing.TB, path string) []string {
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for line := range strings.SplitSeq(string(text), "\n") {
		if line != "" && !strings.ContainsAny(line[:1], "!+>=- #") {
			all = append(all, line)
		}
	}
	return all
}

func TestTranslationsAreAsTheGoldenFilesHaveThem(t *testing.T) {
	t.Parallel()
	paths, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(paths) == 0 {
		t.Fatal("no golden files", err)
	}
	s := hospital()
	for _, path := range paths {
		t.Run(filepath.Base(path), func(t *testing.T) {
			t.Parallel()
			var b strings.Builder
			for _, sql := range statements(t, path) {
				translated, err := dialect.Translate(sql, nil, env(s))
				b.WriteString(sql + "\n" + describe(translated, err) + "\n")
			}
			if *update {
				if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
					t.Fatal(err)
				}
				return
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			have, wanted := strings.Split(b.String(), "\n"), strings.Split(string(want), "\n")
			for i := range have {
				if i >= len(wanted) || have[i] != wanted[i] {
					t.Fatalf("line %d:\nhave %s\nwant %s", i+1, have[i], append(wanted, "")[min(i, len(wanted))])
				}
			}
		})
	}
}
