// Package disk is the one seam between Kimberlite and a filesystem.
//
// It guarantees nothing of its own: [OS] passes through to the operating
// system, [Mem] keeps files in memory and can be cloned as a power loss would
// leave them, [Faulty] makes chosen calls fail. Every package that stores
// takes an [FS], so that the same code runs on all three. It must not know
// what the bytes mean.
//
// The rules that callers rely on, and that Mem enforces by losing what breaks
// them:
//
//   - Bytes and a length are durable once File.Sync returned. Until then any
//     part of them may be, in any order, torn at any byte.
//   - A created, renamed or removed name is durable once SyncDir of the
//     directory that holds it returned; syncing a file does not keep its name.
//     A rename inside one directory happens whole or not at all; one between
//     two directories is two changes: sync the one that gains the name first.
//   - A directory is a name in its parent. MkdirAll("a/b/c") that made all
//     three is durable only after SyncDir of a's parent, of a and of b; and a
//     file in c only after SyncDir of c as well. [MkdirAllDurable] does it.
//   - After Sync returned an error the file's unsynced bytes are in doubt for
//     good: they can still be read, and calling Sync again proves nothing.
package disk

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// FS is a filesystem. Names are slash-separated paths as for package os.
// Errors are *fs.PathError (of Rename *os.LinkError) and satisfy errors.Is with fs.ErrNotExist,
// fs.ErrExist and syscall.ENOSPC. Implementations are safe for concurrent use.
type FS interface {
	// OpenFile opens name with the os.O_* flags that package os knows, of
	// which O_RDONLY, O_RDWR, O_CREATE, O_EXCL and O_TRUNC are used.
	OpenFile(name string, flag int, perm fs.FileMode) (File, error)
	// Remove removes a file or an empty directory.
	Remove(name string) error
	// RemoveAll removes a tree; a missing one is no error. A power loss before
	// SyncDir of its parent can leave any part of it.
	RemoveAll(name string) error
	// Rename moves a file over another, atomically.
	Rename(from, to string) error
	// MkdirAll makes a directory and its missing parents, and syncs nothing:
	// each parent that gained a name needs SyncDir.
	MkdirAll(dir string, perm fs.FileMode) error
	// ReadDir returns the names in a directory, sorted.
	ReadDir(dir string) ([]string, error)
	// Stat describes a file or directory.
	Stat(name string) (fs.FileInfo, error)
	// SyncDir makes the names in a directory durable, not what they hold.
	SyncDir(dir string) error
	// FreeBytes returns the room left for this process where dir lies.
	FreeBytes(dir string) (uint64, error)
}

// File is an open file. Reads and writes at different places may run
// concurrently.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	// Truncate sets the length in bytes; growth reads as zeros.
	Truncate(size int64) error
	// Sync makes all bytes written and the length durable.
	Sync() error
	// Size returns the length in bytes.
	Size() (int64, error)
}

// OS is the operating system's filesystem.
type OS struct{}

type osFile struct{ *os.File }

// OpenFile implements [FS].
func (OS) OpenFile(name string, flag int, perm fs.FileMode) (File, error) {
	f, err := os.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

func (f osFile) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// Remove implements [FS].
func (OS) Remove(name string) error { return os.Remove(name) }

// RemoveAll implements [FS].
func (OS) RemoveAll(name string) error { return os.RemoveAll(name) }

// Rename implements [FS].
func (OS) Rename(from, to string) error { return os.Rename(from, to) }

// MkdirAll implements [FS].
func (OS) MkdirAll(dir string, perm fs.FileMode) error { return os.MkdirAll(dir, perm) }

// ReadDir implements [FS].
func (OS) ReadDir(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names, nil
}

// Stat implements [FS].
func (OS) Stat(name string) (fs.FileInfo, error) { return os.Stat(name) }

// SyncDir implements [FS].
func (OS) SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	return errors.Join(err, d.Close())
}

// FreeBytes implements [FS].
func (OS) FreeBytes(dir string) (uint64, error) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return 0, &fs.PathError{Op: "statfs", Path: dir, Err: err}
	}
	return st.Bavail * uint64(st.Bsize), nil
}

// ReadFile returns the whole of a file.
func ReadFile(fsys FS, name string) ([]byte, error) {
	f, err := fsys.OpenFile(name, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	size, err := f.Size()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	data := make([]byte, size)
	n, err := f.ReadAt(data, 0)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return data[:n], errors.Join(err, f.Close())
}

// WriteFileDurable replaces name by data so that after any crash either the
// old or the new content is there, and the new one once it returned nil. It
// writes name+".tmp" beside it.
func WriteFileDurable(fsys FS, name string, data []byte, perm fs.FileMode) error {
	tmp := name + ".tmp"
	f, err := fsys.OpenFile(tmp, os.O_RDWR|os.O_CREATE|os.O_TRUNC, perm)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(data, 0)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := fsys.Rename(tmp, name); err != nil {
		return err
	}
	return fsys.SyncDir(filepath.Dir(name))
}

// MkdirAllDurable makes a directory and its missing parents, and makes their
// names durable. A parent that exists counts as durable: it is no help against
// one that somebody else is making right now and has not synced yet.
func MkdirAllDurable(fsys FS, dir string, perm fs.FileMode) error {
	var made []string
	for d := filepath.Clean(dir); ; d = filepath.Dir(d) {
		_, err := fsys.Stat(d)
		if err == nil || d == filepath.Dir(d) {
			break
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		made = append(made, d)
	}
	if err := fsys.MkdirAll(dir, perm); err != nil {
		return err
	}
	for _, d := range made {
		if err := fsys.SyncDir(filepath.Dir(d)); err != nil {
			return err
		}
	}
	return nil
}
