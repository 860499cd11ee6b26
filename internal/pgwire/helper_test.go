package pgwire

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"kimberlite/internal/access"
	"kimberlite/internal/credential"
	"kimberlite/internal/ident"
	"kimberlite/internal/node"
	"kimberlite/internal/tenant"
)

// door is a running server over a node in memory, with two tenants.
type door struct {
	srv      *Server
	node     *node.Node
	auth     *access.Authority
	addr     string
	roots    *x509.CertPool
	secret   string // of owner "app" of tenant 1
	reader   string // of reader "look" of tenant 1
	other    string // of owner "app" of tenant 2
	certDER  []byte
	observed *counter
}

// openDoor starts a door; limits and change adapt its configuration.
func openDoor(tb testing.TB, change func(*Config, *node.Config)) *door {
	tb.Helper()
	ctx := tb.Context()
	nc := node.Config{Dir: filepath.Join(tb.TempDir(), "data"), ReserveBytes: -1}
	d := &door{observed: &counter{}}
	cert, roots, der := selfSigned(tb)
	d.roots, d.certDER = roots, der
	c := Config{TLS: &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}, Observer: d.observed, Version: "test"}
	if os.Getenv("PGWIRE_LOG") != "" {
		c.Logger = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	if change != nil {
		change(&c, &nc)
	}
	n, err := node.Open(ctx, nc)
	check(tb, err)
	d.node = n
	for i, name := range []string{"hospital-a", "hospital-b"} {
		region, err := ident.NewRegion("us-east")
		check(tb, err)
		check(tb, n.Tenants().Create(ctx, tenant.Config{ID: ident.MustTenantID(uint64(i + 1)), Name: name, Region: region}))
	}
	d.auth, err = access.New(access.Config{Node: n})
	check(tb, err)
	d.secret = d.credential(tb, 1, "app", credential.Owner)
	d.reader = d.credential(tb, 1, "look", credential.Reader)
	d.other = d.credential(tb, 2, "app", credential.Owner)
	c.Authority, c.Node = d.auth, n
	d.srv, err = New(c)
	check(tb, err)
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	check(tb, err)
	d.addr = l.Addr().String()
	served := make(chan error, 1)
	go func() { served <- d.srv.Serve(context.Background(), l) }()
	for serving := false; !serving; { // or a short test ends before it begins
		d.srv.mu.Lock()
		serving = len(d.srv.listeners) > 0
		d.srv.mu.Unlock()
		time.Sleep(100 * time.Microsecond)
	}
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := d.srv.Shutdown(ctx); err != nil {
			tb.Errorf("shutdown: %v", err)
		}
		if err := <-served; err != nil {
			tb.Errorf("serve: %v", err)
		}
		check(tb, n.Close(ctx))
	})
	return d
}

func check(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

func (d *door) credential(tb testing.TB, id uint64, name string, role credential.Role) string {
	tb.Helper()
	secret, _, err := d.auth.Create(tb.Context(), ident.MustTenantID(id), name, role, time.Time{})
	check(tb, err)
	return secret
}

// selfSigned makes a certificate for the loopback address.
func selfSigned(tb testing.TB) (tls.Certificate, *x509.CertPool, []byte) {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(tb, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"localhost"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	check(tb, err)
	leaf, err := x509.ParseCertificate(der)
	check(tb, err)
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, pool, der
}

// config is a pgx configuration for a user.
func (d *door) config(tb testing.TB, user, secret string) *pgx.ConnConfig {
	tb.Helper()
	c, err := pgx.ParseConfig("postgres://localhost/?sslmode=require")
	check(tb, err)
	host, port, err := net.SplitHostPort(d.addr)
	check(tb, err)
	var n uint16
	_, err = fmt.Sscan(port, &n)
	check(tb, err)
	c.Host, c.Port, c.User, c.Password, c.Database = host, n, user, secret, ""
	c.TLSConfig = &tls.Config{RootCAs: d.roots, ServerName: "localhost"}
	c.Fallbacks = nil
	return c
}

// connect logs in as the owner of tenant 1.
func (d *door) connect(tb testing.TB) *pgx.Conn {
	tb.Helper()
	return d.connectAs(tb, "app@1", d.secret)
}

func (d *door) connectAs(tb testing.TB, user, secret string) *pgx.Conn {
	tb.Helper()
	conn, err := pgx.ConnectConfig(tb.Context(), d.config(tb, user, secret))
	check(tb, err)
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		_ = conn.Close(ctx)
	})
	return conn
}

// must runs a statement.
func must(tb testing.TB, conn *pgx.Conn, sql string, args ...any) pgconn.CommandTag {
	tb.Helper()
	tag, err := conn.Exec(tb.Context(), sql, args...)
	if err != nil {
		tb.Fatalf("%s: %v", sql, err)
	}
	return tag
}

// state is the SQLSTATE of an error, "" for none.
func state(err error) string {
	if err == nil {
		return ""
	}
	var e *pgconn.PgError
	if ok := asPg(err, &e); ok {
		return e.Code
	}
	return "no SQLSTATE: " + err.Error()
}

// wantState fails the test unless err has the SQLSTATE.
func wantState(tb testing.TB, err error, want string) {
	tb.Helper()
	if got := state(err); got != want {
		tb.Fatalf("SQLSTATE %s, want %s: %v", got, want, err)
	}
}

// one returns the single value of a query, as text.
func oneValue(tb testing.TB, conn *pgx.Conn, sql string, args ...any) string {
	tb.Helper()
	var v *string
	args = append([]any{pgx.QueryExecModeExec}, args...)
	if err := conn.QueryRow(tb.Context(), sql, args...).Scan(&v); err != nil {
		tb.Fatalf("%s: %v", sql, err)
	}
	if v == nil {
		return "NULL"
	}
	return *v
}

// rowsOf returns a query's rows, values joined by "|".
func rowsOf(tb testing.TB, conn *pgx.Conn, sql string) []string {
	tb.Helper()
	results, err := conn.PgConn().Exec(tb.Context(), sql).ReadAll()
	if err != nil {
		tb.Fatalf("%s: %v", sql, err)
	}
	var lines []string
	for _, r := range results {
		for _, row := range r.Rows {
			values := make([]string, len(row))
			for i, v := range row {
				values[i] = string(v)
				if v == nil {
					values[i] = "NULL"
				}
			}
			lines = append(lines, strings.Join(values, "|"))
		}
	}
	return lines
}
