package peer

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"kimberlite/internal/ident"
	"kimberlite/internal/replication"
)

func TestMessagesArriveWholeAndInOrder(t *testing.T) {
	f := newFleet(t)
	a, b := f.add(1), f.add(2)
	connect(t, a, b)
	const count = 3000
	go func() {
		for i := range count {
			a.Send(b.id, message(i, i%2000))
			if i%500 == 0 {
				time.Sleep(time.Millisecond)
			}
		}
		a.Send(b.id, message(count, 20<<20))
	}()
	for i := range count + 1 {
		select {
		case got := <-b.received:
			want := message(i, i%2000)
			if i == count {
				want = message(count, 20<<20)
			}
			if got.Shard != want.Shard || got.From != want.From || got.To != want.To || !bytes.Equal(got.Data, want.Data) {
				t.Fatalf("message %d is not the one that was sent", i)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("message %d is missing: %+v", i, linkTo(a, b.id))
		}
	}
	eventually(t, "the link says so, at both ends", func() bool {
		l, back := linkTo(a, b.id), linkTo(b, a.id)
		return l.Connected && l.RTT > 0 && l.Drops == 0 && l.Traffic[Raft].Sent >= 20<<20 && l.Region == east &&
			back.Traffic[Raft].Received >= 20<<20 && back.ReceivedBytes() > back.SentBytes()
	})
}

func TestCallsKnowWhoCalls(t *testing.T) {
	f := newFleet(t)
	a, b := f.add(1), f.add(2)
	body := get(t, a, b.id, "/whoami")
	if body != "1 us-east HTTP/2.0" {
		t.Fatalf("the handler saw %q", body)
	}
	if l := linkTo(a, b.id); l.Traffic[HTTP].Sent == 0 || l.Traffic[Raft].Sent != 0 {
		t.Fatalf("bytes are booked as %+v", l.Traffic)
	}
	if _, ok := From(t.Context()); ok {
		t.Fatal("a context of nobody names a peer")
	}
}

func get(t testing.TB, from *member, to ident.NodeID, path string) string {
	t.Helper()
	body, err := tryGet(t.Context(), from, to, path)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

func tryGet(ctx context.Context, from *member, to ident.NodeID, path string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	rq, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://node"+path, http.NoBody)
	if err != nil {
		return "", err
	}
	resp, err := from.Client(to).Do(rq)
	if err != nil {
		return "", err
	}
	body, err := io.ReadAll(resp.Body)
	return string(body), errors.Join(err, resp.Body.Close())
}

func TestStreamsCarryTheirPrefaceAndBytes(t *testing.T) {
	f := newFleet(t)
	a, b := f.add(1), f.add(2)
	want := StreamPreface{
		Kind: "session", Remote: netip.MustParseAddr("192.0.2.7"), TLS: true,
		ServerEndPoint: []byte{1, 2, 3}, Startup: []byte("user\x00app@hospital-a\x00"),
	}
	type taken struct {
		from ident.NodeID
		p    StreamPreface
	}
	took := make(chan taken, 1)
	b.OnStream(func(_ context.Context, from ident.NodeID, p StreamPreface, c net.Conn) {
		took <- taken{from, p}
		_, _ = io.Copy(c, c)
	})
	c, err := a.OpenStream(t.Context(), b.id, want)
	if err != nil {
		t.Fatal(err)
	}
	got := <-took
	if got.from != a.id || got.p.Kind != want.Kind || got.p.Remote != want.Remote || !got.p.TLS ||
		!bytes.Equal(got.p.ServerEndPoint, want.ServerEndPoint) || !bytes.Equal(got.p.Startup, want.Startup) {
		t.Fatalf("it was taken as %+v", got)
	}
	text := bytes.Repeat([]byte("0123456789"), 50_000)
	go func() { _, _ = c.Write(text) }()
	echo := make([]byte, len(text))
	if _, err := io.ReadFull(c, echo); err != nil || !bytes.Equal(echo, text) {
		t.Fatalf("the bytes did not come back: %v", err)
	}
	eventually(t, "the stream and its bytes are counted", func() bool {
		l := linkTo(a, b.id)
		return l.Streams == 1 && l.Traffic[Stream].Sent >= uint64(len(text))
	})
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "both ends forget the stream", func() bool {
		return linkTo(a, b.id).Streams == 0 && linkTo(b, a.id).Streams == 0
	})
}

func TestStreamThatNobodyTakesIsAnError(t *testing.T) {
	f := newFleet(t)
	a, b := f.add(1), f.add(2)
	if _, err := a.OpenStream(t.Context(), b.id, StreamPreface{Kind: "session"}); err == nil || Unsent(err) {
		t.Fatalf("got %v", err)
	}
	if _, err := a.OpenStream(t.Context(), node(9), StreamPreface{Kind: "session"}); !Unsent(err) {
		t.Fatalf("to an unknown node: %v", err)
	}
	if _, err := a.OpenStream(t.Context(), b.id, StreamPreface{}); err == nil {
		t.Fatal("a preface of no kind was sent")
	}
	if _, err := a.OpenStream(t.Context(), b.id, StreamPreface{Kind: "session", Startup: make([]byte, maxStartup+1)}); err == nil {
		t.Fatal("a preface that is too long was sent")
	}
}

// gate is a dialler that can be shut, and whose connections can be cut.
type gate struct {
	shut  chan struct{} // closed: it is shut
	conns chan net.Conn
}

func (g *gate) dial(ctx context.Context, network, address string) (net.Conn, error) {
	select {
	case <-g.shut:
		return nil, errors.New("the gate is shut")
	default:
	}
	c, err := (&net.Dialer{}).DialContext(ctx, network, address)
	if err == nil {
		g.conns <- c
	}
	return c, err
}

func TestCutLinkIsToldAndMadeAgain(t *testing.T) {
	f := newFleet(t)
	g := &gate{shut: make(chan struct{}), conns: make(chan net.Conn, 100)}
	a := f.add(1, func(_ *member, o *Options) { o.Dial = g.dial })
	b := f.add(2)
	connect(t, a, b)
	for range 3 {
		before := a.lost.Load()
		_ = (<-g.conns).Close()
		eventually(t, "Lost hears of it", func() bool { return a.lost.Load() > before })
		connect(t, a, b)
	}
	close(g.shut)
	_ = (<-g.conns).Close()
	eventually(t, "the link is down", func() bool { return !linkTo(a, b.id).Connected })
	drops := linkTo(a, b.id).Drops
	eventually(t, "messages are dropped and counted while it is down", func() bool {
		a.Send(b.id, message(1, 10))
		return linkTo(a, b.id).Drops > drops+3
	})
	if q := linkTo(a, b.id).Queue; q > 1 {
		t.Fatalf("%d messages wait for a node that cannot be reached", q)
	}
}

func TestRestartedNodeIsFoundAtItsNewAddress(t *testing.T) {
	f := newFleet(t)
	a, b := f.add(1), f.add(2)
	connect(t, a, b)
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	b.stop()
	if err := <-b.served; err != nil {
		t.Fatal(err)
	}
	eventually(t, "the link is down", func() bool { return !linkTo(a, b.id).Connected })
	b = f.add(2)
	connect(t, a, b)
	if got := get(t, a, b.id, "/whoami"); !strings.HasPrefix(got, "1 ") {
		t.Fatal(got)
	}
}

// TestSilentNodeIsGivenUp: a connection on which nothing comes back is no link
// for ever.
func TestSilentNodeIsGivenUp(t *testing.T) {
	f := newFleet(t)
	stuck := make(chan struct{})
	a := f.add(1, func(_ *member, o *Options) { o.Pace.Silence = 300 * time.Millisecond })
	b := f.add(2, func(m *member, o *Options) {
		o.Receive = func(ident.NodeID, replication.Message) {
			select {
			case <-stuck:
			case m.received <- replication.Message{}:
			}
		}
	})
	connect(t, a, b)
	for len(b.received) < cap(b.received) { // Receive blocks from here on
		b.received <- replication.Message{}
	}
	before := a.lost.Load()
	a.Send(b.id, message(1, 10))
	eventually(t, "the link is given up", func() bool { return a.lost.Load() > before })
	close(stuck)
}

// TestSlowReaderBoundsTheQueue: a node that takes nothing costs a bounded
// amount of memory, and the newest messages.
func TestSlowReaderBoundsTheQueue(t *testing.T) {
	f := newFleet(t)
	stuck := make(chan struct{})
	a := f.add(1, func(_ *member, o *Options) { o.Pace.Silence = time.Minute })
	b := f.add(2, func(m *member, o *Options) {
		o.Receive = func(ident.NodeID, replication.Message) {
			select {
			case m.received <- replication.Message{}:
			default:
			}
			<-stuck
		}
	})
	a.Send(b.id, message(0, 1))
	<-b.received
	data := make([]byte, 1<<20)
	for range 400 {
		a.Send(b.id, replication.Message{Data: data})
	}
	eventually(t, "messages are dropped", func() bool { return linkTo(a, b.id).Drops > 0 && a.lost.Load() > 0 })
	link := a.remote(b.id).link
	link.mu.Lock()
	queued := link.bytes
	link.mu.Unlock()
	if queued > maxQueuedBytes {
		t.Fatalf("%d bytes are queued, %d are allowed", queued, maxQueuedBytes)
	}
	drops := linkTo(a, b.id).Drops
	for range 2 * maxQueued {
		a.Send(b.id, replication.Message{})
	}
	if l := linkTo(a, b.id); l.Queue > maxQueued || l.Drops < drops+maxQueued {
		t.Fatalf("after %d more messages: %d queued, %d dropped", 2*maxQueued, l.Queue, l.Drops-drops)
	}
	close(stuck)
}

func TestCloseEndsEverything(t *testing.T) {
	f := newFleet(t)
	a, b := f.add(1), f.add(2)
	connect(t, a, b)
	connect(t, b, a)
	b.OnStream(func(ctx context.Context, _ ident.NodeID, _ StreamPreface, c net.Conn) {
		<-ctx.Done()
		if _, err := c.Read(make([]byte, 1)); err == nil {
			t.Error("the stream goes on after Close")
		}
	})
	if _, err := a.OpenStream(t.Context(), b.id, StreamPreface{Kind: "session"}); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- b.Close() }()
	select {
	case err := <-done:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("Close does not return")
	}
	if err := <-b.served; err != nil {
		t.Fatal(err)
	}
	if _, err := tryGet(t.Context(), b, a.id, "/whoami"); err == nil {
		t.Fatal("a closed network calls")
	}
	b.Send(a.id, message(1, 1))
}

func TestEverythingWorksInFIPSOnlyMode(t *testing.T) {
	const mark = "KIMBERLITE_TEST_FIPS_CHILD"
	if os.Getenv(mark) != "" {
		t.Skip("this is the child")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	child := exec.CommandContext(t.Context(), self, "-test.v", "-test.run",
		"^(TestMessagesArriveWholeAndInOrder|TestCallsKnowWhoCalls|TestStreamsCarryTheirPrefaceAndBytes|TestJoinerBelievesTheAuthorityOfItsToken)$")
	child.Env = append(os.Environ(), "GODEBUG=fips140=only", mark+"=1")
	out, err := child.CombinedOutput()
	if err != nil || strings.Count(string(out), "--- PASS") != 4 {
		t.Fatalf("%v\n%s", err, out)
	}
}

// TestStreamsWithASilentNodeEnd: nothing is said on a stream, and nothing can
// be, since the network swallows it.
func TestStreamsWithASilentNodeEnd(t *testing.T) {
	f := newFleet(t)
	swallow := &swallower{cut: make(chan struct{})}
	a := f.add(1, func(_ *member, o *Options) { o.Dial, o.Pace.Silence = swallow.dial, 200*time.Millisecond })
	b := f.add(2)
	b.OnStream(func(ctx context.Context, _ ident.NodeID, _ StreamPreface, c net.Conn) { _, _ = io.Copy(io.Discard, c) })
	s, err := a.OpenStream(t.Context(), b.id, StreamPreface{Kind: "session"})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the link is kept up for the stream's sake", func() bool { return linkTo(a, b.id).Connected })
	read := make(chan error, 1)
	go func() {
		_, err := s.Read(make([]byte, 1))
		read <- err
	}()
	select {
	case err := <-read:
		t.Fatalf("the stream ended though the node answers: %v", err)
	case <-time.After(600 * time.Millisecond):
	}
	close(swallow.cut)
	select {
	case <-read:
	case <-time.After(10 * time.Second):
		t.Fatal("the stream goes on")
	}
	eventually(t, "it is counted no more", func() bool { return linkTo(a, b.id).Streams == 0 })
}

// swallower is a dialler whose connections carry nothing any more once cut is
// closed, and never fail.
type swallower struct{ cut chan struct{} }

func (s *swallower) dial(ctx context.Context, network, address string) (net.Conn, error) {
	select {
	case <-s.cut:
		<-ctx.Done()
		return nil, ctx.Err()
	default:
	}
	c, err := (&net.Dialer{}).DialContext(ctx, network, address)
	return &swallowed{Conn: c, cut: s.cut, closed: make(chan struct{})}, err
}

type swallowed struct {
	net.Conn
	cut, closed chan struct{}
	once        sync.Once
}

func (s *swallowed) Read(b []byte) (int, error) {
	n, err := s.Conn.Read(b)
	select {
	case <-s.cut:
		<-s.closed
		return 0, net.ErrClosed
	default:
		return n, err
	}
}

func (s *swallowed) Write(b []byte) (int, error) {
	select {
	case <-s.cut:
		return len(b), nil
	default:
		return s.Conn.Write(b)
	}
}

func (s *swallowed) Close() error {
	s.once.Do(func() { close(s.closed) })
	return s.Conn.Close()
}
