package peer

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"kimberlite/internal/ident"
	"kimberlite/internal/pki"
	"kimberlite/internal/replication"
)

const deployment = "d1"

// quick is a pace for tests.
var quick = Pace{
	Ping: 20 * time.Millisecond, Silence: 2 * time.Second, Dial: 5 * time.Second,
	Backoff: 5 * time.Millisecond, MaxBackoff: 40 * time.Millisecond, Check: 10 * time.Millisecond,
}

func region(name string) ident.Region {
	r, err := ident.NewRegion(name)
	if err != nil {
		panic(err)
	}
	return r
}

var east = region("us-east")

func node(n uint64) ident.NodeID { return ident.NewNodeID(n) }

func newAuthority(t testing.TB, deployment string) *pki.Authority {
	t.Helper()
	a, err := pki.NewAuthority(deployment, time.Now(), pki.AuthorityValid)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func certify(t testing.TB, a *pki.Authority, id pki.Identity, now time.Time, valid time.Duration) *tls.Certificate {
	t.Helper()
	key, request, err := pki.NewRequest()
	if err != nil {
		t.Fatal(err)
	}
	chain, err := a.Sign(request, id, now, valid)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := pki.Pair(chain, key)
	if err != nil {
		t.Fatal(err)
	}
	return pair
}

func bundleOf(t testing.TB, as ...*pki.Authority) *pki.Bundle {
	t.Helper()
	var text []byte
	for _, a := range as {
		text = append(text, a.CertificatePEM()...)
	}
	b, err := pki.ParseBundle(text)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// fleet is some nodes on loopback.
type fleet struct {
	t         testing.TB
	authority *pki.Authority
	mu        sync.Mutex // guards addresses
	addresses map[ident.NodeID]Address
}

func newFleet(t testing.TB) *fleet {
	return &fleet{t: t, authority: newAuthority(t, deployment), addresses: map[ident.NodeID]Address{}}
}

func (f *fleet) resolve(id ident.NodeID) (Address, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	a, ok := f.addresses[id]
	return a, ok
}

func (f *fleet) place(id ident.NodeID, a Address) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.addresses[id] = a
}

// member is one node of a fleet.
type member struct {
	*Network
	id       ident.NodeID
	address  string
	pair     atomic.Pointer[tls.Certificate]
	roots    atomic.Pointer[x509.CertPool]
	received chan replication.Message
	lost     atomic.Int64
	removed  sync.Map // ident.NodeID
	stop     context.CancelFunc
	served   chan error
}

func (m *member) remove(id ident.NodeID) { m.removed.Store(id, true) }

// add starts a node; change may alter its options.
func (f *fleet) add(n uint64, change ...func(*member, *Options)) *member {
	f.t.Helper()
	m := &member{id: node(n), received: make(chan replication.Message, 1<<14), served: make(chan error, 1)}
	m.pair.Store(certify(f.t, f.authority, pki.Identity{Deployment: deployment, Node: m.id, Region: east}, time.Now(), pki.NodeValid))
	m.roots.Store(bundleOf(f.t, f.authority).Pool())
	o := Options{
		Self:        Self{Node: m.id, Region: east, Deployment: deployment},
		Certificate: func() (*tls.Certificate, error) { return m.pair.Load(), nil },
		Roots:       m.roots.Load,
		Resolve:     f.resolve,
		Receive:     func(_ ident.NodeID, msg replication.Message) { m.received <- msg },
		Lost:        func(ident.NodeID) { m.lost.Add(1) },
		Allowed: func(id ident.NodeID) bool {
			_, removed := m.removed.Load(id)
			return !removed
		},
		Pace: quick,
	}
	for _, c := range change {
		c(m, &o)
	}
	var err error
	if m.Network, err = New(o); err != nil {
		f.t.Fatal(err)
	}
	m.Handle("/whoami", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p, ok := From(r.Context())
		if !ok {
			http.Error(w, "nobody", http.StatusForbidden)
			return
		}
		_, _ = w.Write([]byte(p.Node.String() + " " + p.Region.String() + " " + r.Proto))
	}))
	f.t.Cleanup(func() { _ = m.Close() })
	m.listen(f, "127.0.0.1:0")
	f.place(m.id, Address{Host: m.address, Region: east})
	return m
}

func (m *member) listen(f *fleet, address string) {
	f.t.Helper()
	l, err := (&net.ListenConfig{}).Listen(f.t.Context(), "tcp", address)
	if err != nil {
		f.t.Fatal(err)
	}
	m.address = l.Addr().String()
	ctx, stop := context.WithCancel(context.Background())
	m.stop = stop
	go func() { m.served <- m.Serve(ctx, l) }()
}

// eventually polls until ok, for ten seconds.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 10 s: %s", what)
		}
	}
}

func message(i int, size int) replication.Message {
	data := make([]byte, size)
	for j := range data {
		data[j] = byte(i + j)
	}
	return replication.Message{
		Shard: ident.NewShardID(uint64(i)), From: ident.NewReplicaID(uint64(i) + 1), To: ident.NewReplicaID(uint64(i) + 2), Data: data,
	}
}

// connect sends until the first message arrives.
func connect(t testing.TB, from, to *member) {
	t.Helper()
	eventually(t, "the first message arrives", func() bool {
		from.Send(to.id, message(0, 1))
		select {
		case <-to.received:
			return true
		case <-time.After(20 * time.Millisecond):
			return false
		}
	})
	drain(to)
}

// drain takes what is still on its way.
func drain(m *member) {
	for {
		select {
		case <-m.received:
		case <-time.After(50 * time.Millisecond):
			return
		}
	}
}

func linkTo(m *member, id ident.NodeID) Link {
	for _, l := range m.Links() {
		if l.Node == id {
			return l
		}
	}
	return Link{}
}
