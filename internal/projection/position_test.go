package projection

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"kimberlite/internal/disk"
	"kimberlite/internal/fault"
	"kimberlite/internal/record"
)

func TestPositionForgetsWhatMovedTheLongestAgo(t *testing.T) {
	var p position
	for s := range uint64(maxRecent) {
		if _, evicted := p.count(s+1, 10*s); evicted {
			t.Fatal("a counter left while there was room")
		}
	}
	if _, evicted := p.count(1, 11); evicted || len(p.recent) != maxRecent {
		t.Fatal("a counter that is there took another's room")
	}
	if out, evicted := p.count(100, 1); !evicted || out != (streamCount{2, 10}) {
		t.Fatal(out, evicted)
	}
	again, err := decodePosition(p.encode())
	if err != nil || fmt.Sprint(again) != fmt.Sprint(p) {
		t.Fatalf("%v became %v, %v", p, again, err)
	}
	p.recent = append(p.recent[:1], p.recent[0])
	_, err = decodePosition(p.encode())
	wantKind(t, err, fault.Corruption)
}

// lookAtPosition holds a position against the tables that it came with: each
// table of the fixture's has as many rows as its stream has events, and the
// log has as many records as the table records has.
func lookAtPosition(t *testing.T, f *fixture) uint64 {
	t.Helper()
	next := f.Applied().Next.Uint64()
	if next == 0 {
		return 0
	}
	for _, s := range f.Streams() {
		if s.Kind == record.EventStream {
			continue
		}
		if rows := f.text("SELECT count(*) FROM " + s.Name); rows != fmt.Sprintf("[[%d]]", s.Next.Uint64()) {
			t.Fatalf("stream %s is at %s, and its table has %s rows", s.Name, s.Next, rows)
		}
	}
	if rows := f.text("SELECT count(*) FROM records"); rows != fmt.Sprintf("[[%d]]", next-1) {
		t.Fatalf("position %d, records %s", next, rows)
	}
	return next
}

// TestPositionAndPagesAreOneAfterAnyPowerLoss writes more streams than the
// position has room for, and looks at what a power loss leaves at each sync.
func TestPositionAndPagesAreOneAfterAnyPowerLoss(t *testing.T) {
	fs := disk.NewMem()
	if err := disk.MkdirAllDurable(fs, "/p", 0o700); err != nil {
		t.Fatal(err)
	}
	f := openFixture(t, fs, Options{})
	rng := rand.New(rand.NewPCG(1, 9))
	var clones []*disk.Mem
	fs.BeforeSync(func(string) { clones = append(clones, fs.CrashClone(rng)) })
	fs.OnSync(func(string) { clones = append(clones, fs.CrashClone(rng)) })
	tables := strings.Builder{}
	tables.WriteString("CREATE TABLE records(a);")
	for i := range maxRecent + 8 {
		fmt.Fprintf(&tables, "CREATE TABLE t%d(a);", i)
	}
	f.mustExec(tables.String())
	if err := f.store.Flush(); err != nil {
		t.Fatal(err)
	}
	for i := range 150 {
		table := rng.IntN(1 + rng.IntN(maxRecent+8))
		switch rng.IntN(8) {
		case 0:
			if _, err := f.exec(fmt.Sprintf("INSERT INTO t%d VALUES(1); INSERT INTO nowhere VALUES(1)", table)); err == nil {
				t.Fatal("no error")
			}
		case 1:
			if err := f.store.Flush(); err != nil {
				t.Fatal(err)
			}
		}
		f.mustExec(fmt.Sprintf("INSERT INTO t%d VALUES(1); INSERT INTO records VALUES(%d)", table, i))
	}
	lookAtPosition(t, f)
	f.checkRebuild()
	seen := map[uint64]bool{}
	for _, clone := range clones {
		seen[lookAtPosition(t, openFixture(t, clone, Options{}))] = true
	}
	if len(seen) < 5 {
		t.Fatalf("the power losses left only %d states: %v", len(seen), seen)
	}
}

// A record of messages only may change no page: its position is all that is
// new.
func TestARecordThatChangesNoPageMovesThePosition(t *testing.T) {
	fs := disk.NewMem()
	if err := disk.MkdirAllDurable(fs, "/p", 0o700); err != nil {
		t.Fatal(err)
	}
	f := openFixture(t, fs, Options{})
	send := func() {
		t.Helper()
		_, err := f.txn("", func(g *Group) (record.Result, error) {
			_, err := g.Append("s", []Message{{ContentType: "text/plain", Data: []byte("x")}})
			return record.Result{}, err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if _, err := f.txn("", func(g *Group) (record.Result, error) {
		_, err := g.CreateStream("s")
		return record.Result{}, err
	}); err != nil {
		t.Fatal(err)
	}
	send()
	if err := f.store.Flush(); err != nil {
		t.Fatal(err)
	}
	send()
	if f.store.Dirty() == 0 {
		t.Fatal("nothing to flush")
	}
	if err := f.store.Flush(); err != nil {
		t.Fatal(err)
	}
	again := openFixture(t, fs.CrashClone(nil), Options{})
	if s, _ := again.Stream("s"); s.Next.Uint64() != 2 || again.Applied() != f.Applied() {
		t.Fatal(s.Next, again.Applied(), f.Applied())
	}
	f.checkRebuild()
}

// TestCommitsWriteOnlyTheirOwnPages is what the position is out of the tables
// for, and the writer holds its locks for.
func TestCommitsWriteOnlyTheirOwnPages(t *testing.T) {
	f := newFixture(t, Options{})
	f.mustExec(`CREATE TABLE t(a INTEGER PRIMARY KEY, b)`)
	f.mustExec(`INSERT INTO t VALUES(1, 0)`)
	for i := range 20 {
		if err := f.store.Flush(); err != nil {
			t.Fatal(err)
		}
		f.mustExec(`UPDATE t SET b=?1`, int64(i+1)) // SQLite does not write what is the same
		if n := f.store.Dirty(); n != 2 {           // the table's page, and the position counts as one
			t.Fatalf("the commit changed %d pages", n)
		}
	}
}

// TestAReaderNeverKeepsAStalePage: the first page, which SQLite tells changes
// by, is the same in the store after every one of these commits.
func TestAReaderNeverKeepsAStalePage(t *testing.T) {
	f := newFixture(t, Options{})
	ctx := context.Background()
	f.mustExec(`CREATE TABLE t(a INTEGER PRIMARY KEY, b); INSERT INTO t VALUES(1, 0)`)
	want := func(r *Reader, n int64) {
		t.Helper()
		got := int64(-1)
		if err := r.Each(ctx, `SELECT b FROM t WHERE a=1`, nil, func(row *Row) error { got = row.Int64(0); return nil }); err != nil || got != n {
			t.Fatalf("%d, want %d, %v", got, n, err)
		}
	}
	readers := make([]*Reader, 3)
	for i := range readers {
		var err error
		if readers[i], err = f.Read(ctx); err != nil {
			t.Fatal(err)
		}
		defer readers[i].Release()
		want(readers[i], 0)
	}
	readers[2].c.file.counter = ^uint32(0) - 3 // it wraps around
	for n := range int64(40) {
		f.mustExec(`UPDATE t SET b=?1`, n)
		want(readers[0], n)
		want(readers[0], n)
		if n%7 == 0 {
			want(readers[1], n)
		}
		want(readers[2], n)
	}
	want(readers[1], 39)
	if err := readers[1].BeginSnapshot(ctx); err != nil {
		t.Fatal(err)
	}
	f.mustExec(`UPDATE t SET b=40; CREATE TABLE u(a)`)
	want(readers[1], 39)
	readers[1].EndSnapshot()
	want(readers[1], 40)
	if err := readers[1].Each(ctx, `SELECT * FROM u`, nil, nil); err != nil {
		t.Fatal(err)
	}
}

// A reader holds a version while a statement is under way, and no longer.
func TestAReaderThatRestsPinsNothing(t *testing.T) {
	f := newFixture(t, Options{})
	ctx := context.Background()
	f.mustExec(`CREATE TABLE t(a INTEGER PRIMARY KEY); INSERT INTO t VALUES(1),(2)`)
	r, err := f.Read(ctx)
	if err != nil {
		t.Fatal(err)
	}
	pinned := func() bool {
		_, err := r.c.file.snapshot.ReadAt(make([]byte, 1), 0)
		if err != nil {
			wantKind(t, err, fault.Closed)
		}
		return err == nil
	}
	rows, err := r.Query(ctx, `SELECT a FROM t`, nil)
	if err != nil || !rows.Next() || !pinned() {
		t.Fatal("an open result does not hold its version", err)
	}
	f.mustExec(`INSERT INTO t VALUES(3)`)
	if !rows.Next() || rows.Next() || pinned() {
		t.Fatal("a result that has ended holds its version, or was not the old one")
	}
	n := 0
	if err := r.Each(ctx, `SELECT a FROM t`, nil, func(*Row) error { n++; return nil }); err != nil || n != 3 || pinned() {
		t.Fatal(n, err)
	}
	if _, err := r.Query(ctx, `SELECT nothing FROM t`, nil); err == nil || pinned() {
		t.Fatal("a statement that failed holds a version", err)
	}
	if rows, err = r.Query(ctx, `SELECT a FROM t`, nil); err != nil {
		t.Fatal(err)
	}
	rows.Close()
	if pinned() {
		t.Fatal("a closed result holds its version")
	}
	r.Release()
}

// TestARolledBackBatchLeavesNothing spills pages of a transaction into the
// batch before it fails, in the ways that it can.
func TestARolledBackBatchLeavesNothing(t *testing.T) {
	f := newFixture(t, Options{})
	f.mustExec(`CREATE TABLE t(a INTEGER PRIMARY KEY, b UNIQUE); INSERT INTO t VALUES(1, 'one')`)
	before := f.hash()
	big := `WITH RECURSIVE g(v) AS (VALUES(1) UNION ALL SELECT v+1 FROM g WHERE v<900) INSERT INTO t SELECT v+1, randomblob(2000) FROM g`
	stop := errors.New("stop")
	for name, fail := range map[string]func() error{
		"statement": func() error { _, err := f.exec(big + `; INSERT INTO t VALUES(1, 1)`); return err },
		"caller": func() error {
			_, err := f.txn("", func(g *Group) (record.Result, error) {
				if _, err := g.Exec(context.Background(), big, nil); err != nil {
					t.Fatal(err)
				}
				return record.Result{}, stop
			})
			return err
		},
		"or rollback": func() error { _, err := f.exec(big + `; INSERT OR ROLLBACK INTO t VALUES(1, 1)`); return err },
	} {
		if err := fail(); err == nil {
			t.Fatal(name, "no error")
		}
		if f.hash() != before {
			t.Fatal(name, "left something")
		}
	}
	f.mustExec(`INSERT INTO t VALUES(2, 'two')`)
	f.checkRebuild()
}
