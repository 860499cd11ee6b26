package projection

import (
	"context"
	"testing"
	"time"

	"kimberlite/internal/fault"
	"kimberlite/internal/record"
)

// TestFunctionsAreKnownWhereverASchemaNamesThem goes with a fresh connection
// to each place where SQLite compiles a text of the schema.
func TestFunctionsAreKnownWhereverASchemaNamesThem(t *testing.T) {
	f := newFixture(t, Options{})
	steps := []string{
		`CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT DEFAULT (pg_upper('x')) CHECK (pg_left(v, 1) <> 'q'), low TEXT AS (pg_lower(v)) STORED)`,
		`CREATE INDEX i ON t(pg_reverse(v))`,
		`CREATE VIEW w AS SELECT pg_initcap(v) AS name FROM t`,
		`CREATE TRIGGER tr AFTER INSERT ON t BEGIN UPDATE t SET v=pg_right(v, 3) WHERE id=new.id; END`,
		`INSERT INTO t(id) VALUES(1)`,
		`INSERT INTO t VALUES(2,'abcd')`,
		`UPDATE t SET v='Wxyz' WHERE id=2`,
		`ALTER TABLE t RENAME COLUMN v TO value`,
		`ALTER TABLE t ADD COLUMN more TEXT DEFAULT 'm'`,
		`CREATE TABLE copy AS SELECT pg_lower(value) AS v FROM t`,
		`DELETE FROM t WHERE id=1`,
	}
	for _, sql := range steps {
		f.DB.dropWriter()
		f.mustExec(sql)
	}
	f.DB.dropWriter()
	if _, err := f.exec(`INSERT INTO t(value) VALUES('qu')`); fault.StateOf(orNil(err)) != "23514" {
		t.Errorf("the check does not hold: %v", err)
	}
	f.DB.readers.close()
	f.DB.readers.closed = false
	if got := f.text(`SELECT name FROM w`); got != "[[Wxyz]]" {
		t.Errorf("the view: %s", got)
	}
	if got := f.text(`SELECT low FROM t WHERE pg_reverse(value)='zyxW'`); got != "[[wxyz]]" {
		t.Errorf("the index: %s", got)
	}
	s, err := f.DB.Schema(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if w, ok := s.Table("w"); !ok || len(w.Columns) != 1 {
		t.Errorf("the view is %+v", w)
	}
	f.checkRebuild()
	one := f.rebuilt(1)
	if one.hash() != f.hash() {
		t.Error("a rebuild record by record differs")
	}
}

func TestErrorsOfFunctionsReachTheClientWithTheirState(t *testing.T) {
	f := newFixture(t, Options{})
	f.mustExec(`CREATE TABLE t(v TEXT); INSERT INTO t VALUES('secret text')`)
	for sql, state := range map[string]string{
		`SELECT pg_cast_int4(v, 25, -1) FROM t`:    "22P02",
		`SELECT pg_int4_add(2147483647, 1) FROM t`: "22003",
		`SELECT pg_int4_div(1, 0)`:                 "22012",
		`SELECT pg_lower()`:                        "42883",
		`SELECT pg_no_such(1)`:                     "42883",
	} {
		_, err := f.rows(sql)
		if fault.StateOf(orNil(err)) != state {
			t.Errorf("read: %s: %v, want state %s", sql, err, state)
		}
		if _, err = f.exec(sql); fault.StateOf(orNil(err)) != state {
			t.Errorf("in a group: %s: %v, want state %s", sql, err, state)
		}
	}
	if _, err := f.exec(`UPDATE t SET v=pg_cast_uuid(v, 25, -1)`); fault.StateOf(orNil(err)) != "22P02" {
		t.Errorf("update: %v", err)
	}
	if got := f.text(`SELECT v FROM t`); got != "[[secret text]]" {
		t.Errorf("a failed update left %s", got)
	}
	if got := f.text(`SELECT pg_string_agg(v, ', ') FROM (SELECT 'a' AS v UNION ALL SELECT 'b')`); got != "[[a, b]]" {
		t.Errorf("an aggregate: %s", got)
	}
}

func TestTheTimeOfATransactionStandsStill(t *testing.T) {
	f := newFixture(t, Options{})
	at := time.Date(2026, 11, 23, 20, 0, 0, 0, time.UTC)
	ctx := WithNow(context.Background(), at)
	seen := map[any]bool{}
	_, err := f.txn("", func(g *Group) (record.Result, error) {
		for range 2 {
			_, err := g.Query(ctx, `SELECT pg_now()`, nil, func(r *Row) error {
				seen[r.Value(0)] = true
				return nil
			})
			if err != nil {
				return record.Result{}, err
			}
		}
		return record.Result{}, nil
	})
	if err != nil || len(seen) != 1 || !seen["2026-11-23 20:00:00.000000Z"] {
		t.Errorf("the times were %v (%v)", seen, err)
	}
	if got := f.text(`SELECT count(DISTINCT pg_now()) FROM (VALUES(1),(2),(3))`); got != "[[1]]" {
		t.Errorf("one statement has %s times", got)
	}
}
