package replication

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"kimberlite/internal/disk"
)

// engineFS returns the engine's view of a filesystem: its own for the
// operating system, since that one knows fdatasync and fadvise, and an
// adapter for all others.
func engineFS(fsys disk.FS) vfs.FS {
	if _, ok := fsys.(disk.OS); ok {
		return vfs.Default
	}
	return adapter{fsys}
}

// adapter lets the engine run on any [disk.FS], so that crash clones and
// injected errors reach below it. Locks hold within this process only.
type adapter struct{ fs disk.FS }

var _ vfs.FS = adapter{}

func (a adapter) open(name string, flag int, opts []vfs.OpenOption) (vfs.File, error) {
	f, err := a.fs.OpenFile(name, flag, 0o600)
	if err != nil {
		return nil, err
	}
	file := &adapterFile{File: f, name: filepath.Base(name)}
	for _, o := range opts {
		o.Apply(file)
	}
	return file, nil
}

// Create implements [vfs.FS]: an existing file is removed, not truncated.
func (a adapter) Create(name string, _ vfs.DiskWriteCategory) (vfs.File, error) {
	if err := a.fs.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return a.open(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, nil)
}

// Link is not offered by disk.FS; the engine needs it only to ingest tables
// and to copy itself, neither of which is used here.
func (a adapter) Link(string, string) error { return vfs.ErrUnsupported }

func (a adapter) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	return a.open(name, os.O_RDONLY, opts)
}

func (a adapter) OpenReadWrite(name string, _ vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	return a.open(name, os.O_RDWR|os.O_CREATE, opts)
}

func (a adapter) OpenDir(name string) (vfs.File, error) {
	if _, err := a.fs.Stat(name); err != nil {
		return nil, err
	}
	return adapterDir{fs: a.fs, name: name}, nil
}

func (a adapter) Remove(name string) error               { return a.fs.Remove(name) }
func (a adapter) RemoveAll(name string) error            { return a.fs.RemoveAll(name) }
func (a adapter) Rename(from, to string) error           { return a.fs.Rename(from, to) }
func (a adapter) List(dir string) ([]string, error)      { return a.fs.ReadDir(dir) }
func (a adapter) MkdirAll(d string, p fs.FileMode) error { return a.fs.MkdirAll(d, p) }
func (a adapter) PathBase(p string) string               { return filepath.Base(p) }
func (a adapter) PathJoin(elem ...string) string         { return filepath.Join(elem...) }
func (a adapter) PathDir(p string) string                { return filepath.Dir(p) }
func (a adapter) Unwrap() vfs.FS                         { return nil }

func (a adapter) ReuseForWrite(from, to string, _ vfs.DiskWriteCategory) (vfs.File, error) {
	if err := a.fs.Rename(from, to); err != nil {
		return nil, err
	}
	return a.open(to, os.O_RDWR|os.O_CREATE, nil)
}

func (a adapter) Stat(name string) (vfs.FileInfo, error) {
	info, err := a.fs.Stat(name)
	if err != nil {
		return nil, err
	}
	return adapterInfo{info}, nil
}

func (a adapter) GetDiskUsage(path string) (vfs.DiskUsage, error) {
	free, err := a.fs.FreeBytes(path)
	return vfs.DiskUsage{AvailBytes: free, TotalBytes: free}, err
}

// held is the set of locks that adapters hold in this process, by filesystem
// and name.
var held = struct {
	sync.Mutex // guards locks
	locks      map[heldKey]bool
}{locks: map[heldKey]bool{}}

type heldKey struct {
	fs   disk.FS
	name string
}

type heldLock heldKey

var errHeld = errors.New("lock held by this process")

func (a adapter) Lock(name string) (io.Closer, error) {
	f, err := a.fs.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := f.Close(); err != nil {
		return nil, err
	}
	key := heldKey{name: filepath.Clean(name)}
	if reflect.TypeOf(a.fs).Comparable() {
		key.fs = a.fs
	}
	held.Lock()
	defer held.Unlock()
	if held.locks[key] {
		return nil, errHeld
	}
	held.locks[key] = true
	return heldLock(key), nil
}

func (l heldLock) Close() error {
	held.Lock()
	defer held.Unlock()
	delete(held.locks, heldKey(l))
	return nil
}

// adapterFile gives a disk.File the sequential reads and writes that the
// engine uses. As the engine's contract says, reads from the current place
// are not concurrent with one another, and neither are writes.
type adapterFile struct {
	disk.File
	name  string
	read  int64 // where the next Read starts, in bytes
	write int64 // where the next Write goes, in bytes
}

func (f *adapterFile) Read(p []byte) (int, error) {
	n, err := f.ReadAt(p, f.read)
	f.read += int64(n)
	if n > 0 && errors.Is(err, io.EOF) {
		err = nil
	}
	return n, err
}

func (f *adapterFile) Write(p []byte) (int, error) {
	n, err := f.WriteAt(p, f.write)
	f.write += int64(n)
	return n, err
}

func (f *adapterFile) Stat() (vfs.FileInfo, error) {
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	return adapterInfo{openInfo{f.name, size}}, nil
}

func (f *adapterFile) SyncData() error                { return f.Sync() }
func (f *adapterFile) SyncTo(int64) (bool, error)     { return true, f.Sync() }
func (f *adapterFile) Preallocate(int64, int64) error { return nil }
func (f *adapterFile) Prefetch(int64, int64) error    { return nil }
func (f *adapterFile) Fd() uintptr                    { return vfs.InvalidFd }

// adapterInfo adds the device, which nothing here tells apart.
type adapterInfo struct{ fs.FileInfo }

func (adapterInfo) DeviceID() vfs.DeviceID { return vfs.DeviceID{} }

// openInfo describes an open file by what disk.File knows.
type openInfo struct {
	name string
	size int64
}

func (i openInfo) Name() string       { return i.name }
func (i openInfo) Size() int64        { return i.size }
func (i openInfo) Mode() fs.FileMode  { return 0o600 }
func (i openInfo) ModTime() time.Time { return time.Time{} }
func (i openInfo) IsDir() bool        { return false }
func (i openInfo) Sys() any           { return nil }

// adapterDir is a directory opened to be synced.
type adapterDir struct {
	fs   disk.FS
	name string
}

var errIsDir = errors.New("is a directory")

func (d adapterDir) Sync() error                        { return d.fs.SyncDir(d.name) }
func (d adapterDir) SyncData() error                    { return d.Sync() }
func (d adapterDir) SyncTo(int64) (bool, error)         { return false, nil }
func (d adapterDir) Close() error                       { return nil }
func (d adapterDir) Read([]byte) (int, error)           { return 0, errIsDir }
func (d adapterDir) ReadAt([]byte, int64) (int, error)  { return 0, errIsDir }
func (d adapterDir) Write([]byte) (int, error)          { return 0, errIsDir }
func (d adapterDir) WriteAt([]byte, int64) (int, error) { return 0, errIsDir }
func (d adapterDir) Preallocate(int64, int64) error     { return nil }
func (d adapterDir) Prefetch(int64, int64) error        { return nil }
func (d adapterDir) Fd() uintptr                        { return vfs.InvalidFd }

func (d adapterDir) Stat() (vfs.FileInfo, error) { return adapter{d.fs}.Stat(d.name) }
