package tenant

import (
	"context"
	"time"

	"kimberlite/internal/ident"
	"kimberlite/internal/shard"
)

// tellChanged is called when the lead changes, reset when a tenant's log was
// closed or its shard serves nothing of it any more.
func (m *Manager) tellChanged() {
	select {
	case m.changed <- struct{}{}:
	default:
	}
}

func (m *Manager) reset(id ident.TenantID) {
	m.mu.RLock()
	s := m.slots[id]
	m.mu.RUnlock()
	if s == nil {
		return
	}
	if rt := s.rt.Load(); rt != nil {
		rt.broken.Store(true)
	}
	s.headGone.Store(true)
	m.tellChanged()
}

// tendEvery is how often open tenants that are still in use are looked at
// after a change.
const tendEvery = 20 * time.Millisecond

// tend settles open tenants after each change of the lead, so that nothing of
// an old term goes on and a new leader's are ready, until Close.
func (m *Manager) tend() {
	again := time.NewTimer(0)
	defer again.Stop()
	for {
		select {
		case <-m.ctx.Done():
			return
		case <-m.changed:
		case <-again.C:
		}
		if !m.settleOpen() {
			again.Reset(tendEvery)
		}
	}
}

// settleOpen settles what is open, and reports whether all of it is.
func (m *Manager) settleOpen() bool {
	term, ok := m.o.Shard.Lead()
	if !ok {
		term = following
	}
	m.openMu.Lock()
	open := append([]*slot(nil), m.open...)
	m.openMu.Unlock()
	settled := true
	for _, s := range open {
		rt := s.rt.Load()
		if rt == nil || !rt.broken.Load() && rt.inTerm(term) {
			continue
		}
		rt.interrupt()
		done, err := s.trySettle(m.ctx, term)
		if err != nil && m.ctx.Err() == nil {
			m.o.Logger.Warn("an open tenant closed with an error; it recovers from its log", "tenant", s.id.String(), "error", err.Error())
		}
		settled = settled && (done || err != nil)
	}
	return settled && (ok || !m.o.Shard.Taking())
}

// followEvery is how often the projections of tenants that another replica
// writes are brought up, followAtOnce how many between two looks at the clock.
const (
	followEvery  = time.Second
	followAtOnce = 64
)

// follow keeps the projections of recently written tenants near their logs,
// so that a change of leader replays little, until Close.
func (m *Manager) follow() {
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		select {
		case <-m.ctx.Done():
			return
		case <-pause.C:
		}
		select {
		case <-m.ctx.Done():
			return
		case <-m.o.Shard.Grown():
		}
		for _, id := range m.o.Shard.TakeGrown(followAtOnce) {
			if err := m.followOne(id); err != nil && m.ctx.Err() == nil {
				m.o.Logger.Debug("a projection does not follow its log", "tenant", id.String(), "error", err.Error())
			}
		}
		pause.Reset(followEvery)
	}
}

// followOne brings the projection of one tenant up, unless it is written here.
func (m *Manager) followOne(id ident.TenantID) error {
	st, err := m.o.Shard.Tenant(id)
	if err != nil {
		return err
	}
	if _, leads := m.o.Shard.Lead(); leads && st.Phase != shard.Incoming {
		return nil
	}
	s, err := m.slot(id)
	if err != nil {
		return err
	}
	_, err = s.acquireFollowing(m.ctx)
	if err == nil {
		s.release()
	}
	return err
}

// acquireFollowing returns the tenant open as a follower of its log, brought
// up to what this replica has applied.
func (s *slot) acquireFollowing(ctx context.Context) (*Runtime, error) {
	var rt *Runtime
	if s.refs.Add(1) > 0 {
		rt = s.rt.Load()
	}
	if rt == nil || rt.broken.Load() || rt.locked() || !rt.inTerm(following) {
		s.refs.Add(-1)
		var err error
		if rt, err = s.acquireIn(ctx, following); err != nil {
			return nil, err
		}
	}
	if err := rt.keepUp(ctx); err != nil {
		s.release()
		return nil, err
	}
	return rt, nil
}

// keepUp brings a follower up to its log.
func (rt *Runtime) keepUp(ctx context.Context) error {
	st, err := rt.m.o.Shard.Tenant(rt.id)
	if err != nil {
		return err
	}
	rt.followMu.Lock()
	defer rt.followMu.Unlock()
	err = rt.catchUpTo(ctx, &st)
	if err != nil && ctx.Err() == nil {
		rt.suspect(err)
		rt.broken.Store(true) // the next opening follows the log from where it is
	}
	return err
}
