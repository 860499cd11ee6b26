package bench

import (
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"testing"
	"time"

	"kimberlite/internal/ident"
	"kimberlite/internal/node"
	"kimberlite/internal/tenant"
)

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse + m.StackInuse)
}

// resident is the process's resident memory in bytes: SQLite's connections
// live outside of Go's heap.
func resident(t *testing.T) int64 {
	t.Helper()
	data, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Skip(err)
	}
	var size, rss int64
	if _, err := fmt.Sscan(string(data), &size, &rss); err != nil {
		t.Fatal(err)
	}
	return rss * int64(os.Getpagesize())
}

func descriptors(t *testing.T) int {
	t.Helper()
	names, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip(err)
	}
	return len(names)
}

func TestTenThousandTenants(t *testing.T) {
	enabled(t)
	const count = 10_000
	dir := benchDir(t)
	n := openNode(t, dir, true, nil)
	start := time.Now()
	createTenants(t, n, count, "")
	created := count / time.Since(start).Seconds()
	row(t, "10,000 tenants created, 16 callers", rate(created), "", "", "≥ 500/s")
	for i := 1; i <= count; i += 20 {
		h, err := n.Tenants().Tenant(ident.MustTenantID(uint64(i)))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := h.Exec(ctx, tenant.Request{}, schema, nil); err != nil {
			t.Fatal(err)
		}
		insert(t, h)
	}
	if err := n.Close(ctx); err != nil {
		t.Fatal(err)
	}

	empty := heap()
	start = time.Now()
	n = openNode(t, dir, true, func(c *node.Config) { c.MaxOpenTenants = 128 })
	took := time.Since(start)
	row(t, "process start with 10,000 tenants", took.Round(time.Millisecond).String(), "", "", "≤ 2 s")
	idle := float64(heap()-empty) / count
	row(t, "memory of an idle tenant", fmt.Sprintf("%.0f B", idle), "", "", "≤ 2 KiB")

	var first []time.Duration
	rng := rand.New(rand.NewPCG(1, 1))
	ids := rng.Perm(count / 20)
	for _, i := range ids {
		h, err := n.Tenants().Tenant(ident.MustTenantID(uint64(i*20 + 1)))
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		r, err := h.Query(ctx, "SELECT name FROM t WHERE id = 1", nil)
		if err != nil || !r.Next() {
			t.Fatal(err)
		}
		r.Close()
		first = append(first, time.Since(start))
	}
	row(t, "first query of a cold tenant, p50 / p99, 128 open at most", fmt.Sprintf("%s / %s", percentile(first, 0.5).Round(10*time.Microsecond), percentile(first, 0.99).Round(10*time.Microsecond)), "", "", "p99 ≤ 10 ms")
	row(t, "file descriptors of the process, 128 tenants open of 10,000", fmt.Sprint(descriptors(t)), "", "", "bounded by the LRU")
}

func TestMemoryOfAnOpenTenant(t *testing.T) {
	enabled(t)
	const count = 500
	n := openNode(t, benchDir(t), true, nil)
	before := resident(t)
	tenants := createTenants(t, n, count, schema)
	for _, h := range tenants {
		insert(t, h)
		r, err := h.Query(ctx, "SELECT name FROM t WHERE id = 1", nil)
		if err != nil || !r.Next() {
			t.Fatal(err)
		}
		r.Close()
	}
	runtime.GC()
	each := float64(resident(t)-before) / count
	row(t, "resident memory of an open tenant that wrote and read (500 open)", fmt.Sprintf("%.0f KiB", each/1024), "", "", "≤ 1 MiB")
}

func TestCostIsFlatInTheLogsLength(t *testing.T) {
	enabled(t)
	dir := benchDir(t)
	n := openNode(t, dir, true, nil)
	h := createTenants(t, n, 1, schema)[0]
	latency := func() time.Duration {
		var all []time.Duration
		for range 2000 {
			start := time.Now()
			insert(t, h)
			all = append(all, time.Since(start))
		}
		return percentile(all, 0.5)
	}
	reopen := func() time.Duration {
		if err := n.Close(ctx); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		n = openNode(t, dir, true, nil)
		var err error
		if h, err = n.Tenants().Tenant(ident.MustTenantID(1)); err != nil {
			t.Fatal(err)
		}
		r, err := h.Query(ctx, "SELECT name FROM t WHERE id = 1", nil)
		if err != nil || !r.Next() {
			t.Fatal(err)
		}
		r.Close()
		return time.Since(start)
	}
	fill(t, h, 1000)
	early, openEarly := latency(), reopen()
	fill(t, h, 1_000_000-3000)
	late, openLate := latency(), reopen()
	row(t, "an insert near the millionth (A) and the thousandth (B), median", late.String(), early.String(), fmt.Sprintf("%.2f × its latency", float64(late)/float64(early)), "about 1")
	row(t, "open and first query after a checkpoint, 1 M rows (A) and 3,000 rows (B)", openLate.Round(time.Millisecond).String(), openEarly.Round(time.Millisecond).String(), "", "independent of length")
}
