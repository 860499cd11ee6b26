package node_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"kimberlite/internal/cluster"
	"kimberlite/internal/directory"
	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/quota"
	"kimberlite/internal/shard"
	"kimberlite/internal/tenant"
)

func (d *deployment) move(id uint64, to ident.ShardID) cluster.Move {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(d.t.Context(), 60*time.Second)
	defer cancel()
	m, err := d.some().n.Cluster().MoveTenant(ctx, ident.MustTenantID(id), to, nil)
	if err != nil {
		d.t.Fatalf("%v (%+v)", err, m)
	}
	return m
}

// onlyIn demands that a tenant's files, state and keys are on the nodes of one
// shard and nowhere else.
func (d *deployment) onlyIn(id uint64, s ident.ShardID) {
	d.t.Helper()
	d.wait("the tenant to be in its shard alone", func() error {
		r, err := d.some().n.Cluster().Residency(d.t.Context(), []ident.TenantID{ident.MustTenantID(id)})
		if err != nil {
			return err
		}
		sh, _ := d.some().n.Cluster().Directory().Shard(s)
		places := r.Tenants[0].Places
		if len(places) != len(sh.Want) {
			return fmt.Errorf("%+v", places)
		}
		for _, p := range places {
			if _, ok := sh.On(p.Node); !ok || p.Shard != s || !p.Key || p.Outside {
				return fmt.Errorf("%+v", p)
			}
		}
		return nil
	})
}

func TestATenantMovesWhileItIsWrittenTo(t *testing.T) {
	d := deploy(t, "us-east", "us-east", "us-east", "us-east")
	from := d.shard("us-east")
	d.tenant(d.nodes[0], 1, "us-east")
	to := d.shard("us-east")
	d.exec(1, "CREATE TABLE t (v)")
	limits := quota.Limits{MaxLogBytes: 1 << 30, MaxOpsPerSec: 100_000}
	if err := d.leader(1).n.SetTenant(t.Context(), ident.MustTenantID(1), shard.Change{Limits: &limits}); err != nil {
		t.Fatal(err)
	}
	before := d.state(1)
	l := d.load(1)
	l.more(100)
	for i := range 4 {
		target := to
		if i%2 == 1 {
			target = from
		}
		m := d.move(1, target)
		t.Logf("move %d: %+v", i, m)
		if m.Fenced > time.Second {
			t.Errorf("writes waited %s", m.Fenced)
		}
		l.more(20)
	}
	_, worst := l.stop()
	t.Logf("the longest pause between two acknowledged rows was %s", worst)
	l.whole()
	after := d.state(1)
	if after.Limits != limits || after.Name != before.Name || !after.Created.Equal(before.Created) || after.Log.Next.Uint64() <= before.Log.Next.Uint64() {
		t.Fatalf("%+v became %+v", before, after)
	}
	d.onlyIn(1, from)
	d.chain(1)
}

func TestANodeThatLeadsBothShardsMovesATenantBetweenThem(t *testing.T) {
	d := deploy(t, "us-east")
	from := d.shard("us-east")
	d.tenant(d.nodes[0], 1, "us-east")
	to := d.shard("us-east")
	d.exec(1, "CREATE TABLE t (v)")
	l := d.load(1)
	l.more(50)
	for _, s := range []ident.ShardID{to, from} {
		if m := d.move(1, s); m.Attempts != 1 {
			t.Errorf("it took %d attempts: %+v", m.Attempts, m)
		}
		l.more(10)
	}
	l.whole()
	d.onlyIn(1, from)
	d.chain(1)
}

// state returns a tenant's state as its leader has it.
func (d *deployment) state(id uint64) (st shard.TenantState) {
	d.t.Helper()
	d.wait("the tenant's state", func() (err error) {
		st, _, err = d.leader(id).n.State(ident.MustTenantID(id))
		return err
	})
	return st
}

// chain verifies a tenant's chain on its leader.
func (d *deployment) chain(id uint64) {
	d.t.Helper()
	tn := d.leader(id)
	if err := tn.n.Checkpoint(d.t.Context()); err != nil {
		d.t.Fatal(err)
	}
	if _, err := tn.n.Holder(ident.MustTenantID(id)); err != nil {
		d.t.Fatal(err)
	}
	h, err := tn.n.Tenant(ident.MustTenantID(id))
	if err != nil {
		d.t.Fatal(err)
	}
	was, err := h.TableHash(d.t.Context())
	if err != nil {
		d.t.Fatal(err)
	}
	if err := h.Rebuild(d.t.Context()); err != nil { // reads the whole log
		d.t.Fatal(err)
	}
	if is, err := h.TableHash(d.t.Context()); err != nil || is != was {
		d.t.Fatalf("rebuilt from its log the tenant is another one: %v", err)
	}
}

var errCrash = errors.New("crashed here")

func TestAMoveThatIsInterruptedAtAnyStepEndsWithOneOwner(t *testing.T) {
	for _, step := range []string{"begun", "copied", "fenced", "retired", "flipped", "activated", "released"} {
		t.Run(step, func(t *testing.T) {
			if testing.Short() && step != "retired" && step != "flipped" {
				t.Skip("a long test")
			}
			d := deploy(t, "us-east", "us-east", "us-east")
			d.shard("us-east")
			d.tenant(d.nodes[0], 1, "us-east")
			to := d.shard("us-east")
			d.exec(1, "CREATE TABLE t (v)")
			l := d.load(1)
			l.more(30)
			// Whoever drives the move is cut off when it gets to the step.
			var once sync.Once
			died := make(chan *member, 1)
			for _, m := range d.nodes {
				m.n.Cluster().CrashMoves(func(at string, _ directory.Tenant) error {
					if at != step {
						return nil
					}
					first := false
					once.Do(func() { first = true; died <- m })
					if first {
						m.wire.Cut()
						return errCrash
					}
					return nil
				})
			}
			ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
			_, err := d.some().n.Cluster().MoveTenant(ctx, ident.MustTenantID(1), to, nil)
			cancel()
			t.Logf("asked: %v", err)
			dead := <-died
			d.remove(dead).kill()
			l.more(20) // it is served by somebody
			d.wait("the move to end", func() error {
				at, ok := d.some().n.Cluster().Directory().Tenant(ident.MustTenantID(1))
				if !ok || at.State != directory.TenantActive && at.State != directory.TenantReleasing {
					return fmt.Errorf("%+v", at)
				}
				return nil
			})
			l.more(20)
			d.back(dead)
			d.wait("the move to be settled", func() error {
				if left := d.some().n.Cluster().Directory().Unsettled(); len(left) > 0 {
					return fmt.Errorf("%+v", left)
				}
				return nil
			})
			l.more(20)
			l.whole()
			at, _ := d.some().n.Cluster().Directory().Tenant(ident.MustTenantID(1))
			t.Logf("it ended in shard %s", at.Shard)
			d.onlyIn(1, at.Shard)
			d.chain(1)
		})
	}
}

func TestNothingOfATenantLeavesItsRegion(t *testing.T) {
	d := deploy(t, "us-east", "us-east", "us-east", "eu-west", "eu-west", "eu-west")
	us, eu := d.shard("us-east"), d.shard("eu-west")
	for i := range uint64(3) {
		d.tenant(d.nodes[5], 1+i, "us-east") // asked in the other region
		d.tenant(d.nodes[0], 11+i, "eu-west")
		for _, id := range []uint64{1 + i, 11 + i} {
			d.exec(id, "CREATE TABLE t (v)")
			d.exec(id, "INSERT INTO t VALUES (1)")
		}
	}
	c := d.nodes[1].n.Cluster()
	if _, err := c.MoveTenant(t.Context(), ident.MustTenantID(1), eu, nil); !fault.Is(err, fault.Denied) {
		t.Errorf("a move across: %v", err)
	}
	if _, err := c.CreateShard(t.Context(), region(t, "us-east"), 0, []ident.NodeID{d.nodes[0].id(), d.nodes[3].id()}); !fault.Is(err, fault.Denied) {
		t.Errorf("a shard over two regions: %v", err)
	}
	err := d.nodes[0].n.CreateTenant(t.Context(), tenant.Config{ID: ident.MustTenantID(99), Name: "x", Region: region(t, "ap-south")})
	refused(t, err, fault.NotFound, "ap-south")
	for i := range uint64(3) {
		d.onlyIn(1+i, us)
		d.onlyIn(11+i, eu)
	}
	r, err := c.Residency(t.Context(), nil)
	if err != nil || r.Outside != 0 || len(r.Unreached) != 0 || len(r.Tenants) != 6 {
		t.Fatalf("%+v %v", r, err)
	}
	// Voters are in both regions, every node has the directory.
	d.wait("voters in both regions", func() error {
		st, err := c.Status(t.Context())
		if err != nil {
			return err
		}
		voters := map[ident.Region]int{}
		for _, m := range st.Directory.Members {
			if o, ok := c.Directory().Node(m.Node); ok && !m.Learner {
				voters[o.Region]++
			}
		}
		if len(st.Directory.Members) != 6 || len(voters) != 2 {
			return fmt.Errorf("%d members, voters %v", len(st.Directory.Members), voters)
		}
		return nil
	})
}
