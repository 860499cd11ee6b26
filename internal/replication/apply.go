package replication

import (
	"encoding/binary"
	"fmt"
	"runtime/debug"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"

	"kimberlite/internal/fault"
)

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
		a.leadTerm.Store(a.node.BasicStatus().GetTerm())
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
	g.node.Lock() // a proposer may be taking in, and finds out that it is over
	waiting := g.node.waiting
	g.node.waiting = nil
	g.node.Unlock()
	for _, p := range waiting {
		p.finish(nil, fault.Wrap("propose", fault.OutcomeUnknown, err, "shard %s stopped with this write in the log; it may have taken effect", g.opts.Shard))
	}
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
