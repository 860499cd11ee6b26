package directory

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"kimberlite/internal/ident"
)

// benchTenants is how many tenants the benchmarks look up among:
// DIRECTORY_TENANTS, or a million. The figures for ten millions in
// docs/benchmarks.md need 4 GB.
func benchTenants() int {
	if n, err := strconv.Atoi(os.Getenv("DIRECTORY_TENANTS")); err == nil {
		return n
	}
	return 1_000_000
}

// crowd fills a directory with tenants on 1,000 shards, with ids and names
// that are spread as people choose them.
func crowd(tb testing.TB, n int) *Directory {
	tb.Helper()
	r := small(tb)
	s := r.state
	for i := len(s.shards) + 1; i <= 1000; i++ {
		h := *s.shards[ident.NewShardID(1)]
		h.ID = ident.NewShardID(uint64(i))
		s.shards[h.ID] = &h
	}
	s.nextShard = 1000
	for i := range n {
		s.tenants.add(benchID(i), benchName(i), placement{epoch: uint64(i), shard: uint32(i%1000 + 1), state: TenantActive})
	}
	return r.Directory
}

func benchID(i int) uint64   { return uint64(i)*0x9e3779b97f4a7c15 | 1<<63 }
func benchName(i int) string { return fmt.Sprintf("customer-%d.example.org", i) }
func heap() (bytes, objects uint64) {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse, m.HeapObjects
}

// BenchmarkTenant looks tenants up by id and by name, alone and while commands
// are applied as fast as they can be.
func BenchmarkTenant(b *testing.B) {
	n := benchTenants()
	before, _ := heap()
	d := crowd(b, n)
	after, objects := heap()
	ids, names := make([]ident.TenantID, 1<<16), make([]string, 1<<16)
	for i := range ids {
		k := int(uint64(i) * 7919 * 104729 % uint64(n))
		ids[i], names[i] = ident.MustTenantID(benchID(k)), benchName(k)
	}
	for _, applying := range []bool{false, true} {
		b.Run(fmt.Sprintf("id/applying=%v", applying), func(b *testing.B) {
			look(b, d, applying, func(i int) bool { _, ok := d.Tenant(ids[i&0xffff]); return ok })
			b.ReportMetric(float64(after-before)/float64(n), "B/tenant")
			b.ReportMetric(float64(objects), "objects")
		})
		b.Run(fmt.Sprintf("name/applying=%v", applying), func(b *testing.B) {
			look(b, d, applying, func(i int) bool { _, ok := d.TenantNamed(names[i&0xffff]); return ok })
		})
	}
	runtime.KeepAlive(d)
}

// look times look-ups, in batches.
func look(b *testing.B, d *Directory, applying bool, one func(int) bool) {
	stop, done := make(chan struct{}), make(chan struct{})
	var applied atomic.Uint64
	go func() {
		defer close(done)
		for i := uint64(0); applying; i++ {
			select {
			case <-stop:
				return
			default:
			}
			id := ident.MustTenantID(1 + i%4)
			t, _ := d.Tenant(id)
			e := &envelope{id: commandID{byte(i), byte(i >> 8), byte(i >> 16), byte(i >> 24), 2}, command: RenameTenant{id, fmt.Sprint(t.Name[:1], i)}}
			d.mu.Lock()
			d.state.apply(i, e)
			d.mu.Unlock()
			applied.Add(1)
		}
	}()
	b.ReportAllocs()
	const batch = 64
	var times []time.Duration // of batches: their median knows nothing of a busy machine
	begin := time.Now()
	at := begin
	for i := 1; b.Loop(); i++ {
		if !one(i) {
			b.Fatal("a tenant is missing")
		}
		if i%batch == 0 {
			now := time.Now()
			times = append(times, now.Sub(at))
			at = now
		}
	}
	took := time.Since(begin)
	slices.Sort(times)
	close(stop)
	<-done
	if len(times) > 0 {
		b.ReportMetric(float64(times[len(times)/2].Nanoseconds())/batch, "median-ns")
		b.ReportMetric(float64(times[len(times)*999/1000].Microseconds()), "p999-of-64-µs")
	}
	if applying {
		b.ReportMetric(float64(applied.Load())/took.Seconds(), "applied/s")
	}
}

func TestALookUpAllocatesNothing(t *testing.T) {
	d := crowd(t, 1000)
	id, name := ident.MustTenantID(benchID(5)), benchName(5)
	for what, f := range map[string]func(){
		"by id":   func() { d.Tenant(id) },
		"by name": func() { d.TenantNamed(name) },
		"a node":  func() { d.Node(ident.NewNodeID(1)) },
		"a shard": func() { d.Shard(ident.NewShardID(1)) },
	} {
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("a look-up %s allocates %v times", what, n)
		}
	}
}

func TestATenantTakesLittleMemory(t *testing.T) {
	const n, most = 200_000, 256
	before, _ := heap()
	d := crowd(t, n)
	after, _ := heap()
	if per := float64(after-before) / n; per > most {
		t.Errorf("%.0f bytes a tenant, want at most %d", per, most)
	}
	runtime.KeepAlive(d)
}
