package tenant

import (
	"context"
	"time"

	"kimberlite/internal/fault"
)

// Stale returns a handle on the same tenant whose reads this node answers
// itself, leader or not, from what it knew at most maxLag ago; when it lags
// more they are refused as Misrouted. It writes nothing. 0 asks for the leader,
// as handles do that were not made by Stale.
func (t *Tenant) Stale(maxLag time.Duration) *Tenant {
	c := *t
	c.maxLag = maxLag
	return &c
}

// SettleKeys destroys what interrupted changes of keys have left: wrapped KEKs
// that no tenant's envelope names. The shard's leader calls it once in a term,
// after it has taken the lead.
func (m *Manager) SettleKeys(ctx context.Context) error {
	return fault.New("settle keys", fault.Unsupported, "this build does not spread keys")
}
