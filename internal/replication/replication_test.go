package replication

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"testing"

	"kimberlite/internal/disk"
	"kimberlite/internal/ident"
)

var (
	shard1 = ident.NewShardID(1)
	node1  = ident.NewNodeID(1)
)

// recorder is a state machine that remembers what it was given.
type recorder struct {
	mu      sync.Mutex
	indexes []uint64
	data    [][]byte
}

func (r *recorder) Apply(entries []Entry) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range entries {
		r.indexes = append(r.indexes, entries[i].Index)
		r.data = append(r.data, bytes.Clone(entries[i].Data))
		entries[i].Result = entries[i].Index
	}
	return nil
}

func mustOpen(t testing.TB, fs disk.FS, dir string, sm StateMachine) (*Store, *Group) {
	t.Helper()
	s, err := OpenStore(StoreOptions{FS: fs, Dir: dir})
	if err != nil {
		t.Fatalf("OpenStore: %v", err)
	}
	g, err := s.OpenGroup(GroupOptions{Shard: shard1, Node: node1}, sm)
	if err != nil {
		t.Fatalf("OpenGroup: %v", err)
	}
	return s, g
}

func TestProposedEntriesAreAppliedInOrderAndSurviveReopening(t *testing.T) {
	for name, fs := range map[string]disk.FS{"os": disk.OS{}, "mem": disk.NewMem()} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir() + "/store"
			want := 0
			for round := range 4 {
				sm := &recorder{}
				s, g := mustOpen(t, fs, dir, sm)
				if len(sm.data) != want {
					t.Fatalf("round %d: replayed %d entries, want %d", round, len(sm.data), want)
				}
				for range 50 {
					r, err := g.Propose(context.Background(), fmt.Appendf(nil, "entry %d", want))
					if err != nil {
						t.Fatal(err)
					}
					if r.(uint64) != sm.indexes[want] {
						t.Fatalf("result %v, want %d", r, sm.indexes[want])
					}
					want++
				}
				for i, d := range sm.data {
					if string(d) != fmt.Sprintf("entry %d", i) {
						t.Fatalf("entry %d is %q", i, d)
					}
				}
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}
