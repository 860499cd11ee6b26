package pgwire

import (
	"context"
	"sync"

	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
)

// lockKey names an advisory lock: a tenant's own, as pg_locks tells them apart.
type lockKey struct {
	tenant ident.TenantID
	pair   bool // two int4 rather than one int8
	hi, lo int32
}

// Limits of advisory locks.
const maxLocksPerSession = 10_000

// lockTable holds the advisory locks of all sessions of this server. Locks of
// one key are granted in the order in which they were asked for.
type lockTable struct {
	mu   sync.Mutex // guards all below, and what the locks hold
	keys map[lockKey]*lock
	held map[*session]map[lockKey]*holding
}

// lock is one key's holders and waiters.
type lock struct {
	holders map[*session]*holding
	queue   []*waiter
}

// holding counts how often a session holds a lock: for itself, and for its
// transaction.
type holding struct {
	session, transaction [2]int // by mode: shared, exclusive
}

type waiter struct {
	s         *session
	exclusive bool
	granted   chan struct{} // closed when it was granted
}

func newLockTable() *lockTable {
	return &lockTable{keys: map[lockKey]*lock{}, held: map[*session]map[lockKey]*holding{}}
}

func mode(exclusive bool) int {
	if exclusive {
		return 1
	}
	return 0
}

func (h *holding) count(exclusive bool) int {
	return h.session[mode(exclusive)] + h.transaction[mode(exclusive)]
}

func (h *holding) empty() bool { return h.count(false)+h.count(true) == 0 }

// compatible says whether s may hold the lock now.
func (l *lock) compatible(s *session, exclusive bool) bool {
	for other, h := range l.holders {
		if other != s && (exclusive || h.count(true) > 0) {
			return false
		}
	}
	return true
}

// note records that s holds the lock once more. The caller holds mu.
func (t *lockTable) note(k lockKey, l *lock, s *session, exclusive, transaction bool) {
	h := l.holders[s]
	if h == nil {
		h = &holding{}
		l.holders[s] = h
		if t.held[s] == nil {
			t.held[s] = map[lockKey]*holding{}
		}
		t.held[s][k] = h
	}
	if transaction {
		h.transaction[mode(exclusive)]++
	} else {
		h.session[mode(exclusive)]++
	}
}

// acquire takes a lock, waiting for it until ctx ends unless try is set: then
// false says that somebody else has it.
func (t *lockTable) acquire(ctx context.Context, s *session, k lockKey, exclusive, transaction, try bool) (bool, error) {
	t.mu.Lock()
	if len(t.held[s]) >= maxLocksPerSession {
		t.mu.Unlock()
		return false, fault.New("advisory lock", fault.TooLarge, "a session holds at most %d advisory locks", maxLocksPerSession).WithState("53200")
	}
	l := t.keys[k]
	if l == nil {
		l = &lock{holders: map[*session]*holding{}}
		t.keys[k] = l
	}
	_, again := l.holders[s] // who holds it already does not queue behind others
	if l.compatible(s, exclusive) && (again || len(l.queue) == 0) {
		t.note(k, l, s, exclusive, transaction)
		t.mu.Unlock()
		return true, nil
	}
	if try {
		t.mu.Unlock()
		return false, nil
	}
	if t.deadlocked(s, k) {
		t.mu.Unlock()
		return false, fault.New("advisory lock", fault.Conflict, "deadlock detected: roll back and try again").WithState("40P01")
	}
	w := &waiter{s: s, exclusive: exclusive, granted: make(chan struct{})}
	l.queue = append(l.queue, w)
	t.mu.Unlock()
	var gaveUp bool
	select {
	case <-w.granted:
	case <-ctx.Done():
		gaveUp = true
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	select {
	case <-w.granted:
		// Granted as a session's; put right which of the two it is.
		if transaction {
			h := l.holders[s]
			h.session[mode(exclusive)]--
			h.transaction[mode(exclusive)]++
		}
		if gaveUp {
			t.drop(k, s, exclusive, transaction)
			return false, fault.OfContext("advisory lock", ctx)
		}
		return true, nil
	default:
	}
	for i, other := range l.queue {
		if other == w {
			l.queue = append(l.queue[:i:i], l.queue[i+1:]...)
			break
		}
	}
	t.grant(k, l)
	return false, fault.OfContext("advisory lock", ctx)
}

// deadlocked says whether s, waiting for k, would wait for itself: whoever
// holds k, or stands before s in its queue, waits for something that s holds.
// The caller holds mu.
func (t *lockTable) deadlocked(s *session, k lockKey) bool {
	seen := map[*session]bool{}
	var reaches func(k lockKey) bool
	reaches = func(k lockKey) bool {
		l := t.keys[k]
		if l == nil {
			return false
		}
		check := func(other *session) bool {
			if other == s {
				return true
			}
			if seen[other] {
				return false
			}
			seen[other] = true
			wanted, waits := t.waitsFor(other)
			return waits && reaches(wanted)
		}
		for other := range l.holders {
			if (other != s || len(seen) > 0) && check(other) {
				return true
			}
		}
		return false
	}
	return reaches(k)
}

// waitsFor returns the lock that a session waits for. The caller holds mu.
func (t *lockTable) waitsFor(s *session) (lockKey, bool) {
	for k, l := range t.keys {
		for _, w := range l.queue {
			if w.s == s {
				return k, true
			}
		}
	}
	return lockKey{}, false
}

// grant gives the lock to those who wait for it, as far as that goes. The
// caller holds mu.
func (t *lockTable) grant(k lockKey, l *lock) {
	for len(l.queue) > 0 && l.compatible(l.queue[0].s, l.queue[0].exclusive) {
		w := l.queue[0]
		l.queue = l.queue[1:]
		t.note(k, l, w.s, w.exclusive, false)
		close(w.granted)
	}
	if len(l.holders) == 0 && len(l.queue) == 0 {
		delete(t.keys, k)
	}
}

// drop lets go of one holding. It says whether there was one. The caller holds
// mu.
func (t *lockTable) drop(k lockKey, s *session, exclusive, transaction bool) bool {
	l := t.keys[k]
	if l == nil || l.holders[s] == nil {
		return false
	}
	h := l.holders[s]
	n := &h.session[mode(exclusive)]
	if transaction {
		n = &h.transaction[mode(exclusive)]
	}
	if *n == 0 {
		return false
	}
	*n--
	t.settle(k, l, s, h)
	return true
}

// settle forgets a holding that has become empty and lets others in. The
// caller holds mu.
func (t *lockTable) settle(k lockKey, l *lock, s *session, h *holding) {
	if h.empty() {
		delete(l.holders, s)
		delete(t.held[s], k)
		if len(t.held[s]) == 0 {
			delete(t.held, s)
		}
	}
	t.grant(k, l)
}

// unlock lets go of a session-level lock. It says whether it was held.
func (t *lockTable) unlock(s *session, k lockKey, exclusive bool) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.drop(k, s, exclusive, false)
}

// release lets go of locks of a session: those of its transaction, and with
// alsoSession its own.
func (t *lockTable) release(s *session, transaction, alsoSession bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for k, h := range t.held[s] {
		if transaction {
			h.transaction = [2]int{}
		}
		if alsoSession {
			h.session = [2]int{}
		}
		t.settle(k, t.keys[k], s, h)
	}
}

func (t *lockTable) releaseTransaction(s *session) { t.release(s, true, false) }
func (t *lockTable) releaseSession(s *session)     { t.release(s, false, true) }
func (t *lockTable) releaseAll(s *session)         { t.release(s, true, true) }
