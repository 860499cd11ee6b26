package replication

import (
	"encoding/binary"
	"fmt"
	"slices"

	pb "go.etcd.io/raft/v3/raftpb"

	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
)

// membership is who is in a group at an index, and how: while one set of
// voters is exchanged for another, both count. It is a value; nobody changes
// one that is in use.
type membership struct {
	seats     []seat // by id
	autoLeave bool   // raft ends the exchange by itself
}

// seat is one replica's place in a group.
type seat struct {
	id, node uint64
	kind     uint64 // bits
}

const (
	seatVoter    = 1 << iota // of the incoming set, or of the only one
	seatOutgoing             // voter of the outgoing set
	seatLearner
	seatNext // voter of the outgoing set, learner after it
)

// soleMember is the membership of a group of one.
func soleMember(id uint64) membership {
	return membership{seats: []seat{{id: id, node: id, kind: seatVoter}}}
}

// newMembership returns a membership that is not being exchanged.
func newMembership(replicas []Replica) membership {
	m := membership{}
	for _, r := range replicas {
		s := seat{id: r.ID.Uint64(), node: r.Node.Uint64(), kind: seatVoter}
		if r.Learner {
			s.kind = seatLearner
		}
		m.seats = append(m.seats, s)
	}
	m.sort()
	return m
}

func (m *membership) sort() {
	slices.SortFunc(m.seats, func(a, b seat) int {
		switch {
		case a.id < b.id:
			return -1
		case a.id > b.id:
			return 1
		}
		return 0
	})
}

// checkReplicas returns what is wrong with a list of members, or nil.
func checkReplicas(op string, replicas []Replica) error {
	ids, voters := map[ident.ReplicaID]bool{}, 0
	for _, r := range replicas {
		switch {
		case r.ID.IsZero() || r.ID.Uint64() > 1<<62:
			return fault.New(op, fault.Invalid, "%s is no id of a replica", r.ID)
		case r.Node == ident.NodeID{}:
			return fault.New(op, fault.Invalid, "replica %s is on no node", r.ID)
		case ids[r.ID]:
			return fault.New(op, fault.Invalid, "replica %s is listed twice", r.ID)
		}
		ids[r.ID] = true
		if !r.Learner {
			voters++
		}
	}
	if voters == 0 {
		return fault.New(op, fault.Invalid, "a group needs one voter at least")
	}
	return nil
}

// joint reports whether two sets of voters count.
func (m membership) joint() bool {
	return slices.ContainsFunc(m.seats, func(s seat) bool { return s.kind&seatOutgoing != 0 })
}

// list returns the members, those that are about to leave included.
func (m membership) list() []Replica {
	out := make([]Replica, 0, len(m.seats))
	for _, s := range m.seats {
		out = append(out, s.replica())
	}
	return out
}

func (s seat) replica() Replica {
	return Replica{ID: ident.NewReplicaID(s.id), Node: ident.NewNodeID(s.node), Learner: s.kind&(seatLearner|seatNext) != 0}
}

// find returns the seat of a replica.
func (m membership) find(id uint64) (seat, bool) {
	i, ok := slices.BinarySearchFunc(m.seats, id, func(s seat, id uint64) int {
		switch {
		case s.id < id:
			return -1
		case s.id > id:
			return 1
		}
		return 0
	})
	if !ok {
		return seat{}, false
	}
	return m.seats[i], true
}

// voter reports whether a replica votes and will go on to.
func (m membership) voter(id uint64) bool {
	s, _ := m.find(id)
	return s.kind&seatVoter != 0
}

// confState returns the membership in raft's form.
func (m membership) confState() *pb.ConfState {
	cs := &pb.ConfState{}
	for _, s := range m.seats {
		if s.kind&seatVoter != 0 {
			cs.Voters = append(cs.Voters, s.id)
		}
		if s.kind&seatOutgoing != 0 {
			cs.VotersOutgoing = append(cs.VotersOutgoing, s.id)
		}
		if s.kind&seatLearner != 0 {
			cs.Learners = append(cs.Learners, s.id)
		}
		if s.kind&seatNext != 0 {
			cs.LearnersNext = append(cs.LearnersNext, s.id)
		}
	}
	if m.autoLeave {
		cs.AutoLeave = new(true)
	}
	return cs
}

// after returns the membership that raft has come to; named are those among
// whom the nodes of new members are found.
func (m membership) after(cs *pb.ConfState, named []Replica) membership {
	kinds := map[uint64]uint64{}
	for kind, ids := range map[uint64][]uint64{
		seatVoter: cs.GetVoters(), seatOutgoing: cs.GetVotersOutgoing(), seatLearner: cs.GetLearners(), seatNext: cs.GetLearnersNext(),
	} {
		for _, id := range ids {
			kinds[id] |= kind
		}
	}
	next := membership{autoLeave: cs.GetAutoLeave()}
	for id, kind := range kinds {
		s, ok := m.find(id)
		if !ok {
			for _, r := range named {
				if r.ID.Uint64() == id {
					s.node = r.Node.Uint64()
				}
			}
		}
		next.seats = append(next.seats, seat{id: id, node: s.node, kind: kind})
	}
	next.sort()
	return next
}

// plan returns the next change on the way to want, and the members that it
// makes; no change when want is there. Replicas that are to become voters by
// it, and have to catch up first, are promote. New voters come in as learners.
func (m membership) plan(want []Replica) (changes []*pb.ConfChangeSingle, next []Replica, promote []uint64, err error) {
	change := func(kind pb.ConfChangeType, id uint64) {
		changes = append(changes, &pb.ConfChangeSingle{Type: kind.Enum(), NodeId: &id})
	}
	next = m.list()
	for _, r := range want {
		s, ok := m.find(r.ID.Uint64())
		if ok && s.node != r.Node.Uint64() {
			return nil, nil, nil, fault.New("change members", fault.Invalid, "replica %s is on node %d and cannot move to node %s", r.ID, s.node, r.Node)
		}
		if !ok {
			change(pb.ConfChangeAddLearnerNode, r.ID.Uint64())
			next = append(next, Replica{ID: r.ID, Node: r.Node, Learner: true})
		}
	}
	if len(changes) > 0 {
		return changes, next, nil, nil
	}
	for _, r := range want {
		switch s, _ := m.find(r.ID.Uint64()); {
		case !r.Learner && s.kind&seatVoter == 0:
			change(pb.ConfChangeAddNode, s.id)
			promote = append(promote, s.id)
		case r.Learner && s.kind&seatVoter != 0:
			change(pb.ConfChangeAddLearnerNode, s.id)
		}
	}
	for _, s := range m.seats {
		if !slices.ContainsFunc(want, func(r Replica) bool { return r.ID.Uint64() == s.id }) {
			change(pb.ConfChangeRemoveNode, s.id)
		}
	}
	return changes, want, promote, nil
}

// words returns the membership as numbers: whether the exchange ends by
// itself, then id, node and kind of each.
func (m membership) words() []uint64 {
	words := []uint64{0}
	if m.autoLeave {
		words[0] = 1
	}
	for _, s := range m.seats {
		words = append(words, s.id, s.node, s.kind)
	}
	return words
}

func membershipOf(words []uint64) (membership, error) {
	if len(words)%3 != 1 || words[0] > 1 {
		return membership{}, fmt.Errorf("%d words are no members", len(words))
	}
	m := membership{autoLeave: words[0] == 1}
	for w := words[1:]; len(w) > 0; w = w[3:] {
		s := seat{id: w[0], node: w[1], kind: w[2]}
		if n := len(m.seats); n > 0 && m.seats[n-1].id >= s.id || s.kind == 0 || s.kind >= seatNext<<1 {
			return membership{}, fmt.Errorf("replica %d does not read", s.id)
		}
		m.seats = append(m.seats, s)
	}
	return m, nil
}

// conf is the membership from an index on.
type conf struct {
	index uint64
	membership
}

// encodeConf returns the record of the members at a checkpoint, for key.
func encodeConf(key []byte, index, term uint64, m membership) []byte {
	return encodeWords(key, append([]uint64{index, term}, m.words()...)...)
}

func decodeConf(key, value []byte) (index, term uint64, m membership, err error) {
	if len(value) < 4+2*8 || len(value)%8 != 4 {
		return 0, 0, m, fmt.Errorf("%d bytes are no members", len(value))
	}
	words, err := decodeWords(key, value, (len(value)-4)/8)
	if err != nil {
		return 0, 0, m, err
	}
	m, err = membershipOf(words[2:])
	return words[0], words[1], m, err
}

// jointBytes returns the membership for a Checkpoint, nil when its list of
// members says it all.
func (m membership) jointBytes() []byte {
	if !m.joint() {
		return nil
	}
	var b []byte
	for _, w := range m.words() {
		b = binary.LittleEndian.AppendUint64(b, w)
	}
	return b
}

// membershipAt returns the membership that a checkpoint carries.
func membershipAt(c Checkpoint) (membership, error) {
	if len(c.Joint) == 0 {
		return newMembership(c.Members), checkReplicas("restore checkpoint", c.Members)
	}
	words := make([]uint64, len(c.Joint)/8)
	for i := range words {
		words[i] = binary.LittleEndian.Uint64(c.Joint[8*i:])
	}
	return membershipOf(words)
}
