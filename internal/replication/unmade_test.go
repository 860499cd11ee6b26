package replication

import (
	"context"
	"math/rand/v2"
	"testing"

	"kimberlite/internal/disk"
	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
)

// TestAStoreWhoseMakingWasInterruptedIsEmptyAndNotDamaged looks at a store as
// a power loss at any sync point of its making leaves it.
func TestAStoreWhoseMakingWasInterruptedIsEmptyAndNotDamaged(t *testing.T) {
	mem := disk.NewMem()
	var clones []*disk.Mem
	rng := rand.New(rand.NewPCG(3, 4))
	mem.BeforeSync(func(string) {
		clones = append(clones, mem.CrashClone(nil))
		for range 20 {
			clones = append(clones, mem.CrashClone(rng))
		}
	})
	mem.OnSync(func(string) { clones = append(clones, mem.CrashClone(nil)) })
	s, err := OpenStore(StoreOptions{FS: mem, Dir: "/store"})
	if err != nil {
		t.Fatal(err)
	}
	mem.BeforeSync(nil)
	mem.OnSync(nil)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for i, clone := range clones {
		err := InspectStore(clone, "/store", func(ident.ShardID, uint64, []byte) error {
			t.Errorf("clone %d holds an entry", i)
			return nil
		})
		if err != nil && !fault.Is(err, fault.NotFound) {
			t.Errorf("clone %d of %d: %v", i, len(clones), err)
		}
		s, g := mustOpen(t, clone, "/store", &recorder{})
		if _, err := g.Propose(context.Background(), []byte("entry")); err != nil {
			t.Errorf("clone %d of %d: %v", i, len(clones), err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	if len(clones) < 8 {
		t.Errorf("only %d clones", len(clones))
	}
}

// TestAStoreIsFoundAgainThoughNamesReachTheDiskInAnyOrder: the engine removes
// the name that says which manifest counts right after it made the next one.
func TestAStoreIsFoundAgainThoughNamesReachTheDiskInAnyOrder(t *testing.T) {
	mem := disk.NewMem()
	s, g := mustOpen(t, mem, "/store", &recorder{})
	if _, err := g.Propose(context.Background(), []byte("entry")); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	var clones []*disk.Mem
	mem.BeforeSync(func(string) {
		for range 20 {
			clones = append(clones, mem.CrashClone(rng))
		}
	})
	s, _ = mustOpen(t, mem, "/store", &recorder{})
	mem.BeforeSync(nil)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for i, clone := range clones {
		sm := &recorder{}
		s, _ := mustOpen(t, clone, "/store", sm)
		if len(sm.data) != 1 {
			t.Errorf("clone %d of %d: %d entries", i, len(clones), len(sm.data))
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
