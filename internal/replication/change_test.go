package replication

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
)

// become makes want the members, asking whoever leads.
func (n *net) become(want []Replica) {
	n.t.Helper()
	n.within("members do not change", func() bool {
		g, _ := n.leader().now()
		if g == nil {
			return false
		}
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		err := g.ChangeMembers(ctx, want)
		if err != nil && !fault.Is(err, fault.Misrouted) && !fault.Is(err, fault.Timeout) && !fault.Is(err, fault.Closed) && !fault.Is(err, fault.Unavailable) {
			n.t.Fatal(err)
		}
		return err == nil
	})
}

func replica(id, node uint64, learner bool) Replica {
	return Replica{ID: ident.NewReplicaID(id), Node: ident.NewNodeID(node), Learner: learner}
}

func TestMembersComeAndGoUnderWrites(t *testing.T) {
	n := newNet(t, 10)
	n.start(3)
	m := members(3)
	for i := range 50 {
		n.write(fmt.Sprint("entry ", i))
	}
	steps := []struct {
		name string
		want []Replica
	}{
		{"a learner", []Replica{m[0], m[1], m[2], replica(104, 4, true)}},
		{"the same again", []Replica{m[0], m[1], m[2], replica(104, 4, true)}},
		{"the learner votes and one leaves", []Replica{m[0], m[1], replica(104, 4, false)}},
		{"two more at once", []Replica{m[0], m[1], replica(104, 4, false), replica(105, 5, false), replica(106, 6, false)}},
		{"all of the first leave", []Replica{replica(104, 4, false), replica(105, 5, false), replica(106, 6, false)}},
		{"one loses its vote", []Replica{replica(104, 4, false), replica(105, 5, true), replica(106, 6, false)}},
		{"one alone", []Replica{replica(106, 6, false)}},
		{"three again", []Replica{replica(106, 6, false), replica(105, 5, false), replica(104, 4, false)}},
	}
	for _, step := range steps {
		for _, r := range step.want {
			if n.node(r.Node) == nil {
				n.add(r, true).open(nil)
			} else if g, _ := n.node(r.Node).now(); g == nil { // it left, and comes back as another
				t.Fatalf("node %s is closed", r.Node)
			}
		}
		stop := n.scribble(step.name)
		n.become(step.want)
		stop()
		g, _ := n.leader().now()
		got := g.Status().Members
		slices.SortFunc(got, func(a, b Replica) int { return int(a.ID.Uint64()) - int(b.ID.Uint64()) })
		want := slices.Clone(step.want)
		slices.SortFunc(want, func(a, b Replica) int { return int(a.ID.Uint64()) - int(b.ID.Uint64()) })
		if !slices.Equal(got, want) {
			t.Fatalf("%s: members %v, want %v", step.name, got, want)
		}
		n.write("after " + step.name)
	}
	n.settle()
	n.history.check(n)
	// They are remembered, with and without a checkpoint.
	for i, id := range []uint64{4, 5, 6} {
		d := n.node(ident.NewNodeID(id))
		if i > 0 {
			if err := d.checkpoint(); err != nil {
				t.Fatal(err)
			}
		}
		d.close()
	}
	for _, id := range []uint64{4, 5, 6} {
		n.node(ident.NewNodeID(id)).open(nil)
	}
	n.write("after all came back")
	n.settle()
	n.history.check(n)
	g, _ := n.leader().now()
	if got := g.Status().Members; len(got) != 3 || got[0].Learner || got[1].Learner || got[2].Learner {
		t.Errorf("members after the start: %v", got)
	}
}

// scribble writes in the background until it is stopped.
func (n *net) scribble(name string) (stop func()) {
	end, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; ; i++ {
			select {
			case <-end:
				return
			case <-time.After(time.Millisecond):
			}
			for _, d := range n.all() {
				if g, _ := d.now(); g != nil {
					if _, ok := g.Lead(); ok {
						_ = n.history.propose(g, fmt.Sprint(name, " ", i), 5*time.Second)
						break
					}
				}
			}
		}
	}()
	return func() { close(end); <-done }
}

func TestAChangeOfMembersThatMakesNoSenseIsRefused(t *testing.T) {
	n := newNet(t, 11)
	n.start(3)
	g, _ := n.leader().now()
	m := members(3)
	for name, want := range map[string][]Replica{
		"nobody":         nil,
		"no voter":       {replica(101, 1, true)},
		"twice":          {m[0], m[0]},
		"no id":          {m[0], replica(0, 2, false)},
		"no node":        {m[0], replica(102, 0, false)},
		"another's node": {m[0], m[1], replica(103, 9, false)},
	} {
		if err := g.ChangeMembers(context.Background(), want); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got := g.Status().Members; !slices.Equal(got, m) {
		t.Errorf("members %v", got)
	}
}

// TestANewVoterThatDoesNotAnswerStaysALearner: it would cost the group its
// majority, else.
func TestANewVoterThatDoesNotAnswerStaysALearner(t *testing.T) {
	n := newNet(t, 12)
	n.start(1)
	n.write("alone")
	g, _ := n.leader().now()
	ctx, cancel := context.WithTimeout(context.Background(), 50*n.tick)
	defer cancel()
	want := append(members(1), replica(102, 2, false))
	wantKind(t, g.ChangeMembers(ctx, want), fault.Timeout)
	n.write("still alone")
	if got := g.Status().Members; len(got) != 2 || !got[1].Learner {
		t.Errorf("members %v", got)
	}
	n.add(want[1], true).open(nil)
	n.become(want)
	n.settle()
	n.history.check(n)
}

func TestAMemberThatIsWipedOrLagsGetsACopy(t *testing.T) {
	n := newNet(t, 13)
	n.start(3)
	for i := range 30 {
		n.write(fmt.Sprint("entry ", i))
	}
	lagging := n.node(ident.NewNodeID(2))
	if n.leader() == lagging {
		lagging = n.node(ident.NewNodeID(3))
	}
	lagging.close()
	// Enough that the log behind the checkpoint is not kept.
	big := make([]byte, 1<<20)
	for i := range 12 {
		n.write(fmt.Sprint("big ", i) + string(big))
	}
	for _, d := range n.all() {
		if err := d.checkpoint(); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 5 {
		n.write(fmt.Sprint("later ", i))
	}
	lagging.open(nil)
	n.settle()
	if _, sm := lagging.now(); sm.copys == 0 {
		t.Error("it took no copy, and the log was gone")
	}
	n.history.check(n)
	// What it copied it has for good.
	lagging.crash(nil)
	lagging.open(nil)
	n.settle()
	if _, sm := lagging.now(); sm.copys != 0 {
		t.Error("it took a copy again")
	}
	// A new replica on an empty disk.
	fresh := replica(104, 4, false)
	n.add(fresh, true).open(nil)
	n.become(append(members(3), fresh))
	n.settle()
	if _, sm := n.node(fresh.Node).now(); sm.copys == 0 {
		t.Error("the new one took no copy")
	}
	n.history.check(n)
}

func TestAnOrdinaryCheckpointForcesNoCopyOnWhoFollows(t *testing.T) {
	n := newNet(t, 14)
	n.start(3)
	for round := range 10 {
		for i := range 20 {
			n.write(fmt.Sprint("entry ", round, ".", i))
		}
		for _, d := range n.all() {
			if err := d.checkpoint(); err != nil {
				t.Fatal(err)
			}
		}
		if g, _ := n.leader().now(); g.LogBytes() > 1<<10 {
			t.Errorf("%d bytes of log after a checkpoint", g.LogBytes())
		}
	}
	down := n.node(ident.NewNodeID(1))
	down.close()
	n.write("while it was down")
	n.become(members(3))
	down.open(nil)
	n.settle()
	for _, d := range n.all() {
		if _, sm := d.now(); sm.copys != 0 {
			t.Errorf("node %s took a copy", d.id)
		}
	}
	n.history.check(n)
}

// TestACopyIsTakenUpAgain lets the leader die while a copy of its files is
// being made.
func TestACopyIsTakenUpAgain(t *testing.T) {
	n := newNet(t, 15)
	n.start(3)
	n.write("first")
	fresh := replica(104, 4, false)
	d := n.add(fresh, true)
	d.open(nil)
	_, sm := d.now()
	gate := make(chan struct{})
	sm.mu.Lock()
	sm.slow = gate
	sm.mu.Unlock()
	done := make(chan struct{})
	go func() { defer close(done); n.become(append(members(3), fresh)) }()
	n.within("no copy begins", func() bool { g, _ := d.now(); return g.Status().Copying })
	lead := n.leader()
	g, _ := lead.now()
	n.within("the leader does not know of the copy", func() bool {
		for _, p := range g.Status().Peers {
			if p.ID == fresh.ID && p.Snapshotting {
				return true
			}
		}
		return false
	})
	lead.crash(nil)
	n.write("under another leader")
	lead.open(nil)
	close(gate)
	<-done
	n.settle()
	n.history.check(n)
}

// TestACopyWaitsForACheckpointThatIsBeingSaved: what is being saved is of
// before, and must not come on top of the copy.
func TestACopyWaitsForACheckpointThatIsBeingSaved(t *testing.T) {
	n := newNet(t, 16)
	n.start(3)
	n.write("first")
	fresh := replica(104, 4, true)
	d := n.add(fresh, true)
	d.open(nil)
	g, sm := d.now()
	g.checkMu.Lock() // as SaveCheckpoint does
	done := make(chan struct{})
	go func() { defer close(done); n.become(append(members(3), fresh)) }()
	n.within("no copy begins", func() bool { return g.Status().Copying })
	time.Sleep(20 * n.tick)
	if at, in := g.Applied(), sm.at(); at != 0 || in != 0 {
		t.Errorf("the copy came to %d, and to %d in the machine, meanwhile", at, in)
	}
	g.checkMu.Unlock()
	<-done
	n.settle()
	n.history.check(n)
}
