package projection

import (
	"context"
	"sync"
	"time"

	"kimberlite/internal/fault"
)

// idleReaderTime is how long more than one reading connection stays open
// without use.
const idleReaderTime = 2 * time.Second

// pool is the reading connections of a projection. One stays open while the
// DB is; the others are closed when they have not been used for a while.
type pool struct {
	slots chan struct{} // one token for each reader that is at work

	mu     sync.Mutex // guards all below
	idle   []*conn
	timer  *time.Timer // closes idle connections; nil until there are several
	closed bool
}

func (p *pool) init(most int) { p.slots = make(chan struct{}, most) }

// enter waits for a slot.
func (p *pool) enter(ctx context.Context, d *DB) error {
	select {
	case p.slots <- struct{}{}:
		return nil
	default:
	}
	select {
	case p.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fault.OfContext("read", ctx).ForTenant(d.tenant)
	}
}

func (p *pool) leave() { <-p.slots }

// get returns an idle connection or opens one.
func (p *pool) get(d *DB) (*conn, error) {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil, fault.New("read", fault.Closed, "the projection is closed").ForTenant(d.tenant)
	}
	if n := len(p.idle); n > 0 {
		c := p.idle[n-1]
		p.idle = p.idle[:n-1]
		p.mu.Unlock()
		return c, nil
	}
	p.mu.Unlock()
	return d.connect(false)
}

// put takes a connection back.
func (p *pool) put(c *conn) {
	c.env = nil // what the catalog has worked out is not worth its memory while nobody asks
	c.file.park()
	p.mu.Lock()
	keep := !p.closed && !c.dead && !c.worn
	if keep {
		p.idle = append(p.idle, c)
		if len(p.idle) > 1 {
			p.watch()
		}
	}
	p.mu.Unlock()
	if !keep {
		c.close()
	}
}

// watch arranges for trim. The caller holds mu.
func (p *pool) watch() {
	if p.timer == nil {
		p.timer = time.AfterFunc(idleReaderTime, p.trim)
	}
}

// trim closes all idle connections but the one used last.
func (p *pool) trim() {
	p.mu.Lock()
	p.timer = nil
	var extra []*conn
	if n := len(p.idle); n > 1 {
		extra = append(extra, p.idle[:n-1]...)
		p.idle = append(p.idle[:0], p.idle[n-1])
	}
	p.mu.Unlock()
	for _, c := range extra {
		c.close()
	}
}

func (p *pool) close() {
	p.mu.Lock()
	p.closed = true
	idle := p.idle
	p.idle = nil
	if p.timer != nil {
		p.timer.Stop()
		p.timer = nil
	}
	p.mu.Unlock()
	for _, c := range idle {
		c.close()
	}
}

// ownRead lends a reading connection to one of our own functions, which sees
// one version throughout.
func (d *DB) ownRead(fn func(c *conn) error) (err error) {
	if err := d.src.err(); err != nil {
		return err
	}
	c, err := d.readers.get(d)
	if err != nil {
		return err
	}
	defer d.readers.put(c)
	defer c.protect("projection", &err)
	if err := c.look(); err != nil {
		return err
	}
	return fn(c)
}
