package replication

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2"

	"kimberlite/internal/disk"
	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
)

// TestALeaderWhoseDiskFailedFallsSilent: it has nothing to write, so nothing
// but the store's latch says so.
func TestALeaderWhoseDiskFailedFallsSilent(t *testing.T) {
	n := newNet(t, 20)
	n.start(3)
	n.write("before")
	dead := n.leader()
	g, _ := dead.now()
	g.store.latch.trip(errors.New("another group's write failed"))
	n.within("no other leader", func() bool {
		for _, d := range n.all() {
			if o, _ := d.now(); d != dead {
				if _, ok := o.Lead(); ok {
					return true
				}
			}
		}
		return false
	})
	if _, ok := g.Lead(); ok {
		t.Error("it says that it leads")
	}
	_, err := g.Propose(context.Background(), []byte("x"))
	wantKind(t, err, fault.Stopped)
	wantKind(t, g.ReadIndex(context.Background()), fault.Stopped)
	n.write("after")
	dead.close()
	dead.open(nil)
	n.settle()
	n.history.check(n)
}

func TestALeaderWhoseDiskHangsIsReplaced(t *testing.T) {
	n := newNet(t, 21)
	n.start(3)
	n.write("before")
	old := n.leader()
	g, _ := old.now()
	hang := make(chan struct{})
	old.mem.BeforeSync(func(string) { <-hang })
	outcome := make(chan error, 1)
	go func() {
		_, err := g.Propose(context.Background(), []byte("on a disk that hangs"))
		outcome <- err
	}()
	n.within("no other leader", func() bool {
		for _, d := range n.all() {
			if o, _ := d.now(); d != old {
				if _, ok := o.Lead(); ok {
					return true
				}
			}
		}
		return false
	})
	wantKind(t, <-outcome, fault.OutcomeUnknown)
	n.write("under another leader")
	old.mem.BeforeSync(nil)
	close(hang)
	n.settle()
	n.history.check(n)
}

func TestAReplicaIsOpenAsWhatItIsAndOnce(t *testing.T) {
	n := newNet(t, 22)
	n.start(1)
	d := n.node(ident.NewNodeID(1))
	n.write("entry")
	d.close()
	s, err := OpenStore(StoreOptions{FS: d.mem, Dir: "node/log", Transport: &life{node: d}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	one := ident.NewReplicaID(101)
	for name, o := range map[string]GroupOptions{
		"as a group of one":        {Shard: shard1, Node: node1},
		"as another replica":       {Shard: shard1, Node: node1, Replica: ident.NewReplicaID(7)},
		"new and no member":        {Shard: ident.NewShardID(2), Node: node1, Replica: one, Members: []Replica{replica(7, 1, false)}},
		"new with twice the same":  {Shard: ident.NewShardID(2), Node: node1, Replica: one, Members: append(members(1), members(1)...)},
		"new with nobody, no Join": {Shard: ident.NewShardID(2), Node: node1, Replica: one},
	} {
		if _, err := s.OpenGroup(o, &follower{node: d, life: &life{node: d}}); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := s.OpenGroup(GroupOptions{Shard: shard1, Node: node1, Replica: one}, &recorder{}); !fault.Is(err, fault.Invalid) {
		t.Errorf("a state machine that cannot fetch: %v", err)
	}
}

func TestADestroyedGroupLeavesNothingAtAnyPowerLoss(t *testing.T) {
	n := newNet(t, 23)
	n.start(1)
	d := n.node(ident.NewNodeID(1))
	for i := range 20 {
		n.write(fmt.Sprint("entry ", i))
		if i == 10 {
			if err := d.checkpoint(); err != nil {
				t.Fatal(err)
			}
		}
	}
	g, _ := d.now()
	s := g.store
	wantKind(t, s.Destroy(shard1), fault.InUse)
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(23, 23))
	var clones []*disk.Mem
	look := func(string) { clones = append(clones, d.mem.CrashClone(rng)) }
	d.mem.BeforeSync(look)
	d.mem.OnSync(look)
	if err := s.Destroy(shard1); err != nil {
		t.Fatal(err)
	}
	if err := s.Destroy(shard1); err != nil {
		t.Fatal("Destroy is not idempotent")
	}
	d.mem.BeforeSync(nil)
	d.mem.OnSync(nil)
	if len(clones) < 4 {
		t.Errorf("only %d power losses", len(clones))
	}
	for i, clone := range append(clones, d.mem.CrashClone(nil)) {
		err := InspectStore(clone, "node/log", func(ident.ShardID, uint64, []byte) error { return nil })
		if err != nil {
			t.Errorf("power loss %d: %v", i, err)
		}
		o := &testNode{net: n, id: d.id, replica: ident.NewReplicaID(9), mem: clone, join: true}
		if err := o.tryOpen(nil); i == len(clones) && err != nil || err != nil && !fault.Is(err, fault.Invalid) {
			t.Errorf("power loss %d: %v", i, err) // Invalid: it is replica 101 still
		}
		o.close()
	}
	err := InspectCheckpoint(d.mem.CrashClone(nil), "node/log", func(_ ident.ShardID, key, _ []byte) error {
		return fmt.Errorf("key %x is left", key)
	})
	if err != nil {
		t.Error(err)
	}
}

// oldStore are the records of a store as the version before groups of several
// wrote them: node 1, shard 1, proposals a and b before a checkpoint that saved
// the key "seen", c and d after it.
var oldStore = [][2]string{
	{"01", "0100000000000000ccc3e706"},
	{"02000000000000000101", "0100000000000000000000000000000002024a29"},
	{"02000000000000000102", "020000000000000001000000000000000100000000000000143e579f"},
	{"02000000000000000103", "04000000000000000200000000000000e7e1f330"},
	{"02000000000000000104", "040000000000000089f273e3"},
	{"020000000000000001057365656e", "32"},
	{"020000000000000001060000000000000005", "01000200000000000000e79c2d895d9c4fea60a744d0030000000000000063"},
	{"020000000000000001060000000000000006", "01000200000000000000bbdd55795d9c4fea60a744d0040000000000000064"},
}

func TestAStoreOfTheVersionBeforeOpensAndKeepsItsFormat(t *testing.T) {
	mem := disk.NewMem()
	s, err := OpenStore(StoreOptions{FS: mem, Dir: "node/log"})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	edit(t, mem, func(db *pebble.DB) error {
		for _, kv := range oldStore {
			key, _ := hex.DecodeString(kv[0])
			value, err := hex.DecodeString(kv[1])
			if err := errors.Join(err, db.Set(key, value, pebble.Sync)); err != nil {
				return err
			}
		}
		return nil
	})
	s, g, m, state := boot(t, mem, 0)
	if m.seen != 4 || string(m.log[0]) != "c" || string(m.log[1]) != "d" || state["seen"] != "2" {
		t.Errorf("%d seen, log %q, state %v", m.seen, m.log, state)
	}
	if _, err := g.Propose(context.Background(), []byte("e")); err != nil {
		t.Fatal(err)
	}
	if err := g.SaveCheckpoint(m.index, []KV{{[]byte("seen"), []byte("5")}}); err != nil {
		t.Fatal(err)
	}
	c, err := g.LastCheckpoint()
	if err != nil || c.Index != m.index || len(c.KVs) != 1 || string(c.KVs[0].Value) != "5" || c.Members != nil {
		t.Errorf("%+v, %v", c, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	edit(t, mem, func(db *pebble.DB) error {
		words, err := getWords(db, versionKey, 1)
		if err != nil || words[0] != formatStandalone {
			t.Errorf("version %v, %v", words, err)
		}
		members, err := getValue(db, shardKey(shard1, kindMembers))
		if err != nil || members != nil {
			t.Errorf("members %x, %v", members, err)
		}
		return nil
	})
}

// TestMembersReadAsTheyWereWritten also holds the decoder against what a disk
// can make of them.
func TestMembersReadAsTheyWereWritten(t *testing.T) {
	key := shardKey(shard1, kindMembers)
	joint := membership{autoLeave: true, seats: []seat{{1, 10, seatOutgoing}, {2, 20, seatVoter | seatOutgoing}, {3, 30, seatVoter}, {4, 40, seatLearner}, {5, 50, seatOutgoing | seatNext}}}
	for name, m := range map[string]membership{"none": {}, "three": newMembership(members(3)), "joint": joint} {
		value := encodeConf(key, 7, 3, m)
		index, term, got, err := decodeConf(key, value)
		if err != nil || index != 7 || term != 3 || got.autoLeave != m.autoLeave || !slices.Equal(got.seats, m.seats) {
			t.Errorf("%s: %d %d %+v, %v", name, index, term, got, err)
		}
		if back := m.after(m.confState(), nil); !slices.Equal(back.seats, m.seats) || back.autoLeave != m.autoLeave {
			t.Errorf("%s: by way of raft %+v", name, back)
		}
		c := Checkpoint{Index: 7, Term: 3, Members: m.list(), Joint: m.jointBytes()}
		if got, err := membershipAt(c); name != "none" && (err != nil || !slices.Equal(got.seats, m.seats)) {
			t.Errorf("%s: by way of a checkpoint %+v, %v", name, got, err)
		}
		for i := range value {
			bad := slices.Clone(value)
			bad[i] ^= 1
			if _, _, _, err := decodeConf(key, bad); err == nil {
				t.Errorf("%s: byte %d changed and it reads", name, i)
			}
			if _, _, _, err := decodeConf(key, value[:i]); err == nil {
				t.Errorf("%s: cut to %d bytes and it reads", name, i)
			}
		}
		if _, _, _, err := decodeConf(shardKey(ident.NewShardID(2), kindMembers), value); err == nil {
			t.Errorf("%s: it reads as another shard's", name)
		}
	}
}

func TestAnIdleStoreWithoutSeveralMembersHasNoClock(t *testing.T) {
	s, _ := mustOpen(t, disk.NewMem(), "log", &recorder{})
	defer s.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ticking {
		t.Error("it ticks")
	}
}

func TestNoiseOnTheLineHarmsNobody(t *testing.T) {
	n := newNet(t, 24)
	n.start(3)
	n.write("before")
	rng := rand.New(rand.NewPCG(24, 24))
	g, _ := n.leader().now()
	from := members(3)[rng.IntN(3)]
	for range 3000 {
		data := make([]byte, rng.IntN(40))
		for i := range data {
			data[i] = byte(rng.Uint32())
		}
		if len(data) > 0 {
			data[0] = byte(rng.IntN(3))
		}
		m := Message{Shard: ident.NewShardID(uint64(rng.IntN(3))), From: from.ID, To: members(3)[rng.IntN(3)].ID, Data: data}
		g.store.Receive(ident.NewNodeID(uint64(rng.IntN(4))), m)
	}
	n.write("after")
	n.settle()
	n.history.check(n)
}

func TestAMessageForWhoIsNotHereIsToldAndDropped(t *testing.T) {
	var told []Message
	s, err := OpenStore(StoreOptions{FS: disk.NewMem(), Dir: "log", Misfit: func(_ ident.NodeID, m Message) { told = append(told, m) }})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	s.Receive(node1, Message{Shard: ident.NewShardID(5), Data: []byte{1}})
	if len(told) != 1 || told[0].Shard != ident.NewShardID(5) {
		t.Errorf("told %v", told)
	}
}
