package pgwire

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// control is the side of a session that other goroutines use: to end it, and
// to cancel the statement that it runs.
type control struct {
	raw net.Conn // the socket; deadlines of it hold for TLS, too
	// why the session has to end, once it has to.
	why atomic.Pointer[error]

	mu      sync.Mutex // guards all below
	running bool
	ctx     context.Context // of statements, until one is cancelled
	cancel  context.CancelCauseFunc
	parent  context.Context
	limited bool // a read deadline is set
	copying bool // the statement that runs waits for its client's data
	relaxed int  // how often a suspended portal was let go for its time
	// passed ends a session that another node serves, or is nil.
	passed func(cancelRunning bool)
}

// reason returns why the session has to end, or nil.
func (c *control) reason() error {
	if p := c.why.Load(); p != nil {
		return *p
	}
	return nil
}

// end ends the session: at once when it waits for its client or cancelRunning
// says so, and else after the statement that it runs.
func (c *control) end(why error, cancelRunning bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.why.CompareAndSwap(nil, &why)
	if c.passed != nil {
		c.passed(cancelRunning)
		return
	}
	past := time.Unix(1, 0)
	_ = c.raw.SetReadDeadline(past)                              // a closed one has ended already
	_ = c.raw.SetWriteDeadline(time.Now().Add(10 * time.Second)) // to say so
	if cancelRunning && c.running {
		c.cancel(why)
	}
}

// passTo has end call passed from now on, also for an end that came before.
func (c *control) passTo(passed func(cancelRunning bool)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.passed = passed
	if c.why.Load() != nil {
		passed(true)
	}
}

// loginDone lifts the deadline of the login.
func (c *control) loginDone() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.why.Load() == nil {
		_ = c.raw.SetDeadline(time.Time{}) // a dead connection shows at the next read
	}
}

// waitAtMost sets how long the next read may wait; 0 is for ever.
func (c *control) waitAtMost(d time.Duration) {
	if d == 0 && !c.limited {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.limited = d != 0
	switch {
	case c.why.Load() != nil:
	case d == 0:
		_ = c.raw.SetReadDeadline(time.Time{}) // as above
	default:
		_ = c.raw.SetReadDeadline(time.Now().Add(d)) // as above
	}
}

// writeAtMost sets how long the next write may take.
func (c *control) writeAtMost(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.why.Load() == nil {
		_ = c.raw.SetWriteDeadline(time.Now().Add(d)) // as above
	}
}

// copyFrom marks that the statement that runs reads from its client, until it
// is called with false.
func (c *control) copyFrom(copying bool) {
	c.mu.Lock()
	c.copying = copying
	c.mu.Unlock()
}

// interruptCopy ends the wait of a COPY whose context has ended. The next wait
// sets a deadline of its own.
func (c *control) interruptCopy() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.copying {
		c.limited = true
		_ = c.raw.SetReadDeadline(time.Unix(1, 0)) // a closed one has ended already
	}
}

// cancelStatement cancels the statement that runs, if one does.
func (c *control) cancelStatement(why error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.running {
		c.cancel(why)
	}
}

// begin marks a statement as running and returns its context; done ends it.
func (c *control) begin() context.Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ctx == nil || c.ctx.Err() != nil {
		if c.cancel != nil {
			c.cancel(nil)
		}
		c.ctx, c.cancel = context.WithCancelCause(c.parent)
	}
	c.running = true
	return c.ctx
}

func (c *control) done() {
	c.mu.Lock()
	c.running = false
	c.mu.Unlock()
}
