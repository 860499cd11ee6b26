package projection

import (
	"context"
	"sync"
	"time"
)

// Session is what SQL functions remember of one client between statements:
// the numbers that it has drawn from sequences. It is safe for concurrent use.
type Session struct {
	mu     sync.Mutex // guards all below
	values map[string]int64
	last   string // the sequence that was drawn from last, folded
}

type sessionKey struct{}

// WithSession returns a context whose statements belong to a session. Without
// one, currval and lastval have nothing to tell.
func WithSession(ctx context.Context, s *Session) context.Context {
	return context.WithValue(ctx, sessionKey{}, s)
}

func sessionOf(ctx context.Context) *Session {
	s, _ := ctx.Value(sessionKey{}).(*Session)
	return s
}

// note remembers a number that was drawn.
func (s *Session) note(sequence string, n int64) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.values == nil {
		s.values = map[string]int64{}
	}
	s.values[lower(sequence)], s.last = n, lower(sequence)
}

// current returns the number drawn last from a sequence; "" is the one that
// was drawn from last.
func (s *Session) current(sequence string) (int64, bool) {
	if s == nil {
		return 0, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if sequence == "" {
		sequence = s.last
	}
	n, ok := s.values[lower(sequence)]
	return n, ok
}

// Reset forgets all, as DISCARD does.
func (s *Session) Reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.values, s.last = nil, ""
}

type nowKey struct{}

// WithNow returns a context for whose statements it is the given time, as for
// all of one transaction. Without it a statement's time is when it asks first.
func WithNow(ctx context.Context, now time.Time) context.Context {
	return context.WithValue(ctx, nowKey{}, now)
}

// now is the time of a statement: the transaction's, or when it first asked.
func (g *guard) now() time.Time {
	if g.started.IsZero() {
		if at, ok := g.parent.Value(nowKey{}).(time.Time); ok {
			g.started = at
		} else {
			g.started = time.Now()
		}
	}
	return g.started
}
