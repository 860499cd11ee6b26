package directory

import (
	"cmp"
	"slices"

	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/replication"
)

func compareShards(a, b ident.ShardID) int { return cmp.Compare(a.Uint64(), b.Uint64()) }

func (c CreateShard) apply(s *state, _ uint64) (Result, *fault.Error) {
	const op = "shard create"
	want := make([]replication.Replica, len(c.Nodes))
	for i, n := range c.Nodes {
		want[i].Node = n
	}
	if err := s.checkReplicas(op, c.Region, want, nil); err != nil {
		return Result{}, err
	}
	if s.nextShard >= maxShards {
		return Result{}, fault.New(op, fault.TooLarge, "%d shards were made, which is the most", s.nextShard)
	}
	for i := range want {
		want[i].ID = s.allotReplica()
	}
	s.nextShard++
	h := &Shard{ID: ident.NewShardID(s.nextShard), Region: c.Region, Initial: want, Want: want, Generation: 1}
	s.putShard(h)
	return Result{Shard: h.ID, Generation: 1, Replicas: want}, nil
}

// checkReplicas refuses members that a shard of a region may not have. have
// are those that it has.
func (s *state) checkReplicas(op string, region ident.Region, want, have []replication.Replica) *fault.Error {
	voters := 0
	for i, r := range want {
		n, err := s.node(op, r.Node)
		switch {
		case err != nil:
			return err
		case n.Region != region:
			return fault.New(op, fault.Denied, "node %s is in region %s and the shard is in %s: all replicas of a shard stand in one region, so that its tenants' data stays there", n.ID, n.Region, region)
		case slices.ContainsFunc(want[:i], func(o replication.Replica) bool { return o.Node == r.Node }):
			return fault.New(op, fault.Invalid, "node %s is named twice: a node has one replica of a shard", n.ID)
		}
		if err := checkReplica(op, n, r, have); err != nil {
			return err
		}
		if !r.Learner {
			voters++
		}
	}
	if voters == 0 {
		return fault.New(op, fault.Invalid, "a shard needs a replica that votes")
	}
	return nil
}

// checkReplica refuses one member.
func checkReplica(op string, n *Node, r replication.Replica, have []replication.Replica) *fault.Error {
	if !r.ID.IsZero() {
		if slices.ContainsFunc(have, func(o replication.Replica) bool { return o.ID == r.ID && o.Node == r.Node }) {
			return nil
		}
		return fault.New(op, fault.Conflict, "replica %s on node %s is not one of the shard's: ids of replicas are allotted and never used again, so leave that of a new one out", r.ID, r.Node)
	}
	switch n.State {
	case NodeActive:
		return nil
	case NodeDraining:
		return fault.New(op, fault.Conflict, "node %s is being drained and gets no new replica: choose another", n.ID)
	}
	return wasRemoved(op, n.ID)
}

// shard returns a shard whose generation is the one that was named.
func (s *state) shard(op string, id ident.ShardID, generation uint64) (*Shard, *fault.Error) {
	h := s.shards[id]
	if h == nil {
		return nil, noShard(op, id)
	}
	if h.Generation != generation {
		return nil, fault.New(op, fault.Conflict, "shard %s has changed meanwhile (generation %d, and not %d): look again, then repeat it", id, h.Generation, generation)
	}
	return h, nil
}

func noShard(op string, id ident.ShardID) *fault.Error {
	return fault.New(op, fault.NotFound, "there is no shard %s: see `kimberlite shard list`", id)
}

func (c SetReplicas) apply(s *state, _ uint64) (Result, *fault.Error) {
	const op = "shard replicas"
	h, err := s.shard(op, c.Shard, c.Generation)
	if err == nil {
		err = s.checkReplicas(op, h.Region, c.Want, h.Want)
	}
	if err != nil {
		return Result{}, err
	}
	changed := *h
	changed.Want = slices.Clone(c.Want)
	for i := range changed.Want {
		if changed.Want[i].ID.IsZero() {
			changed.Want[i].ID = s.allotReplica()
		}
	}
	changed.Generation++
	s.putShard(&changed)
	return Result{Shard: h.ID, Generation: changed.Generation, Replicas: changed.Want}, nil
}

func (c SetShardState) apply(s *state, _ uint64) (Result, *fault.Error) {
	const op = "shard state"
	h, err := s.shard(op, c.Shard, c.Generation)
	if err != nil {
		return Result{}, err
	}
	if c.State > ShardClosed {
		return Result{}, fault.New(op, fault.Invalid, "a shard is active or closed")
	}
	changed := *h
	changed.State = c.State
	changed.Generation++
	s.putShard(&changed)
	return Result{Shard: h.ID, Generation: changed.Generation}, nil
}

func (c RemoveShard) apply(s *state, _ uint64) (Result, *fault.Error) {
	const op = "shard remove"
	h, err := s.shard(op, c.Shard, c.Generation)
	if err != nil {
		return Result{}, err
	}
	number := uint32(h.ID.Uint64())
	if n := s.tenants.owned(number); n > 0 {
		return Result{}, fault.New(op, fault.Conflict, "shard %s has %d tenants: move them to other shards first", h.ID, n)
	}
	for slot := range s.tenants.unsettled {
		if s.tenants.at(slot).other == number {
			return Result{}, fault.New(op, fault.Conflict, "a tenant is being moved to shard %s, or away from it: wait until that has ended", h.ID)
		}
	}
	delete(s.shards, h.ID)
	s.touch(shardKey(h.ID))
	return Result{Shard: h.ID}, nil
}
