package peer

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"time"

	"kimberlite/internal/fault"
)

const (
	// maxStrangers bounds the connections that have not yet proven who they are.
	maxStrangers = 256
	// maxJoining bounds the connections of nodes that want to join.
	maxJoining = 16
	readBuffer = 64 << 10
)

// Serve accepts connections until ctx ends or the network is closed, when it
// returns nil, or until the listener fails. It closes the listener;
// connections that stand go on until Close.
func (n *Network) Serve(ctx context.Context, l net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(n.ctx, cancel)()
	defer context.AfterFunc(ctx, func() { _ = l.Close() })()
	config := n.serverConfig()
	strangers := make(chan struct{}, maxStrangers)
	pause := n.o.Pace.Backoff
	for {
		raw, err := l.Accept()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				_ = raw.Close()
			}
			return nil
		case errors.Is(err, net.ErrClosed):
			return fault.Wrap("peer network", fault.Unavailable, err, "the listener for other nodes was closed")
		case err != nil: // out of descriptors, for one: it passes
			n.o.Logger.Error("peer: cannot accept connections", "error", err)
			n.sleep(ctx, pause)
			continue
		}
		select {
		case strangers <- struct{}{}:
		default:
			n.refused(hostOf(raw), refuse("busy", "more than %d connections are proving who they are", maxStrangers))
			_ = raw.Close()
			continue
		}
		if !n.run(func() { n.accept(raw, config, func() { <-strangers }) }) {
			_ = raw.Close()
		}
	}
}

// sleep waits for d, or until ctx or the network ends.
func (n *Network) sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	case <-n.ctx.Done():
	}
}

func hostOf(c net.Conn) string {
	host, _, err := net.SplitHostPort(c.RemoteAddr().String())
	if err != nil {
		return "unknown"
	}
	return host
}

// accept proves a connection and serves it. proven is called once it is no
// stranger any more.
func (n *Network) accept(raw net.Conn, config *tls.Config, proven func()) {
	w := n.open(raw)
	c := &conn{Conn: tls.Server(w, config), wire: w}
	ctx, cancel := context.WithTimeout(n.ctx, n.o.Pace.Dial)
	err := n.establish(ctx, c)
	cancel()
	proven()
	if err != nil {
		n.refused(hostOf(raw), err)
		c.end()
		return
	}
	switch c.protocol {
	case Raft:
		c.remote.link.kick() // it is there again: no need to wait out the pause
		c.remote.supersede(c)
		err := n.receive(c)
		c.end()
		if n.ctx.Err() == nil {
			n.o.Logger.Debug("peer: a link from a node ended", "node", c.peer.Node, "error", err)
		}
	case Stream:
		n.takeStream(c)
	case HTTP:
		n.calls.http.offer(c.Conn)
	case Join:
		if n.joining.Add(1) > maxJoining {
			n.refused(hostOf(raw), refuse("busy", "more than %d nodes are joining", maxJoining))
			n.joining.Add(-1)
			c.end()
			return
		}
		n.calls.join.offer(&plain{Conn: c.Conn, release: func() { n.joining.Add(-1) }})
	}
}

// receive hands over the messages that come in by c, until it ends.
func (n *Network) receive(c *conn) error {
	r := bufio.NewReaderSize(c, readBuffer)
	var answer []byte
	for {
		f, err := readFrame(r)
		if err != nil {
			return err
		}
		switch f.kind {
		case frameMessage:
			n.o.Receive(c.peer.Node, f.message)
		case framePing:
			answer = appendProbe(answer[:0], framePong, f.nonce)
			if err := c.SetWriteDeadline(time.Now().Add(n.o.Pace.Silence)); err != nil {
				return err
			}
			if _, err := c.Write(answer); err != nil {
				return err
			}
		default:
			return fault.New("receive", fault.Invalid, "a pong came where only pings and messages belong")
		}
	}
}

// takeStream reads a stream's preface and gives the stream to its taker.
func (n *Network) takeStream(c *conn) {
	p, err := n.welcomeStream(c)
	if err != nil {
		n.refused(c.peer.Node.String(), &refusal{"preface", fault.Wrap("peer", fault.Invalid, err, "a stream was not taken")})
		c.end()
		return
	}
	n.mu.RLock()
	take := n.take
	n.mu.RUnlock()
	take(n.ctx, c.peer.Node, p, c)
	_ = c.Close()
}

func (n *Network) welcomeStream(c *conn) (StreamPreface, error) {
	if err := c.SetDeadline(time.Now().Add(n.o.Pace.Dial)); err != nil {
		return StreamPreface{}, err
	}
	p, err := readPreface(c)
	if err != nil {
		return p, err
	}
	n.mu.RLock()
	taken := n.take != nil
	n.mu.RUnlock()
	if !taken {
		return p, fault.New("stream", fault.Unavailable, "this node takes no streams")
	}
	if _, err := c.Write([]byte{streamTaken}); err != nil {
		return p, err
	}
	return p, c.SetDeadline(time.Time{})
}
