package replication

import (
	"context"
	"encoding/json"
	"time"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"
	"go.etcd.io/raft/v3/tracker"
	"google.golang.org/protobuf/proto"

	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
)

// Lead returns the term in which this replica leads; ok says that it does, and
// has applied all that earlier leaders acknowledged. It is cheap. The only
// member of a group of one always leads.
func (g *Group) Lead() (term uint64, ok bool) {
	term = g.leadTerm.Load()
	return term, g.team == nil || term != 0
}

// ChangeMembers makes want the members of the group, and returns when they
// are. Members that are new as voters learn the log first. Asked for what is
// there already it does nothing. A leader that is to leave, or to lose its
// vote, hands over the lead first and returns Misrouted: ask the new one. Of
// several calls at a time one is at work. Errors: Misrouted when this replica
// does not lead or stops leading, Timeout and Canceled when ctx ends, with the
// change begun, Invalid, Closed, Stopped.
func (g *Group) ChangeMembers(ctx context.Context, want []Replica) error {
	const op = "change members"
	if err := g.mayChange(op); err != nil {
		return err
	}
	if err := checkReplicas(op, want); err != nil {
		return err
	}
	select {
	case g.team.changes <- struct{}{}:
		defer func() { <-g.team.changes }()
	case <-ctx.Done():
		return fault.OfContext(op, ctx)
	}
	catching := catchUp{}
	return g.poll(ctx, op, func() (done bool, err error) { return g.changeStep(ctx, want, &catching) })
}

// mayChange refuses what only the leader of several does.
func (g *Group) mayChange(op string) error {
	g.mu.Lock()
	err := g.refusal(op)
	g.mu.Unlock()
	switch {
	case err != nil:
		return err
	case g.team == nil:
		return fault.New(op, fault.Invalid, "shard %s has one member for ever", g.opts.Shard)
	case !g.team.leading.Load():
		return g.notLeading(op)
	}
	return nil
}

// poll calls step at each tick until it is done.
func (g *Group) poll(ctx context.Context, op string, step func() (done bool, err error)) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-ctx.Done():
			return fault.OfContext(op, ctx)
		case <-g.team.ctx.Done():
			return g.closedRead()
		}
		if done, err := step(); done || err != nil {
			return err
		}
		timer.Reset(g.store.tick)
	}
}

// changeStep does what there is to do next on the way to want.
func (g *Group) changeStep(ctx context.Context, want []Replica, catching *catchUp) (done bool, err error) {
	const op = "change members"
	if err := g.mayChange(op); err != nil {
		return false, err
	}
	if _, ok := g.Lead(); !ok {
		return false, nil // earlier changes may not be applied
	}
	t := g.team
	successor := uint64(0)
	g.withNode(func() error {
		if t.members.joint() || g.changePending() {
			return nil
		}
		changes, next, promote, refused := t.members.plan(want)
		err, done = refused, refused == nil && len(changes) == 0
		if done || err != nil || !catching.done(g, promote) {
			return nil //nolint:nilerr // the group does not stop at it
		}
		if !newMembership(next).voter(t.self) {
			successor = g.successor(want)
		}
		if successor == 0 {
			err = g.proposeChange(op, changes, next)
		}
		return nil
	})
	if successor != 0 {
		if err := g.TransferLead(ctx, ident.NewReplicaID(successor)); err != nil {
			return false, err
		}
		return false, g.notLeading(op)
	}
	return done, err
}

// changePending reports whether a change of members is in the log and not
// applied. g.node is locked.
func (g *Group) changePending() bool { return g.team.pendingChange > g.Applied() }

// successor returns a voter of now and then who could lead at once, 0 when
// there is none. g.node is locked.
func (g *Group) successor(want []Replica) (best uint64) {
	t, match := g.team, uint64(0)
	then := newMembership(want)
	g.node.WithProgress(func(id uint64, _ raft.ProgressType, pr tracker.Progress) {
		if id != t.self && t.members.voter(id) && then.voter(id) && g.activePeer(id) && (best == 0 || pr.Match > match) {
			best, match = id, pr.Match
		}
	})
	return best
}

// proposeChange puts a change into the log. g.node is locked.
func (g *Group) proposeChange(op string, changes []*pb.ConfChangeSingle, next []Replica) error {
	named, err := json.Marshal(next)
	if err != nil {
		return fault.Wrap(op, fault.Internal, err, "the members do not encode")
	}
	data, err := proto.Marshal(&pb.ConfChangeV2{Changes: changes, Context: named})
	if err != nil {
		return fault.Wrap(op, fault.Internal, err, "the change does not encode")
	}
	t := g.team
	before, _ := g.log.LastIndex()
	id := t.self
	err = g.node.Step(&pb.Message{Type: pb.MsgProp.Enum(), From: &id, Entries: []*pb.Entry{{Type: pb.EntryConfChangeV2.Enum(), Data: data}}})
	if err != nil {
		return nil //nolint:nilerr // dropped: the next step sees why
	}
	t.pendingChange = before + 1
	return nil
}

// decodeNamed reads the members that a change names.
func decodeNamed(context []byte) (named []Replica, err error) {
	if len(context) == 0 {
		return nil, nil
	}
	return named, json.Unmarshal(context, &named)
}

// catchUp watches learners that are to become voters. One has caught up when
// it reached, within an election timeout, the end that the log had before.
type catchUp struct {
	target, since uint64 // index, and the tick at which it was set
}

// done reports whether all ids have caught up. g.node is locked.
func (c *catchUp) done(g *Group, ids []uint64) bool {
	if len(ids) == 0 {
		return true
	}
	t := g.team
	reached := true
	g.node.WithProgress(func(id uint64, _ raft.ProgressType, pr tracker.Progress) {
		for _, want := range ids {
			if id == want && (pr.State != tracker.StateReplicate || pr.Match < c.target || !g.activePeer(id)) {
				reached = false
			}
		}
	})
	if !reached && c.target != 0 {
		return false
	}
	if reached && c.target != 0 && t.ticks-c.since <= electionTicks {
		return true
	}
	c.target, _ = g.log.LastIndex()
	c.since = t.ticks
	return false
}

// TransferLead hands the lead to another voter, and returns when this replica
// has let go of it. Errors: Misrouted when this replica does not lead, Invalid
// when to is no voter, Unavailable when to did not take over in time.
func (g *Group) TransferLead(ctx context.Context, to ident.ReplicaID) error {
	const op = "transfer lead"
	if err := g.mayChange(op); err != nil {
		return err
	}
	t, id := g.team, to.Uint64()
	if id == t.self {
		return nil
	}
	var term uint64
	begun := false
	return g.poll(ctx, op, func() (done bool, err error) {
		if !g.withNode(func() error {
			switch {
			case begun && (t.role != raft.StateLeader || t.term != term):
				done = true
			case t.role != raft.StateLeader:
				err = g.notLeading(op)
			case !t.members.voter(id):
				err = fault.New(op, fault.Invalid, "shard %s: replica %s is no voter", g.opts.Shard, to)
			case !begun:
				begun, term = true, t.term
				g.node.TransferLeader(id)
			case g.node.BasicStatus().LeadTransferee != id:
				err = fault.New(op, fault.Unavailable, "shard %s: replica %s did not take over the lead in time; try again", g.opts.Shard, to)
			}
			return nil
		}) {
			return false, g.closedRead()
		}
		return done, err
	})
}
