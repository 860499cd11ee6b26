package pgwire

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/node"
	"kimberlite/internal/peer"
	"kimberlite/internal/pki"
	"kimberlite/internal/replication"
	"kimberlite/internal/tenant"
)

// testRouter is what one of two nodes knows. Both have tenants 1 and 2; which
// of the two nodes serves them is what leader says.
type testRouter struct {
	*peer.Network
	self   ident.NodeID
	leader atomic.Pointer[ident.NodeID] // nil: there is none
	asked  atomic.Int64
}

func (r *testRouter) Self() ident.NodeID { return r.self }

func (r *testRouter) Nodes() []ident.NodeID {
	return []ident.NodeID{ident.NewNodeID(1), ident.NewNodeID(2), ident.NewNodeID(3)} // the last cannot be reached
}

func (r *testRouter) Where(_ context.Context, id ident.TenantID) (node.Where, error) {
	r.asked.Add(1)
	leader := r.leader.Load()
	switch {
	case leader == nil:
		return node.Where{}, fault.New("where", fault.Unavailable, "there is no leader")
	case id.Uint64() > 2:
		return node.Where{}, fault.New("where", fault.NotFound, "there is no such tenant")
	}
	return node.Where{Here: *leader == r.self, Leader: *leader}, nil
}

func (r *testRouter) follow(n uint64) {
	id := ident.NewNodeID(n)
	r.leader.Store(&id)
}

// pair is two doors of one deployment: clients come to entry, tenants are
// served by leader.
type pair struct {
	entry, leader             *door
	entryRouter, leaderRouter *testRouter
}

func openPair(tb testing.TB, change func(entry, leader *Config)) *pair {
	tb.Helper()
	authority, err := pki.NewAuthority("test", time.Now(), pki.AuthorityValid)
	check(tb, err)
	bundle, err := pki.ParseBundle(authority.CertificatePEM())
	check(tb, err)
	east, err := ident.NewRegion("us-east")
	check(tb, err)
	addresses := map[ident.NodeID]peer.Address{}
	open := func(n uint64, addr net.Listener) *testRouter {
		r := &testRouter{self: ident.NewNodeID(n)}
		r.follow(2)
		key, request, err := pki.NewRequest()
		check(tb, err)
		chain, err := authority.Sign(request, pki.Identity{Deployment: "test", Node: r.self, Region: east}, time.Now(), pki.NodeValid)
		check(tb, err)
		cert, err := pki.Pair(chain, key)
		check(tb, err)
		r.Network, err = peer.New(peer.Options{
			Self:        peer.Self{Node: r.self, Region: east, Deployment: "test"},
			Certificate: func() (*tls.Certificate, error) { return cert, nil },
			Roots:       func() *x509.CertPool { return bundle.Pool() },
			Resolve:     func(id ident.NodeID) (peer.Address, bool) { a, ok := addresses[id]; return a, ok },
			Receive:     func(ident.NodeID, replication.Message) {},
		})
		check(tb, err)
		tb.Cleanup(func() { _ = r.Close() })
		return r
	}
	listen := func(n uint64) net.Listener {
		l, err := (&net.ListenConfig{}).Listen(tb.Context(), "tcp", "127.0.0.1:0")
		check(tb, err)
		addresses[ident.NewNodeID(n)] = peer.Address{Host: l.Addr().String(), Region: east}
		return l
	}
	l1, l2 := listen(1), listen(2)
	p := &pair{}
	var ec, lc Config
	if change != nil {
		change(&ec, &lc)
	}
	// The doors first: they are shut down last, when their networks are closed.
	p.leader = openDoor(tb, func(c *Config, _ *node.Config) {
		p.leaderRouter = open(2, l2)
		c.Router, c.Limits, c.PlaintextOnLoopback = p.leaderRouter, lc.Limits, lc.PlaintextOnLoopback
	})
	p.entry = openDoor(tb, func(c *Config, _ *node.Config) {
		p.entryRouter = open(1, l1)
		c.Router, c.Limits, c.PlaintextOnLoopback = p.entryRouter, ec.Limits, ec.PlaintextOnLoopback
	})
	for _, x := range []struct {
		r *testRouter
		d *door
		l net.Listener
	}{{p.entryRouter, p.entry, l1}, {p.leaderRouter, p.leader, l2}} {
		x.r.OnStream(x.d.srv.TakeStream)
		go func() { _ = x.r.Serve(context.Background(), x.l) }()
		tb.Cleanup(func() { _ = x.r.Close() })
	}
	return p
}

// through is a configuration of a client of the entry node with the secret
// that the leader knows.
func (p *pair) through(tb testing.TB) *pgx.ConnConfig {
	tb.Helper()
	return p.entry.config(tb, "app@hospital-a", p.leader.secret)
}

func (p *pair) connect(tb testing.TB) *pgx.Conn {
	tb.Helper()
	return p.entry.connectAs(tb, "app@hospital-a", p.leader.secret)
}

func TestAnyNodeServesATenantOfAnother(t *testing.T) {
	p := openPair(t, nil)
	c := p.through(t)
	c.ChannelBinding = "require" // by the certificate that the entry node shows
	conn, err := pgx.ConnectConfig(t.Context(), c)
	check(t, err)
	defer conn.Close(t.Context()) // closed below
	must(t, conn, "CREATE TABLE t (id BIGINT PRIMARY KEY, v TEXT)")
	long := strings.Repeat("x", 3<<20)
	must(t, conn, "INSERT INTO t VALUES ($1, $2), (2, 'short')", 1, long)
	var got string
	check(t, conn.QueryRow(t.Context(), "SELECT v FROM t WHERE id = 1").Scan(&got))
	if got != long {
		t.Fatalf("3 MiB came back as %d bytes", len(got))
	}
	rows := [][]any{}
	for i := range 5000 {
		rows = append(rows, []any{int64(i + 10), strings.Repeat("y", i%100)})
	}
	n, err := conn.CopyFrom(t.Context(), pgx.Identifier{"t"}, []string{"id", "v"}, pgx.CopyFromRows(rows))
	check(t, err)
	if n != 5000 {
		t.Fatalf("COPY took %d rows", n)
	}
	batch := &pgx.Batch{}
	for i := range 500 {
		batch.Queue("SELECT v FROM t WHERE id = $1", int64(i+10))
	}
	check(t, conn.SendBatch(t.Context(), batch).Close())
	_, err = conn.Exec(t.Context(), "SELECT nonsense FROM t")
	wantState(t, err, "42703")

	// It stands at the leader, who knows the client's own address, and not here.
	direct := p.leader.connect(t)
	if got := oneValue(t, direct, "SELECT count(*) FROM t"); got != "5002" {
		t.Fatalf("the leader has %s rows", got)
	}
	remotes := map[string]int{}
	h, err := p.leader.node.Tenant(ident.MustTenantID(1))
	check(t, err)
	_, err = h.Audit(t.Context(), ident.Offset{}, 100, func(e *tenant.AuditEntry) error { remotes[e.Remote]++; return nil })
	check(t, err)
	if remotes["127.0.0.1"] < 2 || remotes["invalid IP"] > 0 {
		t.Fatalf("the audit trail has the addresses %v", remotes)
	}
	if u, err := p.entry.node.Usage(ident.MustTenantID(1)); err != nil || u.LogBytes > 16<<10 {
		t.Fatalf("the entry node keeps %d bytes of the tenant, %v", u.LogBytes, err)
	}
	check(t, conn.Close(t.Context()))
	eventually(t, "nothing is left of the session", func() bool { return p.entry.count() == 0 && p.leader.count() == 1 })
}

// count is how many connections a door has.
func (d *door) count() int {
	d.srv.mu.Lock()
	defer d.srv.mu.Unlock()
	return len(d.srv.conns)
}

func TestRefusalsLookTheSameThroughAnotherNode(t *testing.T) {
	p := openPair(t, nil)
	for name, c := range map[string]*pgx.ConnConfig{
		"a wrong password":  p.entry.config(t, "app@hospital-a", "kls_wrong"),
		"an unknown user":   p.entry.config(t, "nobody@hospital-a", p.leader.secret),
		"an unknown tenant": p.entry.config(t, "app@hospital-z", p.leader.secret),
		"no tenant":         p.entry.config(t, "app", p.leader.secret),
	} {
		_, err := pgx.ConnectConfig(t.Context(), c)
		wantState(t, err, "28P01")
		if !strings.Contains(err.Error(), "the user, the tenant or the secret is wrong") {
			t.Errorf("%s: %v", name, err)
		}
	}
	c := p.through(t)
	c.TLSConfig = nil
	_, err := pgx.ConnectConfig(t.Context(), c)
	wantState(t, err, "28000")
	if p.leaderRouter.asked.Load() > 4 {
		t.Fatal("a client in the clear got as far as the leader")
	}
}

func TestClientInTheClearIsOneForTheLeader(t *testing.T) {
	p := openPair(t, func(entry, leader *Config) { entry.PlaintextOnLoopback = true })
	c := p.through(t)
	c.TLSConfig = nil
	_, err := pgx.ConnectConfig(t.Context(), c)
	wantState(t, err, "28000")
	p = openPair(t, func(entry, leader *Config) { entry.PlaintextOnLoopback, leader.PlaintextOnLoopback = true, true })
	c = p.through(t)
	c.TLSConfig = nil
	conn, err := pgx.ConnectConfig(t.Context(), c)
	check(t, err)
	check(t, conn.Close(t.Context()))
}

func TestTenantsLimitOfSessionsHoldsOverAllNodes(t *testing.T) {
	p := openPair(t, func(_, leader *Config) { leader.Limits.MaxConnectionsPerTenant = 2 })
	p.connect(t)
	p.leader.connect(t)
	for _, c := range []*pgx.ConnConfig{p.through(t), p.leader.config(t, "app@1", p.leader.secret)} {
		_, err := pgx.ConnectConfig(t.Context(), c)
		wantState(t, err, "53300")
	}
}

const forever = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"

func TestCancelReachesTheNodeOfTheSession(t *testing.T) {
	p := openPair(t, nil)
	far, near := p.connect(t), p.leader.connect(t)
	other := p.connect(t)
	for name, conn := range map[string]*pgx.Conn{"through the entry node": far, "at the leader": near} {
		if tag := conn.PgConn().PID() >> pidRandomBits; tag != 2 {
			t.Fatalf("%s: the process id is tagged %d", name, tag)
		}
		failed := make(chan error, 1)
		go func() {
			_, err := conn.Exec(context.Background(), forever)
			failed <- err
		}()
		for done := false; !done; {
			check(t, conn.PgConn().CancelRequest(t.Context()))
			select {
			case err := <-failed:
				wantState(t, err, "57014")
				done = true
			case <-time.After(20 * time.Millisecond):
			}
		}
		must(t, conn, "SELECT 1")
	}
	must(t, other, "SELECT 1")
	// One for a node that cannot be reached does no harm, nor does a wrong key.
	k := p.entry.dial(t)
	k.write(packet(codeCancel, "\x00\x18\x00\x01"+"\x01\x02\x03\x04"))
	k.want(".")
}

func TestLostLeaderIsToldByWhatWasUnderWay(t *testing.T) {
	t.Run("nothing", func(t *testing.T) {
		p := openPair(t, nil)
		conn := p.connect(t)
		must(t, conn, "SELECT 1")
		_ = p.leaderRouter.Close()
		err := waitClosed(t, conn)
		wantState(t, err, "57P01")
	})
	t.Run("a transaction that waits for its client", func(t *testing.T) {
		p := openPair(t, nil)
		conn := p.connect(t)
		must(t, conn, "CREATE TABLE t (id BIGINT PRIMARY KEY)")
		must(t, conn, "BEGIN")
		must(t, conn, "INSERT INTO t VALUES (1)")
		_ = p.leaderRouter.Close()
		wantState(t, waitClosed(t, conn), "57P01")
	})
	t.Run("a statement", func(t *testing.T) {
		p := openPair(t, nil)
		conn := p.connect(t)
		failed := make(chan error, 1)
		go func() {
			_, err := conn.Exec(context.Background(), forever)
			failed <- err
		}()
		waitRunning(t, p.leader)
		_ = p.leaderRouter.Close()
		err := <-failed
		wantState(t, err, "08007")
		if !strings.Contains(errorHint(err), "kimberlite.idempotency_key") {
			t.Fatalf("the hint is %q", errorHint(err))
		}
	})
	t.Run("a COPY", func(t *testing.T) {
		p := openPair(t, nil)
		conn := p.connect(t)
		must(t, conn, "CREATE TABLE t (id BIGINT PRIMARY KEY)")
		r, w, err := os.Pipe()
		check(t, err)
		defer w.Close() // it unblocks the COPY
		failed := make(chan error, 1)
		go func() {
			_, err := conn.PgConn().CopyFrom(context.Background(), r, "COPY t FROM STDIN")
			failed <- err
		}()
		_, err = w.WriteString("1\n2\n")
		check(t, err)
		waitRunning(t, p.leader)
		_ = p.leaderRouter.Close()
		_ = w.Close()
		wantState(t, <-failed, "08007")
	})
}

// waitRunning waits until a session of d runs a statement.
func waitRunning(t *testing.T, d *door) {
	t.Helper()
	eventually(t, "a statement runs", func() bool {
		d.srv.mu.Lock()
		defer d.srv.mu.Unlock()
		for _, s := range d.srv.sessions {
			s.control.mu.Lock()
			running := s.running
			s.control.mu.Unlock()
			if running {
				return true
			}
		}
		return false
	})
}

// errorHint is the hint of an error that the server sent.
func errorHint(err error) string {
	var e *pgconn.PgError
	if asPg(err, &e) {
		return e.Hint
	}
	return ""
}

// waitClosed reads what the server says to a client that asks nothing.
func waitClosed(t *testing.T, conn *pgx.Conn) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	err := conn.PgConn().WaitForNotification(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		t.Fatal("the session goes on")
	}
	return err
}

func TestNodeThatServesIsLookedForAWhile(t *testing.T) {
	t.Run("there is no leader for now", func(t *testing.T) {
		p := openPair(t, nil)
		p.entryRouter.leader.Store(nil)
		time.AfterFunc(300*time.Millisecond, func() { p.entryRouter.follow(2) })
		must(t, p.connect(t), "SELECT 1")
	})
	t.Run("the route is stale", func(t *testing.T) {
		p := openPair(t, nil)
		p.leaderRouter.follow(1)
		time.AfterFunc(300*time.Millisecond, func() { p.leaderRouter.follow(2) })
		must(t, p.connect(t), "SELECT 1")
	})
	t.Run("the leader cannot be reached, then it is here", func(t *testing.T) {
		p := openPair(t, nil)
		p.entryRouter.follow(3)
		time.AfterFunc(300*time.Millisecond, func() { p.entryRouter.follow(1) })
		must(t, p.entry.connect(t), "SELECT 1")
	})
	t.Run("none comes", func(t *testing.T) {
		p := openPair(t, nil)
		p.entryRouter.leader.Store(nil)
		began := time.Now()
		_, err := pgx.ConnectConfig(t.Context(), p.through(t))
		wantState(t, err, "57P03")
		if took := time.Since(began); took < routeWait || took > 2*routeWait {
			t.Fatalf("it took %v", took)
		}
	})
}

func TestShutdownOfTheEntryNodeEndsItsSessions(t *testing.T) {
	p := openPair(t, nil)
	idle, busy := p.connect(t), p.connect(t)
	must(t, idle, "SELECT 1")
	failed := make(chan error, 1)
	go func() {
		_, err := busy.Exec(context.Background(), forever)
		failed <- err
	}()
	waitRunning(t, p.leader)
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	down := make(chan error, 1)
	go func() { down <- p.entry.srv.Shutdown(ctx) }()
	wantState(t, waitClosed(t, idle), "57P01")
	select {
	case err := <-failed:
		t.Fatalf("the statement was not waited for: %v", err)
	case <-time.After(100 * time.Millisecond):
	}
	wantState(t, <-failed, "08007")
	if err := <-down; !fault.Is(err, fault.Timeout) {
		t.Fatal(err)
	}
}

func TestShutdownWaitsForAStatementThatEnds(t *testing.T) {
	p := openPair(t, nil)
	conn := p.connect(t)
	answer := make(chan error, 1)
	go func() {
		_, err := conn.Exec(context.Background(), forever)
		answer <- err
	}()
	waitRunning(t, p.leader)
	down := make(chan error, 1)
	go func() { down <- p.entry.srv.Shutdown(t.Context()) }()
	time.Sleep(50 * time.Millisecond)
	p.leader.srv.mu.Lock()
	for _, s := range p.leader.srv.sessions {
		s.cancelStatement(errUserCancel)
	}
	p.leader.srv.mu.Unlock()
	wantState(t, <-answer, "57014") // its own answer, and then the good-bye
	wantState(t, waitClosed(t, conn), "57P01")
	check(t, <-down)
}

// TestStatementThatIsMisroutedEndsTheSession: the next one is passed on.
func TestStatementThatIsMisroutedEndsTheSession(t *testing.T) {
	d := openDoor(t, nil)
	c, _ := net.Pipe()
	s := newSession(d.srv, c)
	err := s.fail(fault.New("write", fault.Misrouted, "another node leads"))
	if fault.StateOf(err) != "57P01" || !strings.Contains(err.Error(), "connect again") || s.w.pending() > 0 {
		t.Fatalf("%v, and %d bytes said before", err, s.w.pending())
	}
}

func TestStreamsThatAreNoneOfOurs(t *testing.T) {
	p := openPair(t, nil)
	for name, preface := range map[string]peer.StreamPreface{
		"another kind":      {Kind: "ftp"},
		"no startup packet": {Kind: streamSession},
		"a cancel request":  {Kind: streamSession, Startup: packet(codeCancel, "\x00\x00\x00\x01\x00\x00\x00\x01")},
		"a wrong length":    {Kind: streamSession, Remote: netip.MustParseAddr("192.0.2.1"), TLS: true, Startup: []byte{0, 0, 0, 99, 0, 3, 0, 0, 0}},
		"half a cancel":     {Kind: streamCancel, Startup: []byte{0, 0, 0, 16, 4}},
	} {
		c, err := p.entryRouter.OpenStream(t.Context(), ident.NewNodeID(2), preface)
		check(t, err)
		check(t, c.SetDeadline(time.Now().Add(5*time.Second)))
		var all bytes.Buffer
		_, err = all.ReadFrom(c)
		if errors.Is(err, os.ErrDeadlineExceeded) || bytes.Contains(all.Bytes(), []byte("SASL")) {
			t.Errorf("%s: answered %q, %v", name, all.Bytes(), err)
		}
	}
}

// noted is what a cutter found.
type noted struct {
	kind byte
	body string
}

func FuzzCutter(f *testing.F) {
	f.Add([]byte("Z\x00\x00\x00\x05IT\x00\x00\x00\x04"), uint8(1))
	f.Add([]byte("E\x00\x00\x00\x0bSFATAL\x00"), uint8(3))
	f.Add([]byte("D\x00\x00\x01\x00"+strings.Repeat("x", 252)+"Z\x00\x00\x00\x05I"), uint8(7))
	f.Add([]byte("D\x00\x00\x00\x03"), uint8(2))
	f.Fuzz(func(t *testing.T, stream []byte, step uint8) {
		// The naive twin has all at once.
		var want []noted
		end, bad := 0, false
		for rest := stream; len(rest) >= 5; {
			n, err := messageLength(rest)
			if bad = err != nil; bad {
				break
			}
			whole := min(n, int64(len(rest)))
			want = append(want, noted{rest[0], string(rest[5:whole])})
			if n > int64(len(rest)) {
				break
			}
			end += int(n)
			rest = rest[n:]
		}
		const limit = 64
		var got, passed []noted
		pass := cutter{note: func(kind byte, _ []byte) { passed = append(passed, noted{kind, ""}) }}
		whole := cutter{note: func(kind byte, body []byte) { got = append(got, noted{kind, string(body)}) }}
		buf := make([]byte, 0, limit)
		sent, broken := 0, false
		for rest := stream; len(rest) > 0 && !broken; {
			n := min(int(step%32)+1, len(rest), limit-len(buf))
			broken = pass.pass(rest[:n]) != nil
			buf, rest = append(buf, rest[:n]...), rest[n:]
			ready, err := whole.whole(buf, limit)
			if (err != nil) != broken {
				t.Fatalf("one way of cutting says %v, the other %v", err, broken)
			}
			sent += ready
			if whole.rest == 0 && sent > end {
				t.Fatal("between messages more was passed on than whole ones")
			}
			buf = append(buf[:0], buf[ready:]...)
			if len(buf) == limit {
				t.Fatal("the buffer is full and nothing is passed on")
			}
		}
		if broken != bad {
			t.Fatalf("broken: %v, and should be %v", broken, bad)
		}
		for i, w := range want {
			if i < len(passed) && passed[i].kind != w.kind || i < len(got) && got[i].kind != w.kind {
				t.Fatalf("message %d is not of type %c", i, w.kind)
			}
			if i < len(got) && len(w.body) < limit-5 && i < len(want)-1 && got[i].body != w.body {
				t.Fatalf("message %d has another body", i)
			}
		}
		if !broken && (len(passed) != len(want) || len(got) > len(want) || len(got) < len(want)-1) {
			t.Fatalf("%d messages are there, %d and %d were found", len(want), len(passed), len(got))
		}
	})
}
