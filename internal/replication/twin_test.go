package replication

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"

	"kimberlite/internal/disk"
)

// twin is what a store with one group must look like from outside, as plainly
// as it can be said: a slice, and a map that a checkpoint saves.
type twin struct {
	log   [][]byte          // every acknowledged proposal
	state map[string]string // what the last checkpoint saved
	saved int               // how much of log it covers
}

// machine is a state machine over a checkpoint: it knows how many proposals
// it has seen, across restarts.
type machine struct {
	seen   int
	log    [][]byte // proposals after the checkpoint it began with
	index  uint64
	broken error
}

func (m *machine) Apply(entries []Entry) error {
	for i := range entries {
		if entries[i].Index <= m.index {
			m.broken = fmt.Errorf("index %d after %d", entries[i].Index, m.index)
			return m.broken
		}
		m.index = entries[i].Index
		m.log = append(m.log, bytes.Clone(entries[i].Data))
		m.seen++
		entries[i].Result = m.seen
	}
	return nil
}

// boot opens the store as a shard does: checkpoint first, then the log.
func boot(t *testing.T, fs disk.FS, memTable int) (*Store, *Group, *machine, map[string]string) {
	t.Helper()
	s, err := OpenStore(StoreOptions{FS: fs, Dir: "node/log", MemTableBytes: memTable})
	if err != nil {
		t.Fatalf("OpenStore: %v", err)
	}
	state := map[string]string{}
	m := &machine{}
	m.index, err = s.LoadCheckpoint(shard1, func(key, value []byte) error {
		state[string(key)] = string(value)
		return nil
	})
	if err != nil {
		t.Fatalf("LoadCheckpoint: %v", err)
	}
	if n, ok := state["seen"]; ok {
		if _, err := fmt.Sscan(n, &m.seen); err != nil {
			t.Fatal(err)
		}
	}
	g, err := s.OpenGroup(GroupOptions{Shard: shard1, Node: node1}, m)
	if err != nil {
		t.Fatalf("OpenGroup: %v", err)
	}
	return s, g, m, state
}

func (w *twin) compare(t *testing.T, m *machine, state map[string]string) {
	t.Helper()
	if !maps.Equal(state, w.state) {
		t.Fatalf("checkpoint holds %v, want %v", state, w.state)
	}
	if m.broken != nil {
		t.Fatal(m.broken)
	}
	if m.seen != len(w.log) || len(m.log) != len(w.log)-w.saved {
		t.Fatalf("%d proposals, %d of them replayed; want %d and %d", m.seen, len(m.log), len(w.log), len(w.log)-w.saved)
	}
	for i, data := range m.log {
		if !bytes.Equal(data, w.log[w.saved+i]) {
			t.Fatalf("proposal %d differs", w.saved+i)
		}
	}
}

func randomData(rng *rand.Rand) []byte {
	size := rng.IntN(400)
	switch rng.IntN(40) {
	case 0:
		size = 100_000 + rng.IntN(100_000) // a batch that the engine takes for large
	case 1:
		size = 0
	}
	data := make([]byte, size)
	for i := range data {
		data[i] = byte(rng.Uint32())
	}
	return data
}

func TestRandomHistoriesWithPowerLossMatchTheNaiveTwin(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 1))
			mem := disk.NewMem()
			w := &twin{state: map[string]string{}}
			for range 10 {
				s, g, m, state := boot(t, mem, 128<<10)
				w.compare(t, m, state)
				for range 1 + rng.IntN(60) {
					w.random(t, rng, g, m)
				}
				w.reboot(t, rng, &mem, s)
			}
			s, _, m, state := boot(t, mem, 128<<10)
			w.compare(t, m, state)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// random does one thing to the group and to the twin.
func (w *twin) random(t *testing.T, rng *rand.Rand, g *Group, m *machine) {
	t.Helper()
	switch rng.IntN(20) {
	case 0:
		state := map[string]string{"seen": fmt.Sprint(len(w.log))}
		kvs := []KV{{[]byte("seen"), []byte(state["seen"])}}
		for range rng.IntN(5) {
			key := fmt.Sprint("key", rng.IntN(8))
			if _, ok := w.state[key]; ok && rng.IntN(2) == 0 {
				kvs = append(kvs, KV{Key: []byte(key)})
				delete(w.state, key)
			} else {
				kvs = append(kvs, KV{[]byte(key), []byte(state["seen"])})
				w.state[key] = state["seen"]
			}
		}
		if err := g.SaveCheckpoint(m.index, kvs); err != nil {
			t.Fatal(err)
		}
		w.state["seen"] = state["seen"]
		w.saved = len(w.log)
	case 1:
		n := 1 + rng.IntN(50)
		done := make(chan error, n)
		for range n {
			data := randomData(rng)
			w.log = append(w.log, bytes.Clone(data))
			g.ProposeAsync(data, func(_ any, err error) { done <- err })
			clear(data) // it must not be kept
		}
		for range n {
			if err := <-done; err != nil {
				t.Fatal(err)
			}
		}
	default:
		data := randomData(rng)
		result, err := g.Propose(context.Background(), data)
		if err != nil {
			t.Fatal(err)
		}
		w.log = append(w.log, data)
		if result != len(w.log) {
			t.Fatalf("result %v, want %d", result, len(w.log))
		}
	}
}

// reboot ends the store, by closing it or by a power loss.
func (w *twin) reboot(t *testing.T, rng *rand.Rand, mem **disk.Mem, s *Store) {
	t.Helper()
	if rng.IntN(3) == 0 {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		return
	}
	lost := (*mem).CrashClone(rng)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	*mem = lost
}

func TestAcknowledgedProposalsSurvivePowerLossAtEverySync(t *testing.T) {
	const writers, each = 6, 60
	mem := disk.NewMem()
	s, g, m, _ := boot(t, mem, 64<<10)

	crashes := newCrashes(mem)
	type promise struct {
		clone *disk.Mem
		acked int
	}
	var promises []promise
	crashes.at = func(clone func() *disk.Mem) {
		acked := int(g.Applied()) // before the clone: what was acknowledged by then must be in it
		promises = append(promises, promise{clone(), acked})
	}
	crashes.start()
	errs := make(chan error, writers)
	for w := range writers {
		go func() {
			rng := rand.New(rand.NewPCG(uint64(w), 2))
			for i := range each {
				if _, err := g.Propose(context.Background(), append(fmt.Appendf(nil, "%d/%d ", w, i), randomData(rng)...)); err != nil {
					errs <- err
					return
				}
				if w == 0 && i%20 == 19 {
					if err := g.SaveCheckpoint(g.Applied(), nil); err != nil {
						errs <- err
						return
					}
				}
			}
			errs <- nil
		}()
	}
	for range writers {
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
	}
	crashes.stop()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d power losses", len(promises))
	if len(promises) < 50 {
		t.Fatalf("only %d power losses", len(promises))
	}
	whole := m.log
	for i, p := range promises {
		checkClone(t, i, p.clone, p.acked, whole)
	}
}

// checkClone opens what a power loss left and holds it against the log that
// the store had in the end: it must be a beginning of it, from a checkpoint
// on, that holds all that was acknowledged.
func checkClone(t *testing.T, n int, clone *disk.Mem, acked int, whole [][]byte) {
	t.Helper()
	s, err := OpenStore(StoreOptions{FS: clone, Dir: "node/log"})
	if err != nil {
		t.Fatalf("power loss %d: OpenStore: %v", n, err)
	}
	defer s.Close()
	index, err := s.LoadCheckpoint(shard1, func(_, _ []byte) error { return nil })
	if err != nil {
		t.Fatalf("power loss %d: LoadCheckpoint: %v", n, err)
	}
	m := &machine{index: index}
	g, err := s.OpenGroup(GroupOptions{Shard: shard1, Node: node1, MinIndex: uint64(acked)}, m)
	if err != nil {
		t.Fatalf("power loss %d, %d acknowledged: OpenGroup: %v", n, acked, err)
	}
	// The first proposal of the store's one session stands after two entries
	// that are not proposals; the clone's leader has added one behind.
	const before = 2
	from := max(int(index)-before, 0)
	last := int(g.Applied()) - 1 - before
	if last < acked-before || from+len(m.log) != last {
		t.Fatalf("power loss %d: proposals %d to %d, with %d acknowledged", n, from, from+len(m.log), acked-before)
	}
	for i, data := range m.log {
		if !bytes.Equal(data, whole[from+i]) {
			t.Fatalf("power loss %d: proposal %d differs", n, from+i)
		}
	}
	if _, err := g.Propose(context.Background(), []byte("after")); err != nil {
		t.Fatalf("power loss %d: %v", n, err)
	}
}
