package pgcatalog

import (
	"fmt"
	"testing"

	"kimberlite/internal/schema"
	"kimberlite/internal/sqltype"
)

// wide is a schema of many tables of ten columns with three indexes each.
func wide(tables int) *schema.Schema {
	var list []*schema.Table
	for i := range tables {
		t := &schema.Table{Name: fmt.Sprintf("table_%03d", i), Kind: schema.KindTable}
		for c := range 10 {
			t.Columns = append(t.Columns, schema.Column{Name: fmt.Sprintf("column_%d", c), Type: sqltype.Text, Default: "'x'"})
		}
		t.Indexes = []schema.Index{
			{Name: t.Name + "_pkey", Unique: true, Primary: true, Constraint: true, Columns: []string{"column_0"}},
			{Name: t.Name + "_key", Unique: true, Constraint: true, Columns: []string{"column_1", "column_2"}},
			{Name: t.Name + "_idx", Columns: []string{"column_3"}, SQL: "CREATE INDEX " + t.Name + "_idx ON " + t.Name + " (column_3 DESC)"},
		}
		list = append(list, t)
	}
	return schema.New(1, list, nil)
}

// BenchmarkEveryTable makes all rows of all tables of 200 tables.
func BenchmarkEveryTable(b *testing.B) {
	s := wide(200)
	for b.Loop() {
		e := &Env{Name: "bench", Schema: s}
		for _, t := range Tables() {
			t.Rows(e)
		}
	}
}

// BenchmarkDescribe makes what psql's \d of one table reads of 200 tables.
func BenchmarkDescribe(b *testing.B) {
	s := wide(200)
	for b.Loop() {
		e := &Env{Name: "bench", Schema: s}
		for _, name := range []string{"pg_class", "pg_attribute", "pg_attrdef", "pg_index", "pg_constraint", "pg_type", "pg_collation"} {
			t := table(name)
			t.Find(e, 0, int64(16384))
		}
	}
}
