package driver_test

import (
	"database/sql"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"kimberlite"
	"kimberlite/driver"
)

func TestEachDataSourceIsItsTenantsAlone(t *testing.T) {
	t.Parallel()
	dir := directory(t, kimberlite.Options{})
	for tenant, want := range map[string]string{"1": "a", "2": "b", "a": "a", "b": "b"} {
		db := connect(t, dir+"?tenant="+tenant)
		if got := get[string](t, db, "SELECT v FROM t"); got != want {
			t.Errorf("tenant %s read %s", tenant, got)
		}
	}
}

func TestATenantOrDirectoryThatIsNotThereIsNotMade(t *testing.T) {
	t.Parallel()
	dir := directory(t, kimberlite.Options{})
	for dsn, kind := range map[string]kimberlite.Kind{
		dir + "?tenant=3": kimberlite.NotFound, dir + "?tenant=nobody": kimberlite.NotFound,
		dir + "?tenant=0": kimberlite.Invalid, dir + "?tenant=99999999999999999999": kimberlite.Invalid,
		dir + "x?tenant=1": kimberlite.NotFound, filepath.Dir(dir) + "?tenant=1": kimberlite.Invalid,
		filepath.Join(dir, "node.toml") + "?tenant=1":       kimberlite.Invalid,
		dir + "?tenant=1&master_key=file:///nowhere/at/all": kimberlite.KeyUnavailable,
	} {
		refused(t, connect(t, dsn).Ping(), kind)
	}
	if _, err := os.Stat(dir + "x"); !os.IsNotExist(err) {
		t.Error("a directory was made", err)
	}
	// None of them holds the directory.
	db, err := kimberlite.Open(dir, kimberlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestSourcesOfADirectoryShareOneOpeningUntilTheLastIsClosed(t *testing.T) {
	t.Parallel()
	dir := directory(t, kimberlite.Options{})
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	held := func() bool {
		t.Helper()
		db, err := kimberlite.Open(dir, kimberlite.Options{})
		if err != nil {
			refused(t, err, kimberlite.InUse)
			return true
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		return false
	}
	for _, order := range [][]int{{0, 1, 2}, {2, 1, 0}, {1, 2, 0}} {
		var all []*sql.DB
		for _, dsn := range []string{dir + "?tenant=1", dir + "/.?tenant=2", link + "?tenant=a"} {
			db, err := sql.Open("kimberlite", dsn)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, db)
			exec(t, db, "INSERT INTO t (v) VALUES ('more')")
		}
		for i, n := range order {
			if !held() {
				t.Fatalf("%v: the directory was let go of before source %d was closed", order, n)
			}
			closeDB(t, all[n])
			for _, later := range order[i+1:] {
				exec(t, all[later], "INSERT INTO t (v) VALUES ('still')")
			}
		}
		if held() {
			t.Fatalf("%v: the directory is held after the last source was closed", order)
		}
	}
}

func TestAClosedSourceRollsBackAndLetsGoOfRows(t *testing.T) {
	t.Parallel()
	dir := directory(t, kimberlite.Options{})
	db, err := sql.Open("kimberlite", dir+"?tenant=1")
	if err != nil {
		t.Fatal(err)
	}
	tx, err := db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	exec(t, tx, "DELETE FROM t")
	rows, err := db.Query("SELECT * FROM t")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	if !rows.Next() || rows.Err() != nil {
		t.Fatal(rows.Err())
	}
	closed := make(chan error, 1)
	go func() { closed <- db.Close() }()
	if err := rows.Close(); err != nil {
		t.Error(err)
	}
	_ = tx.Rollback() // closing may have done so already
	if err := <-closed; err != nil {
		t.Fatal(err)
	}
	again := connect(t, dir+"?tenant=1")
	if n := get[int](t, again, "SELECT count(*) FROM t"); n != 1 {
		t.Fatal(n)
	}
}

func TestSourcesOfADirectoryMustNameTheSameMasterKey(t *testing.T) {
	t.Parallel()
	key := filepath.Join(t.TempDir(), "key file?#")
	if err := os.WriteFile(key, []byte(hex.EncodeToString([]byte(strings.Repeat("k", 32)))), 0o600); err != nil {
		t.Fatal(err)
	}
	url := "file://" + strings.NewReplacer(" ", "%20", "?", "%3F", "#", "%23").Replace(key)
	dir := directory(t, kimberlite.Options{MasterKey: url})
	config := driver.Config{Dir: dir, Tenant: "1", MasterKey: url}
	first, second := connect(t, config.String()), connect(t, config.String())
	if n := get[int](t, first, "SELECT count(*) FROM t") + get[int](t, second, "SELECT count(*) FROM t"); n != 2 {
		t.Fatal(n)
	}
	for _, other := range []string{"", "file:///nowhere"} {
		config.MasterKey = other
		refused(t, connect(t, config.String()).Ping(), kimberlite.KeyInvalid)
	}
}

func TestManyGoroutinesOnOneSource(t *testing.T) {
	t.Parallel()
	dir := directory(t, kimberlite.Options{})
	db := connect(t, dir+"?tenant=1")
	const workers, each = 8, 10
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := range each {
				if _, err := db.Exec("INSERT INTO t (v) VALUES (?)", fmt.Sprintf("%d/%d", w, i)); err != nil {
					t.Error(err)
				}
				var n int
				if err := db.QueryRow("SELECT count(*) FROM t").Scan(&n); err != nil || n < i+1 {
					t.Error(n, err)
				}
			}
		})
	}
	wg.Wait()
	if n := get[int](t, db, "SELECT count(*) FROM t"); n != 1+workers*each {
		t.Fatal(n)
	}
}

func TestQuotasReachTheCallerWithTheirNumbers(t *testing.T) {
	t.Parallel()
	dir := directory(t, kimberlite.Options{})
	db, err := kimberlite.Open(dir, kimberlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	limits := kimberlite.Limits{MaxConcurrentOps: 1}
	if err := db.SetTenant(ctx, kimberlite.MustTenantID(1), kimberlite.TenantChange{Quota: &limits}); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	source := connect(t, dir+"?tenant=1")
	rows, err := source.Query("SELECT * FROM t")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	if rows.Err() != nil {
		t.Fatal(rows.Err())
	}
	_, err = source.Exec("DELETE FROM t")
	refused(t, err, kimberlite.TooManyOps)
	if err := rows.Close(); err != nil {
		t.Fatal(err)
	}
	exec(t, source, "DELETE FROM t")
}
