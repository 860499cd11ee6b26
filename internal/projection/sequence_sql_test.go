package projection

import (
	"context"
	"testing"

	"kimberlite/internal/fault"
	"kimberlite/internal/record"
	"kimberlite/internal/schema"
)

func (f *fixture) sequence(q schema.Sequence) {
	f.t.Helper()
	if _, err := f.txn("", func(g *Group) (record.Result, error) { return record.Result{}, g.CreateSequence(q) }); err != nil {
		f.t.Fatal(err)
	}
}

const serialTable = `CREATE TABLE visit(id pg_int4 NOT NULL PRIMARY KEY DEFAULT (nextval('visit_id_seq')), what TEXT)`

func TestSequencesSurviveRebuildReopeningAndRollback(t *testing.T) {
	f := newFixture(t, Options{})
	f.sequence(schema.Sequence{Name: "visit_id_seq", Table: "visit", Column: "id"})
	f.mustExec(serialTable)
	f.DB.dropWriter() // as after a restart: the default's function is not known yet
	f.mustExec(`INSERT INTO visit(what) VALUES('a'),('b'),('c')`)
	if _, err := f.exec(`INSERT INTO visit(id, what) VALUES(nextval('visit_id_seq'), 'd'), (1, 'twice')`); fault.StateOf(orNil(err)) != "23505" {
		t.Fatalf("the key was taken twice: %v", err)
	}
	f.mustExec(`INSERT INTO visit(what) VALUES('e')`)
	f.checkRebuild()
	if got := f.text(`SELECT count(*), max(id)>=4 FROM visit`); got != "[[4 1]]" {
		t.Fatalf("rows %s", got)
	}
	top := f.text(`SELECT max(id) FROM visit`)

	if err := f.store.Flush(); err != nil {
		t.Fatal(err)
	}
	again := openFixture(t, f.fs, Options{})
	again.payloads = f.payloads
	again.mustExec(`INSERT INTO visit(what) VALUES('f')`)
	if got := again.text(`SELECT max(id) FROM visit`); got <= top {
		t.Errorf("after reopening the number %s was given, %s before", got, top)
	}
	again.checkRebuild()

	follower := again.rebuilt(1)
	follower.mustExec(`INSERT INTO visit(what) VALUES('g')`)
	if got := follower.text(`SELECT count(*) FROM visit`); got != "[[6]]" {
		t.Errorf("a follower that leads now: %s", got)
	}
}

func TestSequenceFunctionsAreThoseOfPostgreSQL(t *testing.T) {
	f := newFixture(t, Options{})
	f.sequence(schema.Sequence{Name: "s", Start: 10, Increment: 5})
	f.sequence(schema.Sequence{Name: "down", Increment: -1})
	session := &Session{}
	ctx := WithSession(context.Background(), session)
	value := func(sql string) (v any, err error) {
		t.Helper()
		_, err = f.txn("", func(g *Group) (record.Result, error) {
			return g.Query(ctx, sql, nil, func(r *Row) error {
				v = r.Value(0)
				return nil
			})
		})
		return v, err
	}
	steps := []struct {
		sql   string
		want  any
		state string
	}{
		{`SELECT currval('s')`, nil, "55000"},
		{`SELECT lastval()`, nil, "55000"},
		{`SELECT nextval('s')`, int64(10), ""},
		{`SELECT nextval('public.S')`, int64(15), ""},
		{`SELECT nextval('"down"')`, int64(-1), ""},
		{`SELECT currval('s')`, int64(15), ""},
		{`SELECT lastval()`, int64(-1), ""},
		{`SELECT setval('s', 100)`, int64(100), ""},
		{`SELECT nextval('s')`, int64(105), ""},
		{`SELECT setval('s', 7, 0)`, int64(7), ""},
		{`SELECT nextval('s')`, int64(7), ""},
		{`SELECT nextval('missing')`, nil, "42P01"},
		{`SELECT nextval(NULL)`, nil, ""},
		{`SELECT setval('s', 9223372036854775807)`, int64(9223372036854775807), ""},
		{`SELECT nextval('s')`, nil, "2200H"},
	}
	for _, s := range steps {
		v, err := value(s.sql)
		if s.state != "" {
			if fault.StateOf(orNil(err)) != s.state {
				t.Errorf("%s: %v, want state %s", s.sql, err, s.state)
			}
			continue
		}
		if err != nil || v != s.want {
			t.Errorf("%s: %v (%v), want %v", s.sql, v, err, s.want)
		}
	}
	f.checkRebuild()
	// A reader's connection has the functions that only tell.
	r, err := f.DB.Read(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Release()
	if err := r.Each(ctx, `SELECT lastval()`, nil, func(*Row) error { return nil }); err != nil {
		t.Error(err)
	}
	f.mustExec(`CREATE TABLE serial(id INTEGER DEFAULT (nextval('s')), v INTEGER)`)
	if answer, err := f.DB.ReadOnly(ctx, AccessReader, `SELECT max(id) FROM serial`); err != nil || !answer {
		t.Errorf("a table with a sequence cannot be read (%v)", err)
	}
	if res := f.mustExec(`SELECT setval('down', 3)`); res.RowsAffected != 0 {
		t.Errorf("drawing affected %d rows", res.RowsAffected)
	}
	if answer, err := f.DB.ReadOnly(ctx, AccessOwner, `SELECT nextval('s')`); err != nil || answer {
		t.Errorf("nextval counts as reading (%v)", err)
	}
	if _, err := f.DB.Describe(ctx, AccessReader, `SELECT nextval('s')`); !fault.Is(err, fault.Denied) {
		t.Errorf("a reader may draw numbers: %v", err)
	}
}

func TestASequenceGoesAndMovesWithItsTable(t *testing.T) {
	f := newFixture(t, Options{})
	f.sequence(schema.Sequence{Name: "visit_id_seq", Table: "visit", Column: "id"})
	f.mustExec(serialTable)
	if _, err := f.txn("", func(g *Group) (record.Result, error) {
		return record.Result{}, g.CreateSequence(schema.Sequence{Name: "Visit"})
	}); fault.StateOf(orNil(err)) != "42P07" {
		t.Errorf("a sequence is called like a table: %v", err)
	}
	if _, err := f.exec(`CREATE TABLE visit_id_seq(x)`); fault.StateOf(orNil(err)) != "42P07" {
		t.Errorf("a table is called like a sequence: %v", err)
	}
	f.mustExec(`ALTER TABLE visit RENAME TO stay`)
	f.mustExec(`ALTER TABLE stay RENAME COLUMN id TO number`)
	s, err := f.DB.Schema(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if q, ok := s.Sequence("visit_id_seq"); !ok || q.Table != "stay" || q.Column != "number" {
		t.Errorf("the sequence belongs to %+v", q)
	}
	f.mustExec(`INSERT INTO stay(what) VALUES('a')`)
	f.checkRebuild()
	f.mustExec(`DROP TABLE stay`)
	if s, err = f.DB.Schema(t.Context()); err != nil || len(s.Sequences) != 0 {
		t.Errorf("%d sequences are left (%v)", len(s.Sequences), err)
	}
	if _, err := f.txn("", func(g *Group) (record.Result, error) { return record.Result{}, g.DropSequence("visit_id_seq") }); fault.StateOf(orNil(err)) != "42P01" {
		t.Errorf("the sequence is still there: %v", err)
	}
	f.checkRebuild()
}

func TestASequenceMadeInVainIsGone(t *testing.T) {
	f := newFixture(t, Options{})
	_, err := f.txn("", func(g *Group) (record.Result, error) {
		if err := g.Savepoint(); err != nil {
			return record.Result{}, err
		}
		if err := g.CreateSequence(schema.Sequence{Name: "s"}); err != nil {
			return record.Result{}, err
		}
		if _, err := g.Exec(t.Context(), `SELECT nextval('s')`, nil); err != nil {
			return record.Result{}, err
		}
		if err := g.RollbackToSavepoint(); err != nil {
			return record.Result{}, err
		}
		if _, err := g.Exec(t.Context(), `SELECT nextval('s')`, nil); fault.StateOf(orNil(err)) != "42P01" {
			t.Errorf("the sequence is there: %v", err)
		}
		return record.Result{}, g.CreateSequence(schema.Sequence{Name: "s", Start: 5})
	})
	if err != nil {
		t.Fatal(err)
	}
	f.checkRebuild()
}
