package node_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"kimberlite/internal/cluster"
	"kimberlite/internal/disk"
	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/keyring"
	"kimberlite/internal/tenant"
)

// generations returns the KEKs of a tenant that a stopped node's disk has.
func (m *member) generations(id uint64) []ident.KeyGeneration {
	m.d.t.Helper()
	r, err := keyring.Open(keyring.Options{FS: disk.OS{}, Dir: filepath.Join(m.dir, "keyring")})
	if err != nil {
		m.d.t.Fatal(err)
	}
	defer r.Close()
	return r.Generations(ident.MustTenantID(id))
}

func TestANewKEKReachesEveryReplicaAndTheOldOneIsDestroyedEverywhere(t *testing.T) {
	d := deploy(t, "us-east", "us-east", "us-east")
	d.shard("us-east")
	d.tenant(d.nodes[0], 1, "us-east")
	d.exec(1, "CREATE TABLE t (v)")
	// One replica is away meanwhile.
	away := d.other(d.leader(1))
	d.remove(away).kill()
	d.wait("the rotation", func() error {
		h, err := d.leader(1).n.Tenant(ident.MustTenantID(1))
		if err != nil {
			return err
		}
		return h.RotateKEK(t.Context())
	})
	var named ident.KeyGeneration
	d.wait("the new generation", func() error {
		st, err := d.leader(1).n.KeyStatus(ident.MustTenantID(1))
		named = st.KEK
		return err
	})
	<-away.gone
	if got := away.generations(1); slices.Contains(got, named) || len(got) != 1 {
		t.Fatalf("the node that was away has %v, new is %s", got, named)
	}
	d.back(away)
	d.exec(1, "INSERT INTO t VALUES (1)")
	d.wait("the key to be pulled", func() error {
		r, err := d.some().n.Cluster().Residency(t.Context(), []ident.TenantID{ident.MustTenantID(1)})
		if err == nil && len(r.Tenants[0].Places) != 3 {
			err = fmt.Errorf("%+v", r)
		}
		return err
	})
	waitFor(t, "every node to hold the new KEK alone", 20*time.Second, func() error {
		for _, m := range d.nodes {
			held := m.n.Cluster().KeysHeld(ident.MustTenantID(1))
			if !slices.Equal(held, []ident.KeyGeneration{named}) {
				return fmt.Errorf("node %s holds %v, want %s alone", m.id(), held, named)
			}
		}
		return nil
	})
}

func TestATokenLetsOneNodeInAndAnInterruptedJoinGoesOn(t *testing.T) {
	d := deploy(t, "us-east")
	c := d.nodes[0].n.Cluster()
	secret, _, err := c.CreateToken(t.Context(), region(t, "us-east"), 0)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(d.root, "late")
	// The node's disk fails at its last step: the identity is not written.
	broken := &disk.Faulty{FS: disk.OS{}, Inject: func(op disk.Op, name string) error {
		if filepath.Base(name) == "identity.json.tmp" {
			return errors.New("no room")
		}
		return nil
	}}
	a := cluster.Addresses{Listen: freePort(t)}
	if _, err := cluster.Join(t.Context(), cluster.JoinConfig{FS: broken, Dir: dir, Secret: secret, Addresses: a}); err == nil {
		t.Fatal("joined without an identity")
	}
	id, err := cluster.Join(t.Context(), cluster.JoinConfig{FS: disk.OS{}, Dir: dir, Secret: secret, Addresses: a})
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Directory().Nodes()) != 2 || id.Node != c.Directory().Nodes()[1].ID {
		t.Fatalf("node %s among %+v", id.Node, c.Directory().Nodes())
	}
	// Somebody else with the same token is refused, and a second identity too.
	_, err = cluster.Join(t.Context(), cluster.JoinConfig{FS: disk.OS{}, Dir: filepath.Join(d.root, "other"), Secret: secret, Addresses: a})
	refused(t, err, fault.Unauthenticated)
	_, err = cluster.Join(t.Context(), cluster.JoinConfig{FS: disk.OS{}, Dir: dir, Secret: secret, Addresses: a})
	refused(t, err, fault.AlreadyExists)
	_, err = cluster.Init(t.Context(), cluster.InitConfig{FS: disk.OS{}, Dir: dir, Region: region(t, "us-east"), Addresses: a})
	refused(t, err, fault.AlreadyExists)
	_, err = cluster.Join(t.Context(), cluster.JoinConfig{FS: disk.OS{}, Dir: filepath.Join(d.root, "third"), Secret: "kbjoin_x", Addresses: a})
	refused(t, err, fault.Invalid)
}

func TestCertificatesAndTheirAuthorityAreReplacedWhileTheDeploymentRuns(t *testing.T) {
	d := deploy(t, "us-east", "us-east", "us-east")
	d.shard("us-east")
	d.tenant(d.nodes[0], 1, "us-east")
	d.exec(1, "CREATE TABLE t (v)")
	l := d.load(1)
	l.more(10)
	c := d.nodes[2].n.Cluster()
	renewed, err := c.RenewCertificates(t.Context(), ident.NodeID{})
	if err != nil || len(renewed) != 3 {
		t.Fatalf("%+v %v", renewed, err)
	}
	for _, r := range renewed {
		if r.Problem != "" || time.Until(r.Expires) < 24*time.Hour {
			t.Errorf("%+v", r)
		}
	}
	l.more(10)
	old, _ := c.Directory().CA()
	next, err := c.RotateAuthority(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	again, err := c.RotateAuthority(t.Context())
	if err != nil && !fault.Is(err, fault.InUse) || err == nil && again.Fingerprint != next.Fingerprint {
		t.Fatalf("a second rotation while one is under way: %+v %v", again, err)
	}
	waitFor(t, "the old authority to go", 60*time.Second, func() error {
		now, _ := c.Directory().CA()
		if len(now) > len(old)+len(old)/2 || string(now) == string(old) {
			return fmt.Errorf("%d bytes of certificates, %d before", len(now), len(old))
		}
		return nil
	})
	l.more(10)
	// A restarted node and a new one believe it, too.
	m := d.nodes[1]
	d.remove(m).kill()
	d.back(m)
	d.add("us-east")
	l.more(10)
	l.whole()
	d.wait("nothing to complain about", func() error {
		st, err := c.Status(t.Context())
		if err == nil && len(st.Problems) > 0 {
			err = fmt.Errorf("%q", st.Problems)
		}
		return err
	})
}

func TestACreationThatWasInterruptedIsFinishedOrGivenUp(t *testing.T) {
	d := deploy(t, "us-east", "us-east", "us-east")
	d.shard("us-east")
	d.tenant(d.nodes[0], 1, "us-east")
	leader := d.leader(1)
	asked := d.other(leader)
	// Asked elsewhere it is reserved, and then nobody goes on: the client died.
	c := tenant.Config{ID: ident.MustTenantID(2), Name: "two", Region: region(t, "us-east")}
	refused(t, asked.n.CreateTenant(t.Context(), c), fault.Misrouted)
	_, err := asked.n.TenantNamed("two")
	refused(t, err, fault.NotFound)
	// A client that asks again for the same gets it, whatever the others had.
	d.create(asked, c)
	if id, err := asked.n.TenantNamed("two"); err != nil || id != c.ID {
		t.Fatal(id, err)
	}
	// The same id or name again is refused, wherever it is asked.
	for _, m := range d.nodes {
		refused(t, m.n.CreateTenant(t.Context(), c), fault.AlreadyExists)
		other := c
		other.ID = ident.MustTenantID(3)
		refused(t, m.n.CreateTenant(t.Context(), other), fault.AlreadyExists)
	}
	// One that a context ended in the middle of is finished by the next try.
	c = tenant.Config{ID: ident.MustTenantID(4), Name: "four", Region: region(t, "us-east")}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := asked.n.CreateTenant(ctx, c); err == nil {
		t.Fatal("created under a context that had ended")
	}
	d.create(asked, c)
	// One that nobody comes back for gives its id and name back.
	lost := tenant.Config{ID: ident.MustTenantID(5), Name: "five", Region: region(t, "us-east")}
	away := d.other(d.leader(1))
	refused(t, away.n.CreateTenant(t.Context(), lost), fault.Misrouted)
	waitFor(t, "the reservation to be given up", 30*time.Second, func() error {
		if _, ok := away.n.Cluster().Directory().Tenant(lost.ID); ok {
			return errors.New("it is there")
		}
		return nil
	})
	lost.ID = ident.MustTenantID(6)
	d.create(away, lost)
}
