package replication

import (
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/tracker"

	"kimberlite/internal/ident"
)

// Replica is one member of a group.
type Replica struct {
	ID   ident.ReplicaID `json:"id"`
	Node ident.NodeID    `json:"node"`
	// Learner is a member that receives the log and has no vote.
	Learner bool `json:"learner,omitempty"`
}

// Role is what a replica is in its group at a time.
type Role uint8

// The roles of a replica.
const (
	RoleFollower Role = iota
	RoleCandidate
	RoleLeader
	RoleLearner
)

// String returns the role in a word.
func (r Role) String() string {
	switch r {
	case RoleFollower:
		return "follower"
	case RoleCandidate:
		return "candidate"
	case RoleLeader:
		return "leader"
	case RoleLearner:
		return "learner"
	}
	return "unknown"
}

// Status is what a replica knows of its group.
type Status struct {
	Shard ident.ShardID
	// Self is this replica.
	Self Replica
	Role Role
	// Leader is the member that leads; zero when it is not known.
	Leader Replica
	Term   uint64
	// Applied, Committed and Last are indexes: of the last entry that the
	// state machine has applied, that is known to be committed, that is in
	// the log.
	Applied, Committed, Last uint64
	// Members are those of the group as this replica has applied its changes.
	Members []Replica
	// Copying says that this replica is too far behind for the log, and is
	// bringing its files up.
	Copying bool
	// Peers is how far the other members are; only the leader knows.
	Peers []Peer
}

// Peer is another member, as the leader sees it.
type Peer struct {
	Replica
	// Match is the index up to which the member's log is known to be the
	// leader's.
	Match uint64
	// Active says that the member answered within the last election timeout.
	Active bool
	// Snapshotting says that the member is too far behind for the log, and is
	// bringing its files up.
	Snapshotting bool
}

// Status returns what this replica knows of its group.
func (g *Group) Status() Status {
	g.node.Lock()
	defer g.node.Unlock()
	last, _ := g.log.LastIndex()
	s := Status{Shard: g.opts.Shard, Applied: g.Applied(), Committed: g.Applied(), Last: last}
	if g.node.RawNode == nil {
		return s
	}
	basic := g.node.BasicStatus()
	s.Term, s.Committed = basic.GetTerm(), basic.GetCommit()
	if g.team == nil {
		self := Replica{ID: ident.NewReplicaID(g.log.self), Node: g.opts.Node}
		s.Self, s.Role, s.Leader, s.Members = self, RoleLeader, self, []Replica{self}
		return s
	}
	g.teamStatus(&s, basic)
	return s
}

// teamStatus fills in what a group of several has. g.node is locked.
func (g *Group) teamStatus(s *Status, basic raft.BasicStatus) {
	t := g.team
	s.Self = t.replica(t.self)
	s.Self.Node = g.opts.Node
	s.Members, s.Copying = t.members.list(), t.copying
	if basic.Lead != raft.None {
		s.Leader = t.replica(basic.Lead)
	}
	switch basic.RaftState {
	case raft.StateCandidate, raft.StatePreCandidate:
		s.Role = RoleCandidate
	case raft.StateLeader:
		s.Role = RoleLeader
		g.node.WithProgress(func(id uint64, _ raft.ProgressType, pr tracker.Progress) {
			if id != t.self {
				s.Peers = append(s.Peers, Peer{Replica: t.replica(id), Match: pr.Match, Active: g.activePeer(id), Snapshotting: pr.State == tracker.StateSnapshot})
			}
		})
	default:
		if s.Self.Learner {
			s.Role = RoleLearner
		}
	}
}

// replica returns what is known of a replica. g.node is locked.
func (t *team) replica(id uint64) Replica {
	if s, ok := t.members.find(id); ok {
		return s.replica()
	}
	return Replica{ID: ident.NewReplicaID(id), Node: ident.NewNodeID(t.nodeOf(id))}
}
