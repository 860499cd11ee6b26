package replication

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"
	"go.etcd.io/raft/v3/tracker"

	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
)

// team is what a group of several members has beyond a group of one. Its
// goroutines are, beside the one that takes proposals: one that waits for the
// disk and lets out what may be told then, one that applies, one that receives
// what could not be received at once, one that tells of changes. They end
// with ctx or over.
type team struct {
	self     uint64
	follower Follower
	ctx      context.Context // ends when the group closes
	cancel   context.CancelFunc
	changed  chan struct{} // the status changed; holds one
	inbox    inbox
	open     atomic.Bool  // messages are taken
	missed   atomic.Int64 // ticks that found the group busy

	leading atomic.Bool
	leader  atomic.Uint64 // id of the node that leads, 0 when it is not known
	changes chan struct{} // holds one token, for whoever changes the members

	// All below is guarded by Group.node.
	work    sync.Cond // for the applier: applies, copy and over changed
	over    bool      // nothing may use the engine any more
	members membership
	peers   map[uint64]*peer
	epoch   uint64 // counts the times that raft was started
	ticks   uint64
	commit  uint64 // as raft said last
	target  uint64 // what OpenGroup waits for to be applied
	keep    uint64 // first entry that a peer still needs from memory

	role       raft.StateType
	lead, term uint64
	lost       uint64 // tick at which it stopped leading
	hurry      uint64 // tick up to which a follower without a leader waits half as long
	disordered bool   // the waiting proposals' indexes do not rise

	copy        *copyRequest
	copying     bool
	source      uint64             // replica that the copy comes from
	abandonCopy context.CancelFunc // nil while no copy is being made
	reads       reads
	stuck       stuck
	// pendingChange is where this leader put its last change of members.
	pendingChange uint64
}

// peer is another replica as this one sees it.
type peer struct {
	node   uint64 // 0 when it is not known
	heard  uint64 // tick of its last message
	copied uint64 // tick at which it last said that it is making a copy
}

const (
	electionTicks  = 10
	heartbeatTicks = 2
	// lostTicks is how long a proposal of a leader that lost the lead waits
	// for its fate to be known.
	lostTicks = 4 * electionTicks
	// copyTicks is how long a leader believes without a sign that a member is
	// making a copy.
	copyTicks = 6 * electionTicks
	// maxMessageBytes bounds the entries in one message, but for a single
	// longer entry: a heartbeat does not wait behind more.
	maxMessageBytes  = 512 << 10
	maxInflightBytes = 32 << 20
	// maxUncommittedBytes bounds what a leader takes without a quorum.
	maxUncommittedBytes = 256 << 20
	// keptBytes of the log stay behind a checkpoint at least, where there are
	// as many, and maxKeptBytes at most.
	keptBytes    = 8 << 20
	maxKeptBytes = 256 << 20
)

func newTeam(g *Group, f Follower) *team {
	t := &team{self: g.opts.Replica.Uint64(), follower: f, changed: make(chan struct{}, 1), changes: make(chan struct{}, 1), peers: map[uint64]*peer{}}
	t.ctx, t.cancel = context.WithCancel(context.Background())
	t.inbox.kick = make(chan struct{}, 1)
	t.work.L = &g.node.Mutex
	return t
}

// checkTeam says whether the options can make a group of several.
func (s *Store) checkTeam(op string, o GroupOptions, sm StateMachine) (Follower, error) {
	f, ok := sm.(Follower)
	switch {
	case s.transport == nil:
		return nil, fault.New(op, fault.Invalid, "shard %s has several members and its store no transport", o.Shard)
	case !ok:
		return nil, fault.New(op, fault.Invalid, "shard %s has several members and its state machine is no Follower", o.Shard)
	case len(o.Members) == 0:
		return f, nil
	}
	return f, checkReplicas(op, o.Members)
}

// bootstrapTeam writes what a new group of several begins with; a replica that
// joins one begins with nothing, and waits for its checkpoint.
func (g *Group) bootstrapTeam(op string) error {
	o, m := g.opts, membership{}
	index, term := uint64(0), uint64(0)
	if !o.Join {
		m = newMembership(o.Members)
		if _, ok := m.find(g.team.self); !ok {
			return fault.New(op, fault.Invalid, "shard %s is new and replica %s is none of its members; let it join", o.Shard, o.Replica)
		}
		index, term = initialIndex, initialTerm
	}
	b := g.store.db.NewBatch()
	defer b.Close()
	put := func(kind byte, words ...uint64) error {
		key := shardKey(o.Shard, kind)
		return b.Set(key, encodeWords(key, words...), nil)
	}
	members := shardKey(o.Shard, kindMembers)
	err := errors.Join(
		b.Set(versionKey, encodeWords(versionKey, formatVersion), nil),
		put(kindMeta, g.team.self, metaSeveral),
		put(kindHardState, term, 0, index),
		put(kindTruncated, index, term),
		b.Set(members, encodeConf(members, index, term, m), nil))
	if err != nil {
		return fault.Wrap(op, fault.Internal, err, "shard %s", o.Shard)
	}
	if err := b.Commit(pebble.Sync); err != nil {
		return diskError(op, err, "cannot make shard %s", o.Shard)
	}
	return nil
}

// runTeam runs a group of several. It ends when the group is closed, or
// stops.
func (g *Group) runTeam() {
	t := g.team
	var loops sync.WaitGroup
	loops.Go(func() {
		g.guarded(g.takeLoop)
		g.mu.Lock()
		g.drained = true
		g.landed.Signal()
		g.mu.Unlock()
	})
	loops.Go(func() {
		g.guarded(g.landLoop)
		g.node.Lock()
		t.over = true
		t.work.Broadcast()
		g.node.Unlock()
	})
	loops.Go(g.receiveLoop)
	loops.Go(g.tellChanges)
	g.guarded(g.followLoop)
	loops.Wait()
	g.leadTerm.Store(0)
	t.leading.Store(false)
	g.node.Lock()
	t.reads.fail(g.closedRead())
	g.node.Unlock()
	g.stop()
}

// closedRead is the error of a read that the end of the group overtook.
func (g *Group) closedRead() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if err := g.refusal("read"); err != nil {
		return err
	}
	return fault.New("read", fault.Closed, "shard %s is closed", g.opts.Shard)
}

// withNode runs fn with raft's state locked and does what raft asks for then,
// unless the group is over. The group stops at an error.
func (g *Group) withNode(fn func() error) (done bool) {
	g.node.Lock()
	return g.inNode(fn)
}

// inNode is withNode for one who has locked the node; it unlocks it.
func (g *Group) inNode(fn func() error) (done bool) {
	defer g.node.Unlock()
	if g.team.over || g.node.RawNode == nil || g.store.latch.cause() != nil {
		return false
	}
	g.guarded(func() error {
		if err := fn(); err != nil {
			return err
		}
		if err := g.pump(); err != nil {
			return err
		}
		done = true
		return nil
	})
	return done
}

// campaigns reports whether this replica begins an election as soon as it is
// open: when it is the only voter, and when it is the first of a new group,
// whose others may be there already. g.node is locked.
func (g *Group) campaigns() bool {
	t, voters := g.team, g.team.members.confState().GetVoters()
	if len(voters) == 0 || t.members.joint() || voters[0] != t.self {
		return false
	}
	last, _ := g.log.LastIndex()
	return len(voters) == 1 || last == initialIndex
}

// stepTeam proposes what was taken. Raft takes all of it, behind the end of
// the log, or nothing. g.node is locked.
func (g *Group) stepTeam(taken []*proposal, m *pb.Message) error {
	n, t := &g.node, g.team
	last, _ := g.log.LastIndex()
	term := t.term
	if err := n.Step(m); err != nil {
		refused := slices.Clone(taken)
		reason := g.dropped(err)
		go func() { // not under the lock
			for _, p := range refused {
				p.finish(nil, reason)
			}
		}()
		return nil
	}
	if w := len(n.waiting); w > 0 && n.waiting[w-1].index > last {
		t.disordered = true
	}
	for i, p := range taken {
		p.index, p.term = last+1+uint64(i), term
	}
	n.waiting = append(n.waiting, taken...)
	return g.pump()
}

// dropped returns why raft took no proposals. g.node is locked.
func (g *Group) dropped(err error) error {
	const op = "propose"
	t := g.team
	to := g.node.BasicStatus().LeadTransferee
	switch {
	case !errors.Is(err, raft.ErrProposalDropped):
		return fault.Wrap(op, fault.Internal, err, "shard %s took no write; nothing happened", g.opts.Shard)
	case t.role != raft.StateLeader:
		return g.notLeading(op)
	case to != raft.None:
		e := fault.New(op, fault.Misrouted, "shard %s: the lead passes to node %d; nothing happened", g.opts.Shard, t.nodeOf(to))
		e.Leader = ident.NewNodeID(t.nodeOf(to))
		return e
	}
	return fault.New(op, fault.Unavailable, "shard %s: too much waits for the other members; nothing happened, try again", g.opts.Shard)
}

// hardOf returns the hard state to be written with a batch of a group of
// several. A change of members goes with what is known to be committed: raft
// counts on it that who has a change in its log knows the one before to be
// committed. g.node is locked.
func (g *Group) hardOf(m *pb.Message, hard *hardState) *hardState {
	n, t := &g.node, g.team
	if m.Term != nil {
		t.commit = m.GetCommit()
	}
	if hard == nil && slices.ContainsFunc(m.Entries, func(e *pb.Entry) bool { return e.GetType() != pb.EntryNormal }) {
		n.hard.commit = t.commit
		hard = &n.hard
	}
	return hard
}

// needed returns the index after which the log is kept behind a checkpoint at
// index: all of a group of one goes. In a group of several those who follow,
// or follow again soon, go on from the log, within bounds.
func (g *Group) needed(index uint64) uint64 {
	if g.team == nil {
		return max(index, initialIndex)
	}
	g.node.Lock()
	defer g.node.Unlock()
	slowest := index
	if g.team.role == raft.StateLeader {
		g.node.WithProgress(func(id uint64, _ raft.ProgressType, pr tracker.Progress) {
			at := pr.Match
			if pr.State == tracker.StateSnapshot {
				at = max(at, pr.PendingSnapshot)
			}
			if id != g.team.self && g.activePeer(id) {
				slowest = min(slowest, at)
			}
		})
	}
	return min(g.log.keeping(keptBytes), max(slowest, g.log.keeping(maxKeptBytes)))
}

// landLoop waits for batches to land and lets out what they allow to tell.
func (g *Group) landLoop() error {
	a := &applier{Group: g}
	for {
		f, ok := a.next()
		if !ok {
			return g.store.Err()
		}
		if err := a.land(f); err != nil {
			return err
		}
		g.withNode(func() error { return g.respond(f) })
	}
}

// respond delivers what a batch that landed makes true, unless raft was
// started anew since.
func (g *Group) respond(f flight) error {
	t := g.team
	if f.epoch != t.epoch {
		return nil
	}
	for _, m := range f.responses {
		if m.GetTo() != t.self {
			g.send(m)
		} else if err := g.stepOwn(m); err != nil {
			return err
		}
	}
	return nil
}

// stepOwn gives raft a message of this replica to itself.
func (g *Group) stepOwn(m *pb.Message) error {
	err := g.node.Step(m)
	if err == nil || errors.Is(err, raft.ErrStepPeerNotFound) { // no member any more
		return nil
	}
	return fault.Wrap("apply", fault.Stopped, err, "shard %s", g.opts.Shard)
}

// misrouted is the error of a call that only the leader takes.
func (g *Group) misrouted(op, format string, args ...any) error {
	e := fault.New(op, fault.Misrouted, "shard %s: "+format, append([]any{g.opts.Shard}, args...)...)
	e.Leader = ident.NewNodeID(g.team.leader.Load())
	return e
}

// notLeading is misrouted for one who does not lead.
func (g *Group) notLeading(op string) error {
	if leader := g.team.leader.Load(); leader != 0 {
		return g.misrouted(op, "node %d leads it; nothing happened", leader)
	}
	return g.misrouted(op, "it has no leader at the moment; nothing happened")
}

// observe takes note of who leads. g.node is locked.
func (g *Group) observe() {
	t := g.team
	st := g.node.BasicStatus()
	role, lead, term := st.RaftState, st.Lead, st.GetTerm()
	node := uint64(0)
	if lead != raft.None {
		node = t.nodeOf(lead)
	}
	if role == t.role && lead == t.lead && term == t.term && node == t.leader.Load() {
		return
	}
	led := t.role == raft.StateLeader
	t.role, t.lead, t.term = role, lead, term
	leading := role == raft.StateLeader
	t.leader.Store(node)
	t.leading.Store(leading)
	if g.leadTerm.Load() != 0 && (!leading || g.leadTerm.Load() != term) {
		g.leadTerm.Store(0)
	}
	if leading && !led {
		t.pendingChange = 0
		for _, p := range t.peers {
			p.heard, p.copied = t.ticks, t.ticks
		}
	}
	if led && !leading {
		t.lost = t.ticks
		t.reads.fail(g.notLeading("read"))
		g.mu.Lock()
		g.work.Signal() // what is queued is to be refused
		g.mu.Unlock()
	}
	g.change()
}

// nodeOf returns the node of a replica, 0 when it is not known. g.node is
// locked.
func (t *team) nodeOf(id uint64) uint64 {
	if s, ok := t.members.find(id); ok && s.node != 0 {
		return s.node
	}
	if p := t.peers[id]; p != nil {
		return p.node
	}
	return 0
}

func (t *team) peer(id uint64) *peer {
	p := t.peers[id]
	if p == nil {
		p = &peer{heard: t.ticks, copied: t.ticks}
		t.peers[id] = p
	}
	return p
}

// change says that the status changed.
func (g *Group) change() {
	select {
	case g.team.changed <- struct{}{}:
	default:
	}
}

// tellChanges calls OnChange.
func (g *Group) tellChanges() {
	t := g.team
	for {
		select {
		case <-t.ctx.Done():
			return
		case <-t.changed:
		}
		if g.opts.OnChange != nil {
			g.opts.OnChange(g.Status())
		}
	}
}
