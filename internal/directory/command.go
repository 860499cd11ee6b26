package directory

import (
	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/replication"
)

// Command is one change of the directory; the types below are all there are.
// Where one names a Generation or an Epoch it takes effect only while that is
// still the one in force, and is refused as Conflict otherwise.
type Command interface {
	kind() commandKind
	// validate refuses what can be told without knowing the state. It is asked
	// before a command enters the log, and never when it is applied: what it
	// says may differ between versions of the program.
	validate() *fault.Error
	// apply does it, or refuses it with nothing changed. What it says depends
	// on the state and the command alone, and is the same in every version.
	apply(s *state, index uint64) (Result, *fault.Error)
}

// Result is what a command did.
type Result struct {
	// Index is the command's place in the directory's log.
	Index uint64 `json:"index"`
	// Node was allotted by Bootstrap or AddNode.
	Node ident.NodeID `json:"node,omitzero"`
	// Shard was allotted by CreateShard.
	Shard ident.ShardID `json:"shard,omitzero"`
	// Generation is that of the shard, the operators or the CA now.
	Generation uint64 `json:"generation,omitempty"`
	// Replicas are what the shard should have now.
	Replicas []replication.Replica `json:"replicas,omitempty"`
	// Epoch is that of the tenant now.
	Epoch uint64 `json:"epoch,omitempty"`
}

// NodeAddresses are what a node says of itself.
type NodeAddresses struct {
	Zone     string `json:"zone,omitempty"`
	PeerAddr string `json:"peer_addr"`
	PGAddr   string `json:"pg_addr,omitempty"`
	RPCAddr  string `json:"rpc_addr,omitempty"`
	Version  string `json:"version,omitempty"`
	HoldsCA  bool   `json:"holds_ca,omitempty"`
}

// Bootstrap is the first command of a deployment, and makes its first node.
// Repeated with the same id it gives the same result.
type Bootstrap struct {
	Deployment string       `json:"deployment"`
	Region     ident.Region `json:"region"`
	NodeAddresses
	// CA is the bundle of certificates, as SetCA has it.
	CA []byte `json:"ca"`
}

// AddNode allots an id to a node that proved a token.
type AddNode struct {
	Proof  TokenProof   `json:"proof"`
	Region ident.Region `json:"region"`
	NodeAddresses
	// Request tells a node that asks again, since it heard no answer, from
	// another that has got hold of the token: a hash of its public key, say.
	Request []byte `json:"request,omitempty"`
}

// UpdateNode replaces what a node says of itself. A Region other than the
// node's is refused.
type UpdateNode struct {
	Node   ident.NodeID `json:"node"`
	Region ident.Region `json:"region"`
	NodeAddresses
}

// SetNodeState drains or removes a node, or ends its draining. A node with
// replicas is not removed.
type SetNodeState struct {
	Node  ident.NodeID `json:"node"`
	State NodeState    `json:"state"`
}

// CreateShard allots a shard with a voter on each of Nodes, which are all
// nodes of Region.
type CreateShard struct {
	Region ident.Region   `json:"region"`
	Nodes  []ident.NodeID `json:"nodes"`
}

// SetReplicas says which members a shard should have. One with a zero ID is
// new, and allotted one; the others must be wanted already, on the same node.
// A node whose disk was wiped is given a new replica.
type SetReplicas struct {
	Shard      ident.ShardID         `json:"shard"`
	Generation uint64                `json:"generation"`
	Want       []replication.Replica `json:"want"`
}

// SetShardState opens or closes a shard for new tenants.
type SetShardState struct {
	Shard      ident.ShardID `json:"shard"`
	Generation uint64        `json:"generation"`
	State      ShardState    `json:"state"`
}

// RemoveShard removes a shard that no tenant is on.
type RemoveShard struct {
	Shard      ident.ShardID `json:"shard"`
	Generation uint64        `json:"generation"`
}

// ReserveTenant takes id and name, and a place. Result.Epoch goes into
// ActivateTenant or AbandonTenant.
type ReserveTenant struct {
	Tenant ident.TenantID `json:"tenant"`
	Name   string         `json:"name"`
	Region ident.Region   `json:"region"`
	Shard  ident.ShardID  `json:"shard"`
}

// ActivateTenant says that the shard has the tenant.
type ActivateTenant struct {
	Tenant ident.TenantID `json:"tenant"`
	Epoch  uint64         `json:"epoch"`
}

// AbandonTenant gives id and name of a reservation back.
type AbandonTenant struct {
	Tenant ident.TenantID `json:"tenant"`
	Epoch  uint64         `json:"epoch"`
}

// RenameTenant gives a tenant another name.
type RenameTenant struct {
	Tenant ident.TenantID `json:"tenant"`
	Name   string         `json:"name"`
}

// BeginMove says that an active tenant is being copied to Target.
type BeginMove struct {
	Tenant ident.TenantID `json:"tenant"`
	Epoch  uint64         `json:"epoch"`
	Target ident.ShardID  `json:"target"`
}

// FlipMove makes the target the owner, with the next epoch.
type FlipMove struct {
	Tenant ident.TenantID `json:"tenant"`
	Epoch  uint64         `json:"epoch"`
}

// AbortMove leaves the owner what it was, with the next epoch.
type AbortMove struct {
	Tenant ident.TenantID `json:"tenant"`
	Epoch  uint64         `json:"epoch"`
}

// EndMove says that the source has let go of the tenant. Epoch is the one
// after the flip.
type EndMove struct {
	Tenant ident.TenantID `json:"tenant"`
	Epoch  uint64         `json:"epoch"`
}

// EraseTenant leaves nothing of a tenant but its id. It must not be moving.
type EraseTenant struct {
	Tenant ident.TenantID `json:"tenant"`
	Epoch  uint64         `json:"epoch"`
}

// CreateToken lets one node join; see NewToken.
type CreateToken struct {
	Token Token `json:"token"`
}

// RevokeToken takes a token back that was not used yet.
type RevokeToken struct {
	ID string `json:"id"`
}

// SetOperators replaces the operators' records, which are opaque here. They
// must hold no secret. Generation is that of Operators, 0 at first.
type SetOperators struct {
	Generation uint64 `json:"generation"`
	Document   []byte `json:"document"`
}

// SetCA replaces the certificates that nodes trust: PEM, and certificates
// alone. Generation is that of CA.
type SetCA struct {
	Generation uint64 `json:"generation"`
	PEM        []byte `json:"pem"`
}

// SetSetting sets a setting of the deployment; "" removes it.
type SetSetting struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Barrier changes nothing. When Propose returns, the local copy has all that
// was acknowledged anywhere before.
type Barrier struct{}
