package shard

import (
	"context"
	"errors"
	"sync"
	"time"

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
	index, entries, states := s.capture()
	if len(entries) == 0 {
		return nil
	}
	err := s.syncAll(ctx, entries, states)
	if err == nil {
		err = s.save(index, states)
	}
	if err != nil {
		s.restoreDirty(entries)
	}
	return err
}

// capture takes the applied index and a copy of what changed up to it.
func (s *Shard) capture() (uint64, []*entry, []TenantState) {
	s.applyMu.Lock()
	defer s.applyMu.Unlock()
	entries := make([]*entry, 0, len(s.dirty))
	states := make([]TenantState, 0, len(s.dirty))
	for e := range s.dirty {
		e.mu.Lock()
		entries = append(entries, e)
		states = append(states, e.state)
		e.mu.Unlock()
	}
	clear(s.dirty)
	index := s.applied
	if s.held != 0 {
		// States may be newer than the index: what is applied again then
		// finds its effect there already.
		index = min(index, s.held-1)
	}
	return index, entries, states
}

func (s *Shard) restoreDirty(entries []*entry) {
	s.applyMu.Lock()
	defer s.applyMu.Unlock()
	for _, e := range entries {
		s.dirty[e] = struct{}{}
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
	if e.err != nil {
		// What its files hold was synced when they were closed; what they
		// lack stays in the replicated log.
		e.mu.Unlock()
		return nil //nolint:nilerr // the damage is the tenant's own matter
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

func (s *Shard) save(index uint64, states []TenantState) error {
	kvs, err := statePuts(states)
	if err != nil {
		return err
	}
	return s.group.SaveCheckpoint(index, kvs)
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
	s.done.Wait()
	var err error
	if s.Err() == nil {
		err = s.Checkpoint(context.Background())
	}
	return errors.Join(err, s.group.Close(), s.closeLogs())
}
