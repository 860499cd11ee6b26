package node_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"kimberlite/internal/cluster"
	"kimberlite/internal/disk"
	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/kms"
	"kimberlite/internal/node"
	"kimberlite/internal/tenant"
)

// deployment is a cluster whose nodes are in this process, each with its own
// directory and port on loopback.
type deployment struct {
	t     *testing.T
	root  string
	made  int
	key   string     // the master key's URL, the same for all
	mu    sync.Mutex // guards nodes and what is hidden while a load runs
	nodes []*member
}

type member struct {
	d      *deployment
	dir    string
	addr   string
	region ident.Region
	zone   string
	n      *node.Node    // nil while it is down
	hidden bool          // from clients
	gone   chan struct{} // closed when a killed one has let go of its directory
	wire   *wire
}

func region(t testing.TB, name string) ident.Region {
	t.Helper()
	r, err := ident.NewRegion(name)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// deploy starts a deployment with nodes in regions; the first is its founder.
func deploy(t *testing.T, regions ...string) *deployment {
	t.Helper()
	d := &deployment{t: t, root: t.TempDir()}
	path := filepath.Join(d.root, "master.key")
	if err := kms.CreateFileKey(path); err != nil {
		t.Fatal(err)
	}
	d.key = "file:" + path
	t.Cleanup(func() {
		for _, m := range d.nodes {
			m.stop()
		}
	})
	for _, r := range regions {
		d.add(r)
	}
	return d
}

// freePort returns an address on loopback that nobody listens on.
func freePort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// add makes a node in a region and starts it.
func (d *deployment) add(name string) *member {
	d.t.Helper()
	m := &member{d: d, region: region(d.t, name), addr: freePort(d.t), zone: fmt.Sprint("zone-", len(d.nodes)%3)}
	d.made++
	m.dir = filepath.Join(d.root, fmt.Sprint("node-", d.made))
	a := cluster.Addresses{Listen: m.addr, Zone: m.zone, Version: "test"}
	if len(d.nodes) == 0 {
		_, err := cluster.Init(d.t.Context(), cluster.InitConfig{FS: disk.OS{}, Dir: m.dir, Region: m.region, Addresses: a})
		if err != nil {
			d.t.Fatal(err)
		}
	} else {
		secret, _, err := d.some().n.Cluster().CreateToken(d.t.Context(), m.region, 0)
		if err != nil {
			d.t.Fatal(err)
		}
		if _, err := cluster.Join(d.t.Context(), cluster.JoinConfig{FS: disk.OS{}, Dir: m.dir, Secret: secret, Addresses: a}); err != nil {
			d.t.Fatal(err)
		}
	}
	m.hidden = true
	d.mu.Lock()
	d.nodes = append(d.nodes, m)
	d.mu.Unlock()
	d.back(m)
	return m
}

// logger writes to the file that KIMBERLITE_TEST_LOG names, if it does.
func logger(t testing.TB) *slog.Logger {
	path := os.Getenv("KIMBERLITE_TEST_LOG")
	if path == "" {
		return nil
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	return slog.New(slog.NewTextHandler(f, nil))
}

// start opens the node and waits until it knows the deployment.
func (m *member) start() {
	m.d.t.Helper()
	if m.gone != nil {
		<-m.gone
	}
	l, err := net.Listen("tcp", m.addr)
	if err != nil {
		m.d.t.Fatal(err)
	}
	m.wire = newWire(l)
	n, err := node.Open(m.d.t.Context(), node.Config{
		Dir: m.dir, MasterKey: m.d.key, Logger: logger(m.d.t), ReserveBytes: -1, CheckpointInterval: time.Second,
		Cluster: cluster.Config{Dial: m.wire.dial, Listener: m.wire, AbandonAfter: 7 * time.Second},
	})
	if err != nil {
		m.d.t.Fatal(err)
	}
	m.d.mu.Lock()
	m.n = n
	m.d.mu.Unlock()
	m.d.wait("the node to be ready", func() error { return n.Cluster().Ready() })
}

func (m *member) stop() {
	if m.n == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := m.n.Close(ctx); err != nil {
		m.d.t.Errorf("closing %s: %v", m.dir, err)
	}
	m.n = nil
}

// kill ends the node as a power cut would, as far as the others can tell.
func (m *member) kill() {
	m.wire.Cut()
	m.d.mu.Lock()
	n := m.n
	m.n = nil
	m.d.mu.Unlock()
	done := make(chan struct{})
	go func() {
		defer close(done)
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		_ = n.Close(ctx) // nobody hears of it
	}()
	m.d.t.Cleanup(func() { <-done })
	m.gone = done
}

func (m *member) id() ident.NodeID { return m.n.Cluster().Self().Node }

// some returns a node that is up.
func (d *deployment) some() *member { return d.other(nil) }

// other returns a node that is up, and not m.
func (d *deployment) other(m *member) *member {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, o := range d.nodes {
		if o != m && o.n != nil && !o.hidden {
			return o
		}
	}
	d.t.Fatal("no node is up")
	return nil
}

// up returns the nodes that clients may ask.
func (d *deployment) up() []*node.Node {
	d.mu.Lock()
	defer d.mu.Unlock()
	var all []*node.Node
	for _, m := range d.nodes {
		if m.n != nil && !m.hidden {
			all = append(all, m.n)
		}
	}
	return all
}

// drop forgets a node that never comes back.
func (d *deployment) drop(m *member) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.nodes = slices.DeleteFunc(d.nodes, func(o *member) bool { return o == m })
}

// numbered returns the node with an id that clients may ask.
func (d *deployment) numbered(id ident.NodeID) *member {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, m := range d.nodes {
		if m.n != nil && !m.hidden && m.id() == id {
			return m
		}
	}
	return nil
}

// wait polls until f returns nil.
func (d *deployment) wait(what string, f func() error) {
	d.t.Helper()
	waitFor(d.t, what, 30*time.Second, f)
}

func waitFor(t testing.TB, what string, limit time.Duration, f func() error) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("waited %s for %s: %v", limit, what, err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// shard makes a shard in a region.
func (d *deployment) shard(name string) ident.ShardID {
	d.t.Helper()
	st, err := d.some().n.Cluster().CreateShard(d.t.Context(), region(d.t, name), 0, nil)
	if err != nil {
		d.t.Fatal(err)
	}
	if st.Leader.IsZero() {
		d.t.Fatalf("shard %s has no leader", st.ID)
	}
	return st.ID
}

// leader returns the node that serves a tenant.
func (d *deployment) leader(id uint64) *member {
	d.t.Helper()
	var m *member
	d.wait("a leader", func() error {
		at, err := d.some().n.Where(d.t.Context(), ident.MustTenantID(id))
		if err != nil {
			return err
		}
		if m = d.numbered(at.Leader); m == nil {
			return fmt.Errorf("node %s is down", at.Leader)
		}
		_, err = m.n.Tenant(ident.MustTenantID(id))
		return err
	})
	return m
}

// tenant creates a tenant from a node as the doors do: again where Misrouted
// says.
func (d *deployment) tenant(from *member, id uint64, name string) {
	d.t.Helper()
	d.create(from, tenant.Config{ID: ident.MustTenantID(id), Name: fmt.Sprint("tenant-", id), Region: region(d.t, name)})
}

// create is tenant for any configuration.
func (d *deployment) create(from *member, c tenant.Config) {
	d.t.Helper()
	d.wait("the tenant", func() error {
		err := from.n.CreateTenant(d.t.Context(), c)
		if fault.Is(err, fault.Misrouted) {
			if m := d.numbered(leaderIn(err)); m != nil {
				from = m
			}
		}
		return err
	})
}

// exec runs a statement on whoever serves the tenant, trying again while
// nothing is known to have happened.
func (d *deployment) exec(id uint64, sql string) {
	d.t.Helper()
	d.wait(sql, func() error {
		tn, err := d.leader(id).n.Tenant(ident.MustTenantID(id))
		if err != nil {
			return err
		}
		_, err = tn.Exec(d.t.Context(), tenant.Request{}, sql, nil)
		if err != nil && !fault.Is(err, fault.Misrouted) && !fault.Is(err, fault.Unavailable) {
			d.t.Fatalf("%s: %v", sql, err)
		}
		return err
	})
}

// count returns the rows of a table, by a linearisable read.
func (d *deployment) count(id uint64, table string) (rows int64) {
	d.t.Helper()
	d.wait("a read", func() error {
		tn, err := d.leader(id).n.Tenant(ident.MustTenantID(id))
		if err != nil {
			return err
		}
		r, err := tn.Query(d.t.Context(), "SELECT count(*) FROM "+table, nil)
		if err != nil {
			return err
		}
		defer r.Close()
		if !r.Next() {
			return r.Err()
		}
		rows = r.Value(0).(int64)
		return nil
	})
	return rows
}

func TestThreeNodesMakeADeploymentThatHoldsTenants(t *testing.T) {
	d := deploy(t, "us-east", "us-east", "us-east")
	d.shard("us-east")
	d.tenant(d.nodes[2], 1, "us-east")
	d.exec(1, "CREATE TABLE t (v)")
	for i := range 20 {
		d.exec(1, fmt.Sprintf("INSERT INTO t VALUES (%d)", i))
	}
	if got := d.count(1, "t"); got != 20 {
		t.Fatalf("%d rows", got)
	}
	for _, m := range d.nodes {
		id, err := m.n.TenantNamed("tenant-1")
		if err != nil || id != ident.MustTenantID(1) {
			t.Fatalf("node %s: %v %v", m.id(), id, err)
		}
		if m == d.leader(1) {
			continue
		}
		_, err = m.n.Tenant(ident.MustTenantID(1))
		refused(t, err, fault.Misrouted)
	}
}
