package directory

import (
	"maps"
	"math"
	"slices"
	"time"

	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
)

// document is something replaced as a whole.
type document struct {
	Generation uint64 `json:"generation"`
	Data       []byte `json:"data"`
}

// state is the replicated state machine: what it is depends on the commands
// that were applied, and on nothing else. It does no I/O, knows no clock, and
// locks nothing.
type state struct {
	deployment Deployment
	ca         document
	operators  document
	settings   map[string]string
	// clock is the time that the last command brought, in Unix nanoseconds. It
	// can go back, with the clock of whoever leads: a node whose clock was wrong
	// must not leave its time behind for good.
	clock int64
	// nextNode, nextShard and nextReplica are the last ids that were allotted.
	nextNode, nextShard, nextReplica uint64
	// regions are numbered in the order in which they came; none goes.
	regions []ident.Region
	// What a pointer in nodes, shards and tokens leads to is replaced and
	// never changed.
	nodes   map[ident.NodeID]*Node
	shards  map[ident.ShardID]*Shard
	tokens  map[string]*Token
	tenants *table
	past    past
	dirty   dirty
}

func newState() *state {
	return &state{
		settings: map[string]string{}, nodes: map[ident.NodeID]*Node{}, shards: map[ident.ShardID]*Shard{},
		tokens: map[string]*Token{}, tenants: newTable(), past: newPast(), dirty: newDirty(),
	}
}

// dirty is what changed since the last checkpoint.
type dirty struct {
	keys    map[string]struct{}
	tenants map[uint64]struct{}
	past    map[uint32]struct{}
}

func newDirty() dirty {
	return dirty{keys: map[string]struct{}{}, tenants: map[uint64]struct{}{}, past: map[uint32]struct{}{}}
}

func (d *dirty) empty() bool { return len(d.keys)+len(d.tenants)+len(d.past) == 0 }

// merge puts back what a checkpoint that failed had taken.
func (d *dirty) merge(from dirty) {
	maps.Copy(d.keys, from.keys)
	maps.Copy(d.tenants, from.tenants)
	maps.Copy(d.past, from.past)
}

// maxRegions is the most regions that a deployment can have.
const maxRegions = math.MaxUint16

// outcome is what came of a command.
type outcome struct {
	Result Result
	Err    *fault.Error
}

// apply applies the command at an index of the log. A command that was applied
// before gives the outcome that it had.
func (s *state) apply(index uint64, e *envelope) outcome {
	if _, ok := e.command.(Barrier); ok {
		return outcome{Result: Result{Index: index}}
	}
	if o, ok := s.past.find(e.id); ok {
		return o
	}
	s.clock = e.time
	s.touch(keyMeta)
	s.expire()
	var o outcome
	if r, err := s.run(index, e.command); err != nil {
		o.Err = err
	} else {
		r.Index = index
		o.Result = r
	}
	s.dirty.past[s.past.add(e.id, o)] = struct{}{}
	return o
}

// run applies a command, or refuses it with nothing changed.
func (s *state) run(index uint64, c Command) (Result, *fault.Error) {
	if _, ok := c.(Bootstrap); !ok && s.deployment.ID == "" {
		return Result{}, fault.New("directory", fault.NotFound, "the deployment is not made yet: see `kimberlite cluster init`")
	}
	return c.apply(s, index)
}

func (s *state) touch(key string) { s.dirty.keys[key] = struct{}{} }

// expire drops the tokens that have ended: so a time that goes back revives
// none.
func (s *state) expire() {
	for id, t := range s.tokens {
		if !s.now().Before(t.Expires) {
			s.dropToken(id)
		}
	}
}

func (s *state) now() time.Time { return time.Unix(0, s.clock).UTC() }

// region returns a region's number.
func (s *state) region(r ident.Region) (uint16, bool) {
	i := slices.Index(s.regions, r)
	return uint16(i), i >= 0
}

// addRegion numbers a region, if it is new.
func (s *state) addRegion(r ident.Region) *fault.Error {
	if _, ok := s.region(r); ok {
		return nil
	}
	if len(s.regions) == maxRegions {
		return fault.New("directory", fault.TooLarge, "there are %d regions, which is the most", maxRegions)
	}
	s.regions = append(s.regions, r)
	return nil
}

func (s *state) putNode(n *Node) {
	s.nodes[n.ID] = n
	s.touch(nodeKey(n.ID))
}

func (s *state) putShard(h *Shard) {
	s.shards[h.ID] = h
	s.touch(shardKey(h.ID))
}

func (s *state) putToken(t *Token) {
	s.tokens[t.ID] = t
	s.touch(tokenKey(t.ID))
}

func (s *state) dropToken(id string) {
	delete(s.tokens, id)
	s.touch(tokenKey(id))
}

// putTenant changes where a tenant is.
func (s *state) putTenant(r *record, p placement) {
	s.tenants.set(r, p)
	s.dirty.tenants[r.id] = struct{}{}
}

// allotReplica returns a replica id that was never used.
func (s *state) allotReplica() ident.ReplicaID {
	s.nextReplica++
	return ident.NewReplicaID(s.nextReplica)
}

// maxShards is the most shards that a deployment ever makes.
const maxShards = math.MaxUint32
