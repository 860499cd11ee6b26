package replication

import (
	"bytes"
	"context"
	"encoding/binary"

	"go.etcd.io/raft/v3"

	"kimberlite/internal/fault"
)

// reads are the callers of ReadIndex. One round of heartbeats at a time asks
// the others whether this replica still leads; whoever comes meanwhile waits
// for the next, since the index that a round confirms was fixed when it began.
// Guarded by Group.node.
type reads struct {
	round    uint64       // number of the round under way, or of the last
	asking   []chan error // who waits for it
	next     []chan error // who waits for the one after it
	answered []confirmed  // by index
}

// confirmed is a round's answer that is not applied yet.
type confirmed struct {
	index   uint64
	callers []chan error
}

// readTeam is ReadIndex of a group of several.
func (g *Group) readTeam(ctx context.Context) error {
	const op = "read"
	t := g.team
	if !t.leading.Load() {
		g.mu.Lock()
		err := g.refusal(op)
		g.mu.Unlock()
		if err != nil {
			return err
		}
		return g.notLeading(op)
	}
	done := make(chan error, 1)
	if !g.withNode(func() error {
		if t.role != raft.StateLeader {
			done <- g.notLeading(op)
			return nil
		}
		t.reads.next = append(t.reads.next, done)
		g.ask()
		return nil
	}) {
		return g.closedRead()
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return fault.OfContext(op, ctx)
	}
}

// ask begins a round when there are callers and none is under way.
func (g *Group) ask() {
	r := &g.team.reads
	if len(r.asking) > 0 || len(r.next) == 0 {
		return
	}
	r.asking, r.next = r.next, nil
	r.round++
	g.node.ReadIndex(binary.LittleEndian.AppendUint64(nil, r.round))
}

// confirm takes raft's answers. g.node is locked.
func (g *Group) confirm(states []raft.ReadState) {
	r := &g.team.reads
	for _, s := range states {
		if !bytes.Equal(s.RequestCtx, binary.LittleEndian.AppendUint64(nil, r.round)) || len(r.asking) == 0 {
			continue // of a lead that was lost
		}
		r.answered = append(r.answered, confirmed{s.Index, r.asking})
		r.asking = nil
	}
	r.applied(g.Applied())
	g.ask()
}

// applied lets go of those who waited for index.
func (r *reads) applied(index uint64) {
	n := 0
	for n < len(r.answered) && r.answered[n].index <= index {
		for _, done := range r.answered[n].callers {
			done <- nil
		}
		n++
	}
	r.answered = r.answered[n:]
}

// fail ends all that wait.
func (r *reads) fail(err error) {
	for _, done := range append(r.asking, r.next...) {
		done <- err
	}
	for _, c := range r.answered {
		for _, done := range c.callers {
			done <- err
		}
	}
	*r = reads{round: r.round}
}
