package replication

import (
	"context"
	"encoding/binary"

	"kimberlite/internal/fault"
)

// proposal is data on its way through the log.
type proposal struct {
	number uint64
	data   []byte // proposer's id, then the payload
	// index and term are where it entered the log of a group of several.
	index, term uint64
	// done is called once, when the outcome is known.
	done func(result any, err error)
	// result receives instead when done is nil.
	result chan outcome
}

type outcome struct {
	result any
	err    error
}

func (p *proposal) finish(result any, err error) {
	if p.done != nil {
		p.done(result, err)
		return
	}
	p.result <- outcome{result, err}
}

// Propose puts data, given in parts, into the log and returns the result of
// applying it.
// Errors before it entered the log, so that nothing happened: Timeout,
// Canceled, Unavailable (too much is waiting), TooLarge, Closed, Stopped,
// DiskFull, and Misrouted when this replica does not lead. After:
// OutcomeUnknown, when ctx ended, the group stopped, or this replica lost the
// lead and did not learn what became of it; Misrouted when it learnt that
// nothing happened.
// Proposals of one goroutine enter the log in order. Data is not kept. While
// the engine holds writes back, since the disk cannot follow, a caller can be
// held beyond its ctx.
func (g *Group) Propose(ctx context.Context, data ...[]byte) (any, error) {
	const op = "propose"
	if ctx.Err() != nil {
		return nil, fault.OfContext(op, ctx)
	}
	p := &proposal{result: make(chan outcome, 1)}
	if err := g.enqueue(op, p, false, data...); err != nil {
		return nil, err
	}
	g.lendHand()
	select {
	case o := <-p.result:
		return o.result, o.err
	case <-ctx.Done():
	}
	if g.withdraw(p) {
		return nil, fault.OfContext(op, ctx)
	}
	select {
	case o := <-p.result: // both happened
		return o.result, o.err
	default:
		return nil, fault.Wrap(op, fault.OutcomeUnknown, ctx.Err(), "shard %s: gave up waiting for a write that had entered the log; it may take effect", g.opts.Shard)
	}
}

// ProposeAsync is Propose without blocking: done is called once with the
// outcome, mostly by the goroutine that applies, and must not block. It is called
// before ProposeAsync returns when the proposal is refused.
func (g *Group) ProposeAsync(data []byte, done func(result any, err error)) {
	if err := g.enqueue("propose", &proposal{done: done}, true, data); err != nil {
		done(nil, err)
	}
}

// lendHand takes what is queued into the log on the caller's goroutine, if it
// is time to and nobody else does: handing it to another goroutine costs the
// caller a good part of what the disk takes.
func (g *Group) lendHand() {
	if g.node.TryLock() {
		g.guarded(func() error {
			defer g.node.Unlock()
			_, err := g.takeIn()
			return err
		})
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.mayTake() {
		g.work.Signal()
	}
}

// enqueue copies data into p and queues it. wake says to tell the taker.
func (g *Group) enqueue(op string, p *proposal, wake bool, data ...[]byte) error {
	size := 0
	for _, part := range data {
		size += len(part)
	}
	if size > g.opts.MaxEntryBytes {
		return fault.New(op, fault.TooLarge, "%d bytes of data in one proposal; the limit is %d", size, g.opts.MaxEntryBytes)
	}
	p.data = make([]byte, proposerLen, proposerLen+size)
	for _, part := range data {
		p.data = append(p.data, part...)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if err := g.refusal(op); err != nil {
		return err
	}
	if g.team != nil && !g.team.leading.Load() {
		return g.notLeading(op)
	}
	if n := int64(len(p.data)); g.queued > 0 && g.queued+n > g.opts.MaxQueuedBytes {
		return fault.New(op, fault.Unavailable, "shard %s: %d bytes wait to be written already; try again", g.opts.Shard, g.queued)
	}
	g.number++
	p.number = g.number
	copy(p.data, g.session[:])
	binary.LittleEndian.PutUint64(p.data[8:], p.number)
	g.queue = append(g.queue, p)
	g.queued += int64(len(p.data))
	if wake && g.mayTake() {
		g.work.Signal()
	}
	return nil
}

// refusal returns why the group takes no calls, or nil. g.mu is held.
func (g *Group) refusal(op string) error {
	switch {
	case g.store.latch.cause() != nil:
		return g.store.stopped(op)
	case g.err != nil:
		return fault.Wrap(op, fault.Stopped, g.err, "shard %s stopped", g.opts.Shard)
	case g.closing:
		return fault.New(op, fault.Closed, "shard %s is closed", g.opts.Shard)
	}
	return nil
}

// withdraw takes a proposal out of the queue; false when it has left it.
func (g *Group) withdraw(p *proposal) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	for i, q := range g.queue {
		if q == p {
			g.queue = append(g.queue[:i], g.queue[i+1:]...)
			g.queued -= int64(len(p.data))
			return true
		}
	}
	return false
}
