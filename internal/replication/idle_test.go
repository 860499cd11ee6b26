package replication

import (
	"context"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"kimberlite/internal/disk"
	"kimberlite/internal/ident"
)

// BenchmarkIdleGroups says what quiet groups cost: 64 of three members each,
// on three stores in this process, with the clock of production. The figure is
// the share of a core that one store takes, with the transport of this test,
// which is a call.
func BenchmarkIdleGroups(b *testing.B) {
	const groups = 64
	r := &relay{stores: map[ident.NodeID]*Store{}}
	for _, m := range members(3) {
		s, err := OpenStore(StoreOptions{FS: disk.NewMem(), Dir: "log", Transport: relayFrom{r, m.Node}})
		if err != nil {
			b.Fatal(err)
		}
		r.stores[m.Node] = s
	}
	var all []*Group
	for _, m := range members(3) {
		for i := range groups {
			g, err := r.stores[m.Node].OpenGroup(GroupOptions{
				Shard: ident.NewShardID(uint64(i + 1)), Node: m.Node, Replica: m.ID, Members: members(3),
			}, quiet{})
			if err != nil {
				b.Fatal(err)
			}
			all = append(all, g)
		}
	}
	leading := func() (n int) {
		for _, g := range all {
			if _, ok := g.Lead(); ok {
				n++
			}
		}
		return n
	}
	for leading() < groups {
		time.Sleep(10 * time.Millisecond)
	}
	time.Sleep(time.Second)
	for b.Loop() {
		const span = 5 * time.Second
		before := processTime(b)
		time.Sleep(span)
		b.ReportMetric(100*(processTime(b)-before).Seconds()/span.Seconds()/3, "%core/store")
	}
	if leading() != groups {
		b.Error("a leader was lost")
	}
	for _, s := range r.stores {
		if err := s.Close(); err != nil {
			b.Error(err)
		}
	}
}

func processTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// relay hands messages over by a goroutine each way.
type relay struct {
	stores map[ident.NodeID]*Store
}

type relayFrom struct {
	*relay
	from ident.NodeID
}

func (r relayFrom) Send(to ident.NodeID, m Message) {
	s := r.stores[to]
	go s.Receive(r.from, m)
}

// quiet is a state machine without state.
type quiet struct{ discard }

func (quiet) Fetch(context.Context, ident.NodeID, uint64) (Checkpoint, error) {
	return Checkpoint{}, errAway
}
func (quiet) Restored(Checkpoint) error { return nil }

// BenchmarkProposeOfThree measures proposals to a group of three, on three
// stores on the disk of this machine, by one and by many at a time.
func BenchmarkProposeOfThree(b *testing.B) {
	for _, callers := range []int{1, 32} {
		b.Run("callers="+strconv.Itoa(callers), func(b *testing.B) {
			r := &relay{stores: map[ident.NodeID]*Store{}}
			var all []*Group
			for _, m := range members(3) {
				s, err := OpenStore(StoreOptions{Dir: benchDir(b), Transport: relayFrom{r, m.Node}})
				if err != nil {
					b.Fatal(err)
				}
				r.stores[m.Node] = s
				defer s.Close()
			}
			for _, m := range members(3) {
				g, err := r.stores[m.Node].OpenGroup(GroupOptions{Shard: shard1, Node: m.Node, Replica: m.ID, Members: members(3)}, quiet{})
				if err != nil {
					b.Fatal(err)
				}
				all = append(all, g)
			}
			var lead *Group
			for lead == nil {
				time.Sleep(10 * time.Millisecond)
				for _, g := range all {
					if _, ok := g.Lead(); ok {
						lead = g
					}
				}
			}
			data := make([]byte, 512)
			b.ResetTimer()
			var wg sync.WaitGroup
			for range callers {
				wg.Go(func() {
					for range b.N/callers + 1 {
						if _, err := lead.Propose(context.Background(), data); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
		})
	}
}
