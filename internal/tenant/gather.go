package tenant

import (
	"context"
	"sync"
	"time"

	"kimberlite/internal/audit"
)

// gathering is what waits to be written into a tenant's audit trail and can
// be caused at will: refused logins and denied statements. It belongs to the
// slot, since it outlives the tenant's being open.
type gathering struct {
	mu       sync.Mutex // guards all below
	gatherer audit.Gatherer
	// timer runs flush when something is due; nil when nothing waits.
	timer *time.Timer
}

// gather adds an entry to what waits. It never blocks on the disk: the trail
// is written by the timer's goroutine, which ends once it has.
func (s *slot) gather(e audit.Entry) {
	now := s.m.o.Clock.Now()
	g := &s.gathering
	g.mu.Lock()
	defer g.mu.Unlock()
	due := g.gatherer.Add(now, e)
	if g.timer == nil {
		g.timer = time.AfterFunc(due.Sub(now), func() { s.flushGathered(false) })
	}
}

// flushGathered writes what is due, or all that waits.
func (s *slot) flushGathered(all bool) {
	g := &s.gathering
	g.mu.Lock()
	now := s.m.o.Clock.Now()
	due, next := g.gatherer.Take(now, all)
	if g.timer != nil {
		g.timer.Stop()
		g.timer = nil
	}
	if !next.IsZero() {
		g.timer = time.AfterFunc(max(next.Sub(now), time.Millisecond), func() { s.flushGathered(false) })
	}
	g.mu.Unlock()
	if len(due) == 0 {
		return
	}
	rt, err := s.acquire(context.Background())
	if err == nil {
		defer s.release()
		err = rt.writer.note(expendable, due...)
	}
	if err != nil {
		s.m.o.Logger.Warn("refusals could not be written into the audit trail", "tenant", s.id.String(), "entries", len(due), "error", err.Error())
	}
}
