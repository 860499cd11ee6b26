package replication

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"kimberlite/internal/disk"
	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
)

// net is a network of stores in one process, with the faults of a real one.
type net struct {
	t    testing.TB
	tick time.Duration

	mu     sync.Mutex // guards all below
	rng    *rand.Rand
	nodes  map[ident.NodeID]*testNode
	cut    map[[2]ident.NodeID]bool // one way
	drop   float64                  // share of messages
	repeat float64
	delay  time.Duration // at most
	sent   int

	history *history
}

// testNode is one store of the net, its disk and its replica of shard 1.
type testNode struct {
	net     *net
	id      ident.NodeID
	replica ident.ReplicaID
	mem     *disk.Mem
	join    bool

	mu    sync.Mutex // guards all below
	store *Store
	group *Group
	sm    *follower
	life  *life
}

// life is one run of a node, as its power sees it: what a store says or does
// after the power went is not heard, and was not seen.
type life struct {
	node *testNode
	over atomic.Bool
}

// history is what the whole net has seen, whoever crashed since.
type history struct {
	t testing.TB

	mu      sync.Mutex // guards all below
	applied map[uint64]string
	leaders map[uint64]ident.ReplicaID // by term
	last    uint64                     // index of the last acknowledged proposal
	acked   map[string]bool            // true: took effect, false: did not
}

// follower is a state machine that keeps all it was given.
type follower struct {
	node *testNode
	life *life

	mu    sync.Mutex // guards all below
	index uint64
	items []item
	saved int // items in the checkpoint
	fail  error
	slow  chan struct{} // Fetch waits for it
	copys int
}

type item struct {
	index uint64
	data  string
}

func newNet(t testing.TB, seed uint64) *net {
	return &net{
		t: t, tick: 5 * time.Millisecond, rng: rand.New(rand.NewPCG(seed, 99)),
		nodes: map[ident.NodeID]*testNode{}, cut: map[[2]ident.NodeID]bool{},
		history: &history{t: t, applied: map[uint64]string{}, leaders: map[uint64]ident.ReplicaID{}, acked: map[string]bool{}},
	}
}

// members returns replicas 101… on nodes 1…n, all voters.
func members(n int) []Replica {
	var out []Replica
	for i := range n {
		out = append(out, Replica{ID: ident.NewReplicaID(uint64(101 + i)), Node: ident.NewNodeID(uint64(1 + i))})
	}
	return out
}

// start makes n nodes that are the members of a new group.
func (n *net) start(count int) {
	n.t.Helper()
	for _, r := range members(count) {
		n.add(r, false)
	}
	for _, r := range members(count) {
		n.node(r.Node).open(members(count))
	}
	n.t.Cleanup(n.stop)
}

// add makes a node with an empty disk.
func (n *net) add(r Replica, join bool) *testNode {
	n.mu.Lock()
	defer n.mu.Unlock()
	node := &testNode{net: n, id: r.Node, replica: r.ID, mem: disk.NewMem(), join: join}
	n.nodes[r.Node] = node
	return node
}

func (n *net) node(id ident.NodeID) *testNode {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.nodes[id]
}

func (n *net) all() (out []*testNode) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, node := range n.nodes {
		out = append(out, node)
	}
	return out
}

func (n *net) stop() {
	for _, node := range n.all() {
		node.close()
	}
}

// open opens the node's store and group as a shard does.
func (d *testNode) open(members []Replica) {
	d.net.t.Helper()
	if err := d.tryOpen(members); err != nil {
		d.net.t.Fatalf("node %s: %v", d.id, err)
	}
}

func (d *testNode) tryOpen(members []Replica) error {
	now := &life{node: d}
	s, err := OpenStore(StoreOptions{FS: d.mem, Dir: "node/log", MemTableBytes: 256 << 10, Transport: now, Tick: d.net.tick})
	if err != nil {
		return err
	}
	sm := &follower{node: d, life: now}
	sm.index, err = s.LoadCheckpoint(shard1, sm.load)
	if err != nil {
		return errors.Join(err, s.Close())
	}
	sm.saved = len(sm.items)
	d.mu.Lock()
	d.store, d.sm, d.life = s, sm, now
	d.mu.Unlock()
	g, err := s.OpenGroup(GroupOptions{
		Shard: shard1, Node: d.id, Replica: d.replica, Members: members, Join: d.join,
		OnChange: func(st Status) {
			if !now.over.Load() {
				d.net.history.change(st)
			}
		},
	}, sm)
	if err != nil {
		return errors.Join(err, s.Close())
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.group = g
	return nil
}

func (d *testNode) close() {
	d.mu.Lock()
	s := d.store
	d.store, d.group = nil, nil
	d.mu.Unlock()
	if s != nil {
		_ = s.Close()
	}
}

// crash ends the node as a power loss does.
func (d *testNode) crash(rng *rand.Rand) {
	d.mu.Lock()
	s := d.store
	d.store, d.group = nil, nil
	if d.life != nil {
		d.life.over.Store(true)
	}
	d.mu.Unlock()
	if s == nil {
		return
	}
	clone := d.mem.CrashClone(rng)
	_ = s.Close()
	d.mem = clone
}

func (d *testNode) now() (*Group, *follower) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.group, d.sm
}

// Send implements Transport for the node's own store.
func (l *life) Send(to ident.NodeID, m Message) {
	d, n := l.node, l.node.net
	if l.over.Load() {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.sent++
	dst := n.nodes[to]
	if dst == nil || n.cut[[2]ident.NodeID{d.id, to}] || n.rng.Float64() < n.drop {
		return
	}
	times := 1
	if n.rng.Float64() < n.repeat {
		times = 2
	}
	for range times {
		delay := time.Duration(0)
		if n.delay > 0 {
			delay = time.Duration(n.rng.Int64N(int64(n.delay)))
		}
		from := d.id
		time.AfterFunc(delay, func() {
			dst.mu.Lock()
			s := dst.store
			dst.mu.Unlock()
			if s != nil {
				s.Receive(from, m)
			}
		})
	}
}

// sever cuts the links between two nodes, in both directions or one.
func (n *net) sever(a, b ident.NodeID, both bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut[[2]ident.NodeID{a, b}] = true
	if both {
		n.cut[[2]ident.NodeID{b, a}] = true
	}
}

// isolate cuts a node from all others.
func (n *net) isolate(a ident.NodeID) {
	for _, b := range n.all() {
		if b.id != a {
			n.sever(a, b.id, true)
		}
	}
}

func (n *net) heal() {
	n.mu.Lock()
	defer n.mu.Unlock()
	clear(n.cut)
	n.drop, n.repeat, n.delay = 0, 0, 0
}

func (n *net) severed(a, b ident.NodeID) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.cut[[2]ident.NodeID{a, b}] || n.cut[[2]ident.NodeID{b, a}]
}

// within polls until ok, and fails the test when that takes too long.
func (n *net) within(what string, ok func() bool) {
	n.t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(n.tick) {
		if time.Now().After(end) {
			for _, d := range n.all() {
				if g, sm := d.now(); g != nil {
					n.t.Logf("node %s: %+v, machine at %d", d.id, g.Status(), sm.at())
				}
			}
			n.t.Fatalf("timed out: %s", what)
		}
	}
}

// leader waits for a node that leads and has applied its first entry.
func (n *net) leader() *testNode {
	n.t.Helper()
	var out *testNode
	n.within("no leader", func() bool {
		for _, d := range n.all() {
			if g, _ := d.now(); g != nil {
				if _, ok := g.Lead(); ok {
					out = d
					return true
				}
			}
		}
		return false
	})
	return out
}

// write proposes data at whoever leads until it is acknowledged.
func (n *net) write(data string) {
	n.t.Helper()
	n.within("no write", func() bool {
		g, _ := n.leader().now()
		return g != nil && n.history.propose(g, data, 5*time.Second) == nil
	})
}

// propose proposes once and notes the outcome.
func (h *history) propose(g *Group, data string, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	index, err := g.Propose(ctx, []byte(data))
	if life, ok := g.store.transport.(*life); ok && life.over.Load() {
		return errAway // nobody heard
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case err == nil:
		h.last = max(h.last, index.(uint64))
		h.acked[data] = true
	case fault.Is(err, fault.OutcomeUnknown):
	default:
		if _, ok := h.acked[data]; !ok {
			h.acked[data] = false
		}
	}
	return err
}

// change is told of every replica's status.
func (h *history) change(s Status) {
	if s.Role != RoleLeader {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if other, ok := h.leaders[s.Term]; ok && other != s.Self.ID {
		h.t.Errorf("replicas %s and %s both lead in term %d", other, s.Self.ID, s.Term)
	}
	h.leaders[s.Term] = s.Self.ID
}

// saw compares an applied entry with what others applied there.
func (h *history) saw(index uint64, data string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if was, ok := h.applied[index]; ok && was != data {
		h.t.Errorf("entry %d is %q here and %q elsewhere", index, data, was)
	}
	h.applied[index] = data
}

func (h *history) acknowledged() uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.last
}

// check holds what every node has in the end against the history.
func (h *history) check(n *net) {
	n.t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	count := map[string]int{}
	for _, data := range h.applied {
		count[data]++
	}
	took := 0
	for data, ok := range h.acked {
		switch {
		case ok && count[data] == 0:
			n.t.Errorf("%q was acknowledged and is lost", data)
		case ok && count[data] > 1, !ok && count[data] > 0:
			n.t.Errorf("%q took effect %d times; acknowledged: %v", data, count[data], ok)
		case ok:
			took++
		}
	}
	n.t.Logf("%d acknowledged, %d refused, %d applied, %d terms", took, len(h.acked)-took, len(h.applied), len(h.leaders))
	for _, d := range n.all() {
		g, sm := d.now()
		if g == nil {
			continue
		}
		sm.mu.Lock()
		have := map[uint64]string{}
		for i, it := range sm.items {
			have[it.index] = it.data
			if i > 0 && it.index <= sm.items[i-1].index {
				n.t.Errorf("node %s: entry %d after %d", d.id, it.index, sm.items[i-1].index)
			}
		}
		for index, data := range h.applied {
			if index <= sm.index && have[index] != data {
				n.t.Errorf("node %s has %q at %d, where others have %q", d.id, have[index], index, data)
			}
		}
		sm.mu.Unlock()
	}
}

// settle waits until all open nodes have applied the same.
func (n *net) settle() {
	n.t.Helper()
	n.heal()
	n.write(fmt.Sprintf("last of all %d", time.Now().UnixNano()))
	n.within("replicas differ", func() bool {
		g, _ := n.leader().now()
		if g == nil {
			return false
		}
		st := g.Status()
		for _, r := range st.Members {
			if _, sm := n.node(r.Node).now(); sm == nil || sm.at() < n.history.acknowledged() {
				return false
			}
		}
		return true
	})
}

func (m *follower) at() uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.index
}

func (m *follower) Apply(entries []Entry) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil {
		return m.fail
	}
	for i := range entries {
		e := &entries[i]
		if e.Index <= m.index {
			m.node.net.t.Errorf("node %s: entry %d after %d", m.node.id, e.Index, m.index)
		}
		m.index = e.Index
		m.items = append(m.items, item{e.Index, string(e.Data)})
		if !m.life.over.Load() {
			m.node.net.history.saw(e.Index, string(e.Data))
		}
		e.Result = e.Index
	}
	return nil
}

// load takes one key of a checkpoint: an item by its index.
func (m *follower) load(key, value []byte) error {
	m.items = append(m.items, item{binary.BigEndian.Uint64(key), string(value)})
	return nil
}

// checkpoint saves what the machine has.
func (d *testNode) checkpoint() error {
	g, m := d.now()
	if g == nil {
		return nil
	}
	m.mu.Lock()
	var kvs []KV
	for _, it := range m.items[m.saved:] {
		kvs = append(kvs, KV{binary.BigEndian.AppendUint64(nil, it.index), []byte(it.data)})
	}
	index, saved := m.index, len(m.items)
	m.mu.Unlock()
	if err := g.SaveCheckpoint(index, kvs); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.saved = max(m.saved, saved)
	return nil
}

var errAway = errors.New("the other node does not answer")

// Fetch implements Follower: it takes the other's checkpoint as it is.
func (m *follower) Fetch(ctx context.Context, from ident.NodeID, atLeast uint64) (Checkpoint, error) {
	n := m.node.net
	if slow := m.gate(); slow != nil {
		select {
		case <-slow:
		case <-ctx.Done():
			return Checkpoint{}, ctx.Err()
		}
	}
	if n.severed(m.node.id, from) {
		return Checkpoint{}, errAway
	}
	g, _ := n.node(from).now()
	if g == nil {
		return Checkpoint{}, errAway
	}
	c, err := g.LastCheckpoint()
	if err == nil && c.Index < atLeast {
		return Checkpoint{}, errAway
	}
	return c, err
}

// Restored implements Follower.
func (m *follower) Restored(c Checkpoint) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if c.Index <= m.index {
		m.node.net.t.Errorf("node %s: a copy at %d after %d", m.node.id, c.Index, m.index)
	}
	m.items = nil
	for _, kv := range c.KVs {
		if err := m.load(kv.Key, kv.Value); err != nil {
			return err
		}
	}
	if !m.life.over.Load() {
		for _, it := range m.items {
			m.node.net.history.saw(it.index, it.data)
		}
	}
	m.index, m.saved = c.Index, len(m.items)
	m.copys++
	return nil
}

func (m *follower) gate() chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.slow
}
