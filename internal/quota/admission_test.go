package quota

import (
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"kimberlite/internal/fault"
)

func TestEnterRefusesOneTooManyAtOnce(t *testing.T) {
	t.Parallel()
	a := NewAdmission(Limits{MaxConcurrentOps: 2})
	for range 2 {
		if err := a.Enter(start); err != nil {
			t.Fatal(err)
		}
	}
	e := refusal(t, a.Enter(start), fault.TooManyOps, "max_concurrent_ops", 2, 2)
	if e.Quota.RetryAfter <= 0 {
		t.Error("no word on when to retry")
	}
	a.Leave()
	if err := a.Enter(start); err != nil {
		t.Errorf("after one left: %v", err)
	}
	if a.InFlight() != 2 || a.Admitted() != 3 || a.Refused() != 1 {
		t.Errorf("in flight %d, admitted %d, refused %d", a.InFlight(), a.Admitted(), a.Refused())
	}
}

func TestEnterRefusesOverTheRateAndSaysWhenToRetry(t *testing.T) {
	t.Parallel()
	a := NewAdmission(Limits{MaxOpsPerSec: 4})
	for range 4 {
		if err := a.Enter(start); err != nil {
			t.Fatal(err)
		}
		a.Leave()
	}
	e := refusal(t, a.Enter(start), fault.RateLimited, "max_ops_per_sec", 4, 4)
	if e.Quota.RetryAfter != 250*time.Millisecond || !strings.Contains(e.Message, "retry in 250ms") {
		t.Errorf("retry after %v: %s", e.Quota.RetryAfter, e.Message)
	}
	if err := a.Enter(start.Add(e.Quota.RetryAfter)); err != nil {
		t.Errorf("when it said: %v", err)
	}
}

func TestARefusalTakesNothing(t *testing.T) {
	t.Parallel()
	a := NewAdmission(Limits{MaxOpsPerSec: 3, MaxConcurrentOps: 1})
	if err := a.Enter(start); err != nil {
		t.Fatal(err)
	}
	for range 10 { // refused a slot: no token goes
		refusal(t, a.Enter(start), fault.TooManyOps, "max_concurrent_ops", 1, 1)
	}
	a.Leave()
	for range 2 {
		if err := a.Enter(start); err != nil {
			t.Fatalf("the refused ones used tokens: %v", err)
		}
		a.Leave()
	}
	for range 10 { // refused a token: no slot goes
		refusal(t, a.Enter(start), fault.RateLimited, "max_ops_per_sec", 3, 3)
	}
	if a.InFlight() != 0 {
		t.Errorf("%d slots are taken by refused operations", a.InFlight())
	}
}

func TestLimitsChangeAtRunTime(t *testing.T) {
	t.Parallel()
	a := NewAdmission(Limits{})
	for range 5 {
		if err := a.Enter(start); err != nil {
			t.Fatal(err)
		}
	}
	a.SetLimits(Limits{MaxConcurrentOps: 3})
	refusal(t, a.Enter(start), fault.TooManyOps, "max_concurrent_ops", 3, 5)
	for range 3 {
		a.Leave()
	}
	if err := a.Enter(start); err != nil {
		t.Error(err)
	}
	a.SetLimits(Limits{MaxOpsPerSec: 1})
	if err := a.Enter(start); err != nil {
		t.Error(err)
	}
	refusal(t, a.Enter(start), fault.RateLimited, "max_ops_per_sec", 1, 1)
	a.SetLimits(Limits{}) // off and on again: no refill
	if err := a.Enter(start); err != nil {
		t.Error(err)
	}
	a.SetLimits(Limits{MaxOpsPerSec: 1000})
	refusal(t, a.Enter(start), fault.RateLimited, "max_ops_per_sec", 1000, 1000)
	if a.Limits() != (Limits{MaxOpsPerSec: 1000}) {
		t.Errorf("limits in force: %+v", a.Limits())
	}
}

// TestManyGoroutinesNeverExceedALimit hammers one Admission from many
// goroutines, with limits that change between the three paths through Enter.
func TestManyGoroutinesNeverExceedALimit(t *testing.T) {
	t.Parallel()
	const goroutines, rounds, slots, rate = 16, 3000, 5, 2000
	a := NewAdmission(Limits{MaxConcurrentOps: slots, MaxOpsPerSec: rate})
	var ticks, inside, admitted atomic.Int64
	var wg sync.WaitGroup
	for range goroutines {
		wg.Go(func() {
			for range rounds {
				now := start.Add(time.Duration(ticks.Add(1)) * 100 * time.Microsecond)
				if a.Enter(now) != nil {
					continue
				}
				if n := inside.Add(1); n > slots {
					t.Errorf("%d operations inside, the limit is %d", n, slots)
				}
				if n := a.InFlight(); n > slots {
					t.Errorf("InFlight says %d, the limit is %d", n, slots)
				}
				admitted.Add(1)
				inside.Add(-1)
				a.Leave()
			}
		})
	}
	wg.Wait()
	elapsed := time.Duration(ticks.Load()) * 100 * time.Microsecond
	if most := rate + int64(elapsed.Seconds()*rate); admitted.Load() > most {
		t.Errorf("%d admitted in %v at rate %d, at most %d are allowed", admitted.Load(), elapsed, rate, most)
	}
	if admitted.Load() < rate {
		t.Errorf("only %d admitted, not even the burst", admitted.Load())
	}
	if a.InFlight() != 0 || a.Admitted() != uint64(admitted.Load()) || a.Admitted()+a.Refused() != goroutines*rounds {
		t.Errorf("in flight %d, admitted %d, refused %d", a.InFlight(), a.Admitted(), a.Refused())
	}
}

// TestSlotsHoldWithoutTheLock is for the path without a rate limit.
func TestSlotsHoldWithoutTheLock(t *testing.T) {
	t.Parallel()
	const slots = 1 // two processors are enough to meet inside
	a := NewAdmission(Limits{MaxConcurrentOps: slots})
	var inside, over atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 40_000 {
				if a.Enter(start) != nil {
					runtime.Gosched()
					continue
				}
				if inside.Add(1) > slots {
					over.Add(1)
				}
				inside.Add(-1)
				a.Leave()
			}
		})
	}
	wg.Wait()
	if over.Load() > 0 {
		t.Errorf("%d times more than %d operations were inside", over.Load(), slots)
	}
}

// TestSlotsHoldWhileTheRateLimitGoesOnAndOff: the path with the lock and the
// one without share the slots.
func TestSlotsHoldWhileTheRateLimitGoesOnAndOff(t *testing.T) {
	t.Parallel()
	const slots = 3
	a := NewAdmission(Limits{MaxConcurrentOps: slots})
	var inside atomic.Int64
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 2000 {
				if g == 0 {
					a.SetLimits(Limits{MaxConcurrentOps: slots, MaxOpsPerSec: int64(i%2) * MaxRate})
				}
				if a.Enter(start) != nil {
					continue
				}
				if n := inside.Add(1); n > slots {
					t.Errorf("%d operations inside, the limit is %d", n, slots)
				}
				inside.Add(-1)
				a.Leave()
			}
		})
	}
	wg.Wait()
	if a.InFlight() != 0 {
		t.Errorf("%d in flight at the end", a.InFlight())
	}
}

func TestEnterAllocatesNothing(t *testing.T) {
	now := start
	for _, l := range []Limits{{}, {MaxConcurrentOps: 9}, {MaxConcurrentOps: 9, MaxOpsPerSec: MaxRate}} {
		a := NewAdmission(l)
		allocs := testing.AllocsPerRun(1000, func() {
			now = now.Add(time.Microsecond)
			if a.Enter(now) == nil {
				a.Leave()
			}
		})
		if allocs != 0 || a.Refused() != 0 {
			t.Errorf("%+v: %v allocations, %d refused", l, allocs, a.Refused())
		}
	}
}

func benchmarkEnter(b *testing.B, l Limits) {
	a := NewAdmission(l)
	now := start
	b.ReportAllocs()
	for b.Loop() {
		now = now.Add(time.Microsecond)
		if a.Enter(now) == nil {
			a.Leave()
		}
	}
}

func BenchmarkEnterLeaveUnlimited(b *testing.B)  { benchmarkEnter(b, Limits{}) }
func BenchmarkEnterLeaveConcurrent(b *testing.B) { benchmarkEnter(b, Limits{MaxConcurrentOps: 100}) }
func BenchmarkEnterLeaveBoth(b *testing.B) {
	benchmarkEnter(b, Limits{MaxConcurrentOps: 100, MaxOpsPerSec: MaxRate})
}
func BenchmarkEnterRefused(b *testing.B) {
	a := NewAdmission(Limits{MaxOpsPerSec: 1})
	b.ReportAllocs()
	for b.Loop() {
		a.Enter(start)
	}
}
func BenchmarkEnterLeaveBothParallel(b *testing.B) {
	a := NewAdmission(Limits{MaxConcurrentOps: 100, MaxOpsPerSec: MaxRate})
	b.RunParallel(func(pb *testing.PB) {
		now := start
		for pb.Next() {
			now = now.Add(time.Microsecond)
			if a.Enter(now) == nil {
				a.Leave()
			}
		}
	})
}
