package disk

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
)

// twinFile is the naive twin of one file: byte for byte, every value that a
// power loss may leave there.
type twinFile struct {
	live    []byte
	synced  []byte
	may     map[int64]map[byte]bool // unsynced values, by position
	lengths map[int64]bool          // since the last Sync
}

func newTwinFile() *twinFile {
	f := &twinFile{}
	f.sync()
	return f
}

func (f *twinFile) sync() {
	f.synced = slices.Clone(f.live)
	f.may = map[int64]map[byte]bool{}
	f.lengths = map[int64]bool{int64(len(f.live)): true}
}

func (f *twinFile) allow(at int64, b byte) {
	if f.may[at] == nil {
		f.may[at] = map[byte]bool{}
	}
	f.may[at][b] = true
}

// resize allows zeros wherever bytes come or go: a length may be durable
// before the bytes that it covers.
func (f *twinFile) resize(size int64) {
	old := int64(len(f.live))
	for at := min(old, size); at < max(old, size); at++ {
		f.allow(at, 0)
	}
	f.live = append(f.live[:min(old, size)], make([]byte, max(0, size-old))...)
	f.lengths[size] = true
}

func (f *twinFile) write(p []byte, off int64) {
	if end := off + int64(len(p)); end > int64(len(f.live)) {
		f.resize(end)
		// A torn write may have brought any part of that length.
		for size := off; size < end; size++ {
			f.lengths[size] = true
		}
	}
	copy(f.live[off:], p)
	for i, b := range p {
		f.allow(off+int64(i), b)
	}
}

// explains returns why data cannot be what a power loss left, or "".
func (f *twinFile) explains(data []byte) string {
	if !f.lengths[int64(len(data))] {
		return fmt.Sprintf("length %d was never the file's", len(data))
	}
	for i, b := range data {
		synced := i < len(f.synced) && f.synced[i] == b || i >= len(f.synced) && b == 0
		if !synced && !f.may[int64(i)][b] {
			return fmt.Sprintf("byte %d is %d", i, b)
		}
	}
	return ""
}

// twinDir is the naive twin of a directory of files.
type twinDir struct {
	live, durable map[string]*twinFile
	may           map[string]map[*twinFile]bool // unsynced bindings; nil: absent
}

func (d *twinDir) sync() {
	d.durable = maps.Clone(d.live)
	d.may = map[string]map[*twinFile]bool{}
}

func (d *twinDir) set(name string, f *twinFile) {
	if f == nil {
		delete(d.live, name)
	} else {
		d.live[name] = f
	}
	if d.may[name] == nil {
		d.may[name] = map[*twinFile]bool{}
	}
	d.may[name][f] = true
}

// explains returns why name cannot hold data (nil: cannot be absent).
func (d *twinDir) explains(name string, data []byte, there bool) string {
	candidates := maps.Clone(d.may[name])
	if candidates == nil {
		candidates = map[*twinFile]bool{}
	}
	candidates[d.durable[name]] = true
	why := "it should be there"
	if there {
		why = "it should be absent"
	}
	for f := range candidates {
		if f == nil || !there {
			if f == nil && !there {
				return ""
			}
			continue
		}
		if why = f.explains(data); why == "" {
			return ""
		}
	}
	return why
}

var twinNames = []string{"a", "b", "c", "d"}

// twinRun makes random calls on m and on the twin.
type twinRun struct {
	t   *testing.T
	m   *Mem
	dir *twinDir
	rng *rand.Rand
}

func (r *twinRun) step() {
	name := twinNames[r.rng.IntN(len(twinNames))]
	other := twinNames[r.rng.IntN(len(twinNames))]
	switch f := r.dir.live[name]; {
	case f == nil:
		must(r.t, mustOpen(r.t, r.m, "/dir/"+name).Close())
		r.dir.set(name, newTwinFile())
	case r.rng.IntN(12) == 0:
		must(r.t, r.m.Remove("/dir/"+name))
		r.dir.set(name, nil)
	case r.rng.IntN(8) == 0 && name != other:
		must(r.t, r.m.Rename("/dir/"+name, "/dir/"+other))
		r.dir.set(name, nil)
		r.dir.set(other, f)
	case r.rng.IntN(8) == 0:
		must(r.t, r.m.SyncDir("/dir"))
		r.dir.sync()
	default:
		r.fileStep(name, f)
	}
}

func (r *twinRun) fileStep(name string, twin *twinFile) {
	f := mustOpen(r.t, r.m, "/dir/"+name)
	off := r.rng.Int64N(9000)
	switch r.rng.IntN(6) {
	case 0:
		must(r.t, f.Truncate(off))
		if off != int64(len(twin.live)) {
			twin.resize(off)
		}
	case 1:
		must(r.t, f.Sync())
		twin.sync()
	default:
		data := bytes.Repeat([]byte{byte(1 + r.rng.IntN(255))}, 1+r.rng.IntN(3000))
		mustWrite(r.t, f, string(data), off)
		twin.write(data, off)
	}
	must(r.t, f.Close())
}

func (r *twinRun) check(clone *Mem, harshest bool) {
	r.t.Helper()
	for _, name := range twinNames {
		data, err := ReadFile(clone, "/dir/"+name)
		if why := r.dir.explains(name, data, err == nil); why != "" {
			r.t.Fatalf("%s: %s", name, why)
		}
		if !harshest {
			continue
		}
		if want := r.dir.durable[name]; (want == nil) != (err != nil) || want != nil && !bytes.Equal(want.synced, data) {
			r.t.Fatalf("%s: with everything unsynced dropped, it is not as synced", name)
		}
	}
	if clone.Bytes() != sumOfLengths(r.t, clone, "/") && !harshest {
		// Two names may share a file after a half-done change: counted once.
		if clone.Bytes() > sumOfLengths(r.t, clone, "/") {
			r.t.Fatalf("the clone counts %d bytes", clone.Bytes())
		}
	}
}

// TestCrashCloneIsAlwaysExplainedByTheNaiveTwin checks that what was synced
// is always there and that all else was really written, at random moments.
func TestCrashCloneIsAlwaysExplainedByTheNaiveTwin(t *testing.T) {
	t.Parallel()
	for seed := range uint64(30) {
		rng := rand.New(rand.NewPCG(seed, 2))
		m := NewMem()
		must(t, m.MkdirAll("/dir", 0o755))
		must(t, m.SyncDir("/"))
		dir := &twinDir{live: map[string]*twinFile{}}
		dir.sync()
		r := &twinRun{t: t, m: m, dir: dir, rng: rng}
		for range 120 {
			r.step()
			r.check(m.CrashClone(nil), true)
			r.check(m.CrashClone(rng), false)
		}
		for _, name := range twinNames { // the clones did no harm
			if f := dir.live[name]; f != nil {
				wantContent(t, m, "/dir/"+name, string(f.live))
			}
		}
	}
}

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
