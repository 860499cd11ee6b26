package replication

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"kimberlite/internal/ident"
)

// torture is a net whose nodes, links, leaders and members change at random
// under writes and reads. The history is its naive twin.
type torture struct {
	*net
	rng  *rand.Rand // of the one who does it
	next uint64     // node and replica that come next
	size int

	stop    chan struct{}
	callers sync.WaitGroup
}

func TestRandomFaultsLoseNothingAndShowNothingStale(t *testing.T) {
	steps := 40
	if testing.Short() {
		steps = 15
	}
	for _, size := range []int{3, 5} {
		for seed := range uint64(2) {
			t.Run(fmt.Sprintf("members=%d/seed=%d", size, seed), func(t *testing.T) {
				n := newNet(t, seed)
				n.start(size)
				n.write("first")
				o := &torture{net: n, rng: rand.New(rand.NewPCG(seed, uint64(size))), next: 10, size: size, stop: make(chan struct{})}
				o.call(3, 3)
				for range steps {
					o.step()
				}
				close(o.stop)
				o.callers.Wait()
				for _, d := range n.all() {
					if g, _ := d.now(); g == nil {
						d.open(nil)
					}
				}
				n.settle()
				n.history.check(n)
			})
		}
	}
}

// any returns a node at random.
func (o *torture) any(rng *rand.Rand) *testNode {
	nodes := o.all()
	slices.SortFunc(nodes, func(a, b *testNode) int { return int(a.id.Uint64()) - int(b.id.Uint64()) })
	return nodes[rng.IntN(len(nodes))]
}

// call writes and reads until stop is closed.
func (o *torture) call(writers, readers int) {
	loop := func(id int, do func(rng *rand.Rand, i int)) {
		o.callers.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(id), 5))
			for i := 0; ; i++ {
				select {
				case <-o.stop:
					return
				case <-time.After(time.Millisecond):
				}
				do(rng, i)
			}
		})
	}
	for w := range writers {
		loop(w, func(rng *rand.Rand, i int) {
			if g, _ := o.any(rng).now(); g != nil {
				data := fmt.Sprintf("%d/%d %s", w, i, randomData(rng))
				_ = o.history.propose(g, data, time.Duration(1+rng.IntN(400))*time.Millisecond)
			}
		})
	}
	for r := range readers {
		loop(100+r, func(rng *rand.Rand, _ int) {
			d := o.any(rng)
			g, sm := d.now()
			if g == nil {
				return
			}
			acked := o.history.acknowledged()
			ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
			defer cancel()
			if err := g.ReadIndex(ctx); err != nil {
				return
			}
			if at := sm.at(); at < acked {
				o.t.Errorf("node %s served a read at %d, with %d acknowledged before", d.id, at, acked)
			}
		})
	}
}

// step does one thing to the net, and waits a little.
func (o *torture) step() {
	d := o.any(o.rng)
	switch o.rng.IntN(14) {
	case 0, 1:
		d.crash(o.rng)
	case 2:
		d.close()
	case 3, 4, 5:
		for _, d := range o.all() {
			if g, _ := d.now(); g == nil {
				d.open(nil)
			}
		}
	case 6:
		o.isolate(d.id)
	case 7:
		o.sever(d.id, o.any(o.rng).id, false)
	case 8:
		o.mu.Lock()
		o.drop, o.repeat, o.delay = 0.1*o.rng.Float64(), 0.2*o.rng.Float64(), time.Duration(o.rng.IntN(20))*time.Millisecond
		o.mu.Unlock()
	case 9, 10:
		o.heal()
	case 11:
		if err := d.checkpoint(); err != nil {
			o.t.Logf("node %s: %v", d.id, err)
		}
	case 12:
		o.transfer()
	case 13:
		o.replace()
	}
	time.Sleep(time.Duration(o.rng.IntN(30)) * o.tick)
}

// leads returns a node that says that it leads, nil when none does.
func (o *torture) leads() *testNode {
	for _, d := range o.all() {
		if g, _ := d.now(); g != nil {
			if _, ok := g.Lead(); ok {
				return d
			}
		}
	}
	return nil
}

func (o *torture) transfer() {
	d := o.leads()
	if d == nil {
		return
	}
	g, _ := d.now()
	members := g.Status().Members
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	_ = g.TransferLead(ctx, members[o.rng.IntN(len(members))].ID)
}

// replace puts a new replica on a new node in the place of an old one, and
// removes the old one's node once that is done.
func (o *torture) replace() {
	d := o.leads()
	if d == nil {
		return
	}
	g, _ := d.now()
	var want []Replica
	for _, r := range g.Status().Members {
		if !r.Learner {
			want = append(want, r)
		}
	}
	if len(want) < o.size {
		return
	}
	fresh := Replica{ID: ident.NewReplicaID(100 + o.next), Node: ident.NewNodeID(o.next)}
	o.next++
	o.add(fresh, true).open(nil)
	want[o.rng.IntN(len(want))] = fresh
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if g.ChangeMembers(ctx, want) != nil {
		return
	}
	for _, d := range o.all() {
		if !slices.ContainsFunc(want, func(r Replica) bool { return r.Node == d.id }) {
			d.close()
			o.mu.Lock()
			delete(o.nodes, d.id)
			o.mu.Unlock()
		}
	}
}
