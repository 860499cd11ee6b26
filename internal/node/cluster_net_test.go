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

// wire is a node's connections, made and accepted. Cut ends them all and lets
// no new one be, as when the machine had died.
type wire struct {
	net.Listener

	mu  sync.Mutex // guards all and cut
	all map[net.Conn]struct{}
	cut bool
}

func newWire(l net.Listener) *wire { return &wire{Listener: l, all: map[net.Conn]struct{}{}} }

var errCut = errors.New("the wire is cut")

func (w *wire) dial(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := (&net.Dialer{}).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return w.keep(c)
}

// Accept implements net.Listener.
func (w *wire) Accept() (net.Conn, error) {
	for {
		c, err := w.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if c, err := w.keep(c); err == nil {
			return c, nil
		}
	}
}

func (w *wire) keep(c net.Conn) (net.Conn, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.cut {
		_ = c.Close()
		return nil, errCut
	}
	w.all[c] = struct{}{}
	return c, nil
}

func (w *wire) Cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cut = true
	for c := range w.all {
		_ = c.Close()
	}
	clear(w.all)
}

func (w *wire) Mend() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cut = false
}
