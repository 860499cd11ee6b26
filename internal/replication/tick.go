package replication

import (
	"time"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/tracker"

	"kimberlite/internal/fault"
)

const defaultTick = 50 * time.Millisecond

// stuckTicks is how long a leader goes on while its disk does not answer.
const stuckTicks = 8 * electionTicks

// stuck watches the batch that has been on its way to the disk for longest.
type stuck struct {
	flight uint64
	since  uint64 // tick at which it was the oldest first
}

// startTicker starts the clock of the groups of several, if it does not run.
// s.mu is held.
func (s *Store) startTicker() {
	if s.ticking {
		return
	}
	s.ticking = true
	go s.tickLoop()
}

// tickLoop ticks until no group of several is open.
func (s *Store) tickLoop() {
	ticker := time.NewTicker(s.tick)
	defer ticker.Stop()
	var groups []*Group
	for range ticker.C {
		if groups = s.teams(groups[:0]); len(groups) == 0 {
			return
		}
		for _, g := range groups {
			g.tick()
		}
		clear(groups)
	}
}

// teams appends the open groups of several; the ticker ends when there are
// none.
func (s *Store) teams(groups []*Group) []*Group {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, g := range s.groups {
		if g.team != nil {
			groups = append(groups, g)
		}
	}
	s.ticking = len(groups) > 0
	return groups
}

// maxMissedTicks is how many ticks a busy group makes up for.
const maxMissedTicks = 3

// tick moves the group's clock. A group that is busy makes up for it at the
// next tick.
func (g *Group) tick() {
	t := g.team
	if !t.open.Load() {
		return
	}
	if !g.node.TryLock() {
		t.missed.Add(1)
		return
	}
	var settled []settled
	g.inNode(func() error {
		for range 1 + min(t.missed.Swap(0), maxMissedTicks) {
			t.ticks++
			if !g.diskHangs() {
				g.node.Tick()
				if t.ticks < t.hurry && t.role == raft.StateFollower && t.lead == raft.None {
					g.node.Tick() // the leader is known to be gone
				}
			}
		}
		if t.ticks%heartbeatTicks == 0 {
			g.supervise()
		}
		settled = g.giveUp()
		return nil
	})
	for _, s := range settled {
		s.p.finish(s.result, s.err)
	}
}

// diskHangs reports whether the disk has not answered for so long that this
// replica must not lead: it falls silent, and the others elect another.
// g.node is locked.
func (g *Group) diskHangs() bool {
	t := g.team
	oldest := uint64(0)
	g.mu.Lock()
	if len(g.inflight) > 0 {
		oldest = g.inflight[0].number
	}
	g.mu.Unlock()
	if oldest != t.stuck.flight {
		t.stuck.flight, t.stuck.since = oldest, t.ticks
	}
	return oldest != 0 && t.ticks-t.stuck.since > stuckTicks
}

// supervise looks after those who follow and who are brought up. g.node is
// locked.
func (g *Group) supervise() {
	t := g.team
	if t.copying && t.lead != raft.None && t.ticks%electionTicks == 0 {
		if node := t.nodeOf(t.lead); node != 0 {
			g.post(node, t.lead, []byte{messageCopying})
		}
	}
	t.keep = g.Applied() + 1
	if t.role == raft.StateLeader {
		var silent []uint64
		g.node.WithProgress(func(id uint64, _ raft.ProgressType, pr tracker.Progress) {
			if id == t.self {
				return
			}
			switch pr.State {
			case tracker.StateSnapshot:
				if t.ticks-t.peer(id).copied > copyTicks {
					silent = append(silent, id)
				}
			case tracker.StateReplicate:
				if g.activePeer(id) {
					t.keep = min(t.keep, pr.Next)
				}
			}
		})
		for _, id := range silent {
			g.node.ReportSnapshot(id, raft.SnapshotFailure)
		}
	}
	g.log.forget(min(g.node.BasicStatus().Applied, t.keep-1))
}

// activePeer reports whether a replica was heard within an election timeout.
// g.node is locked.
func (g *Group) activePeer(id uint64) bool {
	p := g.team.peers[id]
	return p != nil && g.team.ticks-p.heard <= electionTicks
}

// giveUp takes from those who wait the proposals of a leader that lost the
// lead some time ago and does not learn what became of them. g.node is locked.
func (g *Group) giveUp() (out []settled) {
	n, t := &g.node, g.team
	if len(n.waiting) == 0 || t.role == raft.StateLeader || t.ticks-t.lost < lostTicks {
		return nil
	}
	for _, p := range n.waiting {
		out = append(out, settled{p: p, err: fault.New("propose", fault.OutcomeUnknown, "shard %s: this node lost the lead with this write in its log; it may have taken effect", g.opts.Shard)})
	}
	clear(n.waiting)
	n.waiting = n.waiting[:0]
	t.disordered = false
	return out
}
