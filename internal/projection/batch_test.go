package projection

import (
	"context"
	"fmt"
	"testing"

	"kimberlite/internal/fault"
	"kimberlite/internal/record"
)

func TestABatchTakesEffectAsAWhole(t *testing.T) {
	f := newFixture(t, Options{})
	f.mustExec(`CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT)`)
	batch := func(sql string, rows [][]any) (record.Result, error) {
		return f.txn("", func(g *Group) (record.Result, error) { return g.ExecBatch(context.Background(), sql, rows) })
	}
	res, err := batch(`INSERT INTO t(v) VALUES($1)`, [][]any{{"a"}, {nil}, {"c"}})
	if err != nil || res.RowsAffected != 3 || res.LastInsertID != 3 {
		t.Fatalf("%+v (%v)", res, err)
	}
	before := f.hash()
	for _, tt := range []struct {
		sql   string
		rows  [][]any
		state string
	}{
		{`INSERT INTO t VALUES(?,?)`, [][]any{{int64(9), "x"}, {int64(1), "y"}}, "23505"},
		{`INSERT INTO t VALUES(?,?)`, [][]any{{int64(9), "x"}, {int64(10)}}, "22023"},
		{`DROP TABLE t`, [][]any{{}}, "22023"},
		{`DELETE FROM t; DELETE FROM t`, [][]any{{}}, "22023"},
		{``, [][]any{{}}, "42000"},
		{`INSERT INTO missing VALUES(?)`, [][]any{{int64(1)}}, "42P01"},
	} {
		if _, err := batch(tt.sql, tt.rows); fault.StateOf(orNil(err)) != tt.state {
			t.Errorf("%s: %v, want state %s", tt.sql, err, tt.state)
		}
	}
	if f.hash() != before {
		t.Error("a batch that failed left a trace")
	}
	if res, err := batch(`nonsense`, nil); err != nil || res.RowsAffected != 0 {
		t.Errorf("no rows: %v", err)
	}
	f.checkRebuild()
}

// BenchmarkExecBatch loads a table of five columns, a thousand rows a
// transaction.
func BenchmarkExecBatch(b *testing.B) {
	for _, columns := range []struct{ name, ddl string }{
		{"plain", `CREATE TABLE t(id INTEGER PRIMARY KEY, a INTEGER, b REAL, c TEXT, d TEXT)`},
		{"enforced", `CREATE TABLE t(id pg_int8 NOT NULL PRIMARY KEY, a pg_int4, b pg_float8, c pg_varchar(40), d pg_timestamptz)`},
	} {
		b.Run(columns.name, func(b *testing.B) {
			f := newFixture(b, Options{})
			f.mustExec(columns.ddl)
			const size = 1000
			rows := make([][]any, size)
			id := int64(0)
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				for i := range rows {
					id++
					rows[i] = []any{id, id % 1000, float64(id) / 2, fmt.Sprint("patient ", id), "2026-11-23 20:00:00.500000Z"}
				}
				f.payloads = nil
				_, err := f.txn("", func(g *Group) (record.Result, error) {
					return g.ExecBatch(context.Background(), `INSERT INTO t VALUES(?1,?2,?3,?4,?5)`, rows)
				})
				if err != nil {
					b.Fatal(err)
				}
				n += size
			}
			b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "rows/s")
		})
	}
}
