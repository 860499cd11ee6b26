package cluster

import (
	"time"

	"kimberlite/internal/directory"
	"kimberlite/internal/ident"
	"kimberlite/internal/peer"
	"kimberlite/internal/replication"
)

// Status is the deployment as one node sees it.
type Status struct {
	Deployment string
	Created    time.Time
	Self       ident.NodeID
	Directory  GroupStatus
	Nodes      []NodeStatus
	Shards     []ShardStatus
	// Problems are what an operator should look at, in words.
	Problems []string
}

// GroupStatus is a replicated group as one node knows it.
type GroupStatus struct {
	// Leader is zero while none is known.
	Leader  ident.NodeID
	Term    uint64
	Applied uint64
	Members []MemberStatus
}

// MemberStatus is one member of a group.
type MemberStatus struct {
	replication.Replica
	// Lag counts the entries that it is behind the leader; Active says that
	// the leader hears from it, and Snapshotting that it receives what it lacks.
	Lag          uint64
	Active       bool
	Snapshotting bool
}

// NodeStatus is one node.
type NodeStatus struct {
	directory.Node
	// Self says that it is the node that was asked, and Alive that that one has
	// heard from it lately.
	Self, Alive bool
	// Replicas counts those of shards, Leads those of them that lead.
	Replicas, Leads int
	// Link is the asked node's to it; zero for itself.
	Link peer.Link
}

// ShardStatus is one shard.
type ShardStatus struct {
	directory.Shard
	GroupStatus
	Tenants int
	// Bytes are those of its tenants' logs and tables on one replica; Load is
	// the operations of the last seconds, each second.
	Bytes int64
	Load  float64
}

// Drain is what is left on a node that drains.
type Drain struct {
	Node           ident.NodeID
	State          string
	Shards         []ident.ShardID // it has replicas of
	Leads          []ident.ShardID
	DirectoryVoter bool
	// Done says that it can be removed. Blocked says, if not "", why it does
	// not go on.
	Done    bool
	Blocked string
}

// MovePhase is how far a tenant's move is.
type MovePhase string

// The phases of a move.
const (
	MoveCopying   MovePhase = "copying"
	MoveFencing   MovePhase = "fencing"
	MoveFlipping  MovePhase = "flipping"
	MoveReleasing MovePhase = "releasing"
	MoveDone      MovePhase = "done"
	MoveAborted   MovePhase = "aborted"
)

// Move is the move of one tenant.
type Move struct {
	Tenant   ident.TenantID `json:"tenant"`
	From     ident.ShardID  `json:"from"`
	To       ident.ShardID  `json:"to"`
	Phase    MovePhase      `json:"phase"`
	Copied   int64          `json:"copied"`
	Total    int64          `json:"total"`
	Began    time.Time      `json:"began"`
	Ended    time.Time      `json:"ended"`
	Fenced   time.Duration  `json:"fenced"` // how long writes had to wait
	Attempts int            `json:"attempts"`
	Problem  string         `json:"problem,omitempty"`
}

// Place is one node that holds bytes of a tenant.
type Place struct {
	Node   ident.NodeID  `json:"node"`
	Region ident.Region  `json:"region"`
	Shard  ident.ShardID `json:"shard"`
	Bytes  int64         `json:"bytes"`
	// Key says that the tenant's wrapped KEK is there.
	Key bool `json:"key"`
	// Outside says that the node is not in the tenant's region.
	Outside bool `json:"outside"`
}

// TenantPlaces are the places of one tenant.
type TenantPlaces struct {
	ID     ident.TenantID
	Name   string
	Region ident.Region
	Places []Place
}

// Residency is where tenants' bytes are, as each node finds them on its disk.
type Residency struct {
	Tenants []TenantPlaces
	// Unreached are nodes that did not answer: what they hold is not known.
	Unreached []ident.NodeID
	// Outside counts the places that are not in their tenant's region.
	Outside int
}

// Renewal is a node's new certificate.
type Renewal struct {
	Node    ident.NodeID
	Expires time.Time
	Problem string
}

// Authority describes the deployment's certificate authority.
type Authority struct {
	// Fingerprint is the SHA-256 of its certificate, in hexadecimal.
	Fingerprint string
	Expires     time.Time
}
