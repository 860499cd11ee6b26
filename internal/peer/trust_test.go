package peer

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"kimberlite/internal/ident"
	"kimberlite/internal/pki"
)

// knock connects to m as a client with a certificate and a protocol, writes
// what the protocol begins with, and returns the first byte of an answer.
func knock(t *testing.T, m *member, pair *tls.Certificate, alpn string, change ...func(*tls.Config)) error {
	t.Helper()
	config := &tls.Config{InsecureSkipVerify: true, NextProtos: []string{alpn}}
	if pair != nil {
		config.Certificates = []tls.Certificate{*pair}
	}
	for _, c := range change {
		c(config)
	}
	c, err := (&tls.Dialer{Config: config}).DialContext(t.Context(), "tcp", m.address)
	if err != nil {
		return err
	}
	defer c.Close()
	opening := map[string][]byte{
		alpnRaft:   appendProbe(nil, framePing, 1),
		alpnStream: {2, 0, 0, 0, '{', '}'}, // a preface that is refused: what counts is that it is read
		alpnHTTP:   []byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"),
	}[alpn]
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := c.Write(opening); err != nil {
		return err
	}
	_, err = c.Read(make([]byte, 1))
	return err
}

func TestStrangersAreRefusedOnEveryProtocol(t *testing.T) {
	f := newFleet(t)
	m := f.add(1)
	m.remove(node(5))
	foreign, twin := newAuthority(t, "d2"), newAuthority(t, deployment)
	as := func(n uint64) pki.Identity {
		return pki.Identity{Deployment: deployment, Node: node(n), Region: east}
	}
	long := time.Now().Add(-100 * 24 * time.Hour)
	for _, c := range []struct {
		name, reason string
		pair         *tls.Certificate
		change       func(*tls.Config)
	}{
		{"no certificate", "handshake", nil, nil},
		{"another authority of the same name", "certificate", certify(t, twin, as(2), time.Now(), pki.NodeValid), nil},
		{"another deployment", "certificate", certify(t, foreign, pki.Identity{Deployment: "d2", Node: node(2), Region: east}, time.Now(), pki.NodeValid), nil},
		{"expired", "certificate", certify(t, f.authority, as(2), long, 24*time.Hour), nil},
		{"this node's own name", "own name", certify(t, f.authority, as(1), time.Now(), pki.NodeValid), nil},
		{"removed", "not allowed", certify(t, f.authority, as(5), time.Now(), pki.NodeValid), nil},
		{"TLS 1.2", "handshake", certify(t, f.authority, as(2), time.Now(), pki.NodeValid), func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }},
		{"no protocol", "protocol", certify(t, f.authority, as(2), time.Now(), pki.NodeValid), func(c *tls.Config) { c.NextProtos = nil }},
		{"HTTP/1.1", "protocol", certify(t, f.authority, as(2), time.Now(), pki.NodeValid), func(c *tls.Config) { c.NextProtos = []string{"http/1.1"} }},
		{"a protocol of its own", "handshake", certify(t, f.authority, as(2), time.Now(), pki.NodeValid), func(c *tls.Config) { c.NextProtos = []string{"kimberlite-raft/9"} }},
	} {
		for _, alpn := range []string{alpnRaft, alpnStream, alpnHTTP} {
			t.Run(c.name+" "+alpn, func(t *testing.T) {
				before := m.Refusals()[c.reason]
				change := c.change
				if change == nil {
					change = func(*tls.Config) {}
				}
				if err := knock(t, m, c.pair, alpn, change); err == nil {
					t.Fatal("it was answered")
				}
				eventually(t, "it is counted as "+c.reason, func() bool { return m.Refusals()[c.reason] == before+1 })
			})
		}
	}
	good := certify(t, f.authority, as(2), time.Now(), pki.NodeValid)
	if err := knock(t, m, good, alpnRaft); err != nil {
		t.Fatalf("a good one is refused too: %v", err)
	}
	if err := knock(t, m, good, alpnHTTP); err != nil {
		t.Fatalf("a good one is refused too: %v", err)
	}
}

func TestPlaintextProbeIsCutOff(t *testing.T) {
	f := newFleet(t)
	m := f.add(1)
	for _, text := range []string{"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "\x00\x00\x00\x08\x04\xd2\x16\x2f", strings.Repeat("\xff", 4096)} {
		c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", m.address)
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(5 * time.Second))
		_, _ = c.Write([]byte(text))
		answer, err := io.ReadAll(c)
		if errors.Is(err, context.DeadlineExceeded) || len(answer) > 200 || bytes.Contains(answer, []byte("kimberlite")) {
			t.Fatalf("the answer is %q, %v", answer, err)
		}
		_ = c.Close()
	}
	if m.Refusals()["handshake"] == 0 {
		t.Fatal("it is not counted")
	}
}

// TestSilentStrangersDoNotKeepNodesOut: connections that never prove who they
// are end, and no more than a bound of them stands.
func TestSilentStrangersDoNotKeepNodesOut(t *testing.T) {
	f := newFleet(t)
	m := f.add(1, func(_ *member, o *Options) { o.Pace.Dial = 500 * time.Millisecond })
	for range maxStrangers + 20 {
		c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", m.address)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close() // all of them at the end
	}
	eventually(t, "some are refused at once, the others in time", func() bool {
		r := m.Refusals()
		return r["busy"] > 0 && r["busy"]+r["handshake"] == maxStrangers+20
	})
	connect(t, f.add(2), m)
}

func TestNodeAnswersForItsOwnNameAlone(t *testing.T) {
	f := newFleet(t)
	a, b := f.add(1), f.add(2)
	f.place(node(3), Address{Host: b.address, Region: east})
	if _, err := tryGet(t.Context(), a, node(3), "/whoami"); err == nil || !Unsent(err) || !strings.Contains(err.Error(), "node 2 answered") {
		t.Fatalf("node 2 was taken for node 3: %v", err)
	}
	f.place(b.id, Address{Host: b.address, Region: region("eu-west")})
	if _, err := tryGet(t.Context(), a, b.id, "/whoami"); err == nil || !strings.Contains(err.Error(), "region") {
		t.Fatalf("a node of another region than it belongs to: %v", err)
	}
	f.place(a.id, Address{Host: a.address, Region: east})
	if _, err := tryGet(t.Context(), a, a.id, "/whoami"); !Unsent(err) {
		t.Fatalf("a node calls itself: %v", err)
	}
}

func TestRemovedNodeLosesTheConnectionsThatStand(t *testing.T) {
	f := newFleet(t)
	a, b := f.add(1), f.add(2)
	ended := make(chan struct{})
	b.OnStream(func(_ context.Context, _ ident.NodeID, _ StreamPreface, c net.Conn) {
		_, _ = io.Copy(io.Discard, c)
		close(ended)
	})
	connect(t, a, b)
	connect(t, b, a)
	get(t, a, b.id, "/whoami")
	s, err := a.OpenStream(t.Context(), b.id, StreamPreface{Kind: "session"})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	b.remove(a.id)
	eventually(t, "the stream ends", func() bool {
		select {
		case <-ended:
			return true
		default:
			return false
		}
	})
	eventually(t, "the links end, both ways", func() bool {
		return !linkTo(a, b.id).Connected && !linkTo(b, a.id).Connected
	})
	if _, err := tryGet(t.Context(), a, b.id, "/whoami"); err == nil {
		t.Fatal("a call of a removed node is answered")
	}
	if _, err := tryGet(t.Context(), b, a.id, "/whoami"); !Unsent(err) {
		t.Fatalf("a removed node is called: %v", err)
	}
	b.Send(a.id, message(1, 1))
	b.mu.RLock()
	defer b.mu.RUnlock()
	for w, c := range b.wires {
		if c != nil {
			t.Fatalf("a connection with node %s stands: %v", c.peer.Node, w.RemoteAddr())
		}
	}
}

// TestCertificatesAndAuthoritiesChangeWithoutARestart goes through a rotation
// as a deployment does: the new authority is known everywhere, then all nodes
// are certified by it, then the old is known no more.
func TestCertificatesAndAuthoritiesChangeWithoutARestart(t *testing.T) {
	f := newFleet(t)
	a, b := f.add(1), f.add(2)
	connect(t, a, b)
	next := newAuthority(t, deployment)
	both, last := bundleOf(t, f.authority, next).Pool(), bundleOf(t, next).Pool()
	for _, m := range []*member{a, b} {
		m.roots.Store(both)
	}
	if !linkTo(a, b.id).Connected {
		t.Fatal("the link did not outlive a new authority")
	}
	old := b.pair.Load()
	for _, m := range []*member{a, b} {
		m.pair.Store(certify(t, next, pki.Identity{Deployment: deployment, Node: m.id, Region: east}, time.Now(), pki.NodeValid))
		get(t, a, b.id, "/whoami")
	}
	for _, m := range []*member{a, b} {
		m.roots.Store(last)
	}
	eventually(t, "the link by the old certificates is ended", func() bool { return a.Refusals()["certificate"]+b.Refusals()["certificate"] > 0 })
	connect(t, a, b)
	connect(t, b, a)
	eventually(t, "calls go on by the new ones", func() bool {
		_, err := tryGet(t.Context(), a, b.id, "/whoami")
		return err == nil
	})
	if err := knock(t, a, old, alpnRaft); err == nil {
		t.Fatal("a certificate of the old authority is believed")
	}
}

func TestConnectionEndsWithItsCertificate(t *testing.T) {
	f := newFleet(t)
	a, b := f.add(1), f.add(2)
	fresh := a.pair.Load()
	a.pair.Store(certify(t, f.authority, pki.Identity{Deployment: deployment, Node: a.id, Region: east}, time.Now(), 2*time.Second))
	connect(t, a, b)
	a.pair.Store(fresh)
	eventually(t, "the link by the expired certificate is ended", func() bool { return b.Refusals()["certificate"] > 0 })
	connect(t, a, b)
}

func TestHugeAndForeignFramesEndTheLink(t *testing.T) {
	f := newFleet(t)
	m := f.add(1)
	pair := certify(t, f.authority, pki.Identity{Deployment: deployment, Node: node(2), Region: east}, time.Now(), pki.NodeValid)
	for name, opening := range map[string][]byte{
		"a frame of 4 GiB":    {0xff, 0xff, 0xff, 0xff, frameMessage},
		"a frame of nothing":  {0, 0, 0, 0, 0},
		"a ping of 1 byte":    {1, 0, 0, 0, framePing},
		"a message too short": {24, 0, 0, 0, frameMessage},
		"an unknown kind":     {9, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0},
		"a pong":              appendProbe(nil, framePong, 1),
	} {
		t.Run(name, func(t *testing.T) {
			c, err := (&tls.Dialer{Config: &tls.Config{
				InsecureSkipVerify: true, NextProtos: []string{alpnRaft}, Certificates: []tls.Certificate{*pair},
			}}).DialContext(t.Context(), "tcp", m.address)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			_ = c.SetDeadline(time.Now().Add(5 * time.Second))
			if _, err := c.Write(append(opening, make([]byte, 64)...)); err != nil {
				t.Fatal(err)
			}
			var timeout net.Error
			if _, err := c.Read(make([]byte, 1)); err == nil || errors.As(err, &timeout) && timeout.Timeout() {
				t.Fatalf("the link goes on: %v", err)
			}
		})
	}
	if len(m.received) > 0 {
		t.Fatal("a message was received")
	}
}

func TestNewLinkEndsTheOneBefore(t *testing.T) {
	f := newFleet(t)
	m := f.add(1)
	pair := certify(t, f.authority, pki.Identity{Deployment: deployment, Node: node(2), Region: east}, time.Now(), pki.NodeValid)
	open := func() net.Conn {
		c, err := (&tls.Dialer{Config: &tls.Config{
			InsecureSkipVerify: true, NextProtos: []string{alpnRaft}, Certificates: []tls.Certificate{*pair},
		}}).DialContext(t.Context(), "tcp", m.address)
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(5 * time.Second))
		if _, err := c.Write(appendProbe(nil, framePing, 7)); err != nil {
			t.Fatal(err)
		}
		if got, err := readFrame(bufio.NewReader(c)); err != nil || got.kind != framePong || got.nonce != 7 {
			t.Fatalf("%+v, %v", got, err)
		}
		return c
	}
	first := open()
	defer first.Close()
	second := open()
	defer second.Close()
	if _, err := first.Read(make([]byte, 1)); err == nil {
		t.Fatal("the first goes on")
	}
}

func TestJoinerBelievesTheAuthorityOfItsToken(t *testing.T) {
	f := newFleet(t)
	m := f.add(1)
	m.HandleJoin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, ok := From(r.Context()); ok {
			t.Error("a joiner is taken for a node")
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, "too long", http.StatusRequestEntityTooLarge)
			return
		}
		_, _ = w.Write(append([]byte("welcome "), body...))
	}))
	join := func(authority pki.Fingerprint, path string, body []byte) (int, string, error) {
		rq, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://node"+path, bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := JoinClient(m.address, authority).Do(rq)
		if err != nil {
			return 0, "", err
		}
		text, err := io.ReadAll(resp.Body)
		return resp.StatusCode, string(text), errors.Join(err, resp.Body.Close())
	}
	if _, text, err := join(f.authority.Fingerprint(), "/join", []byte("me")); err != nil || text != "welcome me" {
		t.Fatalf("%q, %v", text, err)
	}
	if _, text, err := join(f.authority.Fingerprint(), "/whoami", nil); err != nil || text != "welcome " {
		t.Fatalf("a joiner reaches a handler for nodes: %q, %v", text, err)
	}
	if _, _, err := join(newAuthority(t, deployment).Fingerprint(), "/join", nil); err == nil || !strings.Contains(err.Error(), "made the token") {
		t.Fatalf("another authority is believed: %v", err)
	}
	if code, _, err := join(f.authority.Fingerprint(), "/join", make([]byte, maxJoinBytes+1)); err == nil && code != http.StatusRequestEntityTooLarge {
		t.Fatalf("a body of any length is read: %d", code)
	}
	// Whoever asks for joining and more at once gets no door without a
	// certificate.
	if err := knock(t, m, nil, alpnRaft, func(c *tls.Config) { c.NextProtos = []string{alpnJoin, alpnRaft} }); err == nil {
		t.Fatal("a link for messages without a certificate")
	}
	eventually(t, "the joiners are counted out", func() bool { return m.joining.Load() == 0 })
}

func FuzzReadFrame(f *testing.F) {
	f.Add(appendMessage(nil, message(3, 40)))
	f.Add(appendProbe(nil, framePing, 1))
	f.Add(append(appendProbe(nil, framePong, 1), appendMessage(nil, message(0, 0))...))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 1})
	f.Add(append(binary.LittleEndian.AppendUint32(nil, maxFrame), 1, 2, 3))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := bufio.NewReader(bytes.NewReader(b))
		var again []byte
		for {
			got, err := readFrame(r)
			if err != nil {
				break
			}
			if got.kind == frameMessage {
				again = appendMessage(again, got.message)
			} else {
				again = appendProbe(again, got.kind, got.nonce)
			}
		}
		if !bytes.HasPrefix(b, again) {
			t.Fatalf("%x is read as %x", b, again)
		}
	})
}

func FuzzReadPreface(f *testing.F) {
	for _, p := range []StreamPreface{{Kind: "cancel"}, {Kind: "session", TLS: true, Startup: []byte{1}}} {
		b, err := encodePreface(p)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte{2, 0, 0, 0, '{', '}'})
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, '{', '}'})
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := readPreface(bytes.NewReader(b))
		if err != nil {
			return
		}
		text, err := encodePreface(p)
		if err != nil {
			t.Fatalf("a preface that was read cannot be written: %v", err)
		}
		again, err := readPreface(bytes.NewReader(text))
		if err != nil || again.Kind != p.Kind || again.Remote != p.Remote || !bytes.Equal(again.Startup, p.Startup) {
			t.Fatalf("%+v comes back as %+v, %v", p, again, err)
		}
	})
}
