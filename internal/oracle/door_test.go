package oracle_test

import (
	"context"
	"net"
	"path/filepath"
	"testing"
	"time"

	"kimberlite/internal/access"
	"kimberlite/internal/credential"
	"kimberlite/internal/ident"
	"kimberlite/internal/node"
	"kimberlite/internal/pgwire"
	"kimberlite/internal/tenant"
)

// shutdownLimit is how long a door may take to close.
const shutdownLimit = 10 * time.Second

// door is a PostgreSQL door of Kimberlite in this process, on loopback and
// without TLS, over a data directory of the test's own.
type door struct {
	node      *node.Node
	authority *access.Authority
	port      string
}

func openDoor(t *testing.T) *door {
	t.Helper()
	n, err := node.Open(t.Context(), node.Config{Dir: filepath.Join(t.TempDir(), "data"), ReserveBytes: -1})
	check(t, err)
	d := &door{node: n}
	d.authority, err = access.New(access.Config{Node: n})
	check(t, err)
	server, err := pgwire.New(pgwire.Config{Authority: d.authority, Node: n, PlaintextOnLoopback: true})
	check(t, err)
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	check(t, err)
	_, d.port, err = net.SplitHostPort(l.Addr().String())
	check(t, err)
	served := make(chan error, 1)
	go func() { served <- server.Serve(context.Background(), l) }() // ends with Shutdown
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), shutdownLimit)
		defer cancel()
		if err := server.Shutdown(ctx); err != nil {
			t.Errorf("shutdown: %v", err)
		}
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
		check(t, n.Close(ctx))
	})
	return d
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// tenant makes a tenant and returns libpq's variables for its owner.
func (d *door) tenant(t *testing.T, id uint64, name string) map[string]string {
	t.Helper()
	region, err := ident.NewRegion("us-east")
	check(t, err)
	tenantID := ident.MustTenantID(id)
	check(t, d.node.CreateTenant(t.Context(), tenant.Config{ID: tenantID, Name: name, Region: region}))
	secret, _, err := d.authority.Create(t.Context(), tenantID, "app", credential.Owner, time.Time{})
	check(t, err)
	return map[string]string{
		"PGHOST": "127.0.0.1", "PGPORT": d.port, "PGUSER": "app@" + name, "PGPASSWORD": secret, "PGDATABASE": name, "PGSSLMODE": "disable",
	}
}
