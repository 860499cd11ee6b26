package replication

import (
	"encoding/binary"
	"fmt"
	"runtime/debug"
	"sync"

	"github.com/cockroachdb/pebble/v2"
	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"

	"kimberlite/internal/fault"
)

// flight is a batch on its way to the disk, and what raft is to be told once
// it is durable. A nil batch is there for its place in the order.
type flight struct {
	batch     *pebble.Batch
	responses []*pb.Message
}

// maxInflight bounds the batches on their way to the disk. While one is
// synced the next ones are handed to the engine, which syncs them together as
// soon as it can, so the disk does not wait for raft. More in flight means
// smaller batches, which cost more processor time each than they save.
const maxInflight = 3

// run runs the group. It ends when the group is closed and all that was
// queued is applied, or when the group stops.
func (g *Group) run() {
	defer close(g.done)
	defer g.store.users.Done()
	defer g.store.expel(g)
	var taker sync.WaitGroup
	taker.Go(func() {
		g.guarded(g.takeLoop)
		g.mu.Lock()
		g.drained = true
		g.landed.Signal()
		g.mu.Unlock()
	})
	g.guarded(g.applyLoop)
	taker.Wait()
	g.stop()
}

// guarded runs a loop and stops the group with its error. A panic of raft or
// of the engine counts as one: neither may end the embedding process.
func (g *Group) guarded(loop func() error) {
	defer func() {
		if r := recover(); r != nil {
			g.store.logger.Error("shard stopped by a panic", "shard", g.opts.Shard.String(), "panic", r, "stack", string(debug.Stack()))
			g.fail(g.panicked(r))
		}
	}()
	if err := loop(); err != nil {
		g.fail(err)
	}
}

// fail stops the group; the first error stays.
func (g *Group) fail(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.err == nil {
		g.err = err
	}
	g.closing = true
	g.work.Signal()
	g.landed.Signal()
}

// panicked returns the error for a panic that came up from below. The engine
// may hold its locks for ever, so nobody waits for it any more.
func (g *Group) panicked(r any) error {
	if err := g.log.failure(); err != nil {
		return err // raft panics at a failed read
	}
	g.store.mu.Lock()
	g.store.stuck = true
	g.store.mu.Unlock()
	g.store.latch.trip(fmt.Errorf("panic: %v", r))
	return g.store.Err()
}

// takeLoop takes proposals into the log until the group is closed.
func (g *Group) takeLoop() error {
	if err := g.campaign(); err != nil {
		return err
	}
	var taken []*proposal
	for {
		var err error
		if taken, err = g.take(taken[:0]); err != nil || len(taken) == 0 {
			return err
		}
		if err := g.step(taken); err != nil {
			return err
		}
		clear(taken)
	}
}

// campaign begins the election that a group of one wins. It needs no clock
// either: nobody can take the lead from it. With more members, a ticker calls
// node.Tick.
func (g *Group) campaign() error {
	g.node.Lock()
	defer g.node.Unlock()
	if err := g.node.Campaign(); err != nil {
		return fault.Wrap("open shard", fault.Internal, err, "shard %s does not start", g.opts.Shard)
	}
	return g.pump()
}

// take waits for proposals and appends them to taken, at most a batch of
// them; none when the group is closed.
func (g *Group) take(taken []*proposal) ([]*proposal, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for !g.mayTake() {
		g.work.Wait()
	}
	if g.err != nil || g.store.latch.cause() != nil {
		return nil, g.store.Err() // what is queued never enters
	}
	n, size := 0, 0
	for n < len(g.queue) && (n == 0 || size+len(g.queue[n].data) <= maxBatchBytes) {
		size += len(g.queue[n].data)
		n++
	}
	taken = append(taken, g.queue[:n]...)
	g.lastTaken = n
	rest := copy(g.queue, g.queue[n:])
	clear(g.queue[rest:])
	g.queue = g.queue[:rest]
	g.queued -= int64(size)
	return taken, nil
}

// mayTake reports whether take has something to return. While a batch is in
// flight, the next waits until it is as large as the last one was, or until
// that one landed: else the first of many to come would take a sync of its own.
func (g *Group) mayTake() bool {
	switch {
	case g.err != nil || g.store.latch.cause() != nil:
		return true
	case len(g.queue) > 0:
		return len(g.inflight) == 0 || len(g.inflight) < maxInflight && len(g.queue) >= g.lastTaken
	}
	return g.closing
}

// step proposes what was taken, all in one message, so that it enters the log
// in one batch.
func (g *Group) step(taken []*proposal) error {
	entries := make([]*pb.Entry, len(taken))
	block := make([]pb.Entry, len(taken))
	for i, p := range taken {
		block[i].Data = p.data
		entries[i] = &block[i]
	}
	id := g.opts.Node.Uint64()
	n := &g.node
	n.Lock()
	defer n.Unlock()
	n.waiting = append(n.waiting, taken...)
	err := n.Step(&pb.Message{Type: pb.MsgProp.Enum(), From: &id, Entries: entries})
	if err != nil {
		return fault.Wrap("propose", fault.Stopped, err, "shard %s does not lead", g.opts.Shard)
	}
	return g.pump()
}

// pump does what raft asks for. Raft's contract with AsyncStorageWrites: what
// goes to the append thread is written in order, and its responses are
// delivered, in order, once that and all before it is durable; what goes to
// the apply thread is applied in order; all other messages, which a group of
// one does not have, may be sent at once. g.node is locked.
func (g *Group) pump() error {
	for g.node.HasReady() {
		for _, m := range g.node.Ready().Messages {
			switch m.GetTo() {
			case raft.LocalAppendThread:
				if err := g.launch(m); err != nil {
					return err
				}
			case raft.LocalApplyThread:
				g.node.applies = append(g.node.applies, m)
			}
		}
	}
	return nil
}

// launch hands entries, and a new term or vote, to the engine, whose sync of
// them begins. That more is committed is not written: raft need not remember
// it (see raft.MustSync), and one key that every batch writes would make every
// table of the engine overlap every other, so that it would rewrite the log
// again and again where it now moves whole tables.
func (g *Group) launch(m *pb.Message) error {
	n := &g.node
	var hard *hardState
	if m.Term != nil && (n.hard.term != m.GetTerm() || n.hard.vote != m.GetVote()) {
		n.hard = hardState{m.GetTerm(), m.GetVote(), m.GetCommit()}
		hard = &n.hard
	}
	f := flight{responses: m.Responses}
	if len(m.Entries) > 0 || hard != nil {
		f.batch = g.store.db.NewBatch()
		err := g.log.stage(f.batch, m.Entries, hard)
		if err == nil {
			err = g.store.db.ApplyNoSyncWait(f.batch, pebble.Sync)
		}
		if err != nil {
			g.store.latch.trip(err)
			return g.store.Err()
		}
		g.log.staged(m.Entries)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.inflight = append(g.inflight, f)
	if len(g.inflight) == 1 {
		g.landed.Signal()
	}
	return nil
}

// applier is the state of the goroutine that applies.
type applier struct {
	*Group
	waiting   []*proposal // entered the log, in its order, not applied
	applies   []*pb.Message
	entries   []Entry
	announced bool
}

// applyLoop waits for batches to land, tells raft, and applies what that
// commits, until the group is closed and all is applied.
func (g *Group) applyLoop() error {
	a := &applier{Group: g}
	err := a.loop()
	if err == nil {
		return nil
	}
	g.fail(err)
	g.node.Lock()
	defer g.node.Unlock()
	g.node.waiting = append(a.waiting, g.node.waiting...) // for stop
	return nil
}

func (a *applier) loop() error {
	for {
		f, ok := a.next()
		if !ok {
			return a.store.Err() // nil when it was closed
		}
		if err := a.land(f); err != nil {
			return err
		}
		for {
			if err := a.tell(f.responses); err != nil {
				return err
			}
			f.responses = f.responses[:0]
			if len(a.applies) == 0 {
				break
			}
			for _, m := range a.applies {
				if err := a.apply(m.Entries); err != nil {
					return err
				}
				f.responses = append(f.responses, m.Responses...)
			}
		}
		a.announce()
	}
}

// next waits for the oldest batch in flight; false when there will be none.
func (a *applier) next() (flight, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for len(a.inflight) == 0 && !a.drained && a.err == nil && a.store.latch.cause() == nil {
		a.landed.Wait()
	}
	if len(a.inflight) == 0 || a.err != nil {
		return flight{}, false
	}
	return a.inflight[0], true
}

// land waits until the oldest batch is durable, and ends its flight. The engine is never told of a failed
// write, so the latch alone says whether it is.
func (a *applier) land(f flight) error {
	if f.batch != nil {
		err := f.batch.SyncWait()
		if closeErr := f.batch.Close(); err == nil {
			err = closeErr
		}
		if err != nil {
			a.store.latch.trip(err)
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	rest := copy(a.inflight, a.inflight[1:])
	a.inflight[rest] = flight{}
	a.inflight = a.inflight[:rest]
	a.work.Signal()
	return a.store.Err()
}

// tell gives raft what the disk and the state machine have done, and takes
// what there is to apply.
func (a *applier) tell(responses []*pb.Message) error {
	n := &a.node
	n.Lock()
	defer n.Unlock()
	for _, m := range responses {
		// All are for this node: a group of one has nobody else to tell.
		if err := n.Step(m); err != nil {
			return fault.Wrap("apply", fault.Stopped, err, "shard %s", a.opts.Shard)
		}
	}
	if err := a.pump(); err != nil {
		return err
	}
	a.log.forget(a.applied.Load())
	clear(a.applies)
	a.applies = append(a.applies[:0], n.applies...)
	n.applies = n.applies[:0]
	a.waiting = append(a.waiting, n.waiting...)
	clear(n.waiting)
	n.waiting = n.waiting[:0]
	return nil
}

// announce tells OpenGroup once that the group leads and has applied its
// whole log.
func (a *applier) announce() {
	if a.announced {
		return
	}
	a.node.Lock()
	defer a.node.Unlock()
	last, _ := a.log.LastIndex()
	if a.node.BasicStatus().RaftState == raft.StateLeader && a.applied.Load() == last {
		a.announced = true
		a.ready <- nil
	}
}

// apply gives committed entries to the state machine and answers those who
// wait for them.
func (a *applier) apply(committed []*pb.Entry) error {
	entries := a.entries[:0]
	for _, e := range committed {
		if e.GetType() != pb.EntryNormal {
			return fault.New("apply", fault.Incompatible, "shard %s: entry %d changes the group's members, which this version does not know", a.opts.Shard, e.GetIndex())
		}
		if len(e.Data) >= proposerLen {
			entries = append(entries, Entry{Index: e.GetIndex(), Data: e.Data[proposerLen:len(e.Data):len(e.Data)]})
		}
	}
	a.entries = entries
	if len(entries) > 0 {
		if err := a.applySafely(entries); err != nil {
			return fault.Wrap("apply", fault.Stopped, err, "shard %s: applying entries from %d on failed", a.opts.Shard, entries[0].Index)
		}
	}
	last := committed[len(committed)-1].GetIndex()
	a.applied.Store(last)
	a.answer(committed, entries)
	clear(entries)
	if err := a.store.bounds.raise(a.opts.Shard, last); err != nil {
		a.store.latch.trip(err)
	}
	return nil
}

// applySafely turns a panic of the state machine into an error: it stops this
// group, and neither the others nor the embedding process.
func (a *applier) applySafely(entries []Entry) (err error) {
	defer func() {
		if r := recover(); r != nil {
			a.store.logger.Error("state machine panicked", "shard", a.opts.Shard.String(), "panic", r, "stack", string(debug.Stack()))
			err = fmt.Errorf("panic: %v", r)
		}
	}()
	return a.sm.Apply(entries)
}

// answer finishes the proposals of this session among the applied entries.
func (a *applier) answer(committed []*pb.Entry, entries []Entry) {
	n := 0 // of a.waiting, finished
	i := 0 // of entries
	for _, e := range committed {
		if len(e.Data) < proposerLen {
			continue
		}
		result := entries[i].Result
		i++
		if n == len(a.waiting) || [8]byte(e.Data[:8]) != a.session {
			continue
		}
		if p := a.waiting[n]; p.number == binary.LittleEndian.Uint64(e.Data[8:]) {
			n++
			p.finish(result, nil)
		}
	}
	rest := copy(a.waiting, a.waiting[n:])
	clear(a.waiting[rest:])
	a.waiting = a.waiting[:rest]
}

// stop ends the group: what had entered the log has an unknown outcome, what
// was queued never happened. Both goroutines have ended their loops.
func (g *Group) stop() {
	g.mu.Lock()
	err := g.err
	g.closing = true
	queue := g.queue
	g.queue, g.queued = nil, 0
	inflight := g.inflight
	g.inflight = nil
	g.mu.Unlock()
	for _, f := range inflight {
		if f.batch != nil && !g.store.isStuck() {
			_ = f.batch.SyncWait() // the engine wants no batch left behind
		}
	}
	for _, p := range g.node.waiting {
		p.finish(nil, fault.Wrap("propose", fault.OutcomeUnknown, err, "shard %s stopped with this write in the log; it may have taken effect", g.opts.Shard))
	}
	g.node.waiting = nil
	for _, p := range queue {
		p.finish(nil, g.neverEntered(err))
	}
	if err == nil {
		err = fault.New("open shard", fault.Closed, "shard %s was closed while it opened", g.opts.Shard)
	}
	select {
	case g.ready <- err: // nobody reads it once the group was open
	default:
	}
}

// neverEntered is the error of a proposal that was queued when the group
// stopped.
func (g *Group) neverEntered(err error) error {
	kind := fault.Stopped
	if err != nil && fault.Is(err, fault.DiskFull) {
		kind = fault.DiskFull
	}
	return fault.Wrap("propose", kind, err, "shard %s stopped before this write entered the log; nothing happened", g.opts.Shard)
}
