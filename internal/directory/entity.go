package directory

import (
	"slices"
	"time"

	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/replication"
)

// Deployment is what is one for all nodes.
type Deployment struct {
	// ID names the deployment in its certificates; "" before Bootstrap.
	ID      string    `json:"id"`
	Created time.Time `json:"created"`
}

// NodeState says what may be placed on a node.
type NodeState uint8

// The states of a node. A node that was removed never comes back.
const (
	NodeActive NodeState = iota
	// NodeDraining gives away what it has and gets nothing new.
	NodeDraining
	NodeRemoved
)

// Node is one process with one data directory.
type Node struct {
	ID ident.NodeID `json:"id"`
	// Region never changes.
	Region ident.Region `json:"region"`
	// Zone is what fails together within the region.
	Zone string `json:"zone,omitempty"`
	// PeerAddr, PGAddr and RPCAddr are where it is reached, host and port.
	PeerAddr string    `json:"peer_addr"`
	PGAddr   string    `json:"pg_addr,omitempty"`
	RPCAddr  string    `json:"rpc_addr,omitempty"`
	Version  string    `json:"version,omitempty"`
	State    NodeState `json:"state"`
	// HoldsCA says that the node has the key of the deployment's CA.
	HoldsCA bool      `json:"holds_ca,omitempty"`
	Joined  time.Time `json:"joined"`
}

// ShardState says whether tenants may be placed on a shard.
type ShardState uint8

// The states of a shard. A shard that was removed is gone from the directory,
// and its id is not used again.
const (
	ShardActive ShardState = iota
	// ShardClosed takes no new tenant, so that it can be emptied.
	ShardClosed
)

// Shard is one replicated group of tenants, in one region.
type Shard struct {
	ID     ident.ShardID `json:"id"`
	Region ident.Region  `json:"region"`
	// Initial are the members that the group begins with.
	Initial []replication.Replica `json:"initial"`
	// Want are the members that it should have.
	Want  []replication.Replica `json:"want"`
	State ShardState            `json:"state"`
	// Generation rises with every change of Want or State.
	Generation uint64 `json:"generation"`
}

// On returns the replica that the shard should have on a node.
func (s *Shard) On(node ident.NodeID) (replication.Replica, bool) {
	for _, r := range s.Want {
		if r.Node == node {
			return r, true
		}
	}
	return replication.Replica{}, false
}

// TenantState is where a tenant is in its life.
type TenantState uint8

// The states of a tenant.
const (
	// TenantCreating has its id, name and place; its shard may not know it yet.
	TenantCreating TenantState = iota + 1
	TenantActive
	// TenantMoving is served by Shard and copied to Target.
	TenantMoving
	// TenantReleasing is served by Shard, and Source still has its files.
	TenantReleasing
	// TenantErased is gone but for its id, which is never used again.
	TenantErased
)

// Tenant is where a tenant is.
type Tenant struct {
	ID ident.TenantID `json:"id"`
	// Name is "" of an erased tenant.
	Name   string       `json:"name"`
	Region ident.Region `json:"region"`
	// Shard owns the tenant.
	Shard ident.ShardID `json:"shard"`
	// Epoch rises with every change of owner and every broken-off move, and
	// from one reservation of an id to the next.
	Epoch uint64      `json:"epoch"`
	State TenantState `json:"state"`
	// Target is where a TenantMoving goes.
	Target ident.ShardID `json:"target"`
	// Source is where a TenantReleasing comes from.
	Source ident.ShardID `json:"source"`
}

// Token lets one node join. It holds no secret.
type Token struct {
	ID string `json:"id"`
	// Region is the only one that a node may join with it.
	Region  ident.Region `json:"region"`
	Created time.Time    `json:"created"`
	Expires time.Time    `json:"expires"`
	// Salt and Hash check the secret: HMAC-SHA-256 of it under the salt.
	Salt []byte `json:"salt"`
	Hash []byte `json:"hash"`
	// Used is the node that joined with it, zero before, and Request what that
	// node gave in AddNode.
	Used    ident.NodeID `json:"used"`
	Request []byte       `json:"request,omitempty"`
}

// The names of the states are relied on by scripts.
var (
	nodeStates   = []string{"active", "draining", "removed"}
	shardStates  = []string{"active", "closed"}
	tenantStates = []string{"", "creating", "active", "moving", "releasing", "erased"}
)

// String returns the state's name.
func (s NodeState) String() string { return stateName(nodeStates, uint8(s)) }

// MarshalText implements encoding.TextMarshaler.
func (s NodeState) MarshalText() ([]byte, error) { return marshalState(nodeStates, uint8(s)) }

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *NodeState) UnmarshalText(b []byte) error {
	return unmarshalState(nodeStates, b, func(n uint8) { *s = NodeState(n) })
}

// String returns the state's name.
func (s ShardState) String() string { return stateName(shardStates, uint8(s)) }

// MarshalText implements encoding.TextMarshaler.
func (s ShardState) MarshalText() ([]byte, error) { return marshalState(shardStates, uint8(s)) }

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *ShardState) UnmarshalText(b []byte) error {
	return unmarshalState(shardStates, b, func(n uint8) { *s = ShardState(n) })
}

// String returns the state's name.
func (s TenantState) String() string { return stateName(tenantStates, uint8(s)) }

// MarshalText implements encoding.TextMarshaler.
func (s TenantState) MarshalText() ([]byte, error) { return marshalState(tenantStates, uint8(s)) }

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *TenantState) UnmarshalText(b []byte) error {
	return unmarshalState(tenantStates, b, func(n uint8) { *s = TenantState(n) })
}

func stateName(names []string, n uint8) string {
	if int(n) >= len(names) {
		return "unknown"
	}
	return names[n]
}

func marshalState(names []string, n uint8) ([]byte, error) {
	if int(n) >= len(names) {
		return nil, fault.New("directory", fault.Invalid, "there is no state %d", n)
	}
	return []byte(names[n]), nil
}

func unmarshalState(names []string, b []byte, set func(uint8)) error {
	i := slices.Index(names, string(b))
	if i < 0 {
		return fault.New("directory", fault.Invalid, "there is no state %q", clip(string(b)))
	}
	set(uint8(i))
	return nil
}

// clip shortens what somebody typed, for a message.
func clip(s string) string {
	if len(s) > 40 {
		return s[:40] + "…"
	}
	return s
}
