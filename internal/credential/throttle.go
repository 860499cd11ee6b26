package credential

import (
	"container/list"
	"net/netip"
	"time"
)

// ThrottleLimits say how failed logins slow down further ones.
type ThrottleLimits struct {
	// FreePair and FreeAddress are how many failures of a tenant from an
	// address, and of an address in all, cost nothing.
	FreePair, FreeAddress int
	// Delay is the first delay; it doubles with every failure up to MaxDelay.
	Delay, MaxDelay time.Duration
	// Forget is how long after the last failure all are forgotten.
	Forget time.Duration
	// MaxEntries bounds what is remembered; the oldest goes first.
	MaxEntries int
}

// DefaultThrottleLimits returns the limits of a server.
func DefaultThrottleLimits() ThrottleLimits {
	return ThrottleLimits{
		FreePair: 10, FreeAddress: 100, Delay: 250 * time.Millisecond, MaxDelay: time.Minute,
		Forget: 15 * time.Minute, MaxEntries: 64 << 10,
	}
}

// Throttle remembers failed logins: by what was tried from where, and by
// where alone. It is not safe for concurrent use.
type Throttle struct {
	limits  ThrottleLimits
	entries map[throttleKey]*list.Element
	order   *list.List // of *throttled, the latest failure last
}

// throttleKey is a tenant as the client named it and an address; the tenant
// is "" for the address alone.
type throttleKey struct {
	tenant  string
	address netip.Addr
}

type throttled struct {
	key      throttleKey
	failures int
	last     time.Time
	until    time.Time
}

// NewThrottle returns a throttle without memories.
func NewThrottle(l ThrottleLimits) *Throttle {
	return &Throttle{limits: l, entries: map[throttleKey]*list.Element{}, order: list.New()}
}

// keys returns what an attempt counts under. An IPv6 address counts as its
// /64, which is what one customer has.
func keys(tenant string, address netip.Addr) (pair, alone throttleKey) {
	address = address.Unmap().WithZone("")
	if address.Is6() {
		if p, err := address.Prefix(64); err == nil {
			address = p.Addr()
		}
	}
	return throttleKey{"=" + tenant, address}, throttleKey{"", address}
}

// Blocked says whether an attempt now must fail, whatever it proves.
func (t *Throttle) Blocked(now time.Time, tenant string, address netip.Addr) bool {
	pair, alone := keys(tenant, address)
	return t.blocked(now, pair) || t.blocked(now, alone)
}

func (t *Throttle) blocked(now time.Time, k throttleKey) bool {
	e := t.entries[k]
	return e != nil && now.Before(e.Value.(*throttled).until) //nolint:forcetypeassert // only these are in it
}

// Failed notes a failed attempt that was not blocked.
func (t *Throttle) Failed(now time.Time, tenant string, address netip.Addr) {
	pair, alone := keys(tenant, address)
	t.fail(now, pair, t.limits.FreePair)
	t.fail(now, alone, t.limits.FreeAddress)
}

func (t *Throttle) fail(now time.Time, k throttleKey, free int) {
	e := t.entries[k]
	if e == nil {
		for len(t.entries) >= t.limits.MaxEntries {
			t.drop(t.order.Front())
		}
		e = t.order.PushBack(&throttled{key: k})
		t.entries[k] = e
	}
	m := e.Value.(*throttled) //nolint:forcetypeassert // only these are in it
	if now.Sub(m.last) > t.limits.Forget {
		m.failures = 0
	}
	m.failures++
	m.last = now
	m.until = now.Add(t.limits.delay(m.failures - free))
	t.order.MoveToBack(e)
}

// delay is what the n-th failure over the free ones costs.
func (l *ThrottleLimits) delay(n int) time.Duration {
	if n <= 0 {
		return 0
	}
	d := l.Delay
	for ; n > 1 && d < l.MaxDelay; n-- {
		d *= 2
	}
	return min(d, l.MaxDelay)
}

// Succeeded forgets the failures of a tenant from an address. Those of the
// address stay: one good login must not pay for guesses elsewhere.
func (t *Throttle) Succeeded(tenant string, address netip.Addr) {
	pair, _ := keys(tenant, address)
	if e := t.entries[pair]; e != nil {
		t.drop(e)
	}
}

func (t *Throttle) drop(e *list.Element) {
	delete(t.entries, e.Value.(*throttled).key) //nolint:forcetypeassert // only these are in it
	t.order.Remove(e)
}

// Len returns how many memories there are.
func (t *Throttle) Len() int { return len(t.entries) }
