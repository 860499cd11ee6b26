package directory

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"kimberlite/internal/disk"
	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/replication"
)

// world is some nodes of a deployment in one process, each with a store of its
// own and a network between them that can be cut.
type world struct {
	t  *testing.T
	mu sync.Mutex // guards all below
	// nodes that are up.
	nodes map[ident.NodeID]*member
	disks map[ident.NodeID]*disk.Mem
	down  map[ident.NodeID]bool // cut off from all others
	// losing is the share of forwarded commands that are lost, and of answers.
	losing float64
	rng    *rand.Rand
	copies atomic.Int64 // checkpoints that were fetched
}

type member struct {
	*Directory
	w     *world
	id    ident.NodeID
	store *replication.Store
}

func newWorld(t *testing.T) *world {
	w := &world{
		t: t, nodes: map[ident.NodeID]*member{}, disks: map[ident.NodeID]*disk.Mem{},
		down: map[ident.NodeID]bool{}, rng: rand.New(rand.NewPCG(7, 7)),
	}
	t.Cleanup(func() {
		w.mu.Lock()
		all := w.nodes
		w.nodes = map[ident.NodeID]*member{}
		w.mu.Unlock()
		for _, m := range all {
			m.close()
		}
	})
	return w
}

func (m *member) close() {
	if err := m.Close(); err != nil {
		m.w.t.Errorf("node %s: %v", m.id, err)
	}
	if err := m.store.Close(); err != nil {
		m.w.t.Errorf("node %s: %v", m.id, err)
	}
}

func (w *world) reachable(a, b ident.NodeID) (*member, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	m := w.nodes[b]
	return m, m != nil && !w.down[a] && !w.down[b]
}

// sender is a node's transport.
type sender struct {
	w    *world
	from ident.NodeID
}

func (s sender) Send(to ident.NodeID, m replication.Message) {
	if peer, ok := s.w.reachable(s.from, to); ok {
		peer.store.Receive(s.from, m)
	}
}

func (w *world) lost() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.rng.Float64() < w.losing
}

var errLost = errors.New("lost")

// Forward implements Forwarder.
func (s sender) Forward(ctx context.Context, to ident.NodeID, command []byte) ([]byte, error) {
	peer, ok := s.w.reachable(s.from, to)
	if !ok || s.w.lost() {
		return nil, errLost
	}
	answer := peer.Serve(ctx, command)
	if _, ok := s.w.reachable(s.from, to); !ok || s.w.lost() {
		return nil, errLost
	}
	return answer, nil
}

// FetchCheckpoint implements Fetcher.
func (s sender) FetchCheckpoint(_ context.Context, from ident.NodeID, shard ident.ShardID) (replication.Checkpoint, error) {
	peer, ok := s.w.reachable(s.from, from)
	if !ok || !shard.IsDirectory() {
		return replication.Checkpoint{}, errLost
	}
	c, err := peer.Group().LastCheckpoint()
	if err != nil {
		return c, err
	}
	var b bytes.Buffer
	if err := replication.WriteCheckpoint(&b, c); err != nil {
		return c, err
	}
	s.w.copies.Add(1)
	return replication.ReadCheckpoint(&b)
}

// open starts a node; members are those of a new group, none says join.
func (w *world) open(n uint64, members ...uint64) *member {
	w.t.Helper()
	id := ident.NewNodeID(n)
	if w.disks[id] == nil {
		w.disks[id] = disk.NewMem()
	}
	s := sender{w, id}
	store, err := replication.OpenStore(replication.StoreOptions{FS: w.disks[id], Dir: "store", Transport: s, Tick: 10 * time.Millisecond})
	if err != nil {
		w.t.Fatal(err)
	}
	m := &member{w: w, id: id, store: store, Directory: New(Options{Node: id, Forward: s, Fetch: s, CheckpointInterval: -1})}
	w.mu.Lock()
	w.nodes[id] = m
	w.mu.Unlock()
	if err := m.Open(OpenOptions{Store: store, Members: replicas(members...), Join: len(members) == 0}); err != nil {
		w.t.Fatal(err)
	}
	return m
}

func replicas(nodes ...uint64) []replication.Replica {
	var all []replication.Replica
	for _, n := range nodes {
		id := ident.NewNodeID(n)
		all = append(all, replication.Replica{ID: ReplicaOf(id), Node: id})
	}
	return all
}

// stop ends a node.
func (w *world) stop(n uint64) {
	w.mu.Lock()
	m := w.nodes[ident.NewNodeID(n)]
	delete(w.nodes, m.id)
	w.mu.Unlock()
	m.close()
}

func (w *world) setDown(n ident.NodeID, down bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.down[n] = down
}

// wait polls until cond holds.
func wait(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !cond(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

func (w *world) leader() *member {
	w.t.Helper()
	var found *member
	wait(w.t, "a node leads", func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		for _, m := range w.nodes {
			if _, ok := m.Group().Lead(); ok && !w.down[m.id] {
				found = m
				return true
			}
		}
		return false
	})
	return found
}

func (m *member) must(c Command) Result {
	m.w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	r, err := m.Propose(ctx, c)
	if err != nil {
		m.w.t.Fatalf("node %s: %T: %v", m.id, c, err)
	}
	return r
}

func bootstrap(t *testing.T) Bootstrap {
	return Bootstrap{Deployment: "test", Region: testRegions[0], NodeAddresses: NodeAddresses{PeerAddr: "h:1"}, CA: testCA(t)}
}

// settle makes a deployment with a shard.
func settle(t *testing.T, m *member) ident.ShardID {
	t.Helper()
	m.must(bootstrap(t))
	return m.must(CreateShard{testRegions[0], []ident.NodeID{ident.NewNodeID(1)}}).Shard
}

func TestADirectoryOfOneComesBackFromItsStore(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := w.open(1, 1)
	shard := settle(t, m)
	for round := range 4 {
		for i := range 20 {
			id := ident.MustTenantID(uint64(1 + round*20 + i))
			made := m.must(ReserveTenant{id, "t" + id.String(), testRegions[0], shard})
			m.must(ActivateTenant{id, made.Epoch})
			if i == 10 && round%2 == 0 {
				if err := m.Checkpoint(); err != nil {
					t.Fatal(err)
				}
			}
		}
		want := m.Tenants(ident.TenantID{}, 1000)
		if round == 1 { // the power goes, rather than that it is closed
			w.disks[m.id] = w.disks[m.id].CrashClone(rand.New(rand.NewPCG(1, 1)))
		}
		w.stop(1)
		m = w.open(1, 1)
		wait(t, "all is replayed", func() bool { _, ok := m.Group().Lead(); return ok })
		if got := m.Tenants(ident.TenantID{}, 1000); !slices.Equal(got, want) {
			t.Fatalf("round %d: %d tenants came back, want %d", round, len(got), len(want))
		}
	}
	if n := m.TenantCount(shard); n != 80 {
		t.Errorf("%d tenants on the shard, want 80", n)
	}
}

func TestEveryNodeProposesAndSeesWhatItDid(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var all []*member
	for n := range uint64(3) {
		all = append(all, w.open(n+1, 1, 2, 3))
	}
	shard := settle(t, all[0])
	var wg sync.WaitGroup
	for k, m := range all {
		wg.Go(func() {
			for i := range 20 {
				id := ident.MustTenantID(uint64(k*100 + i + 1))
				made := m.must(ReserveTenant{id, "t" + id.String(), testRegions[0], shard})
				if got, ok := m.Tenant(id); !ok || got.Epoch != made.Epoch {
					t.Errorf("node %s does not see what it has done: %+v", m.id, got)
				}
				m.must(ActivateTenant{id, made.Epoch})
			}
		})
	}
	wg.Wait()
	if _, err := all[1].Propose(t.Context(), ReserveTenant{ident.MustTenantID(5), "other", testRegions[0], shard}); !fault.Is(err, fault.AlreadyExists) {
		t.Errorf("a refusal comes back as %v", err)
	}
	if _, err := all[2].Propose(t.Context(), ReserveTenant{ident.MustTenantID(500), "no/good", testRegions[0], shard}); !fault.Is(err, fault.Invalid) {
		t.Errorf("a bad name comes back as %v", err)
	}
	sameEverywhere(t, all)
}

// sameEverywhere compares all copies.
func sameEverywhere(t *testing.T, all []*member) {
	t.Helper()
	for _, m := range all {
		m.must(Barrier{})
	}
	for _, m := range all[1:] {
		if a, b := all[0].Tenants(ident.TenantID{}, 1e6), m.Tenants(ident.TenantID{}, 1e6); !slices.Equal(a, b) {
			t.Errorf("nodes %s and %s differ: %d tenants and %d", all[0].id, m.id, len(a), len(b))
		}
		if !reflect.DeepEqual(all[0].Nodes(), m.Nodes()) || !reflect.DeepEqual(all[0].Shards(), m.Shards()) {
			t.Errorf("nodes %s and %s differ", all[0].id, m.id)
		}
	}
}

// TestCommandsTakeEffectOnceWhileLeadersFallAndAnswersAreLost counts shards,
// which have ids of their own every time that one is made.
func TestCommandsTakeEffectOnceWhileLeadersFallAndAnswersAreLost(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var all []*member
	for n := range uint64(3) {
		all = append(all, w.open(n+1, 1, 2, 3))
	}
	settle(t, all[0])
	w.mu.Lock()
	w.losing = 0.2
	w.mu.Unlock()
	var done atomic.Bool
	var wg, fall sync.WaitGroup
	var made atomic.Int64
	for _, m := range all {
		wg.Go(func() {
			for !done.Load() {
				ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
				_, err := m.Propose(ctx, CreateShard{testRegions[0], []ident.NodeID{ident.NewNodeID(1)}})
				cancel()
				if err != nil {
					t.Errorf("node %s: %v", m.id, err)
					return
				}
				made.Add(1)
			}
		})
	}
	fall.Go(func() {
		for range 3 {
			before := made.Load()
			l := w.leader()
			w.setDown(l.id, true)
			wait(t, "the others go on", func() bool { return made.Load() > before+10 })
			w.setDown(l.id, false)
		}
		done.Store(true)
	})
	fall.Wait()
	done.Store(true)
	wg.Wait()
	w.mu.Lock()
	w.losing = 0
	w.mu.Unlock()
	sameEverywhere(t, all)
	if got := int64(len(all[0].Shards())); got != made.Load()+1 {
		t.Errorf("%d shards were made by %d commands", got, made.Load()+1)
	}
}

func TestAMinorityAcceptsNothingAndSaysSo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for n := range uint64(3) {
		w.open(n+1, 1, 2, 3)
	}
	l := w.leader()
	settle(t, l)
	w.setDown(l.id, true)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	_, err := l.Propose(ctx, SetSetting{"a", "b"})
	if !fault.Is(err, fault.OutcomeUnknown) && !fault.Is(err, fault.Unavailable) {
		t.Fatalf("a leader that is cut off: %v", err)
	}
	other := w.leader()
	other.must(SetSetting{"c", "d"})
	w.setDown(l.id, false)
	l.must(Barrier{})
	if l.Setting("c") != "d" || l.Setting("a") != other.Setting("a") {
		t.Errorf("after the cut: %q %q and %q", l.Setting("a"), l.Setting("c"), other.Setting("a"))
	}
	ctx, cancel = context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	for n := range uint64(3) {
		w.setDown(ident.NewNodeID(n+1), true)
	}
	follower := w.nodes[ident.NewNodeID(1)]
	if follower == w.nodes[other.id] {
		follower = w.nodes[ident.NewNodeID(2)]
	}
	if _, err := follower.Propose(ctx, SetSetting{"e", "f"}); err == nil {
		t.Error("a node that reaches nobody changed the directory")
	}
}

func TestANodeThatJoinsLateGetsACopy(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first := w.open(1, 1)
	shard := settle(t, first)
	for i := range uint64(50) {
		first.must(ReserveTenant{ident.MustTenantID(i + 1), fmt.Sprint("t", i), testRegions[0], shard})
		if i%20 == 19 {
			if err := first.Checkpoint(); err != nil {
				t.Fatal(err)
			}
		}
	}
	second := w.open(2)
	want := append(replicas(1), replication.Replica{ID: ident.NewReplicaID(2), Node: ident.NewNodeID(2), Learner: true})
	if err := first.Group().ChangeMembers(t.Context(), want); err != nil {
		t.Fatal(err)
	}
	wait(t, "the learner knows all", func() bool { n, _ := second.Counts(); return n == 50 })
	if w.copies.Load() == 0 {
		t.Error("the learner was sent the log, and the test shows nothing of copies")
	}
	changed := second.Watch()
	second.must(SetSetting{"a", "b"})
	select {
	case <-changed:
	case <-time.After(10 * time.Second):
		t.Error("whoever watches hears of nothing")
	}
	sameEverywhere(t, []*member{first, second})
	if err := second.Checkpoint(); err != nil {
		t.Fatal(err)
	}
	w.stop(2)
	second = w.open(2)
	if n, _ := second.Counts(); n != 50 {
		t.Errorf("%d tenants came back on the learner, want 50", n)
	}
}
