package keyring

import (
	"bytes"
	"fmt"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"kimberlite/internal/disk"
	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
)

func TestPutKeysAreThereAfterReopening(t *testing.T) {
	r, mem := newRing(t, 1, 2, 1<<40)
	wantNil(t, r.Put(tenant(2), gen(2), blobOf(2, 2)))
	wantNil(t, r.Put(tenant(2), gen(9), blobOf(2, 9)))
	for range 2 {
		for _, o := range [][2]uint64{{1, 1}, {2, 1}, {2, 2}, {2, 9}, {1 << 40, 1}} {
			wantKey(t, r, o[0], uint32(o[1]))
		}
		wantNoKey(t, r, 1, 2)
		wantNoKey(t, r, 3, 1)
		if got := r.Generations(tenant(2)); !slices.Equal(got, []ident.KeyGeneration{gen(1), gen(2), gen(9)}) {
			t.Errorf("generations %v", got)
		}
		if got := r.Generations(tenant(3)); len(got) != 0 {
			t.Errorf("generations of nobody %v", got)
		}
		if got := r.Tenants(); !slices.Equal(got, []ident.TenantID{tenant(1), tenant(2), tenant(1 << 40)}) {
			t.Errorf("tenants %v", got)
		}
		if got := r.Damage(); len(got) != 0 {
			t.Errorf("damage %v", got)
		}
		wantNil(t, r.Close())
		r = openRing(t, mem.CrashClone(nil))
	}
}

func TestPutNeverOverwrites(t *testing.T) {
	r, _ := newRing(t, 1)
	wantNil(t, r.Put(tenant(1), gen(1), blobOf(1, 1))) // the same again
	wantKind(t, r.Put(tenant(1), gen(1), blobOf(1, 2)), fault.AlreadyExists)
	wantKey(t, r, 1, 1)
}

func TestGetReturnsFreshMemory(t *testing.T) {
	r, _ := newRing(t, 1)
	b, err := r.Get(tenant(1), gen(1))
	wantNil(t, err)
	clear(b)
	wantKey(t, r, 1, 1)
}

func TestRingRefusesWhatASlotCannotHold(t *testing.T) {
	r, _ := newRing(t)
	wantKind(t, r.Put(ident.TenantID{}, gen(1), []byte("k")), fault.Invalid)
	wantKind(t, r.Put(tenant(1), gen(0), []byte("k")), fault.Invalid)
	wantKind(t, r.Put(tenant(1), gen(1), nil), fault.Invalid)
	wantKind(t, r.Put(tenant(1), gen(1), make([]byte, MaxWrapped+1)), fault.Invalid)
	big := bytes.Repeat([]byte{9}, MaxWrapped)
	wantNil(t, r.Put(tenant(1), gen(1), big))
	if got, err := r.Get(tenant(1), gen(1)); err != nil || !bytes.Equal(got, big) {
		t.Fatal(err)
	}
}

func TestDestroyedKeyIsInNoFile(t *testing.T) {
	r, mem := newRing(t, 1, 2)
	wantNil(t, r.Put(tenant(1), gen(2), blobOf(1, 2)))
	wantNil(t, r.Destroy(tenant(1), gen(1)))
	wantErased(t, mem.CrashClone(nil), 1, 1)
	wantNoKey(t, r, 1, 1)
	wantKey(t, r, 1, 2)
	wantNil(t, r.Destroy(tenant(1), gen(1)), r.Destroy(tenant(5), gen(1))) // again, and nobody
	wantNil(t, r.Put(tenant(1), gen(3), blobOf(1, 3)))
	wantNil(t, r.DestroyAll(tenant(1)))
	clone := mem.CrashClone(nil)
	for g := range uint32(4) {
		wantErased(t, clone, 1, g)
	}
	r = openRing(t, clone)
	wantNoKey(t, r, 1, 2)
	wantNoKey(t, r, 1, 3)
	wantKey(t, r, 2, 1)
}

func TestDestroyedSlotsAreUsedAgain(t *testing.T) {
	r, mem := newRing(t)
	for n := range uint64(1000) {
		wantNil(t, r.Put(tenant(n+1), gen(1), blobOf(n+1, 1)), r.DestroyAll(tenant(n+1)))
	}
	if got := mem.Bytes(); got != sizeOf(1) {
		t.Errorf("the keyring takes %d bytes for no tenant", got)
	}
}

func TestReplacedKeyIsSwappedAndItsOldFormDestroyed(t *testing.T) {
	r, mem := newRing(t, 1, 2)
	wantKind(t, r.Replace(tenant(3), gen(1), []byte("x")), fault.NotFound)
	anew := bytes.Repeat([]byte{7}, 80)
	wantNil(t, r.Replace(tenant(1), gen(1), anew))
	wantNil(t, r.Replace(tenant(1), gen(1), anew)) // the same again
	wantErased(t, mem.CrashClone(nil), 1, 1)
	r = openRing(t, mem.CrashClone(nil))
	if got, err := r.Get(tenant(1), gen(1)); err != nil || !bytes.Equal(got, anew) {
		t.Fatal(err)
	}
	wantKey(t, r, 2, 1)
}

func TestRingGrowsByFilesAndLoadsThem(t *testing.T) {
	const tenants = firstSlots*3 + 5 // the third file's begin
	r, mem := newRing(t)
	for n := range uint64(tenants) {
		wantNil(t, r.Put(tenant(n+1), gen(1), blobOf(n+1, 1)))
	}
	if len(r.files) != 3 {
		t.Fatalf("%d files", len(r.files))
	}
	r = openRing(t, mem.CrashClone(nil))
	for n := range uint64(tenants) {
		wantKey(t, r, n+1, 1)
	}
	total := 0
	for number := 1; number <= 19; number++ {
		total += slotsOf(number)
	}
	if total < 100_000 || slotsOf(1) != 64 || slotsOf(8) != mostSlots || slotsOf(maxFiles) != mostSlots {
		t.Errorf("19 files hold %d slots", total)
	}
}

func TestReconcileKeepsOnlyTheEnvelopesKEK(t *testing.T) {
	r, mem := newRing(t, 1, 2)
	wantNil(t, r.Put(tenant(1), gen(2), blobOf(1, 2)), r.Put(tenant(1), gen(3), blobOf(1, 3)))

	// The envelope's own is not there: nothing may go.
	wantKind(t, r.Reconcile(tenant(1), gen(4)), fault.NotFound)
	// It is there and damaged: nothing may go.
	off := offsetOf(t, r, own(1, 2))
	f := r.files[0]
	var b [1]byte
	_, err := f.ReadAt(b[:], off+100)
	wantNil(t, err)
	_, err = f.WriteAt([]byte{b[0] ^ 1}, off+100)
	wantNil(t, err)
	wantKind(t, r.Reconcile(tenant(1), gen(2)), fault.Corruption)
	_, err = f.WriteAt(b[:], off+100)
	wantNil(t, err)
	for g := range uint32(3) {
		wantKey(t, r, 1, g+1)
	}

	wantNil(t, r.Reconcile(tenant(1), gen(2)))
	clone := mem.CrashClone(nil)
	wantErased(t, clone, 1, 1)
	wantErased(t, clone, 1, 3)
	wantKey(t, r, 1, 2)
	wantKey(t, r, 2, 1)
	wantNil(t, r.Reconcile(tenant(1), gen(2)))
}

func TestClosedRingRefuses(t *testing.T) {
	r, _ := newRing(t, 1)
	wantNil(t, r.Close(), r.Close())
	wantKind(t, r.Put(tenant(2), gen(1), []byte("k")), fault.Closed)
	wantKind(t, r.Replace(tenant(1), gen(1), []byte("k")), fault.Closed)
	wantKind(t, r.Destroy(tenant(1), gen(1)), fault.Closed)
	wantKind(t, r.DestroyAll(tenant(1)), fault.Closed)
	wantKind(t, r.DestroyUnowned(), fault.Closed)
	_, err := r.Get(tenant(1), gen(1))
	wantKind(t, err, fault.Closed)
}

func TestConcurrentPutsShareAnFsync(t *testing.T) {
	r, mem := newRing(t, 1000)
	const puts = 40
	var syncs atomic.Int64
	mem.BeforeSync(func(string) {
		if syncs.Add(1) > 1 {
			return
		}
		// The first fsync takes so long that all the others arrive.
		for {
			r.mu.RLock()
			waiting := len(r.inflight)
			r.mu.RUnlock()
			if waiting == puts {
				return
			}
			runtime.Gosched()
		}
	})
	var all sync.WaitGroup
	for n := range uint64(puts) {
		all.Go(func() {
			if err := r.Put(tenant(n+1), gen(1), blobOf(n+1, 1)); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if got := syncs.Load(); got > 2 {
		t.Errorf("%d puts took %d fsyncs", puts, got)
	}
	r = openRing(t, mem.CrashClone(nil))
	for n := range uint64(puts) {
		wantKey(t, r, n+1, 1)
	}
}

func TestConcurrentPutsAndDestroysKeepApart(t *testing.T) {
	r, mem := newRing(t)
	const workers, each = 32, 40
	var all sync.WaitGroup
	for w := range uint64(workers) {
		all.Go(func() {
			for i := range uint64(each) {
				n := w*each + i + 1
				if err := r.Put(tenant(n), gen(1), blobOf(n, 1)); err != nil {
					t.Error(err)
				}
				if got, err := r.Get(tenant(n), gen(1)); err != nil || !bytes.Equal(got, blobOf(n, 1)) {
					t.Error(err)
				}
				if n%3 == 0 {
					if err := r.DestroyAll(tenant(n)); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	all.Wait()
	r = openRing(t, mem.CrashClone(nil))
	for n := uint64(1); n <= workers*each; n++ {
		if n%3 == 0 {
			wantNoKey(t, r, n, 1)
		} else {
			wantKey(t, r, n, 1)
		}
	}
}

func TestSameKeyPutAtOnceIsStoredOnce(t *testing.T) {
	r, mem := newRing(t, 5)
	var all sync.WaitGroup
	var stored atomic.Int64
	for i := range 16 {
		all.Go(func() {
			err := r.Put(tenant(1), gen(1), []byte(fmt.Sprintf("attempt %d", i)))
			switch {
			case err == nil:
				stored.Add(1)
			case !fault.Is(err, fault.Conflict) && !fault.Is(err, fault.AlreadyExists):
				t.Error(err)
			}
		})
	}
	all.Wait()
	if stored.Load() != 1 || bytes.Count(ringBytes(t, mem), []byte("attempt ")) != 1 {
		t.Errorf("%d of them were stored", stored.Load())
	}
}

func TestIndexTakesLittleMemory(t *testing.T) {
	const tenants = 100_000
	before := heap()
	x := newIndex()
	for n := range uint64(tenants) {
		x.set(own(n+1, 1), place(n))
	}
	per := float64(heap()-before) / tenants
	runtime.KeepAlive(x)
	t.Logf("%.1f bytes a tenant", per)
	if per >= 64 {
		t.Errorf("%.1f bytes a tenant, want less than 64", per)
	}
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// BenchmarkPut32 is 10,000 tenants made by 32 goroutines on the real disk.
func BenchmarkPut32(b *testing.B) {
	const workers, tenants = 32, 10_000
	for b.Loop() {
		r, err := Open(Options{FS: disk.OS{}, Dir: filepath.Join(b.TempDir(), "keyring")})
		wantNil(b, err)
		var next atomic.Uint64
		var all sync.WaitGroup
		for range workers {
			all.Go(func() {
				for n := next.Add(1); n <= tenants; n = next.Add(1) {
					if err := r.Put(tenant(n), gen(1), blobOf(n, 1)); err != nil {
						b.Error(err)
					}
				}
			})
		}
		all.Wait()
		wantNil(b, r.Close())
	}
	b.ReportMetric(tenants*float64(b.N)/b.Elapsed().Seconds(), "puts/s")
}

// BenchmarkOpen10k is the start of a node with 10,000 tenants.
func BenchmarkOpen10k(b *testing.B) {
	dir := filepath.Join(b.TempDir(), "keyring")
	r, err := Open(Options{FS: disk.OS{}, Dir: dir})
	wantNil(b, err)
	var all sync.WaitGroup
	for w := range uint64(100) {
		all.Go(func() {
			for i := range uint64(100) {
				_ = r.Put(tenant(w*100+i+1), gen(1), blobOf(w, 1))
			}
		})
	}
	all.Wait()
	wantNil(b, r.Close())
	for b.Loop() {
		r, err := Open(Options{FS: disk.OS{}, Dir: dir})
		wantNil(b, err)
		wantNil(b, r.Close())
	}
}

func BenchmarkGet(b *testing.B) {
	r, err := Open(Options{FS: disk.OS{}, Dir: filepath.Join(b.TempDir(), "keyring")})
	wantNil(b, err)
	wantNil(b, r.Put(tenant(1), gen(1), blobOf(1, 1)))
	for b.Loop() {
		if _, err := r.Get(tenant(1), gen(1)); err != nil {
			b.Fatal(err)
		}
	}
}
