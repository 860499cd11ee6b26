// Package client calls a Kimberlite server over its RPC door, in the shape of
// the embedded API: a [Client] is a server, a [Tenant] a handle on one tenant
// of it.
//
//	c, err := client.New(client.Config{URL: "https://127.0.0.1:7443", Token: secret, CAFile: "ca.pem"})
//	hospital := c.Tenant(client.MustTenantID(1))
//	_, err = hospital.Exec(ctx, "INSERT INTO patients VALUES (?, ?)", 123, "Alice Smith")
//
// It guarantees that the token goes to the server of the URL alone, over TLS
// unless that is this machine; that a call which may have taken effect is never
// repeated unless it is one that takes effect once; and that errors are the
// server's own, as [*Error] values with kind, tenant and numbers. It must not
// know how the server stores anything. Programs and the command line call it.
//
// A call is repeated when the server refused it before anything was done (a
// rate limit, or a server that is not available), and, after a connection was
// lost, when it has no effect or takes effect once: see [WithIdempotencyKey].
// It waits as long as the server asks for, or ever longer from a tenth of a
// second on. A call that changes something and whose connection was lost fails
// with OutcomeUnknown when it cannot be repeated.
package client

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"time"

	"connectrpc.com/connect"

	"kimberlite/gen/kimberlite/v1/kimberlitev1connect"
	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
)

// Config says which server a client calls, and how.
type Config struct {
	// URL is of scheme, host and port, such as https://127.0.0.1:7443. http is
	// for this machine only.
	URL string
	// Token is the secret of a credential.
	Token string
	// CAFile is a PEM file with the certificates that the server's may be
	// signed by, and CA the same read already. Without both it is the system's.
	CAFile string
	CA     *x509.CertPool
	// Retries is how often a call is repeated at most. 0 is 3, -1 is never.
	Retries int
	// MaxWait bounds the wait before a repetition; a server that asks for a
	// longer one is not asked again. 0 is 10 s.
	MaxWait time.Duration
	// HTTPClient replaces the one that is made of the above. It must not
	// follow redirects with the token.
	HTTPClient *http.Client
}

// The defaults of Config, and how long connecting may take.
const (
	defaultRetries = 3
	defaultMaxWait = 10 * time.Second
	dialTimeout    = 10 * time.Second
	// maxMessage is the longest answer: a row of the longest value, and some.
	maxMessage = 64 << 20
)

// Validate says what is wrong with a configuration.
func (c *Config) Validate() error {
	u, err := url.Parse(c.URL)
	switch {
	case err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http"):
		return fault.New("client", fault.Invalid, "want a URL such as https://127.0.0.1:7443")
	case u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.Trim(u.Path, "/") != "":
		return fault.New("client", fault.Invalid, "the URL is of scheme, host and port alone")
	case u.Scheme == "http" && !isLoopback(u.Hostname()):
		return fault.New("client", fault.Invalid, "http would send the token in the clear: use https to reach %s", u.Hostname())
	case strings.ContainsAny(c.Token, " \t\r\n"):
		return fault.New("client", fault.Invalid, "the token holds a space or a line break")
	}
	return nil
}

func isLoopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || (err == nil && addr.IsLoopback())
}

// Client is one server, with the rights of one credential. It is safe for
// concurrent use.
type Client struct {
	config       Config
	http         *http.Client
	tenants      kimberlitev1connect.TenantServiceClient
	sql          kimberlitev1connect.SQLServiceClient
	transactions kimberlitev1connect.TransactionServiceClient
	streams      kimberlitev1connect.StreamServiceClient
	credentials  kimberlitev1connect.CredentialServiceClient
	keys         kimberlitev1connect.KeyServiceClient
	audit        kimberlitev1connect.AuditServiceClient
	cluster      kimberlitev1connect.ClusterServiceClient
	server       kimberlitev1connect.ServerServiceClient
}

// New returns a client. It connects with the first call.
func New(c Config) (*Client, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if c.Retries == 0 {
		c.Retries = defaultRetries
	}
	if c.MaxWait <= 0 {
		c.MaxWait = defaultMaxWait
	}
	if c.HTTPClient == nil {
		transport, err := c.transport()
		if err != nil {
			return nil, err
		}
		c.HTTPClient = &http.Client{Transport: transport, CheckRedirect: noRedirect}
	}
	base := strings.TrimRight(c.URL, "/")
	options := []connect.ClientOption{connect.WithInterceptors(bearer{c.Token}), connect.WithReadMaxBytes(maxMessage)}
	return &Client{
		config: c, http: c.HTTPClient,
		tenants:      kimberlitev1connect.NewTenantServiceClient(c.HTTPClient, base, options...),
		sql:          kimberlitev1connect.NewSQLServiceClient(c.HTTPClient, base, options...),
		transactions: kimberlitev1connect.NewTransactionServiceClient(c.HTTPClient, base, options...),
		streams:      kimberlitev1connect.NewStreamServiceClient(c.HTTPClient, base, options...),
		credentials:  kimberlitev1connect.NewCredentialServiceClient(c.HTTPClient, base, options...),
		keys:         kimberlitev1connect.NewKeyServiceClient(c.HTTPClient, base, options...),
		audit:        kimberlitev1connect.NewAuditServiceClient(c.HTTPClient, base, options...),
		cluster:      kimberlitev1connect.NewClusterServiceClient(c.HTTPClient, base, options...),
		server:       kimberlitev1connect.NewServerServiceClient(c.HTTPClient, base, options...),
	}, nil
}

// noRedirect keeps the token from going elsewhere.
func noRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

func (c *Config) transport() (*http.Transport, error) {
	pool := c.CA
	if c.CAFile != "" {
		text, err := os.ReadFile(c.CAFile)
		if err != nil {
			return nil, fault.Wrap("client", fault.Invalid, err, "the file of certificates cannot be read")
		}
		if pool == nil {
			pool = x509.NewCertPool()
		}
		if !pool.AppendCertsFromPEM(text) {
			return nil, fault.New("client", fault.Invalid, "%s holds no certificate in PEM", c.CAFile)
		}
	}
	return &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: dialTimeout}).DialContext,
		TLSHandshakeTimeout: dialTimeout,
		TLSClientConfig:     &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12},
		ForceAttemptHTTP2:   true,
		MaxIdleConnsPerHost: 16,
		IdleConnTimeout:     90 * time.Second,
	}, nil
}

// Close closes the connections that stand idle. Calls that run go on.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Tenant returns a handle on a tenant. It does not ask whether there is one.
func (c *Client) Tenant(id TenantID) *Tenant { return &Tenant{c, id} }

// Tenant is a handle on one tenant. It is safe for concurrent use.
type Tenant struct {
	c  *Client
	id TenantID
}

// ID returns the tenant's id.
func (t *Tenant) ID() TenantID { return t.id }

// The identifiers, as of the embedded API.
type (
	// TenantID names one tenant: any 64-bit number but 0.
	TenantID = ident.TenantID
	// Offset is a place in a log or in a stream, from 0.
	Offset = ident.Offset
	// StreamID names one stream of one tenant.
	StreamID = ident.StreamID
	// ShardID names one replicated group.
	ShardID = ident.ShardID
	// KeyGeneration counts a tenant's DEKs, or its KEKs, from 1.
	KeyGeneration = ident.KeyGeneration
)

// NewTenantID returns the tenant id n; 0 is refused.
func NewTenantID(n uint64) (TenantID, error) { return ident.NewTenantID(n) }

// MustTenantID is [NewTenantID] for constants; it panics on 0.
func MustTenantID(n uint64) TenantID {
	id, err := ident.NewTenantID(n)
	if err != nil {
		panic(err)
	}
	return id
}

// NewOffset returns offset n.
func NewOffset(n uint64) Offset { return ident.NewOffset(n) }

// Error is the one type of Kimberlite's errors.
type Error = fault.Error

// Kind says what sort of failure an error is.
type Kind = fault.Kind

// KindOf returns the kind of an error; err must not be nil.
func KindOf(err error) Kind { return fault.KindOf(err) }
