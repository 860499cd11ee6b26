package disk

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"
)

// mustOpen opens a file for reading and writing, made when missing.
func mustOpen(t testing.TB, fsys FS, name string) File {
	t.Helper()
	f, err := fsys.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func mustWrite(t testing.TB, f File, data string, off int64) {
	t.Helper()
	if n, err := f.WriteAt([]byte(data), off); err != nil || n != len(data) {
		t.Fatalf("wrote %d of %d bytes: %v", n, len(data), err)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantContent(t testing.TB, fsys FS, name, want string) {
	t.Helper()
	got, err := ReadFile(fsys, name)
	if err != nil || string(got) != want {
		t.Errorf("%s holds %q (%v), want %q", name, got, err, want)
	}
}

func wantMissing(t testing.TB, fsys FS, name string) {
	t.Helper()
	if _, err := fsys.Stat(name); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s: %v, want it missing", name, err)
	}
}

// class reduces an error to what FS promises about it.
func class(err error) string {
	for _, known := range []error{io.EOF, fs.ErrClosed, fs.ErrNotExist, syscall.ENOTEMPTY, fs.ErrExist, syscall.ENOTDIR, syscall.EISDIR, syscall.EBADF, syscall.EINVAL} {
		if errors.Is(err, known) {
			return known.Error()
		}
	}
	if err != nil {
		return "other"
	}
	return "ok"
}

// TestMemBehavesAsTheOperatingSystemDoes runs the same random calls on a real
// directory and on Mem and compares every answer.
func TestMemBehavesAsTheOperatingSystemDoes(t *testing.T) {
	t.Parallel()
	for seed := range uint64(12) {
		real := &transcript{fsys: OS{}, root: t.TempDir()}
		mem := &transcript{fsys: NewMem(), root: "/r"}
		must(t, mem.fsys.MkdirAll("/r", 0o755))
		rngReal, rngMem := rand.New(rand.NewPCG(seed, 1)), rand.New(rand.NewPCG(seed, 1))
		for step := range 400 {
			want, got := real.step(rngReal), mem.step(rngMem)
			if got != want {
				t.Fatalf("seed %d step %d:\n the system: %s\n Mem:        %s", seed, step, want, got)
			}
		}
		real.close()
		mem.close()
		if want, got := real.tree(""), mem.tree(""); got != want {
			t.Fatalf("seed %d: trees differ\n the system:\n%s\n Mem:\n%s", seed, want, got)
		}
		if mem.fsys.(*Mem).Bytes() != sumOfLengths(t, mem.fsys, "/") {
			t.Fatalf("seed %d: Bytes is %d, the files hold %d", seed, mem.fsys.(*Mem).Bytes(), sumOfLengths(t, mem.fsys, "/"))
		}
	}
}

func sumOfLengths(t *testing.T, fsys FS, name string) int64 {
	info, err := fsys.Stat(name)
	must(t, err)
	if !info.IsDir() {
		return info.Size()
	}
	names, err := fsys.ReadDir(name)
	must(t, err)
	var sum int64
	for _, n := range names {
		sum += sumOfLengths(t, fsys, filepath.Join(name, n))
	}
	return sum
}

// transcript makes random calls and writes down the answers.
type transcript struct {
	fsys  FS
	root  string
	files []File
}

func (r *transcript) name(rng *rand.Rand) string {
	all := []string{"a", "b", "d", "d/a", "d/b", "d/e", "d/e/a", "x/y"}
	return filepath.Join(r.root, all[rng.IntN(len(all))])
}

func (r *transcript) step(rng *rand.Rand) string {
	if len(r.files) > 0 && rng.IntN(2) == 0 {
		return r.fileStep(rng)
	}
	one, two := r.name(rng), r.name(rng)
	label := one[len(r.root):] + " " + two[len(r.root):]
	switch k := rng.IntN(10); k {
	case 0, 1, 2:
		flag := []int{os.O_RDONLY, os.O_RDWR, os.O_RDWR | os.O_CREATE, os.O_RDWR | os.O_CREATE | os.O_EXCL, os.O_RDWR | os.O_CREATE | os.O_TRUNC}[rng.IntN(5)]
		if info, err := r.fsys.Stat(one); err == nil && info.IsDir() {
			return "skip: package os opens directories"
		}
		f, err := r.fsys.OpenFile(one, flag, 0o600)
		if err == nil {
			r.files = append(r.files, f)
		}
		return fmt.Sprint("open ", label, flag, class(err))
	case 3:
		return fmt.Sprint("remove ", label, class(r.fsys.Remove(one)))
	case 4:
		if rng.IntN(3) == 0 {
			return fmt.Sprint("removeall ", label, class(r.fsys.RemoveAll(one)))
		}
		return ""
	case 5, 6:
		return fmt.Sprint("rename ", label, class(r.fsys.Rename(one, two)))
	case 7:
		return fmt.Sprint("mkdir ", label, class(r.fsys.MkdirAll(one, 0o755)))
	case 8:
		names, err := r.fsys.ReadDir(one)
		return fmt.Sprint("readdir ", label, names, class(err))
	}
	info, err := r.fsys.Stat(one)
	if err != nil {
		return fmt.Sprint("stat ", label, class(err))
	}
	if info.IsDir() {
		return fmt.Sprint("stat ", label, info.Name(), info.Mode())
	}
	return fmt.Sprint("stat ", label, info.Name(), info.Mode(), info.Size())
}

func (r *transcript) fileStep(rng *rand.Rand) string {
	i := rng.IntN(len(r.files))
	f := r.files[i]
	off, length := rng.Int64N(10000), rng.IntN(6000)
	switch rng.IntN(7) {
	case 0, 1, 2:
		n, err := f.WriteAt(bytes.Repeat([]byte{byte(rng.Uint32())}, length), off)
		return fmt.Sprint("write ", i, off, length, n, class(err))
	case 3:
		buf := make([]byte, length)
		n, err := f.ReadAt(buf, off)
		return fmt.Sprintf("read %d %d %d %d %x %s", i, off, length, n, buf[:n], class(err))
	case 4:
		return fmt.Sprint("truncate ", i, off, class(f.Truncate(off)))
	case 5:
		size, err := f.Size()
		return fmt.Sprint("size ", i, size, class(err))
	}
	if rng.IntN(2) == 0 {
		return fmt.Sprint("sync ", i, class(f.Sync()))
	}
	if rng.IntN(3) > 0 {
		r.files = slices.Delete(r.files, i, i+1)
	}
	return fmt.Sprint("close ", i, class(f.Close()))
}

func (r *transcript) close() {
	for _, f := range r.files {
		f.Close()
	}
}

func (r *transcript) tree(dir string) string {
	names, err := r.fsys.ReadDir(filepath.Join(r.root, dir))
	if err != nil {
		data, err := ReadFile(r.fsys, filepath.Join(r.root, dir))
		return fmt.Sprintf("%s %x %v\n", dir, data, err)
	}
	out := dir + "/\n"
	for _, name := range names {
		out += r.tree(filepath.Join(dir, name))
	}
	return out
}

func TestMemHandlesShareContentAndOutliveTheName(t *testing.T) {
	t.Parallel()
	m := NewMem()
	one, two := mustOpen(t, m, "f"), mustOpen(t, m, "/f")
	mustWrite(t, one, "hello", 0)
	must(t, m.Remove("f"))
	wantMissing(t, m, "f")
	buf := make([]byte, 5)
	if _, err := two.ReadAt(buf, 0); err != nil || string(buf) != "hello" {
		t.Errorf("a removed file reads %q, %v through an open handle", buf, err)
	}
	if m.Bytes() != 5 {
		t.Errorf("Bytes is %d while a removed file is open, want 5", m.Bytes())
	}
	must(t, one.Close())
	must(t, two.Close())
	if m.Bytes() != 0 {
		t.Errorf("Bytes is %d after the last handle closed, want 0", m.Bytes())
	}
	if err := two.Close(); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("closing twice: %v", err)
	}
}

func TestMemReadOnlyHandlesDoNotWrite(t *testing.T) {
	t.Parallel()
	m := NewMem()
	must(t, mustOpen(t, m, "f").Close())
	f, err := m.OpenFile("f", os.O_RDONLY, 0)
	must(t, err)
	if _, err := f.WriteAt([]byte("x"), 0); !errors.Is(err, syscall.EBADF) {
		t.Errorf("write: %v", err)
	}
	if _, err := f.ReadAt(nil, -1); err == nil {
		t.Error("a negative offset was read")
	}
	if _, err := m.OpenFile("f", os.O_RDWR|os.O_APPEND, 0); !errors.Is(err, syscall.EINVAL) {
		t.Errorf("O_APPEND: %v", err)
	}
}

func TestMemFullDiskWritesWhatFitsAndSaysENOSPC(t *testing.T) {
	t.Parallel()
	m := NewMem()
	m.SetCapacity(10)
	f := mustOpen(t, m, "f")
	mustWrite(t, f, "123456", 0)
	if free, err := m.FreeBytes("/"); err != nil || free != 4 {
		t.Errorf("free: %d, %v, want 4", free, err)
	}
	n, err := f.WriteAt([]byte("abcdef"), 6)
	if n != 4 || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("wrote %d, %v, want 4 and ENOSPC", n, err)
	}
	wantContent(t, m, "f", "123456abcd")
	mustWrite(t, f, "ABCDEF", 0) // no growth, no room needed
	if err := f.Truncate(11); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("truncate beyond the capacity: %v", err)
	}
	m.SetCapacity(3)
	if free, _ := m.FreeBytes("/"); free != 0 {
		t.Errorf("free below what is used: %d, want 0", free)
	}
	m.SetCapacity(20)
	mustWrite(t, f, "0123456789", 10)
	must(t, m.Remove("f"))
	must(t, f.Close())
	if free, _ := m.FreeBytes("/"); free != 20 {
		t.Errorf("free after removing: %d, want 20", free)
	}
	g := mustOpen(t, m, "g")
	if _, err := g.WriteAt([]byte("x"), maxFileSize); !errors.Is(err, syscall.EFBIG) {
		t.Errorf("wild offset: %v", err)
	}
	wantContent(t, m, "g", "")
}

func TestMemSyncHooksRunUnderNoLockBeforeAndAfter(t *testing.T) {
	t.Parallel()
	m := NewMem()
	var seen []string
	note := func(when string) func(string) {
		return func(name string) {
			data, err := ReadFile(m.CrashClone(nil), "f")
			seen = append(seen, fmt.Sprintf("%s %s %q %v", when, name, data, err == nil))
		}
	}
	m.BeforeSync(note("before"))
	m.OnSync(note("after"))
	f := mustOpen(t, m, "f")
	must(t, m.SyncDir("/"))
	mustWrite(t, f, "x", 0)
	must(t, f.Sync())
	m.BeforeSync(nil)
	m.OnSync(nil)
	must(t, f.Sync())
	want := []string{`before / "" false`, `after / "" true`, `before f "" true`, `after f "x" true`}
	if !slices.Equal(seen, want) {
		t.Errorf("hooks saw %q, want %q", seen, want)
	}
}

func TestMemIsSafeForConcurrentUseWhileCloned(t *testing.T) {
	t.Parallel()
	m := NewMem()
	must(t, m.MkdirAll("d", 0o755))
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			name := fmt.Sprintf("d/%d", w%2)
			f := mustOpen(t, m, name)
			defer f.Close()
			for i := range 200 {
				f.WriteAt([]byte("0123456789"), int64(i*7%5000))
				f.ReadAt(make([]byte, 10), int64(i))
				f.Truncate(int64(i * 31 % 6000))
				f.Sync()
				m.SyncDir("d")
				m.Bytes()
			}
		})
	}
	for seed := range uint64(100) {
		clone := m.CrashClone(rand.New(rand.NewPCG(seed, 0)))
		must(t, clone.MkdirAll("d", 0o755))
		f := mustOpen(t, clone, "d/0")
		mustWrite(t, f, "written in the clone, over shared blocks", 100)
		must(t, f.Sync())
		must(t, f.Close())
	}
	wg.Wait()
}
