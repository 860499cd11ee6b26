package cluster

import (
	"crypto/tls"

	"kimberlite/internal/fault"
)

// InContact says why clients had better ask another node, or nil: this one
// hears of no leader of a shard that it has a replica of, or, if it has none,
// of the directory. That is so while too few of their nodes are up, and on the
// smaller side of a network that is cut. A directory without a leader is no
// reason on a node with shards: the tenants of a region that is cut off from
// the others are served there all the same.
func (n *Node) InContact() error {
	if err := n.Ready(); err != nil {
		return err
	}
	hosted := n.hosted()
	for _, h := range hosted {
		if h.shard.Status().Leader.ID.IsZero() {
			return fault.New("cluster", fault.Unavailable, "shard %s has no leader that this node hears of: a majority of its replicas must be up", h.id)
		}
	}
	if g := n.dir.Group(); len(hosted) == 0 && (g == nil || g.Status().Leader.ID.IsZero()) {
		return fault.New("cluster", fault.Unavailable, "the directory has no leader that this node hears of: a majority of its voters must be up")
	}
	return nil
}

// Certificate returns the node's certificate that is in force, which clients
// can verify, too: it names the hosts that they reach the node by.
func (n *Node) Certificate() (*tls.Certificate, error) { return n.creds.certificate() }
