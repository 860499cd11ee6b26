package replication

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"kimberlite/internal/disk"
	"kimberlite/internal/fault"
)

// trouble makes chosen calls of a filesystem fail once it is switched on.
type trouble struct {
	on   atomic.Bool
	hits atomic.Int64
}

func (tr *trouble) over(mem *disk.Mem, op disk.Op, part string, err error) *disk.Faulty {
	return &disk.Faulty{FS: mem, PartialWrite: true, Inject: func(o disk.Op, name string) error {
		if !tr.on.Load() || o != op || !strings.Contains(name, part) {
			return nil
		}
		tr.hits.Add(1)
		return err
	}}
}

// A few of these would end the process, by a panic under the engine's locks
// or an unlock of an unlocked mutex, if the engine learnt of them.
var troubles = []struct {
	name string
	op   disk.Op
	part string
	err  error
	kind fault.Kind
}{
	{"sync of the write-ahead log", disk.OpSync, ".log", syscall.EIO, fault.Stopped},
	{"write to the write-ahead log", disk.OpWrite, ".log", syscall.ENOSPC, fault.DiskFull},
	{"write to the write-ahead log, EIO", disk.OpWrite, ".log", syscall.EIO, fault.Stopped},
	{"close of the write-ahead log", disk.OpClose, ".log", syscall.EIO, fault.Stopped},
	{"opening the next write-ahead log", disk.OpOpen, ".log", syscall.ENOSPC, fault.DiskFull},
	{"renaming an old write-ahead log", disk.OpRename, ".log", syscall.EIO, fault.Stopped},
	{"creating a table", disk.OpOpen, ".sst", syscall.ENOSPC, fault.DiskFull},
	{"write to a table", disk.OpWrite, ".sst", syscall.ENOSPC, fault.DiskFull},
	{"sync of a table", disk.OpSync, ".sst", syscall.EIO, fault.Stopped},
	{"read of a table", disk.OpRead, ".sst", syscall.EIO, fault.Stopped},
	{"write to the manifest", disk.OpWrite, "MANIFEST", syscall.ENOSPC, fault.DiskFull},
	{"sync of the manifest", disk.OpSync, "MANIFEST", syscall.EIO, fault.Stopped},
	{"sync of the directory", disk.OpSyncDir, "log", syscall.EIO, fault.Stopped},
	{"write to the bounds", disk.OpWrite, boundsName, syscall.ENOSPC, fault.DiskFull},
}

func TestADiskThatFailsStopsTheStoreAndLosesNothingAcknowledged(t *testing.T) {
	for _, tc := range troubles {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			mem := disk.NewMem()
			tr := &trouble{}
			fs := tr.over(mem, tc.op, tc.part, tc.err)
			s, g, m, _ := boot(t, fs, 64<<10)
			acked := m.proposeAll(t, g, 20)
			tr.on.Store(true)
			acked += proposeUntilFailure(t, g, tc.kind)
			if tr.hits.Load() == 0 {
				t.Fatal("the trouble never struck")
			}
			checkStopped(t, s, g, tc.kind)
			if err := s.Close(); err == nil {
				t.Error("Close returned nil after a failure")
			}
			clone := mem.CrashClone(nil)

			tr.on.Store(false)
			for name, fs := range map[string]disk.FS{"same machine": fs, "after a power loss": clone} {
				s, g, m, _ := boot(t, fs, 64<<10)
				if m.seen < acked {
					t.Fatalf("%s: %d proposals, %d were acknowledged", name, m.seen, acked)
				}
				m.proposeAll(t, g, 1)
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

func (m *machine) proposeAll(t *testing.T, g *Group, n int) int {
	t.Helper()
	for range n {
		if _, err := g.Propose(context.Background(), make([]byte, 500)); err != nil {
			t.Fatal(err)
		}
	}
	return n
}

// proposeUntilFailure proposes from several goroutines until each has failed,
// checks how, and returns how many were acknowledged.
func proposeUntilFailure(t *testing.T, g *Group, kind fault.Kind) int {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	var acked atomic.Int64
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := 0; ; i++ {
				_, err := g.Propose(ctx, make([]byte, 2000))
				if err == nil {
					acked.Add(1)
					if i%50 == 49 {
						index := g.Applied() - uint64(i%20)
						seen := fmt.Append(nil, index-2) // two entries of this first session are no proposals
						_ = g.SaveCheckpoint(index, []KV{{[]byte("seen"), seen}})
					}
					continue
				}
				switch got := fault.KindOf(err); got {
				case fault.OutcomeUnknown, fault.Stopped, kind:
				default:
					t.Errorf("failed with %v: %v", got, err)
				}
				return
			}
		})
	}
	wg.Wait()
	return int(acked.Load())
}

// checkStopped checks that a failed store says so everywhere.
func checkStopped(t *testing.T, s *Store, g *Group, kind fault.Kind) {
	t.Helper()
	if err := s.Err(); !fault.Is(err, kind) {
		t.Errorf("Store.Err is %v, want kind %v", err, kind)
	}
	want := func(what string, err error) {
		if !fault.Is(err, fault.Stopped) {
			t.Errorf("%s after the failure: %v, want stopped", what, err)
		}
	}
	_, err := g.Propose(context.Background(), []byte("x"))
	want("Propose", err)
	g.ProposeAsync([]byte("x"), func(_ any, err error) { want("ProposeAsync", err) })
	want("ReadIndex", g.ReadIndex(context.Background()))
	want("SaveCheckpoint", g.SaveCheckpoint(g.Applied(), nil))
	_, err = s.LoadCheckpoint(shard1, func(_, _ []byte) error { return nil })
	want("LoadCheckpoint", err)
	_, err = s.OpenGroup(GroupOptions{Shard: shard1, Node: node1}, &machine{})
	want("OpenGroup", err)
	if err := g.Close(); err == nil {
		t.Error("Group.Close returned nil after a failure")
	}
}

func TestAFullDiskRefusesAndRecoversWithRoom(t *testing.T) {
	mem := disk.NewMem()
	s, g, m, _ := boot(t, mem, 64<<10)
	acked := m.proposeAll(t, g, 10)
	mem.SetCapacity(mem.Bytes() + 100<<10)
	acked += proposeUntilFailure(t, g, fault.DiskFull)
	checkStopped(t, s, g, fault.DiskFull)
	if err := s.Close(); !fault.Is(err, fault.DiskFull) {
		t.Errorf("Close: %v, want disk full", err)
	}
	if _, err := OpenStore(StoreOptions{FS: mem, Dir: "node/log"}); err != nil && !fault.Is(err, fault.DiskFull) {
		t.Errorf("OpenStore on the full disk: %v", err)
	} else if err == nil {
		t.Skip("the store still opened")
	}
	mem.SetCapacity(1 << 40)
	_, _, m, _ = boot(t, mem, 64<<10)
	if m.seen < acked {
		t.Fatalf("%d proposals, %d were acknowledged", m.seen, acked)
	}
}

func TestOpenFailsClearlyWhenTheDiskDoes(t *testing.T) {
	for _, tc := range []struct {
		op   disk.Op
		part string
	}{
		{disk.OpMkdir, ""}, {disk.OpOpen, "LOCK"}, {disk.OpOpen, boundsName}, {disk.OpWrite, boundsName}, {disk.OpSync, boundsName},
		{disk.OpWrite, "MANIFEST"}, {disk.OpSync, "MANIFEST"}, {disk.OpSync, ".log"}, {disk.OpWrite, ".log"}, {disk.OpOpen, ".log"},
		{disk.OpSync, ".dbtmp"}, {disk.OpSyncDir, "log"}, {disk.OpRename, "log/"}, {disk.OpOpen, "marker"},
	} {
		t.Run(fmt.Sprint(tc.op, " ", tc.part), func(t *testing.T) {
			mem := disk.NewMem()
			tr := &trouble{}
			tr.on.Store(true)
			fs := tr.over(mem, tc.op, tc.part, syscall.ENOSPC)
			s, err := OpenStore(StoreOptions{FS: fs, Dir: "node/log"})
			if err == nil {
				_, err = s.OpenGroup(GroupOptions{Shard: shard1, Node: node1}, &machine{})
				s.Close()
			}
			if tr.hits.Load() == 0 {
				t.Skip("not on the way")
			}
			if !fault.Is(err, fault.DiskFull) && !fault.Is(err, fault.Stopped) {
				t.Errorf("%v, want disk full or stopped", err)
			}
			tr.on.Store(false)
			s, _, _, _ = boot(t, fs, 64<<10)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestNoGoroutineOutlivesClose(t *testing.T) {
	before := runtime.NumGoroutine()
	for _, breaks := range []bool{false, true} {
		mem := disk.NewMem()
		tr := &trouble{}
		s, g, m, _ := boot(t, tr.over(mem, disk.OpSync, ".log", syscall.EIO), 64<<10)
		m.proposeAll(t, g, 300)
		tr.on.Store(breaks)
		if breaks {
			proposeUntilFailure(t, g, fault.Stopped)
		}
		s.Close()
	}
	deadline := time.Now().Add(10 * time.Second)
	for runtime.NumGoroutine() > before {
		if time.Now().After(deadline) {
			buf := make([]byte, 1<<20)
			t.Fatalf("%d goroutines, %d before:\n%s", runtime.NumGoroutine(), before, buf[:runtime.Stack(buf, true)])
		}
		runtime.Gosched()
	}
}
