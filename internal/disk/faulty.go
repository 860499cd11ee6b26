package disk

import "io/fs"

// Op is a call on a filesystem or a file that [Faulty] can make fail.
type Op uint8

// The calls. Several methods share one where programs do not care.
const (
	OpOpen     Op = iota // FS.OpenFile
	OpRead               // File.ReadAt, File.Size, FS.ReadDir, FS.Stat, FS.FreeBytes
	OpWrite              // File.WriteAt
	OpSync               // File.Sync
	OpTruncate           // File.Truncate
	OpRename             // FS.Rename, by the old name
	OpRemove             // FS.Remove, FS.RemoveAll
	OpSyncDir            // FS.SyncDir
	OpMkdir              // FS.MkdirAll
	OpClose              // File.Close
)

var opNames = [...]string{"open", "read", "write", "sync", "truncate", "rename", "remove", "syncdir", "mkdir", "close"}

// String returns the call's name in lower case.
func (o Op) String() string {
	if int(o) >= len(opNames) {
		return "unknown"
	}
	return opNames[o]
}

// Faulty is a filesystem whose calls fail when Inject says so. It is for
// tests, and as safe for concurrent use as FS and Inject are; set the fields
// before the first use.
//
// A call that fails does nothing, but for three: a write with PartialWrite
// set writes its first half; a close closes all the same; and a sync on a
// [Mem] loses what was unsynced for good, as the machine's does: the bytes
// stay readable, and syncing again neither fails nor saves them.
type Faulty struct {
	FS
	// Inject is asked before each call, with the name as it was opened, and
	// returns the error to fail with, as it should reach the caller, or nil.
	// A nil Inject lets everything pass.
	Inject func(op Op, name string) error
	// PartialWrite makes failing writes write half of their bytes.
	PartialWrite bool
}

func (f *Faulty) inject(op Op, name string) error {
	if f.Inject == nil {
		return nil
	}
	return f.Inject(op, name)
}

// OpenFile implements [FS].
func (f *Faulty) OpenFile(name string, flag int, perm fs.FileMode) (File, error) {
	if err := f.inject(OpOpen, name); err != nil {
		return nil, err
	}
	file, err := f.FS.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return &faultyFile{file: file, fsys: f, name: name}, nil
}

// Remove implements [FS].
func (f *Faulty) Remove(name string) error {
	if err := f.inject(OpRemove, name); err != nil {
		return err
	}
	return f.FS.Remove(name)
}

// RemoveAll implements [FS].
func (f *Faulty) RemoveAll(name string) error {
	if err := f.inject(OpRemove, name); err != nil {
		return err
	}
	return f.FS.RemoveAll(name)
}

// Rename implements [FS].
func (f *Faulty) Rename(from, to string) error {
	if err := f.inject(OpRename, from); err != nil {
		return err
	}
	return f.FS.Rename(from, to)
}

// MkdirAll implements [FS].
func (f *Faulty) MkdirAll(dir string, perm fs.FileMode) error {
	if err := f.inject(OpMkdir, dir); err != nil {
		return err
	}
	return f.FS.MkdirAll(dir, perm)
}

// ReadDir implements [FS].
func (f *Faulty) ReadDir(dir string) ([]string, error) {
	if err := f.inject(OpRead, dir); err != nil {
		return nil, err
	}
	return f.FS.ReadDir(dir)
}

// Stat implements [FS].
func (f *Faulty) Stat(name string) (fs.FileInfo, error) {
	if err := f.inject(OpRead, name); err != nil {
		return nil, err
	}
	return f.FS.Stat(name)
}

// SyncDir implements [FS].
func (f *Faulty) SyncDir(dir string) error {
	if err := f.inject(OpSyncDir, dir); err != nil {
		return err
	}
	return f.FS.SyncDir(dir)
}

// FreeBytes implements [FS].
func (f *Faulty) FreeBytes(dir string) (uint64, error) {
	if err := f.inject(OpRead, dir); err != nil {
		return 0, err
	}
	return f.FS.FreeBytes(dir)
}

// faultyFile is an open file of Faulty.
type faultyFile struct {
	file File
	fsys *Faulty
	name string
}

// ReadAt implements [File].
func (f *faultyFile) ReadAt(p []byte, off int64) (int, error) {
	if err := f.fsys.inject(OpRead, f.name); err != nil {
		return 0, err
	}
	return f.file.ReadAt(p, off)
}

// WriteAt implements [File].
func (f *faultyFile) WriteAt(p []byte, off int64) (int, error) {
	err := f.fsys.inject(OpWrite, f.name)
	switch {
	case err == nil:
		return f.file.WriteAt(p, off)
	case !f.fsys.PartialWrite:
		return 0, err
	}
	n, _ := f.file.WriteAt(p[:len(p)/2], off) // the injected error is the one to report
	return n, err
}

// Truncate implements [File].
func (f *faultyFile) Truncate(size int64) error {
	if err := f.fsys.inject(OpTruncate, f.name); err != nil {
		return err
	}
	return f.file.Truncate(size)
}

// Sync implements [File].
func (f *faultyFile) Sync() error {
	if err := f.fsys.inject(OpSync, f.name); err != nil {
		f.loseUnsynced()
		return err
	}
	return f.file.Sync()
}

func (f *faultyFile) loseUnsynced() {
	if file, ok := f.file.(interface{ loseUnsynced() }); ok {
		file.loseUnsynced()
	}
}

// Size implements [File].
func (f *faultyFile) Size() (int64, error) {
	if err := f.fsys.inject(OpRead, f.name); err != nil {
		return 0, err
	}
	return f.file.Size()
}

// Close implements [File].
func (f *faultyFile) Close() error {
	err := f.fsys.inject(OpClose, f.name)
	if closeErr := f.file.Close(); err == nil {
		err = closeErr
	}
	return err
}
