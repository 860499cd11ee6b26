package disk

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"
)

// TestCrashCloneMeetsEveryKindOfDamage guards the guard: a clone that kept
// everything would pass all other tests.
func TestCrashCloneMeetsEveryKindOfDamage(t *testing.T) {
	t.Parallel()
	m := NewMem()
	f := mustOpen(t, m, "f")
	must(t, m.SyncDir("/"))
	old := bytes.Repeat([]byte{'o'}, 8*sectorSize)
	mustWrite(t, f, string(old), 0)
	must(t, f.Sync())
	must(t, mustOpen(t, m, "unsynced-name").Close())
	fresh := bytes.Repeat([]byte{'n'}, 12*sectorSize)
	mustWrite(t, f, string(fresh[:6*sectorSize]), 0)
	mustWrite(t, f, string(fresh[6*sectorSize:]), 6*sectorSize)

	seen := map[string]bool{}
	rng := rand.New(rand.NewPCG(1, 1))
	for range 500 {
		clone := m.CrashClone(rng)
		data, err := ReadFile(clone, "f")
		must(t, err)
		noteDamage(seen, data, old, fresh)
		checkTailAndSecondCrash(t, clone, data)
		if _, err := clone.Stat("unsynced-name"); err == nil {
			seen["name kept"] = true
		} else {
			seen["name dropped"] = true
		}
	}
	for _, kind := range []string{"all old", "all new", "torn sector", "torn sector before a new one", "scattered under the old length", "new after old", "zeros under a longer length", "part of the length", "name kept", "name dropped"} {
		if !seen[kind] {
			t.Errorf("500 power losses never left: %s", kind)
		}
	}
}

// checkTailAndSecondCrash writes over and behind what a clone holds: behind
// the length there are zeros, and an unsynced write does not survive the next
// power loss.
func checkTailAndSecondCrash(t *testing.T, clone *Mem, data []byte) {
	t.Helper()
	f := mustOpen(t, clone, "f")
	must(t, f.Truncate(int64(len(data))+9000))
	tail := make([]byte, 9000)
	if _, err := f.ReadAt(tail, int64(len(data))); err != nil || !bytes.Equal(tail, make([]byte, 9000)) {
		t.Fatalf("behind the surviving length there are bytes of dropped writes (%v)", err)
	}
	mustWrite(t, f, string(bytes.Repeat([]byte{'X'}, len(data))), 0)
	wantContent(t, clone.CrashClone(nil), "f", string(data))
}

func noteDamage(seen map[string]bool, data, old, fresh []byte) {
	seen["all old"] = seen["all old"] || bytes.Equal(data, old)
	seen["all new"] = seen["all new"] || bytes.Equal(data, fresh)
	if len(data) > len(old) && len(data) < len(fresh) {
		seen["part of the length"] = true
	}
	if len(data) == len(old) && data[0] == 'o' && bytes.IndexByte(data, 'n') > 0 {
		seen["scattered under the old length"] = true
	}
	for i := 1; i < len(data); i++ {
		switch {
		case i%sectorSize != 0 && data[i-1] == 'n' && data[i] == 'o' && bytes.IndexByte(data[i:], 'n') > 0:
			seen["torn sector before a new one"] = true
		case i%sectorSize != 0 && data[i-1] == 'n' && data[i] == 'o':
			seen["torn sector"] = true
		case data[i-1] == 'o' && data[i] == 'n':
			seen["new after old"] = true
		case data[i] == 0:
			seen["zeros under a longer length"] = true
		}
	}
}

func TestCrashCloneIsTheSameForTheSameSeed(t *testing.T) {
	t.Parallel()
	m := NewMem()
	for i := range 20 {
		mustWrite(t, mustOpen(t, m, fmt.Sprint("f", i)), "some bytes that were not synced", int64(i*300))
	}
	read := func(clone *Mem) string { return (&transcript{fsys: clone, root: "/"}).tree("") }
	for seed := range uint64(20) {
		one, two := m.CrashClone(rand.New(rand.NewPCG(seed, 0))), m.CrashClone(rand.New(rand.NewPCG(seed, 0)))
		if read(one) != read(two) {
			t.Fatalf("seed %d gives two clones", seed)
		}
		if read(one) != read(one.CrashClone(nil)) {
			t.Fatalf("seed %d: a second power loss takes something that survived the first", seed)
		}
	}
}

func TestCrashCloneSharesNothingThatChanges(t *testing.T) {
	t.Parallel()
	m := NewMem()
	f := mustOpen(t, m, "f")
	mustWrite(t, f, "ORIGINAL", 0)
	must(t, m.SyncDir("/"))
	must(t, f.Sync())
	one := m.CrashClone(nil)
	two := one.CrashClone(nil)
	g := mustOpen(t, one, "f")
	buf := []byte("OVER")
	if _, err := g.WriteAt(buf, 0); err != nil {
		t.Fatal(err)
	}
	copy(buf, "self") // the caller may use its buffer again
	must(t, g.Truncate(5))
	for _, untouched := range []*Mem{m, two, one.CrashClone(nil)} {
		wantContent(t, untouched, "f", "ORIGINAL")
	}
	wantContent(t, one, "f", "OVERI")
	rng := rand.New(rand.NewPCG(5, 5))
	for range 30 {
		data, err := ReadFile(one.CrashClone(rng), "f")
		if err != nil || bytes.ContainsAny(data, "self") {
			t.Errorf("a power loss left %q, %v", data, err)
		}
	}
	must(t, g.Sync())
	wantContent(t, one.CrashClone(nil), "f", "OVERI")
}

func TestNamesAreDurableOnlyOnceTheirDirectoryIsSynced(t *testing.T) {
	t.Parallel()
	m := NewMem()
	must(t, m.MkdirAll("/a/b", 0o755))
	f := mustOpen(t, m, "/a/b/f")
	mustWrite(t, f, "x", 0)
	must(t, f.Sync())
	must(t, m.SyncDir("/a/b"))
	wantMissing(t, m.CrashClone(nil), "/a")
	must(t, m.SyncDir("/"))
	wantMissing(t, m.CrashClone(nil), "/a/b")
	must(t, m.SyncDir("/a"))
	wantContent(t, m.CrashClone(nil), "/a/b/f", "x")

	must(t, m.Rename("/a/b/f", "/a/g"))
	wantContent(t, m.CrashClone(nil), "/a/b/f", "x")
	must(t, m.SyncDir("/a"))
	both := m.CrashClone(nil)
	wantContent(t, both, "/a/b/f", "x")
	wantContent(t, both, "/a/g", "x")
	must(t, m.SyncDir("/a/b"))
	wantMissing(t, m.CrashClone(nil), "/a/b/f")

	must(t, m.RemoveAll("/a"))
	wantContent(t, m.CrashClone(nil), "/a/g", "x")
	must(t, m.SyncDir("/"))
	wantMissing(t, m.CrashClone(nil), "/a")
}

func TestMkdirAllDurableKeepsEachNewDirectory(t *testing.T) {
	t.Parallel()
	m := NewMem()
	must(t, MkdirAllDurable(m, "/a/b/c", 0o755))
	must(t, MkdirAllDurable(m, "/a/b/d/e", 0o755))
	must(t, MkdirAllDurable(m, "relative/x", 0o755))
	must(t, MkdirAllDurable(m, "/a/b", 0o755))
	crashed := m.CrashClone(nil)
	for _, dir := range []string{"/a/b/c", "/a/b/d/e", "/relative/x"} {
		if _, err := crashed.Stat(dir); err != nil {
			t.Errorf("lost: %v", err)
		}
	}
	must(t, WriteFileDurable(m, "/f", nil, 0o600))
	if err := MkdirAllDurable(m, "/f/x", 0o755); err == nil {
		t.Error("a directory was made below a file")
	}
	for _, fail := range []Op{OpMkdir, OpSyncDir} {
		fsys := &Faulty{FS: m, Inject: func(op Op, _ string) error {
			if op == fail {
				return syscall.EIO
			}
			return nil
		}}
		if err := MkdirAllDurable(fsys, "/new/"+fail.String(), 0o755); !errors.Is(err, syscall.EIO) {
			t.Errorf("failing %v: %v", fail, err)
		}
	}
	must(t, MkdirAllDurable(OS{}, t.TempDir()+"/x/y", 0o755))
}

func TestHalfDoneMovesOfDirectoriesMakeNoCycle(t *testing.T) {
	t.Parallel()
	m := NewMem()
	must(t, m.MkdirAll("/a", 0o755))
	must(t, m.MkdirAll("/b", 0o755))
	must(t, m.SyncDir("/"))
	must(t, m.Rename("/b", "/a/b"))
	must(t, m.SyncDir("/a"))
	must(t, m.Rename("/a/b", "/b"))
	must(t, m.Rename("/a", "/b/a"))
	must(t, m.SyncDir("/b"))
	m.CrashClone(nil) // must end
}

func TestWriteFileDurableLeavesTheOldOrTheNewContent(t *testing.T) {
	t.Parallel()
	m := NewMem()
	must(t, WriteFileDurable(m, "/f", []byte("old"), 0o600))
	wantContent(t, m.CrashClone(nil), "/f", "old")
	rng := rand.New(rand.NewPCG(3, 3))
	check := func(string) {
		for range 20 {
			data, err := ReadFile(m.CrashClone(rng), "/f")
			if err != nil || string(data) != "old" && string(data) != "new" {
				t.Errorf("after a power loss: %q, %v", data, err)
			}
		}
	}
	m.BeforeSync(check)
	m.OnSync(check)
	must(t, WriteFileDurable(m, "/f", []byte("new"), 0o600))
	wantContent(t, m.CrashClone(nil), "/f", "new")
}

func BenchmarkMemWriteSync4KiB(b *testing.B) {
	f := mustOpen(b, NewMem(), "f")
	page := make([]byte, 4096)
	for i := 0; b.Loop(); i++ {
		f.WriteAt(page, int64(i%16384)*4096)
		f.Sync()
	}
}

func BenchmarkCrashCloneOf64MiB(b *testing.B) {
	m := NewMem()
	f := mustOpen(b, m, "f")
	must(b, m.SyncDir("/"))
	f.WriteAt(make([]byte, 64<<20), 0)
	f.Sync()
	for b.Loop() {
		m.CrashClone(nil)
	}
}
