package projection

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"kimberlite/internal/fault"
	"kimberlite/internal/record"
)

const bomb = `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n) `

// twoTxns begins a group with one ended transaction and one under way.
func (f *fixture) twoTxns() *Group {
	f.t.Helper()
	g, err := f.DB.BeginGroup(context.Background())
	if err != nil {
		f.t.Fatal(err)
	}
	for _, sql := range []string{`INSERT INTO t VALUES('first'); CREATE TABLE u(a); INSERT INTO u VALUES(1)`, `INSERT INTO t VALUES('second')`} {
		if g.txn != nil {
			if err := g.EndTxn("", [16]byte{}, record.Result{}); err != nil {
				f.t.Fatal(err)
			}
		}
		if err := g.BeginTxn(); err != nil {
			f.t.Fatal(err)
		}
		if _, err := g.Exec(context.Background(), sql, nil); err != nil {
			f.t.Fatal(err)
		}
	}
	return g
}

// Each of these makes SQLite give up the whole transaction.
func TestALostTransactionTakesNoOtherWithIt(t *testing.T) {
	limits := Limits{StatementTimeout: 30 * time.Millisecond, MaxMemoryBytes: 24 << 20, MaxTransactionBytes: 64 << 10, MaxProjectionBytes: 40 * pageBytes}
	for name, c := range map[string]struct {
		sql  string
		kind fault.Kind
	}{
		"or rollback":           {`INSERT OR ROLLBACK INTO k VALUES(1)`, fault.Constraint},
		"out of time":           {`INSERT INTO t SELECT i FROM (` + bomb + `SELECT i FROM n) WHERE i<0`, fault.Timeout},
		"out of memory":         {`INSERT INTO t SELECT length(x) FROM (SELECT x FROM (` + bomb + `SELECT i||zeroblob(1000000) AS x FROM n LIMIT 40) ORDER BY x LIMIT 100 OFFSET 1)`, fault.TooLarge},
		"too large a change":    {`INSERT INTO t SELECT i FROM (` + bomb + `SELECT i FROM n LIMIT 100000)`, fault.TooLarge},
		"over the quota":        {`INSERT INTO t SELECT zeroblob(30000) FROM (` + bomb + `SELECT i FROM n LIMIT 20)`, fault.QuotaExceeded},
		"over the quota in DDL": {`CREATE TABLE big AS ` + bomb + `SELECT zeroblob(3000) FROM n LIMIT 100`, fault.QuotaExceeded},
	} {
		t.Run(name, func(t *testing.T) {
			l := limits
			if c.kind == fault.QuotaExceeded {
				l.MaxTransactionBytes = 1 << 20
				l.StatementTimeout = time.Minute
			}
			if c.kind == fault.TooLarge {
				l.StatementTimeout = time.Minute
			}
			f := newFixture(t, Options{Limits: l})
			f.mustExec(`CREATE TABLE t(a); CREATE TABLE k(a UNIQUE); INSERT INTO k VALUES(1)`)
			g := f.twoTxns()
			connection := g.w
			_, err := g.Exec(context.Background(), c.sql, nil)
			wantKind(t, err, c.kind)
			if (connection != g.w) != (name == "out of memory") {
				t.Errorf("the connection was replaced: %v", connection != g.w)
			}
			if g.Broken() != nil {
				t.Fatal(g.Broken())
			}
			if c.kind != fault.QuotaExceeded && c.kind != fault.TooLarge { // SQLite may undo these alone
				_, err = g.Exec(context.Background(), `SELECT 1`, nil)
				wantKind(t, err, fault.Closed)
				wantKind(t, g.EndTxn("", [16]byte{}, record.Result{}), fault.Closed)
			}
			if err := g.AbortTxn(); err != nil {
				t.Fatal(err)
			}
			if err := g.BeginTxn(); err != nil {
				t.Fatal(err)
			}
			if _, err := g.Exec(context.Background(), `INSERT INTO u VALUES(2)`, nil); err != nil {
				t.Fatal(err)
			}
			if err := g.EndTxn("", [16]byte{}, record.Result{}); err != nil {
				t.Fatal(err)
			}
			if err := f.commit(g); err != nil {
				t.Fatal(err)
			}
			if got := f.text(`SELECT a FROM t UNION ALL SELECT a FROM u`); got != "[[first] [1] [2]]" {
				t.Errorf("rows %s", got)
			}
			f.checkRebuild()
		})
	}
}

func TestAFailedStatementLeavesNoTrace(t *testing.T) {
	f := newFixture(t, Options{})
	f.mustExec(`CREATE TABLE t(a UNIQUE)`)
	before := f.hash()
	_, err := f.txn("", func(g *Group) (record.Result, error) {
		ctx := context.Background()
		for _, sql := range []string{
			`INSERT INTO t VALUES(1),(2),(1)`, `INSERT OR FAIL INTO t VALUES(1),(2),(1)`, `CREATE TABLE _kimberlite_x(a)`,
			`CREATE TABLE x(rowid,oid,_rowid_)`, `CREATE TABLE t(b)`, `ALTER TABLE t RENAME TO kimberlite_t`, `ALTER TABLE t RENAME TO sqlite_t`,
			`CREATE TABLE c(a REFERENCES _kimberlite_stream ON DELETE CASCADE)`, `SELECT * FROM nowhere`,
		} {
			if _, err := g.Exec(ctx, sql, nil); err == nil {
				t.Errorf("%s: no error", sql)
			}
			if len(g.w.capture.events) != 0 {
				t.Errorf("%s: left events", sql)
			}
		}
		return record.Result{}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(f.payloads) != 1 || f.hash() != before || len(f.Streams()) != 1 {
		t.Errorf("%d payloads, streams %v", len(f.payloads), f.Streams())
	}
}

func TestAbortLeavesNoTraceInCounters(t *testing.T) {
	f := newFixture(t, Options{})
	f.mustExec(`CREATE TABLE t(a)`)
	stop := errors.New("stop")
	_, err := f.txn("", func(g *Group) (record.Result, error) {
		if _, err := g.Exec(context.Background(), `INSERT INTO t VALUES(1); CREATE TABLE u(a); DROP TABLE t`, nil); err != nil {
			t.Fatal(err)
		}
		if _, err := g.CreateStream("s"); err != nil {
			t.Fatal(err)
		}
		if _, err := g.Append("s", []Message{{Data: []byte("x")}}); err != nil {
			t.Fatal(err)
		}
		return record.Result{}, stop
	})
	if !errors.Is(err, stop) {
		t.Fatal(err)
	}
	f.mustExec(`INSERT INTO t VALUES(2); CREATE TABLE v(a)`)
	s, _ := f.Stream("t")
	v, _ := f.Stream("v")
	if s.Next.Uint64() != 1 || v.Number != 2 {
		t.Errorf("t at %v, v is stream %d", s.Next, v.Number)
	}
	f.checkRebuild()
}

func TestStreamNumbersAreNeverUsedAgain(t *testing.T) {
	f := newFixture(t, Options{})
	f.mustExec(`CREATE TABLE t(a); INSERT INTO t VALUES(1)`)
	f.mustExec(`DROP TABLE t`)
	f.mustExec(`CREATE TABLE t(b); INSERT INTO t VALUES(1)`)
	f.mustExec(`ALTER TABLE t ADD COLUMN c`)
	s, _ := f.Stream("t")
	if s.Number != 2 || s.SchemaVersion != 2 || s.Next.Uint64() != 1 {
		t.Errorf("stream %+v", s)
	}
	old, ok := f.StreamNumbered(1)
	if !ok || !old.Dropped {
		t.Errorf("the dropped stream is %+v", old)
	}
	columns, err := f.StreamColumns(1, 1)
	if err != nil || len(columns) != 1 || columns[0].Name != "a" {
		t.Errorf("columns %v, error %v", columns, err)
	}
	if columns, err = f.StreamColumns(2, 1); err != nil || len(columns) != 1 {
		t.Errorf("columns %v, error %v", columns, err)
	}
	_, err = f.StreamColumns(2, 9)
	wantKind(t, err, fault.NotFound)
}

func TestDeferredForeignKeysAreCheckedAtTheEndOfEachTransaction(t *testing.T) {
	f := newFixture(t, Options{})
	f.mustExec(`CREATE TABLE p(id INTEGER PRIMARY KEY); CREATE TABLE c(p REFERENCES p DEFERRABLE INITIALLY DEFERRED)`)
	_, err := f.exec(`INSERT INTO c VALUES(1)`)
	wantKind(t, err, fault.Constraint)
	f.mustExec(`INSERT INTO c VALUES(1); INSERT INTO p VALUES(1)`)
	if got := f.text(`SELECT count(*) FROM c`); got != "[[1]]" {
		t.Errorf("rows %s", got)
	}
	f.checkRebuild()
}

func TestSavepointsUndoWhatCameAfterThem(t *testing.T) {
	f := newFixture(t, Options{})
	f.mustExec(`CREATE TABLE t(a UNIQUE)`)
	_, err := f.txn("", func(g *Group) (record.Result, error) {
		ctx := context.Background()
		steps := []func() error{
			g.Savepoint,
			func() error { _, err := g.Exec(ctx, `INSERT INTO t VALUES(1); CREATE TABLE u(a)`, nil); return err },
			g.Savepoint,
			func() error {
				_, err := g.Exec(ctx, `INSERT INTO t VALUES(2); INSERT INTO u VALUES(2)`, nil)
				return err
			},
			g.RollbackToSavepoint,
			func() error {
				if _, err := g.Exec(ctx, `INSERT INTO t VALUES(3),(1)`, nil); err == nil {
					return errors.New("no error")
				}
				return nil
			},
			g.ReleaseSavepoint,
		}
		for i, step := range steps {
			if err := step(); err != nil {
				return record.Result{}, fmt.Errorf("step %d: %w", i, err)
			}
		}
		if g.ReleaseSavepoint() == nil {
			t.Error("a savepoint that is not there was released")
		}
		return record.Result{}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := f.text(`SELECT (SELECT group_concat(a) FROM t), (SELECT count(*) FROM u)`); got != "[[1 0]]" {
		t.Errorf("rows %s", got)
	}
	f.checkRebuild()
}

func TestQueryInsideATransactionSeesItsOwnWrites(t *testing.T) {
	f := newFixture(t, Options{})
	f.mustExec(`CREATE TABLE t(id INTEGER PRIMARY KEY, a)`)
	stop := errors.New("stop")
	_, err := f.txn("", func(g *Group) (record.Result, error) {
		ctx := context.Background()
		var got []any
		collect := func(r *Row) error {
			got = append(got, r.Value(0))
			return nil
		}
		res, err := g.Query(ctx, `INSERT INTO t(a) VALUES($1),($2) RETURNING id`, []any{"x", "y"}, collect)
		if err != nil || res.RowsAffected != 2 || res.LastInsertID != 2 {
			t.Errorf("result %+v, error %v", res, err)
		}
		if _, err := g.Query(ctx, `SELECT a FROM t`, nil, collect); err != nil {
			t.Error(err)
		}
		if fmt.Sprint(got) != "[1 2 x y]" {
			t.Errorf("rows %v", got)
		}
		_, err = g.Query(ctx, `DELETE FROM t RETURNING id`, nil, func(*Row) error { return stop })
		if !errors.Is(err, stop) {
			t.Errorf("error %v", err)
		}
		_, err = g.Query(ctx, `SELECT 1; SELECT 2`, nil, collect)
		wantKind(t, err, fault.Invalid)
		return record.Result{}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := f.text(`SELECT count(*) FROM t`); got != "[[2]]" {
		t.Errorf("rows %s", got)
	}
	f.checkRebuild()
}

func TestScriptsRunEveryStatementEveryTime(t *testing.T) {
	f := newFixture(t, Options{})
	f.mustExec(`CREATE TABLE t(a)`)
	for range 3 {
		f.mustExec("INSERT INTO t VALUES(1); -- one\nINSERT INTO t VALUES(2) ; /* two */ ; INSERT INTO t VALUES(3);\n")
	}
	if got := f.text(`SELECT count(*), sum(a) FROM t`); got != "[[9 18]]" {
		t.Errorf("rows %s", got)
	}
	_, err := f.exec(`INSERT INTO t VALUES(?); INSERT INTO t VALUES(4)`, 1)
	wantKind(t, err, fault.Invalid)
	if _, err := f.exec("  -- nothing\n;"); err != nil {
		t.Error(err)
	}
}

func TestIdempotencyKeysAreRememberedForADay(t *testing.T) {
	f := newFixture(t, Options{})
	f.mustExec(`CREATE TABLE t(a)`)
	insert := func(g *Group) (record.Result, error) {
		return g.Exec(context.Background(), `INSERT INTO t VALUES(1)`, nil)
	}
	lookup := func(key string) (found bool) {
		g, err := f.DB.BeginGroup(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = g.Rollback() }() // never fails
		fp, res, found, err := g.LookupIdempotent(key)
		if err != nil || found && (fp != [16]byte{1} || res.RowsAffected != 1) {
			t.Errorf("key %s: %v %+v %v", key, fp, res, err)
		}
		return found
	}
	for i := range 40 { // an hour each
		if _, err := f.txn(fmt.Sprint("key ", i), insert); err != nil {
			t.Fatal(err)
		}
	}
	for i, want := range map[int]bool{0: false, 14: false, 15: true, 39: true} {
		if got := lookup(fmt.Sprint("key ", i)); got != want {
			t.Errorf("key %d found: %v", i, got)
		}
	}
	if lookup("other") {
		t.Error("a key that was never used was found")
	}
	g, err := f.DB.BeginGroup(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := g.BeginTxn(); err != nil {
		t.Fatal(err)
	}
	if err := g.EndTxn("same group", [16]byte{3}, record.Result{FirstOffset: 7}); err != nil {
		t.Fatal(err)
	}
	if fp, res, found, err := g.LookupIdempotent("same group"); !found || fp != [16]byte{3} || res.FirstOffset != 7 || err != nil {
		t.Error("a key of the same group was not found")
	}
	wantKind(t, g.Prepare(Applied{Next: f.Applied().Next.Next()}), fault.Invalid) // no time
	if err := g.Rollback(); err != nil {
		t.Error(err)
	}
	f.checkRebuild()
}

func TestSparseIndexLeadsToEveryEvent(t *testing.T) {
	f := newFixture(t, Options{})
	f.mustExec(`CREATE TABLE busy(a); CREATE TABLE rare(a); INSERT INTO rare VALUES(0)`)
	// where has the log offset of every event, by stream.
	where := map[string][]uint64{"rare": {0}}
	for i := range 600 {
		f.mustExec(`INSERT INTO busy VALUES(1),(2),(3)`)
		at := uint64(i + 1)
		where["busy"] = append(where["busy"], at, at, at)
		if i%200 == 199 {
			f.mustExec(`INSERT INTO rare VALUES(1)`)
			break
		}
	}
	where["rare"] = append(where["rare"], 201)
	for name, events := range where {
		s, ok := f.Stream(name)
		if !ok || s.Next.Uint64() != uint64(len(events)) {
			t.Fatalf("stream %+v, want %d events", s, len(events))
		}
		for off, log := range events {
			e, ok, err := f.IndexFloor(s.Number, uint64(off))
			if err != nil || !ok || e.StreamOffset > uint64(off) || e.LogOffset > log || events[e.StreamOffset] != e.LogOffset {
				t.Fatalf("%s %d: entry %+v, %v, %v", name, off, e, ok, err)
			}
			if uint64(off)-e.StreamOffset > indexEvents+3 || log-e.LogOffset > IndexStride {
				t.Errorf("%s %d: entry %+v is far away from record %d", name, off, e, log)
			}
			if e.Segment != e.LogOffset/100 || e.Byte != int64(e.LogOffset%100)*64 {
				t.Errorf("entry %+v does not say where its record starts", e)
			}
		}
	}
	entries := int64(0)
	err := f.DB.ownRead(func(c *conn) error {
		return c.each(`SELECT count(*) FROM _kimberlite_index`, func(s stmt) error {
			entries = s.ColumnInt64(0)
			return nil
		})
	})
	if err != nil || entries > 600/indexEvents+3 {
		t.Errorf("%d entries, error %v: it is not sparse", entries, err)
	}
	if _, ok, err := f.IndexFloor(99, 0); ok || err != nil {
		t.Error("an entry of a stream that is not there")
	}
	f.checkRebuild()
}

func TestEventStreams(t *testing.T) {
	f := newFixture(t, Options{})
	ctx := context.Background()
	_, err := f.txn("", func(g *Group) (record.Result, error) {
		info, err := g.CreateStream("Orders")
		if err != nil || info.Number != 1 || info.Kind != record.EventStream {
			t.Errorf("stream %+v, error %v", info, err)
		}
		return record.Result{}, err
	})
	if err != nil {
		t.Fatal(err)
	}
	f.mustExec(`CREATE TABLE t(a)`)
	for i, want := range []uint64{0, 2, 4} {
		_, err := f.txn("", func(g *Group) (record.Result, error) {
			first, err := g.Append("orders", []Message{{ContentType: "application/json", Data: []byte(`{}`)}, {Data: []byte{byte(i)}}})
			if first.Uint64() != want {
				t.Errorf("first offset %v, want %d", first, want)
			}
			return record.Result{FirstOffset: first.Uint64()}, err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		do   func(g *Group) error
		kind fault.Kind
	}{
		{func(g *Group) error { _, err := g.Append("nowhere", []Message{{}}); return err }, fault.NotFound},
		{func(g *Group) error { _, err := g.Append("t", []Message{{}}); return err }, fault.Invalid},
		{func(g *Group) error { _, err := g.Append("orders", nil); return err }, fault.Invalid},
		{func(g *Group) error {
			_, err := g.Append("orders", []Message{{Data: []byte("x")}, {Data: make([]byte, 17<<20)}})
			return err
		}, fault.TooLarge},
		{func(g *Group) error { _, err := g.CreateStream("ORDERS"); return err }, fault.AlreadyExists},
		{func(g *Group) error { _, err := g.CreateStream("T"); return err }, fault.AlreadyExists},
		{func(g *Group) error { _, err := g.CreateStream("kimberlite.x"); return err }, fault.Denied},
		{func(g *Group) error { _, err := g.CreateStream(""); return err }, fault.Invalid},
		{func(g *Group) error { _, err := g.CreateStream("a\x00b"); return err }, fault.Invalid},
		{func(g *Group) error { _, err := g.CreateStream(strings.Repeat("x", 300)); return err }, fault.TooLarge},
		{func(g *Group) error { _, err := g.Exec(ctx, `CREATE TABLE orders(a)`, nil); return err }, fault.AlreadyExists},
		{func(g *Group) error { _, err := g.Exec(ctx, `CREATE VIEW orders AS SELECT 1`, nil); return err }, fault.AlreadyExists},
		{func(g *Group) error { _, err := g.Exec(ctx, `ALTER TABLE t RENAME TO orders`, nil); return err }, fault.AlreadyExists},
	} {
		_, err := f.txn("", func(g *Group) (record.Result, error) { return record.Result{}, c.do(g) })
		wantKind(t, err, c.kind)
	}
	if s, _ := f.Stream("orders"); s.Next.Uint64() != 6 {
		t.Errorf("stream %+v", s)
	}
	f.checkRebuild()
}

func TestTheQuotaDoesNotStopWhatIsLogged(t *testing.T) {
	f := newFixture(t, Options{})
	f.mustExec(`CREATE TABLE t(a)`)
	f.SetProjectionLimit(1) // less than there is
	_, err := f.exec(`INSERT INTO t VALUES(zeroblob(20000))`)
	wantKind(t, err, fault.QuotaExceeded)
	var e *fault.Error
	if !errors.As(err, &e) || e.Quota == nil || e.Quota.Limit != "max_projections" || e.Quota.Value != 1 || e.Quota.Usage < pageBytes {
		t.Errorf("quota %+v", e.Quota)
	}
	// The bookkeeping of a record passes, and so does a record of the log.
	if _, err := f.txn("key", func(g *Group) (record.Result, error) { return g.Exec(t.Context(), `INSERT INTO t VALUES(1)`, nil) }); err != nil {
		t.Error(err)
	}
	for i := range 100 {
		_, err := f.txn(fmt.Sprint("a long key ", strings.Repeat("x", 200), i), func(*Group) (record.Result, error) { return record.Result{}, nil })
		if err != nil {
			t.Fatal(err)
		}
	}
	big := &record.Payload{Txns: []record.Txn{{Events: []record.Event{{
		Kind: record.RowInserted, Stream: 1, StreamOffset: 1, SchemaVersion: 1, RowID: 2, After: []record.Value{bytes.Repeat([]byte{1}, 20000)},
	}}}}}
	at := f.nextApplied()
	if err := f.Apply(t.Context(), big, at.Time, at); err != nil {
		t.Error(err)
	}
	f.SetProjectionLimit(0)
	f.mustExec(`INSERT INTO t VALUES(zeroblob(20000))`)
}

func TestARecordThatDoesNotFitPutsTheProjectionInDoubt(t *testing.T) {
	insert := func(e record.Event) *record.Payload {
		return &record.Payload{Txns: []record.Txn{{Events: []record.Event{e}}}}
	}
	row := record.Event{Kind: record.RowInserted, Stream: 1, StreamOffset: 1, SchemaVersion: 1, RowID: 2, After: []record.Value{int64(2)}}
	for name, change := range map[string]func(e *record.Event){
		"offset":  func(e *record.Event) { e.StreamOffset = 5 },
		"stream":  func(e *record.Event) { e.Stream, e.StreamOffset = 9, 0 },
		"version": func(e *record.Event) { e.SchemaVersion = 2 },
		"width":   func(e *record.Event) { e.After = nil; e.After = append(e.After, nil, nil) },
		"row":     func(e *record.Event) { e.RowID = 1 },
		"missing": func(e *record.Event) { e.Kind, e.After, e.Before, e.OldRowID = record.RowDeleted, nil, e.After, 77 },
		"schema":  func(e *record.Event) { *e = record.Event{Kind: record.Schema, SQL: `CREATE TABLE t(a)`} },
		"attack":  func(e *record.Event) { *e = record.Event{Kind: record.Schema, SQL: `ATTACH 'x' AS y`} },
		"kind":    func(e *record.Event) { e.Kind = 99 },
		"twice":   func(e *record.Event) { *e = record.Event{Kind: record.StreamCreated, Stream: 1, Name: "x"} },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, Options{})
			f.mustExec(`CREATE TABLE t(a); INSERT INTO t VALUES(1)`)
			e := row
			change(&e)
			at := f.nextApplied()
			wantKind(t, f.Apply(t.Context(), insert(e), at.Time, at), fault.Corruption)
			_, err := f.rows(`SELECT * FROM t`)
			wantKind(t, err, fault.Corruption)
			_, err = f.exec(`INSERT INTO t VALUES(1)`)
			wantKind(t, err, fault.Corruption)
			wantKind(t, f.Err(), fault.Corruption)
		})
	}
	f := newFixture(t, Options{})
	f.mustExec(`CREATE TABLE t(a); INSERT INTO t VALUES(1)`)
	at := f.nextApplied()
	at.Next = at.Next.Next()
	wantKind(t, f.Apply(t.Context(), insert(row), at.Time, at), fault.Invalid)
	at = f.nextApplied()
	if err := f.Apply(t.Context(), insert(row), at.Time, at); err != nil {
		t.Error(err)
	}
}

func TestPositionAndStreamsSurviveReopening(t *testing.T) {
	f := newFixture(t, Options{})
	f.mustExec(`CREATE TABLE t(a, b REAL); INSERT INTO t VALUES(1,2)`)
	f.mustExec(`DROP TABLE t; CREATE TABLE u(a AS (1), b PRIMARY KEY)`)
	f.mustExec(`INSERT INTO u VALUES(1)`)
	want, sum := f.Applied(), f.hash()
	if err := f.store.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := f.DB.Close(); err != nil {
		t.Fatal(err)
	}
	if err := f.store.Close(); err != nil {
		t.Fatal(err)
	}
	again := openFixture(t, f.fs, Options{})
	if again.Applied() != want {
		t.Errorf("position %+v, want %+v", again.Applied(), want)
	}
	if fmt.Sprint(again.Streams()) != fmt.Sprint(f.Streams()) || again.hash() != sum {
		t.Errorf("streams %v", again.Streams())
	}
	again.payloads = f.payloads
	again.mustExec(`INSERT INTO u VALUES(2); CREATE TABLE w(a)`)
	if s, _ := again.Stream("w"); s.Number != 3 {
		t.Errorf("stream %+v", s)
	}
	again.checkRebuild()
}
