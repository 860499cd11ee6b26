package pagestore

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"syscall"
	"testing"

	"kimberlite/internal/disk"
	"kimberlite/internal/fault"
)

// crashRun is a scenario on a disk that loses power at every sync point.
type crashRun struct {
	t   *testing.T
	e   *env
	mem *disk.Mem
	rng *rand.Rand
	// durable is the state of the last completed Flush, next that of the one
	// under way, or the same.
	durable, next twin
	clones        int
}

// lose clones the disk as a power loss would leave it and checks what the
// next start finds there.
func (r *crashRun) lose(where string) {
	for i := range 4 {
		rng := r.rng
		if i == 0 {
			rng = nil
		}
		e := &env{t: r.t, fs: r.mem.CrashClone(rng), keys: r.e.keys, max: r.e.max}
		r.check(where, e)
	}
	r.reorder(where)
}

// reorder is a power loss that CrashClone hardly ever draws: of what was not
// synced, the roots are there and nothing else, or all but the roots.
func (r *crashRun) reorder(where string) {
	now, err := disk.ReadFile(r.mem, testPath)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	check(r.t, err)
	synced, err := disk.ReadFile(r.mem.CrashClone(nil), testPath)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	check(r.t, err)
	for i, sources := range [][2][]byte{{now, synced}, {synced, now}} {
		roots, rest := sources[0], sources[1]
		data := bytes.Clone(rest)
		copy(data, roots[:min(len(roots), rootSlots*PageSize)])
		e := &env{t: r.t, fs: newMem(r.t), keys: r.e.keys, max: r.e.max}
		e.put(data)
		r.check(fmt.Sprintf("%s, reordered %d", where, i), e)
	}
}

// check opens what a power loss left.
func (r *crashRun) check(where string, e *env) {
	r.clones++
	s, err := e.tryOpen()
	if err != nil {
		r.t.Fatalf("%s: %v", where, err)
	}
	s.verify(r.t)
	b := s.Begin()
	if why := r.durable.differs(b, r.rng); why != "" {
		if after := r.next.differs(b, r.rng); after != "" {
			r.t.Fatalf("%s: neither the last flush (%s) nor the one under way (%s)", where, why, after)
		}
	}
	r.goOn(e, s, b)
}

// goOn checks that a store found after a crash can be used and flushed.
func (r *crashRun) goOn(e *env, s *Store, b *Batch) {
	writePage(r.t, b, 2, 77)
	check(r.t, b.Commit())
	check(r.t, s.Flush())
	s.verify(r.t)
	check(r.t, s.Close())
	s = e.open()
	wantPage(r.t, s.Begin(), 2, 77)
	check(r.t, s.Close())
}

func TestPowerLossLeavesTheLastFlushOrTheOneUnderWay(t *testing.T) {
	t.Parallel()
	clones := 0
	for seed := range uint64(8) {
		mem := newMem(t)
		r := &crashRun{t: t, mem: mem, rng: rand.New(rand.NewPCG(seed, 5)), durable: twin{data: map[int][]byte{}}}
		r.next = r.durable
		r.e = &env{t: t, fs: mem, keys: newTestKeys(testTenant), max: 4 + r.rng.IntN(10)}
		mem.BeforeSync(func(name string) { r.lose("before the sync of " + name) })
		mem.OnSync(func(name string) { r.lose("after the sync of " + name) })
		s := r.e.open()
		now := r.durable.clone()
		steps := &twinRun{t: t, rng: r.rng, maxPages: []int{20, 900}[seed%2]}
		for range 8 {
			for range r.rng.IntN(4) {
				b, v := s.Begin(), now.clone()
				steps.change(b, &v)
				if r.rng.IntN(5) == 0 {
					b.Discard()
					continue
				}
				check(t, b.Commit())
				now = v
			}
			r.lose("between flushes")
			r.next = now
			check(t, s.Flush())
			r.durable = now
			r.lose("after a flush")
		}
		clones += r.clones
	}
	t.Logf("%d power losses", clones)
}

// script runs commits and flushes until something fails, and returns the
// states of the last Flush that succeeded, of the last commit, and the error.
func script(t *testing.T, s *Store, seed uint64, rounds int) (durable, now twin, err error) {
	rng := rand.New(rand.NewPCG(seed, 6))
	durable = twin{data: map[int][]byte{}}
	now = durable.clone()
	for round := range rounds {
		b, v := s.Begin(), now.clone()
		for i := range 8 + rng.IntN(20) {
			page, p := rng.IntN(30), content(uint64(round*1000+i))
			if round == 2 {
				page += 400
			}
			if _, err := b.WriteAt(p, int64(page)*PageSize); err != nil {
				b.Discard()
				return durable, now, err
			}
			v.write(p, page*PageSize)
		}
		v.meta = fmt.Sprint("meta ", seed, round)
		if err := b.SetMeta([]byte(v.meta)); err != nil {
			return durable, now, err
		}
		if err := b.Commit(); err != nil {
			return durable, now, err
		}
		now = v
		if err := s.Flush(); err != nil {
			return durable, now, err
		}
		durable = now
	}
	return durable, now, nil
}

// TestEveryFailingCallIsReportedAndLosesNothing makes each call on the disk
// fail once, with an I/O error and with a full disk.
func TestEveryFailingCallIsReportedAndLosesNothing(t *testing.T) {
	for _, cause := range []error{syscall.EIO, syscall.ENOSPC} {
		for n := 0; ; n++ {
			if !failNth(t, n, cause) {
				t.Logf("%v: %d calls", cause, n)
				break
			}
		}
	}
}

// failNth lets the n-th call that changes the disk fail. It returns false
// when there are not so many.
func failNth(t *testing.T, n int, cause error) bool {
	t.Helper()
	mem := newMem(t)
	calls, failedOp := 0, disk.OpRead
	faulty := &disk.Faulty{FS: mem, PartialWrite: n%2 == 0, Inject: func(op disk.Op, name string) error {
		if op == disk.OpRead || op == disk.OpClose || op == disk.OpTruncate {
			return nil
		}
		if calls++; calls == n+3 { // the first two are made by Open
			failedOp = op
			return &fs.PathError{Op: op.String(), Path: name, Err: cause}
		}
		return nil
	}}
	e := &env{t: t, fs: faulty, keys: newTestKeys(testTenant), max: 6}
	s := e.open()
	durable, now, err := script(t, s, 1, 5)
	if failedOp == disk.OpRead {
		check(t, err)
		return false
	}
	what := fmt.Sprintf("call %d (%v), %v", n, failedOp, cause)
	s.verify(t)
	rng := rand.New(rand.NewPCG(1, 1))
	if why := now.differs(s.Snapshot(), rng); why != "" {
		t.Fatalf("%s: reads: %s", what, why)
	}
	full := cause == syscall.ENOSPC && failedOp != disk.OpSync && failedOp != disk.OpSyncDir
	switch {
	case err == nil && full: // a spill that stayed in memory
		check(t, s.Flush())
		durable = now
	case err == nil:
		t.Fatalf("%s: nobody was told", what)
	case full:
		wantKind(t, err, fault.DiskFull)
		check(t, s.Flush()) // there is room again
		s.verify(t)
		durable = now
	case failedOp == disk.OpOpen:
		wantKind(t, err, fault.Unavailable)
	default:
		wantKind(t, err, fault.Stopped)
		wantKind(t, s.Flush(), fault.Stopped)
		wantKind(t, s.Begin().Commit(), fault.Stopped)
	}
	clone := &env{t: t, fs: mem.CrashClone(nil), keys: e.keys}
	again := clone.open()
	why := durable.differs(again.Snapshot(), rng)
	if why != "" && err != nil { // the failed Flush may have got through
		why = now.differs(again.Snapshot(), rng)
	}
	if why != "" {
		t.Fatalf("%s: after a crash: %s", what, why)
	}
	return true
}

func TestFullDiskRefusesGrowthAndRecoversWhenSpaceReturns(t *testing.T) {
	mem := newMem(t)
	e := &env{t: t, fs: mem, keys: newTestKeys(testTenant), max: 8}
	s := e.open()
	set(t, s, map[int]uint64{0: 1, 1: 2})
	check(t, s.Flush())
	mem.SetCapacity(mem.Bytes())
	set(t, s, map[int]uint64{1: 3, 2: 3, 3: 3, 4: 3, 5: 3, 6: 3, 7: 3, 8: 3, 9: 3, 10: 3})
	wantKind(t, s.Flush(), fault.DiskFull)
	s.verify(t)
	b := s.Begin()
	var err error
	for page := 0; page < 1000 && err == nil; page++ {
		_, err = b.WriteAt(content(9), int64(page)*PageSize)
	}
	wantKind(t, err, fault.DiskFull)
	if b.resident > hardFactor*e.max+1 {
		t.Fatal(b.resident, "pages in memory")
	}
	b.Discard()
	for i := 0; !s.overfull.Load(); i++ {
		if i > hardFactor*e.max {
			t.Fatal(s.resident(), "committed pages in memory")
		}
		set(t, s, map[int]uint64{i: 4})
	}
	_, err = s.Begin().WriteAt(content(9), 0)
	wantKind(t, err, fault.DiskFull)
	s.batch.Discard()
	s.verify(t)
	wantKind(t, s.Flush(), fault.DiskFull)
	s.verify(t)
	want := state(t, s)
	mem.SetCapacity(1 << 30)
	set(t, s, map[int]uint64{})
	b = s.Begin()
	_, err = b.WriteAt(content(9), 0) // spills what it can now
	check(t, err)
	b.Discard()
	if s.resident() > e.max {
		t.Fatal(s.resident(), "committed pages in memory")
	}
	check(t, s.Flush())
	check(t, s.Close())
	s = e.open()
	if string(state(t, s)) != string(want) {
		t.Fatal("something was lost")
	}
}

func TestUnreadableFileIsNotCalledDamaged(t *testing.T) {
	mem := newMem(t)
	fail := false
	e := newEnv(t)
	e.fs = &disk.Faulty{FS: mem, Inject: func(op disk.Op, _ string) error {
		if fail && op == disk.OpRead {
			return syscall.EIO
		}
		return nil
	}}
	s := e.open()
	set(t, s, map[int]uint64{0: 1})
	check(t, s.Flush())
	fail = true
	_, err := s.Snapshot().ReadAt(make([]byte, PageSize), 0)
	wantKind(t, err, fault.Unavailable)
	if !errors.Is(err, syscall.EIO) {
		t.Fatal(err)
	}
	_, err = e.tryOpen()
	wantKind(t, err, fault.Unavailable)
}

func TestNoPlaintextIsOnTheDisk(t *testing.T) {
	e := newEnv(t)
	mem := e.fs.(*disk.Mem)
	needle := []byte("a known plaintext of a tenant")
	looked := 0
	look := func(string) {
		for _, name := range []string{testPath, testPath + tmpSuffix} {
			data, err := disk.ReadFile(mem, name)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			check(t, err)
			if looked++; contains(data, needle) {
				t.Fatal(name, "has plaintext")
			}
		}
	}
	mem.BeforeSync(look)
	mem.OnSync(look)
	s := e.open()
	for round := range 4 {
		b := s.Begin()
		for page := range 100 {
			_, err := b.WriteAt(needle, int64(page*PageSize+100*round))
			check(t, err)
		}
		look("")
		check(t, b.Commit())
		look("")
		check(t, s.Flush())
	}
	check(t, s.Close())
	look("")
	if looked < 20 {
		t.Fatal("looked only", looked, "times")
	}
}

func contains(data, needle []byte) bool {
	for i := 0; i+len(needle) <= len(data); i++ {
		if string(data[i:i+len(needle)]) == string(needle) {
			return true
		}
	}
	return false
}
