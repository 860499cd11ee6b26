package replication

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
)

func TestAGroupOfThreeElectsALeaderAndAppliesTheSameEverywhere(t *testing.T) {
	n := newNet(t, 1)
	n.start(3)
	for i := range 100 {
		n.write(fmt.Sprint("entry ", i))
	}
	n.settle()
	n.history.check(n)
	lead := n.leader()
	for _, d := range n.all() {
		g, sm := d.now()
		if len(sm.items) != 101 {
			t.Errorf("node %s has %d entries", d.id, len(sm.items))
		}
		st := g.Status()
		if st.Leader.Node != lead.id || len(st.Members) != 3 || (st.Role == RoleLeader) != (d == lead) {
			t.Errorf("node %s: %+v", d.id, st)
		}
		if d == lead {
			if len(st.Peers) != 2 || !st.Peers[0].Active || !st.Peers[1].Active {
				t.Errorf("the leader's peers: %+v", st.Peers)
			}
			continue
		}
		_, err := g.Propose(context.Background(), []byte("x"))
		wantMisrouted(t, err, lead.id)
		wantMisrouted(t, g.ReadIndex(context.Background()), lead.id)
		wantMisrouted(t, g.ChangeMembers(context.Background(), members(3)), lead.id)
	}
}

func wantMisrouted(t *testing.T, err error, leader ident.NodeID) {
	t.Helper()
	wantKind(t, err, fault.Misrouted)
	if e, ok := err.(*fault.Error); !ok || e.Leader != leader {
		t.Errorf("%v names another leader than %s", err, leader)
	}
}

func TestALeaderThatDiesIsReplacedAndNothingAcknowledgedIsLost(t *testing.T) {
	n := newNet(t, 2)
	n.start(3)
	for round := range 4 {
		for i := range 20 {
			n.write(fmt.Sprint("entry ", round, ".", i))
		}
		dead := n.leader()
		dead.crash(rand.New(rand.NewPCG(uint64(round), 2)))
		n.write(fmt.Sprint("after ", round))
		dead.open(nil)
	}
	n.settle()
	n.history.check(n)
}

func TestAMinorityAcceptsNothingAndServesNoReads(t *testing.T) {
	n := newNet(t, 3)
	n.start(5)
	n.write("before")
	old := n.leader()
	g, _ := old.now()
	n.isolate(old.id)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	read := make(chan error, 1)
	go func() { read <- g.ReadIndex(ctx) }()
	_, err := g.Propose(ctx, []byte("lost"))
	wantKind(t, err, fault.OutcomeUnknown)
	wantKind(t, <-read, fault.Misrouted)
	if _, ok := g.Lead(); ok {
		t.Error("it still says that it leads")
	}
	n.write("in the majority")
	wantKind(t, g.ReadIndex(ctx), fault.Misrouted)
	_, err = g.Propose(ctx, []byte("refused"))
	wantKind(t, err, fault.Misrouted)
	n.settle()
	n.history.check(n)
}

func TestAProposalThatWasReplacedIsKnownNotToHaveHappened(t *testing.T) {
	n := newNet(t, 4)
	n.start(3)
	n.write("before")
	old := n.leader()
	g, _ := old.now()
	n.isolate(old.id)
	outcome := make(chan error, 1)
	go func() { outcome <- n.history.propose(g, "replaced", 20*time.Second) }()
	for g.Status().Last == g.Status().Committed {
		time.Sleep(time.Millisecond)
	}
	n.within("no other leader", func() bool {
		for _, d := range n.all() {
			o, _ := d.now()
			if _, ok := o.Lead(); ok && d != old {
				return true
			}
		}
		return false
	})
	n.heal()
	wantKind(t, <-outcome, fault.Misrouted)
	n.settle()
	n.history.check(n)
}

func TestReadsSeeAllThatWasAcknowledged(t *testing.T) {
	n := newNet(t, 5)
	n.start(3)
	lead := n.leader()
	g, sm := lead.now()
	stop := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
				_ = n.history.propose(g, fmt.Sprint("entry ", i), time.Second)
			}
		}
	}()
	n.mu.Lock()
	before := n.sent
	n.mu.Unlock()
	errs := make(chan error, 64)
	for range cap(errs) {
		go func() {
			for range 20 {
				acked := n.history.acknowledged()
				if err := g.ReadIndex(context.Background()); err != nil {
					errs <- err
					return
				}
				if at := sm.at(); at < acked {
					errs <- fmt.Errorf("read at %d, with %d acknowledged", at, acked)
					return
				}
			}
			errs <- nil
		}()
	}
	for range cap(errs) {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	close(stop)
	<-done
	n.mu.Lock()
	defer n.mu.Unlock()
	t.Logf("%d messages for %d reads", n.sent-before, 20*cap(errs))
}

func TestTheLeadPassesOnRequest(t *testing.T) {
	n := newNet(t, 6)
	n.start(3)
	n.write("before")
	for round := range 5 {
		lead := n.leader()
		g, _ := lead.now()
		to := members(3)[int(lead.id.Uint64())%3]
		if err := g.TransferLead(context.Background(), to.ID); err != nil {
			t.Fatal(err)
		}
		n.within("no new leader", func() bool { return n.leader().id == to.Node })
		n.write(fmt.Sprint("round ", round))
	}
	g, _ := n.leader().now()
	wantKind(t, g.TransferLead(context.Background(), ident.NewReplicaID(999)), fault.Invalid)
	n.settle()
	n.history.check(n)
}

// TestALostLinkToALeaderThatLivesChangesNothing: the other voters hear of it.
func TestALostLinkToALeaderThatLivesChangesNothing(t *testing.T) {
	n := newNet(t, 7)
	n.tick = 20 * time.Millisecond // a busy machine is not a silent leader
	n.start(3)
	n.write("before")
	lead := n.leader()
	g, _ := lead.now()
	term, _ := g.Lead()
	follower := members(3)[int(lead.id.Uint64())%3].Node
	n.sever(lead.id, follower, true)
	for i := range 60 {
		if f, _ := n.node(follower).now(); i%5 == 0 {
			f.store.Unreachable(lead.id)
		}
		n.write(fmt.Sprint("entry ", i))
		time.Sleep(n.tick)
	}
	if now, ok := g.Lead(); !ok || now != term {
		t.Errorf("it led in term %d and leads in %d, %v", term, now, ok)
	}
	n.settle()
	n.history.check(n)
}

// TestALostLinkToADeadLeaderEndsItsLeadSooner counts the clock's ticks.
func TestALostLinkToADeadLeaderEndsItsLeadSooner(t *testing.T) {
	n := newNet(t, 8)
	n.tick = 20 * time.Millisecond
	n.start(3)
	n.write("before")
	dead := n.leader()
	dead.crash(nil)
	died := time.Now()
	for _, d := range n.all() {
		if g, _ := d.now(); g != nil {
			g.store.Unreachable(dead.id)
			if leader := g.Status().Leader; leader.Node == dead.id {
				t.Error("it still takes the dead one for the leader")
			}
		}
	}
	n.write("after")
	t.Logf("acknowledged after %.0f ticks", float64(time.Since(died))/float64(n.tick))
	n.history.check(n)
}
