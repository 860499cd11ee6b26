package quota

import (
	"sync"
	"sync/atomic"
	"time"

	"kimberlite/internal/fault"
)

// slotRetry is when a refused operation should try again for a slot. How long
// the others take is not known; this is long enough not to spin.
const slotRetry = 50 * time.Millisecond

// Admission lets a tenant's operations in, as its limits of operations per
// second and of concurrent operations allow. Safe for concurrent use. Without
// a rate limit it takes no lock.
type Admission struct {
	limits   atomic.Pointer[Limits]
	inFlight atomic.Int64
	admitted atomic.Uint64
	refused  atomic.Uint64

	mu     sync.Mutex // guards bucket
	bucket Bucket

	paceMu sync.Mutex // guards pacer
	pacer  Pacer
}

// NewAdmission returns an Admission with nothing in flight and a full bucket.
// The limits must be valid.
func NewAdmission(l Limits) *Admission {
	a := &Admission{}
	a.SetLimits(l)
	return a
}

// SetLimits changes the limits for all operations from now on. Operations in
// flight go on, also when they are more than the new limit allows; a changed
// rate fills no bucket. The limits must be valid.
func (a *Admission) SetLimits(l Limits) { a.limits.Store(&l) }

// Limits returns the limits in force.
func (a *Admission) Limits() Limits { return *a.limits.Load() }

// Enter lets one operation in, which takes a slot until [Admission.Leave] and
// one token. It returns RateLimited or TooManyOps, in this order and with Quota
// set, when one of the two is lacking, and has then taken neither: do not call
// Leave.
func (a *Admission) Enter(now time.Time) error {
	l := a.limits.Load()
	if l.MaxOpsPerSec > 0 {
		if wait, ok := a.enterAtRate(l, now); !ok {
			return a.refuse(l, wait)
		}
	} else if !a.takeSlot(l.MaxConcurrentOps) {
		return a.refuse(l, 0)
	}
	a.admitted.Add(1)
	return nil
}

// enterAtRate takes a slot and a token, or neither. A wait of 0 with a refusal
// says that it was the slot that lacked.
func (a *Admission) enterAtRate(l *Limits, now time.Time) (wait time.Duration, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	// The token is taken from a copy, since whoever is refused a slot must not
	// have used a token; and the slot comes last, since a slot that is taken
	// and given back could have refused somebody else meanwhile.
	bucket := a.bucket
	if wait, ok = bucket.Take(now, l.MaxOpsPerSec, 1); !ok {
		a.bucket = bucket // refilled, nothing taken
		return wait, false
	}
	if !a.takeSlot(l.MaxConcurrentOps) {
		return 0, false
	}
	a.bucket = bucket
	return 0, true
}

// takeSlot counts one more in flight unless that is over the limit; 0 is
// unlimited.
func (a *Admission) takeSlot(limit int64) bool {
	if limit <= 0 {
		a.inFlight.Add(1)
		return true
	}
	for {
		n := a.inFlight.Load()
		if n >= limit {
			return false
		}
		if a.inFlight.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// refuse returns the refusal: RateLimited with a wait, TooManyOps without.
func (a *Admission) refuse(l *Limits, wait time.Duration) error {
	a.refused.Add(1)
	if wait > 0 {
		err := fault.New(op, fault.RateLimited,
			"too many operations: %s is %d and all of them are used; retry in %v or raise %s",
			OpsPerSec, l.MaxOpsPerSec, roundUp(wait), OpsPerSec)
		err.Quota = &fault.Quota{Limit: OpsPerSec, Value: l.MaxOpsPerSec, Usage: l.MaxOpsPerSec, RetryAfter: wait}
		return err
	}
	usage := max(a.inFlight.Load(), l.MaxConcurrentOps)
	err := fault.New(op, fault.TooManyOps,
		"too many operations at once: %s is %d and %d are running; retry when one of them has ended, in %v or so, or raise %s",
		ConcurrentOps, l.MaxConcurrentOps, usage, slotRetry, ConcurrentOps)
	err.Quota = &fault.Quota{Limit: ConcurrentOps, Value: l.MaxConcurrentOps, Usage: usage, RetryAfter: slotRetry}
	return err
}

// Pause returns how long whoever has to tell a client of a refusal made now
// holds it back: see [Pacer]. Ask once for each refusal.
func (a *Admission) Pause(now time.Time) time.Duration {
	a.paceMu.Lock()
	defer a.paceMu.Unlock()
	return a.pacer.Refuse(now)
}

// roundUp makes a wait readable, and never shorter.
func roundUp(wait time.Duration) time.Duration {
	step := time.Microsecond
	if wait > time.Millisecond {
		step = time.Millisecond
	}
	return (wait + step - 1).Truncate(step)
}

// Leave gives the slot of one admitted operation back. It panics when none is
// in flight: a slot that was never taken would let one too many in.
func (a *Admission) Leave() {
	if a.inFlight.Add(-1) < 0 {
		panic("quota: Leave without Enter")
	}
}

// InFlight returns how many operations are in flight.
func (a *Admission) InFlight() int64 { return a.inFlight.Load() }

// Admitted returns how many operations were let in since the start.
func (a *Admission) Admitted() uint64 { return a.admitted.Load() }

// Refused returns how many operations were refused since the start.
func (a *Admission) Refused() uint64 { return a.refused.Load() }
