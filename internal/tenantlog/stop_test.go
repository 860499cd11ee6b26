package tenantlog

import (
	"errors"
	"io/fs"
	"sync/atomic"
	"syscall"
	"testing"

	"kimberlite/internal/disk"
	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
)

func TestFailedFsyncStopsTheLog(t *testing.T) {
	for _, failing := range []disk.Op{disk.OpSync, disk.OpSyncDir} {
		mem, c := disk.NewMem(), newChain(t, tenant1)
		var broken atomic.Bool
		faulty := &disk.Faulty{FS: mem, Inject: func(op disk.Op, _ string) error {
			if op == failing && broken.Load() {
				return syscall.EIO
			}
			return nil
		}}
		l := mustOpen(t, testOptions(faulty, tenant1), Start(tenant1))
		grow(t, l, c, 3, 100, testRand(5))
		mustSync(t, l)
		durable, records := l.Position(), len(c.recs)
		grow(t, l, c, 20, 100, testRand(6))
		broken.Store(true)
		wantKind(t, l.Sync(), fault.Stopped)
		broken.Store(false) // the disk is well again, the log must not believe it
		wantKind(t, l.Sync(), fault.Stopped)
		_, err := l.Append(c.next(10))
		wantKind(t, err, fault.Stopped)
		if !errors.Is(err, syscall.EIO) {
			t.Fatal("the cause is lost")
		}
		if l.Park() {
			t.Fatal("parked")
		}
		wantRecords(t, l, 0, c.recs[:len(c.recs)-1]) // still readable
		wantKind(t, l.Close(), fault.Stopped)
		wantRecords(t, mustOpen(t, testOptions(mem.CrashClone(testRand(7)), tenant1), durable), 0, c.recs[:records])
	}
}

func TestFailedWriteStopsTheLog(t *testing.T) {
	mem, c := disk.NewMem(), newChain(t, tenant1)
	var broken atomic.Bool
	faulty := &disk.Faulty{FS: mem, PartialWrite: true, Inject: func(op disk.Op, _ string) error {
		if op == disk.OpWrite && broken.Load() {
			return syscall.EIO
		}
		return nil
	}}
	l := mustOpen(t, testOptions(faulty, tenant1), Start(tenant1))
	mustAppend(t, l, c.next(10))
	broken.Store(true)
	wantKind(t, l.Sync(), fault.Stopped)
	broken.Store(false)
	wantKind(t, l.Sync(), fault.Stopped)
	wantRecords(t, l, 0, c.recs)
}

func TestFullDiskRefusesAndRecovers(t *testing.T) {
	mem, c := disk.NewMem(), newChain(t, tenant1)
	l := mustOpen(t, testOptions(mem, tenant1), Start(tenant1))
	grow(t, l, c, 10, 100, testRand(8))
	mustSync(t, l)
	mem.SetCapacity(mem.Bytes() + 500)
	var refused []byte
	for refused == nil {
		rec := c.next(100)
		before := l.Position()
		if _, err := l.Append(rec); err != nil {
			wantKind(t, err, fault.DiskFull)
			if l.Position() != before {
				t.Fatal("a refused record moved the log")
			}
			refused = rec
		}
	}
	wantKind(t, l.Sync(), fault.DiskFull)
	wantRecords(t, l, 0, c.recs[:len(c.recs)-1])
	mem.SetCapacity(1 << 30)
	mustAppend(t, l, refused)
	mustSync(t, l)
	at := l.Position()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	wantRecords(t, mustOpen(t, testOptions(mem.CrashClone(nil), tenant1), at), 0, c.recs)
}

func TestParkedLogHoldsNoFilesAndGoesOn(t *testing.T) {
	var open atomic.Int64
	counted := &countingFS{FS: disk.NewMem(), open: &open}
	l, c := mustOpen(t, testOptions(counted, tenant1), Start(tenant1)), newChain(t, tenant1)
	for round := range uint64(5) {
		grow(t, l, c, 9, 100, testRand(round))
		wantRecords(t, l, 0, c.recs)
		if l.Park() {
			t.Fatal("parked with unsynced records")
		}
		mustSync(t, l)
		if open.Load() > 2 {
			t.Fatalf("%d files open after a sync", open.Load())
		}
		if !l.Park() || open.Load() != 0 {
			t.Fatalf("%d files open after parking", open.Load())
		}
		wantRecords(t, l, 0, c.recs)
	}
	if err := l.Close(); err != nil || open.Load() != 0 {
		t.Fatalf("%d files open after closing, %v", open.Load(), err)
	}
}

type countingFS struct {
	disk.FS
	open *atomic.Int64
}

type countedFile struct {
	disk.File
	open *atomic.Int64
}

func (c *countingFS) OpenFile(name string, flag int, perm fs.FileMode) (disk.File, error) {
	f, err := c.FS.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	c.open.Add(1)
	return &countedFile{f, c.open}, nil
}

func (f *countedFile) Close() error {
	f.open.Add(-1)
	return f.File.Close()
}

func TestClosedLogSaysSo(t *testing.T) {
	mem, c := disk.NewMem(), newChain(t, tenant1)
	l := mustOpen(t, testOptions(mem, tenant1), Start(tenant1))
	grow(t, l, c, 3, 10, testRand(1))
	at := l.Position()
	for range 2 {
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	_, err := l.Append(c.next(10))
	wantKind(t, err, fault.Closed)
	wantKind(t, l.Sync(), fault.Closed)
	_, _, err = l.Read(Cursor{}, 0)
	wantKind(t, err, fault.Closed)
	_, err = l.Seek(ident.Offset{})
	wantKind(t, err, fault.Closed)
	// Close wrote everything out, though it synced nothing.
	wantRecords(t, mustOpen(t, testOptions(mem, tenant1), at), 0, c.recs[:3])
}
