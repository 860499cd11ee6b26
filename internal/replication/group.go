package replication

import (
	"context"
	"crypto/rand"
	"fmt"
	"sync"
	"sync/atomic"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"

	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/record"
)

// Entry is one proposal that is committed.
type Entry struct {
	// Index is its place in the group's log. Indexes rise, with gaps where
	// the engine put entries of its own.
	Index uint64
	// Data is what was proposed. The state machine may keep it, and must not
	// change it.
	Data []byte
	// Result is set by Apply and handed to the local proposer, if it waits.
	Result any
}

// StateMachine is what a group's log is for.
type StateMachine interface {
	// Apply takes committed entries in log order, called by one goroutine per
	// group. It sets Result on each. The slice is valid during the call. An
	// error stops the group for good (fault.Stopped): every replica must come
	// to the same end with the same entries, so only a fault of this node may
	// be returned, never one of an entry.
	Apply(entries []Entry) error
}

// GroupOptions says which group to open, and its limits.
type GroupOptions struct {
	Shard ident.ShardID
	// Node is this node: the group's one member, when Replica is zero.
	Node ident.NodeID
	// Replica is this node's member of a group of several. Zero makes a group
	// of one, which needs no clock and no transport.
	Replica ident.ReplicaID
	// Members are those of a group that is new everywhere, the same on each of
	// them. They count when the store has nothing of the group, and Join is
	// not set.
	Members []Replica
	// Join says that the group exists elsewhere: its leader will add this
	// replica, and send it what it needs.
	Join bool
	// OnChange is called when the leader, the term or the members change, and
	// once when the group opened; never concurrently. It must not block, and
	// must not call the group but for Lead and Applied.
	OnChange func(Status)
	// MaxEntryBytes is the longest data of a proposal; 0 means
	// record.MaxRecordBytes and 1 KiB.
	MaxEntryBytes int
	// MaxQueuedBytes is how much data may wait to enter the log; a proposal
	// beyond it is refused as Unavailable. 0 means 256 MiB. One proposal is
	// always let in.
	MaxQueuedBytes int64
	// MinIndex is an index that the log is known to have reached, such as the
	// last one that the state machine finds applied in its own files; 0 when
	// nothing is known. A log that ends before it is refused as Corruption.
	MinIndex uint64
}

const (
	defaultMaxEntryBytes  = record.MaxRecordBytes + 1<<10
	defaultMaxQueuedBytes = 256 << 20
	// maxBatchBytes bounds what enters the log by one sync, but for a single
	// longer entry. It also is the page in which a start replays.
	maxBatchBytes = 4 << 20
)

func (o *GroupOptions) setDefaults() {
	if o.MaxEntryBytes <= 0 {
		o.MaxEntryBytes = defaultMaxEntryBytes
	}
	if o.MaxQueuedBytes <= 0 {
		o.MaxQueuedBytes = defaultMaxQueuedBytes
	}
}

// Group is one replicated log and the two goroutines that run it: one takes
// proposals into the log when those who propose do not, one waits for the disk
// and applies. All methods are safe for concurrent use. Of the mutexes, node's
// is taken before mu.
type Group struct {
	store *Store
	opts  GroupOptions
	sm    StateMachine
	log   *groupLog

	session  [8]byte
	applied  atomic.Uint64
	leadTerm atomic.Uint64 // term in which it leads and has applied all before it, else 0
	team     *team         // nil in a group of one
	checkMu  sync.Mutex    // lets one SaveCheckpoint run at a time
	ready    chan error    // receives once, when the group leads and all is replayed
	done     chan struct{} // closed when both goroutines have ended

	mu        sync.Mutex // guards all below
	work      sync.Cond  // for the taker: queue, inflight, closing, err changed
	landed    sync.Cond  // for the applier: inflight, drained, err changed
	queue     []*proposal
	queued    int64 // bytes of queue
	number    uint64
	inflight  []flight // handed to the engine, in order, not known to be synced
	launched  uint64   // counts the flights
	lastTaken int      // how many proposals the last batch held
	closing   bool     // no proposal is let in
	drained   bool     // the taker has ended
	err       error    // why the group stopped, nil while it runs

	node raftNode
}

// raftNode is raft and what its messages to this node's own disk and state
// machine ask for. Whoever changes raft's state handles what comes of it
// before letting go of the mutex.
type raftNode struct {
	sync.Mutex // guards all below
	*raft.RawNode
	hard    hardState     // as it was written last
	applies []*pb.Message // committed entries to apply, in order
	waiting []*proposal   // entered the log since the applier looked, in order
	taken   []*proposal   // reused by takeIn
}

// OpenGroup opens a group, and makes it the first time: with this node as the
// one member, or as GroupOptions say. It replays through sm.Apply every entry
// after the checkpoint that is known to be committed. A group of one leads when
// it returns; one of several may not know of a leader yet. Errors: Corruption when the log is
// damaged or shorter than it is known to have been, InUse when the group is
// open already, Invalid when it belongs to another node, and what sm.Apply
// returns.
func (s *Store) OpenGroup(o GroupOptions, sm StateMachine) (*Group, error) {
	const op = "open shard"
	o.setDefaults()
	if err := s.use(op); err != nil {
		return nil, err
	}
	g := &Group{store: s, opts: o, sm: sm, done: make(chan struct{}), ready: make(chan error, 1)}
	g.work.L, g.landed.L = &g.mu, &g.mu
	if !o.Replica.IsZero() {
		f, err := s.checkTeam(op, o, sm)
		if err != nil {
			s.users.Done()
			return nil, err
		}
		g.team = newTeam(g, f)
	}
	if _, err := rand.Read(g.session[:]); err != nil {
		s.users.Done()
		return nil, fault.Wrap(op, fault.Internal, err, "no randomness")
	}
	if err := s.enroll(op, g); err != nil {
		s.users.Done()
		return nil, err
	}
	if err := g.load(op); err != nil {
		s.expel(g)
		close(g.done)
		s.users.Done()
		return nil, err
	}
	go g.run() // takes over the use of the store
	if err := <-g.ready; err != nil {
		<-g.done
		return nil, err
	}
	return g, nil
}

// enroll lists the group as open.
func (s *Store) enroll(op string, g *Group) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.groups[g.opts.Shard] != nil || s.destroying[g.opts.Shard] {
		return fault.New(op, fault.InUse, "shard %s is open already", g.opts.Shard)
	}
	s.groups[g.opts.Shard] = g
	if g.team != nil {
		s.startTicker()
	}
	return nil
}

func (s *Store) expel(g *Group) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.groups, g.opts.Shard)
}

// load reads the group's log and starts raft on it.
func (g *Group) load(op string) error {
	s, shard := g.store, g.opts.Shard
	log, err := loadGroupLog(s.db, s.dir, shard)
	if err != nil {
		return err
	}
	known := max(s.bounds.get(shard), g.opts.MinIndex)
	if log == nil {
		if known > 0 {
			return corruptStore(op, s.dir, nil, "the log of shard %s is gone, and it had reached index %d; restore the shard from a backup or a replica", shard, known)
		}
		if g.team != nil {
			if err := g.bootstrapTeam(op); err != nil {
				return err
			}
		} else if err := bootstrap(s.db, shard, g.opts.Node); err != nil {
			return diskError(op, err, "cannot make shard %s", shard)
		}
		if s.latch.cause() != nil {
			return s.Err()
		}
		if log, err = loadGroupLog(s.db, s.dir, shard); err != nil {
			return err
		}
	}
	g.log, g.node.hard = log, log.hard
	if err := g.check(op, known); err != nil {
		return err
	}
	if g.team == nil {
		return g.start(op)
	}
	g.node.Lock()
	defer g.node.Unlock()
	return g.startTeam(op)
}

// startTeam makes the raft node of a group of several. What a bound says was
// applied, so it is committed. g.node is locked.
func (g *Group) startTeam(op string) error {
	t := g.team
	g.log.hard.commit = max(g.log.hard.commit, g.store.bounds.get(g.opts.Shard))
	g.node.hard = g.log.hard
	t.members = g.log.confs[0].membership
	if err := g.start(op); err != nil {
		return err
	}
	t.target = g.node.BasicStatus().GetCommit()
	t.open.Store(true)
	return nil
}

// checkSelf says whether the log is this replica's.
func (g *Group) checkSelf(op string) error {
	l, o := g.log, g.opts
	switch {
	case g.team != nil && !l.several, g.team == nil && l.several:
		return fault.New(op, fault.Invalid, "shard %s is open as a group of one where it has several, or the other way round", l.shard)
	case g.team != nil && l.self != g.team.self:
		return fault.New(op, fault.Invalid, "shard %s is replica %d here, not replica %s", l.shard, l.self, o.Replica)
	case g.team == nil && l.self != o.Node.Uint64():
		return fault.New(op, fault.Invalid, "shard %s belongs to node %d, not to node %s", l.shard, l.self, o.Node)
	}
	return nil
}

// check holds the log against all that is known of it.
func (g *Group) check(op string, known uint64) error {
	l := g.log
	if err := g.checkSelf(op); err != nil {
		return err
	}
	if known = max(known, l.hard.commit, l.checkpoint); l.last < known {
		return l.corrupt(nil, "its log ends at index %d and had reached index %d: acknowledged entries are lost", l.last, known)
	}
	if l.checkpoint != 0 && l.checkpoint < l.truncated {
		return l.corrupt(nil, "its log begins at index %d, after the checkpoint at index %d", l.truncated+1, l.checkpoint)
	}
	return nil
}

// start makes the raft node.
func (g *Group) start(op string) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = g.log.corrupt(fmt.Errorf("%v", r), "its log does not start")
		}
	}()
	applied := max(g.log.checkpoint, g.log.truncated)
	g.applied.Store(applied)
	c := &raft.Config{
		ID:                        g.log.self,
		ElectionTick:              electionTicks,
		HeartbeatTick:             heartbeatTicks,
		Storage:                   g.log,
		Applied:                   applied,
		AsyncStorageWrites:        true,
		MaxSizePerMsg:             maxBatchBytes,
		MaxCommittedSizePerReady:  maxBatchBytes,
		MaxInflightMsgs:           64,
		CheckQuorum:               true,
		PreVote:                   true,
		DisableProposalForwarding: true, // records are sealed by the leader
		Logger:                    raftLogger{g.store.logger},
	}
	if g.team != nil {
		c.MaxSizePerMsg, c.MaxInflightBytes, c.MaxUncommittedEntriesSize = maxMessageBytes, maxInflightBytes, maxUncommittedBytes
		c.StepDownOnRemoval = true
	}
	g.node.RawNode, err = raft.NewRawNode(c)
	if err != nil {
		return fault.Wrap(op, fault.Internal, err, "shard %s does not start", g.opts.Shard)
	}
	return nil
}

// Applied returns the index of the last entry that was applied.
func (g *Group) Applied() uint64 { return g.applied.Load() }

// ReadIndex returns once the state machine has applied all that was
// acknowledged before the call, by whomever. The leader of a group of one
// acknowledges only what it has applied, so there is nothing to wait for; that
// of several asks a quorum whether it still leads. Errors: Timeout, Canceled,
// Closed, Stopped, and Misrouted when this replica does not lead.
func (g *Group) ReadIndex(ctx context.Context) error {
	const op = "read"
	if ctx.Err() != nil {
		return fault.OfContext(op, ctx)
	}
	if g.team != nil {
		return g.readTeam(ctx)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.refusal(op)
}

// LogBytes returns the bytes of the entries after the last checkpoint, up to
// 64 KiB too many.
func (g *Group) LogBytes() int64 { return g.log.bytes() }

// Close finishes what is in flight and queued, stops the group and lets it be
// opened again. It saves no checkpoint. It returns why the group had stopped
// before, if it had. It is idempotent.
func (g *Group) Close() error {
	g.mu.Lock()
	g.closing = true
	g.work.Signal()
	g.mu.Unlock()
	if g.team != nil {
		g.team.cancel()
	}
	<-g.done
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.err
}

// wake makes both goroutines look at the store's state.
func (g *Group) wake() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.work.Signal()
	g.landed.Signal()
}
