package directory

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

func TestAnOrderListsWhatASortedSliceDoes(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		id   func(g *rand.Rand, i int) uint64
	}{
		{"rising", func(_ *rand.Rand, i int) uint64 { return uint64(i + 1) }},
		{"falling", func(_ *rand.Rand, i int) uint64 { return uint64(1e6 - i) }},
		{"random", func(g *rand.Rand, _ int) uint64 { return g.Uint64() }},
		{"dense", func(g *rand.Rand, _ int) uint64 { return g.Uint64N(9000) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := rand.New(rand.NewPCG(1, 2))
			o, naive := order{}, map[uint64]bool{}
			check := func() {
				t.Helper()
				want := make([]uint64, 0, len(naive))
				for id := range naive {
					want = append(want, id)
				}
				slices.Sort(want)
				from := g.Uint64N(1e4)
				at, _ := slices.BinarySearch(want, from)
				for _, begin := range []struct {
					id   uint64
					want []uint64
				}{{0, want}, {from, want[at:]}} {
					got := []uint64{}
					o.from(begin.id, func(id uint64) bool { got = append(got, id); return true })
					if !slices.Equal(got, begin.want) {
						t.Fatalf("from %d: %d ids, want %d", begin.id, len(got), len(begin.want))
					}
				}
			}
			for i := range 5000 {
				if id := tt.id(g, i); !naive[id] {
					naive[id] = true
					o.add(id)
				}
			}
			check()
			if tt.name == "rising" && len(o.pages) != 5000/pageIDs+1 {
				t.Errorf("rising ids take %d pages", len(o.pages))
			}
			for len(naive) > 0 {
				for id := range naive {
					if delete(naive, id); len(naive)%3 == 0 { // map order is random
						o.remove(id)
						break
					}
					o.remove(id)
				}
				if len(naive)%500 == 0 {
					check()
				}
			}
			check()
			if len(o.pages) != 0 {
				t.Errorf("an empty order has %d pages", len(o.pages))
			}
		})
	}
}

func TestAnArenaKeepsNamesAndGivesSpaceBack(t *testing.T) {
	t.Parallel()
	g := rand.New(rand.NewPCG(3, 4))
	a := arena{}
	type kept struct {
		ref  nameRef
		name string
	}
	var all []kept
	for i := range 60_000 {
		name := fmt.Sprintf("%0*d", 1+g.IntN(128), i)[:]
		all = append(all, kept{a.put(name), name})
		if len(all) > 5000 {
			n := g.IntN(100) // old ones go first, most often
			a.drop(all[n].ref)
			all = slices.Delete(all, n, n+1)
		}
	}
	for _, k := range all {
		if got := a.get(k.ref); got != k.name {
			t.Fatalf("%q is kept as %q", k.name, got)
		}
	}
	if live := len(a.chunks) - len(a.free); live > 60 {
		t.Errorf("%d chunks of %d bytes for 5000 names", live, chunkBytes)
	}
}
