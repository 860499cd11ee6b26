package tenant_test

import (
	"bytes"
	"fmt"
	"strings"
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

// mover does what a coordinator does, with a variable for the directory.
type mover struct {
	*team
	id    ident.TenantID
	owner atomic.Uint64 // the shard that the directory names
	// before, if not nil, is called before each step, and may break off.
	before func(step string) bool
}

// step runs a step on the leader of a shard, asking again where that is right.
// false says that the coordinator was stopped.
func (m *mover) step(name string, shardID uint64, fn func(*replica) error) bool {
	m.t.Helper()
	if m.before != nil && !m.before(name) {
		return false
	}
	var err error
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		r, _ := m.leader(shardID)
		if err = fn(r); err == nil {
			return true
		}
		if !retried(err) {
			break
		}
	}
	m.t.Fatalf("step %q: %v", name, err)
	return false
}

// copyUp copies records until the target has all that the source has.
func (m *mover) copyUp(step string, from, to, epoch uint64) bool {
	const batch = 40
	for more := true; more; {
		ok := m.step(step, to, func(target *replica) error {
			source, _ := m.leader(from)
			theirs, err := source.Shard.Tenant(m.id)
			if err != nil {
				return err
			}
			at, err := target.Import(ctx, shard.Import{State: theirs, Epoch: epoch})
			if err != nil {
				return err
			}
			end := min(theirs.Log.Next.Uint64(), at.Next.Uint64()+batch)
			var records bytes.Buffer
			if err := source.ServeLog(ctx, &records, shard.LogRange{Tenant: m.id, From: at.Next, To: ident.NewOffset(end)}); err != nil {
				return err
			}
			at, err = target.Import(ctx, shard.Import{State: theirs, Epoch: epoch, Records: records.Bytes()})
			more = at.Next != theirs.Log.Next
			return err
		})
		if !ok {
			return false
		}
	}
	return true
}

// move moves the tenant, from wherever an earlier attempt has got to.
func (m *mover) move(from, to, epoch uint64) bool {
	m.t.Helper()
	if m.owner.Load() == from {
		ok := m.copyUp("copy", from, to, epoch) &&
			m.step("fence", from, func(r *replica) error { _, err := r.Fence(ctx, m.id, epoch); return err }) &&
			m.copyUp("tail", from, to, epoch) &&
			m.step("flip", to, func(*replica) error { m.owner.Store(to); return nil })
		if !ok {
			return false
		}
	}
	return m.step("retire", from, func(r *replica) error {
		err := r.Retire(ctx, m.id, epoch)
		if _, gone := r.Shard.Tenant(m.id); fault.Is(gone, fault.NotFound) {
			err = nil
		}
		return err
	}) && m.step("activate", to, func(target *replica) error {
		source, _ := m.leader(from)
		final, err := source.Shard.Tenant(m.id)
		if err == nil {
			err = target.Activate(ctx, final, epoch)
		}
		if fault.Is(err, fault.NotFound) {
			err = nil // released, so that it was activated
		}
		return err
	}) && m.step("release", from, func(r *replica) error { return r.Release(ctx, m.id, epoch) })
}

// load writes and reads the tenant wherever the directory says that it is,
// until stopped, and returns how many writes were acknowledged.
func (m *mover) load() (stop func() int, longest func() time.Duration) {
	var stopped atomic.Bool
	var acked, worst atomic.Int64
	var wg sync.WaitGroup
	run := func(fn func(n int)) {
		wg.Go(func() {
			for n := 0; !stopped.Load(); n++ {
				fn(n)
			}
		})
	}
	run(func(n int) {
		begun := time.Now()
		err := m.anywhere(func(h *tenant.Tenant) error {
			_, err := h.Exec(ctx, tenant.Request{IdempotencyKey: fmt.Sprint("m", n)}, `INSERT INTO x (v) VALUES (?)`, []any{fmt.Sprint(n)})
			return err
		})
		if err != nil {
			m.t.Errorf("write %d: %v", n, err)
		}
		worst.Store(max(worst.Load(), int64(time.Since(begun))))
		acked.Add(1)
	})
	run(func(int) {
		before := acked.Load()
		err := m.anywhere(func(h *tenant.Tenant) error {
			rows, err := h.Query(ctx, `SELECT count(*) FROM x`, nil)
			if err != nil {
				return err
			}
			defer rows.Close()
			if rows.Next() && rows.Int64(0) < before {
				m.t.Errorf("a read saw %d rows after %d were acknowledged", rows.Int64(0), before)
			}
			return rows.Err()
		})
		if err != nil {
			m.t.Errorf("read: %v", err)
		}
	})
	return func() int { stopped.Store(true); wg.Wait(); return int(acked.Load()) },
		func() time.Duration { return time.Duration(worst.Load()) }
}

func (m *mover) anywhere(fn func(*tenant.Tenant) error) error {
	var err error
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		r, _ := m.leader(m.owner.Load())
		var h *tenant.Tenant
		if h, err = r.Manager.Tenant(m.id); err == nil {
			err = fn(h)
		}
		if err == nil || !retried(err) {
			return err
		}
	}
	return err
}

// settled checks that one shard has the tenant, whole and the same on every
// replica, and the other one nothing.
func (m *mover) settled(from, to uint64, rows int) {
	m.t.Helper()
	m.agree(to, m.id)
	if got := m.number(to, m.id, `SELECT count(*) FROM x`); got != int64(rows) {
		m.t.Errorf("%d rows, %d were acknowledged", got, rows)
	}
	if got := m.number(to, m.id, `SELECT count(DISTINCT v) FROM x`); got != int64(rows) {
		m.t.Errorf("%d different rows, %d were acknowledged", got, rows)
	}
	m.agree(from)
	for _, h := range m.all() {
		r := h.shards[from]
		if _, err := r.Shard.Tenant(m.id); !fault.Is(err, fault.NotFound) {
			m.t.Errorf("node %s: shard %d still has the tenant: %v", h.node, from, err)
		}
		if err := r.Checkpoint(ctx); err != nil {
			m.t.Error(err)
		}
		for _, dir := range []string{r.TenantDir(m.id), r.Shard.Dir() + "/released"} {
			if names, err := h.fs.ReadDir(dir); err == nil && len(names) > 0 {
				m.t.Errorf("node %s: files are left in %s: %s", h.node, dir, strings.Join(names, " "))
			}
		}
	}
}

func newMover(t *testing.T) *mover {
	t.Helper()
	m := &mover{team: newTeam(t, 3)}
	m.form(1)
	m.form(2)
	m.id = m.create(1, 7)
	m.owner.Store(1)
	return m
}

func TestATenantMovesUnderWritesAndReads(t *testing.T) {
	m := newMover(t)
	source, _ := m.leader(1)
	limits := quota.Limits{MaxLogBytes: 1 << 30, MaxConcurrentOps: 50}
	if err := source.Set(ctx, m.id, shard.Change{Limits: &limits}); err != nil {
		t.Fatal(err)
	}
	m.fill(1, m.id, 200, 4)
	m.exec(1, m.id, "", `DELETE FROM x`)
	stop, longest := m.load()
	time.Sleep(100 * time.Millisecond)
	from, to := uint64(1), uint64(2)
	for epoch := uint64(1); epoch <= 4; epoch++ { // there and back, twice
		if epoch == 2 {
			// Keys change while it is copied.
			m.before = func(step string) bool {
				if step == "fence" {
					if err := m.do(from, m.id, func(h *tenant.Tenant) error { return h.RotateDEK(ctx) }); err != nil {
						t.Error(err)
					}
					if err := m.do(from, m.id, func(h *tenant.Tenant) error { return h.RotateKEK(ctx) }); err != nil {
						t.Error(err)
					}
				}
				return true
			}
		}
		m.move(from, to, epoch)
		m.before = nil
		time.Sleep(50 * time.Millisecond)
		from, to = to, from
	}
	rows := stop()
	t.Logf("%d rows, the longest write took %s", rows, longest())
	m.settled(to, from, rows)
	r, _ := m.leader(from)
	if st, err := r.Shard.Tenant(m.id); err != nil || st.Limits != limits {
		t.Errorf("limits %+v, %v; want %+v", st.Limits, err, limits)
	}
}

func TestAMoveSurvivesACrashAtEachStep(t *testing.T) {
	for _, at := range []string{"copy", "fence", "tail", "flip", "retire", "activate", "release"} {
		t.Run(at, func(t *testing.T) {
			m := newMover(t)
			m.fill(1, m.id, 50, 1)
			m.exec(1, m.id, "", `DELETE FROM x`)
			stop, _ := m.load()
			seen := 0
			m.before = func(step string) bool {
				if step != at || seen > 0 && at != "copy" || seen > 1 {
					return true
				}
				if seen++; at == "copy" && seen == 1 {
					return true // in the middle of it
				}
				// The leaders of both shards lose power, and the coordinator with
				// them, which knows nothing but the directory.
				for _, id := range []uint64{1, 2} {
					_, node := m.leader(id)
					fsys := m.kill(node)
					h := m.boot(node, fsys)
					for _, s := range []uint64{1, 2} {
						h.open(s, 10*s+node, members(10*s+1, 10*s+2, 10*s+3), false)
					}
				}
				return false
			}
			if m.move(1, 2, 1) {
				t.Fatal("the move was not broken off")
			}
			m.move(1, 2, 1)
			rows := stop()
			m.settled(1, 2, rows)
		})
	}
}

func TestAMoveThatIsGivenUpLeavesTheTenantWhereItWas(t *testing.T) {
	m := newMover(t)
	m.fill(1, m.id, 20, 1)
	m.exec(1, m.id, "", `DELETE FROM x`)
	stop, _ := m.load()
	m.before = func(step string) bool { return step != "flip" }
	m.move(1, 2, 1)
	m.before = nil
	m.step("unfence", 1, func(r *replica) error { return r.Unfence(ctx, m.id, 1) })
	m.step("release", 2, func(r *replica) error { return r.Release(ctx, m.id, 1) })
	time.Sleep(50 * time.Millisecond)
	m.settled(2, 1, stop())
}

func TestMoveCommandsOfAnEarlierEpochAreRefused(t *testing.T) {
	m := newMover(t)
	m.fill(1, m.id, 5, 1)
	source, _ := m.leader(1)
	target, _ := m.leader(2)
	final, err := source.Fence(ctx, m.id, 5)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := target.Import(ctx, shard.Import{State: final, Epoch: 5}); err != nil {
		t.Fatal(err)
	}
	want := func(what string, err error, kind fault.Kind) {
		t.Helper()
		if !fault.Is(err, kind) {
			t.Errorf("%s: %v, want %v", what, err, kind)
		}
	}
	_, err = source.Fence(ctx, m.id, 4)
	want("fence", err, fault.Conflict)
	want("unfence", source.Unfence(ctx, m.id, 4), fault.Conflict)
	want("retire", source.Retire(ctx, m.id, 4), fault.Conflict)
	want("release", source.Release(ctx, m.id, 4), fault.Conflict)
	_, err = target.Import(ctx, shard.Import{State: final, Epoch: 4})
	want("import", err, fault.Conflict)
	want("activate early", target.Activate(ctx, final, 5), fault.Conflict)
	want("release while serving", func() error {
		if err := source.Unfence(ctx, m.id, 5); err != nil {
			return err
		}
		return source.Release(ctx, m.id, 5)
	}(), fault.Conflict)
	_, err = source.Import(ctx, shard.Import{State: final, Epoch: 6})
	want("import where it serves", err, fault.AlreadyExists)
	_, err = target.Import(ctx, shard.Import{State: final, Epoch: 5, Records: []byte("noise")})
	want("import of noise", err, fault.Invalid)
	h, err := target.Manager.Tenant(m.id)
	if err == nil {
		_, err = h.Query(ctx, `SELECT 1`, nil)
	}
	want("read of an incoming tenant", err, fault.Misrouted)
}
