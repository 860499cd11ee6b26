package clustertest

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// network is the links between nodes: every node's peers reach it through a
// proxy of its own, which knows who has dialled it.
type network struct {
	// owner says which node a process is; 0 for none.
	owner func(pid int) int
	pids  func() []int

	mu    sync.Mutex         // guards what follows
	links map[[2]int]*faults // from, to
	// changed is closed when a fault is put in or taken away.
	changed chan struct{}
}

// faults are those of one direction of a link. Bytes that are cut off are
// held, as those of a real network are sent again, and not lost.
type faults struct {
	cut   bool
	delay time.Duration
}

func newNetwork(pids func() []int, owner func(int) int) *network {
	return &network{owner: owner, pids: pids, links: map[[2]int]*faults{}, changed: make(chan struct{})}
}

// set puts a fault into one direction of a link, or takes it away.
func (n *network) set(from, to int, f faults) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.links[[2]int{from, to}] = &f
	close(n.changed)
	n.changed = make(chan struct{})
}

// heal takes all faults away.
func (n *network) heal() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.links = map[[2]int]*faults{}
	close(n.changed)
	n.changed = make(chan struct{})
}

func (n *network) of(from, to int) (faults, <-chan struct{}) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if f := n.links[[2]int{from, to}]; f != nil {
		return *f, n.changed
	}
	return faults{}, n.changed
}

// proxy takes connections for a node until the test ends, and returns the
// address that the node's peers are given.
func (n *network) proxy(tb testing.TB, to int, target string) string {
	tb.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var connections sync.WaitGroup
	tb.Cleanup(func() {
		cancel()
		_ = listener.Close()
		connections.Wait()
	})
	connections.Go(func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			connections.Go(func() { n.serve(ctx, c, to, target) })
		}
	})
	return listener.Addr().String()
}

// serve carries one connection. It belongs to the node that dialled: whose
// process that is, the kernel's table of sockets says.
func (n *network) serve(ctx context.Context, dialled net.Conn, to int, target string) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer dialled.Close()
	from := n.dialler(dialled)
	// While nothing of the dialler's arrives, neither does its wish to connect.
	if n.wait(ctx, from, to, time.Now()) != nil {
		return
	}
	var d net.Dialer
	served, err := d.DialContext(ctx, "tcp", target)
	if err != nil {
		return
	}
	defer served.Close()
	context.AfterFunc(ctx, func() {
		_ = dialled.Close()
		_ = served.Close()
	})
	var both sync.WaitGroup
	both.Go(func() { n.carry(ctx, cancel, served, dialled, from, to) })
	both.Go(func() { n.carry(ctx, cancel, dialled, served, to, from) })
	both.Wait()
}

// chunk is bytes that came in at a time.
type chunk struct {
	at   time.Time
	data []byte
}

// carry copies one direction: what is delayed waits in a queue, what is cut off
// at its head.
func (n *network) carry(ctx context.Context, end func(), dst io.Writer, src io.Reader, from, to int) {
	queue := make(chan chunk, 256)
	go func() {
		defer close(queue)
		for {
			buffer := make([]byte, 32<<10)
			k, err := src.Read(buffer)
			if k > 0 {
				select {
				case queue <- chunk{time.Now(), buffer[:k]}:
				case <-ctx.Done():
					return
				}
			}
			if err != nil {
				return
			}
		}
	}()
	defer end()
	for c := range queue {
		if n.wait(ctx, from, to, c.at) != nil {
			return
		}
		if _, err := dst.Write(c.data); err != nil {
			return
		}
	}
	_ = n.wait(ctx, from, to, time.Now()) // the end of a connection does not pass a cut either
}

// wait returns once bytes that came in at a time may go on.
func (n *network) wait(ctx context.Context, from, to int, at time.Time) error {
	for {
		f, changed := n.of(from, to)
		left := time.Until(at.Add(f.delay))
		if !f.cut && left <= 0 {
			return ctx.Err()
		}
		var due <-chan time.Time
		if !f.cut {
			timer := time.NewTimer(left)
			defer timer.Stop()
			due = timer.C
		}
		select {
		case <-due:
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// dialler returns the node whose process has the other end of a connection, 0
// when nobody has it any more.
func (n *network) dialler(c net.Conn) int {
	inode := inodeOf(c.RemoteAddr(), c.LocalAddr())
	if inode == "" {
		return 0
	}
	for _, pid := range n.pids() {
		links, err := filepath.Glob("/proc/" + strconv.Itoa(pid) + "/fd/*")
		if err != nil {
			continue
		}
		for _, link := range links {
			if name, err := os.Readlink(link); err == nil && name == "socket:["+inode+"]" {
				return n.owner(pid)
			}
		}
	}
	return 0
}

// inodeOf finds the socket between two addresses, both of IPv4, in the kernel's
// table.
func inodeOf(local, remote net.Addr) string {
	table, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		return ""
	}
	want := [2]string{tableAddress(local), tableAddress(remote)}
	for _, line := range strings.Split(string(table), "\n") {
		if f := strings.Fields(line); len(f) > 9 && f[1] == want[0] && f[2] == want[1] {
			return f[9]
		}
	}
	return ""
}

func tableAddress(a net.Addr) string {
	tcp, ok := a.(*net.TCPAddr)
	if !ok || tcp.IP.To4() == nil {
		return ""
	}
	ip := tcp.IP.To4()
	return strings.ToUpper(hex.EncodeToString([]byte{ip[3], ip[2], ip[1], ip[0]})) + fmt.Sprintf(":%04X", tcp.Port)
}

// echo answers each connection with what it is sent.
func echo(t *testing.T) string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(c, c)
				_ = c.Close()
			}()
		}
	}()
	return listener.Addr().String()
}

// exchange sends a byte and waits for it so long.
func exchange(c net.Conn, patience time.Duration) error {
	if _, err := c.Write([]byte{1}); err != nil {
		return err
	}
	if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	_, err := c.Read(make([]byte, 1))
	return err
}

func TestLinksAreCutEachWayAndSlowedAndWhatWasHeldArrives(t *testing.T) {
	const me, other = 1, 2
	n := newNetwork(func() []int { return []int{os.Getpid()} }, func(int) int { return me })
	c, err := net.Dial("tcp", n.proxy(t, other, echo(t)))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	const soon, long = 50 * time.Millisecond, 10 * time.Second
	if err := exchange(c, long); err != nil {
		t.Fatalf("an untouched link: %v", err)
	}
	for _, way := range [][2]int{{me, other}, {other, me}} {
		n.set(way[0], way[1], faults{cut: true})
		if err := exchange(c, soon); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("cut %v: %v", way, err)
		}
		n.heal()
		if err := c.SetReadDeadline(time.Now().Add(long)); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Read(make([]byte, 1)); err != nil {
			t.Fatalf("what was held while %v was cut: %v", way, err)
		}
	}
	n.set(9, other, faults{cut: true})
	if err := exchange(c, long); err != nil {
		t.Fatalf("a cut of another's link: %v", err)
	}
	n.set(me, other, faults{delay: 100 * time.Millisecond})
	began := time.Now()
	if err := exchange(c, long); err != nil || time.Since(began) < 100*time.Millisecond {
		t.Fatalf("a slow link: %v after %s", err, time.Since(began))
	}
}
