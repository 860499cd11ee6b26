// Package deployment describes a deployment to those who run it: plain values
// about its nodes, shards, moves and the places of tenants' bytes.
//
// It guarantees nothing beyond its types, holds no secret but that of a
// [NewToken], and must not know how any of it is found out or shown. Package
// cluster makes these values, the doors show them.
package deployment

import (
	"time"

	"kimberlite/internal/ident"
)

// Status is a deployment as one node sees it.
type Status struct {
	Deployment string
	Created    time.Time
	Directory  Group
	Nodes      []Node
	Shards     []Shard
	// Problems are what an operator should look at, in words.
	Problems []string
}

// Group is the directory's group.
type Group struct {
	// Leader is zero when the node knows of none.
	Leader  ident.NodeID
	Term    uint64
	Applied uint64
	Voters  []ident.NodeID
	// Learners hold copies and do not vote.
	Learners []ident.NodeID
}

// Node is one node.
type Node struct {
	ID       ident.NodeID
	Region   ident.Region
	Zone     string
	State    string // active, draining or removed
	Version  string
	PeerAddr string
	PGAddr   string
	RPCAddr  string
	Joined   time.Time
	HoldsCA  bool
	// Self is the node that describes; Alive says that it has heard from this
	// one lately.
	Self, Alive bool
	// Replicas counts those of shards, Leads those of them that lead.
	Replicas, Leads int
	Link            *Link // nil to itself
}

// Link is what went over the link between two nodes.
type Link struct {
	Connected               bool
	RoundTrip               time.Duration
	Sent, Received, Proxied uint64 // bytes
	Queued, Dropped         uint64 // messages
}

// Shard is one shard.
type Shard struct {
	ID      ident.ShardID
	Region  ident.Region
	State   string       // active or closed
	Leader  ident.NodeID // zero when none is known
	Term    uint64
	Members []Member
	Tenants int
	// Bytes are those of its tenants' files, on one replica.
	Bytes int64
	// Load is the operations of the last seconds, each second.
	Load float64
}

// Member is one replica of a shard.
type Member struct {
	Replica ident.ReplicaID
	Node    ident.NodeID
	Learner bool
	// Lag counts the entries that it is behind the leader.
	Lag uint64
	// Active says that the leader hears from it, CatchingUp that it receives
	// what it lacks.
	Active, CatchingUp bool
}

// Token is what is known of a join token.
type Token struct {
	ID               string
	Region           ident.Region
	Created, Expires time.Time
	Used             ident.NodeID // that joined with it; zero before
}

// NewToken is a token that was just made. Secret is what a node joins with.
type NewToken struct {
	Token
	Secret string
}

// Drain is what is left on a node that drains.
type Drain struct {
	Node           ident.NodeID
	State          string
	Shards, Leads  []ident.ShardID
	DirectoryVoter bool
	// Done says that nothing is left, and Blocked, if not "", why it does not
	// go on.
	Done    bool
	Blocked string
}

// The phases of a move.
const (
	Copying   = "copying"
	Fencing   = "fencing"
	Flipping  = "flipping"
	Releasing = "releasing"
	Done      = "done"
	Aborted   = "aborted"
)

// Move is the move of one tenant.
type Move struct {
	Tenant        ident.TenantID
	From, To      ident.ShardID
	Phase         string
	Copied, Total int64 // bytes
	Began, Ended  time.Time
	// Fenced is how long writes had to wait.
	Fenced time.Duration
	// Problem says, if not "", why it was aborted or does not go on.
	Problem string
}

// Ended says that a phase is a move's last.
func Ended(phase string) bool { return phase == Done || phase == Aborted }

// Plan is what a rebalance does.
type Plan struct {
	Moves []PlannedMove
	Loads []Load
}

// PlannedMove is one tenant's.
type PlannedMove struct {
	Tenant   ident.TenantID
	From, To ident.ShardID
	Bytes    int64
	Reason   string
}

// Load is one shard's, before a plan and after it.
type Load struct {
	Shard                       ident.ShardID
	Region                      ident.Region
	TenantsBefore, TenantsAfter int
	BytesBefore, BytesAfter     int64
}

// Placement is where a tenant is.
type Placement struct {
	Tenant ident.TenantID
	Name   string
	Region ident.Region
	Shard  ident.ShardID
	Epoch  uint64
	State  string // creating, active, moving, releasing or erased
	Target ident.ShardID
}

// Residency is what every node found of tenants on its own disk.
type Residency struct {
	Tenants []TenantResidency
	// Unreached are nodes that did not answer: what they hold is not known.
	Unreached []ident.NodeID
}

// TenantResidency is where one tenant's bytes are.
type TenantResidency struct {
	Tenant ident.TenantID
	Name   string
	Region ident.Region
	Places []Place
}

// Place is a node that holds bytes of a tenant.
type Place struct {
	Node   ident.NodeID
	Region ident.Region
	Shard  ident.ShardID
	Bytes  int64
	// Key says that the tenant's wrapped KEK is there.
	Key bool
}

// Outside counts the places that are in another region than their tenant.
func (r *Residency) Outside() int {
	n := 0
	for i := range r.Tenants {
		for _, p := range r.Tenants[i].Places {
			if p.Region != r.Tenants[i].Region {
				n++
			}
		}
	}
	return n
}

// Renewal is one node's new certificate.
type Renewal struct {
	Node    ident.NodeID
	Expires time.Time
	// Problem says, if not "", why it has no new one.
	Problem string
}

// Authority is a certificate authority.
type Authority struct {
	// Fingerprint is the SHA-256 of its certificate, in hexadecimal.
	Fingerprint string
	Expires     time.Time
}
