package rpc

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"kimberlite/client"
	"kimberlite/internal/access"
	"kimberlite/internal/credential"
	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/node"
	"kimberlite/internal/tenant"
)

// bench is a server over a real node in a directory of its own, with tenants
// 1 and 2 and a credential of each role for both.
type bench struct {
	t         *testing.T
	node      *node.Node
	authority *access.Authority
	url       string
	ca        *x509.CertPool
	caFile    string
	log       *recorder
	observed  *observed
	// secrets are by name: "operator", "owner1", "reader2" and so on.
	secrets map[string]string
}

// recorder keeps what was logged.
type recorder struct {
	mu   sync.Mutex // guards text
	text strings.Builder
}

func (r *recorder) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.Write(p)
}

func (r *recorder) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.String()
}

// observed keeps what the observer was told.
type observed struct {
	mu     sync.Mutex // guards all below
	calls  []string
	logins []string
}

func (o *observed) Login(id ident.TenantID, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.logins = append(o.logins, id.String()+" "+outcomeText(err))
}

func (o *observed) RequestDone(_ context.Context, id ident.TenantID, method string, _ time.Duration, _ int64, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.calls = append(o.calls, method+" "+id.String()+" "+outcomeText(err))
}

func outcomeText(err error) string {
	if err == nil {
		return "ok"
	}
	return fault.KindOf(err).String()
}

var roleNames = map[string]credential.Role{
	"owner": credential.Owner, "writer": credential.Writer, "reader": credential.Reader, "auditor": credential.Auditor,
}

func newBench(t *testing.T, limits Limits) *bench {
	t.Helper()
	n, err := node.Open(t.Context(), node.Config{Dir: t.TempDir(), ReserveBytes: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	authority, err := access.New(access.Config{Node: n, Floor: -1})
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{t: t, node: n, authority: authority, secrets: map[string]string{}, log: &recorder{}, observed: &observed{}}
	if b.secrets["operator"], err = authority.CreateOperator(t.Context(), "root"); err != nil {
		t.Fatal(err)
	}
	for _, id := range []uint64{1, 2} {
		b.addTenant(id)
	}
	handler, err := New(Config{Authority: authority, Node: n, Version: "test", Logger: b.logger(), Observer: b.observed, Limits: limits})
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(handler)
	s.EnableHTTP2 = true
	s.StartTLS()
	t.Cleanup(func() {
		s.Close()
		handler.Close()
	})
	b.url = s.URL
	b.ca = x509.NewCertPool()
	b.ca.AddCert(s.Certificate())
	b.caFile = filepath.Join(t.TempDir(), "ca.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	if err := os.WriteFile(b.caFile, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *bench) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(b.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func (b *bench) addTenant(n uint64) {
	b.t.Helper()
	id, err := ident.NewTenantID(n)
	if err != nil {
		b.t.Fatal(err)
	}
	region, err := ident.NewRegion("local")
	if err != nil {
		b.t.Fatal(err)
	}
	if err := b.node.CreateTenant(b.t.Context(), tenant.Config{ID: id, Name: "hospital-" + id.String(), Region: region}); err != nil {
		b.t.Fatal(err)
	}
	for name, role := range roleNames {
		secret, _, err := b.authority.Create(b.t.Context(), id, name, role, time.Time{})
		if err != nil {
			b.t.Fatal(err)
		}
		b.secrets[name+id.String()] = secret
	}
}

// client is a client with a credential; it never repeats a call.
func (b *bench) client(who string) *client.Client {
	b.t.Helper()
	token, ok := b.secrets[who]
	if !ok {
		b.t.Fatalf("there is no credential %s", who)
	}
	c, err := client.New(client.Config{URL: b.url, Token: token, CA: b.ca, Retries: -1})
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(c.Close)
	return c
}

// tenant is a handle on tenant 1 or 2 with a credential.
func (b *bench) tenant(who string, id uint64) *client.Tenant {
	return b.client(who).Tenant(client.MustTenantID(id))
}

// must demands that there is no error.
func must[T any](v T, err error) func(t *testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// wantKind demands an error of a kind.
func wantKind(t *testing.T, err error, kind fault.Kind) {
	t.Helper()
	if err == nil || client.KindOf(err) != kind {
		t.Errorf("error %v, want one of kind %s", err, kind)
	}
}
