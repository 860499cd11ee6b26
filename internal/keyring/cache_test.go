package keyring

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"kimberlite/internal/fault"
	"kimberlite/internal/kms"
	"kimberlite/internal/seal"
)

// watched is a provider that counts, delays and fails.
type watched struct {
	kms.Provider
	calls   atomic.Int64
	running atomic.Int64
	most    atomic.Int64
	delay   time.Duration
	fail    atomic.Pointer[error]
}

func (w *watched) Unwrap(ctx context.Context, b []byte, c kms.Context) ([]byte, error) {
	w.calls.Add(1)
	n := w.running.Add(1)
	defer w.running.Add(-1)
	for m := w.most.Load(); n > m && !w.most.CompareAndSwap(m, n); m = w.most.Load() {
	}
	if w.delay > 0 {
		select {
		case <-time.After(w.delay):
		case <-ctx.Done():
			return nil, fault.Wrap("unwrap key", fault.KeyUnavailable, ctx.Err(), "the key service did not answer")
		}
	}
	if err := w.fail.Load(); err != nil {
		return nil, *err
	}
	return w.Provider.Unwrap(ctx, b, c)
}

// bench is a cache with tenants 1 to n in a ring.
type bench struct {
	t     testing.TB
	cache *Cache
	ring  *Ring
	p     *watched
	envs  map[uint64]Envelope
}

func newBench(t testing.TB, o CacheOptions, tenants uint64) *bench {
	b := &bench{t: t, p: &watched{Provider: openMaster(t)}, envs: map[uint64]Envelope{}}
	b.ring, _ = newRing(t)
	for n := uint64(1); n <= tenants; n++ {
		m := create(t, b.p, n)
		wantNil(t, b.ring.Put(tenant(n), m.kek.Gen, m.kek.Blob))
		b.envs[n] = m.env
	}
	var err error
	b.cache, err = NewCache(o)
	wantNil(t, err)
	t.Cleanup(b.cache.Close)
	return b
}

func (b *bench) try(ctx context.Context, n uint64) (*Lease, error) {
	return b.cache.Acquire(ctx, tenant(n), b.envs[n], b.ring, b.p)
}

func (b *bench) acquire(n uint64) *Lease {
	b.t.Helper()
	l, err := b.try(b.t.Context(), n)
	wantNil(b.t, err)
	return l
}

// idle returns how many tenants' keys nobody holds.
func (b *bench) idle() int {
	b.cache.mu.Lock()
	defer b.cache.mu.Unlock()
	return b.cache.idle.Len()
}

func wantLocked(t testing.TB, k *Keys) {
	t.Helper()
	_, err := k.DEK(gen(1))
	wantKind(t, err, fault.KeyUnavailable)
}

func wantUsable(t testing.TB, k *Keys) {
	t.Helper()
	_, err := k.DEK(k.Current())
	wantNil(t, err)
}

func TestOneKMSCallPerOpeningAndNonePerOperation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, CacheOptions{}, 1)
		b.p.delay = time.Second
		var all sync.WaitGroup
		for range 50 {
			all.Go(func() {
				l := b.acquire(1)
				wantUsable(t, l.Keys())
				l.Release()
			})
		}
		all.Wait()
		for range 100 {
			l := b.acquire(1)
			wantUsable(t, l.Keys())
			l.Release()
			l.Release() // twice is once
		}
		if got := b.p.calls.Load(); got != 1 {
			t.Errorf("%d calls of the provider", got)
		}
		b.cache.Close()
	})
}

func TestKMSCallsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, CacheOptions{MaxCalls: 3}, 20)
		b.p.delay = time.Second
		var all sync.WaitGroup
		for n := uint64(1); n <= 20; n++ {
			all.Go(func() { b.acquire(n).Release() })
		}
		all.Wait()
		if got := b.p.most.Load(); got != 3 {
			t.Errorf("%d calls at once", got)
		}
		b.cache.Close()
	})
}

func TestLeastRecentlyUsedKeysAreWipedToMakeRoom(t *testing.T) {
	b := newBench(t, CacheOptions{MaxTenants: 3}, 5)
	var keys [6]*Keys
	for n := uint64(1); n <= 3; n++ {
		l := b.acquire(n)
		keys[n] = l.Keys()
		l.Release()
	}
	b.acquire(1).Release() // now 2 is the oldest
	secret := keys[2].kek
	l := b.acquire(4)
	if !isZero(secret) || b.cache.Len() != 3 {
		t.Errorf("the evicted tenant's KEK is still in memory; %d in the cache", b.cache.Len())
	}
	wantLocked(t, keys[2])
	wantUsable(t, keys[1])
	wantUsable(t, keys[3])
	l.Release()
	l = b.acquire(2)
	wantUsable(t, l.Keys())
	l.Release()
}

func TestKeysInUseAreNotEvicted(t *testing.T) {
	b := newBench(t, CacheOptions{MaxTenants: 2}, 3)
	one, two := b.acquire(1), b.acquire(2)
	again := b.acquire(1)
	_, err := b.try(t.Context(), 3)
	wantKind(t, err, fault.Unavailable, "2 tenants")
	one.Release()
	_, err = b.try(t.Context(), 3) // tenant 1 has another lease
	wantKind(t, err, fault.Unavailable)
	wantUsable(t, two.Keys())
	wantUsable(t, again.Keys())
	again.Release()
	b.acquire(3).Release()
	wantLocked(t, again.Keys())
	wantUsable(t, two.Keys())
	two.Release()
}

func TestEvictAndLockWipeAtOnceEvenWhileLeased(t *testing.T) {
	b := newBench(t, CacheOptions{}, 1)
	l := b.acquire(1)
	dek, err := l.Keys().DEK(gen(1))
	wantNil(t, err)
	b.cache.Evict(tenant(1))
	wantLocked(t, l.Keys())
	_, err = dek.Derive(seal.LogSegment, nil)
	wantKind(t, err, fault.KeyUnavailable)
	l2 := b.acquire(1) // Evict does not lock
	wantUsable(t, l2.Keys())
	l.Release() // the old lease does not touch the new one
	wantUsable(t, l2.Keys())

	b.cache.Lock(tenant(1))
	b.cache.Lock(tenant(9))
	wantLocked(t, l2.Keys())
	l2.Release()
	_, err = b.try(t.Context(), 1)
	wantKind(t, err, fault.KeyUnavailable, "locked")
	b.cache.Unlock(tenant(1))
	b.acquire(1).Release()
	if b.cache.Len() != 1 {
		t.Errorf("%d in the cache", b.cache.Len())
	}
}

func TestLockReachesAnOpeningUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, CacheOptions{}, 1)
		b.p.delay = time.Second
		for _, act := range []func(){func() { b.cache.Lock(tenant(1)) }, func() { b.cache.Evict(tenant(1)) }} {
			done := make(chan error)
			go func() {
				_, err := b.try(t.Context(), 1)
				done <- err
			}()
			synctest.Wait() // the call runs
			act()
			wantKind(t, <-done, fault.KeyUnavailable)
			b.cache.Unlock(tenant(1))
		}
		b.acquire(1).Release()
		b.cache.Close()
	})
}

func TestCallerThatGivesUpDoesNotFailTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, CacheOptions{}, 1)
		b.p.delay = time.Second
		ctx, cancel := context.WithCancel(t.Context())
		first, second := make(chan error, 1), make(chan error, 1)
		go func() {
			_, err := b.try(ctx, 1)
			first <- err
		}()
		synctest.Wait()
		go func() {
			l, err := b.try(t.Context(), 1)
			if err == nil {
				l.Release()
			}
			second <- err
		}()
		synctest.Wait()
		cancel()
		wantKind(t, <-first, fault.Canceled)
		wantNil(t, <-second)
		if b.p.calls.Load() != 1 || b.idle() != 1 {
			t.Errorf("%d calls, %d idle", b.p.calls.Load(), b.idle())
		}
		// All give up: the keys are idle afterwards, not leaked.
		b.cache.Evict(tenant(1))
		ctx, cancel = context.WithTimeout(t.Context(), time.Millisecond)
		_, err := b.try(ctx, 1)
		cancel()
		wantKind(t, err, fault.Timeout)
		time.Sleep(2 * time.Second) // of the bubble's time: the call ends meanwhile
		if b.idle() != 1 {
			t.Error("the holder was lost")
		}
		b.cache.Close()
	})
}

func TestKMSThatIsDownFailsOpeningAndKeepsOpenTenants(t *testing.T) {
	b := newBench(t, CacheOptions{}, 2)
	l := b.acquire(1)
	down := error(fault.New("unwrap key", fault.KeyUnavailable, "the key service does not answer"))
	b.p.fail.Store(&down)
	_, err := b.try(t.Context(), 2)
	wantKind(t, err, fault.KeyUnavailable, "does not answer")
	var fe *fault.Error
	if !errors.As(err, &fe) || fe.Tenant != tenant(2) {
		t.Error("the error does not name the tenant")
	}
	wantUsable(t, l.Keys())
	b.acquire(1).Release()
	b.p.fail.Store(nil)
	b.acquire(2).Release() // the failure is not remembered
	l.Release()
}

func TestKMSThatHangsTimesOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, CacheOptions{MaxCalls: 1, CallTimeout: time.Second}, 2)
		b.p.delay = time.Hour
		errs := make(chan error)
		for n := uint64(1); n <= 2; n++ {
			go func() {
				_, err := b.try(t.Context(), n)
				errs <- err
			}()
		}
		wantKind(t, <-errs, fault.KeyUnavailable)
		wantKind(t, <-errs, fault.KeyUnavailable)
		if b.cache.Len() != 0 {
			t.Errorf("%d in the cache", b.cache.Len())
		}
		b.cache.Close()
	})
}

func TestTenantWhoseKEKIsGoneCannotBeOpened(t *testing.T) {
	b := newBench(t, CacheOptions{}, 2)
	wantNil(t, b.ring.DestroyAll(tenant(1)))
	_, err := b.try(t.Context(), 1)
	wantKind(t, err, fault.KeyUnavailable, "erased")
	b.acquire(2).Release()
}

func TestAcquireTakesOverALaterEnvelopeWithoutDisturbingUsers(t *testing.T) {
	b := newBench(t, CacheOptions{}, 1)
	l := b.acquire(1)
	sealed := sealWith(t, l.Keys(), 1, "row")

	// A rotation made by another node: these keys know nothing of it.
	blob, err := b.ring.Get(tenant(1), gen(1))
	wantNil(t, err)
	leader, err := Unwrap(t.Context(), b.p, tenant(1), b.envs[1], blob)
	wantNil(t, err)
	defer leader.Zero()
	two, err := RotateDEK(leader, b.envs[1], epoch)
	wantNil(t, err, leader.Update(two))
	three, kek, err := RotateKEK(t.Context(), b.p, leader, two)
	wantNil(t, err, b.ring.Put(tenant(1), kek.Gen, kek.Blob), leader.Update(three))
	wantKind(t, l.Keys().Update(three), fault.KeyUnavailable)
	before := b.envs[1]
	b.envs[1] = three
	calls := b.p.calls.Load()
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			l := b.acquire(1)
			defer l.Release()
			if l.Keys().Current() != gen(2) || l.Keys().Envelope().KEK != gen(2) {
				t.Error("the later envelope is not in force")
			}
		})
	}
	all.Wait()
	if got := b.p.calls.Load() - calls; got != 1 {
		t.Errorf("%d calls for one new KEK", got)
	}
	wantOpens(t, l.Keys(), 1, sealed, "row")
	// A caller that still knows only the old envelope changes nothing back.
	b.envs[1] = before
	l2 := b.acquire(1)
	if l2.Keys().Current() != gen(2) {
		t.Error("an old envelope came back")
	}
	l2.Release()
	l.Release()
}

func TestClosedCacheHoldsNothing(t *testing.T) {
	b := newBench(t, CacheOptions{}, 1)
	l := b.acquire(1)
	b.cache.Close()
	b.cache.Close()
	wantLocked(t, l.Keys())
	l.Release()
	_, err := b.try(t.Context(), 1)
	wantKind(t, err, fault.Closed)
	_, err = NewCache(CacheOptions{MaxTenants: -1})
	wantKind(t, err, fault.Invalid)
}

func TestCacheUnderManyHandsStaysWithinItsBound(t *testing.T) {
	b := newBench(t, CacheOptions{MaxTenants: 4}, 10)
	var all sync.WaitGroup
	for w := range uint64(4) {
		all.Go(func() {
			for i := range uint64(200) {
				n := (w*7+i*3)%10 + 1
				l, err := b.try(t.Context(), n)
				if fault.Is(err, fault.KeyUnavailable) || fault.Is(err, fault.Unavailable) {
					continue // evicted under our hands, or all in use
				}
				if err != nil {
					t.Error(err)
					return
				}
				if got := l.Keys().Tenant(); got != tenant(n) {
					t.Errorf("tenant %v's keys for tenant %d", got, n)
				}
				if b.cache.Len() > 4 {
					t.Errorf("%d in the cache", b.cache.Len())
				}
				if i%17 == 0 {
					b.cache.Evict(tenant(n))
				}
				l.Release()
			}
		})
	}
	all.Wait()
}

func BenchmarkAcquireCached(b *testing.B) {
	w := newBench(b, CacheOptions{}, 1)
	for b.Loop() {
		l, err := w.try(b.Context(), 1)
		wantNil(b, err)
		l.Release()
	}
}
