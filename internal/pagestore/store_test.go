package pagestore

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"math"
	"syscall"
	"testing"

	"kimberlite/internal/disk"
	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
)

func TestFlushedPagesAreThereAfterReopen(t *testing.T) {
	e := newEnv(t)
	s := e.open()
	set(t, s, map[int]uint64{0: 1, 1: 2, 2: 3})
	set(t, s, map[int]uint64{1: 4, 400: 5})
	check(t, s.Flush())
	want := state(t, s)
	check(t, s.Close())
	s = e.open()
	defer s.Close()
	if !bytes.Equal(state(t, s), want) {
		t.Fatal("the state differs after reopening")
	}
	wantPage(t, s.Begin(), 400, 5)
	s.verify(t)
}

func TestUnflushedCommitsAreGoneAfterReopen(t *testing.T) {
	e := newEnv(t)
	s := e.open()
	set(t, s, map[int]uint64{0: 1})
	check(t, s.Flush())
	want := state(t, s)
	for i := range 100 { // far beyond what memory holds
		set(t, s, map[int]uint64{0: uint64(i), i: uint64(i)})
	}
	check(t, s.Close())
	s = e.open()
	if !bytes.Equal(state(t, s), want) {
		t.Fatal("the state is not the flushed one")
	}
}

func TestNewStoreHasNoFileBeforeFlush(t *testing.T) {
	e := newEnv(t)
	s := e.open()
	check(t, s.Flush())
	set(t, s, map[int]uint64{0: 1})
	if _, err := e.fs.Stat(testPath); !errors.Is(err, fs.ErrNotExist) {
		t.Fatal("the file is there before a Flush:", err)
	}
	if s.FileBytes() != 0 || s.Dirty() != 1 || s.Pages() != 1 {
		t.Fatal(s.FileBytes(), s.Dirty(), s.Pages())
	}
	check(t, s.Flush())
	if info, err := e.fs.Stat(testPath); err != nil || info.Size() != s.FileBytes() || s.Dirty() != 0 {
		t.Fatal(info, err, s.FileBytes(), s.Dirty())
	}
	check(t, s.Close())
	check(t, Remove(e.fs, testPath))
	check(t, Remove(e.fs, testPath))
	if s = e.open(); s.Pages() != 0 {
		t.Fatal("pages after Remove")
	}
}

func TestLengthAloneIsFlushed(t *testing.T) {
	e := newEnv(t)
	s := e.open()
	for i, pages := range []int64{3, 5, 400, 401, 2, 0} {
		b := s.Begin()
		check(t, b.Truncate(pages*PageSize))
		check(t, b.Commit())
		if s.Dirty() == 0 {
			t.Fatal(i, "nothing to flush")
		}
		check(t, s.Flush())
		check(t, s.Close())
		s = e.open()
		if s.Pages() != pages || !allBytesZero(state(t, s)) {
			t.Fatal(i, s.Pages())
		}
	}
}

func allBytesZero(p []byte) bool { return bytes.Count(p, []byte{0}) == len(p) }

func TestSpilledPagesOfANewStoreAreClearedAwayByTheNextOpen(t *testing.T) {
	e := newEnv(t)
	s := e.open()
	for i := range 100 {
		set(t, s, map[int]uint64{i: 1})
	}
	if _, err := e.fs.Stat(testPath + tmpSuffix); err != nil || s.FileBytes() == 0 {
		t.Fatal("nothing was spilled", err)
	}
	check(t, s.Close())
	if s = e.open(); s.Pages() != 0 {
		t.Fatal("pages that were never flushed")
	}
	if _, err := e.fs.Stat(testPath + tmpSuffix); !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
}

func TestSnapshotDoesNotChange(t *testing.T) {
	e := newEnv(t)
	s := e.open()
	set(t, s, map[int]uint64{0: 1, 1: 2, 2: 3})
	a := s.Snapshot()
	set(t, s, map[int]uint64{1: 4})
	b := s.Snapshot()
	batch := s.Begin()
	check(t, batch.Truncate(PageSize))
	check(t, batch.Commit())
	check(t, s.Flush())
	for i := range 50 {
		set(t, s, map[int]uint64{0: uint64(i), i: uint64(i + 9)})
	}
	check(t, s.Flush())
	for page, seed := range map[int]uint64{0: 1, 1: 2, 2: 3} {
		wantPage(t, a, page, seed)
	}
	wantPage(t, b, 1, 4)
	wantPage(t, b, 2, 3)
	s.verify(t)
	a.Release()
	a.Release()
	wantPage(t, b, 1, 4)
	b.Release()
	s.verify(t)
	if _, err := a.ReadAt(make([]byte, 1), 0); fault.KindOf(err) != fault.Closed {
		t.Fatal(err)
	}
}

func TestReadAtOfAnyRange(t *testing.T) {
	e := newEnv(t)
	s := e.open()
	set(t, s, map[int]uint64{0: 1, 1: 2, 3: 4})
	want := bytes.Join([][]byte{content(1), content(2), make([]byte, PageSize), content(4)}, nil)
	for _, flushed := range []bool{false, true} {
		sn := s.Snapshot()
		for _, r := range []struct{ off, n int }{{0, 100}, {24, 16}, {90, 20}, {0, PageSize}, {4060, 40}, {100, 9000}, {3 * PageSize, PageSize}, {16000, 9000}, {16384, 1}, {99999, 5}, {7, 0}} {
			p := bytes.Repeat([]byte{0xEE}, r.n)
			n, err := sn.ReadAt(p, int64(r.off))
			wantN := max(0, min(r.n, len(want)-r.off))
			if n != wantN || (err != nil) != (n < r.n) || (err != nil && err != io.EOF) {
				t.Fatalf("flushed %v, %d+%d: %d %v", flushed, r.off, r.n, n, err)
			}
			if n > 0 && !bytes.Equal(p[:n], want[r.off:r.off+n]) {
				t.Fatalf("flushed %v, %d+%d: wrong bytes", flushed, r.off, r.n)
			}
		}
		_, err := sn.ReadAt(make([]byte, 1), -1)
		wantKind(t, err, fault.Invalid)
		sn.Release()
		check(t, s.Flush())
	}
}

func TestReservedBytesReadAsZeros(t *testing.T) {
	e := newEnv(t)
	s := e.open()
	b := s.Begin()
	_, err := b.WriteAt(bytes.Repeat([]byte{1}, 2*PageSize), 0)
	check(t, err)
	_, err = b.WriteAt([]byte{5, 5, 5, 5}, payloadSize-2)
	check(t, err)
	check(t, b.Commit())
	for range 2 {
		p := state(t, s)
		if p[payloadSize-1] != 5 || p[payloadSize-3] != 1 || !allZero(p[payloadSize:PageSize]) || !allZero(p[PageSize+payloadSize:]) {
			t.Fatal("reserved bytes")
		}
		check(t, s.Flush())
	}
}

func TestHeaderBytesFollowEveryCommit(t *testing.T) {
	e := newEnv(t)
	s := e.open()
	var p [16]byte
	for i := range 40 {
		b := s.Begin()
		if i%5 == 4 {
			check(t, b.Truncate(0))
			check(t, b.Truncate(PageSize))
		} else if i%5 != 3 {
			_, err := b.WriteAt([]byte{byte(i)}, 30)
			check(t, err)
		} else {
			writePage(t, b, 3, 1)
		}
		check(t, b.Commit())
		if i%7 == 0 {
			check(t, s.Flush())
			check(t, s.Close())
			s = e.open()
		}
		want := byte(i)
		switch i % 5 {
		case 4:
			want = 0
		case 3:
			want--
		}
		sn := s.Snapshot()
		for range 2 {
			if n, err := sn.ReadAt(p[:], 24); n != 16 || err != nil || p[6] != want {
				t.Fatal(i, n, err, p, want)
			}
		}
		sn.Release()
	}
}

func TestTwoBatchesPanic(t *testing.T) {
	s := newEnv(t).open()
	s.Begin()
	defer func() {
		if recover() == nil {
			t.Fatal("no panic")
		}
	}()
	s.Begin()
}

func TestBadCallsAreRefused(t *testing.T) {
	e := newEnv(t)
	_, err := Open(Options{})
	wantKind(t, err, fault.Invalid)
	s := e.open()
	b := s.Begin()
	wantKind(t, b.Truncate(5), fault.Invalid)
	wantKind(t, b.Truncate(-PageSize), fault.Invalid)
	wantKind(t, b.Truncate((MaxPages+1)*PageSize), fault.TooLarge)
	_, err = b.WriteAt([]byte{1}, -1)
	wantKind(t, err, fault.Invalid)
	for _, off := range []int64{MaxPages * PageSize, math.MaxInt64} {
		_, err = b.WriteAt([]byte{1}, off)
		wantKind(t, err, fault.TooLarge)
		if n, err := s.Snapshot().ReadAt(make([]byte, 50), off); n != 0 || err != io.EOF {
			t.Fatal(n, err)
		}
	}
	check(t, b.Commit())
	wantKind(t, b.Commit(), fault.Closed)
	_, err = b.WriteAt([]byte{1}, 0)
	wantKind(t, err, fault.Closed)
	b.Discard()
	set(t, s, map[int]uint64{0: 1, 1: 1})
	if n, err := s.Snapshot().ReadAt(make([]byte, 50), math.MaxInt64); n != 0 || err != io.EOF {
		t.Fatal(n, err)
	}
	sn, b := s.Snapshot(), s.Begin()
	check(t, s.Close())
	check(t, s.Close())
	wantKind(t, b.Commit(), fault.Closed)
	wantKind(t, s.Flush(), fault.Closed)
	_, err = sn.ReadAt(make([]byte, PageSize), PageSize)
	wantKind(t, err, fault.Closed)
	sn.Release()
}

func TestKeyRotationSealsNewPagesAndOpensOldOnes(t *testing.T) {
	e := newEnv(t)
	s := e.open()
	set(t, s, map[int]uint64{0: 1, 1: 2})
	check(t, s.Flush())
	if got := s.Seals(); got != 3 {
		t.Fatal("seals", got, "want two pages and a root")
	}
	e.keys.rotate(testTenant)
	if s.Seals() != 0 {
		t.Fatal("seals of the new generation", s.Seals())
	}
	set(t, s, map[int]uint64{1: 3})
	check(t, s.Flush())
	if s.Seals() != 2 {
		t.Fatal("seals of the new generation", s.Seals())
	}
	check(t, s.Close())
	s = e.open()
	sn := s.Snapshot()
	wantPage(t, sn, 0, 1)
	wantPage(t, sn, 1, 3)
}

func TestMissingKeysAreNamed(t *testing.T) {
	e := newEnv(t)
	s := e.open()
	set(t, s, map[int]uint64{0: 1})
	check(t, s.Flush())
	check(t, s.Close())
	e.keys.lock()
	_, err := e.tryOpen()
	wantKind(t, err, fault.KeyUnavailable)
}

func TestAnotherTenantsFileDoesNotOpen(t *testing.T) {
	e := newEnv(t)
	s := e.open()
	set(t, s, map[int]uint64{0: 1})
	check(t, s.Flush())
	check(t, s.Close())
	other := ident.MustTenantID(8)
	_, err := Open(Options{FS: e.fs, Path: testPath, Tenant: other, Keys: newTestKeys(other)})
	wantKind(t, err, fault.Corruption)
	// Not even with the same keys.
	_, err = Open(Options{FS: e.fs, Path: testPath, Tenant: other, Keys: e.keys})
	wantKind(t, err, fault.Corruption)
}

func TestRealFilesHoldWhatWasFlushed(t *testing.T) {
	dir := t.TempDir()
	open := func() *Store {
		s, err := Open(Options{FS: disk.OS{}, Path: dir + "/projection.db", Tenant: testTenant, Keys: newTestKeys(testTenant), MaxDirtyPages: 8})
		check(t, err)
		return s
	}
	s := open()
	for round := range uint64(3) {
		for i := range 40 {
			set(t, s, map[int]uint64{0: round, i: round, i + 340: round})
		}
		check(t, s.Flush())
		want := state(t, s)
		check(t, s.Close())
		s = open()
		s.verify(t)
		if !bytes.Equal(state(t, s), want) {
			t.Fatal("round", round)
		}
	}
	check(t, s.Close())
}

func TestASnapshotIsRenewedOnlyWhileItsVersionIsTheLatest(t *testing.T) {
	e := newEnv(t)
	s := e.open()
	set(t, s, map[int]uint64{0: 1, 1: 2})
	sn := s.Snapshot()
	if sn.Renew() {
		t.Fatal("a snapshot that is held was renewed")
	}
	sn.Release()
	if _, err := sn.ReadAt(make([]byte, PageSize), 0); !fault.Is(err, fault.Closed) {
		t.Fatal("a released snapshot reads", err)
	}
	if !sn.Renew() {
		t.Fatal("the latest version was not renewed")
	}
	set(t, s, map[int]uint64{1: 3})
	wantPage(t, sn, 1, 2) // it holds its pages again
	sn.Release()
	if sn.Renew() {
		t.Fatal("an older version was renewed")
	}
	s.verify(t)
}

func TestMetaDataIsPublishedKeptAndFlushedByItself(t *testing.T) {
	e := newEnv(t)
	s := e.open()
	set(t, s, map[int]uint64{0: 1})
	check(t, s.Flush())
	old := s.Snapshot()
	b := s.Begin()
	wantKind(t, b.SetMeta(make([]byte, MaxMeta+1)), fault.TooLarge)
	check(t, b.SetMeta([]byte("one")))
	check(t, b.Commit())
	wantKind(t, b.SetMeta(nil), fault.Closed)
	if string(old.Meta()) != "" || s.Dirty() != 1 {
		t.Fatal(old.Meta(), s.Dirty())
	}
	old.Release()
	check(t, s.Flush())
	if s.Dirty() != 0 {
		t.Fatal(s.Dirty())
	}
	set(t, s, map[int]uint64{1: 1}) // keeps it
	b = s.Begin()
	check(t, b.SetMeta([]byte("gone")))
	b.Discard()
	check(t, s.Flush())
	check(t, s.Close())
	s = e.open()
	sn := s.Snapshot()
	defer sn.Release()
	if string(sn.Meta()) != "one" {
		t.Fatalf("%q", sn.Meta())
	}
}

func TestMetaDataIsOfTheVersionThatAFlushWrites(t *testing.T) {
	mem := newMem(t)
	e := &env{t: t, fs: mem, keys: newTestKeys(testTenant), max: 16}
	s := e.open()
	commit := func(seed uint64) {
		b := s.Begin()
		writePage(t, b, 0, seed)
		check(t, b.SetMeta([]byte{byte(seed)}))
		check(t, b.Commit())
	}
	commit(9)
	check(t, s.Flush()) // from now on the pages are synced before the root is written
	commit(1)
	mem.BeforeSync(func(string) {
		mem.BeforeSync(nil)
		commit(2) // while the flush is under way
	})
	check(t, s.Flush())
	if s.Dirty() != 2 {
		t.Fatal(s.Dirty())
	}
	again := (&env{t: t, fs: mem.CrashClone(nil), keys: e.keys}).open()
	sn := again.Snapshot()
	wantPage(t, sn, 0, 1)
	if string(sn.Meta()) != "\x01" {
		t.Fatalf("%q", sn.Meta())
	}
}

func TestMetaDataOfAFailedFlushIsFlushedAgain(t *testing.T) {
	mem := newMem(t)
	full := false
	faulty := &disk.Faulty{FS: mem, Inject: func(op disk.Op, name string) error {
		if full && op == disk.OpWrite {
			return &fs.PathError{Op: op.String(), Path: name, Err: syscall.ENOSPC}
		}
		return nil
	}}
	e := &env{t: t, fs: faulty, keys: newTestKeys(testTenant), max: 16}
	s := e.open()
	set(t, s, map[int]uint64{0: 1})
	check(t, s.Flush())
	b := s.Begin()
	check(t, b.SetMeta([]byte("one")))
	check(t, b.Commit())
	full = true
	wantKind(t, s.Flush(), fault.DiskFull)
	full = false
	check(t, s.Flush())
	sn := (&env{t: t, fs: mem.CrashClone(nil), keys: e.keys}).open().Snapshot()
	if string(sn.Meta()) != "one" {
		t.Fatalf("%q", sn.Meta())
	}
}
