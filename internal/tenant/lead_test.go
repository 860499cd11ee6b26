package tenant_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/quota"
	"kimberlite/internal/shard"
	"kimberlite/internal/tenant"
)

func TestNothingAcknowledgedIsLostOrDoneTwiceWhenLeadersDie(t *testing.T) {
	m := newTeam(t, 3)
	m.form(1)
	var ids []ident.TenantID
	for n := range uint64(4) {
		ids = append(ids, m.create(1, n+1))
	}
	var stop atomic.Bool
	var wg sync.WaitGroup
	counts := make([]int, len(ids))
	for i, id := range ids {
		wg.Go(func() {
			for n := 0; !stop.Load(); n++ {
				// Plain inserts without a key to the table's own: a repeated one
				// would show as a second row.
				m.exec(1, id, fmt.Sprint("k", n), `INSERT INTO x (v) VALUES (?)`, fmt.Sprint(n))
				counts[i] = n + 1
			}
		})
	}
	for round := range 4 {
		time.Sleep(150 * time.Millisecond)
		_, node := m.leader(1)
		fsys := m.kill(node)
		time.Sleep(150 * time.Millisecond)
		m.leader(1)
		if round%2 == 0 {
			r, _ := m.leader(1)
			if err := r.Checkpoint(ctx); err != nil {
				t.Error(err)
			}
		}
		m.boot(node, fsys).open(1, 10+node, members(11, 12, 13), false)
	}
	time.Sleep(200 * time.Millisecond)
	stop.Store(true)
	wg.Wait()
	for i, id := range ids {
		if got := m.number(1, id, `SELECT count(*) FROM x`); got != int64(counts[i]) {
			t.Errorf("tenant %s has %d rows, %d were acknowledged", id, got, counts[i])
		}
		if got := m.number(1, id, `SELECT count(DISTINCT v) FROM x`); got != int64(counts[i]) {
			t.Errorf("tenant %s has %d different rows, %d were acknowledged", id, got, counts[i])
		}
	}
	t.Log("rows", counts)
	m.agree(1, ids...)
}

func TestALeaderThatWasLeftServesNothing(t *testing.T) {
	m := newTeam(t, 3)
	m.form(1)
	id := m.create(1, 1)
	m.exec(1, id, "", `INSERT INTO x VALUES (1, 'first')`)
	old, node := m.leader(1)
	h, err := old.Manager.Tenant(id)
	if err != nil {
		t.Fatal(err)
	}
	writing, err := h.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := writing.Exec(ctx, `INSERT INTO x VALUES (2, 'never')`, nil); err != nil {
		t.Fatal(err)
	}
	m.isolate(node, true)
	m.exec(1, id, "", `INSERT INTO x VALUES (3, 'second')`) // on the new leader

	if rows, err := h.Query(ctx, `SELECT count(*) FROM x`, nil); err == nil {
		rows.Next()
		t.Errorf("a read was answered, with %d rows", rows.Int64(0))
		rows.Close()
	} else if !fault.Is(err, fault.Misrouted) && !fault.Is(err, fault.Unavailable) && !fault.Is(err, fault.Timeout) {
		t.Errorf("a read was refused with %v", err)
	}
	if _, err := h.Exec(ctx, tenant.Request{}, `INSERT INTO x VALUES (4, 'never')`, nil); err == nil {
		t.Error("a write was acknowledged")
	}
	// A statement that changes nothing, or fails, tells of a state, too.
	if _, err := h.Exec(ctx, tenant.Request{}, `DELETE FROM x WHERE id = 99`, nil); err == nil {
		t.Error("a statement without effect was acknowledged")
	}
	if _, err := h.Exec(ctx, tenant.Request{}, `INSERT INTO x VALUES (1, 'again')`, nil); fault.Is(err, fault.Constraint) {
		t.Error("a statement was refused by an old state")
	}
	if _, err := writing.Commit(ctx); err == nil {
		t.Error("a transaction was committed")
	}
	if _, err := h.CredentialNamed(ctx, "somebody"); err == nil {
		t.Error("a credential was looked up")
	}
	m.isolate(node, false)
	m.agree(1, id)
	if got := m.number(1, id, `SELECT group_concat(id) = '1,3' FROM (SELECT id FROM x ORDER BY id)`); got != 1 {
		t.Error("the rows are not those that were acknowledged")
	}
}

func TestAFollowerAnswersBoundedStaleReadsAndNoOthers(t *testing.T) {
	m := newTeam(t, 3)
	m.form(1)
	id := m.create(1, 1)
	m.exec(1, id, "", `INSERT INTO x VALUES (1, 'one')`)
	lead, node := m.leader(1)
	for _, h := range m.all() {
		if h.node.Uint64() == node {
			continue
		}
		handle, err := h.shards[1].Manager.Tenant(id)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := handle.Query(ctx, `SELECT 1`, nil); !fault.Is(err, fault.Misrouted) {
			t.Errorf("node %s answered a linearisable read: %v", h.node, err)
		}
		if _, err := handle.Stale(time.Second).Exec(ctx, tenant.Request{}, `DELETE FROM x`, nil); !fault.Is(err, fault.Misrouted) {
			t.Errorf("node %s took a write: %v", h.node, err)
		}
		// What was acknowledged before a fresh look is seen.
		const lag = 300 * time.Millisecond
		for n := range 5 {
			m.exec(1, id, "", `UPDATE x SET v = ?`, fmt.Sprint(n))
			time.Sleep(lag)
			m.eventually("an answer of a follower", func() bool {
				rows, err := handle.Stale(lag).Query(ctx, `SELECT v = ? FROM x`, []any{fmt.Sprint(n)})
				if fault.Is(err, fault.Misrouted) {
					return false // the machine is slow, and it says so
				}
				if err != nil {
					t.Fatal(err)
				}
				defer rows.Close()
				if !rows.Next() || rows.Int64(0) != 1 {
					t.Errorf("node %s answered with what was older than %s", h.node, lag)
				}
				return true
			})
		}
		m.isolate(h.node.Uint64(), true)
		time.Sleep(lag)
		if _, err := handle.Stale(lag).Query(ctx, `SELECT 1`, nil); !fault.Is(err, fault.Misrouted) {
			t.Errorf("node %s answered while it was cut off: %v", h.node, err)
		}
		m.isolate(h.node.Uint64(), false)
	}
	_ = lead
}

func TestLimitsComeAlongWithTheLead(t *testing.T) {
	m := newTeam(t, 3)
	m.form(1)
	id := m.create(1, 1)
	next := m.follower(1).shards[1]
	// The next leader has had the tenant open already, under the old limits.
	handle, err := next.Manager.Tenant(id)
	if err != nil {
		t.Fatal(err)
	}
	m.eventually("a follower's answer", func() bool {
		_, err := handle.Stale(patience).TableHash(ctx)
		if err != nil && !retried(err) {
			t.Fatal(err)
		}
		return err == nil
	})
	lead, _ := m.leader(1)
	if err := lead.Set(ctx, id, shard.Change{Limits: &quota.Limits{MaxLogBytes: 1}}); err != nil {
		t.Fatal(err)
	}
	m.eventually("the lead", func() bool {
		lead, _ := m.leader(1)
		if lead == next {
			return true
		}
		_ = lead.TransferLead(ctx, next.Status().Self.ID)
		return false
	})
	err = m.do(1, id, func(h *tenant.Tenant) error {
		_, err := h.Exec(ctx, tenant.Request{}, `INSERT INTO x VALUES (1, 'too much')`, nil)
		return err
	})
	if !fault.Is(err, fault.QuotaExceeded) {
		t.Errorf("a write beyond the limits: %v, want QuotaExceeded", err)
	}
}

func TestFollowersKeepProjectionsOfWhatIsWritten(t *testing.T) {
	m := newTeam(t, 3)
	m.form(1)
	id := m.create(1, 1)
	m.fill(1, id, 50, 1)
	lead, _ := m.leader(1)
	for _, h := range m.all() {
		r := h.shards[1]
		if r.Manager == lead.Manager {
			continue
		}
		m.eventually("a projection on a follower, unasked", func() bool { return r.OpenTenants() == 1 })
		// Its file is there when the tenant closes, so that a takeover starts
		// from it.
		m.eventually("a follower's projection on its disk", func() bool {
			if closed, err := r.CloseTenant(id); err != nil || !closed {
				return false
			}
			u, err := r.Usage(id)
			return err == nil && u.ProjectionBytes > 50<<10
		})
	}
}
