package replication

import (
	"encoding/binary"
	"fmt"
	"runtime/debug"

	"github.com/cockroachdb/pebble/v2"
	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"

	"kimberlite/internal/fault"
)

// run is the group's loop. It ends when the group is closed and its queue
// empty, or when the group stops.
func (g *Group) run() {
	defer close(g.done)
	defer g.store.users.Done()
	defer g.store.expel(g)
	err := g.loop()
	g.stop(err)
	if !g.announced {
		if err == nil {
			err = fault.New("open shard", fault.Closed, "shard %s was closed while it opened", g.opts.Shard)
		}
		g.ready <- err
	}
}

// loop runs until the group is closed (nil) or must stop. A panic of raft or
// of the engine stops the group: neither may end the embedding process.
func (g *Group) loop() (err error) {
	defer func() {
		if r := recover(); r != nil {
			g.store.logger.Error("shard stopped by a panic", "shard", g.opts.Shard.String(), "panic", r, "stack", string(debug.Stack()))
			err = g.panicked(r)
		}
	}()
	for {
		for g.node.HasReady() {
			if !g.announced {
				// Nothing is queued before OpenGroup returns.
				if err := g.handle(g.node.Ready()); err != nil {
					return err
				}
				continue
			}
			if taken, _ := g.take(false); len(taken) > 0 {
				if err := g.step(taken); err != nil {
					return err
				}
			}
			if err := g.handle(g.node.Ready()); err != nil {
				return err
			}
		}
		if g.store.latch.cause() != nil {
			return g.store.Err()
		}
		g.announce()
		taken, open := g.take(true)
		if len(taken) > 0 {
			if err := g.step(taken); err != nil {
				return err
			}
		} else if !open {
			return g.store.Err() // nil when it was closed
		}
	}
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
	err := fmt.Errorf("panic: %v", r)
	g.store.latch.trip(err)
	return g.store.Err()
}

// announce tells OpenGroup that the group leads and has replayed its log.
func (g *Group) announce() {
	if g.announced {
		return
	}
	g.announced = true
	g.ready <- nil
}

// take returns queued proposals, at most a batch, now theirs who called; it
// waits for some when wait is set. open is false when the group is closing or
// the store has failed.
func (g *Group) take(wait bool) (taken []*proposal, open bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for wait && len(g.queue) == 0 && !g.closing && g.store.latch.cause() == nil {
		g.work.Wait()
	}
	if g.store.latch.cause() != nil {
		return nil, false // what is queued never enters
	}
	n, size := 0, 0
	for n < len(g.queue) && (n == 0 || size+len(g.queue[n].data) <= maxBatchBytes) {
		size += len(g.queue[n].data)
		n++
	}
	taken = append(g.taken[:0], g.queue[:n]...)
	g.taken = taken
	rest := copy(g.queue, g.queue[n:])
	clear(g.queue[rest:])
	g.queue = g.queue[:rest]
	g.queued -= int64(size)
	return taken, !g.closing
}

// step proposes what was taken, all in one message, so that it stands in one
// Ready.
func (g *Group) step(taken []*proposal) error {
	entries := make([]*pb.Entry, len(taken))
	block := make([]pb.Entry, len(taken))
	for i, p := range taken {
		block[i].Data = p.data
		entries[i] = &block[i]
		p.data = nil
	}
	g.waiting = append(g.waiting, taken...)
	id := g.opts.Node.Uint64()
	err := g.node.Step(&pb.Message{Type: pb.MsgProp.Enum(), From: &id, Entries: entries})
	if err != nil {
		return fault.Wrap("propose", fault.Stopped, err, "shard %s does not lead", g.opts.Shard)
	}
	return nil
}

// handle does what a Ready asks, in the order of raft's contract: entries and
// hard state are synced before messages are sent and before raft is advanced,
// and only then can raft commit them; entries are applied once committed.
// Applying the entries that the previous Ready committed runs while the disk
// syncs the new ones.
func (g *Group) handle(rd raft.Ready) error {
	if !raft.IsEmptyHardState(rd.HardState) {
		g.hard = hardState{rd.HardState.GetTerm(), rd.HardState.GetVote(), rd.HardState.GetCommit()}
	}
	var batch *pebble.Batch
	if rd.MustSync {
		var err error
		if batch, err = g.persist(rd.Entries); err != nil {
			return err
		}
	}
	applyErr := g.apply(rd.CommittedEntries)
	if batch != nil {
		if err := g.await(batch); err != nil {
			return err
		}
	}
	if applyErr != nil {
		return applyErr
	}
	// rd.Messages are for other members: a group of one has none.
	g.node.Advance(rd)
	if n := len(rd.CommittedEntries); n > 0 {
		g.log.forget(rd.CommittedEntries[n-1].GetIndex())
	}
	return nil
}

// persist hands entries and hard state to the engine, and begins their sync.
// A hard state that only commits more waits for the next entries: raft finds
// the same again without it.
func (g *Group) persist(entries []*pb.Entry) (*pebble.Batch, error) {
	b := g.store.db.NewBatch()
	err := g.log.stage(b, entries, g.hard)
	if err == nil {
		err = g.store.db.ApplyNoSyncWait(b, pebble.Sync)
	}
	if err != nil {
		g.store.latch.trip(err)
		return nil, g.store.Err()
	}
	g.log.staged(entries, g.hard)
	return b, nil
}

// await waits until a batch is durable. The engine is never told of a failed
// write, so the latch alone says whether it is.
func (g *Group) await(b *pebble.Batch) error {
	err := b.SyncWait()
	if closeErr := b.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		g.store.latch.trip(err)
	}
	return g.store.Err()
}

// apply gives committed entries to the state machine and answers those who
// wait for them.
func (g *Group) apply(committed []*pb.Entry) error {
	if len(committed) == 0 {
		return nil
	}
	entries := g.entries[:0]
	for _, e := range committed {
		if e.GetType() != pb.EntryNormal {
			return fault.New("apply", fault.Incompatible, "shard %s: entry %d changes the group's members, which this version does not know", g.opts.Shard, e.GetIndex())
		}
		if len(e.Data) >= proposerLen {
			entries = append(entries, Entry{Index: e.GetIndex(), Data: e.Data[proposerLen:len(e.Data):len(e.Data)]})
		}
	}
	g.entries = entries
	if len(entries) > 0 {
		if err := g.applySafely(entries); err != nil {
			return fault.Wrap("apply", fault.Stopped, err, "shard %s: applying entries from %d on failed", g.opts.Shard, entries[0].Index)
		}
	}
	last := committed[len(committed)-1].GetIndex()
	g.applied.Store(last)
	g.answer(committed, entries)
	clear(entries)
	if err := g.store.bounds.raise(g.opts.Shard, last); err != nil {
		g.store.latch.trip(err)
	}
	return nil
}

// applySafely turns a panic of the state machine into an error: it stops this
// group, and neither the others nor the embedding process.
func (g *Group) applySafely(entries []Entry) (err error) {
	defer func() {
		if r := recover(); r != nil {
			g.store.logger.Error("state machine panicked", "shard", g.opts.Shard.String(), "panic", r, "stack", string(debug.Stack()))
			err = fmt.Errorf("panic: %v", r)
		}
	}()
	return g.sm.Apply(entries)
}

// answer finishes the proposals of this session among the applied entries.
func (g *Group) answer(committed []*pb.Entry, entries []Entry) {
	n := 0 // of g.waiting, finished
	i := 0 // of entries
	for _, e := range committed {
		if len(e.Data) < proposerLen {
			continue
		}
		result := entries[i].Result
		i++
		if n == len(g.waiting) || [8]byte(e.Data[:8]) != g.session {
			continue
		}
		if p := g.waiting[n]; p.number == binary.LittleEndian.Uint64(e.Data[8:]) {
			n++
			p.finish(result, nil)
		}
	}
	rest := copy(g.waiting, g.waiting[n:])
	clear(g.waiting[rest:])
	g.waiting = g.waiting[:rest]
}

// stop ends the group: what had entered the log has an unknown outcome, what
// was queued never happened.
func (g *Group) stop(err error) {
	g.mu.Lock()
	g.closing = true
	g.err = err
	queue := g.queue
	g.queue, g.queued = nil, 0
	g.mu.Unlock()
	for _, p := range g.waiting {
		p.finish(nil, fault.Wrap("propose", fault.OutcomeUnknown, err, "shard %s stopped with this write in the log; it may have taken effect", g.opts.Shard))
	}
	g.waiting = nil
	for _, p := range queue {
		p.finish(nil, g.neverEntered(err))
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
