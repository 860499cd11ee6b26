package projection

import (
	"context"
	"fmt"
	"os"
	"testing"

	"kimberlite/internal/disk"
	"kimberlite/internal/fault"
	"kimberlite/internal/pagestore"
	"kimberlite/internal/record"
)

// addressSpace is how much address space the process has mapped, or 0.
func addressSpace() int64 {
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	var pages int64
	if _, err := fmt.Sscan(string(b), &pages); err != nil {
		return 0
	}
	return pages * int64(os.Getpagesize())
}

// TestABrokenConnectionGivesItsMemoryBack runs out of memory many times.
func TestABrokenConnectionGivesItsMemoryBack(t *testing.T) {
	const most = 16 << 20
	f := newFixture(t, Options{Limits: Limits{MaxMemoryBytes: most}})
	f.mustExec(`CREATE TABLE t(a)`)
	const query = `SELECT length(x) FROM (SELECT x FROM (` + bomb + `SELECT i||zeroblob(1000000) AS x FROM n LIMIT 40) ORDER BY x LIMIT 100 OFFSET 1)`
	for range 3 {
		_, err := f.rows(query)
		wantKind(t, err, fault.TooLarge)
	}
	before := addressSpace()
	const times = 8
	for range times {
		_, err := f.rows(query)
		wantKind(t, err, fault.TooLarge)
		_, err = f.exec(`INSERT INTO t ` + query)
		wantKind(t, err, fault.TooLarge)
	}
	if grown := addressSpace() - before; grown > times*most/2 {
		t.Errorf("%d times out of memory have left %d MiB mapped", 2*times, grown>>20)
	}
	f.mustExec(`INSERT INTO t VALUES(1)`)
	f.checkRebuild()
}

// TestAFullDiskFailsOneTransactionOnly fills the disk while a large
// transaction spills its pages.
func TestAFullDiskFailsOneTransactionOnly(t *testing.T) {
	fs := disk.NewMem()
	if err := fs.MkdirAll("/p", 0o700); err != nil {
		t.Fatal(err)
	}
	f := &fixture{t: t, fs: fs, keys: newKeys(t)}
	var err error
	f.store, err = pagestore.Open(pagestore.Options{FS: fs, Path: testPath, Tenant: tenantOne, Keys: f.keys, MaxDirtyPages: 16})
	if err != nil {
		t.Fatal(err)
	}
	if f.DB, err = Open(t.Context(), Options{Store: f.store, Tenant: tenantOne}); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := f.DB.Close(); err != nil {
			t.Error(err)
		}
		if err := f.store.Close(); err != nil {
			t.Error(err)
		}
	}()
	f.mustExec(`CREATE TABLE t(a)`)
	fs.SetCapacity(fs.Bytes() + 20*pagestore.PageSize)
	g := f.twoTxns()
	_, err = g.Exec(context.Background(), `INSERT INTO t SELECT zeroblob(3000) FROM (`+bomb+`SELECT i FROM n LIMIT 2000)`, nil)
	wantKind(t, err, fault.DiskFull)
	if err := g.AbortTxn(); err != nil {
		t.Fatal(err)
	}
	if err := f.commit(g); err != nil {
		t.Fatal(err)
	}
	if got := f.text(`SELECT count(*) FROM t`); got != "[[1]]" {
		t.Errorf("rows %s", got)
	}
	fs.SetCapacity(1 << 30)
	f.mustExec(`INSERT INTO t SELECT zeroblob(3000) FROM (` + bomb + `SELECT i FROM n LIMIT 200)`)
	f.checkRebuild()
}

// TestAFailedAlterDoesNotLeaveAGhost is about SQLite's memory of the schema:
// after a failed ALTER inside a savepoint it forgets that the schema has
// changed, and after a rollback still knows what is gone.
func TestAFailedAlterDoesNotLeaveAGhost(t *testing.T) {
	f := newFixture(t, Options{})
	f.mustExec(`CREATE TABLE t0(id UNIQUE); CREATE TABLE t2(a, b UNIQUE, c); INSERT INTO t0 VALUES(1),(2)`)
	g, err := f.BeginGroup(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	run := func(sql string, ok bool) {
		t.Helper()
		if _, err := g.Exec(t.Context(), sql, nil); (err == nil) != ok {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	if err := g.BeginTxn(); err != nil {
		t.Fatal(err)
	}
	run(`CREATE TRIGGER ghost AFTER INSERT ON t2 BEGIN UPDATE t0 SET id=9; END`, true)
	if err := g.EndTxn("", [16]byte{}, record.Result{}); err != nil {
		t.Fatal(err)
	}
	if err := g.BeginTxn(); err != nil {
		t.Fatal(err)
	}
	run(`INSERT INTO t0 VALUES(3)`, true)
	run(`ALTER TABLE t2 RENAME COLUMN b TO a`, false)
	run(`INSERT OR ROLLBACK INTO t0 VALUES(1)`, false)
	if err := g.Broken(); err != nil {
		t.Fatal(err)
	}
	if err := g.AbortTxn(); err != nil {
		t.Fatal(err)
	}
	if err := f.commit(g); err != nil {
		t.Fatal(err)
	}
	f.checkRebuild()
}
