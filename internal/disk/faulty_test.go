package disk

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
)

// everyCall makes each call once on a filesystem with a file "f" and returns
// the errors by Op.
func everyCall(fsys FS, f File) map[Op][]error {
	_, readErr := f.ReadAt(make([]byte, 1), 0)
	_, sizeErr := f.Size()
	_, writeErr := f.WriteAt([]byte("abcd"), 0)
	_, dirErr := fsys.ReadDir("/")
	_, statErr := fsys.Stat("f")
	_, freeErr := fsys.FreeBytes("/")
	_, openErr := fsys.OpenFile("f", os.O_RDONLY, 0)
	return map[Op][]error{
		OpOpen: {openErr}, OpRead: {readErr, sizeErr, dirErr, statErr, freeErr},
		OpWrite: {writeErr}, OpSync: {f.Sync()}, OpTruncate: {f.Truncate(4)},
		OpMkdir: {fsys.MkdirAll("d", 0o755)}, OpRename: {fsys.Rename("g", "h")},
		OpRemove: {fsys.Remove("h"), fsys.RemoveAll("d")}, OpSyncDir: {fsys.SyncDir("/")},
		OpClose: {f.Close()},
	}
}

func TestFaultyFailsTheChosenCallAndNoOther(t *testing.T) {
	t.Parallel()
	for chosen := OpOpen; chosen <= OpClose; chosen++ {
		m := NewMem()
		mustWrite(t, mustOpen(t, m, "f"), "1234", 0)
		must(t, mustOpen(t, m, "g").Close())
		must(t, mustOpen(t, m, "h").Close())
		var armed bool
		fsys := &Faulty{FS: m, Inject: func(op Op, name string) error {
			if name == "" {
				t.Errorf("%v without a name", op)
			}
			if armed && op == chosen {
				return syscall.EIO
			}
			return nil
		}}
		f := mustOpen(t, fsys, "f")
		armed = true
		for op, errs := range everyCall(fsys, f) {
			for i, err := range errs {
				if want := op == chosen; errors.Is(err, syscall.EIO) != want || (err != nil) != want {
					t.Errorf("failing %v: %v (%d) returned %v", chosen, op, i, err)
				}
			}
		}
		if _, err := f.Size(); chosen == OpClose && err == nil {
			t.Error("a failed close left the file open")
		}
	}
	if OpSyncDir.String() != "syncdir" || Op(99).String() != "unknown" {
		t.Error("names of calls")
	}
}

func TestFaultyWithoutInjectPassesEverything(t *testing.T) {
	t.Parallel()
	fsys := &Faulty{FS: NewMem()}
	must(t, WriteFileDurable(fsys, "f", []byte("x"), 0o600))
	wantContent(t, fsys, "f", "x")
}

func TestFaultyPartialWriteLeavesTheFirstHalf(t *testing.T) {
	t.Parallel()
	fail := false
	fsys := &Faulty{FS: NewMem(), PartialWrite: true, Inject: func(op Op, _ string) error {
		if op == OpWrite && fail {
			return syscall.ENOSPC
		}
		return nil
	}}
	f := mustOpen(t, fsys, "f")
	mustWrite(t, f, "------", 0)
	fail = true
	if n, err := f.WriteAt([]byte("abcdef"), 0); n != 3 || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("wrote %d, %v", n, err)
	}
	wantContent(t, fsys, "f", "abc---")
}

// TestFailedSyncLosesTheBytesEvenWhenSyncedAgain: a program that tries again
// after a failed sync must be caught.
func TestFailedSyncLosesTheBytesEvenWhenSyncedAgain(t *testing.T) {
	t.Parallel()
	m, fail := NewMem(), false
	fsys := &Faulty{FS: m, Inject: func(op Op, _ string) error {
		if op == OpSync && fail {
			return syscall.EIO
		}
		return nil
	}}
	f := mustOpen(t, fsys, "f")
	mustWrite(t, f, "synced", 0)
	must(t, f.Sync())
	must(t, m.SyncDir("/"))
	mustWrite(t, f, " and lost", 6)
	fail = true
	if err := f.Sync(); !errors.Is(err, syscall.EIO) {
		t.Fatalf("sync: %v", err)
	}
	fail = false
	must(t, f.Sync())
	wantContent(t, m, "f", "synced and lost")
	wantContent(t, m.CrashClone(nil), "f", "synced")
	wantContent(t, m.CrashClone(rand.New(rand.NewPCG(1, 1))), "f", "synced")

	mustWrite(t, f, "SYNCED", 0)
	must(t, f.Sync())
	data, err := ReadFile(m.CrashClone(nil), "f")
	if err != nil || string(data[:6]) != "SYNCED" {
		t.Errorf("bytes written and synced after the failure: %q, %v", data, err)
	}
}

func TestCopyTreeCarriesATreeBothWays(t *testing.T) {
	t.Parallel()
	m := NewMem()
	must(t, m.MkdirAll("/src/sub/empty", 0o750))
	big := make([]byte, 2*copyChunk+77)
	for i := range big {
		big[i] = byte(i * 7)
	}
	must(t, WriteFileDurable(m, "/src/sub/big", big, 0o600))
	must(t, WriteFileDurable(m, "/src/none", nil, 0o640))
	dir := filepath.Join(t.TempDir(), "out")
	must(t, CopyTree(OS{}, dir, m, "/src"))
	back := NewMem()
	must(t, back.MkdirAll("/in", 0o755))
	must(t, back.SyncDir("/"))
	must(t, CopyTree(back, "/in", OS{}, dir))
	crashed := back.CrashClone(nil)
	wantContent(t, crashed, "/in/sub/big", string(big))
	wantContent(t, crashed, "/in/none", "")
	info, err := crashed.Stat("/in/none")
	must(t, err)
	if info.Mode() != 0o640 {
		t.Errorf("mode %v, want 0640", info.Mode())
	}
	names, err := crashed.ReadDir("/in/sub")
	if err != nil || !slices.Equal(names, []string{"big", "empty"}) {
		t.Errorf("names %v, %v", names, err)
	}

	again := filepath.Join(t.TempDir(), "clone")
	must(t, crashed.CopyTo(OS{}, again))
	wantContent(t, OS{}, filepath.Join(again, "in/sub/big"), string(big))
	if err := CopyTree(back, "/x", OS{}, os.DevNull); err == nil {
		t.Error("a device was copied")
	}
	if err := CopyTree(back, "/x", OS{}, filepath.Join(dir, "no-such")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing source: %v", err)
	}
}

func TestOSSyncReportsClosedAndWorks(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "f")
	f := mustOpen(t, OS{}, name)
	mustWrite(t, f, "x", 0)
	must(t, f.Sync())
	must(t, f.Close())
	if err := f.Sync(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("sync after close: %v", err)
	}
	if free, err := (OS{}).FreeBytes(filepath.Dir(name)); err != nil || free == 0 {
		t.Errorf("free: %d, %v", free, err)
	}
}
