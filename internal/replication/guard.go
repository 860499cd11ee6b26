package replication

import (
	"errors"
	"io"
	"io/fs"
	"path/filepath"
	"strings"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// guard stands between the engine and the disk, for one reason: the engine
// answers a failed write of its log with a panic under a lock, or with an
// unlock of an unlocked mutex, and either ends the embedding process.
//
// So the engine never learns of a failed write. The first one trips the latch,
// before the call returns, and from then on nothing of what the engine writes,
// renames or removes reaches the disk: what is there stays as a power loss at
// that moment would leave it, which is what recovery is made for. Whoever
// acknowledges must look at the latch after each sync; see Group.persist.
// Reads go on, but names that the engine made since do not exist.
//
// It also keeps the write-ahead log in files that are written already, since
// a sync that must record a new length or new extents costs a third more:
// a log file grows by walStep bytes of zeros at a time, and a removed one
// becomes the spare, which the next one starts in; see walFile. The engine itself does the
// same with the files of one run, so it knows old records in a log for what
// they are: each carries its file's number.
type guard struct {
	vfs.FS
	latch *latch
	dir   string
	// readOnly is set to write nothing at all; the latch stays untouched.
	readOnly bool
	// walLimit is the longest log file that is worth keeping, in bytes.
	walLimit int64
	// lastRead is the file opened for reading last: when opening fails by
	// corruption, it is the one.
	lastRead atomic.Pointer[string]
}

const (
	walSuffix = ".log"
	// spareName is what a log file is called between two uses.
	spareName = "wal.spare"
	// walStep is by how many bytes a log file grows.
	walStep = 1 << 20
)

// latch remembers the first failure.
type latch struct {
	err atomic.Pointer[error]
	fn  atomic.Pointer[func()]
}

// trip records err unless there is one already.
func (l *latch) trip(err error) {
	if !l.err.CompareAndSwap(nil, &err) {
		return
	}
	if fn := l.fn.Load(); fn != nil {
		(*fn)()
	}
}

// arm sets what is called at the failure, at once when it was before. fn must
// not block, and bear being called twice.
func (l *latch) arm(fn func()) {
	l.fn.Store(&fn)
	if l.cause() != nil {
		fn()
	}
}

// cause returns the first failure, or nil.
func (l *latch) cause() error {
	if p := l.err.Load(); p != nil {
		return *p
	}
	return nil
}

// errFrozen is what reading a name gives that exists only in the engine's
// belief.
var errFrozen = errors.New("the store failed earlier and its files are left as they were")

// frozen reports whether writes must not reach the disk.
func (g *guard) frozen() bool { return g.readOnly || g.latch.cause() != nil }

// try runs a change of the disk unless frozen, and trips the latch when it
// fails. It reports whether the change took effect.
func (g *guard) try(change func() error) bool {
	if g.frozen() {
		return false
	}
	if err := change(); err != nil {
		g.latch.trip(err)
		return false
	}
	return true
}

// isMarker reports whether a file is one of those whose names say which
// manifest and which format count.
func isMarker(name string) bool { return strings.HasPrefix(filepath.Base(name), "marker.") }

func isWAL(name string) bool { return strings.HasSuffix(name, walSuffix) }

// Create implements [vfs.FS].
func (g *guard) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	var file vfs.File
	ok := g.try(func() (err error) {
		if isMarker(name) { // what it names must be there when it is
			if err := g.syncDir(); err != nil {
				return err
			}
		}
		if isWAL(name) {
			file, err = g.fromSpare(name, c)
			if !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
		file, err = g.FS.Create(name, c)
		return err
	})
	return g.wrap(name, file, ok), nil
}

// fromSpare turns the spare into the log file called name.
func (g *guard) fromSpare(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	spare := g.PathJoin(g.dir, spareName)
	if _, err := g.Stat(spare); err != nil {
		return nil, err
	}
	return g.FS.ReuseForWrite(spare, name, c)
}

// wrap guards an open file; ok is false when there is none.
func (g *guard) wrap(name string, file vfs.File, ok bool) vfs.File {
	if !ok {
		return &guardFile{File: noFile{name: filepath.Base(name)}, guard: g}
	}
	f := &guardFile{File: file, guard: g}
	if !isWAL(name) {
		return f
	}
	return newWALFile(f)
}

// Open implements [vfs.FS].
func (g *guard) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	g.lastRead.Store(&name)
	f, err := g.FS.Open(name, opts...)
	if err != nil && !g.readOnly && g.latch.cause() != nil {
		return nil, errFrozen // a missing file would be one more reason to end the process
	}
	return f, err
}

// OpenReadWrite implements [vfs.FS].
func (g *guard) OpenReadWrite(name string, c vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	var file vfs.File
	ok := g.try(func() (err error) {
		file, err = g.FS.OpenReadWrite(name, c, opts...)
		return err
	})
	return g.wrap(name, file, ok), nil
}

// OpenDir implements [vfs.FS].
func (g *guard) OpenDir(name string) (vfs.File, error) {
	d, err := g.FS.OpenDir(name)
	if err != nil {
		return nil, err
	}
	return &guardFile{File: d, guard: g}, nil
}

// Link implements [vfs.FS]. Nothing here needs it.
func (g *guard) Link(string, string) error { return vfs.ErrUnsupported }

// Remove implements [vfs.FS]. A file that stays costs room and no more, so
// its failure is the engine's to know.
func (g *guard) Remove(name string) error {
	if g.frozen() {
		return nil
	}
	if isWAL(name) && g.keepSpare(name) {
		return nil
	}
	// The engine removes an old marker before the new one's name is durable.
	// A disk that keeps the removal and loses the new name would lose it all.
	if isMarker(name) && !g.try(g.syncDir) {
		return nil
	}
	return g.FS.Remove(name)
}

func (g *guard) syncDir() error {
	d, err := g.FS.OpenDir(g.dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// keepSpare makes the log file called name the spare, when there is none.
func (g *guard) keepSpare(name string) bool {
	spare := g.PathJoin(g.dir, spareName)
	if _, err := g.Stat(spare); !errors.Is(err, fs.ErrNotExist) {
		return false
	}
	info, err := g.Stat(name)
	if err != nil || info.Size() < walStep || info.Size() > g.walLimit {
		return false
	}
	return g.FS.Rename(name, spare) == nil
}

// RemoveAll implements [vfs.FS].
func (g *guard) RemoveAll(name string) error {
	if g.frozen() {
		return nil
	}
	return g.FS.RemoveAll(name)
}

// Rename implements [vfs.FS].
func (g *guard) Rename(from, to string) error {
	g.try(func() error { return g.FS.Rename(from, to) })
	return nil
}

// ReuseForWrite implements [vfs.FS].
func (g *guard) ReuseForWrite(from, to string, c vfs.DiskWriteCategory) (vfs.File, error) {
	var file vfs.File
	ok := g.try(func() (err error) {
		file, err = g.FS.ReuseForWrite(from, to, c)
		return err
	})
	return g.wrap(to, file, ok), nil
}

// MkdirAll implements [vfs.FS].
func (g *guard) MkdirAll(dir string, perm fs.FileMode) error {
	g.try(func() error { return g.FS.MkdirAll(dir, perm) })
	return nil
}

// Unwrap implements [vfs.FS].
func (g *guard) Unwrap() vfs.FS { return g.FS }

// guardFile is an open file, or directory, under guard.
type guardFile struct {
	vfs.File
	guard *guard
}

func (f *guardFile) Write(p []byte) (int, error) {
	f.guard.try(func() error { _, err := f.File.Write(p); return err })
	return len(p), nil
}

func (f *guardFile) WriteAt(p []byte, off int64) (int, error) {
	f.guard.try(func() error { _, err := f.File.WriteAt(p, off); return err })
	return len(p), nil
}

func (f *guardFile) Sync() error {
	f.guard.try(f.File.Sync)
	return nil
}

func (f *guardFile) SyncData() error {
	f.guard.try(f.File.SyncData)
	return nil
}

func (f *guardFile) SyncTo(length int64) (full bool, err error) {
	f.guard.try(func() error { full, err = f.File.SyncTo(length); return err })
	return full, nil
}

// Close passes a failure on only as the latch: the engine panics at some.
func (f *guardFile) Close() error {
	if err := f.File.Close(); err != nil && !f.guard.frozen() {
		f.guard.latch.trip(err)
	}
	return nil
}

// noFile takes writes and keeps nothing.
type noFile struct {
	vfs.File // nil: the rest is not called on a file that is being written
	name     string
}

func (noFile) Write(p []byte) (int, error)            { return len(p), nil }
func (noFile) WriteAt(p []byte, _ int64) (int, error) { return len(p), nil }
func (noFile) Read([]byte) (int, error)               { return 0, io.EOF }
func (noFile) ReadAt([]byte, int64) (int, error)      { return 0, errFrozen }
func (noFile) Sync() error                            { return nil }
func (noFile) SyncData() error                        { return nil }
func (noFile) SyncTo(int64) (bool, error)             { return true, nil }
func (noFile) Preallocate(int64, int64) error         { return nil }
func (noFile) Prefetch(int64, int64) error            { return nil }
func (noFile) Close() error                           { return nil }
func (noFile) Fd() uintptr                            { return vfs.InvalidFd }

func (f noFile) Stat() (vfs.FileInfo, error) {
	return adapterInfo{openInfo{name: f.name}}, nil
}
