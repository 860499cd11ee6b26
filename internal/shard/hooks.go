package shard

import (
	"context"
	"sync"
	"time"

	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/replication"
)

// Hooks are how the shard tells who runs its tenants what they must act on.
// They may be called with locks held: they must not block, nor call back.
type Hooks struct {
	// Lead says that the replica took or lost the lead, or that the term
	// changed.
	Lead func()
	// Reset says that a tenant's log was closed under its users, or that the
	// shard serves nothing of it any more.
	Reset func(id ident.TenantID)
}

// SetHooks sets the hooks.
func (s *Shard) SetHooks(h Hooks) { s.hooks.Store(&h) }

// changed is told of every change of the group's leader, term or members.
func (s *Shard) changed(st replication.Status) {
	if h := s.hooks.Load(); h != nil && h.Lead != nil {
		h.Lead()
	}
	if s.o.OnChange != nil {
		s.o.OnChange(st)
	}
}

func (s *Shard) tellReset(id ident.TenantID) {
	if h := s.hooks.Load(); h != nil && h.Reset != nil {
		h.Reset(id)
	}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// grown are the tenants whose logs got records that this replica did not write
// itself, for projections that follow them.
type grown struct {
	mu   sync.Mutex // guards set
	set  map[ident.TenantID]struct{}
	wake chan struct{}
}

func (g *grown) init() {
	g.set, g.wake = map[ident.TenantID]struct{}{}, make(chan struct{}, 1)
}

func (g *grown) add(id ident.TenantID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.set[id] = struct{}{}
}

func (g *grown) signal() {
	g.mu.Lock()
	some := len(g.set) > 0
	g.mu.Unlock()
	if some {
		signal(g.wake)
	}
}

// Grown returns a channel that receives when TakeGrown may have something.
func (s *Shard) Grown() <-chan struct{} { return s.grown.wake }

// TakeGrown returns up to limit tenants whose logs have grown here other than
// by this replica's own writes, since it last returned them.
func (s *Shard) TakeGrown(limit int) []ident.TenantID {
	g := &s.grown
	g.mu.Lock()
	defer g.mu.Unlock()
	var ids []ident.TenantID
	for id := range g.set {
		if len(ids) == limit {
			signal(g.wake) // there is more
			break
		}
		ids = append(ids, id)
		delete(g.set, id)
	}
	return ids
}

// Replicated says whether the shard has, or may have, other replicas.
func (s *Shard) Replicated() bool { return s.replicated }

// Replayed says whether all that this replica had applied before it was opened
// is applied again: until then its logs may be shorter than they were.
func (s *Shard) Replayed() bool {
	if s.replayed.Load() {
		return true
	}
	st := s.group.Status()
	if st.Applied < s.lastAtOpen && st.Applied != st.Last {
		return false
	}
	s.replayed.Store(true)
	return true
}

// fresh is how recent what this replica has applied is known to be.
type fresh struct {
	mu   sync.Mutex // guards asOf
	asOf time.Time
	// asking has one token: who asks the leader.
	asking chan struct{}
}

func (f *fresh) within(maxLag time.Duration) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return !f.asOf.IsZero() && time.Since(f.asOf) <= maxLag
}

// freshPoll is how often a replica looks whether it has applied enough.
const freshPoll = time.Millisecond

// Fresh returns once this replica has applied all that was acknowledged maxLag
// ago. When it does not know that, it asks the leader and waits for at most
// maxLag. Misrouted says that it lags more, or that no leader is known.
func (s *Shard) Fresh(ctx context.Context, maxLag time.Duration) error {
	if !s.replicated {
		return nil
	}
	if s.fresh.within(maxLag) {
		return nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, maxLag, s.errLags())
	defer cancel()
	select {
	case s.fresh.asking <- struct{}{}:
		defer func() { <-s.fresh.asking }()
	case <-ctx.Done():
		return s.lags(ctx)
	}
	if s.fresh.within(maxLag) {
		return nil
	}
	asked := time.Now()
	index, err := s.leadersIndex(ctx)
	if err != nil {
		return err
	}
	poll := time.NewTicker(freshPoll)
	defer poll.Stop()
	for s.group.Applied() < index {
		select {
		case <-poll.C:
		case <-ctx.Done():
			return s.lags(ctx)
		}
	}
	s.fresh.mu.Lock()
	defer s.fresh.mu.Unlock()
	s.fresh.asOf = asked
	return nil
}

func (s *Shard) lags(ctx context.Context) error {
	if err := context.Cause(ctx); fault.Is(err, fault.Misrouted) {
		return err
	}
	return fault.OfContext("read", ctx)
}

func (s *Shard) errLags() error {
	return fault.New("read", fault.Misrouted, "this replica of shard %s lags more than the session allows: ask the leader", s.o.ID).WithLeader(s.Leader())
}

// leadersIndex returns an index that covers all that is acknowledged.
func (s *Shard) leadersIndex(ctx context.Context) (uint64, error) {
	if _, ok := s.Lead(); ok {
		return s.ServeReadIndex(ctx)
	}
	leader := s.Leader()
	if leader == (ident.NodeID{}) || leader == s.o.Node || s.o.Peer == nil {
		return 0, s.ErrMisrouted("read")
	}
	index, err := s.o.Peer.ReadIndex(ctx, leader, s.o.ID)
	if err != nil {
		return 0, fault.Wrap("read", fault.Misrouted, err, "the leader of shard %s does not say how far it is", s.o.ID).WithLeader(leader)
	}
	return index, nil
}
