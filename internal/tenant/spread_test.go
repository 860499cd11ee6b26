package tenant_test

import (
	"errors"
	"testing"

	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/keyring"
	"kimberlite/internal/shard"
	"kimberlite/internal/tenant"
)

// holders counts the nodes whose keyring holds a KEK.
func (m *team) holders(id ident.TenantID, g uint32) (n int) {
	for _, h := range m.all() {
		if _, err := h.ring.Get(id, ident.NewKeyGeneration(g)); err == nil {
			n++
		}
	}
	return n
}

func TestAKEKIsOnAMajorityBeforeItIsNamedAndNowhereAfter(t *testing.T) {
	m := newTeam(t, 3)
	m.form(1)
	id := m.create(1, 1)
	if got := m.holders(id, 1); got != 3 {
		t.Fatalf("%d nodes hold the KEK, want 3", got)
	}
	if err := m.do(1, id, func(h *tenant.Tenant) error { return h.RotateKEK(ctx) }); err != nil {
		t.Fatal(err)
	}
	if old, now := m.holders(id, 1), m.holders(id, 2); old != 0 || now != 3 {
		t.Fatalf("%d nodes hold the old KEK and %d the new one, want 0 and 3", old, now)
	}
	// Without a majority nothing is agreed on, and nothing is left.
	lead, node := m.leader(1)
	for _, h := range m.all() {
		if h.node.Uint64() != node {
			m.isolate(h.node.Uint64(), true)
		}
	}
	h, err := lead.Manager.Tenant(id)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.RotateKEK(ctx); err == nil {
		t.Error("a KEK was replaced without a majority")
	}
	for _, h := range m.all() {
		m.isolate(h.node.Uint64(), false)
	}
	m.exec(1, id, "", `INSERT INTO x VALUES (1, 'works')`)
	if got := m.holders(id, 2); got != 3 {
		t.Errorf("%d nodes hold the KEK in force, want 3", got)
	}
	m.agree(1, id)
}

func TestANodeWithoutAKEKPullsIt(t *testing.T) {
	m := newTeam(t, 3)
	m.form(1)
	id := m.create(1, 1)
	h := m.follower(1)
	h.keys.Evict(id)
	if err := h.ring.Destroy(id, ident.NewKeyGeneration(1)); err != nil {
		t.Fatal(err)
	}
	r := h.shards[1]
	m.eventually("the lead", func() bool {
		lead, _ := m.leader(1)
		if lead == r {
			return true
		}
		_ = lead.TransferLead(ctx, r.Status().Self.ID)
		return false
	})
	m.exec(1, id, "", `INSERT INTO x VALUES (1, 'works')`)
	if got := m.holders(id, 1); got != 3 {
		t.Errorf("%d nodes hold the KEK, want 3", got)
	}
}

func TestKEKsThatInterruptedAttemptsLeftDoNotStandInTheWay(t *testing.T) {
	m := newTeam(t, 3)
	m.form(1)
	id := ident.MustTenantID(1)
	// An earlier attempt at creating the tenant, and one at rotating its KEK,
	// reached one node.
	left := func(g uint32) {
		t.Helper()
		if err := m.host(3).ring.Put(id, ident.NewKeyGeneration(g), []byte("somebody's")); err != nil {
			t.Fatal(err)
		}
	}
	left(1)
	m.create(1, 1)
	if err := m.do(1, id, func(h *tenant.Tenant) error { return h.RotateKEK(ctx) }); err != nil {
		t.Fatal(err)
	}
	lead, _ := m.leader(1)
	status, err := lead.KeyStatus(id)
	if err != nil {
		t.Fatal(err)
	}
	g := status.KEK.Uint32()
	left(g + 1)
	if err := m.do(1, id, func(h *tenant.Tenant) error { return h.RotateKEK(ctx) }); err != nil {
		t.Fatal(err)
	}
	m.exec(1, id, "", `INSERT INTO x VALUES (1, 'works')`)
	m.agree(1, id)
	var errs []error
	for _, h := range m.all() {
		errs = append(errs, h.shards[1].SettleKeys(ctx))
	}
	if err := errors.Join(errs...); err != nil && !retried(err) {
		t.Fatal(err)
	}
	status, err = lead.KeyStatus(id)
	if err != nil {
		t.Fatal(err)
	}
	for old := range status.KEK.Uint32() {
		if old > 0 && m.holders(id, old) != 0 {
			t.Errorf("a node still holds generation %d; %s is in force", old, status.KEK)
		}
	}
	if got := m.holders(id, status.KEK.Uint32()); got != 3 {
		t.Errorf("%d nodes hold the KEK in force, want 3", got)
	}
}

// The keyring is a node's, and both shards of a move look at it.
func TestSettlingKeysDestroysNoneThatAnotherShardsEnvelopeNames(t *testing.T) {
	m := newMover(t)
	source, _ := m.leader(1)
	st, err := source.Shard.Tenant(m.id)
	if err != nil {
		t.Fatal(err)
	}
	target, _ := m.leader(2)
	if _, err := target.Import(ctx, shard.Import{State: st, Epoch: 1}); err != nil {
		t.Fatal(err)
	}
	// The new KEK is known to the source alone; the old one a backup brought back.
	old, err := m.host(1).ring.Get(m.id, ident.NewKeyGeneration(1))
	if err != nil {
		t.Fatal(err)
	}
	if err := m.do(1, m.id, func(h *tenant.Tenant) error { return h.RotateKEK(ctx) }); err != nil {
		t.Fatal(err)
	}
	for _, h := range m.all() {
		if err := h.ring.Put(m.id, ident.NewKeyGeneration(1), old); err != nil {
			t.Fatal(err)
		}
	}
	if err := target.SettleKeys(ctx); err != nil {
		t.Fatal(err)
	}
	if got := m.holders(m.id, 2); got != 3 {
		t.Fatalf("%d nodes hold the KEK in force, want 3", got)
	}
	for _, h := range m.all() {
		if err := h.shards[1].SettleKeys(ctx); err != nil && !retried(err) {
			t.Fatal(err)
		}
	}
	if kept, now := m.holders(m.id, 1), m.holders(m.id, 2); kept != 0 || now != 3 {
		t.Errorf("%d nodes hold the old KEK and %d the new one, want 0 and 3", kept, now)
	}
	if _, err := m.host(1).ring.Get(m.id, ident.NewKeyGeneration(1)); !fault.Is(err, fault.NotFound) {
		t.Errorf("the old KEK: %v, want NotFound", err)
	}
}

func TestKeysAtHandAreLentWithoutAskingAnybody(t *testing.T) {
	m := newTeam(t, 1)
	m.form(1)
	id := m.create(1, 1)
	keys := m.host(1).keys
	lease, ok := keys.AtHand(id)
	if !ok || lease.Keys() == nil {
		t.Fatal("the keys of an open tenant are not at hand")
	}
	lease.Release()
	r := m.host(1).shards[1]
	m.eventually("nobody uses the tenant", func() bool {
		closed, err := r.CloseTenant(id)
		if err != nil {
			t.Fatal(err)
		}
		return closed
	})
	keys.Evict(id)
	if _, ok := keys.AtHand(id); ok {
		t.Error("keys that were wiped are at hand")
	}
	if _, ok := (&keyring.Cache{}).AtHand(id); ok {
		t.Error("an empty cache has keys at hand")
	}
}
