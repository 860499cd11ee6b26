package replication

import (
	"encoding/binary"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"kimberlite/internal/fault"
)

// followLoop applies what is committed.
func (g *Group) followLoop() error {
	announced := g.announceTeam()
	var batch []*pb.Message
	for {
		var copy *copyRequest
		var over bool
		if batch, copy, over = g.nextWork(batch[:0]); over {
			return nil
		}
		for _, m := range batch {
			if err := g.applyTeam(m); err != nil {
				return err
			}
		}
		if copy != nil {
			if err := g.makeCopy(*copy); err != nil {
				return err
			}
		}
		announced = announced || g.announceTeam()
	}
}

// nextWork waits for something to apply.
func (g *Group) nextWork(batch []*pb.Message) ([]*pb.Message, *copyRequest, bool) {
	n, t := &g.node, g.team
	n.Lock()
	defer n.Unlock()
	for len(n.applies) == 0 && t.copy == nil && !t.over {
		t.work.Wait()
	}
	batch = append(batch, n.applies...)
	clear(n.applies)
	n.applies = n.applies[:0]
	copy := t.copy
	t.copy = nil
	return batch, copy, t.over
}

// announceTeam tells OpenGroup that all that was known to be committed is
// applied.
func (g *Group) announceTeam() bool {
	if g.Applied() < g.team.target {
		return false
	}
	g.ready <- nil // it holds one, and nobody else sends while this runs
	g.change()
	return true
}

// applyTeam applies committed entries, tells raft, and answers those whom that
// concerns.
func (g *Group) applyTeam(m *pb.Message) error {
	committed := m.Entries
	if err := g.applyConfs(committed); err != nil {
		return err
	}
	var entries []Entry
	for _, e := range committed {
		if isProposal(e) {
			entries = append(entries, Entry{Index: e.GetIndex(), Data: e.Data[proposerLen:len(e.Data):len(e.Data)]})
		}
	}
	if len(entries) > 0 {
		a := applier{Group: g}
		if err := a.applySafely(entries); err != nil {
			return fault.Wrap("apply", fault.Stopped, err, "shard %s: applying entries from %d on failed", g.opts.Shard, entries[0].Index)
		}
	}
	last := committed[len(committed)-1]
	g.applied.Store(last.GetIndex())
	if err := g.store.bounds.raise(g.opts.Shard, last.GetIndex()); err != nil {
		g.store.latch.trip(err)
	}
	var settled []settled
	g.withNode(func() error {
		for _, r := range m.Responses {
			if err := g.stepOwn(r); err != nil {
				return err
			}
		}
		settled = g.settle(committed, entries)
		g.appliedTeam(last.GetIndex(), last.GetTerm())
		return nil
	})
	for _, s := range settled {
		s.p.finish(s.result, s.err)
	}
	return nil
}

func isProposal(e *pb.Entry) bool {
	return e.GetType() == pb.EntryNormal && len(e.Data) >= proposerLen
}

// appliedTeam notes that entries are applied and told to raft. g.node is
// locked.
func (g *Group) appliedTeam(index, term uint64) {
	t := g.team
	t.reads.applied(index)
	g.log.forget(min(index, max(t.keep, 1)-1))
	if t.role == raft.StateLeader && term == t.term && g.leadTerm.Load() != term {
		g.leadTerm.Store(term)
		g.change()
	}
}

// applyConfs gives raft the changes of members among committed entries.
func (g *Group) applyConfs(committed []*pb.Entry) (err error) {
	for _, e := range committed {
		if e.GetType() == pb.EntryNormal {
			continue
		}
		g.withNode(func() error {
			err = g.applyConf(e)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (g *Group) applyConf(e *pb.Entry) error {
	change, err := decodeChange(e)
	if err != nil {
		return g.log.corrupt(err, "entry %d is no change of members", e.GetIndex())
	}
	named, err := decodeNamed(change.GetContext())
	if err != nil {
		return g.log.corrupt(err, "entry %d does not name the members", e.GetIndex())
	}
	t := g.team
	t.members = t.members.after(g.node.ApplyConfChange(change), named)
	g.log.changed(e.GetIndex(), t.members)
	g.observe()
	g.change()
	return nil
}

// decodeChange reads an entry that changes the members.
func decodeChange(e *pb.Entry) (*pb.ConfChangeV2, error) {
	if e.GetType() == pb.EntryConfChange {
		var old pb.ConfChange
		if err := proto.Unmarshal(e.Data, &old); err != nil {
			return nil, err
		}
		return old.AsV2(), nil
	}
	var change pb.ConfChangeV2
	return &change, proto.Unmarshal(e.Data, &change)
}

// settled is a proposal whose outcome is known.
type settled struct {
	p      *proposal
	result any
	err    error
}

// settle takes from those who wait the ones whose outcome the applied entries
// decide. A proposal that is not among them, and of an earlier term than they,
// is in no log that counts: terms never fall along a log. g.node is locked.
func (g *Group) settle(committed []*pb.Entry, entries []Entry) (out []settled) {
	n, t := &g.node, g.team
	if len(n.waiting) == 0 {
		return nil
	}
	first, last := committed[0].GetIndex(), committed[len(committed)-1]
	left := n.waiting[:0]
	for i, p := range n.waiting {
		switch {
		case p.index > last.GetIndex() && p.term >= last.GetTerm():
			if !t.disordered {
				left = append(left, n.waiting[i:]...)
				clearTail(n.waiting, len(left))
				n.waiting = left
				return out
			}
			left = append(left, p)
		case p.index <= last.GetIndex() && p.index >= first && g.isOwn(committed[p.index-first], p):
			out = append(out, settled{p: p, result: resultAt(entries, p.index)})
		default:
			out = append(out, settled{p: p, err: g.misrouted("propose", "another node took the lead before this write was replicated; nothing happened")})
		}
	}
	clearTail(n.waiting, len(left))
	n.waiting = left
	t.disordered = t.disordered && len(left) > 0
	return out
}

func clearTail(waiting []*proposal, from int) { clear(waiting[from:]) }

// isOwn reports whether an entry is this proposal.
func (g *Group) isOwn(e *pb.Entry, p *proposal) bool {
	return e.GetTerm() == p.term && isProposal(e) && [8]byte(e.Data[:8]) == g.session && binary.LittleEndian.Uint64(e.Data[8:]) == p.number
}

// resultAt finds the result of the entry at index.
func resultAt(entries []Entry, index uint64) any {
	lo, hi := 0, len(entries)
	for lo < hi {
		if mid := (lo + hi) / 2; entries[mid].Index < index {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return entries[lo].Result
}
