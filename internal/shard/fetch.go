package shard

import (
	"context"
	"encoding/binary"
	"sync"

	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/replication"
	"kimberlite/internal/tenantlog"
)

// fetchWorkers is how many tenants' logs are fetched at once.
const fetchWorkers = 4

// Fetch implements replication.Follower: it fetches another replica's
// checkpoint, and of each tenant's log the records that this one lacks. What
// came before it was broken off is found in the files by the next call.
func (s *Shard) Fetch(ctx context.Context, from ident.NodeID, atLeast uint64) (replication.Checkpoint, error) {
	c, err := s.o.Peer.FetchCheckpoint(ctx, from, s.o.ID, atLeast)
	if err != nil {
		return c, err
	}
	if c.Index < atLeast {
		return c, fault.New("fetch", fault.Unavailable, "node %s has a checkpoint at index %d, and %d is needed", from, c.Index, atLeast)
	}
	states, err := checkpointStates(c)
	if err != nil {
		return c, err
	}
	s.beginFetch(from, states)
	defer s.endFetch()
	s.o.Logger.Info("fetching from another replica", "shard", s.o.ID.String(), "node", from.String(), "index", c.Index, "tenants", len(states))
	return c, s.fetchTenants(ctx, from, states)
}

// checkpointStates decodes the tenants of a checkpoint.
func checkpointStates(c replication.Checkpoint) ([]*TenantState, error) {
	var states []*TenantState
	for _, kv := range c.KVs {
		if !IsTenantKey(kv.Key) {
			continue
		}
		st, err := DecodeState(kv.Value)
		if err != nil {
			return nil, err
		}
		states = append(states, st)
	}
	return states, nil
}

func (s *Shard) beginFetch(from ident.NodeID, states []*TenantState) {
	p := &FetchProgress{From: from, Tenants: len(states)}
	for _, st := range states {
		p.WantBytes += st.Log.TotalBytes
		if e, err := s.entry(st.ID); err == nil {
			e.mu.Lock()
			p.WantBytes -= min(e.state.Log.TotalBytes, st.Log.TotalBytes)
			e.mu.Unlock()
		}
	}
	s.copying.mu.Lock()
	defer s.copying.mu.Unlock()
	s.copying.progress = p
}

func (s *Shard) endFetch() {
	s.copying.mu.Lock()
	defer s.copying.mu.Unlock()
	s.copying.progress = nil
}

// fetchTenants brings the files of all tenants up, several at once. The first
// error ends it.
func (s *Shard) fetchTenants(ctx context.Context, from ident.NodeID, states []*TenantState) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	next := make(chan *TenantState)
	for range min(fetchWorkers, len(states)) {
		wg.Go(func() {
			for st := range next {
				if err := s.fetchTenant(ctx, from, st); err != nil {
					cancel(err)
				} else {
					s.copying.change(func(p *FetchProgress) { p.Done++ })
				}
			}
		})
	}
	for _, st := range states {
		if ctx.Err() != nil {
			break
		}
		next <- st
	}
	close(next)
	wg.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

// fetchTenant brings the files of one tenant's log up to a state's.
func (s *Shard) fetchTenant(ctx context.Context, from ident.NodeID, st *TenantState) error {
	if ctx.Err() != nil {
		return fault.OfContext("fetch", ctx)
	}
	e := s.arrive(st.ID)
	e.mending.Lock()
	defer e.mending.Unlock()
	log, err := s.pin(e)
	if err == nil {
		err = s.copyRecords(ctx, from, st.ID, log, st.Log)
		e.unpin()
		if !fault.Is(err, fault.Conflict) {
			return err
		}
		// What stands here is not the group's: it goes aside, whole.
		err = fault.Wrap("fetch", fault.Corruption, err, "the log of tenant %s is not the other replicas'", st.ID).ForTenant(st.ID)
	}
	if !fault.Is(err, fault.Corruption) {
		return err
	}
	s.applyMu.Lock()
	e.mu.Lock()
	if e.err == nil {
		err = s.damaged(e, s.applied+1, err)
	} else {
		err = nil
	}
	e.mu.Unlock()
	s.applyMu.Unlock()
	if err != nil {
		return err
	}
	return s.mendFrom(ctx, e, from, &st.Log)
}

// arrive returns the entry of a tenant, a new one when it is not the shard's
// yet. What a broken-off copy left of that one's log is kept, when it is sound.
func (s *Shard) arrive(id ident.TenantID) *entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.tenants[id]; e != nil {
		return e
	}
	e := s.arriving[id]
	if e == nil {
		e = &entry{id: id, state: TenantState{ID: id, Log: tenantlog.Start(id)}, err: errArriving(id)}
		s.arriving[id] = e
	}
	return e
}

// errArriving is why a tenant's log that is being copied here for the first
// time is not to be used.
func errArriving(id ident.TenantID) error {
	return fault.New("fetch", fault.Corruption, "the log of tenant %s is not here yet", id).ForTenant(id)
}

// Restored implements replication.Follower: the shard's state becomes the
// checkpoint's. Fetch has brought up the files.
func (s *Shard) Restored(c replication.Checkpoint) error {
	states, err := checkpointStates(c)
	if err != nil {
		return err
	}
	s.applyMu.Lock()
	defer s.applyMu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.applied = c.Index
	clear(s.damagedAt)
	tenants := make(map[ident.TenantID]*entry, len(states))
	clear(s.names)
	for _, st := range states {
		e := s.tenants[st.ID]
		if e == nil {
			e = s.arriving[st.ID]
		}
		if e == nil {
			e = &entry{id: st.ID}
		}
		s.adopt(e, st)
		tenants[st.ID] = e
		s.named(st)
	}
	for id, e := range s.tenants {
		if tenants[id] == nil {
			if err := s.removeTenant(e); err != nil {
				return err
			}
		}
	}
	for id, e := range s.arriving {
		if tenants[id] == nil {
			if err := s.removeTenant(e); err != nil {
				return err
			}
		}
	}
	s.tenants, s.arriving = tenants, map[ident.TenantID]*entry{}
	clear(s.dirty)
	clear(s.gone)
	return nil
}

// adopt gives a tenant the state of a checkpoint. The caller holds applyMu.
func (s *Shard) adopt(e *entry, st *TenantState) {
	e.mu.Lock()
	defer e.mu.Unlock()
	before := e.state
	e.state = *st
	if before.Phase != st.Phase && st.Phase != Serving {
		s.tellReset(st.ID)
	}
	if before.Log != st.Log {
		s.grown.add(st.ID)
	}
	if e.err != nil {
		s.damagedAt[e] = s.applied + 1
	}
	if e.err == nil && e.log != nil {
		if err := diverged(e.log.Position(), st.Log, st.ID); err != nil {
			_ = s.damaged(e, s.applied+1, err)
		}
	}
}

// ServeCheckpoint returns a checkpoint of at least index atLeast, for a replica
// that lags, making one when there is none yet.
func (s *Shard) ServeCheckpoint(ctx context.Context, atLeast uint64) (replication.Checkpoint, error) {
	c, err := s.group.LastCheckpoint()
	if err == nil && c.Index >= atLeast && s.hasAllOf(c) {
		return c, nil
	}
	if err != nil && !fault.Is(err, fault.NotFound) {
		return c, err
	}
	if err := s.Checkpoint(ctx); err != nil {
		return c, err
	}
	return s.group.LastCheckpoint()
}

// hasAllOf says whether all tenants of a checkpoint are still here. The log of
// one that has moved away since cannot be had, and no copy with it be made.
func (s *Shard) hasAllOf(c replication.Checkpoint) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, kv := range c.KVs {
		if !IsTenantKey(kv.Key) {
			continue
		}
		id, err := ident.NewTenantID(binary.BigEndian.Uint64(kv.Key[1:]))
		if err == nil && s.tenants[id] == nil {
			return false
		}
	}
	return true
}

// Status returns what this replica knows of its shard.
func (s *Shard) Status() Status {
	st := Status{Status: s.group.Status(), LogBytes: s.group.LogBytes()}
	for _, e := range s.damagedEntries() {
		st.Damaged = append(st.Damaged, e.id)
	}
	s.copying.mu.Lock()
	defer s.copying.mu.Unlock()
	if s.copying.progress != nil {
		p := *s.copying.progress
		st.Fetch = &p
	}
	st.SetAside = append(st.SetAside, s.copying.aside...)
	return st
}
