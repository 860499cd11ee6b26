package rpc

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"

	"kimberlite/client"
	v1 "kimberlite/gen/kimberlite/v1"
	"kimberlite/gen/kimberlite/v1/kimberlitev1connect"
	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/peer"
	"kimberlite/internal/pki"
	"kimberlite/internal/replication"
	"kimberlite/internal/tenant"
)

// crew is two nodes: clients call the first, which does not lead; calls end
// Misrouted there, at the gate or later. The second one leads.
type crew struct {
	leader   *bench
	handler  *Handler // of the leader
	url      string   // of the entry node
	observed *observed
	networks [2]*peer.Network
	// points is the node that the entry node takes for the leader, 0 for none.
	points atomic.Uint64
	// late has calls end Misrouted when their message was read.
	late atomic.Bool
	// stale is how many calls the leader still refuses as Misrouted.
	stale atomic.Int64
	runs  atomic.Int64 // on the entry node
}

func newCrew(t *testing.T, limits Limits) *crew {
	t.Helper()
	w := &crew{leader: newBench(t, limits), observed: &observed{}}
	w.points.Store(2)
	listeners := w.connect(t)
	limits.fill()
	makeHandler := func(n int, observed *observed) *Handler {
		h, err := New(Config{
			Authority: w.leader.authority, Node: w.leader.node, Logger: w.leader.logger(), Observer: observed, Limits: limits,
			Peers: w.networks[n-1], Self: ident.NewNodeID(uint64(n)),
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(h.Close)
		return h
	}
	w.handler = makeHandler(2, w.leader.observed)
	real := w.handler.routes
	refusing := w.misrouting(w.handler.d, func() error {
		return fault.New("test", fault.Misrouted, "this node leads no more")
	})
	w.handler.routes = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if w.stale.Add(-1) >= 0 {
			refusing.ServeHTTP(rw, r)
			return
		}
		real.ServeHTTP(rw, r)
	})
	w.networks[1].Handle(PeerPrefix+"/", http.StripPrefix(PeerPrefix, w.handler.ForPeers()))
	for i, l := range listeners {
		go func() { _ = w.networks[i].Serve(context.Background(), l) }()
	}

	entry := makeHandler(1, w.observed)
	routes := w.misrouting(entry.d, func() error {
		w.runs.Add(1)
		e := fault.New("test", fault.Misrouted, "another node leads")
		e.Leader = ident.NewNodeID(w.points.Load())
		return e
	})
	s := httptest.NewUnstartedServer(entry.d.withCall(entry.d.withRoute(routes), remoteAddress))
	s.EnableHTTP2 = true
	s.StartTLS()
	t.Cleanup(s.Close)
	w.url = s.URL
	w.leader.url = s.URL // its clients come by the entry node
	w.leader.ca = x509.NewCertPool()
	w.leader.ca.AddCert(s.Certificate())
	return w
}

// misrouting is the door's services, all of whose calls end as refuse says.
func (w *crew) misrouting(d *door, refuse func() error) http.Handler {
	options := []connect.HandlerOption{
		connect.WithReadMaxBytes(d.limits.MessageBytes),
		connect.WithRequestGate(func(ctx context.Context, spec connect.Spec, p connect.Peer, h http.Header) (context.Context, error) {
			if w.late.Load() {
				return d.gate(ctx, spec, p, h)
			}
			c := callOf(ctx)
			c.method, c.free = spec.Procedure, spec.IdempotencyLevel == connect.IdempotencyNoSideEffects
			return nil, d.failure(ctx, c, refuse())
		}),
		connect.WithInterceptors(interceptor{d}, failing(refuse)),
	}
	mux := http.NewServeMux()
	mux.Handle(kimberlitev1connect.NewSQLServiceHandler(sqlService{d}, options...))
	mux.Handle(kimberlitev1connect.NewStreamServiceHandler(streamService{d}, options...))
	mux.Handle(kimberlitev1connect.NewServerServiceHandler(serverService{d}, options...))
	return mux
}

// failing has every handler fail.
type failing func() error

func (f failing) WrapUnary(connect.UnaryFunc) connect.UnaryFunc {
	return func(context.Context, connect.AnyRequest) (connect.AnyResponse, error) { return nil, f() }
}

func (f failing) WrapStreamingHandler(connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return func(context.Context, connect.StreamingHandlerConn) error { return f() }
}

func (f failing) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

// connect makes the network of both nodes.
func (w *crew) connect(t *testing.T) [2]net.Listener {
	t.Helper()
	now := time.Now()
	authority, err := pki.NewAuthority("test", now, pki.AuthorityValid)
	if err != nil {
		t.Fatal(err)
	}
	bundle, err := pki.ParseBundle(authority.CertificatePEM())
	if err != nil {
		t.Fatal(err)
	}
	region, err := ident.NewRegion("local")
	if err != nil {
		t.Fatal(err)
	}
	var listeners [2]net.Listener
	for i := range listeners {
		if listeners[i], err = (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
		id := ident.NewNodeID(uint64(i + 1))
		key, request, err := pki.NewRequest()
		if err != nil {
			t.Fatal(err)
		}
		chain, err := authority.Sign(request, pki.Identity{Deployment: "test", Node: id, Region: region}, now, pki.NodeValid)
		if err != nil {
			t.Fatal(err)
		}
		pair, err := pki.Pair(chain, key)
		if err != nil {
			t.Fatal(err)
		}
		n, err := peer.New(peer.Options{
			Self:        peer.Self{Node: id, Region: region, Deployment: "test"},
			Certificate: func() (*tls.Certificate, error) { return pair, nil },
			Roots:       bundle.Pool,
			Resolve: func(id ident.NodeID) (peer.Address, bool) {
				if n := id.Uint64(); n >= 1 && n <= 2 {
					return peer.Address{Host: listeners[n-1].Addr().String(), Region: region}, true
				}
				return peer.Address{}, false
			},
			Receive: func(ident.NodeID, replication.Message) {},
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = n.Close() })
		w.networks[i] = n
	}
	return listeners
}

func TestCallIsPassedOnInEveryProtocol(t *testing.T) {
	t.Parallel()
	for _, late := range []bool{false, true} {
		w := newCrew(t, Limits{})
		w.late.Store(late)
		plain := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: w.leader.ca}, ForceAttemptHTTP2: true}}
		defer plain.CloseIdleConnections()
		token := connect.WithInterceptors(tokenOf(w.leader.secrets["owner1"]))
		for name, option := range map[string]connect.ClientOption{
			"connect": connect.WithClientOptions(), "json": connect.WithProtoJSON(), "grpc": connect.WithGRPC(), "grpc-web": connect.WithGRPCWeb(),
			"get": connect.WithHTTPGet(), "gzip": connect.WithSendGzip(),
		} {
			who, err := kimberlitev1connect.NewServerServiceClient(plain, w.url, token, option).WhoAmI(t.Context(), &v1.WhoAmIRequest{})
			if err != nil || who.GetTenant() != 1 {
				t.Errorf("%s: %v, %v", name, who, err)
			}
			sql := kimberlitev1connect.NewSQLServiceClient(plain, w.url, token, option)
			table := "t_" + strings.ReplaceAll(name, "-", "_")
			if _, err := sql.Exec(t.Context(), &v1.ExecRequest{Sql: "CREATE TABLE " + table + " (a); INSERT INTO " + table + " VALUES ('" + strings.Repeat("x", 200_000) + "')"}); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			stream, err := sql.Query(t.Context(), &v1.QueryRequest{Sql: "SELECT a FROM " + table + ", generate_series(1, 50)"})
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			rows := 0
			for stream.Receive() {
				rows += len(stream.Msg().GetRows().GetRows())
			}
			if stream.Err() != nil || rows != 50 {
				t.Errorf("%s: %d rows, %v", name, rows, stream.Err())
			}
			if err := stream.Close(); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			_, err = sql.Exec(t.Context(), &v1.ExecRequest{Sql: "nonsense"})
			if connect.CodeOf(err) != connect.CodeInvalidArgument {
				t.Errorf("%s: an error comes as %v", name, err)
			}
			stream, err = sql.Query(t.Context(), &v1.QueryRequest{Sql: "SELECT nonsense"})
			if err == nil {
				for stream.Receive() {
				}
				err = errors.Join(stream.Err(), stream.Close())
			}
			if connect.CodeOf(err) != connect.CodeInvalidArgument {
				t.Errorf("%s: an error of a stream comes as %v", name, err)
			}
		}
	}
}

func TestPassedOnCallIsTheClientsOwn(t *testing.T) {
	t.Parallel()
	w := newCrew(t, Limits{})
	call := func(h http.Handler, path string, header http.Header) *httptest.ResponseRecorder {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, path, strings.NewReader(`{"sql":"CREATE TABLE t(a)"}`))
		r.Header = header
		r.Header.Set("Content-Type", "application/json")
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, r)
		return rec
	}
	// A client may say what it likes of its address.
	rq, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.url+kimberlitev1connect.SQLServiceExecProcedure, strings.NewReader(`{"sql":"CREATE TABLE t(a)"}`))
	if err != nil {
		t.Fatal(err)
	}
	rq.Header.Set("Content-Type", "application/json")
	rq.Header.Set("Authorization", "Bearer "+w.leader.secrets["owner1"])
	rq.Header.Set(headerRemote, "203.0.113.9")
	rq.Header.Set(headerServedBy, "9")
	rq.Header.Set(headerRequestID, "my-own-id")
	plain := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: w.leader.ca}}}
	defer plain.CloseIdleConnections()
	answer, err := plain.Do(rq)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(answer.Body)
	_ = answer.Body.Close()
	if err != nil || answer.StatusCode != http.StatusOK || answer.Header.Get(headerRequestID) != "my-own-id" || answer.Header.Get(headerServedBy) != "" {
		t.Fatalf("%d %v %s %v", answer.StatusCode, answer.Header, text, err)
	}
	h, err := w.leader.node.Tenant(ident.MustTenantID(1))
	if err != nil {
		t.Fatal(err)
	}
	remotes := map[string]bool{}
	if _, err := h.Audit(t.Context(), ident.Offset{}, 100, func(e *tenant.AuditEntry) error { remotes[e.Remote] = true; return nil }); err != nil {
		t.Fatal(err)
	}
	if !remotes["127.0.0.1"] || remotes["203.0.113.9"] {
		t.Fatalf("the audit trail has the addresses %v", remotes)
	}
	// It is counted by the node that carried it out, and there alone.
	w.leader.observed.mu.Lock()
	there := strings.Count(strings.Join(w.leader.observed.calls, "\n"), "SQLService/Exec 1 ok")
	w.leader.observed.mu.Unlock()
	w.observed.mu.Lock()
	defer w.observed.mu.Unlock()
	if there != 1 || len(w.observed.calls) != 0 || len(w.observed.logins) != 0 {
		t.Fatalf("counted %d times there, and here %v, %v", there, w.observed.calls, w.observed.logins)
	}
	// Nobody but a node comes by the nodes' path.
	header := http.Header{"Authorization": {"Bearer " + w.leader.secrets["owner1"]}, headerRemote: {"203.0.113.9"}}
	if rec := call(w.handler.ForPeers(), kimberlitev1connect.SQLServiceExecProcedure, header); rec.Code != http.StatusForbidden {
		t.Fatalf("whoever comes is served: %d", rec.Code)
	}
}

func TestRefusalsLookTheSameThroughAnotherNode(t *testing.T) {
	t.Parallel()
	w := newCrew(t, Limits{MessageBytes: 100_000})
	w.leader.secrets["nobody"] = "kls_nonsense"
	_, err := w.leader.tenant("nobody", 1).Exec(t.Context(), "SELECT 1")
	wantKind(t, err, fault.Unauthenticated)
	_, err = w.leader.tenant("owner2", 1).Exec(t.Context(), "SELECT 1")
	wantKind(t, err, fault.Denied)
	_, err = w.leader.tenant("operator", 1).Exec(t.Context(), "SELECT 1")
	wantKind(t, err, fault.Denied)
	_, err = w.leader.tenant("owner1", 1).Exec(t.Context(), "SELECT '"+strings.Repeat("x", 300_000)+"'")
	wantKind(t, err, fault.TooLarge)
}

func TestTailIsPassedOnAsItComes(t *testing.T) {
	t.Parallel()
	w := newCrew(t, Limits{})
	owner := w.leader.tenant("owner1", 1)
	if _, err := owner.CreateStream(t.Context(), "s"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	got := make(chan struct{}, 10)
	ended := make(chan error, 1)
	go func() {
		ended <- owner.Tail(ctx, "s", ident.Offset{}, func(client.Event) error { got <- struct{}{}; return nil })
	}()
	for range 3 {
		if _, err := owner.Append(t.Context(), "s", client.Message{Data: []byte("x")}); err != nil {
			t.Fatal(err)
		}
		select {
		case <-got:
		case <-time.After(10 * time.Second):
			t.Fatal("an event does not come")
		}
	}
	cancel()
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Fatal("the tail does not end with its client")
	}
}

func TestLeaderIsLookedForAWhile(t *testing.T) {
	t.Parallel()
	t.Run("the route is stale", func(t *testing.T) {
		t.Parallel()
		w := newCrew(t, Limits{})
		w.stale.Store(3)
		if _, err := w.leader.tenant("owner1", 1).Exec(t.Context(), "CREATE TABLE t(a)"); err != nil || w.runs.Load() != 4 {
			t.Fatalf("%v after %d runs", err, w.runs.Load())
		}
	})
	t.Run("there is no leader, then it cannot be reached", func(t *testing.T) {
		t.Parallel()
		w := newCrew(t, Limits{})
		w.points.Store(0)
		time.AfterFunc(200*time.Millisecond, func() { w.points.Store(3) })
		time.AfterFunc(400*time.Millisecond, func() { w.points.Store(2) })
		if _, err := w.leader.tenant("owner1", 1).Exec(t.Context(), "CREATE TABLE t(a)"); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("none comes", func(t *testing.T) {
		t.Parallel()
		w := newCrew(t, Limits{})
		w.points.Store(0)
		began := time.Now()
		_, err := w.leader.tenant("owner1", 1).Exec(t.Context(), "CREATE TABLE t(a)")
		wantKind(t, err, fault.Misrouted)
		if took := time.Since(began); took < routeWait || took > 2*routeWait {
			t.Fatalf("it took %v", took)
		}
	})
}

func TestLeaderLostDuringACall(t *testing.T) {
	t.Parallel()
	const forever = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) "
	w := newCrew(t, Limits{})
	owner := w.leader.tenant("owner1", 1)
	if _, err := owner.Exec(t.Context(), "CREATE TABLE t(a)"); err != nil {
		t.Fatal(err)
	}
	failed := make(chan error, 1)
	go func() {
		_, err := owner.Exec(context.Background(), "INSERT INTO t "+forever+"SELECT max(i) FROM n")
		failed <- err
	}()
	id := ident.MustTenantID(1)
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		if u, err := w.leader.node.Usage(id); err == nil && u.InFlight > 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the statement does not run")
		}
	}
	_ = w.networks[1].Close()
	err := <-failed
	wantKind(t, err, fault.OutcomeUnknown)
	if !strings.Contains(err.Error(), "not known") {
		t.Fatal(err)
	}
	// What has no side effects is tried again, and then said to be nowhere.
	_, err = owner.Info(t.Context())
	if err == nil {
		t.Fatal("a node that is gone answers")
	}
}

func TestReplayGivesTheSameBytesToAll(t *testing.T) {
	t.Parallel()
	r := newReplay(strings.NewReader("0123456789"), 20)
	first, second := r.again(), r.again()
	part := make([]byte, 4)
	if _, err := io.ReadFull(first, part); err != nil || string(part) != "0123" {
		t.Fatal(err)
	}
	if all, err := io.ReadAll(second); err != nil || string(all) != "0123456789" {
		t.Fatalf("%q, %v", all, err)
	}
	if rest, err := io.ReadAll(first); err != nil || string(rest) != "456789" || !r.whole() {
		t.Fatalf("%q, %v", rest, err)
	}
	r = newReplay(strings.NewReader(strings.Repeat("x", 30)), 20)
	if all, err := io.ReadAll(r.again()); !fault.Is(err, fault.TooLarge) || len(all) != 20 || r.whole() {
		t.Fatalf("%d bytes, %v", len(all), err)
	}
}
