package tenant

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/quota"
)

// slot is what stays of a tenant that is closed: its admission, so that
// limits outlive the LRU, and the way to open it. Once open, taking a
// reference costs two atomic operations and no lock.
type slot struct {
	id        ident.TenantID
	m         *Manager
	admission *quota.Admission

	refs atomic.Int64 // users; far below zero while closing
	rt   atomic.Pointer[Runtime]
	used atomic.Bool // since the eviction hand last passed

	mu sync.Mutex // serialises opening and closing

	gathering gathering
	keyMu     sync.Mutex // held while the KEK changes

	// headGone says that the HEAD file went with a damaged log.
	headGone atomic.Bool

	headMu sync.Mutex   // guards head, and the order of writes of the HEAD file
	head   ident.Offset // how many records the last head that we wrote covers
}

// closing is added to refs while a slot closes, so that every acquire sees a
// negative number and waits on mu.
const closing = -(1 << 40)

// acquire returns the open tenant, opening it when need be. The caller must
// release it.
func (s *slot) acquire(ctx context.Context) (*Runtime, error) {
	if s.refs.Add(1) > 0 {
		if rt := s.rt.Load(); rt != nil && rt.usable() {
			if !s.used.Load() {
				s.used.Store(true)
			}
			return rt, nil
		}
	}
	s.refs.Add(-1)
	return s.acquireSlow(ctx)
}

func (s *slot) release() { s.refs.Add(-1) }

func (s *slot) acquireSlow(ctx context.Context) (*Runtime, error) {
	term, err := s.m.term()
	if err != nil {
		return nil, err
	}
	return s.acquireIn(ctx, term)
}

// acquireIn returns the tenant open in a term, or following its log.
func (s *slot) acquireIn(ctx context.Context, term uint64) (*Runtime, error) {
	if err := s.settle(ctx, term); err != nil {
		return nil, err
	}
	s.mu.Lock()
	rt := s.rt.Load()
	fresh := rt == nil
	if fresh {
		if s.m.isClosed() {
			s.mu.Unlock()
			return nil, errClosed()
		}
		var err error
		if rt, err = s.m.openRuntime(ctx, s, term); err != nil {
			s.mu.Unlock()
			return nil, err
		}
		s.rt.Store(rt)
	}
	s.refs.Add(1)
	s.used.Store(true)
	s.mu.Unlock()
	if fresh {
		s.m.opened(s)
	}
	return rt, nil
}

func (m *Manager) isClosed() bool {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.closed
}

// brokenWait bounds how long a caller waits for the users of a broken
// projection to let go of it.
const brokenWait = 10 * time.Second

// settle makes sure that what is open, if anything, may be used in a term. A
// projection that is in doubt is closed, so that the next step opens and
// rebuilds it; one that was open in another term starts anew from the log.
// Both wait until its users are gone.
func (s *slot) settle(ctx context.Context, term uint64) error {
	deadline := time.Now().Add(brokenWait)
	for {
		rt := s.rt.Load()
		if rt == nil || !rt.broken.Load() && rt.inTerm(term) {
			return nil
		}
		if done, err := s.trySettle(ctx, term); done || err != nil {
			return err
		}
		if !rt.inTerm(term) {
			rt.interrupt()
		}
		select {
		case <-ctx.Done():
			return fault.OfContext("open", ctx).ForTenant(s.id)
		case <-time.After(time.Millisecond):
		}
		if time.Now().After(deadline) {
			return fault.New("open", fault.Unavailable, "tenant %s is being recovered and others still use it: try again", s.id).ForTenant(s.id)
		}
	}
}

// trySettle settles when nobody uses the tenant, and reports whether it did.
func (s *slot) trySettle(ctx context.Context, term uint64) (bool, error) {
	if !s.mu.TryLock() {
		return false, nil
	}
	defer s.mu.Unlock()
	if !s.refs.CompareAndSwap(0, closing) {
		return false, nil
	}
	defer s.refs.Add(-closing)
	rt := s.rt.Load()
	if rt == nil || !rt.broken.Load() && rt.inTerm(term) {
		return true, nil
	}
	if !rt.broken.Load() && !rt.locked() {
		err := rt.restart(ctx, term)
		if err == nil {
			return true, nil
		}
		s.m.o.Logger.Warn("an open tenant does not follow its log; it is opened anew", "tenant", s.id.String(), "error", err.Error())
	}
	s.rt.Store(nil)
	s.m.forget(s)
	return true, rt.close()
}

// tryClose closes the tenant when nobody uses it and reports whether it is
// closed now.
func (s *slot) tryClose() (bool, error) {
	if !s.mu.TryLock() {
		return false, nil
	}
	defer s.mu.Unlock()
	if !s.refs.CompareAndSwap(0, closing) {
		return false, nil
	}
	defer s.refs.Add(-closing)
	rt := s.rt.Swap(nil)
	if rt == nil {
		return true, nil
	}
	return true, rt.close()
}

// drain waits until the tenant is unused and closes it.
func (s *slot) drain(ctx context.Context) error {
	for {
		closed, err := s.tryClose()
		if closed {
			return err
		}
		if rt := s.rt.Load(); rt != nil {
			rt.interruptIdle()
		}
		select {
		case <-ctx.Done():
			return fault.New("close", fault.Timeout, "tenant %s is still in use", s.id).ForTenant(s.id)
		case <-time.After(200 * time.Microsecond):
		}
	}
}
