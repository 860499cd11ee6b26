package rpc

import (
	"sync"

	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
)

// tally counts what each tenant has at once, up to a limit.
type tally struct {
	most int
	mu   sync.Mutex // guards now
	now  map[ident.TenantID]int
}

func newTally(most int) *tally { return &tally{most: most, now: map[ident.TenantID]int{}} }

// enter takes a place of a tenant's; leave gives it back.
func (t *tally) enter(id ident.TenantID, what string) (leave func(), err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.now[id] >= t.most {
		return nil, fault.New("rpc", fault.TooManyOps, "the tenant has %d %s already: end one first", t.most, what).ForTenant(id)
	}
	t.now[id]++
	return func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if t.now[id]--; t.now[id] == 0 {
			delete(t.now, id)
		}
	}, nil
}
