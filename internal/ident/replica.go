package ident

import (
	"fmt"
	"strconv"
)

// DirectoryShard is the group that keeps the directory of a deployment. Shards
// of tenants count from 1.
var DirectoryShard = ShardID{}

// IsDirectory reports whether s is the directory's group.
func (s ShardID) IsDirectory() bool { return s.shard == 0 }

// ParseShardID reads a shard of tenants in decimal: 1 or more.
func ParseShardID(s string) (ShardID, error) {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil || n == 0 {
		return ShardID{}, fmt.Errorf("shard %q is not a number of 1 or more", clip(s))
	}
	return ShardID{n}, nil
}

// MarshalJSON writes the id as a JSON number.
func (s ShardID) MarshalJSON() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalJSON reads a JSON number, or one in a string.
func (s *ShardID) UnmarshalJSON(b []byte) error {
	n, err := strconv.ParseUint(unquote(b), 10, 64)
	if err != nil {
		return fmt.Errorf("shard %q is not a whole number", clip(string(b)))
	}
	s.shard = n
	return nil
}

// ParseNodeID reads a node id in decimal: 1 or more.
func ParseNodeID(s string) (NodeID, error) {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil || n == 0 {
		return NodeID{}, fmt.Errorf("node %q is not a number of 1 or more", clip(s))
	}
	return NodeID{n}, nil
}

// IsZero reports whether n is no node.
func (n NodeID) IsZero() bool { return n.node == 0 }

// MarshalJSON writes the id as a JSON number.
func (n NodeID) MarshalJSON() ([]byte, error) { return []byte(n.String()), nil }

// UnmarshalJSON reads a JSON number, or one in a string.
func (n *NodeID) UnmarshalJSON(b []byte) error {
	v, err := strconv.ParseUint(unquote(b), 10, 64)
	if err != nil {
		return fmt.Errorf("node %q is not a whole number", clip(string(b)))
	}
	n.node = v
	return nil
}

// ReplicaID names one member of one replicated group for ever: a node that
// leaves a group and comes back is another replica. The zero ReplicaID is none.
type ReplicaID struct{ replica uint64 }

// NewReplicaID returns replica n.
func NewReplicaID(n uint64) ReplicaID { return ReplicaID{n} }

// Uint64 returns the number.
func (r ReplicaID) Uint64() uint64 { return r.replica }

// IsZero reports whether r is no replica.
func (r ReplicaID) IsZero() bool { return r.replica == 0 }

// String returns the number in decimal.
func (r ReplicaID) String() string { return strconv.FormatUint(r.replica, 10) }

// MarshalJSON writes the id as a JSON number.
func (r ReplicaID) MarshalJSON() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalJSON reads a JSON number, or one in a string.
func (r *ReplicaID) UnmarshalJSON(b []byte) error {
	v, err := strconv.ParseUint(unquote(b), 10, 64)
	if err != nil {
		return fmt.Errorf("replica %q is not a whole number", clip(string(b)))
	}
	r.replica = v
	return nil
}
