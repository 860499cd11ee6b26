package directory

import (
	"maps"
	"math/rand/v2"
	"testing"
)

func TestAnIndexFindsWhatAMapDoes(t *testing.T) {
	t.Parallel()
	for name, hashes := range map[string]uint64{"spread": 1 << 63, "in one part and crowded": 300, "all alike": 1} {
		t.Run(name, func(t *testing.T) {
			g := rand.New(rand.NewPCG(5, 6))
			x, naive := &index{}, map[uint32]uint64{} // slot: hash
			check := func() {
				t.Helper()
				for slot, hash := range naive {
					found := 0
					for s := x.seek(hash); ; {
						got, ok := s.next()
						if !ok {
							break
						}
						if got == slot {
							found++
						}
						if uint32(naive[got]) != uint32(hash) {
							t.Fatalf("slot %d was found by hash %x and was put in by %x", got, hash, naive[got])
						}
					}
					if found != 1 {
						t.Fatalf("slot %d was found %d times", slot, found)
					}
				}
			}
			for i := range uint32(3000) {
				hash := g.Uint64N(hashes)
				naive[i] = hash
				x.add(hash, i)
				if i%4 == 3 { // map order is random
					for slot, hash := range maps.All(naive) {
						x.remove(hash, slot)
						delete(naive, slot)
						break
					}
				}
				if i%300 == 0 {
					check()
				}
			}
			check()
			for slot, hash := range naive {
				x.remove(hash, slot)
			}
			for i := range x.parts {
				if x.parts[i].used != 0 {
					t.Fatalf("part %d has %d entries left", i, x.parts[i].used)
				}
			}
		})
	}
}
