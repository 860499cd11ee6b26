package tenant

import (
	"sync"
	"sync/atomic"
)

// watch wakes those who wait for new records.
type watch struct {
	mu sync.Mutex // guards ch and closed
	// ch is closed when a record arrives, and replaced.
	ch      chan struct{}
	closed  bool
	waiting atomic.Int32
}

func (w *watch) init() { w.ch = make(chan struct{}) }

// next returns a channel that closes when a record arrives after the call.
// done must be called once it is no longer waited for.
func (w *watch) next() (ch <-chan struct{}, done func()) {
	w.waiting.Add(1)
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.ch, func() { w.waiting.Add(-1) }
}

func (w *watch) notify() {
	if w.waiting.Load() == 0 {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.closed {
		close(w.ch)
		w.ch = make(chan struct{})
	}
}

// kick wakes all who wait, whether or not anything came.
func (w *watch) kick() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.closed {
		close(w.ch)
		w.ch = make(chan struct{})
	}
}

func (w *watch) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.closed {
		w.closed = true
		close(w.ch)
	}
}
