package shard

import (
	"context"
	"errors"
	"sync"
	"time"

	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/replication"
	"kimberlite/internal/tenantlog"
)

// syncWorkers is how many tenants' files a checkpoint syncs at once: enough
// to keep a disk's queue busy, few enough to leave the foreground its turn.
const syncWorkers = 8

// Checkpoint makes every applied record durable in its tenant's own files,
// has the heads signed, saves the shard's state and only then shortens the
// replicated log. Writes go on meanwhile. When it fails, nothing is
// shortened and the next checkpoint does the work again.
func (s *Shard) Checkpoint(ctx context.Context) error {
	s.checkpointMu.Lock()
	defer s.checkpointMu.Unlock()
	if err := s.sweep(); err != nil {
		return err
	}
	c := s.capture()
	if len(c.entries) == 0 && len(c.gone) == 0 {
		return nil
	}
	err := s.syncAll(ctx, c.entries, c.states)
	if err == nil && len(c.gone) > 0 {
		err = s.removeReleased()
		s.swept = false // who still had one open may have made its directory again
	}
	if err == nil {
		err = s.save(c)
	}
	if err != nil {
		s.restore(c)
	}
	return err
}

// captured is what a checkpoint saves: copies of what changed up to an index.
type captured struct {
	index   uint64
	entries []*entry
	states  []TenantState
	gone    []ident.TenantID
}

// capture takes the applied index and a copy of what changed up to it.
func (s *Shard) capture() captured {
	s.applyMu.Lock()
	defer s.applyMu.Unlock()
	if s.replicated && len(s.damagedAt) > 0 {
		// What is saved must be the state at the index exactly, or replicas
		// would judge what they apply again by another state. The damage is
		// mended from another replica soon.
		return captured{}
	}
	c := captured{index: s.applied}
	for e := range s.dirty {
		e.mu.Lock()
		if !e.released {
			c.entries = append(c.entries, e)
			c.states = append(c.states, e.state)
		}
		e.mu.Unlock()
	}
	for id := range s.gone {
		c.gone = append(c.gone, id)
	}
	clear(s.dirty)
	clear(s.gone)
	for _, held := range s.damagedAt {
		// States may be newer than the index: what is applied again then
		// finds its effect there already.
		c.index = min(c.index, held-1)
	}
	return c
}

func (s *Shard) restore(c captured) {
	s.applyMu.Lock()
	defer s.applyMu.Unlock()
	for _, e := range c.entries {
		s.dirty[e] = struct{}{}
	}
	for _, id := range c.gone {
		s.gone[id] = struct{}{}
	}
}

// syncAll syncs the captured tenants' logs, several at once.
func (s *Shard) syncAll(ctx context.Context, entries []*entry, states []TenantState) error {
	var (
		wg   sync.WaitGroup
		mu   sync.Mutex // guards errs
		errs []error
		next = make(chan int)
	)
	for range min(syncWorkers, len(entries)) {
		wg.Go(func() {
			for i := range next {
				if err := s.syncOne(ctx, entries[i], states[i].Log); err != nil {
					mu.Lock()
					errs = append(errs, err)
					mu.Unlock()
				}
			}
		})
	}
	for i := range entries {
		next <- i
	}
	close(next)
	wg.Wait()
	return errors.Join(errs...)
}

func (s *Shard) syncOne(ctx context.Context, e *entry, at tenantlog.Position) error {
	e.mu.Lock()
	if e.err != nil && s.replicated {
		defer e.mu.Unlock()
		return fault.Wrap("checkpoint", fault.Unavailable, e.err, "the log of tenant %s was found damaged meanwhile", e.state.ID)
	}
	if e.err != nil {
		// What its files hold was synced when they were closed; what they
		// lack stays in the replicated log.
		e.mu.Unlock()
		return nil
	}
	log := e.log
	if log != nil {
		e.pins++
	}
	e.mu.Unlock()
	if log != nil {
		err := log.Sync()
		e.mu.Lock()
		e.pins--
		e.mu.Unlock()
		if err != nil {
			return err
		}
	}
	if s.signHead == nil || at.Next.Uint64() == 0 {
		return nil
	}
	return s.signHead(ctx, e.state.ID, at)
}

func (s *Shard) save(c captured) error {
	puts, err := statePuts(c.states)
	if err != nil {
		return err
	}
	kvs := make([]replication.KV, 0, len(c.gone)+len(puts))
	for _, id := range c.gone { // one that came back is put again after
		kvs = append(kvs, replication.KV{Key: tenantKey(id)})
	}
	return s.group.SaveCheckpoint(c.index, append(kvs, puts...))
}

// checkpointLoop makes checkpoints by log size and by time until Close.
func (s *Shard) checkpointLoop() {
	var tick <-chan time.Time
	if s.o.CheckpointInterval > 0 {
		t := time.NewTicker(s.o.CheckpointInterval)
		defer t.Stop()
		tick = t.C
	}
	for {
		select {
		case <-s.stop:
			return
		case <-s.wake:
		case <-tick:
		}
		if err := s.Checkpoint(context.Background()); err != nil {
			s.o.Logger.Error("checkpoint failed; the replicated log is kept", "shard", s.o.ID.String(), "error", err.Error())
		}
	}
}

// Close makes a last checkpoint and stops. The caller has closed the tenants
// before, so that nobody proposes any more.
func (s *Shard) Close() error {
	close(s.stop)
	s.cancel()
	s.done.Wait()
	var err error
	if s.Err() == nil {
		err = s.Checkpoint(context.Background())
	}
	return errors.Join(err, s.group.Close(), s.closeLogs())
}
