package telemetry

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"kimberlite/internal/clock"
	"kimberlite/internal/ident"
)

const (
	// sketchFactor is how many tenants are watched for each that has series.
	sketchFactor = 8
	// chooseEvery is how often it is looked which tenants do most.
	chooseEvery = time.Minute
	// otherTenants is the label of all that have no series of their own.
	otherTenants = "other"
)

// use is what a tenant did.
type use struct {
	statements, rows, errors, refusals int64
	busy                               time.Duration
}

func (u *use) add(v use) {
	u.statements += v.statements
	u.rows += v.rows
	u.errors += v.errors
	u.refusals += v.refusals
	u.busy += v.busy
}

// topTenants counts the use of the tenants that do most, each by itself, and
// that of all others together: at most n+1 label values, however many tenants
// there are. Once a minute it is looked who does most; one that loses its
// place is added to the others, so that no counter goes back but that of a
// tenant which comes again, from 0, as after a restart.
type topTenants struct {
	n     int
	clock clock.Clock

	mu     sync.Mutex // guards all below
	top    map[ident.TenantID]*use
	others use
	recent *sketch
	chosen time.Time
	source Source // nil until there is a node
}

func newTopTenants(n int, c clock.Clock) *topTenants {
	return &topTenants{n: n, clock: c, top: map[ident.TenantID]*use{}, recent: newSketch(sketchFactor * n), chosen: c.Now()}
}

// add counts a tenant's use.
func (t *topTenants) add(tenant ident.TenantID, u use) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.recent.add(tenant, uint64(max(u.statements, 0)))
	if s, ok := t.top[tenant]; ok {
		s.add(u)
		return
	}
	if len(t.top) < t.n {
		s := new(use)
		*s = u
		t.top[tenant] = s
		return
	}
	t.others.add(u)
}

// choose gives the places to those that did most lately. One that has a place
// keeps it against one that did a little more.
func (t *topTenants) choose(now time.Time) {
	t.chosen = now
	rank := func(c *counted) uint64 {
		if _, has := t.top[c.tenant]; has {
			return c.count + c.count/4
		}
		return c.count
	}
	most := slices.SortedFunc(slices.Values(t.recent.order), func(a, b *counted) int {
		return cmp.Or(cmp.Compare(rank(b), rank(a)), cmp.Compare(a.tenant.Uint64(), b.tenant.Uint64()))
	})
	most = most[:min(len(most), t.n)]
	keep := make(map[ident.TenantID]bool, len(most))
	for _, c := range most {
		keep[c.tenant] = true
	}
	for tenant, u := range t.top {
		if !keep[tenant] && len(most) == t.n {
			t.others.add(*u)
			delete(t.top, tenant)
		}
	}
	for tenant := range keep {
		if _, has := t.top[tenant]; !has && len(t.top) < t.n {
			t.top[tenant] = &use{}
		}
	}
	t.recent.halve()
}

func (t *topTenants) observe(source Source) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.source = source
}

// snapshot returns the counters by tenant, of the zero one for all others. A
// scrape is when the places are given anew: nobody sees them in between.
func (t *topTenants) snapshot() (map[ident.TenantID]use, Source) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if now := t.clock.Now(); now.Sub(t.chosen) >= chooseEvery {
		t.choose(now)
	}
	all := make(map[ident.TenantID]use, len(t.top)+1)
	for tenant, u := range t.top {
		all[tenant] = *u
	}
	all[ident.TenantID{}] = t.others
	return all, t.source
}
