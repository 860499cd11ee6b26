package tenant_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kimberlite/internal/disk"
	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/replication"
	"kimberlite/internal/shard"
	"kimberlite/internal/tenant"
	"kimberlite/internal/tenantlog"
)

// fill writes n rows of some KiB to a tenant.
func (m *team) fill(shardID uint64, id ident.TenantID, n, kib int) {
	m.t.Helper()
	for i := range n {
		m.exec(shardID, id, "", `INSERT INTO x (v) VALUES (?)`, strings.Repeat(fmt.Sprint(i%10), kib<<10))
	}
}

func logBytes(t *testing.T, r *replica, id ident.TenantID) int64 {
	t.Helper()
	st, err := r.Shard.Tenant(id)
	if err != nil {
		t.Fatal(err)
	}
	return st.Log.TotalBytes
}

// follower returns a node that does not lead a shard.
func (m *team) follower(shardID uint64) *host {
	_, lead := m.leader(shardID)
	for _, h := range m.all() {
		if h.node.Uint64() != lead {
			return h
		}
	}
	m.t.Fatal("no follower")
	return nil
}

func TestAReplicaThatLagsFetchesOnlyWhatItLacks(t *testing.T) {
	m := newTeam(t, 3)
	m.form(1)
	ids := []ident.TenantID{m.create(1, 1), m.create(1, 2), m.create(1, 3)}
	for _, id := range ids {
		m.fill(1, id, 60, 1)
	}
	m.agree(1, ids...)
	h := m.follower(1)
	m.isolate(h.node.Uint64(), true)
	before := logBytes(t, h.shards[1], ids[1])
	m.fill(1, ids[1], 70, 200) // more than the replicated log keeps
	lead, _ := m.leader(1)
	lacks := logBytes(t, lead, ids[1]) - before
	if err := lead.Checkpoint(ctx); err != nil { // the replicated log is cut
		t.Fatal(err)
	}
	m.served.Store(0)
	m.isolate(h.node.Uint64(), false)
	m.exec(1, ids[0], "", `INSERT INTO x (v) VALUES ('after')`)
	m.agree(1, ids...)
	served := m.served.Load()
	t.Logf("fetched %d bytes, lacked %d", served, lacks)
	if served > lacks || served < lacks*9/10 {
		t.Errorf("%d bytes were fetched where %d lacked", served, lacks)
	}
}

func TestAWipedReplicaIsRefilledAndResumes(t *testing.T) {
	m := newTeam(t, 3)
	m.form(1)
	ids := []ident.TenantID{m.create(1, 1), m.create(1, 2)}
	for _, id := range ids {
		m.fill(1, id, 100, 1)
	}
	lead, leading := m.leader(1)
	gone := m.follower(1).node.Uint64()
	m.kill(gone)
	if err := lead.Checkpoint(ctx); err != nil {
		t.Fatal(err)
	}
	var want int64
	for _, id := range ids {
		want += logBytes(t, lead, id)
	}
	var keep []replication.Replica
	for _, r := range members(11, 12, 13) {
		if r.Node.Uint64() != gone {
			keep = append(keep, r)
		}
	}
	fresh := replication.Replica{ID: ident.NewReplicaID(20), Node: ident.NewNodeID(gone)}
	h := m.boot(gone, disk.NewMem())
	// Copies break off again and again, and the node dies in the middle of one.
	m.breakAfter.Store(30 << 10)
	m.served.Store(0)
	h.open(1, 20, nil, true)
	changed := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		changed <- lead.ChangeMembers(ctx, append(keep, fresh))
	}()
	m.eventually("half a copy", func() bool { return m.served.Load() > want/3 })
	fsys := m.kill(gone)
	h = m.boot(gone, fsys)
	h.open(1, 20, nil, true)
	m.eventually("a whole copy", func() bool { return m.served.Load() > want*9/10 })
	if err := <-changed; err != nil {
		t.Fatal(err)
	}
	m.breakAfter.Store(0)
	m.exec(1, ids[0], "", `INSERT INTO x (v) VALUES ('after')`)
	m.agree(1, ids...)
	t.Logf("fetched %d bytes for %d bytes of logs, from node %d", m.served.Load(), want, leading)
	if m.served.Load() > want+100<<10 { // what a crash loses is fetched again
		t.Errorf("%d bytes were fetched for %d bytes of logs", m.served.Load(), want)
	}
}

func flip(t *testing.T, fsys disk.FS, name string, at int64) {
	t.Helper()
	f, err := fsys.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 1)
	_, readErr := f.ReadAt(b, at)
	b[0] ^= 4
	_, writeErr := f.WriteAt(b, at)
	if err := errors.Join(readErr, writeErr, f.Close()); err != nil {
		t.Fatal(err)
	}
}

func TestFlippedBytesOnAReplicaAreFoundNamedAndMended(t *testing.T) {
	for _, where := range []string{"last record", "first segment", "missing segment"} {
		t.Run(where, func(t *testing.T) {
			m := newTeam(t, 3)
			m.form(1)
			id := m.create(1, 1)
			m.fill(1, id, 60, 1)
			m.agree(1, id)
			h := m.follower(1)
			node := h.node.Uint64()
			if err := h.shards[1].Checkpoint(ctx); err != nil {
				t.Fatal(err)
			}
			st, err := h.shards[1].Shard.Tenant(id)
			if err != nil {
				t.Fatal(err)
			}
			logs := h.shards[1].LogDir(id)
			projection := filepath.Join(h.shards[1].TenantDir(id), "projection.db")
			fsys := m.kill(node)
			switch where {
			case "last record":
				flip(t, fsys, filepath.Join(logs, tenantlog.SegmentName(st.Log.Segment)), st.Log.SegmentBytes-1)
			case "first segment":
				flip(t, fsys, filepath.Join(logs, tenantlog.SegmentName(ident.Offset{})), 2000)
				if err := fsys.RemoveAll(projection); err != nil { // so that it is read
					t.Fatal(err)
				}
			case "missing segment":
				if err := fsys.Remove(filepath.Join(logs, tenantlog.SegmentName(st.Log.Segment))); err != nil {
					t.Fatal(err)
				}
			}
			h = m.boot(node, fsys)
			r := h.open(1, 10+node, members(11, 12, 13), false)
			m.exec(1, id, "", `INSERT INTO x (v) VALUES ('after')`)
			asides := 1
			if where == "missing segment" {
				asides = 0 // what is left is a sound beginning, and is kept
			}
			m.eventually("the damage is found", func() bool {
				handle, err := r.Manager.Tenant(id)
				if err != nil {
					return false
				}
				_, err = handle.Stale(patience).TableHash(ctx) // reads the log, if it must
				if err != nil && !retried(err) && !fault.Is(err, fault.Corruption) {
					t.Fatal(err)
				}
				return len(r.Status().SetAside) >= asides
			})
			m.agree(1, id)
			aside := r.Status().SetAside
			if len(aside) != asides {
				t.Fatalf("%v was set aside", aside)
			}
			for _, dir := range aside {
				if _, err := fsys.Stat(dir); err != nil {
					t.Errorf("what was set aside is not there: %v", err)
				}
			}
		})
	}
}

func TestTheLeadersOwnDamageIsMendedFromAFollower(t *testing.T) {
	m := newTeam(t, 3)
	m.form(1)
	id := m.create(1, 1)
	m.fill(1, id, 60, 1)
	m.agree(1, id)
	lead, node := m.leader(1)
	if err := lead.Checkpoint(ctx); err != nil {
		t.Fatal(err)
	}
	flip(t, m.host(node).fs, filepath.Join(lead.LogDir(id), tenantlog.SegmentName(ident.Offset{})), 3000)
	// Whoever reads it is told of damage, or to try again, and never given it.
	read := func(h *tenant.Tenant) (events int, err error) {
		_, err = h.ReadStream(ctx, "x", ident.Offset{}, 0, func(*tenant.StreamEvent) error { events++; return nil })
		return events, err
	}
	m.eventually("the damage is mended", func() bool {
		h, err := lead.Manager.Tenant(id)
		if err != nil {
			t.Fatal(err)
		}
		events, err := read(h)
		if err != nil && !retried(err) && !fault.Is(err, fault.Corruption) {
			t.Fatal(err)
		}
		return err == nil && events == 60
	})
	m.exec(1, id, "", `INSERT INTO x (v) VALUES ('after')`)
	m.agree(1, id)
}

func TestServeLogGivesExactlyTheRangeAskedFor(t *testing.T) {
	m := newTeam(t, 1)
	m.form(1)
	id := m.create(1, 1)
	m.fill(1, id, 40, 1)
	r, _ := m.leader(1)
	whole := chain(t, r, id)
	end := func() ident.Offset { st, _ := r.Shard.Tenant(id); return st.Log.Next }()
	var joined []byte
	for from := uint64(0); from < end.Uint64(); from += 7 {
		to := min(from+7, end.Uint64())
		part, err := m.host(1).FetchLog(ctx, ident.NewNodeID(1), ident.NewShardID(1), shard.LogRange{
			Tenant: id, From: ident.NewOffset(from), To: ident.NewOffset(to),
		})
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(part)
		if err != nil {
			t.Fatal(err)
		}
		joined = append(joined, b...)
	}
	if string(joined) != string(whole) {
		t.Error("the parts are not the whole")
	}
	err := r.ServeLog(ctx, io.Discard, shard.LogRange{Tenant: id, To: end.Next()})
	if !fault.Is(err, fault.NotFound) {
		t.Errorf("beyond the end: %v, want NotFound", err)
	}
}
