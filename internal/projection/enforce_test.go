package projection

import (
	"context"
	"errors"
	"strings"
	"testing"

	"kimberlite/internal/fault"
	"kimberlite/internal/record"
)

const patients = `CREATE TABLE patient(id INTEGER PRIMARY KEY, name pg_varchar(5), age pg_int2, due pg_numeric(6,2), seen pg_timestamptz, doc pg_jsonb_text, plain TEXT)`

func TestColumnsOfPostgreSQLsTypesTakeNothingElse(t *testing.T) {
	f := newFixture(t, Options{})
	f.mustExec(patients)
	f.mustExec(`INSERT INTO patient VALUES(1,'Ann',40,12.5,'2026-11-23 20:00:00.500000Z','{"a": 1}','x'),(2,NULL,NULL,NULL,NULL,NULL,NULL)`)
	before := f.hash()
	tests := []struct{ sql, column, state string }{
		{`INSERT INTO patient(name) VALUES('Annette')`, "name", "22001"},
		{`INSERT INTO patient(name) VALUES(x'41')`, "name", "42804"},
		{`INSERT INTO patient(age) VALUES(40000)`, "age", "22003"},
		{`INSERT INTO patient(age) VALUES('old')`, "age", "42804"},
		{`INSERT INTO patient(due) VALUES(1.234)`, "due", "22003"},
		{`INSERT INTO patient(due) VALUES(10000)`, "due", "22003"},
		{`INSERT INTO patient(seen) VALUES('2026-11-23')`, "seen", "22007"},
		{`INSERT INTO patient(doc) VALUES('{"a":1}')`, "doc", "22P02"},
		{`UPDATE patient SET age=age*1000`, "age", "22003"},
		{`UPDATE patient SET name='Annette' RETURNING id`, "name", "22001"},
		{`INSERT OR IGNORE INTO patient(age) VALUES(1),(70000),(2)`, "age", "22003"},
		{`INSERT INTO patient(id, age) VALUES(1, 7) ON CONFLICT(id) DO UPDATE SET age=90000`, "age", "22003"},
	}
	for _, tt := range tests {
		_, err := f.exec(tt.sql)
		var e *fault.Error
		if !errors.As(err, &e) {
			t.Errorf("%s: taken (%v)", tt.sql, err)
			continue
		}
		if fault.StateOf(err) != tt.state || e.Table != "patient" || e.Column != tt.column || e.Kind != fault.Constraint {
			t.Errorf("%s: %v: state %s, table %q, column %q; want %s of %s", tt.sql, err, fault.StateOf(err), e.Table, e.Column, tt.state, tt.column)
		}
		if strings.Contains(err.Error(), "Annette") || strings.Contains(err.Error(), "70000") {
			t.Errorf("%s: the error holds the value: %v", tt.sql, err)
		}
	}
	if f.hash() != before {
		t.Error("a refused statement left a trace")
	}
	f.mustExec(`UPDATE patient SET plain=7, age=age+1`)
	f.checkRebuild()
}

func TestTriggersAndCopiesAreEnforcedToo(t *testing.T) {
	f := newFixture(t, Options{})
	f.mustExec(`CREATE TABLE a(v INTEGER); CREATE TABLE b(v pg_int2); CREATE TRIGGER tr AFTER INSERT ON a BEGIN INSERT INTO b VALUES(new.v); END`)
	f.mustExec(`INSERT INTO a VALUES(7)`)
	if _, err := f.exec(`INSERT INTO a VALUES(70000)`); fault.StateOf(orNil(err)) != "22003" {
		t.Errorf("a trigger wrote what the column does not hold: %v", err)
	}
	if _, err := f.exec(`INSERT INTO b SELECT v*10000 FROM a`); fault.StateOf(orNil(err)) != "22003" {
		t.Errorf("INSERT … SELECT wrote what the column does not hold: %v", err)
	}
	if got := f.text(`SELECT (SELECT count(*) FROM a),(SELECT count(*) FROM b)`); got != "[[1 1]]" {
		t.Errorf("rows %s", got)
	}
	f.checkRebuild()
}

func orNil(err error) error {
	if err == nil {
		return errors.New("no error")
	}
	return err
}

func TestARefusedRowCostsOthersOfTheGroupNothing(t *testing.T) {
	f := newFixture(t, Options{})
	f.mustExec(`CREATE TABLE t(v pg_int2)`)
	g, err := f.DB.BeginGroup(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = g.Rollback() }()
	for _, v := range []int64{1, 70000, 2} {
		if err := g.BeginTxn(); err != nil {
			t.Fatal(err)
		}
		w := g.w
		res, err := g.Exec(t.Context(), `INSERT INTO t VALUES(?)`, []any{v})
		if v == 70000 {
			if fault.StateOf(orNil(err)) != "22003" || g.w != w {
				t.Fatalf("%v; another connection: %v", err, g.w != w)
			}
			if err := g.AbortTxn(); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := g.EndTxn("", [16]byte{}, res); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.commit(g); err != nil {
		t.Fatal(err)
	}
	if got := f.text(`SELECT v FROM t`); got != "[[1] [2]]" {
		t.Errorf("rows %s", got)
	}
	f.checkRebuild()
}

func TestATransactionGoesOnAfterARefusedRow(t *testing.T) {
	f := newFixture(t, Options{})
	f.mustExec(`CREATE TABLE t(v pg_int2)`)
	_, err := f.txn("", func(g *Group) (record.Result, error) {
		ctx := context.Background()
		if _, err := g.Exec(ctx, `INSERT INTO t VALUES(1)`, nil); err != nil {
			return record.Result{}, err
		}
		if _, err := g.Exec(ctx, `INSERT INTO t VALUES(2),(99999)`, nil); fault.StateOf(orNil(err)) != "22003" {
			t.Errorf("taken: %v", err)
		}
		// Long enough for SQLite to notice, were it to be interrupted.
		if _, err := g.Exec(ctx, `INSERT INTO t WITH RECURSIVE n(i) AS (SELECT 99999 UNION ALL SELECT i+1 FROM n LIMIT 20000) SELECT i FROM n`, nil); fault.StateOf(orNil(err)) != "22003" {
			t.Errorf("taken: %v", err)
		}
		if _, err := g.ExecBatch(ctx, `INSERT INTO t VALUES(?)`, [][]any{{int64(3)}, {int64(99999)}}); fault.StateOf(orNil(err)) != "22003" {
			t.Errorf("a batch is taken: %v", err)
		}
		return g.ExecBatch(ctx, `INSERT INTO t VALUES(?)`, [][]any{{int64(4)}, {nil}})
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := f.text(`SELECT v FROM t`); got != "[[1] [4] [<nil>]]" {
		t.Errorf("rows %s", got)
	}
	f.checkRebuild()
}

func TestErrorsOfSQLiteHavePostgreSQLsStates(t *testing.T) {
	f := newFixture(t, Options{})
	f.mustExec(`CREATE TABLE p(id INTEGER PRIMARY KEY, u TEXT UNIQUE, n INTEGER NOT NULL CHECK(n>0)); CREATE TABLE c(p INTEGER REFERENCES p(id)); CREATE VIEW v AS SELECT 1 AS one`)
	f.mustExec(`INSERT INTO p VALUES(1,'a',1)`)
	tests := []struct{ sql, state, table, column string }{
		{`INSERT INTO p VALUES(1,'b',1)`, "23505", "p", "id"},
		{`INSERT INTO p VALUES(2,'a',1)`, "23505", "p", "u"},
		{`INSERT INTO p VALUES(2,'b',NULL)`, "23502", "p", "n"},
		{`INSERT INTO p VALUES(2,'b',0)`, "23514", "", ""},
		{`INSERT INTO c VALUES(9)`, "23503", "", ""},
		{`SELECT * FROM missing`, "42P01", "", ""},
		{`SELECT missing FROM p`, "42703", "", ""},
		{`INSERT INTO p(missing) VALUES(1)`, "42703", "", ""},
		{`SELECT id FROM p, p AS q`, "42702", "", ""},
		{`SELECT missing(1)`, "42883", "", ""},
		{`SELECT abs(1,2)`, "42883", "", ""},
		{`SELECT FROM WHERE`, "42601", "", ""},
		{`SELECT (1`, "42601", "", ""},
		{`CREATE TABLE p(x)`, "42P07", "", ""},
		{`ALTER TABLE p ADD COLUMN u`, "42701", "", ""},
		{`SELECT id FROM p WHERE count(*)>1`, "42803", "", ""},
		{`DROP TABLE missing`, "42P01", "", ""},
		{`DROP INDEX missing`, "42704", "", ""},
		{`SELECT 9223372036854775807 + abs(-9223372036854775808)`, "22003", "", ""},
		{`PRAGMA writable_schema=1`, "42501", "", ""},
	}
	for _, tt := range tests {
		_, err := f.exec(tt.sql)
		if got := fault.StateOf(orNil(err)); got != tt.state {
			t.Errorf("%s: state %s, want %s (%v)", tt.sql, got, tt.state, err)
		}
		var e *fault.Error
		if errors.As(err, &e) && (e.Table != tt.table || e.Column != tt.column) {
			t.Errorf("%s: table %q, column %q", tt.sql, e.Table, e.Column)
		}
	}
	_, err := f.exec(`SELECT 'ä', missing FROM p`)
	var e *fault.Error
	if !errors.As(err, &e) || e.Position != 13 {
		t.Errorf("position of the unknown column: %+v", e)
	}
}
