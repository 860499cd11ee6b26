package tenant_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"kimberlite/internal/clock"
	"kimberlite/internal/disk"
	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/keyring"
	"kimberlite/internal/kms"
	"kimberlite/internal/projection"
	"kimberlite/internal/quota"
	"kimberlite/internal/record"
	"kimberlite/internal/replication"
	"kimberlite/internal/shard"
	"kimberlite/internal/tenant"
)

var ctx = context.Background()

// rig is a shard with its tenants, without a node around it.
type rig struct {
	*tenant.Manager
	keys  *keyring.Cache
	shard *shard.Shard
	clock *clock.Manual
	dir   string
}

func newRig(t *testing.T, change func(*tenant.Options)) *rig {
	t.Helper()
	dir := t.TempDir()
	keyFile := filepath.Join(t.TempDir(), "master.key")
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	check(kms.CreateFileKey(keyFile))
	provider, err := kms.Open(ctx, "file://"+keyFile, dir)
	check(err)
	for _, d := range []string{"keyring", "replication", "shards/1/tenants"} {
		check(disk.MkdirAllDurable(disk.OS{}, filepath.Join(dir, d), 0o700))
	}
	ring, err := keyring.Open(keyring.Options{FS: disk.OS{}, Dir: filepath.Join(dir, "keyring")})
	check(err)
	keys, err := keyring.NewCache(keyring.CacheOptions{})
	check(err)
	store, err := replication.OpenStore(replication.StoreOptions{FS: disk.OS{}, Dir: filepath.Join(dir, "replication")})
	check(err)
	sh, err := shard.Open(shard.Options{
		FS: disk.OS{}, Dir: filepath.Join(dir, "shards", "1"), ID: ident.NewShardID(1), Node: ident.NewNodeID(1),
		Store: store, CheckpointInterval: -1, MaxOpenLogs: 4,
	})
	check(err)
	r := &rig{keys: keys, shard: sh, dir: dir, clock: clock.NewManual(time.Unix(1_800_000_000, 0))}
	o := tenant.Options{
		FS: disk.OS{}, Shard: sh, Ring: ring, Keys: keys, Provider: provider, Clock: r.clock, Limits: projection.DefaultLimits(),
	}
	if change != nil {
		change(&o)
	}
	r.Manager = tenant.NewManager(o)
	t.Cleanup(func() {
		err := errors.Join(r.Manager.Close(ctx), sh.Close(), store.Close(), ring.Close(), provider.Close())
		keys.Close()
		if err != nil {
			t.Error(err)
		}
	})
	return r
}

func (r *rig) create(t *testing.T, n uint64, l quota.Limits) *tenant.Tenant {
	t.Helper()
	region, _ := ident.NewRegion("us-east")
	id := ident.MustTenantID(n)
	if err := r.Create(ctx, tenant.Config{ID: id, Name: fmt.Sprint("t", n), Region: region, Limits: l}); err != nil {
		t.Fatal(err)
	}
	h, err := r.Tenant(id)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func exec(t *testing.T, h *tenant.Tenant, sql string, args ...any) record.Result {
	t.Helper()
	res, err := h.Exec(ctx, tenant.Request{}, sql, args)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

func number(t *testing.T, h *tenant.Tenant, sql string) int64 {
	t.Helper()
	rows, err := h.Query(ctx, sql, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	if !rows.Next() {
		t.Fatal("no row", rows.Err())
	}
	return rows.Int64(0)
}

// openFiles counts the descriptors that this process has below a directory.
func openFiles(t *testing.T, dir string) int {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip("no /proc")
	}
	n := 0
	for _, fd := range fds {
		if to, err := os.Readlink("/proc/self/fd/" + fd.Name()); err == nil && strings.HasPrefix(to, dir) {
			n++
		}
	}
	return n
}

func TestOpenTenantsAndDescriptorsAreBoundedByTheLRU(t *testing.T) {
	const open, tenants = 3, 24
	r := newRig(t, func(o *tenant.Options) { o.MaxOpen = open })
	var handles []*tenant.Tenant
	for i := range tenants {
		h := r.create(t, uint64(i+1), quota.Limits{})
		exec(t, h, "CREATE TABLE t (v INT)")
		handles = append(handles, h)
	}
	for round := range 3 {
		for i, h := range handles {
			exec(t, h, "INSERT INTO t VALUES (?)", i)
			if n := number(t, h, "SELECT count(*) FROM t"); n != int64(round+1) {
				t.Fatalf("tenant %d has %d rows in round %d", i+1, n, round)
			}
			if n := r.OpenTenants(); n > open {
				t.Fatalf("%d tenants are open", n)
			}
		}
	}
	// A log and a projection each, the logs that the shard keeps, and its own.
	if n := openFiles(t, filepath.Join(r.dir, "shards")); n > 2*open+4 {
		t.Errorf("%d descriptors for %d open tenants of %d", n, open, tenants)
	}
}

func TestManyUsersOfMoreTenantsThanMayBeOpen(t *testing.T) {
	r := newRig(t, func(o *tenant.Options) { o.MaxOpen = 2 })
	var handles []*tenant.Tenant
	for i := range 6 {
		h := r.create(t, uint64(i+1), quota.Limits{})
		exec(t, h, "CREATE TABLE t (v INT)")
		handles = append(handles, h)
	}
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := range 20 {
				h := handles[(w+i)%len(handles)]
				if _, err := h.Exec(ctx, tenant.Request{}, "INSERT INTO t VALUES (1)", nil); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	total := int64(0)
	for _, h := range handles {
		total += number(t, h, "SELECT count(*) FROM t")
	}
	if total != 8*20 {
		t.Fatalf("%d rows of %d acknowledged", total, 8*20)
	}
}

func TestATenantWhoseKeysAreTakenAwayIsClosedAtOnce(t *testing.T) {
	r := newRig(t, nil)
	locked, other := r.create(t, 1, quota.Limits{}), r.create(t, 2, quota.Limits{})
	for _, h := range []*tenant.Tenant{locked, other} {
		exec(t, h, "CREATE TABLE t (v INT)")
	}
	r.keys.Lock(locked.ID())
	if _, err := locked.Query(ctx, "SELECT * FROM t", nil); !fault.Is(err, fault.KeyUnavailable) {
		t.Errorf("reading a locked tenant: %v", err)
	}
	if _, err := locked.Exec(ctx, tenant.Request{}, "INSERT INTO t VALUES (1)", nil); !fault.Is(err, fault.KeyUnavailable) {
		t.Errorf("writing to a locked tenant: %v", err)
	}
	exec(t, other, "INSERT INTO t VALUES (1)")
	r.keys.Unlock(locked.ID())
	exec(t, locked, "INSERT INTO t VALUES (1)")
	if n := number(t, locked, "SELECT count(*) FROM t"); n != 1 {
		t.Errorf("%d rows after unlocking", n)
	}
}

func TestAWaitingWriteThatIsCanceledLeavesNoTrace(t *testing.T) {
	r := newRig(t, nil)
	h := r.create(t, 1, quota.Limits{})
	exec(t, h, "CREATE TABLE t (v INT)")
	tx, err := h.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(ctx, "INSERT INTO t VALUES (1)", nil); err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
	defer cancel()
	if _, err := h.Exec(short, tenant.Request{}, "INSERT INTO t VALUES (2)", nil); !fault.Is(err, fault.Timeout) {
		t.Fatalf("a write behind an open transaction: %v", err)
	}
	if _, err := tx.Commit(ctx); err != nil {
		t.Fatal(err)
	}
	exec(t, h, "INSERT INTO t VALUES (3)")
	if n := number(t, h, "SELECT sum(v) FROM t"); n != 4 {
		t.Fatalf("the canceled write took effect, or another did not: %d", n)
	}
}

func TestLimitsOutliveTheLRUAndChangeAtRunTime(t *testing.T) {
	r := newRig(t, func(o *tenant.Options) { o.MaxOpen = 1 })
	a, b := r.create(t, 1, quota.Limits{MaxOpsPerSec: 3}), r.create(t, 2, quota.Limits{})
	exec(t, a, "CREATE TABLE t (v INT)")
	exec(t, b, "CREATE TABLE t (v INT)") // closes a
	exec(t, a, "INSERT INTO t VALUES (1)")
	exec(t, b, "INSERT INTO t VALUES (1)")
	exec(t, a, "INSERT INTO t VALUES (2)")
	if _, err := a.Exec(ctx, tenant.Request{}, "INSERT INTO t VALUES (3)", nil); !fault.Is(err, fault.RateLimited) {
		t.Fatalf("a fourth operation in a second: %v", err)
	}
	r.clock.Advance(time.Second)
	exec(t, a, "INSERT INTO t VALUES (3)")
	if err := r.Set(ctx, a.ID(), shard.Change{Limits: &quota.Limits{MaxConcurrentOps: 1}}); err != nil {
		t.Fatal(err)
	}
	rows, err := a.Query(ctx, "SELECT v FROM t", nil)
	if err != nil {
		t.Fatal(err)
	}
	var e *fault.Error
	if _, err := a.Query(ctx, "SELECT v FROM t", nil); !errors.As(err, &e) || e.Kind != fault.TooManyOps || e.Tenant != a.ID() {
		t.Fatalf("a second operation at once: %v", err)
	}
	rows.Close()
	if n := number(t, a, "SELECT count(*) FROM t"); n != 3 {
		t.Fatal(n)
	}
}

func TestRetentionGrowsOnly(t *testing.T) {
	r := newRig(t, nil)
	h := r.create(t, 1, quota.Limits{})
	year, day := 365*24*time.Hour, 24*time.Hour
	if err := r.Set(ctx, h.ID(), shard.Change{Retention: &year}); err != nil {
		t.Fatal(err)
	}
	if err := r.Set(ctx, h.ID(), shard.Change{Retention: &day}); !fault.Is(err, fault.Retained) {
		t.Fatalf("a shorter retention: %v", err)
	}
}

func TestATenantIsCreatedOnce(t *testing.T) {
	r := newRig(t, nil)
	region, _ := ident.NewRegion("us-east")
	var wg sync.WaitGroup
	var mu sync.Mutex
	made := 0
	for range 8 {
		wg.Go(func() {
			err := r.Create(ctx, tenant.Config{ID: ident.MustTenantID(7), Name: "seven", Region: region})
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				made++
			case !fault.Is(err, fault.AlreadyExists) && !fault.Is(err, fault.Conflict):
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if made != 1 {
		t.Fatalf("made %d times", made)
	}
	h, err := r.Tenant(ident.MustTenantID(7))
	if err != nil {
		t.Fatal(err)
	}
	exec(t, h, "CREATE TABLE t (v INT)") // its keys open
}

func TestTimesOfALogNeverGoBack(t *testing.T) {
	r := newRig(t, nil)
	h := r.create(t, 1, quota.Limits{})
	if _, err := h.CreateStream(ctx, tenant.Request{}, "s"); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		r.clock.Advance(-time.Hour)
		if _, err := h.Append(ctx, tenant.Request{}, "s", []projection.Message{{Data: []byte("x")}}); err != nil {
			t.Fatal(err)
		}
		if _, err := r.CloseTenant(h.ID()); err != nil { // the last time is found again
			t.Fatal(err)
		}
	}
	var last time.Time
	_, err := h.ReadStream(ctx, "s", ident.NewOffset(0), 0, func(e *tenant.StreamEvent) error {
		if e.Time.Before(last) {
			t.Errorf("event %s at %v, after %v", e.Offset, e.Time, last)
		}
		last = e.Time
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
