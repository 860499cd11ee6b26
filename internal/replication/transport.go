package replication

import (
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

// Receive takes a message that came from another node. It never blocks for
// long. A message for a group or a replica that is not open here is dropped
// and told to StoreOptions.Misfit.
func (s *Store) Receive(from ident.NodeID, m Message) {}

// Unreachable says that the link to a node was lost, so that messages sent to
// it may be.
func (s *Store) Unreachable(node ident.NodeID) {}
