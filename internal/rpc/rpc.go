// Package rpc is the door for Connect, gRPC and gRPC-Web: the services of
// proto/kimberlite/v1 over HTTP, callable with curl as JSON.
//
// It guarantees that no message is read before the bearer token proved a
// credential, that an operator reaches no row, stream or statement of a
// tenant, that a tenant's principal is refused the same way whether another
// tenant exists or not, that a method which no rule names is refused, and that
// a call ends when its credential does. Errors carry a detail that a client
// rebuilds them from; no row, argument or secret is in any error or log line.
// It must not know where it is served, nor about TLS. Package server serves
// it; package client is its other end.
package rpc

import (
	"context"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"connectrpc.com/connect"
	"connectrpc.com/grpchealth"
	"connectrpc.com/grpcreflect"

	v1 "kimberlite/gen/kimberlite/v1/kimberlitev1connect"
	"kimberlite/internal/access"
	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/node"
)

// Observer is told what happens at the door. It must be quick and safe for
// concurrent use.
type Observer interface {
	// Login tells of a token that was checked: err is nil, or why it was
	// refused. The tenant is zero for an operator, and where nothing was proved.
	Login(tenant ident.TenantID, err error)
	// RequestDone tells of a call that ended. method is the procedure's name;
	// rows counts those that were sent.
	RequestDone(ctx context.Context, tenant ident.TenantID, method string, took time.Duration, rows int64, err error)
}

// Limits bound what callers can occupy. Zero values are defaults.
type Limits struct {
	// MessageBytes is the longest request. 0 is 32 MiB.
	MessageBytes int
	// RequestTimeout is how long a request's body may take to arrive, and an
	// answer to be taken. 0 is 1 minute.
	RequestTimeout time.Duration
	// TransactionIdle is how long a transaction may stand without a call. 0 is
	// 5 minutes; one that holds its tenant's writer has the node's limit, too.
	TransactionIdle time.Duration
	// TenantTransactions and TenantTails bound the transactions that are open,
	// and the tails that run, for one tenant at once. 0 is 100.
	TenantTransactions int
	TenantTails        int
}

func (l *Limits) fill() {
	set(&l.MessageBytes, 32<<20)
	set(&l.RequestTimeout, time.Minute)
	set(&l.TransactionIdle, 5*time.Minute)
	set(&l.TenantTransactions, 100)
	set(&l.TenantTails, 100)
}

func set[T int | time.Duration](to *T, value T) {
	if *to <= 0 {
		*to = value
	}
}

// Config is what a handler is made of.
type Config struct {
	Authority *access.Authority
	Node      *node.Node
	// Cluster is nil for a server that is no member of one.
	Cluster Cluster
	// Peers pass calls on to the nodes that can serve them, and Self is this
	// one; nil for a server that is no member of a cluster.
	Peers Peers
	Self  ident.NodeID
	// Logger is told of failures of the server; nil logs nothing.
	Logger *slog.Logger
	// Version is what GetVersion says.
	Version string
	// Observer may be nil.
	Observer Observer
	Limits   Limits
	// Ready says why the server takes no calls at the moment, for readiness
	// probes; nil is always ready.
	Ready func() error
}

// door is the handler's parts.
type door struct {
	authority *access.Authority
	node      *node.Node
	cluster   Cluster // nil when there is none
	peers     Peers   // likewise
	self      ident.NodeID
	errors    *connect.ErrorWriter
	log       *slog.Logger
	version   string
	observer  Observer
	limits    Limits
	ready     func() error
	started   time.Time

	transactions *transactions
	tails        *tally
	outcomes     *outcomes
}

// Handler serves all services, health checks and reflection.
type Handler struct {
	http.Handler
	d      *door
	routes http.Handler // inside a call
}

// Close begins no transactions any more and rolls those back that are open,
// so that the node can close. It is called once no calls are taken; calling
// it again does nothing.
func (h *Handler) Close() { h.d.closeTransactions() }

// New returns a handler. Close it before the node.
func New(c Config) (*Handler, error) {
	if c.Authority == nil || c.Node == nil {
		return nil, fault.New("rpc", fault.Internal, "the handler needs an authority and a node")
	}
	c.Limits.fill()
	d := &door{
		authority: c.Authority, node: c.Node, cluster: c.Cluster, peers: c.Peers, self: c.Self, errors: connect.NewErrorWriter(), log: c.Logger, version: c.Version, observer: c.Observer,
		limits: c.Limits, ready: c.Ready, started: time.Now(),
		tails:    newTally(c.Limits.TenantTails),
		outcomes: newOutcomes(),
	}
	d.transactions = newTransactions(c.Limits)
	if d.log == nil {
		d.log = slog.New(slog.DiscardHandler)
	}
	routes := http.Handler(d.routes())
	outer := routes
	if d.peers != nil {
		outer = d.withRoute(routes)
	}
	return &Handler{Handler: d.withCall(outer, remoteAddress), d: d, routes: routes}, nil
}

// routes returns all paths of the door.
func (d *door) routes() *http.ServeMux {
	options := []connect.HandlerOption{
		connect.WithReadMaxBytes(d.limits.MessageBytes),
		connect.WithRequestGate(d.gate),
		connect.WithInterceptors(interceptor{d}),
	}
	mux := http.NewServeMux()
	mux.Handle(v1.NewTenantServiceHandler(tenantService{d}, options...))
	mux.Handle(v1.NewSQLServiceHandler(sqlService{d}, options...))
	mux.Handle(v1.NewTransactionServiceHandler(transactionService{d}, options...))
	mux.Handle(v1.NewStreamServiceHandler(streamService{d}, options...))
	mux.Handle(v1.NewCredentialServiceHandler(credentialService{d}, options...))
	mux.Handle(v1.NewKeyServiceHandler(keyService{d}, options...))
	mux.Handle(v1.NewAuditServiceHandler(auditService{d}, options...))
	mux.Handle(v1.NewClusterServiceHandler(clusterService{d}, options...))
	mux.Handle(v1.NewServerServiceHandler(serverService{d}, options...))
	reflector := grpcreflect.NewStaticReflector(serviceNames...)
	mux.Handle(grpcreflect.NewHandlerV1(reflector, options...))
	mux.Handle(grpcreflect.NewHandlerV1Alpha(reflector, options...))
	// Health is for probes, which have no credential.
	mux.Handle(grpchealth.NewHandler(health{d}, connect.WithReadMaxBytes(1<<10)))
	mux.HandleFunc("GET /healthz", d.serveHealth)
	mux.HandleFunc("GET /readyz", d.serveReady)
	return mux
}

// serviceNames are the services that reflection describes.
var serviceNames = []string{
	v1.TenantServiceName, v1.SQLServiceName, v1.TransactionServiceName, v1.StreamServiceName,
	v1.CredentialServiceName, v1.KeyServiceName, v1.AuditServiceName, v1.ClusterServiceName,
	v1.ServerServiceName,
	grpchealth.HealthV1ServiceName,
}

// isRPC says whether a path is of a service.
func isRPC(path string) bool { return strings.HasPrefix(path, "/kimberlite.v1.") }
