// Package cluster is what makes a node one of a deployment: its identity, the
// directory and the shards that it hosts, and the work that keeps them as the
// directory wants them.
//
// It guarantees that a group's replicas are where the directory says and
// nowhere else for long, that every step of joining, creating, moving and
// replacing can be interrupted and repeated, and that a tenant has one owner
// at any time. It must not know about doors, SQL, nor about records beyond
// their sealed bytes. Package node composes it; the doors reach it through
// node.Node.Cluster.
package cluster

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"kimberlite/internal/directory"
	"kimberlite/internal/disk"
	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/keyring"
	"kimberlite/internal/peer"
	"kimberlite/internal/pki"
	"kimberlite/internal/replication"
	"kimberlite/internal/shard"
	"kimberlite/internal/tenant"
)

// Config says how a cluster's node runs. The zero value of a field is its
// default.
type Config struct {
	FS  disk.FS
	Dir string // the data directory, which holds an identity
	// Addresses, where they are not "", are in place of those that the node
	// was made with.
	Addresses Addresses
	// Listener is the port for peers, if it is open already.
	Listener net.Listener
	// Dial makes connections to peers; nil is a net.Dialer.
	Dial   func(ctx context.Context, network, address string) (net.Conn, error)
	Logger *slog.Logger
	// CertificateValid is how long a certificate is valid that this node
	// signs. 0 is 90 days.
	CertificateValid time.Duration
	// AbandonAfter is how old the reservation of a tenant is that its shard
	// knows nothing of before it is given up. 0 is 2 minutes.
	AbandonAfter time.Duration
	// MoveBytesPerSecond bounds what a move copies. 0 is 64 MiB.
	MoveBytesPerSecond int64
}

// Parts are what a node has, cluster or not.
type Parts struct {
	Store *replication.Store
	Ring  *keyring.Ring
	// Shard and Tenant are the options of every shard and its tenants; the
	// cluster fills in what differs.
	Shard  shard.Options
	Tenant tenant.Options
	// MasterKey is the version of the master key: nodes of a region need the
	// same one.
	MasterKey string
}

// Node is the cluster's part of a node. It is safe for concurrent use.
type Node struct {
	c         Config
	identity  Identity
	addresses Addresses
	fs        disk.FS
	data      string
	log       *slog.Logger

	creds   *credentials
	dir     *directory.Directory
	net     *peer.Network
	callees map[string]callee // complete before the network serves, as streamers are
	parts   Parts

	streamers map[string]streamer

	certificateValid time.Duration
	rotateMu         sync.Mutex // held while the authority's files change or are read

	hostsMu sync.RWMutex // guards hosts
	hosts   map[ident.ShardID]*host
	marks   marks

	// ledBy is who leads the shards, and ledSince since when all of it has been
	// so: spreadLeaders' alone.
	ledBy    map[ident.ShardID]ident.NodeID
	ledSince time.Time

	routes  routes
	reports reports
	moves   moves
	counts  counts

	store  atomic.Pointer[replication.Store] // nil until Start
	ctx    context.Context                   // ends when the node closes
	cancel context.CancelFunc
	wg     sync.WaitGroup
	poke   chan struct{} // wakes the loop that converges
	ready  atomic.Bool   // the directory's copy knows this node
}

// Open reads the node's identity and makes its network, which carries nothing
// before Start.
func Open(c Config) (*Node, error) {
	if c.FS == nil {
		c.FS = disk.OS{}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.CertificateValid == 0 {
		c.CertificateValid = pki.NodeValid
	}
	if c.AbandonAfter == 0 {
		c.AbandonAfter = 2 * time.Minute
	}
	if c.MoveBytesPerSecond == 0 {
		c.MoveBytesPerSecond = 64 << 20
	}
	id, ok, err := LoadIdentity(c.FS, c.Dir)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, fault.New("open", fault.NotFound, "%s is no node of a cluster: `kimberlite cluster init` or `kimberlite node join` makes it one", c.Dir)
	}
	n := &Node{
		c: c, identity: id, addresses: id.Addresses.over(c.Addresses), fs: c.FS, data: c.Dir,
		log: c.Logger.With("node", id.Node.String()), callees: map[string]callee{}, streamers: map[string]streamer{}, hosts: map[ident.ShardID]*host{},
		certificateValid: c.CertificateValid, poke: make(chan struct{}, 1),
	}
	n.ctx, n.cancel = context.WithCancel(context.Background())
	f := newFiles(c.FS, c.Dir)
	if err := f.finishPair(); err != nil {
		return nil, err
	}
	if n.creds, err = f.loadCredentials(); err != nil {
		return nil, err
	}
	if err := n.marks.load(f); err != nil {
		return nil, err
	}
	n.dir = directory.New(directory.Options{
		Node: id.Node, Forward: forwarder{n}, Fetch: directoryFetcher{n}, OnChange: func(replication.Status) { n.wake() }, Logger: n.log,
	})
	n.net, err = peer.New(peer.Options{
		Self: n.Self(), Certificate: n.creds.certificate, Roots: n.creds.roots, Resolve: n.resolve,
		Receive: n.receive, Lost: n.lost, Allowed: n.allowed, Logger: n.log, Dial: c.Dial,
	})
	if err != nil {
		return nil, err
	}
	n.handle()
	return n, nil
}

// handle says who answers which calls of other nodes.
func (n *Node) handle() {
	n.net.HandleJoin(http.HandlerFunc(n.serveJoin))
	answer(n, "sign", n.serveSign)
	answer(n, "renew", n.serveRenew)
	answer(n, "rotate", n.serveRotate)
	answer(n, "directory", n.serveDirectory)
	answer(n, "applied", n.serveApplied)
	n.handleShards()
	n.handleKeys()
	n.handleReports()
	n.handleMoves()
}

// Self returns the node's id, region and deployment.
func (n *Node) Self() peer.Self {
	return peer.Self{Node: n.identity.Node, Region: n.identity.Region, Deployment: n.identity.Deployment}
}

// Directory returns this node's copy of the directory.
func (n *Node) Directory() *directory.Directory { return n.dir }

// Network returns the node's connections with the others.
func (n *Node) Network() *peer.Network { return n.net }

// resolve says where a node is: as the directory has it, or before there is
// one as this node's identity does.
func (n *Node) resolve(id ident.NodeID) (peer.Address, bool) {
	if o, ok := n.dir.Node(id); ok {
		return peer.Address{Host: o.PeerAddr, Region: o.Region}, o.State != directory.NodeRemoved
	}
	for _, s := range n.identity.Seeds {
		if s.Node == id {
			return peer.Address{Host: s.Addr, Region: s.Region}, true
		}
	}
	return peer.Address{}, false
}

// allowed says whether a node may talk to this one. One that the directory
// does not have is newer than this node's copy: its certificate speaks for it.
func (n *Node) allowed(id ident.NodeID) bool {
	o, ok := n.dir.Node(id)
	return !ok || o.State != directory.NodeRemoved
}

func (n *Node) receive(from ident.NodeID, m replication.Message) {
	if s := n.store.Load(); s != nil {
		s.Receive(from, m)
	}
}

func (n *Node) lost(id ident.NodeID) {
	n.routes.forgetNode(id)
	if s := n.store.Load(); s != nil {
		s.Unreachable(id)
	}
}

// Start opens the directory and begins to host what it says. The directory's
// copy may be old or empty for a while after; see Ready.
func (n *Node) Start(ctx context.Context, parts Parts) error {
	n.parts = parts
	n.store.Store(parts.Store)
	l := n.c.Listener
	if l == nil {
		var err error
		if l, err = (&net.ListenConfig{}).Listen(ctx, "tcp", n.addresses.Listen); err != nil {
			return fault.Wrap("open", fault.Unavailable, err, "cannot listen for peers on %s", n.addresses.Listen)
		}
	}
	n.wg.Go(func() {
		if err := n.net.Serve(n.ctx, l); err != nil && n.ctx.Err() == nil {
			n.log.Error("the port for peers failed", "error", err.Error())
		}
	})
	o := directory.OpenOptions{Store: parts.Store, Join: !n.identity.Founder}
	if n.identity.Founder {
		o.Members = []replication.Replica{{ID: directory.ReplicaOf(n.identity.Node), Node: n.identity.Node}}
	}
	if err := n.dir.Open(o); err != nil {
		return err
	}
	if n.identity.Founder && n.dir.Deployment().ID == "" {
		if err := n.found(ctx); err != nil {
			return err
		}
	}
	if err := n.converge(ctx); err != nil {
		return err
	}
	n.wg.Go(n.loop)
	return nil
}

// found makes the deployment in the directory.
func (n *Node) found(ctx context.Context) error {
	_, err := n.dir.Propose(ctx, directory.Bootstrap{
		Deployment: n.identity.Deployment, Region: n.identity.Region,
		NodeAddresses: n.addresses.directory(true), CA: n.creds.bundle.Load().PEM(),
	})
	return err
}

// Ready says why the node can do nothing yet, or nil.
func (n *Node) Ready() error {
	if n.ready.Load() {
		return nil
	}
	return fault.New("cluster", fault.Unavailable, "the node has no copy of the directory yet: other nodes of the deployment must be running")
}

// Close hands over what this node leads, closes its shards and the directory,
// and ends the network. It waits for what runs until ctx ends.
func (n *Node) Close(ctx context.Context) error {
	n.stepDown(ctx)
	n.cancel()
	n.wg.Wait()
	var errs []error
	n.hostsMu.Lock()
	hosts := n.hosts
	n.hosts = map[ident.ShardID]*host{}
	n.hostsMu.Unlock()
	for _, h := range hosts {
		errs = append(errs, h.close(ctx))
	}
	errs = append(errs, n.dir.Close(), n.net.Close())
	return errors.Join(errs...)
}

// wake has the loop look at the directory and at leaders soon.
func (n *Node) wake() {
	select {
	case n.poke <- struct{}{}:
	default:
	}
	n.routes.changed()
}

// forwarder carries commands to the directory's leader.
type forwarder struct{ n *Node }

type directoryCall struct {
	Command []byte `json:"command"`
}

type directoryAnswer struct {
	Result []byte `json:"result"`
}

// Forward implements directory.Forwarder.
func (f forwarder) Forward(ctx context.Context, to ident.NodeID, command []byte) ([]byte, error) {
	a, err := ask[directoryAnswer](ctx, f.n, to, "directory", directoryCall{command})
	return a.Result, err
}

func (n *Node) serveDirectory(ctx context.Context, _ peer.Peer, c directoryCall) (directoryAnswer, error) {
	return directoryAnswer{n.dir.Serve(ctx, c.Command)}, nil
}
