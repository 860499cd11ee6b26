package tenant_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"kimberlite/internal/fault"
	"kimberlite/internal/projection"
	"kimberlite/internal/quota"
	"kimberlite/internal/schema"
	"kimberlite/internal/tenant"
)

// values reads the first column of a query inside a transaction.
func values(t *testing.T, x *tenant.Tx, sql string) string {
	t.Helper()
	var all []string
	_, err := x.Query(ctx, sql, nil, func(r *projection.Row) error {
		all = append(all, fmt.Sprint(r.Value(0)))
		return nil
	})
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return strings.Join(all, " ")
}

func state(err error) string {
	if err == nil {
		return ""
	}
	return fault.StateOf(err)
}

// TestSavepointsAreThoseOfPostgreSQL runs scripts: i N inserts N, s/r/x NAME
// are SAVEPOINT, ROLLBACK TO and RELEASE, e is a statement that fails.
func TestSavepointsAreThoseOfPostgreSQL(t *testing.T) {
	tests := []struct{ script, rows, state string }{
		{"i1 sa i2 ra i3", "1 3", ""},
		{"i1 sa i2 xa i3", "1 2 3", ""},
		{"i1 sa i2 sb i3 ra i4", "1 4", ""},
		{"i1 sa i2 ra i3 ra i4", "1 4", ""},     // the savepoint stays
		{"sa i1 sa i2 ra i3 xa ra i4", "4", ""}, // the older of the name comes back
		{"sa i1 sb i2 xa i3", "1 2 3", ""},      // releasing takes the later ones along
		{"sa i1 sb xa rb", "1", "3B001"},        // … so that they are gone
		{"sa sb ra rb", "", "3B001"},            //
		{"sa i1 ra sb i2 rb", "", ""},           // set while only reading, rolled back while writing
		{"q sa q sb i1 ra i2", "2", ""},         // set before the first write
		{"xa", "", "3B001"},                     //
		{"i1 sa i2 e i3 ra i4", "1 4", "22003"}, // a failed statement leaves the rest
		{"i1 e i2", "1 2", "22003"},             //
		{"sa i1 d i5 ra i2", "2", ""},           // a table made in vain
		{"i1 sa b2 b3 ra b4", "1 4 14", ""},     // batches
		{"i1 sa n ra n", "1", ""},               // sequences
	}
	r := newRig(t, nil)
	h := r.create(t, 1, quota.Limits{})
	exec(t, h, `CREATE TABLE t(v pg_int2)`)
	if err := h.CreateSequence(ctx, schema.Sequence{Name: "s"}); err != nil {
		t.Fatal(err)
	}
	for _, tt := range tests {
		exec(t, h, `DELETE FROM t`)
		x, err := h.Begin(ctx)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		for _, step := range strings.Fields(tt.script) {
			arg := step[1:]
			var err error
			switch step[0] {
			case 'i':
				_, err = x.Exec(ctx, `INSERT INTO t VALUES(`+arg+`)`, nil)
			case 'e':
				_, err = x.Exec(ctx, `INSERT INTO t VALUES(77),(99999)`, nil)
			case 'b':
				_, err = x.ExecBatch(ctx, `INSERT INTO t VALUES(?), (?+10)`, [][]any{{arg, arg}})
				if err != nil {
					_, err = x.ExecBatch(ctx, `INSERT INTO t SELECT CAST(?1 AS INTEGER) UNION ALL SELECT CAST(?1 AS INTEGER)+10`, [][]any{{arg}})
				}
			case 'd':
				_, err = x.Exec(ctx, `CREATE TABLE other(a)`, nil)
			case 'n':
				_, err = x.Query(ctx, `SELECT nextval('s')`, nil, func(*projection.Row) error { return nil })
			case 'q':
				values(t, x, `SELECT v FROM t`)
			case 's':
				err = x.Savepoint(ctx, arg)
			case 'r':
				err = x.RollbackTo(ctx, arg)
			case 'x':
				err = x.Release(ctx, arg)
			}
			if err != nil {
				got = state(err)
			}
		}
		if rows := values(t, x, `SELECT v FROM t ORDER BY v`); rows != tt.rows || got != tt.state {
			t.Errorf("%s: rows %q, state %q; want %q, %q", tt.script, rows, got, tt.rows, tt.state)
		}
		if _, err := x.Commit(ctx); err != nil {
			t.Errorf("%s: commit: %v", tt.script, err)
		}
	}
	checkRebuilt(t, h)
}

// checkRebuilt fails when the log does not give the same tables.
func checkRebuilt(t *testing.T, h *tenant.Tenant) {
	t.Helper()
	before, err := h.TableHash(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Rebuild(ctx); err != nil {
		t.Fatal(err)
	}
	if after, err := h.TableHash(ctx); err != nil || after != before {
		t.Fatalf("a rebuild differs (%v)", err)
	}
}

func TestAReadOnlyTransactionWritesNothing(t *testing.T) {
	r := newRig(t, nil)
	h := r.create(t, 1, quota.Limits{})
	exec(t, h, `CREATE TABLE t(v INTEGER)`)
	x, err := h.BeginTx(ctx, tenant.TxOptions{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	if got := values(t, x, `SELECT count(*) FROM t`); got != "0" {
		t.Errorf("count %s", got)
	}
	_, err = x.Exec(ctx, `INSERT INTO t VALUES(1)`, nil)
	if state(err) != "25006" {
		t.Errorf("an insert: %v", err)
	}
	if _, err = x.ExecBatch(ctx, `INSERT INTO t VALUES(?)`, [][]any{{1}}); state(err) != "25006" {
		t.Errorf("a batch: %v", err)
	}
	if err := x.CreateSequence(ctx, schema.Sequence{Name: "s"}); state(err) != "25006" {
		t.Errorf("a sequence: %v", err)
	}
	if got := values(t, x, `SELECT count(*) FROM t`); got != "0" {
		t.Errorf("count %s", got)
	}
	if err := x.Rollback(); err != nil {
		t.Error(err)
	}
	exec(t, h, `INSERT INTO t VALUES(1)`)
}

func TestATransactionsSessionAndSchema(t *testing.T) {
	r := newRig(t, nil)
	h := r.create(t, 1, quota.Limits{})
	session := &projection.Session{}
	x, err := h.BeginTx(ctx, tenant.TxOptions{Session: session, Now: time.Unix(0, 0)})
	if err != nil {
		t.Fatal(err)
	}
	if err := x.CreateSequence(ctx, schema.Sequence{Name: "s", Start: 7}); err != nil {
		t.Fatal(err)
	}
	if got := values(t, x, `SELECT nextval('s')`); got != "7" {
		t.Errorf("drew %s", got)
	}
	if s, err := x.Schema(ctx); err != nil || len(s.Sequences) != 1 {
		t.Errorf("the transaction does not see its sequence (%v)", err)
	}
	if s, err := h.Schema(ctx); err != nil || len(s.Sequences) != 0 {
		t.Errorf("others see it before the commit (%v)", err)
	}
	if d, err := x.Describe(ctx, `SELECT currval('s') AS n`); err != nil || d.Columns[0].Name != "n" || !d.ReadOnly {
		t.Errorf("described as %+v (%v)", d, err)
	}
	if _, err := x.Describe(ctx, `SELECT nonsense`); state(err) != "42703" {
		t.Errorf("nonsense: %v", err)
	}
	if _, err := x.Commit(ctx); err != nil {
		t.Fatal(err)
	}
	inSession := projection.WithSession(ctx, session)
	rows, err := h.Query(inSession, `SELECT currval('s'), lastval()`, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	if !rows.Next() || rows.Int64(0) != 7 || rows.Int64(1) != 7 {
		t.Errorf("the session has forgotten (%v)", rows.Err())
	}
	if s, err := h.Schema(ctx); err != nil || len(s.Sequences) != 1 {
		t.Errorf("the sequence is not there after the commit (%v)", err)
	}
	if d, err := h.Describe(ctx, `SELECT datname FROM pg_database`); err != nil || d.Columns[0].Declared != "pg_name_text" {
		t.Errorf("described as %+v (%v)", d, err)
	}
}
