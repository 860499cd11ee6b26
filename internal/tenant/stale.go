package tenant

import (
	"context"
	"time"
)

// Stale returns a handle on the same tenant whose reads this node answers
// itself, leader or not, from what was acknowledged at least up to maxLag ago;
// when it lags more they are refused as Misrouted. Its writes go to the leader
// like any other's. 0 asks for the leader, as handles do that were not made by
// Stale.
func (t *Tenant) Stale(maxLag time.Duration) *Tenant {
	c := *t
	c.maxLag = maxLag
	return &c
}

// acquireStale returns the open tenant as it was at most maxLag ago, or later.
func (s *slot) acquireStale(ctx context.Context, maxLag time.Duration) (*Runtime, error) {
	if _, leads := s.m.o.Shard.Lead(); leads {
		return s.acquireRead(ctx, 0)
	}
	if err := s.m.o.Shard.Fresh(ctx, maxLag); err != nil {
		return nil, err
	}
	if err := s.readable(); err != nil {
		return nil, err
	}
	return s.acquireFollowing(ctx)
}
