package kimberlite_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"kimberlite"
)

var ctx = context.Background()

func open(t testing.TB, dir string, o kimberlite.Options) *kimberlite.DB {
	t.Helper()
	db, err := kimberlite.Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	return db
}

func closeDB(t testing.TB, db *kimberlite.DB) {
	t.Helper()
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

func create(t testing.TB, db *kimberlite.DB, n uint64, quota kimberlite.Limits) *kimberlite.Tenant {
	t.Helper()
	tenant, err := db.CreateTenant(ctx, kimberlite.TenantConfig{
		ID: kimberlite.MustTenantID(n), Name: fmt.Sprintf("tenant-%d", n), Region: "us-east", Quota: quota,
	})
	if err != nil {
		t.Fatal(err)
	}
	return tenant
}

func exec(t testing.TB, tenant *kimberlite.Tenant, sql string, args ...any) kimberlite.Result {
	t.Helper()
	r, err := tenant.Exec(ctx, sql, args...)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return r
}

func count(t testing.TB, tenant *kimberlite.Tenant, table string) int64 {
	t.Helper()
	var n int64
	if err := tenant.QueryRow(ctx, "SELECT count(*) FROM "+table).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestWritesAreThereAfterAReopen(t *testing.T) {
	dir := t.TempDir()
	db := open(t, dir, kimberlite.Options{})
	a, b := create(t, db, 1, kimberlite.Limits{}), create(t, db, 2, kimberlite.Limits{})
	for i, tenant := range []*kimberlite.Tenant{a, b} {
		exec(t, tenant, "CREATE TABLE patients (id INTEGER PRIMARY KEY, name TEXT NOT NULL)")
		for n := range 10 * (i + 1) {
			exec(t, tenant, "INSERT INTO patients VALUES ($1, $2)", n, "somebody")
		}
	}
	hash, err := a.TableHash(ctx)
	if err != nil {
		t.Fatal(err)
	}
	closeDB(t, db)
	db = open(t, dir, kimberlite.Options{})
	defer closeDB(t, db)
	a, _ = db.Tenant(kimberlite.MustTenantID(1))
	b, _ = db.TenantByName("tenant-2")
	if n, m := count(t, a, "patients"), count(t, b, "patients"); n != 10 || m != 20 {
		t.Fatalf("%d and %d rows", n, m)
	}
	again, err := a.TableHash(ctx)
	if err != nil || again != hash {
		t.Fatalf("the tables changed over a reopen: %v", err)
	}
	if err := a.RebuildProjection(ctx); err != nil {
		t.Fatal(err)
	}
	if rebuilt, err := a.TableHash(ctx); err != nil || rebuilt != hash {
		t.Fatalf("the rebuilt tables differ: %v", err)
	}
}

func TestAFailedStatementLeavesNoTrace(t *testing.T) {
	db := open(t, t.TempDir(), kimberlite.Options{})
	defer closeDB(t, db)
	a := create(t, db, 1, kimberlite.Limits{})
	exec(t, a, "CREATE TABLE t (id INTEGER PRIMARY KEY, v INT CHECK (v < 10))")
	before, _ := a.Info()
	for sql, kind := range map[string]kimberlite.Kind{
		"INSERT INTO t VALUES (1, 1), (2, 20)":                       kimberlite.Constraint,
		"INSERT INTO t VALUES (1, 1); INSERT INTO nosuch VALUES (1)": kimberlite.SQL,
		"SELEC 1": kimberlite.SQL,
	} {
		if _, err := a.Exec(ctx, sql); !kimberlite.IsKind(err, kind) {
			t.Errorf("%s: %v, want %s", sql, err, kind)
		}
	}
	after, _ := a.Info()
	if before.LogRecords != after.LogRecords || count(t, a, "t") != 0 {
		t.Fatalf("log %d → %d records, %d rows", before.LogRecords, after.LogRecords, count(t, a, "t"))
	}
}

func TestConcurrentWritersShareRecordsAndLoseNothing(t *testing.T) {
	db := open(t, t.TempDir(), kimberlite.Options{})
	defer closeDB(t, db)
	a := create(t, db, 1, kimberlite.Limits{})
	exec(t, a, "CREATE TABLE t (id INTEGER PRIMARY KEY, v INT UNIQUE)")
	const writers, each = 32, 20
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				if _, err := a.Exec(ctx, "INSERT INTO t (v) VALUES (?)", w*each+i); err != nil {
					t.Error(err)
				}
				// One of the group fails; the others must not notice.
				if _, err := a.Exec(ctx, "INSERT INTO t (v) VALUES (?)", w*each+i); !kimberlite.IsKind(err, kimberlite.Constraint) {
					t.Errorf("a repeated value: %v", err)
				}
			}
		})
	}
	wg.Wait()
	info, _ := a.Info()
	if n := count(t, a, "t"); n != writers*each || info.LogRecords > writers*each {
		t.Fatalf("%d rows in %d records", n, info.LogRecords)
	}
	t.Logf("%d writes in %d records", writers*each, info.LogRecords)
}

func TestARetriedWriteTakesEffectOnce(t *testing.T) {
	dir := t.TempDir()
	db := open(t, dir, kimberlite.Options{})
	a := create(t, db, 1, kimberlite.Limits{})
	exec(t, a, "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT)")
	key := kimberlite.WithIdempotencyKey(ctx, "request-1")
	first, err := a.Exec(key, "INSERT INTO t (v) VALUES (?)", "x")
	if err != nil {
		t.Fatal(err)
	}
	again, err := a.Exec(key, "INSERT INTO t (v) VALUES (?)", "x")
	if err != nil || again != first {
		t.Fatalf("retry: %+v, %v; first %+v", again, err, first)
	}
	if _, err := a.Exec(key, "INSERT INTO t (v) VALUES (?)", "y"); !kimberlite.IsKind(err, kimberlite.IdempotencyMismatch) {
		t.Fatalf("another request under the key: %v", err)
	}
	closeDB(t, db)
	db = open(t, dir, kimberlite.Options{})
	defer closeDB(t, db)
	a, _ = db.Tenant(kimberlite.MustTenantID(1))
	if again, err := a.Exec(key, "INSERT INTO t (v) VALUES (?)", "x"); err != nil || again != first {
		t.Fatalf("retry after a restart: %+v, %v", again, err)
	}
	if n := count(t, a, "t"); n != 1 {
		t.Fatalf("%d rows", n)
	}
}

func TestTransactions(t *testing.T) {
	db := open(t, t.TempDir(), kimberlite.Options{TransactionIdle: 50 * time.Millisecond})
	defer closeDB(t, db)
	a := create(t, db, 1, kimberlite.Limits{})
	exec(t, a, "CREATE TABLE t (id INTEGER PRIMARY KEY, v INT)")
	exec(t, a, "INSERT INTO t VALUES (1, 10), (2, 20)")
	value := func(q interface {
		QueryRow(context.Context, string, ...any) *kimberlite.Row
	}, id int) (v int64) {
		t.Helper()
		if err := q.QueryRow(ctx, "SELECT v FROM t WHERE id = ?", id).Scan(&v); err != nil {
			t.Fatal(err)
		}
		return v
	}
	begin := func() *kimberlite.Tx {
		t.Helper()
		tx, err := a.Begin(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return tx
	}

	t.Run("sees its own writes, others see them after the commit", func(t *testing.T) {
		tx := begin()
		if _, err := tx.Exec(ctx, "UPDATE t SET v = v + 1 WHERE id = 1"); err != nil {
			t.Fatal(err)
		}
		if in, out := value(tx, 1), value(a, 1); in != 11 || out != 10 {
			t.Fatalf("inside %d, outside %d", in, out)
		}
		if _, err := tx.Commit(ctx); err != nil {
			t.Fatal(err)
		}
		if v := value(a, 1); v != 11 {
			t.Fatalf("after the commit %d", v)
		}
	})
	t.Run("rolls back", func(t *testing.T) {
		tx := begin()
		if _, err := tx.Exec(ctx, "DELETE FROM t"); err != nil {
			t.Fatal(err)
		}
		if err := tx.Rollback(); err != nil {
			t.Fatal(err)
		}
		if n := count(t, a, "t"); n != 2 {
			t.Fatalf("%d rows", n)
		}
	})
	t.Run("a statement that fails leaves the rest", func(t *testing.T) {
		tx := begin()
		if _, err := tx.Exec(ctx, "INSERT INTO t VALUES (3, 30)"); err != nil {
			t.Fatal(err)
		}
		if _, err := tx.Exec(ctx, "INSERT INTO t VALUES (4, 40), (1, 0)"); !kimberlite.IsKind(err, kimberlite.Constraint) {
			t.Fatal(err)
		}
		if _, err := tx.Commit(ctx); err != nil {
			t.Fatal(err)
		}
		if n := count(t, a, "t"); n != 3 {
			t.Fatalf("%d rows", n)
		}
	})
	t.Run("conflicts when what it read has changed", func(t *testing.T) {
		tx := begin()
		v := value(tx, 2)
		exec(t, a, "UPDATE t SET v = 99 WHERE id = 2")
		if again := value(tx, 2); again != v {
			t.Fatalf("the snapshot moved: %d, %d", v, again)
		}
		_, err := tx.Exec(ctx, "UPDATE t SET v = ? WHERE id = 2", v+1)
		if !kimberlite.IsKind(err, kimberlite.Conflict) {
			t.Fatal(err)
		}
	})
	t.Run("idle too long, it is rolled back and others go on", func(t *testing.T) {
		tx := begin()
		if _, err := tx.Exec(ctx, "INSERT INTO t VALUES (9, 9)"); err != nil {
			t.Fatal(err)
		}
		exec(t, a, "INSERT INTO t VALUES (10, 10)") // waits until the idle one is gone
		if _, err := tx.Commit(ctx); !kimberlite.IsKind(err, kimberlite.Timeout) {
			t.Fatalf("the idle transaction committed: %v", err)
		}
	})
}

func TestStreams(t *testing.T) {
	db := open(t, t.TempDir(), kimberlite.Options{})
	defer closeDB(t, db)
	a := create(t, db, 1, kimberlite.Limits{})
	if _, err := a.CreateStream(ctx, "referrals"); err != nil {
		t.Fatal(err)
	}
	exec(t, a, "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT)")
	exec(t, a, "INSERT INTO t VALUES (1, 'a')")
	exec(t, a, "UPDATE t SET v = 'b'")
	exec(t, a, "ALTER TABLE t ADD COLUMN w INT")
	exec(t, a, "DELETE FROM t")
	for i := range 300 {
		first, err := a.Append(ctx, "referrals", kimberlite.Message{ContentType: "application/json", Data: fmt.Appendf(nil, "%d", i)})
		if err != nil || first.Uint64() != uint64(i) {
			t.Fatal(first, err)
		}
	}
	events, next, err := a.Read(ctx, "t", kimberlite.NewOffset(0), 0)
	if err != nil || len(events) != 3 || next.Uint64() != 3 {
		t.Fatalf("%d events, next %s, %v", len(events), next, err)
	}
	if e := events[1]; e.Kind != kimberlite.EventUpdate || e.Before[1].Value != "a" || e.After[1].Value != "b" || e.After[1].Name != "v" || len(e.After) != 2 {
		t.Fatalf("%+v", e)
	}
	if e := events[2]; e.Kind != kimberlite.EventDelete || len(e.Before) != 3 || e.Before[2].Name != "w" || e.After != nil {
		t.Fatalf("%+v", e)
	}
	events, next, err = a.Read(ctx, "referrals", kimberlite.NewOffset(250), 20)
	if err != nil || len(events) != 20 || next.Uint64() != 270 || string(events[0].Data) != "250" {
		t.Fatalf("%d events, next %s, %v", len(events), next, err)
	}
	var n int64
	err = a.QueryRow(ctx, "SELECT count(*) FROM kimberlite.events WHERE stream = 'referrals' AND stream_offset >= 100").Scan(&n)
	if err != nil || n != 200 {
		t.Fatalf("%d rows of kimberlite.events, %v", n, err)
	}
}

func TestATailFollowsAcrossClosings(t *testing.T) {
	db := open(t, t.TempDir(), kimberlite.Options{MaxOpenTenants: 1})
	defer closeDB(t, db)
	a, b := create(t, db, 1, kimberlite.Limits{}), create(t, db, 2, kimberlite.Limits{})
	if _, err := a.CreateStream(ctx, "s"); err != nil {
		t.Fatal(err)
	}
	tail, stop := context.WithCancel(ctx)
	defer stop()
	got := make(chan string, 16)
	done := make(chan error, 1)
	go func() {
		done <- a.Tail(tail, "s", kimberlite.NewOffset(0), func(e kimberlite.Event) error {
			got <- string(e.Data)
			return nil
		})
	}()
	for i := range 5 {
		want := fmt.Sprint(i)
		if _, err := a.Append(ctx, "s", kimberlite.Message{Data: []byte(want)}); err != nil {
			t.Fatal(err)
		}
		exec(t, b, fmt.Sprintf("CREATE TABLE t%d (x)", i)) // closes a: one tenant may be open
		if s := <-got; s != want {
			t.Fatalf("got %q, want %q", s, want)
		}
	}
	stop()
	if err := <-done; !kimberlite.IsKind(err, kimberlite.Canceled) {
		t.Fatal(err)
	}
}

func TestQuotas(t *testing.T) {
	dir := t.TempDir()
	db := open(t, dir, kimberlite.Options{})
	a := create(t, db, 1, kimberlite.Limits{MaxLogSize: 64 << 10})
	exec(t, a, "CREATE TABLE t (v BLOB)")
	var err error
	for err == nil {
		_, err = a.Exec(ctx, "INSERT INTO t VALUES (randomblob(5000))")
	}
	var e *kimberlite.Error
	if !errors.As(err, &e) || e.Kind != kimberlite.QuotaExceeded || e.Quota == nil || e.Quota.Limit != "max_log_size" || e.Quota.Value != 64<<10 {
		t.Fatalf("%v: %+v", err, e)
	}
	usage, uerr := a.Usage()
	if uerr != nil || usage.LogBytes > 64<<10 || usage.LogBytes < 50<<10 {
		t.Fatalf("%+v, %v", usage, uerr)
	}
	rows := count(t, a, "t")
	closeDB(t, db)

	db = open(t, dir, kimberlite.Options{})
	defer closeDB(t, db)
	a, _ = db.Tenant(kimberlite.MustTenantID(1))
	if again, _ := a.Usage(); again.LogBytes != usage.LogBytes {
		t.Fatalf("usage %d bytes before the restart, %d after", usage.LogBytes, again.LogBytes)
	}
	if _, err := a.Exec(ctx, "INSERT INTO t VALUES (randomblob(5000))"); !kimberlite.IsKind(err, kimberlite.QuotaExceeded) {
		t.Fatalf("after the restart: %v", err)
	}
	bigger := kimberlite.Limits{MaxLogSize: 1 << 20, MaxProjections: 128 << 10}
	if err := db.SetTenant(ctx, a.ID(), kimberlite.TenantChange{Quota: &bigger}); err != nil {
		t.Fatal(err)
	}
	exec(t, a, "INSERT INTO t VALUES (randomblob(5000))")
	if n := count(t, a, "t"); n != rows+1 {
		t.Fatalf("%d rows, want %d", n, rows+1)
	}
	for err = nil; err == nil; {
		_, err = a.Exec(ctx, "INSERT INTO t VALUES (randomblob(5000))")
	}
	if !errors.As(err, &e) || e.Kind != kimberlite.QuotaExceeded || e.Quota == nil || e.Quota.Limit != "max_projections" {
		t.Fatalf("%v", err)
	}
	exec(t, a, "DELETE FROM t WHERE rowid < 5")
}

func TestKeyRotationKeepsEverythingReadable(t *testing.T) {
	dir := t.TempDir()
	db := open(t, dir, kimberlite.Options{})
	a := create(t, db, 1, kimberlite.Limits{})
	exec(t, a, "CREATE TABLE t (id INTEGER PRIMARY KEY, v INT)")
	for i := range 10 {
		exec(t, a, "INSERT INTO t VALUES (?, ?)", i, i)
		level := kimberlite.LevelDEK
		if i%2 == 1 {
			level = kimberlite.LevelKEK
		}
		if err := a.RotateKey(ctx, level); err != nil {
			t.Fatal(err)
		}
	}
	s, err := a.KeyStatus()
	if err != nil || s.DEK.Uint32() != 6 || s.KEK.Uint32() != 6 {
		t.Fatalf("%+v, %v", s, err)
	}
	closeDB(t, db)
	db = open(t, dir, kimberlite.Options{})
	defer closeDB(t, db)
	a, _ = db.Tenant(kimberlite.MustTenantID(1))
	if n := count(t, a, "t"); n != 10 {
		t.Fatal(n)
	}
	if err := a.RebuildProjection(ctx); err != nil {
		t.Fatal(err)
	}
	if n := count(t, a, "t"); n != 10 {
		t.Fatal(n)
	}
}

func TestADEKRotatesByItself(t *testing.T) {
	db := open(t, t.TempDir(), kimberlite.Options{RotateDEKSeals: 20})
	defer closeDB(t, db)
	a := create(t, db, 1, kimberlite.Limits{})
	exec(t, a, "CREATE TABLE t (v INT)")
	for i := range 100 {
		exec(t, a, "INSERT INTO t VALUES (?)", i)
	}
	if s, err := a.KeyStatus(); err != nil || s.DEK.Uint32() < 3 {
		t.Fatalf("%+v, %v", s, err)
	}
	if n := count(t, a, "t"); n != 100 {
		t.Fatal(n)
	}
}

func TestInsertStructs(t *testing.T) {
	db := open(t, t.TempDir(), kimberlite.Options{})
	defer closeDB(t, db)
	a := create(t, db, 1, kimberlite.Limits{})
	exec(t, a, "CREATE TABLE patients (id INTEGER PRIMARY KEY, full_name TEXT NOT NULL, born TEXT, weight REAL, note TEXT DEFAULT 'none')")
	type patient struct {
		ID       int64
		FullName string
		Born     time.Time
		Weight   *float64
		Note     string `kimberlite:"note,omitzero"`
		Secret   string `kimberlite:"-"`
	}
	w := 71.5
	born := time.Date(1985, 3, 15, 0, 0, 0, 0, time.UTC)
	r, err := a.Insert(ctx, "patients", []patient{
		{ID: 1, FullName: "Alice Smith", Born: born, Weight: &w, Note: "x", Secret: "s"},
		{ID: 2, FullName: "Bob Johnson", Born: born},
	})
	if err != nil || r.RowsAffected != 2 {
		t.Fatal(r, err)
	}
	var p patient
	err = a.QueryRow(ctx, "SELECT id, full_name, born, weight, note FROM patients WHERE id = 2").Scan(&p.ID, &p.FullName, &p.Born, &p.Weight, &p.Note)
	if err != nil || p.FullName != "Bob Johnson" || !p.Born.Equal(born) || p.Weight != nil || p.Note != "none" {
		t.Fatalf("%+v, %v", p, err)
	}
	if err := a.QueryRow(ctx, "SELECT id FROM patients WHERE id = 9").Scan(&p.ID); !errors.Is(err, sql.ErrNoRows) {
		t.Fatal(err)
	}
	var id int64
	if err := a.QueryRow(ctx, "INSERT INTO patients (full_name) VALUES ('C') RETURNING id").Scan(&id); err != nil || id != 3 {
		t.Fatal(id, err)
	}
}

func TestADirectoryIsOpenOnce(t *testing.T) {
	dir := t.TempDir()
	db := open(t, dir, kimberlite.Options{})
	if _, err := kimberlite.Open(dir, kimberlite.Options{}); !kimberlite.IsKind(err, kimberlite.InUse) {
		t.Fatal(err)
	}
	closeDB(t, db)
	closeDB(t, open(t, dir, kimberlite.Options{MustExist: true}))
}
