package tenant_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"kimberlite/internal/clock"
	"kimberlite/internal/disk"
	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/keyring"
	"kimberlite/internal/kms"
	"kimberlite/internal/projection"
	"kimberlite/internal/replication"
	"kimberlite/internal/shard"
	"kimberlite/internal/tenant"
)

// team is a few nodes in this process, each with its own filesystem, and the
// shards that they hold together.
type team struct {
	t        *testing.T
	provider kms.Provider
	seed     *rand.Rand
	served   atomic.Int64 // bytes of logs that were fetched
	// breakAfter breaks a fetched log off after so many bytes; 0 is never.
	breakAfter atomic.Int64

	mu    sync.Mutex // guards all below
	hosts map[uint64]*host
	cut   map[uint64]bool // nodes that nobody reaches
	old   []*host         // killed
}

// host is one node.
type host struct {
	team   *team
	node   ident.NodeID
	fs     *disk.Mem
	store  *replication.Store
	ring   *keyring.Ring
	keys   *keyring.Cache
	inbox  chan letter
	done   chan struct{}
	shards map[uint64]*replica
}

type letter struct {
	from ident.NodeID
	m    replication.Message
}

// replica is one shard on one node.
type replica struct {
	*shard.Shard
	*tenant.Manager
}

func (r *replica) close() error { return errors.Join(r.Manager.Close(ctx), r.Shard.Close()) }

const testTick = 10 * time.Millisecond

func newTeam(t *testing.T, nodes int) *team {
	t.Helper()
	keyFile := filepath.Join(t.TempDir(), "master.key")
	if err := kms.CreateFileKey(keyFile); err != nil {
		t.Fatal(err)
	}
	provider, err := kms.Open(ctx, "file://"+keyFile, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	const seed = 7
	m := &team{t: t, provider: provider, seed: rand.New(rand.NewPCG(seed, seed)), hosts: map[uint64]*host{}, cut: map[uint64]bool{}}
	t.Cleanup(m.close)
	for n := range nodes {
		m.boot(uint64(n+1), disk.NewMem())
	}
	return m
}

func (m *team) close() {
	for _, h := range m.all() {
		if err := h.close(); err != nil {
			m.t.Error(err)
		}
	}
	for _, h := range m.old {
		_ = h.close() // on a disk that is not there any more
	}
}

func (m *team) all() []*host {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []*host
	for n := range uint64(10) {
		if h := m.hosts[n]; h != nil {
			all = append(all, h)
		}
	}
	return all
}

func (m *team) host(n uint64) *host {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.hosts[n]
}

// boot starts a node on a filesystem, without shards.
func (m *team) boot(n uint64, fsys *disk.Mem) *host {
	m.t.Helper()
	h := &host{team: m, node: ident.NewNodeID(n), fs: fsys, inbox: make(chan letter, 1<<14), done: make(chan struct{}), shards: map[uint64]*replica{}}
	check := func(err error) {
		m.t.Helper()
		if err != nil {
			m.t.Fatal(err)
		}
	}
	for _, d := range []string{"keyring", "replication", "shards/1/tenants", "shards/2/tenants"} {
		check(disk.MkdirAllDurable(fsys, filepath.Join("/data", d), 0o700))
	}
	var err error
	h.ring, err = keyring.Open(keyring.Options{FS: fsys, Dir: "/data/keyring"})
	check(err)
	h.keys, err = keyring.NewCache(keyring.CacheOptions{})
	check(err)
	h.store, err = replication.OpenStore(replication.StoreOptions{FS: fsys, Dir: "/data/replication", Transport: h, Tick: testTick})
	check(err)
	go h.pump()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.hosts[n], m.cut[n] = h, false
	return h
}

func (h *host) close() error {
	var errs []error
	for _, r := range h.shards {
		errs = append(errs, r.close())
	}
	errs = append(errs, h.store.Close(), h.ring.Close())
	h.keys.Close()
	close(h.done)
	return errors.Join(errs...)
}

// pump hands on what other nodes sent.
func (h *host) pump() {
	for {
		select {
		case l := <-h.inbox:
			h.store.Receive(l.from, l.m)
		case <-h.done:
			return
		}
	}
}

// Send implements replication.Transport.
func (h *host) Send(to ident.NodeID, msg replication.Message) {
	other := h.team.reach(h.node, to)
	if other == nil {
		return
	}
	select {
	case other.inbox <- letter{h.node, msg}:
	default:
	}
}

// reach returns a node as another one reaches it, or nil.
func (m *team) reach(from, to ident.NodeID) *host {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.cut[from.Uint64()] || m.cut[to.Uint64()] {
		return nil
	}
	return m.hosts[to.Uint64()]
}

func (m *team) isolate(n uint64, cut bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.cut[n] = cut
}

// kill takes the power from a node and returns what its disk then holds.
func (m *team) kill(n uint64) *disk.Mem {
	m.mu.Lock()
	defer m.mu.Unlock()
	h := m.hosts[n]
	clone := h.fs.CrashClone(m.seed)
	m.cut[n] = true
	delete(m.hosts, n)
	m.old = append(m.old, h)
	return clone
}

// at returns a shard on a node that another node asks.
func (h *host) at(to ident.NodeID, id ident.ShardID) (*replica, error) {
	other := h.team.reach(h.node, to)
	if other == nil {
		return nil, fault.New("peer", fault.Unavailable, "node %s is not reached", to)
	}
	h.team.mu.Lock()
	defer h.team.mu.Unlock()
	r := other.shards[id.Uint64()]
	if r == nil {
		return nil, fault.New("peer", fault.NotFound, "node %s has no shard %s", to, id)
	}
	return r, nil
}

// FetchCheckpoint implements shard.Peer.
func (h *host) FetchCheckpoint(ctx context.Context, from ident.NodeID, id ident.ShardID, atLeast uint64) (replication.Checkpoint, error) {
	r, err := h.at(from, id)
	if err != nil {
		return replication.Checkpoint{}, err
	}
	return r.ServeCheckpoint(ctx, atLeast)
}

// FetchLog implements shard.Peer.
func (h *host) FetchLog(ctx context.Context, from ident.NodeID, id ident.ShardID, lr shard.LogRange) (io.ReadCloser, error) {
	r, err := h.at(from, id)
	if err != nil {
		return nil, err
	}
	var buf bytes.Buffer
	if err := r.ServeLog(ctx, &buf, lr); err != nil {
		return nil, err
	}
	if n := h.team.breakAfter.Load(); n > 0 && int64(buf.Len()) > n {
		buf.Truncate(int(n))
	}
	h.team.served.Add(int64(buf.Len()))
	return io.NopCloser(&buf), nil
}

// ReadIndex implements shard.Peer.
func (h *host) ReadIndex(ctx context.Context, leader ident.NodeID, id ident.ShardID) (uint64, error) {
	r, err := h.at(leader, id)
	if err != nil {
		return 0, err
	}
	return r.ServeReadIndex(ctx)
}

// Put implements tenant.KeySpread.
func (h *host) Put(_ context.Context, _ ident.ShardID, id ident.TenantID, g ident.KeyGeneration, wrapped []byte) error {
	have, all := 0, 0
	for n := range uint64(10) {
		to := ident.NewNodeID(n)
		h.team.mu.Lock()
		known := h.team.hosts[n] != nil
		h.team.mu.Unlock()
		if known {
			all++
		}
		other := h.team.reach(h.node, to)
		if other == nil {
			continue
		}
		err := other.ring.Put(id, g, wrapped)
		if fault.Is(err, fault.AlreadyExists) {
			return err
		}
		if err == nil {
			have++
		}
	}
	if have <= all/2 {
		return fault.New("spread", fault.Unavailable, "no majority")
	}
	return nil
}

// Destroy implements tenant.KeySpread.
func (h *host) Destroy(_ context.Context, _ ident.ShardID, id ident.TenantID, g ident.KeyGeneration) error {
	var errs []error
	for _, other := range h.team.all() {
		errs = append(errs, other.ring.Destroy(id, g))
	}
	return errors.Join(errs...)
}

// Pull implements tenant.KeySpread.
func (h *host) Pull(_ context.Context, _ ident.ShardID, id ident.TenantID, g ident.KeyGeneration) ([]byte, error) {
	for _, other := range h.team.all() {
		if h.team.reach(h.node, other.node) == nil {
			continue
		}
		if blob, err := other.ring.Get(id, g); err == nil {
			return blob, nil
		}
	}
	return nil, fault.New("pull", fault.NotFound, "nobody has it")
}

// open opens a shard on a node.
func (h *host) open(shardID, replicaID uint64, members []replication.Replica, join bool) *replica {
	h.team.t.Helper()
	var logger *slog.Logger
	if os.Getenv("TEAM_LOG") != "" {
		logger = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug})).With("node", h.node.String())
	}
	s, err := shard.Open(shard.Options{
		FS: h.fs, Dir: fmt.Sprintf("/data/shards/%d", shardID), ID: ident.NewShardID(shardID), Node: h.node, Store: h.store,
		SegmentBytes: 16 << 10, CheckpointInterval: -1, Replica: ident.NewReplicaID(replicaID), Members: members, Join: join, Peer: h, Logger: logger,
	})
	if err != nil {
		h.team.t.Fatal(err)
	}
	r := &replica{s, tenant.NewManager(tenant.Options{
		FS: h.fs, Shard: s, Ring: h.ring, Keys: h.keys, Provider: h.team.provider, Clock: clock.System{},
		Limits: projection.DefaultLimits(), KeySpread: h, Logger: logger,
	})}
	h.team.mu.Lock()
	defer h.team.mu.Unlock()
	h.shards[shardID] = r
	return r
}

func members(replicas ...uint64) []replication.Replica {
	var all []replication.Replica
	for i, r := range replicas {
		all = append(all, replication.Replica{ID: ident.NewReplicaID(r), Node: ident.NewNodeID(uint64(i + 1))})
	}
	return all
}

// form opens a shard on all nodes; replica ids are 10 × shard + node.
func (m *team) form(shardID uint64) {
	m.t.Helper()
	for _, h := range m.all() {
		h.open(shardID, 10*shardID+h.node.Uint64(), members(10*shardID+1, 10*shardID+2, 10*shardID+3)[:len(m.all())], false)
	}
}

const patience = 20 * time.Second

// eventually waits until a condition holds.
func (m *team) eventually(what string, ok func() bool) {
	m.t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			m.t.Fatalf("%s: not within %s", what, patience)
		}
	}
}

// leader waits for the replica that leads a shard, among nodes that are not
// cut off.
func (m *team) leader(shardID uint64) (r *replica, node uint64) {
	m.t.Helper()
	m.eventually("a leader", func() bool {
		for _, h := range m.all() {
			m.mu.Lock()
			candidate, cut := h.shards[shardID], m.cut[h.node.Uint64()]
			m.mu.Unlock()
			if candidate == nil || cut {
				continue
			}
			if _, ok := candidate.Lead(); ok && candidate.ReadIndex(ctx) == nil {
				r, node = candidate, h.node.Uint64()
				return true
			}
		}
		return false
	})
	return r, node
}

// retried says whether a client may simply ask again: nothing was done, or the
// request has an idempotency key.
func retried(err error) bool {
	switch fault.KindOf(err) {
	case fault.Misrouted, fault.Unavailable, fault.OutcomeUnknown, fault.Closed, fault.Stopped, fault.Timeout, fault.NotFound:
		return true
	}
	return false
}

// number returns the number that a query answers, from the leader.
func (m *team) number(shardID uint64, id ident.TenantID, sql string) (n int64) {
	m.t.Helper()
	err := m.do(shardID, id, func(h *tenant.Tenant) error {
		rows, err := h.Query(ctx, sql, nil)
		if err != nil {
			return err
		}
		defer rows.Close()
		if !rows.Next() {
			return rows.Err()
		}
		n = rows.Int64(0)
		return nil
	})
	if err != nil {
		m.t.Error(err)
	}
	return n
}

// do runs something on the leader until it is not to be retried.
func (m *team) do(shardID uint64, id ident.TenantID, fn func(*tenant.Tenant) error) error {
	m.t.Helper()
	var err error
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		r, _ := m.leader(shardID)
		var h *tenant.Tenant
		if h, err = r.Manager.Tenant(id); err == nil {
			err = fn(h)
		}
		if err == nil || !retried(err) {
			return err
		}
	}
	return err
}

func (m *team) exec(shardID uint64, id ident.TenantID, key, sql string, args ...any) {
	m.t.Helper()
	err := m.do(shardID, id, func(h *tenant.Tenant) error {
		_, err := h.Exec(ctx, tenant.Request{IdempotencyKey: key}, sql, args)
		return err
	})
	if err != nil {
		m.t.Error(err)
	}
}

func (m *team) create(shardID, n uint64) ident.TenantID {
	m.t.Helper()
	region, _ := ident.NewRegion("us-east")
	id := ident.MustTenantID(n)
	m.eventually("a tenant", func() bool {
		r, _ := m.leader(shardID)
		err := r.Create(ctx, tenant.Config{ID: id, Name: fmt.Sprint("t", n), Region: region})
		if err != nil && !retried(err) && !fault.Is(err, fault.AlreadyExists) {
			m.t.Fatal(err)
		}
		return err == nil || fault.Is(err, fault.AlreadyExists)
	})
	m.exec(shardID, id, "", `CREATE TABLE IF NOT EXISTS x (id INTEGER PRIMARY KEY, v TEXT)`)
	return id
}

// chain returns all bytes of a tenant's log on a replica.
func chain(t *testing.T, r *replica, id ident.TenantID) []byte {
	t.Helper()
	st, err := r.Shard.Tenant(id)
	if err != nil {
		t.Fatal(err)
	}
	var buf bytes.Buffer
	if err := r.ServeLog(ctx, &buf, shard.LogRange{Tenant: id, To: st.Log.Next}); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// agree waits until all replicas of a shard have applied the same, and holds
// their chains and tables against each other.
func (m *team) agree(shardID uint64, ids ...ident.TenantID) {
	m.t.Helper()
	lead, _ := m.leader(shardID)
	index, err := lead.ServeReadIndex(ctx)
	if err != nil {
		m.t.Fatal(err)
	}
	m.eventually("all replicas up to date", func() bool {
		for _, h := range m.all() {
			if r := h.shards[shardID]; r == nil || r.Status().Applied < index || len(r.Status().Damaged) > 0 {
				return false
			}
		}
		return true
	})
	for _, id := range ids {
		want := chain(m.t, lead, id)
		state, _ := lead.Shard.Tenant(id)
		var sum [32]byte
		err := m.do(shardID, id, func(h *tenant.Tenant) (err error) { sum, err = h.TableHash(ctx); return err })
		if err != nil {
			m.t.Fatal(err)
		}
		for _, h := range m.all() {
			r := h.shards[shardID]
			st, err := r.Shard.Tenant(id)
			if err != nil || st.Log != state.Log || st.Phase != state.Phase || !bytes.Equal(st.Envelope, state.Envelope) {
				m.t.Fatalf("tenant %s on node %s: state %+v, %v; want %+v", id, h.node, st, err, state)
			}
			if got := chain(m.t, r, id); !bytes.Equal(got, want) {
				m.t.Fatalf("tenant %s: the chain on node %s is another one", id, h.node)
			}
			var got [32]byte
			m.eventually("the tables of a replica", func() bool {
				handle, err := r.Manager.Tenant(id)
				if err == nil {
					got, err = handle.Stale(patience).TableHash(ctx)
				}
				if err != nil && !retried(err) {
					m.t.Fatal(err)
				}
				return err == nil
			})
			if got != sum {
				m.t.Fatalf("tenant %s: the tables on node %s differ", id, h.node)
			}
		}
	}
}
