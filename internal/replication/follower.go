package replication

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"

	"github.com/cockroachdb/pebble/v2"
	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"

	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
)

// Checkpoint is a consistent copy of a group's saved state.
type Checkpoint struct {
	// Index and Term are those of the last entry that the state covers.
	Index uint64 `json:"index"`
	Term  uint64 `json:"term"`
	// Members are those of the group at Index.
	Members []Replica `json:"members"`
	// Joint is not empty when the group was between two sets of members at
	// Index; it is for this package alone and must be carried along.
	Joint []byte `json:"joint,omitempty"`
	// KVs are all keys that the state machine has saved.
	KVs []KV `json:"kvs"`
}

// Follower is implemented by the state machine of a group with several
// members: a replica that is too far behind for the log gets a copy.
type Follower interface {
	// Fetch is called on a goroutine of its own when this replica needs a
	// copy: bring the files up from node to a checkpoint of at least index
	// atLeast, durably, and return that checkpoint. It may run long, and is
	// resumed by being called again; ctx ends when the group closes, and when
	// another node leads, which is then asked instead. Nothing is applied
	// meanwhile.
	Fetch(ctx context.Context, from ident.NodeID, atLeast uint64) (Checkpoint, error)
	// Restored is called by the goroutine that applies, once the checkpoint is
	// the store's: reload from its keys; the entries after its index follow.
	Restored(c Checkpoint) error
}

// copyRequest says that the leader has no log for this replica any more.
type copyRequest struct {
	node   uint64 // where the leader is
	leader uint64
	index  uint64 // of the leader's checkpoint
}

// interceptCopy takes raft's word of a snapshot, which is but the place of the
// leader's checkpoint. When this replica is behind that, it makes a copy by
// itself; raft hears a heartbeat of the leader instead, and is started anew
// from the copy. Else raft answers that it needs none. g.node is locked.
func (g *Group) interceptCopy(m *pb.Message) *pb.Message {
	t, st := g.team, g.node.BasicStatus()
	index := m.GetSnapshot().GetMetadata().GetIndex()
	if m.GetTerm() < st.GetTerm() || index <= st.GetCommit() {
		return m
	}
	if t.copy == nil && (!t.copying || t.source != m.GetFrom()) {
		t.copy = &copyRequest{node: t.nodeOf(m.GetFrom()), leader: m.GetFrom(), index: index}
		t.work.Signal()
		if t.copying { // from one who leads no more: go on with this one
			t.abandonCopy()
		}
	}
	return &pb.Message{Type: pb.MsgHeartbeat.Enum(), To: m.To, From: m.From, Term: m.Term}
}

// makeCopy fetches a checkpoint and makes it this replica's. It runs on the
// applying goroutine, so nothing is applied meanwhile. When it cannot be had,
// the leader notices that this replica went silent about it and asks again.
func (g *Group) makeCopy(req copyRequest) error {
	t := g.team
	ctx, cancel := context.WithCancel(t.ctx)
	defer cancel()
	g.setCopying(true, req.leader, cancel)
	defer g.setCopying(false, 0, nil)
	c, err := g.fetch(ctx, req)
	if err != nil {
		if ctx.Err() == nil {
			g.store.logger.Warn("a replica got no copy and will ask again", "shard", g.opts.Shard.String(), "from", req.node, "error", err)
		}
		return nil
	}
	var settled []settled
	var restored bool
	g.checkMu.Lock() // a checkpoint of before, half saved, must not come on top of it
	g.withNode(func() error {
		settled, restored, err = g.install(c)
		return err
	})
	g.checkMu.Unlock()
	for _, s := range settled {
		s.p.finish(s.result, s.err)
	}
	if err != nil || !restored {
		return err
	}
	if err := g.restoredSafely(c); err != nil {
		return fault.Wrap("restore checkpoint", fault.Stopped, err, "shard %s: taking over the checkpoint at index %d failed", g.opts.Shard, c.Index)
	}
	g.withNode(func() error {
		g.acknowledgeCopy(req.leader, c.Index)
		return nil
	})
	return nil
}

func (g *Group) setCopying(on bool, source uint64, abandon context.CancelFunc) {
	g.node.Lock()
	defer g.node.Unlock()
	t := g.team
	t.copying, t.source, t.abandonCopy = on, source, abandon
	g.change()
}

// fetch calls the state machine's Fetch.
func (g *Group) fetch(ctx context.Context, req copyRequest) (c Checkpoint, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() {
			if r := recover(); r != nil {
				g.store.logger.Error("fetching a copy panicked", "shard", g.opts.Shard.String(), "panic", r, "stack", string(debug.Stack()))
				err = fmt.Errorf("panic: %v", r)
			}
		}()
		c, err = g.team.follower.Fetch(ctx, ident.NewNodeID(req.node), req.index)
	}()
	<-done
	if err == nil && c.Index < req.index {
		err = fault.New("fetch checkpoint", fault.Internal, "a checkpoint at index %d where %d or later was asked for", c.Index, req.index)
	}
	return c, err
}

func (g *Group) restoredSafely(c Checkpoint) (err error) {
	defer func() {
		if r := recover(); r != nil {
			g.store.logger.Error("state machine panicked", "shard", g.opts.Shard.String(), "panic", r, "stack", string(debug.Stack()))
			err = fmt.Errorf("panic: %v", r)
		}
	}()
	return g.team.follower.Restored(c)
}

// install makes a checkpoint the store's, in one synced write, and starts raft
// anew from it, as a start of the process would. The log behind it stays when
// it goes with it. What raft had asked for before is forgotten; it would be
// after a crash. g.node is locked.
func (g *Group) install(c Checkpoint) (out []settled, ok bool, err error) {
	const op = "restore checkpoint"
	n, t := &g.node, g.team
	if c.Index <= g.Applied() {
		return nil, false, nil
	}
	m, err := membershipAt(c)
	if err != nil {
		return nil, false, err
	}
	hard := n.hard
	hard.commit = max(n.BasicStatus().GetCommit(), c.Index)
	keep := g.log.holds(c.Index, c.Term)
	if !keep {
		hard.commit = c.Index
	}
	b := g.store.db.NewBatch()
	defer b.Close()
	if err := g.log.stageRestore(b, c, m, hard, keep); err != nil {
		return nil, false, fault.Wrap(op, fault.Internal, err, "shard %s", g.opts.Shard)
	}
	if err := b.Commit(pebble.Sync); err != nil {
		g.store.latch.trip(err)
	}
	if err := g.store.Err(); err != nil {
		return nil, false, err
	}
	g.log.restored(c, m, hard, keep)
	for _, p := range n.waiting {
		out = append(out, settled{p: p, err: fault.New("propose", fault.OutcomeUnknown, "shard %s: this node lost the lead with this write in its log, and its log was replaced; it may have taken effect", g.opts.Shard)})
	}
	n.waiting, n.applies, n.hard = nil, nil, hard
	t.members, t.commit, t.disordered = m, hard.commit, false
	t.epoch++
	g.applied.Store(c.Index)
	if err := g.store.bounds.raise(g.opts.Shard, c.Index); err != nil {
		g.store.latch.trip(err)
		return out, false, g.store.Err()
	}
	t.reads.fail(g.notLeading("read"))
	if err := g.start(op); err != nil {
		return out, false, err
	}
	g.observe()
	return out, true, nil
}

// acknowledgeCopy tells the leader how far this replica is now, if it still
// leads. g.node is locked.
func (g *Group) acknowledgeCopy(leader, index uint64) {
	t := g.team
	if t.role == raft.StateFollower && (t.lead == leader || t.lead == raft.None) && leader != t.self {
		term := t.term
		g.send(&pb.Message{Type: pb.MsgAppResp.Enum(), To: &leader, From: &t.self, Term: &term, Index: &index})
	}
}

// holds reports whether the log has the entry.
func (l *groupLog) holds(index, term uint64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	at, err := l.term(index)
	return err == nil && at == term
}

// stageRestore puts a checkpoint that came from elsewhere into a batch. keep
// says that the entries that are there stay.
func (l *groupLog) stageRestore(b *pebble.Batch, c Checkpoint, m membership, hard hardState, keep bool) error {
	err := b.DeleteRange(shardKey(l.shard, kindState), shardEnd(l.shard, kindState), nil)
	prefix := shardKey(l.shard, kindState)
	for _, kv := range c.KVs {
		if err == nil {
			err = b.Set(append(prefix[:shardKeyLen:shardKeyLen], kv.Key...), kv.Value, nil)
		}
	}
	point, members, state := shardKey(l.shard, kindCheckpoint), shardKey(l.shard, kindMembers), shardKey(l.shard, kindHardState)
	err = errors.Join(err,
		b.Set(point, encodeWords(point, c.Index), nil),
		b.Set(members, encodeConf(members, c.Index, c.Term, m), nil),
		b.Set(state, encodeWords(state, hard.term, hard.vote, hard.commit), nil))
	if err != nil || keep {
		return err
	}
	trunc := shardKey(l.shard, kindTruncated)
	return errors.Join(
		b.Set(trunc, encodeWords(trunc, c.Index, c.Term), nil),
		b.DeleteRange(entryKey(l.shard, 0), shardEnd(l.shard, kindEntry), nil))
}

// restored makes what stageRestore wrote visible to raft.
func (l *groupLog) restored(c Checkpoint, m membership, hard hardState, keep bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.hard, l.checkpoint = hard, c.Index
	if keep {
		l.sizes.cutAt(c.Index)
		l.confs = []conf{{c.Index, m}}
		return
	}
	l.confs = []conf{{c.Index, m}}
	l.truncated, l.truncTerm, l.last = c.Index, c.Term, c.Index
	l.recent = nil
	l.sizes.reset()
	l.kept.reset()
}

// changed notes the members as the entry at index left them. Entries are
// applied once, in order.
func (l *groupLog) changed(index uint64, m membership) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.confs = append(slices.Clone(l.confs), conf{index, m})
}

// LastCheckpoint returns a consistent copy of what the last checkpoint saved.
// A group of several has one from its beginning. Errors: NotFound when none
// was saved yet, Closed, Stopped, Corruption.
func (g *Group) LastCheckpoint() (c Checkpoint, err error) {
	const op = "load checkpoint"
	s, shard := g.store, g.opts.Shard
	if err := s.use(op); err != nil {
		return c, err
	}
	defer s.users.Done()
	snap := s.db.NewSnapshot()
	defer func() { err = errors.Join(err, snap.Close()) }()
	trunc, err := g.log.words(snap, kindTruncated, 2)
	if err != nil || trunc == nil {
		return c, errors.Join(err, g.log.corrupt(nil, "its state is missing"))
	}
	c.Index, err = loadCheckpoint(op, snap, s.dir, shard, func(key, value []byte) error {
		c.KVs = append(c.KVs, KV{slices.Clone(key), append([]byte{}, value...)})
		return nil
	})
	if err != nil {
		return Checkpoint{}, err
	}
	c.Term = trunc[1]
	if g.team != nil {
		err = g.log.describe(snap, &c)
	}
	if err == nil && c.Index == 0 {
		return Checkpoint{}, fault.New(op, fault.NotFound, "shard %s has no checkpoint yet", shard)
	}
	return c, err
}

// describe fills in what the record of members says of a checkpoint.
func (l *groupLog) describe(r pebble.Reader, c *Checkpoint) error {
	key := shardKey(l.shard, kindMembers)
	value, err := getValue(r, key)
	if err != nil || value == nil {
		return l.corrupt(err, "the record of its members is missing")
	}
	index, term, m, err := decodeConf(key, value)
	if err != nil {
		return l.corrupt(err, "the record of its members does not read")
	}
	c.Index, c.Term, c.Members, c.Joint = index, term, m.list(), m.jointBytes()
	return nil
}
