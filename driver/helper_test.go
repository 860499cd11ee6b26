package driver_test

import (
	"context"
	"database/sql"
	"path/filepath"
	"testing"

	"kimberlite"
	"kimberlite/driver"
)

// ctx is that of calls which are not about contexts.
var ctx = context.Background()

// directory makes a data directory with tenants 1, called a, and 2, called b,
// each with a table t and a row that names its owner.
func directory(t *testing.T, o kimberlite.Options) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "data")
	db, err := kimberlite.Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	for i, name := range []string{"a", "b"} {
		tenant, err := db.CreateTenant(ctx, kimberlite.TenantConfig{ID: kimberlite.MustTenantID(uint64(i) + 1), Name: name}) //nolint:gosec // 0 or 1
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tenant.Exec(ctx, "CREATE TABLE t (id INTEGER PRIMARY KEY, v)"); err != nil {
			t.Fatal(err)
		}
		if _, err := tenant.Exec(ctx, "INSERT INTO t VALUES (1, ?)", name); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

// connect opens a data source and closes it with the test.
func connect(t *testing.T, dsn string) *sql.DB {
	t.Helper()
	db, err := sql.Open("kimberlite", dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeDB(t, db) })
	return db
}

// one connects to tenant 1 of a directory of its own.
func one(t *testing.T) *sql.DB {
	t.Helper()
	return connect(t, driver.Config{Dir: directory(t, kimberlite.Options{}), Tenant: "1"}.String())
}

func closeDB(t *testing.T, db *sql.DB) {
	t.Helper()
	if err := db.Close(); err != nil {
		t.Error(err)
	}
}

// execer is a *sql.DB, *sql.Conn or *sql.Tx.
type execer interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

func exec(t *testing.T, db execer, query string, args ...any) sql.Result {
	t.Helper()
	r, err := db.ExecContext(ctx, query, args...)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return r
}

// queryer is a *sql.DB, *sql.Conn or *sql.Tx.
type queryer interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// get returns the one value of the first row.
func get[T any](t *testing.T, db queryer, query string, args ...any) T {
	t.Helper()
	var v T
	if err := db.QueryRowContext(ctx, query, args...).Scan(&v); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return v
}

// refused demands an error of a kind.
func refused(t *testing.T, err error, kind kimberlite.Kind) {
	t.Helper()
	if err == nil {
		t.Fatalf("was not refused, want %s", kind)
	}
	if !kimberlite.IsKind(err, kind) {
		t.Fatalf("%s: %v, want %s", kimberlite.KindOf(err), err, kind)
	}
}
