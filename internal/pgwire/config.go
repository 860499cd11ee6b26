package pgwire

import (
	"crypto/tls"
	"log/slog"
	"time"

	"kimberlite/internal/access"
	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/node"
)

// Config configures a Server.
type Config struct {
	// Authority decides who may log in, and as whom.
	Authority *access.Authority
	// Node holds the tenants.
	Node *node.Node
	// Router finds the tenants that other nodes of a cluster serve; nil is a
	// node on its own.
	Router Router
	// TLS is the server's side of TLS; nil offers none, which needs
	// PlaintextOnLoopback.
	TLS *tls.Config
	// PlaintextOnLoopback allows sessions without TLS from loopback addresses.
	PlaintextOnLoopback bool
	// Limits bound connections and sessions; zero fields mean the defaults.
	Limits Limits
	// Version is Kimberlite's own, shown in server_version. "" is "dev".
	Version string
	// Logger is told of connections and failures, never of SQL or values; nil
	// is silence.
	Logger *slog.Logger
	// Observer is told what happens, for metrics; nil is nobody.
	Observer Observer
}

// Limits bound what connections may use. A zero field means the default.
type Limits struct {
	// MaxConnections bounds the connections, those that have not logged in
	// included. Default 1,000.
	MaxConnections int
	// MaxConnectionsPerTenant bounds one tenant's sessions. Default 250.
	MaxConnectionsPerTenant int
	// MaxMessageBytes is the longest message after the login. Default 64 MiB.
	MaxMessageBytes int
	// MaxStatements bounds the prepared statements of a connection, and
	// likewise its portals. Default 1,000.
	MaxStatements int
	// MaxHeldBytes bounds what the prepared statements and portals of a
	// connection hold together. Default 64 MiB.
	MaxHeldBytes int
	// LoginTimeout is how long a client has, from connecting to having logged
	// in. Default 10 s.
	LoginTimeout time.Duration
	// IdleTimeout ends a session that sends nothing outside a transaction.
	// Default 0: never.
	IdleTimeout time.Duration
	// IdleInTransaction ends a session that sends nothing inside a
	// transaction. Default 5 min. (A transaction that holds the tenant's
	// writer is rolled back sooner: see tenant.Options.)
	IdleInTransaction time.Duration
	// PortalLife is how long a suspended portal holds a reader of the tenant.
	// Default 30 s.
	PortalLife time.Duration
	// StatementTimeout is the most that SET statement_timeout may ask for,
	// and what holds where it asks for nothing. Default 0: the projection's
	// own limit.
	StatementTimeout time.Duration
	// WriteTimeout is how long a client may take to accept 64 KiB of answer.
	// Default 1 min.
	WriteTimeout time.Duration
}

// withDefaults fills the zero fields.
func (l Limits) withDefaults() Limits {
	fill(&l.MaxConnections, 1000)
	fill(&l.MaxConnectionsPerTenant, 250)
	fill(&l.MaxMessageBytes, 64<<20)
	fill(&l.MaxStatements, 1000)
	fill(&l.MaxHeldBytes, 64<<20)
	fill(&l.LoginTimeout, 10*time.Second)
	fill(&l.IdleInTransaction, 5*time.Minute)
	fill(&l.PortalLife, 30*time.Second)
	fill(&l.WriteTimeout, time.Minute)
	return l
}

func fill[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Validate says what is wrong with a configuration.
func (c Config) Validate() error {
	switch {
	case c.Authority == nil || c.Node == nil:
		return fault.New("pgwire", fault.Invalid, "the PostgreSQL door needs an authority and a node")
	case c.TLS == nil && !c.PlaintextOnLoopback:
		return fault.New("pgwire", fault.Invalid, "the PostgreSQL door needs a TLS certificate, or leave to serve loopback without one")
	case c.Limits.MaxMessageBytes < 0 || c.Limits.MaxConnections < 0 || c.Limits.MaxConnectionsPerTenant < 0 ||
		c.Limits.MaxStatements < 0 || c.Limits.MaxHeldBytes < 0:
		return fault.New("pgwire", fault.Invalid, "a limit of the PostgreSQL door is negative: give a positive number, or 0 for the default")
	}
	return nil
}

// Observer is told what happens at the door. Its methods are called by many
// goroutines at once and must be quick.
type Observer interface {
	// ConnectionOpened and ConnectionClosed frame a connection, also one that
	// never logs in.
	ConnectionOpened()
	ConnectionClosed()
	// Login is told how a login ended: nil, or why it was refused. tenant is
	// zero when it was refused before one was known.
	Login(tenant ident.TenantID, err error)
	// StatementDone is told of each statement that ended: its rows (returned
	// or changed) and nil or its error.
	StatementDone(tenant ident.TenantID, tag string, took time.Duration, rows int64, err error)
}

// nobody is the Observer where none is given.
type nobody struct{}

func (nobody) ConnectionOpened()                                                 {}
func (nobody) ConnectionClosed()                                                 {}
func (nobody) Login(ident.TenantID, error)                                       {}
func (nobody) StatementDone(ident.TenantID, string, time.Duration, int64, error) {}
