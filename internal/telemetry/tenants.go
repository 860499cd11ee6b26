package telemetry

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

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

	statements, rows, errors, refusals, busy *prometheus.Desc

	mu     sync.Mutex // guards all below
	top    map[ident.TenantID]*use
	others use
	recent *sketch
	chosen time.Time
}

func newTopTenants(n int, c clock.Clock) *topTenants {
	desc := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc("kimberlite_tenant_"+name, help+", for the tenants that do most, by id; \"other\" is all others.", []string{"tenant"}, nil)
	}
	return &topTenants{
		n: n, clock: c, top: map[ident.TenantID]*use{}, recent: newSketch(sketchFactor * n), chosen: c.Now(),
		statements: desc("statements_total", "Statements and requests"),
		rows:       desc("rows_total", "Rows returned or changed"),
		errors:     desc("errors_total", "Statements and requests that failed"),
		refusals:   desc("quota_refusals_total", "Statements and requests that a quota refused"),
		busy:       desc("busy_seconds_total", "Time that statements and requests took"),
	}
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

// Describe is for the registry.
func (t *topTenants) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{t.statements, t.rows, t.errors, t.refusals, t.busy} {
		ch <- d
	}
}

// Collect is for the registry: it gives it the counters as they are.
func (t *topTenants) Collect(ch chan<- prometheus.Metric) {
	for label, u := range t.snapshot() {
		count := func(d *prometheus.Desc, v float64) {
			ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v, label)
		}
		count(t.statements, float64(u.statements))
		count(t.rows, float64(u.rows))
		count(t.errors, float64(u.errors))
		count(t.refusals, float64(u.refusals))
		count(t.busy, u.busy.Seconds())
	}
}

// snapshot returns the counters by label. A scrape is when the places are
// given anew: nobody sees them in between.
func (t *topTenants) snapshot() map[string]use {
	t.mu.Lock()
	defer t.mu.Unlock()
	if now := t.clock.Now(); now.Sub(t.chosen) >= chooseEvery {
		t.choose(now)
	}
	all := make(map[string]use, len(t.top)+1)
	for tenant, u := range t.top {
		all[tenant.String()] = *u
	}
	all[otherTenants] = t.others
	return all
}

// names returns the tenants that have series of their own.
func (t *topTenants) names() []ident.TenantID {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := make([]ident.TenantID, 0, len(t.top))
	for tenant := range t.top {
		all = append(all, tenant)
	}
	return all
}
