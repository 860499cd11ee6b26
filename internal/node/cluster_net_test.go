package node_test

import (
	"context"
	"errors"
	"net"
	"sync"

	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
)

// leaderIn returns the node that an error names.
func leaderIn(err error) ident.NodeID {
	var e *fault.Error
	if errors.As(err, &e) {
		return e.Leader
	}
	return ident.NodeID{}
}

// connections are those that a node has made; cut ends them and refuses new
// ones, so that the node is cut off from the others in one direction.
type connections struct {
	mu  sync.Mutex
	all map[net.Conn]struct{}
	cut bool
}

func (c *connections) dial(ctx context.Context, network, address string) (net.Conn, error) {
	c.mu.Lock()
	cut := c.cut
	c.mu.Unlock()
	if cut {
		return nil, errors.New("the link is cut")
	}
	return (&net.Dialer{}).DialContext(ctx, network, address)
}
