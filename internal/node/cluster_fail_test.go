package node_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/tenant"
)

// load writes rows of a tenant, one after another, trying each again until it
// is known to be there. Rows carry a key, so that none is there twice.
type load struct {
	d      *deployment
	id     ident.TenantID
	cancel context.CancelFunc
	done   sync.WaitGroup

	mu      sync.Mutex // guards the fields below
	acked   int64
	last    time.Time
	worst   time.Duration // the longest time between two acknowledgements
	problem error
}

func (d *deployment) load(id uint64) *load {
	d.t.Helper()
	l := &load{d: d, id: ident.MustTenantID(id), last: time.Now()}
	ctx, cancel := context.WithCancel(d.t.Context())
	l.cancel = cancel
	l.done.Go(func() { l.run(ctx) })
	d.t.Cleanup(func() { l.stop() })
	return l
}

func (l *load) run(ctx context.Context) {
	for i := 0; ctx.Err() == nil; i++ {
		for ctx.Err() == nil {
			err := l.insert(ctx, i)
			if err == nil {
				break
			}
			switch fault.KindOf(err) {
			case fault.Misrouted, fault.Unavailable, fault.OutcomeUnknown, fault.Timeout, fault.Conflict, fault.Closed, fault.Stopped:
				time.Sleep(5 * time.Millisecond)
			default:
				if ctx.Err() == nil {
					l.mu.Lock()
					l.problem = err
					l.mu.Unlock()
					return
				}
			}
		}
		if ctx.Err() != nil {
			return
		}
		l.mu.Lock()
		now := time.Now()
		l.acked++
		l.worst = max(l.worst, now.Sub(l.last))
		l.last = now
		l.mu.Unlock()
	}
}

func (l *load) insert(ctx context.Context, i int) error {
	for _, m := range l.d.up() {
		tn, err := m.Tenant(l.id)
		if err != nil {
			continue
		}
		// A client of a node that was cut off loses its connection, and does
		// not wait for what becomes of its statement there.
		done := make(chan error, 1)
		go func() {
			_, err := tn.Exec(ctx, tenant.Request{IdempotencyKey: fmt.Sprint("row-", i)}, "INSERT INTO t VALUES (?)", []any{int64(i)})
			done <- err
		}()
		for {
			select {
			case err := <-done:
				return err
			case <-time.After(20 * time.Millisecond):
				if !slices.Contains(l.d.up(), m) {
					return fault.New("test", fault.OutcomeUnknown, "the connection is gone")
				}
			}
		}
	}
	return fault.New("test", fault.Misrouted, "nobody leads")
}

// rows returns how many rows were acknowledged.
func (l *load) rows() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.acked
}

// more waits for so many more rows.
func (l *load) more(n int64) {
	l.d.t.Helper()
	want := l.rows() + n
	l.d.wait("more rows", func() error {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.problem != nil {
			l.d.t.Fatal(l.problem)
		}
		if l.acked < want {
			return fmt.Errorf("%d of %d", l.acked, want)
		}
		return nil
	})
}

func (l *load) stop() (rows int64, worst time.Duration) {
	l.cancel()
	l.done.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.problem != nil {
		l.d.t.Errorf("the writer: %v", l.problem)
	}
	return l.acked, l.worst
}

// whole demands that the table has every acknowledged row, once. The last one
// may be there without having been acknowledged.
func (l *load) whole() {
	l.d.t.Helper()
	rows, _ := l.stop()
	got := l.d.count(l.id.Uint64(), "t")
	if got != rows && got != rows+1 {
		l.d.t.Fatalf("%d rows, %d were acknowledged", got, rows)
	}
	if distinct := l.d.count(l.id.Uint64(), "(SELECT DISTINCT v FROM t)"); distinct != got {
		l.d.t.Fatalf("%d rows, %d of them distinct", got, distinct)
	}
}

func TestAKilledLeaderIsReplacedAndNothingAcknowledgedIsLost(t *testing.T) {
	d := deploy(t, "us-east", "us-east", "us-east")
	d.shard("us-east")
	d.tenant(d.nodes[0], 1, "us-east")
	d.exec(1, "CREATE TABLE t (v)")
	l := d.load(1)
	l.more(50)
	dead := d.leader(1)
	d.remove(dead).kill()
	began := time.Now()
	l.more(1)
	if took := time.Since(began); took > 4*time.Second { // 2 s by itself; this machine runs other tests, too
		t.Errorf("it took %s", took)
	} else {
		t.Logf("first row after %s", took)
	}
	l.more(50)
	d.back(dead)
	l.more(50)
	l.whole()
	// The one that came back catches up: with it and without another the
	// tenant is there.
	other := d.leader(1)
	if other == dead {
		other = d.nodes[0]
	}
	d.remove(other).kill()
	l.whole()
}

// remove takes a node out of those that clients ask.
func (d *deployment) remove(m *member) *member {
	d.mu.Lock()
	defer d.mu.Unlock()
	m.hidden = true
	return m
}

// back starts a node that was killed.
func (d *deployment) back(m *member) {
	d.t.Helper()
	m.start()
	d.mu.Lock()
	defer d.mu.Unlock()
	m.hidden = false
}

func TestAllNodesRestartAtOnceFromDisk(t *testing.T) {
	d := deploy(t, "us-east", "us-east", "us-east")
	d.shard("us-east")
	d.tenant(d.nodes[1], 1, "us-east")
	d.exec(1, "CREATE TABLE t (v)")
	for i := range 30 {
		d.exec(1, fmt.Sprintf("INSERT INTO t VALUES (%d)", i))
	}
	for _, m := range d.nodes {
		m.kill()
	}
	for _, m := range d.nodes {
		m.start()
	}
	if got := d.count(1, "t"); got != 30 {
		t.Fatalf("%d rows", got)
	}
	d.exec(1, "INSERT INTO t VALUES (99)")
}

func TestAWipedNodeIsReplacedByANewOne(t *testing.T) {
	d := deploy(t, "us-east", "us-east", "us-east")
	s := d.shard("us-east")
	d.tenant(d.nodes[0], 1, "us-east")
	d.exec(1, "CREATE TABLE t (v)")
	for i := range 30 {
		d.exec(1, fmt.Sprintf("INSERT INTO t VALUES (%d)", i))
	}
	dead := d.nodes[2]
	id := dead.id()
	d.remove(dead).kill()
	<-dead.gone
	if err := os.RemoveAll(dead.dir); err != nil {
		t.Fatal(err)
	}
	d.drop(dead)
	d.add("us-east")
	d.wait("the dead node to be taken for dead", func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		return d.some().n.Cluster().Remove(ctx, id, true)
	})
	d.members(s, 3)
	// The new one has all: it serves with one of the old ones gone.
	d.remove(d.nodes[0]).kill()
	if got := d.count(1, "t"); got != 30 {
		t.Fatalf("%d rows", got)
	}
}

// members waits until a shard has so many members, that all of them are up to
// date, and that nobody else has files of it.
func (d *deployment) members(s ident.ShardID, want int) {
	d.t.Helper()
	d.wait("the members", func() error {
		st, err := d.some().n.Cluster().Status(d.t.Context())
		if err != nil {
			return err
		}
		for _, one := range st.Shards {
			if one.ID != s {
				continue
			}
			if len(one.Members) != want {
				return fmt.Errorf("%d members", len(one.Members))
			}
			for _, m := range one.Members {
				if !m.Active || m.Learner || m.Lag > 0 || m.Snapshotting {
					return fmt.Errorf("member %+v", m)
				}
			}
			return nil
		}
		return fmt.Errorf("no shard")
	})
}

func TestADrainedNodeHasNothingLeftAndCanBeRemoved(t *testing.T) {
	d := deploy(t, "us-east", "us-east", "us-east", "us-east")
	s := d.shard("us-east")
	d.tenant(d.nodes[0], 1, "us-east")
	d.exec(1, "CREATE TABLE t (v)")
	l := d.load(1)
	l.more(20)
	// The one that hurts most, but for the holder of the authority.
	var m *member
	d.wait("a leader that can be spared", func() error {
		if m = d.leader(1); m != d.nodes[0] {
			return nil
		}
		h, err := m.n.Holder(ident.MustTenantID(1))
		if err != nil {
			return err
		}
		for _, p := range h.Status().Peers {
			if p.Active {
				_ = h.TransferLead(t.Context(), p.ID) // looked at again
				break
			}
		}
		return fmt.Errorf("the founder leads")
	})
	id := m.id()
	if err := d.other(m).n.Cluster().Remove(t.Context(), d.nodes[0].id(), true); !fault.Is(err, fault.Conflict) {
		t.Fatalf("the only holder of the authority was removed: %v", err)
	}
	asked := d.other(m)
	c := asked.n.Cluster()
	if _, err := c.Drain(t.Context(), id, false); err != nil {
		t.Fatal(err)
	}
	d.wait("the drain", func() error {
		st, err := c.DrainStatus(t.Context(), id)
		if err == nil && !st.Done {
			err = fmt.Errorf("%+v", st)
		}
		return err
	})
	d.wait("the files to go", func() error {
		r, err := c.Residency(t.Context(), []ident.TenantID{ident.MustTenantID(1)})
		if err != nil {
			return err
		}
		for _, p := range r.Tenants[0].Places {
			if p.Node == id {
				return fmt.Errorf("%+v", p)
			}
		}
		if len(r.Tenants[0].Places) != 3 || r.Outside != 0 {
			return fmt.Errorf("%+v", r)
		}
		return nil
	})
	if err := c.Remove(t.Context(), id, false); err != nil {
		t.Fatal(err)
	}
	l.more(20)
	l.whole()
	d.members(s, 3)
	// What was removed is not let in any more.
	d.wait("the removed node to be shut out", func() error {
		for _, link := range c.Network().Links() {
			if link.Node == id && link.Connected {
				return fmt.Errorf("connected")
			}
		}
		return nil
	})
}

func TestTheSmallerSideOfACutServesNothingAndTakesNothing(t *testing.T) {
	d := deploy(t, "us-east", "us-east", "us-east")
	d.shard("us-east")
	d.tenant(d.nodes[0], 1, "us-east")
	d.exec(1, "CREATE TABLE t (v)")
	d.exec(1, "INSERT INTO t VALUES (1)")
	alone := d.remove(d.leader(1))
	was, err := alone.n.Tenant(ident.MustTenantID(1))
	if err != nil {
		t.Fatal(err)
	}
	alone.wire.Cut()
	wrote := make(chan error, 1)
	go func() {
		_, err := was.Exec(t.Context(), tenant.Request{}, "INSERT INTO t VALUES (666)", nil)
		wrote <- err
	}()
	d.exec(1, "INSERT INTO t VALUES (2)") // the others go on
	if r, err := was.Query(t.Context(), "SELECT count(*) FROM t", nil); err == nil {
		if r.Next() {
			t.Errorf("a node that is cut off answered %v", r.Value(0))
		}
		r.Close()
	}
	if err := <-wrote; err == nil {
		t.Error("a node that is cut off acknowledged a write")
	}
	if err := alone.n.CreateTenant(t.Context(), tenant.Config{ID: ident.MustTenantID(9), Name: "nine", Region: region(t, "us-east")}); err == nil {
		t.Error("a node that is cut off created a tenant")
	}
	alone.wire.Mend()
	d.mu.Lock()
	alone.hidden = false
	d.mu.Unlock()
	waitFor(t, "the one that was cut off to follow", 20*time.Second, func() error { return alone.n.Cluster().InContact() })
	if got := d.count(1, "t"); got != 2 {
		t.Fatalf("%d rows", got)
	}
}
