package projection

import (
	"bytes"
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"math"
	"sync"
	"testing"
	"time"

	"kimberlite/internal/disk"
	"kimberlite/internal/fault"
	"kimberlite/internal/pagestore"
	"kimberlite/internal/record"
)

type valued struct{ v any }

func (v valued) Value() (driver.Value, error) {
	if err, ok := v.v.(error); ok {
		return nil, err
	}
	return v.v, nil
}

func TestArgumentsReachTheirParameters(t *testing.T) {
	f := newFixture(t, Options{})
	at := time.Date(2026, 5, 6, 7, 8, 9, 10, time.FixedZone("x", 3600))
	for _, c := range []struct {
		sql  string
		args []any
		want string // "" for Invalid
	}{
		{`SELECT ?, ?`, []any{1, "a"}, "[[1 a]]"},
		{`SELECT $2, $1`, []any{"first", "second"}, "[[second first]]"},
		{`SELECT $1, $3, $1`, []any{1, 2, 3}, "[[1 3 1]]"},
		{`SELECT ?2, ?1`, []any{"first", "second"}, "[[second first]]"},
		{`SELECT ?1, ?`, []any{1, 2}, "[[1 2]]"},
		{`SELECT :b, @a, $c`, []any{sql.Named("a", 1), sql.Named("b", 2), sql.Named("c", 3)}, "[[2 1 3]]"},
		{`SELECT typeof(?),typeof(?),typeof(?),typeof(?),typeof(?)`, []any{nil, true, 2.5, []byte{}, ""}, "[[null integer real blob text]]"},
		{`SELECT ?,?,?,?,?,?,?,?`, []any{int8(-1), int16(-2), int32(-3), uint8(1), uint16(2), uint32(3), uint64(4), uint(5)}, "[[-1 -2 -3 1 2 3 4 5]]"},
		{`SELECT ?`, []any{float32(0.5)}, "[[0.5]]"},
		{`SELECT ?`, []any{at}, "[[2026-05-06T06:08:09.00000001Z]]"},
		{`SELECT ?, ?`, []any{valued{int64(3)}, sql.NullString{}}, "[[3 <nil>]]"},
		{`SELECT typeof(?)`, []any{[]byte(nil)}, "[[null]]"},
		{`SELECT ?`, nil, ""},
		{`SELECT ?`, []any{1, 2}, ""},
		{`SELECT 1`, []any{1}, ""},
		{`SELECT $2`, []any{1}, ""},
		{`SELECT $1, ?`, []any{1, 2}, ""},
		{`SELECT :a, ?`, []any{1, 2}, ""},
		{`SELECT :a`, []any{1}, ""},
		{`SELECT :a`, []any{sql.Named("b", 1)}, ""},
		{`SELECT :a`, []any{sql.Named("a", 1), sql.Named("b", 1)}, ""},
		{`SELECT ?`, []any{sql.Named("a", 1)}, ""},
		{`SELECT ?`, []any{uint64(math.MaxUint64)}, ""},
		{`SELECT ?`, []any{struct{}{}}, ""},
		{`SELECT ?`, []any{valued{errors.New("no")}}, ""},
		{`SELECT ?`, []any{valued{valued{1}}}, ""},
	} {
		got, err := f.rows(c.sql, c.args...)
		if c.want == "" {
			if !fault.Is(err, fault.Invalid) {
				t.Errorf("%s %v: error %v", c.sql, c.args, err)
			}
			continue
		}
		if err != nil || fmt.Sprint(got) != c.want {
			t.Errorf("%s %v: %v, error %v", c.sql, c.args, got, err)
		}
	}
	_, err := f.rows(`SELECT length(?)`, make([]byte, 17<<20))
	wantKind(t, err, fault.TooLarge)
}

func TestErrorsSayWhatAndWhere(t *testing.T) {
	f := newFixture(t, Options{})
	f.mustExec(`CREATE TABLE t(a UNIQUE, b NOT NULL, c CHECK(c>0)); INSERT INTO t VALUES('secret',1,1); CREATE TABLE s(a INT) STRICT`)
	for _, c := range []struct {
		sql  string
		kind fault.Kind
		text string
	}{
		{`SELEC 1`, fault.SQL, `sql: near "SELEC": syntax error, at byte 0 of the statement`},
		{`SELECT * FROM x`, fault.SQL, `sql: no such table: x`},
		{`INSERT INTO t VALUES('secret',2,2)`, fault.Constraint, `sql: UNIQUE constraint failed: t.a`},
		{`INSERT INTO t VALUES(1,NULL,2)`, fault.Constraint, `sql: NOT NULL constraint failed: t.b`},
		{`INSERT INTO t VALUES(1,1,-5)`, fault.Constraint, `sql: CHECK constraint failed: c>0`},
		{`INSERT INTO s VALUES('text')`, fault.Constraint, `sql: cannot store TEXT value in INT column s.a`},
		{``, fault.SQL, `sql: there is no statement in the text`},
	} {
		run := f.rows
		if c.kind == fault.Constraint {
			run = func(sql string, _ ...any) ([][]any, error) { _, err := f.exec(sql); return nil, err }
		}
		_, err := run(c.sql)
		if !fault.Is(err, c.kind) || err.Error() != c.text {
			t.Errorf("%s: %v", c.sql, err)
		}
	}
	_, err := f.rows(`INSERT INTO t VALUES(3,3,3)`)
	wantKind(t, err, fault.Unsupported)
}

func TestRowsGiveValuesNamesAndTypes(t *testing.T) {
	f := newFixture(t, Options{})
	f.mustExec(`CREATE TABLE t(a INTEGER, b VARCHAR(10), c); INSERT INTO t VALUES(7,'x',x'01'),(NULL,NULL,2.5)`)
	r, err := f.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer r.Release()
	rows, err := r.Query(t.Context(), `SELECT a, b, c, a+1 FROM t`, nil)
	if err != nil {
		t.Fatal(err)
	}
	if !rows.Next() || rows.Int64(0) != 7 || rows.Text(1) != "x" || !bytes.Equal(rows.Bytes(2, []byte{9}), []byte{9, 1}) || rows.Float64(0) != 7 || rows.Value(3) != int64(8) {
		t.Error("the first row is wrong")
	}
	if !rows.Next() || !rows.IsNull(0) || rows.Value(1) != nil || rows.Value(2) != 2.5 || rows.Len() != 4 {
		t.Error("the second row is wrong")
	}
	if fmt.Sprint(rows.Columns(), rows.DeclTypes()) != "[a b c a+1] [INTEGER VARCHAR(10)  ]" {
		t.Error(rows.Columns(), rows.DeclTypes())
	}
	if rows.Next() || rows.Err() != nil {
		t.Error("a third row", rows.Err())
	}
	rows.Close()
	rows.Close()
	if rows.Next() {
		t.Error("a row after Close")
	}
	same, err := r.Query(t.Context(), `SELECT a FROM t`, nil)
	if err != nil {
		t.Fatal(err)
	}
	twice, err := r.Query(t.Context(), `SELECT a FROM t`, nil) // the same text, while it is in use
	if err != nil || !twice.Next() || !same.Next() || twice.Int64(0) != 7 || same.Int64(0) != 7 {
		t.Error("two results of the same text", err)
	}
	r.Release()
	r.Release()
	_, err = r.Query(t.Context(), `SELECT 1`, nil)
	wantKind(t, err, fault.Closed)
}

func TestASnapshotSeesOneState(t *testing.T) {
	f := newFixture(t, Options{})
	f.mustExec(`CREATE TABLE t(a); INSERT INTO t VALUES(1)`)
	count := func(r *Reader) (n int64) {
		err := r.Each(t.Context(), `SELECT count(*) FROM t`, nil, func(row *Row) error { n = row.Int64(0); return nil })
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	r, err := f.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer r.Release()
	if err := r.BeginSnapshot(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.mustExec(`INSERT INTO t VALUES(2)`)
	if n := count(r); n != 1 {
		t.Errorf("the snapshot sees %d rows", n)
	}
	r.EndSnapshot()
	if n := count(r); n != 2 {
		t.Errorf("afterwards it sees %d rows", n)
	}
	g := f.twoTxnsLeftOpen()
	if n := count(r); n != 2 {
		t.Errorf("uncommitted rows are seen: %d", n)
	}
	if err := g.Rollback(); err != nil {
		t.Error(err)
	}
}

func (f *fixture) twoTxnsLeftOpen() *Group { return f.twoTxns() }

func TestCachedStatementsFollowTheSchema(t *testing.T) {
	f := newFixture(t, Options{MaxReaders: 1})
	f.mustExec(`CREATE TABLE t(a); INSERT INTO t VALUES(1)`)
	if got := f.text(`SELECT * FROM t`); got != "[[1]]" {
		t.Error(got)
	}
	f.mustExec(`ALTER TABLE t ADD COLUMN b DEFAULT 5`)
	if got := f.text(`SELECT * FROM t`); got != "[[1 5]]" {
		t.Error(got)
	}
	f.mustExec(`INSERT INTO t VALUES(2,2)`)
	f.mustExec(`DROP TABLE t; CREATE TABLE t(x, y, z)`)
	f.mustExec(`INSERT INTO t VALUES(2,2,2)`)
	f.mustExec(`DELETE FROM t`)
	f.mustExec(`CREATE TABLE audit(n); CREATE TRIGGER i AFTER INSERT ON t BEGIN INSERT INTO audit VALUES(new.x); END`)
	if got := f.text(`SELECT * FROM t`); got != "[]" {
		t.Error(got)
	}
	_, err := f.exec(`INSERT INTO t VALUES(2,2)`)
	wantKind(t, err, fault.SQL)
	f.mustExec(`INSERT INTO t VALUES(2,2,2)`)
	for i := range 100 { // more texts than the cache holds
		if got := f.text(fmt.Sprintf("SELECT x+%d FROM t", i)); got != fmt.Sprintf("[[%d]]", i+2) {
			t.Error(got)
		}
	}
	f.checkRebuild()
}

func TestReadersAndWriterWorkAtTheSameTime(t *testing.T) {
	f := newFixture(t, Options{MaxReaders: 3})
	f.mustExec(`CREATE TABLE t(a INTEGER PRIMARY KEY, b)`)
	f.mustExec(`INSERT INTO t WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n LIMIT 100) SELECT i, 0 FROM n`)
	done := make(chan struct{})
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				// Every commit leaves all rows with the same b.
				got, err := f.rows(`SELECT count(*), min(b)=max(b) FROM t`)
				if err != nil || fmt.Sprint(got) != "[[100 1]]" {
					t.Errorf("a reader sees %v, error %v", got, err)
					return
				}
				_, _ = f.Stream("t")
				_, _ = f.ReadOnly(context.Background(), AccessOwner, `SELECT 1 FROM t`)
			}
		})
	}
	for i := range 40 {
		f.mustExec(`UPDATE t SET b=$1`, i)
		if i%10 == 0 {
			f.mustExec(fmt.Sprintf(`CREATE TABLE x%d(a)`, i))
			if err := f.store.Flush(); err != nil {
				t.Error(err)
			}
		}
	}
	close(done)
	readers.Wait()
	f.checkRebuild()
}

// events is a log in memory for the system tables.
type events struct {
	f *fixture
	// asked are the queries that came.
	asked []EventQuery
	fail  error
}

func (e *events) Events(_ context.Context, q EventQuery) (EventCursor, error) {
	e.asked = append(e.asked, q)
	c := &eventCursor{fail: e.fail}
	for _, r := range e.f.payloads {
		for _, txn := range r.Payload.Txns {
			for _, ev := range txn.Events {
				if q.Stream == 0 || q.Stream == ev.Stream && counted(ev.Kind) && ev.StreamOffset >= q.From {
					c.all = append(c.all, LoggedEvent{LogOffset: r.At.Next.Uint64() - 1, Time: r.Time, Event: ev})
				}
			}
		}
	}
	return c, nil
}

func (e *events) Usage(context.Context) ([]UsageRow, error) {
	return []UsageRow{{"log_bytes", 7, 100}, {"operations", 3, 0}}, e.fail
}

type eventCursor struct {
	all  []LoggedEvent
	fail error
}

func (c *eventCursor) Next() (*LoggedEvent, error) {
	if c.fail != nil {
		return nil, c.fail
	}
	if len(c.all) == 0 {
		return nil, nil
	}
	e := &c.all[0]
	c.all = c.all[1:]
	return e, nil
}

func (c *eventCursor) Close() error { return nil }

func TestSystemTables(t *testing.T) {
	log := &events{}
	f := newFixture(t, Options{System: log})
	log.f = f
	f.mustExec(`CREATE TABLE t(a, b TEXT, g AS (a+1)); CREATE TABLE u(x)`)
	f.mustExec(`INSERT INTO t VALUES(1,'é"'),(2,x'ff'); INSERT INTO u VALUES(9e999)`)
	f.mustExec(`UPDATE t SET b='z' WHERE a=1; DELETE FROM t WHERE a=2`)
	_, err := f.txn("", func(g *Group) (record.Result, error) {
		if _, err := g.CreateStream("s"); err != nil {
			return record.Result{}, err
		}
		_, err := g.Append("s", []Message{{ContentType: "text/plain", Data: []byte("hi")}})
		return record.Result{}, err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ sql, want string }{
		{`SELECT stream_offset, log_offset, kind, before, after FROM kimberlite.events WHERE stream='t' AND stream_offset>=1`,
			`[[1 1 insert <nil> {"a":2,"b":"/w=="}] [2 2 update {"a":1,"b":"é\""} {"a":1,"b":"z"}] [3 2 delete {"a":2,"b":"/w=="} <nil>]]`},
		{`SELECT after->>'x', time FROM kimberlite.events WHERE stream='u' AND kind='insert'`, `[[+Inf 2026-01-01T01:00:00Z]]`},
		{`SELECT content_type, data FROM kimberlite.events WHERE stream='s' AND kind='message'`, `[[text/plain [104 105]]]`},
		{`SELECT kind, count(*) FROM kimberlite.events GROUP BY kind ORDER BY kind`, `[[create 3] [delete 1] [insert 3] [message 1] [schema 2] [update 1]]`},
		{`SELECT count(*) FROM kimberlite.events WHERE stream='nowhere'`, `[[0]]`},
		{`SELECT data FROM kimberlite.events WHERE kind='schema' LIMIT 1`, `[[CREATE TABLE t(a, b TEXT, g AS (a+1))]]`},
		{`SELECT stream, number, kind, next_offset, schema_version, columns FROM kimberlite.streams`,
			`[[s 3 stream 1 <nil> <nil>] [t 1 table 4 1 ["a","b"]] [u 2 table 1 1 ["x"]]]`},
		{`SELECT s.kind, e.kind FROM kimberlite.streams s JOIN kimberlite.events e ON e.stream=s.stream WHERE s.stream='u' AND e.stream_offset=0`, `[[table insert]]`},
		{`SELECT * FROM kimberlite.usage`, `[[log_bytes 7 100] [operations 3 <nil>]]`},
	} {
		if got := f.text(c.sql); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.sql, got, c.want)
		}
	}
	if fmt.Sprint(log.asked[0]) != "{1 1}" {
		t.Errorf("the first query was not narrowed down: %v", log.asked[0])
	}
	f.mustExec(`CREATE TABLE events(x); INSERT INTO events VALUES(5)`)
	if got := f.text(`SELECT * FROM events`); got != "[[5]]" {
		t.Errorf("a table of the same name shows %s", got)
	}
	log.fail = fault.New("log", fault.KeyUnavailable, "locked")
	_, err = f.rows(`SELECT * FROM kimberlite.events`)
	wantKind(t, err, fault.KeyUnavailable)
	_, err = f.rows(`SELECT * FROM kimberlite.usage`)
	wantKind(t, err, fault.KeyUnavailable)
	if f.Err() != nil {
		t.Error(f.Err())
	}
}

// TestDamageIsNeverServed flips bytes of the file under an open store, and
// before it is opened.
func TestDamageIsNeverServed(t *testing.T) {
	f := newFixture(t, Options{})
	f.mustExec(`CREATE TABLE t(a INTEGER PRIMARY KEY, b)`)
	f.mustExec(`INSERT INTO t WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n LIMIT 2000) SELECT i, hex(zeroblob(20)) FROM n`)
	if err := f.store.Flush(); err != nil {
		t.Fatal(err)
	}
	want := f.text(`SELECT count(*), sum(a), group_concat(b) FROM t`)
	data, err := disk.ReadFile(f.fs, testPath)
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for at := 100; at < len(data); at += 4096 + 301 {
		m := disk.NewMem()
		if err := m.MkdirAll("/p", 0o700); err != nil {
			t.Fatal(err)
		}
		data[at] ^= 0x20
		if err := disk.WriteFileDurable(m, testPath, data, 0o600); err != nil {
			t.Fatal(err)
		}
		data[at] ^= 0x20
		got, err := readDamaged(t, m, f.keys)
		if err == nil && got != want {
			t.Fatalf("byte %d: wrong rows are served", at)
		}
		if err != nil {
			found++
			var e *fault.Error
			if !errors.As(err, &e) || e.Kind != fault.Corruption || e.File != testPath || at >= 8192 && e.Position/4096 != int64(at)/4096 {
				t.Errorf("byte %d: %v", at, err)
			}
		}
	}
	if found == 0 {
		t.Error("no flip was found")
	}
}

func readDamaged(t *testing.T, fs disk.FS, keys oneKey) (got string, err error) {
	t.Helper()
	store, err := pagestore.Open(pagestore.Options{FS: fs, Path: testPath, Tenant: tenantOne, Keys: keys})
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	db, err := Open(t.Context(), Options{Store: store, Tenant: tenantOne})
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	f := &fixture{DB: db, t: t}
	rows, err := f.rows(`SELECT count(*), sum(a), group_concat(b) FROM t`)
	if err != nil {
		_, again := f.rows(`SELECT 1`)
		wantKind(t, again, fault.Corruption) // in doubt from now on
	}
	return fmt.Sprint(rows), err
}

func TestAnotherVersionIsRefused(t *testing.T) {
	f := newFixture(t, Options{})
	if err := f.w.c.script(`PRAGMA user_version=99`); err != nil {
		t.Fatal(err)
	}
	_, err := Open(t.Context(), Options{Store: f.store, Tenant: tenantOne})
	wantKind(t, err, fault.Incompatible)
	_, err = Open(t.Context(), Options{})
	wantKind(t, err, fault.Invalid)
}

// TestIdleReadersAreClosed also breaks readers, which must not come back.
func TestIdleReadersAreClosed(t *testing.T) {
	f := newFixture(t, Options{MaxReaders: 4})
	var all []*Reader
	for range 4 {
		r, err := f.Read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Each(t.Context(), `SELECT 1`, nil, func(*Row) error { return nil }); err != nil {
			t.Fatal(err)
		}
		all = append(all, r)
	}
	all[0].c.dead = true
	_, err := all[0].Query(t.Context(), `SELECT 1`, nil)
	wantKind(t, err, fault.Closed)
	for _, r := range all {
		r.Release()
	}
	if n := len(f.readers.idle); n != 3 {
		t.Errorf("%d idle readers", n)
	}
	f.readers.trim()
	if n := len(f.readers.idle); n != 1 {
		t.Errorf("%d idle readers after the trim", n)
	}
}

func TestNamesOfFilesAreGoodForOneOpening(t *testing.T) {
	f := &file{src: &source{}}
	name := theFileSystem.offer(f)
	if len(name) != 32 || theFileSystem.take(name) != f || theFileSystem.take(name) != nil {
		t.Error("a name opened twice")
	}
	for _, name := range []string{"", "x", "/etc/passwd", name} {
		if _, _, err := theFileSystem.Open(name, 0x100|0x6); err == nil {
			t.Errorf("%q opens", name)
		}
	}
}
