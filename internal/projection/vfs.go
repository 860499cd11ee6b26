package projection

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"sync"
	"sync/atomic"

	"github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/vfs"

	"kimberlite/internal/fault"
	"kimberlite/internal/pagestore"
)

// vfsName is the name under which SQLite knows our file layer.
const vfsName = "kimberlite"

// fileSystem is SQLite's file layer: it opens the page stores that were
// handed to it, each under a name that is good for one opening, and bounded
// temporary files in memory. It never touches a disk.
type fileSystem struct {
	mu    sync.Mutex // guards files
	files map[string]*file
}

var (
	fileSystemOnce sync.Once
	theFileSystem  = &fileSystem{files: map[string]*file{}}
)

// offer makes f open under the name it returns, once. The name cannot be
// guessed, and means nothing any more once it has been opened or withdrawn.
func (s *fileSystem) offer(f *file) string {
	fileSystemOnce.Do(func() { vfs.Register(vfsName, s) })
	var b [16]byte
	_, _ = rand.Read(b[:]) // crypto/rand.Read never fails: it ends the process
	name := hex.EncodeToString(b[:])
	s.mu.Lock()
	defer s.mu.Unlock()
	s.files[name] = f
	return name
}

// take returns the file offered under a name, for the first caller only.
func (s *fileSystem) take(name string) *file {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.files[name]
	delete(s.files, name)
	return f
}

// Open implements [vfs.VFS].
func (s *fileSystem) Open(name string, flags vfs.OpenFlag) (vfs.File, vfs.OpenFlag, error) {
	const temporary = vfs.OPEN_TEMP_DB | vfs.OPEN_TEMP_JOURNAL | vfs.OPEN_TRANSIENT_DB | vfs.OPEN_SUBJOURNAL
	if flags&temporary != 0 && name == "" {
		return &memoryFile{}, flags | vfs.OPEN_MEMORY, nil
	}
	if flags&vfs.OPEN_MAIN_DB == 0 {
		return nil, flags, sqlite3.CANTOPEN
	}
	f := s.take(name)
	if f == nil {
		return nil, flags, sqlite3.CANTOPEN
	}
	// OPEN_MEMORY makes SQLite keep its rollback journal in memory.
	return f, flags | vfs.OPEN_MEMORY, nil
}

// Delete implements [vfs.VFS]: there is never a file to delete.
func (s *fileSystem) Delete(string, bool) error { return sqlite3.IOERR_DELETE_NOENT }

// Access implements [vfs.VFS]: there is never a journal.
func (s *fileSystem) Access(string, vfs.AccessFlag) (bool, error) { return false, nil }

// FullPathname implements [vfs.VFS].
func (s *fileSystem) FullPathname(name string) (string, error) { return name, nil }

// source is one tenant's page store, as all of its connections share it.
type source struct {
	store *pagestore.Store
	// doubt is the first damage that was found: from then on every call is
	// refused with it.
	doubt atomic.Pointer[fault.Error]
}

// suspect remembers damage.
func (s *source) suspect(e *fault.Error) { s.doubt.CompareAndSwap(nil, e) }

// err returns the damage found so far, or nil.
func (s *source) err() error {
	if e := s.doubt.Load(); e != nil {
		return e
	}
	return nil
}

// file is a page store as one connection sees it. SQLite calls it from one
// goroutine at a time.
//
// A reader reads from the snapshot that its shared lock pins. While nobody
// uses the connection the snapshot is parked: released, with SQLite's lock and
// page cache left standing, to be resumed if nothing was committed meanwhile.
//
// The writer holds its locks for good (locking_mode=EXCLUSIVE), so that SQLite
// neither counts its changes in the first page, which would be a page more in
// each commit, nor looks at what others may have changed: there are no others.
// Its changes collect in a batch from the first write on, which the second
// phase of SQLite's commit publishes and a rollback discards. What the change
// counter is for, telling readers to drop their caches, synthesise does.
type file struct {
	src      *source
	writer   bool
	lock     vfs.LockLevel
	snapshot *pagestore.Snapshot
	batch    *pagestore.Batch
	// meta is published with the next commit, unless it is nil.
	meta []byte
	// seen is the sequence number of the version that the snapshot pinned last,
	// and counter the change counter that SQLite is shown for it: another one
	// than for the version before.
	seen    uint64
	counter uint32
	// kept is the first error of the page store since the last takeError: the
	// driver forgets it when SQLite makes its next call.
	kept error
}

var (
	_ vfs.FileLockState      = (*file)(nil)
	_ vfs.FileCommitPhaseTwo = (*file)(nil)
)

// keep remembers an error of the page store and returns what SQLite is told.
func (f *file) keep(err error, code sqlite3.ExtendedErrorCode) error {
	if f.kept == nil {
		f.kept = err
	}
	var e *fault.Error
	if errors.As(err, &e) && e.Kind == fault.Corruption {
		f.src.suspect(e)
	}
	return code
}

// takeError returns the error kept and forgets it.
func (f *file) takeError() error {
	err := f.kept
	f.kept = nil
	return err
}

// Close implements [vfs.File].
func (f *file) Close() error {
	f.release()
	return nil
}

func (f *file) release() {
	f.discard()
	f.unpin()
	f.lock = vfs.LOCK_NONE
}

// pin takes a snapshot of the latest version for a reader.
func (f *file) pin() {
	f.snapshot = f.src.store.Snapshot()
	if n := f.snapshot.Sequence(); n != f.seen {
		f.seen = n
		f.counter++
	}
}

func (f *file) unpin() {
	if f.snapshot != nil {
		f.snapshot.Release()
		f.snapshot = nil
	}
}

// park lets go of the version that SQLite's open read transaction is on.
// Nothing can be read until resume has said true, or the transaction has ended.
func (f *file) park() {
	if f.snapshot != nil {
		f.snapshot.Release()
	}
}

// resume takes the parked version up again, if it is still the latest.
func (f *file) resume() bool { return f.snapshot != nil && f.snapshot.Renew() }

// discard drops what the writer has not committed.
func (f *file) discard() {
	f.meta = nil
	if f.batch != nil {
		f.batch.Discard()
		f.batch = nil
	}
}

// ReadAt implements [vfs.File].
func (f *file) ReadAt(p []byte, off int64) (n int, err error) {
	switch {
	case f.batch != nil:
		n, err = f.batch.ReadAt(p, off)
	case f.writer:
		n, err = f.src.store.ReadAt(p, off)
	case f.snapshot != nil:
		n, err = f.snapshot.ReadAt(p, off)
		f.synthesise(p[:n], off)
	default: // the header is read once without a lock, when SQLite opens
		s := f.src.store.Snapshot()
		n, err = s.ReadAt(p, off)
		s.Release()
	}
	if n == len(p) && err == nil || err == io.EOF { //nolint:errorlint // the store returns it bare
		return n, err
	}
	clear(p)
	return 0, f.keep(err, sqlite3.IOERR_DATA)
}

// Where the first page holds the change counter: a second time to say that the
// length of the database stands there too.
const (
	counterAt  = 24
	validForAt = 92
)

// synthesise puts the change counter into bytes of the first page.
func (f *file) synthesise(p []byte, off int64) {
	if off >= validForAt+4 {
		return
	}
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], f.counter)
	for _, at := range [...]int64{counterAt, validForAt} {
		if at >= off && at+4 <= off+int64(len(p)) {
			copy(p[at-off:], b[:])
		}
	}
}

// WriteAt implements [vfs.File].
func (f *file) WriteAt(p []byte, off int64) (int, error) {
	if !f.writer {
		return 0, sqlite3.READONLY
	}
	if len(p) != pagestore.PageSize || off%pagestore.PageSize != 0 {
		// The store passes over the reserved bytes of its own pages: a write
		// of another shape would lose data without a word.
		return 0, f.keep(fault.New("page write", fault.Internal, "SQLite writes %d bytes at %d, not a page of %d", len(p), off, pagestore.PageSize), sqlite3.IOERR_WRITE)
	}
	n, err := f.changes().WriteAt(p, off)
	if err != nil {
		return n, f.keep(err, sqlite3.IOERR_WRITE)
	}
	return n, nil
}

// Truncate implements [vfs.File].
func (f *file) Truncate(size int64) error {
	if !f.writer {
		return sqlite3.READONLY
	}
	if err := f.changes().Truncate(size); err != nil {
		return f.keep(err, sqlite3.IOERR_TRUNCATE)
	}
	return nil
}

// changes returns the batch, begun by the first change of a transaction.
func (f *file) changes() *pagestore.Batch {
	if f.batch == nil {
		f.batch = f.src.store.Begin()
	}
	return f.batch
}

// Size implements [vfs.File].
func (f *file) Size() (int64, error) {
	switch {
	case f.batch != nil:
		return f.batch.Size(), nil
	case f.snapshot != nil:
		return f.snapshot.Size(), nil
	}
	return f.src.store.Pages() * pagestore.PageSize, nil
}

// Lock implements [vfs.File].
func (f *file) Lock(lock vfs.LockLevel) error {
	if f.lock >= lock {
		return nil
	}
	if !f.writer {
		if lock >= vfs.LOCK_RESERVED {
			return sqlite3.READONLY
		}
		f.pin()
	}
	f.lock = lock
	return nil
}

// Unlock implements [vfs.File]. What CommitPhaseTwo did not publish is gone.
func (f *file) Unlock(lock vfs.LockLevel) error {
	if f.lock <= lock {
		return nil
	}
	f.discard()
	if lock == vfs.LOCK_NONE {
		f.unpin()
	}
	f.lock = lock
	return nil
}

// CommitPhaseTwo implements [vfs.FileCommitPhaseTwo].
func (f *file) CommitPhaseTwo() error {
	if f.batch == nil {
		return nil
	}
	if err := f.publish(); err != nil {
		return f.keep(err, sqlite3.IOERR_WRITE)
	}
	return nil
}

// publish makes what was written and the new meta data the latest version.
func (f *file) publish() error {
	b := f.changes()
	if f.meta != nil {
		if err := b.SetMeta(f.meta); err != nil {
			return err
		}
	}
	f.batch, f.meta = nil, nil
	return b.Commit()
}

// publishMeta publishes the meta data of a commit that changed no page, of
// which SQLite's COMMIT does not tell.
func (f *file) publishMeta() error {
	if f.meta == nil {
		return nil
	}
	return f.publish()
}

// CheckReservedLock implements [vfs.File].
func (f *file) CheckReservedLock() (bool, error) { return f.lock >= vfs.LOCK_RESERVED, nil }

// LockState implements [vfs.FileLockState].
func (f *file) LockState() vfs.LockLevel { return f.lock }

// Sync implements [vfs.File]. Durability is the page store's Flush.
func (f *file) Sync(vfs.SyncFlag) error { return nil }

// SectorSize implements [vfs.File].
func (f *file) SectorSize() int { return 0 }

// DeviceCharacteristics implements [vfs.File]. Partial pages are not offered:
// a page is opened whole.
func (f *file) DeviceCharacteristics() vfs.DeviceCharacteristic {
	return vfs.IOCAP_ATOMIC4K | vfs.IOCAP_SEQUENTIAL | vfs.IOCAP_SAFE_APPEND | vfs.IOCAP_POWERSAFE_OVERWRITE
}
