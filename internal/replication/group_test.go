package replication

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"

	"kimberlite/internal/disk"
	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
)

// gate is a state machine that applies when it is let.
type gate struct {
	machine
	mu      sync.Mutex // held by the test to keep entries from being applied
	entered chan struct{}
	fail    error
	boom    bool
}

func newGate() *gate { return &gate{entered: make(chan struct{}, 1000)} }

func (g *gate) Apply(entries []Entry) error {
	g.entered <- struct{}{}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.boom {
		panic("boom")
	}
	if g.fail != nil {
		return g.fail
	}
	return g.machine.Apply(entries)
}

func openGate(t *testing.T, o GroupOptions) (*Store, *Group, *gate) {
	t.Helper()
	s, err := OpenStore(StoreOptions{FS: disk.NewMem(), Dir: "log"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	o.Shard, o.Node = shard1, node1
	sm := newGate()
	g, err := s.OpenGroup(o, sm)
	if err != nil {
		t.Fatal(err)
	}
	return s, g, sm
}

func wantKind(t *testing.T, err error, kind fault.Kind) {
	t.Helper()
	if !fault.Is(err, kind) {
		t.Errorf("%v, want kind %v", err, kind)
	}
}

func TestAProposalThatNeverEnteredTheLogSaysSo(t *testing.T) {
	_, g, sm := openGate(t, GroupOptions{MaxEntryBytes: 100, MaxQueuedBytes: 300})
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := g.Propose(ctx, nil)
	wantKind(t, err, fault.Canceled)
	_, err = g.Propose(context.Background(), make([]byte, 101))
	wantKind(t, err, fault.TooLarge)

	var asked, answered, refused int
	done := make(chan error, 10_000)
	propose := func() {
		asked++
		g.ProposeAsync(make([]byte, 100), func(_ any, err error) { done <- err })
	}
	sm.mu.Lock()
	saturate(g, sm, propose)
	for range 3 { // of 116 bytes, where 300 may wait
		propose()
	}
	sm.mu.Unlock()
	for ; answered < asked; answered++ {
		if err := <-done; err != nil {
			wantKind(t, err, fault.Unavailable)
			refused++
		}
	}
	if refused == 0 || sm.seen != asked-refused {
		t.Errorf("%d applied, %d refused, of %d", sm.seen, refused, asked)
	}
}

// saturate proposes until all that may be in flight is. The state machine is
// locked, so nothing lands, and what is proposed next stays queued.
func saturate(g *Group, sm *gate, propose func()) {
	propose()
	<-sm.entered // it is committed, and the applier stands still in Apply
	for g.inflightNow() < maxInflight {
		propose()
		runtime.Gosched()
	}
}

func (g *Group) inflightNow() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.inflight)
}

func (g *Group) queuedNow() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.queue)
}

func TestAWaiterThatGivesUpIsToldWhetherItsProposalEntered(t *testing.T) {
	_, g, sm := openGate(t, GroupOptions{})
	sm.mu.Lock()
	giveUp := func(data string, ready func() bool) error {
		ctx, cancel := context.WithCancel(context.Background())
		outcome := make(chan error)
		go func() {
			_, err := g.Propose(ctx, []byte(data))
			outcome <- err
		}()
		for !ready() {
			runtime.Gosched()
		}
		cancel()
		return <-outcome
	}
	wantKind(t, giveUp("entered", func() bool { return len(sm.entered) > 0 }), fault.OutcomeUnknown)
	for g.inflightNow() < maxInflight {
		g.ProposeAsync([]byte("filler"), func(any, error) {})
		runtime.Gosched()
	}
	queued := g.queuedNow()
	wantKind(t, giveUp("queued", func() bool { return g.queuedNow() > queued }), fault.Canceled)
	sm.mu.Unlock()
	if _, err := g.Propose(context.Background(), []byte("last")); err != nil {
		t.Fatal(err)
	}
	if string(sm.log[0]) != "entered" {
		t.Errorf("the first entry is %q", sm.log[0])
	}
	for _, data := range sm.log {
		if string(data) == "queued" {
			t.Error("a proposal that was canceled before it entered took effect")
		}
	}
}

func TestProposalsOfOneGoroutineEnterInOrderAndKeepNoReference(t *testing.T) {
	_, g, sm := openGate(t, GroupOptions{})
	const writers, each = 4, 500
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			buf := make([]byte, 8)
			var answered sync.WaitGroup
			for i := range each {
				binary.LittleEndian.PutUint32(buf, uint32(w))
				binary.LittleEndian.PutUint32(buf[4:], uint32(i))
				answered.Add(1)
				g.ProposeAsync(buf, func(_ any, err error) {
					if err != nil {
						t.Error(err)
					}
					answered.Done()
				})
			}
			answered.Wait()
		})
	}
	wg.Wait()
	var next [writers]uint32
	for _, data := range sm.log {
		w, i := binary.LittleEndian.Uint32(data), binary.LittleEndian.Uint32(data[4:])
		if next[w] != i {
			t.Fatalf("writer %d: entry %d where %d belongs", w, i, next[w])
		}
		next[w]++
	}
	if len(sm.log) != writers*each {
		t.Fatalf("%d entries", len(sm.log))
	}
}

func TestAStateMachineThatFailsStopsItsGroupOnly(t *testing.T) {
	for _, panics := range []bool{false, true} {
		s, g, sm := openGate(t, GroupOptions{})
		other, err := s.OpenGroup(GroupOptions{Shard: ident.NewShardID(2), Node: node1}, newGate())
		if err != nil {
			t.Fatal(err)
		}
		sm.fail, sm.boom = errors.New("no"), panics
		_, err = g.Propose(context.Background(), []byte("x"))
		wantKind(t, err, fault.OutcomeUnknown)
		_, err = g.Propose(context.Background(), []byte("x"))
		wantKind(t, err, fault.Stopped)
		wantKind(t, g.ReadIndex(context.Background()), fault.Stopped)
		wantKind(t, g.Close(), fault.Stopped)
		if _, err := other.Propose(context.Background(), []byte("x")); err != nil {
			t.Error(err)
		}
		if err := s.Err(); err != nil {
			t.Error(err)
		}
		// Opened again, it replays what the state machine refused.
		again := &machine{}
		if _, err := s.OpenGroup(GroupOptions{Shard: shard1, Node: node1}, again); err != nil || again.seen != 1 {
			t.Fatalf("%v, %d entries", err, again.seen)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestCloseFinishesWhatIsQueued(t *testing.T) {
	s, g, sm := openGate(t, GroupOptions{})
	done := make(chan error, 5000)
	for range cap(done) {
		g.ProposeAsync([]byte("x"), func(_ any, err error) { done <- err })
	}
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
	for range cap(done) {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	if sm.seen != cap(done) {
		t.Fatalf("%d applied", sm.seen)
	}
	_, err := g.Propose(context.Background(), nil)
	wantKind(t, err, fault.Closed)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = s.OpenGroup(GroupOptions{Shard: shard1, Node: node1}, sm)
	wantKind(t, err, fault.Closed)
	wantKind(t, g.SaveCheckpoint(1, nil), fault.Closed)
}

func TestCheckpointsShortenTheLog(t *testing.T) {
	mem := disk.NewMem()
	s, g, m, _ := boot(t, mem, 64<<10)
	for range 10 {
		m.proposeAll(t, g, 200)
		before := g.LogBytes()
		if before < 200*500 {
			t.Fatalf("LogBytes is %d after 100 kB", before)
		}
		if err := g.SaveCheckpoint(m.index, []KV{{[]byte("seen"), fmt.Append(nil, m.seen)}}); err != nil {
			t.Fatal(err)
		}
		if n := g.LogBytes(); n != 0 {
			t.Fatalf("LogBytes is %d after a checkpoint", n)
		}
	}
	m.proposeAll(t, g, 1)
	wantKind(t, g.SaveCheckpoint(m.index+5, nil), fault.Invalid)
	wantKind(t, g.SaveCheckpoint(3, nil), fault.Invalid)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	entries := 0
	err := InspectStore(mem, "node/log", func(ident.ShardID, uint64, []byte) error { entries++; return nil })
	if err != nil || entries != 1 {
		t.Fatalf("%d entries left, %v; want 1", entries, err)
	}
	_, g, m, _ = boot(t, mem, 64<<10)
	if m.seen != 2001 || len(m.log) != 1 {
		t.Fatalf("%d seen, %d replayed", m.seen, len(m.log))
	}
	if n := g.LogBytes(); n < 500 || n > 5000 {
		t.Errorf("LogBytes is %d after replaying one entry", n)
	}
}

func TestGroupsOfOneStoreAreApart(t *testing.T) {
	mem := disk.NewMem()
	s, err := OpenStore(StoreOptions{FS: mem, Dir: "log"})
	if err != nil {
		t.Fatal(err)
	}
	const n = 20
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			m := &machine{}
			g, err := s.OpenGroup(GroupOptions{Shard: ident.NewShardID(uint64(i)), Node: node1}, m)
			if err != nil {
				t.Error(err)
				return
			}
			for j := range 30 {
				if _, err := g.Propose(context.Background(), fmt.Append(nil, i, " ", j)); err != nil {
					t.Error(err)
				}
			}
			if i%2 == 0 {
				if err := g.SaveCheckpoint(m.index, []KV{{[]byte("shard"), fmt.Append(nil, i)}}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	next := map[ident.ShardID]int{}
	err = InspectStore(mem, "log", func(shard ident.ShardID, _ uint64, data []byte) error {
		if want := fmt.Sprint(shard, " ", next[shard]); string(data) != want {
			return fmt.Errorf("%q, want %q", data, want)
		}
		next[shard]++
		return nil
	})
	if err != nil || len(next) != n/2 {
		t.Errorf("%d shards with entries, %v", len(next), err)
	}
	saved := 0
	err = InspectCheckpoint(mem, "log", func(shard ident.ShardID, key, value []byte) error {
		saved++
		if string(key) != "shard" || string(value) != shard.String() {
			return fmt.Errorf("shard %s has %q: %q", shard, key, value)
		}
		return nil
	})
	if err != nil || saved != n/2 {
		t.Errorf("%d keys saved, %v", saved, err)
	}
}

func TestAStoreAndAGroupHaveOneHolder(t *testing.T) {
	for name, fs := range map[string]disk.FS{"os": disk.OS{}, "mem": disk.NewMem()} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s, _ := mustOpen(t, fs, dir, &machine{})
			_, err := OpenStore(StoreOptions{FS: fs, Dir: dir})
			wantKind(t, err, fault.InUse)
			wantKind(t, InspectStore(fs, dir, nil), fault.InUse)
			_, err = s.OpenGroup(GroupOptions{Shard: shard1, Node: node1}, &machine{})
			wantKind(t, err, fault.InUse)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s, err = OpenStore(StoreOptions{FS: fs, Dir: dir})
			if err != nil {
				t.Fatal(err)
			}
			_, err = s.OpenGroup(GroupOptions{Shard: shard1, Node: ident.NewNodeID(2)}, &machine{})
			wantKind(t, err, fault.Invalid)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if err := s.Close(); err != nil {
				t.Fatal("Close is not idempotent")
			}
		})
	}
}

func TestLargeEntriesPassAndReplayInPages(t *testing.T) {
	mem := disk.NewMem()
	s, g, m, _ := boot(t, mem, 256<<10)
	for i := range 3 {
		data := make([]byte, 3<<20)
		data[0], data[len(data)-1] = byte(i), byte(i)
		if _, err := g.Propose(context.Background(), data); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s, _, again, _ := boot(t, mem, 256<<10)
	defer s.Close()
	if len(again.log) != len(m.log) {
		t.Fatalf("%d entries", len(again.log))
	}
	for i, data := range again.log {
		if len(data) != 3<<20 || data[0] != byte(i) || data[len(data)-1] != byte(i) {
			t.Fatalf("entry %d differs", i)
		}
	}
}
