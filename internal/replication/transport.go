package replication

import (
	"errors"
	"sync"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"kimberlite/internal/ident"
)

// Message is what one replica tells another.
type Message struct {
	Shard    ident.ShardID
	From, To ident.ReplicaID
	// Data is the message itself, sealed to everyone but this package.
	Data []byte
}

// Transport carries messages between nodes. It may lose, delay, repeat and
// reorder them.
type Transport interface {
	// Send never blocks. It may keep m.
	Send(to ident.NodeID, m Message)
}

// The first byte of a message's data.
const (
	messageRaft    = 1 // the rest is raft's
	messageCopying = 2 // the sender is making a copy; there is no rest
)

const (
	maxInboxMessages = 4096
	maxInboxBytes    = 64 << 20
)

// inbox holds messages that came while the group was busy, in their order.
type inbox struct {
	kick chan struct{} // there is something, and nobody at hand; holds one

	mu      sync.Mutex // guards all below
	letters []letter
	bytes   int
}

type letter struct {
	from ident.NodeID
	Message
}

// put adds a letter; one too many is lost.
func (b *inbox) put(l letter) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.letters) >= maxInboxMessages || len(b.letters) > 0 && b.bytes+len(l.Data) > maxInboxBytes {
		return
	}
	b.letters = append(b.letters, l)
	b.bytes += len(l.Data)
}

func (b *inbox) take() []letter {
	b.mu.Lock()
	defer b.mu.Unlock()
	letters := b.letters
	b.letters, b.bytes = nil, 0
	return letters
}

func (b *inbox) empty() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.letters) == 0
}

// Receive takes a message that came from another node. It never blocks for
// long. A message for a group or a replica that is not open here is dropped
// and told to StoreOptions.Misfit.
func (s *Store) Receive(from ident.NodeID, m Message) {
	s.mu.Lock()
	g := s.groups[m.Shard]
	s.mu.Unlock()
	if g == nil || g.team == nil || g.team.self != m.To.Uint64() {
		if s.misfit != nil {
			s.misfit(from, m)
		}
		return
	}
	t := g.team
	if !t.open.Load() || len(m.Data) == 0 {
		return
	}
	t.inbox.put(letter{from, m})
	if g.node.TryLock() {
		g.inNode(g.drain)
	}
	if !t.inbox.empty() {
		select {
		case t.inbox.kick <- struct{}{}:
		default:
		}
	}
}

// Unreachable says that the link to a node was lost, so that messages sent to
// it may be. Those whom the node led look for another leader sooner; while
// other voters hear of the old one they get none.
func (s *Store) Unreachable(node ident.NodeID) {
	for _, g := range s.openGroups() {
		if t := g.team; t != nil && (t.leading.Load() || t.leader.Load() == node.Uint64()) {
			g.withNode(func() error { return g.unreachable(node.Uint64()) })
		}
	}
}

// unreachable is Unreachable of one group. g.node is locked.
func (g *Group) unreachable(node uint64) error {
	t := g.team
	if t.role == raft.StateLeader {
		for _, seat := range t.members.seats {
			if seat.node == node && seat.id != t.self {
				g.node.ReportUnreachable(seat.id)
			}
		}
		return nil
	}
	if t.lead == raft.None || t.nodeOf(t.lead) != node {
		return nil
	}
	t.hurry = t.ticks + electionTicks
	return g.node.ForgetLeader()
}

// receiveLoop receives what came while the group was busy.
func (g *Group) receiveLoop() {
	for {
		select {
		case <-g.team.ctx.Done():
			return
		case <-g.team.inbox.kick:
			g.withNode(g.drain)
		}
	}
}

// drain gives raft what is in the inbox. g.node is locked.
func (g *Group) drain() error {
	for _, l := range g.team.inbox.take() {
		if err := g.read(l); err != nil {
			return err
		}
	}
	return nil
}

// read takes one letter. One that is not what it should be is dropped.
func (g *Group) read(l letter) error {
	t, id := g.team, l.From.Uint64()
	if id == t.self || id == raft.None || raft.IsLocalMsgTarget(id) {
		return nil
	}
	if s, ok := t.members.find(id); ok && s.node != l.from.Uint64() {
		return nil // a replica is on one node for ever
	}
	p := t.peer(id)
	p.node, p.heard = l.from.Uint64(), t.ticks
	switch l.Data[0] {
	case messageCopying:
		p.copied = t.ticks
		return nil
	case messageRaft:
	default:
		return nil
	}
	m := &pb.Message{}
	if err := proto.Unmarshal(l.Data[1:], m); err != nil || m.GetFrom() != id || m.GetTo() != t.self || !fit(m) {
		return nil //nolint:nilerr // noise on the line is not this group's failure
	}
	if m.GetType() == pb.MsgSnap {
		m = g.interceptCopy(m)
	}
	err := g.node.Step(m)
	if err != nil && !errors.Is(err, raft.ErrStepPeerNotFound) && !errors.Is(err, raft.ErrProposalDropped) {
		return err
	}
	return nil
}

// fit reports whether a message is one that replicas send each other.
func fit(m *pb.Message) bool {
	if m.GetTerm() == 0 { // raft takes it for one of its own
		return false
	}
	switch m.GetType() {
	case pb.MsgApp:
		for i, e := range m.GetEntries() {
			if e.GetIndex() != m.GetIndex()+1+uint64(i) || e.GetType() == pb.EntryNormal && len(e.Data) > 0 && len(e.Data) < proposerLen {
				return false
			}
		}
		return true
	case pb.MsgSnap:
		return m.GetSnapshot().GetMetadata().GetIndex() > 0
	case pb.MsgAppResp, pb.MsgVote, pb.MsgVoteResp, pb.MsgPreVote, pb.MsgPreVoteResp,
		pb.MsgHeartbeat, pb.MsgHeartbeatResp, pb.MsgTimeoutNow:
		return true
	}
	return false
}

// send hands a message to the transport. A store that failed is silent. g.node
// is locked.
func (g *Group) send(m *pb.Message) {
	t, to := g.team, m.GetTo()
	node := t.nodeOf(to)
	if node == 0 || g.store.latch.cause() != nil {
		return
	}
	if m.GetType() == pb.MsgSnap {
		t.peer(to).copied = t.ticks
	}
	data := make([]byte, 1, 1+proto.Size(m))
	data[0] = messageRaft
	data, err := proto.MarshalOptions{UseCachedSize: true}.MarshalAppend(data, m)
	if err != nil {
		g.store.logger.Error("a message does not encode", "shard", g.opts.Shard.String(), "error", err)
		return
	}
	g.post(node, to, data)
}

func (g *Group) post(node, to uint64, data []byte) {
	g.store.transport.Send(ident.NewNodeID(node), Message{
		Shard: g.opts.Shard, From: g.opts.Replica, To: ident.NewReplicaID(to), Data: data,
	})
}
