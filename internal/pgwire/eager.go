package pgwire

import (
	"sync/atomic"
	"syscall"
	"time"
)

const (
	// eagerFor is how long a session looks for its client's next request
	// before it sleeps. To be woken takes longer than that on many machines:
	// the processor that it is to run on sleeps, too.
	eagerFor = 50 * time.Microsecond
	// promptWithin is how soon a client has to come back, as measured by who
	// slept meanwhile, to be waited for eagerly.
	promptWithin = 200 * time.Microsecond
	// aloneAfter is how many requests in a row have to be one session's for it
	// to be waited for eagerly. With several clients at it, whoever waited for
	// one of them would keep a processor from the others.
	aloneAfter = 16
)

// eagerness is what the sessions of a server share: a processor is spent on
// waiting only for the one client that is there, and only while there is
// nothing to do for any other.
type eagerness struct {
	working atomic.Int32            // sessions that are not waiting for their clients
	last    atomic.Pointer[waiting] // whose client was the last to come
}

// waiting is one session's side of it: it is between two reads of the client.
type waiting struct {
	shared *eagerness
	socket syscall.RawConn // nil: never eager
	since  time.Time
	prompt bool // the client came back soon the last time
	streak int  // how often it came in a row, and no other did
}

// begin says that the session waits, and may look for a while.
func (w *waiting) begin() {
	left := w.shared.working.Add(-1)
	if w.socket == nil {
		return
	}
	w.since = time.Now()
	if !w.prompt || w.streak < aloneAfter || left > 0 {
		return
	}
	for !arrived(w.socket) && w.shared.working.Load() == 0 && time.Since(w.since) < eagerFor {
	}
}

// end says that there is something to do.
func (w *waiting) end() {
	w.shared.working.Add(1)
	if w.socket == nil {
		return
	}
	w.prompt = time.Since(w.since) < promptWithin
	if w.shared.last.Load() == w {
		w.streak++
	} else {
		w.shared.last.Store(w)
		w.streak = 0
	}
}
