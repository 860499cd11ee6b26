package replication

import (
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
	number    uint64
	epoch     uint64 // of the raft node that asked for it
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
	if g.team != nil {
		g.runTeam()
		return
	}
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
	if g.team != nil {
		g.leadTerm.Store(0)
		g.team.cancel()
	}
}

// panicked returns the error for a panic that came up from below. The engine
// may hold its locks for ever, so nobody waits for it any more.
func (g *Group) panicked(r any) error {
	if err := g.log.failure(); err != nil {
		return err // raft panics at a failed read
	}
	if p, ok := r.(raftPanic); ok && g.team != nil { // what others sent made no sense
		return fault.New("replicate", fault.Stopped, "shard %s: %s; its log is not what the other members have, remove this replica and add a new one", g.opts.Shard, string(p))
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
	for {
		g.awaitWork()
		if over, err := g.takeTurn(); over || err != nil {
			return err
		}
	}
}

func (g *Group) takeTurn() (over bool, err error) {
	g.node.Lock()
	defer g.node.Unlock()
	return g.takeIn()
}

// campaign begins the election that a group of one wins. It needs no clock
// either: nobody can take the lead from it. With more members, a ticker does.
func (g *Group) campaign() error {
	g.node.Lock()
	defer g.node.Unlock()
	if g.team != nil && !g.campaigns() {
		return nil
	}
	if err := g.node.Campaign(); err != nil {
		return fault.Wrap("open shard", fault.Internal, err, "shard %s does not start", g.opts.Shard)
	}
	return g.pump()
}

// awaitWork returns when takeIn has something to do.
func (g *Group) awaitWork() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for !g.mayTake() && (!g.closing || len(g.queue) > 0) {
		g.work.Wait()
	}
}

// takeIn takes what is queued into the log, if it is time to. over says that
// the group is closed and nothing is left to take, and is final. g.node is
// locked, from before the queue is looked at until what was taken is in the
// log: so proposals enter in the order in which they were queued, whoever
// takes them.
func (g *Group) takeIn() (over bool, err error) {
	n := &g.node
	if n.taken, over, err = g.take(n.taken[:0]); err != nil || len(n.taken) == 0 {
		return over, err
	}
	err = g.step(n.taken)
	clear(n.taken)
	return false, err
}

// take appends queued proposals to taken, at most a batch of them.
func (g *Group) take(taken []*proposal) (_ []*proposal, over bool, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.err != nil || g.store.latch.cause() != nil {
		return nil, true, g.store.Err() // what is queued never enters
	}
	if !g.mayTake() {
		return taken, g.closing && len(g.queue) == 0, nil
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
	return taken, false, nil
}

// mayTake reports whether it is time to take what is queued. While a batch is
// in flight, the next waits until it is as large as the last one was, or until
// that one landed: else the first of many to come would take a sync of its
// own. g.mu is held.
func (g *Group) mayTake() bool {
	switch {
	case g.err != nil || g.store.latch.cause() != nil:
		return true // to see it
	case len(g.queue) == 0:
		return false
	case len(g.inflight) == 0:
		return true
	}
	return len(g.inflight) < maxInflight && len(g.queue) >= g.lastTaken
}

// step proposes what was taken, all in one message, so that it enters the log
// in one batch. g.node is locked.
func (g *Group) step(taken []*proposal) error {
	entries := make([]*pb.Entry, len(taken))
	block := make([]pb.Entry, len(taken))
	for i, p := range taken {
		block[i].Data = p.data
		entries[i] = &block[i]
	}
	n := &g.node
	id := g.log.self
	if g.team != nil {
		return g.stepTeam(taken, &pb.Message{Type: pb.MsgProp.Enum(), From: &id, Entries: entries})
	}
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
		ready := g.node.Ready()
		for _, m := range ready.Messages {
			switch m.GetTo() {
			case raft.LocalAppendThread:
				if err := g.launch(m); err != nil {
					return err
				}
			case raft.LocalApplyThread:
				g.node.applies = append(g.node.applies, m)
				if g.team != nil {
					g.team.work.Signal()
				}
			default:
				g.send(m)
			}
		}
		if g.team != nil {
			g.observe()
			g.confirm(ready.ReadStates)
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
	if g.team != nil {
		hard = g.hardOf(m, hard)
		f.epoch = g.team.epoch
	}
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
	g.launched++
	f.number = g.launched
	g.inflight = append(g.inflight, f)
	if len(g.inflight) == 1 {
		g.landed.Signal()
	}
	return nil
}
