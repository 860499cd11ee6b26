// Package pagestore keeps the pages of one tenant's projection: a
// copy-on-write store of 4096-byte pages in one sealed file.
//
// It guarantees that a snapshot sees one committed version for as long as it
// is held, that a batch is published whole or not at all, that what is on disk
// after any crash is exactly the state of the last completed Flush (or of the
// one that was under way), and that every byte at rest is sealed: a page that
// is damaged, moved, or put back to an older version is reported as
// Corruption and never served. It does not promise that a commit is durable
// before Flush: the tenant's log is what acknowledged writes rest on, and the
// projection is brought forward from it.
//
// It must not know about SQL or SQLite's formats, except that the last 32
// bytes of a page are reserved and that the first 100 bytes are read at the
// start of every transaction. The projection's file layer calls it.
//
// Locks are taken in the order ioMu, fileMu, mu; mu is never held during I/O
// (but for shortening the file).
package pagestore

import (
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"sync"
	"sync/atomic"
	"syscall"

	"kimberlite/internal/disk"
	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/seal"
)

// Options says what to open.
type Options struct {
	// FS is where the file lies.
	FS disk.FS
	// Path is the file's name. While a new store has not been flushed yet,
	// spilled pages are in Path + ".tmp".
	Path string
	// Tenant is whose pages they are.
	Tenant ident.TenantID
	// Keys are the tenant's keys.
	Keys seal.KeySource
	// MaxDirtyPages is how many committed pages are held in memory before the
	// oldest are spilled to free slots, and how many pages of an open batch.
	// The default is 256.
	MaxDirtyPages int
}

const defaultMaxDirtyPages = 256

// hardFactor is by how much MaxDirtyPages may be overstepped while the disk is
// full, by committed pages and by those of a batch, before a batch is refused.
const hardFactor = 8

const tmpSuffix = ".tmp"

// Store is an open page file. All methods are safe for concurrent use; there
// is one [Batch] at a time.
type Store struct {
	o    Options
	keys *keys

	// ioMu serialises Flush and the spilling of committed pages. It guards
	// nodes, sequence and named.
	ioMu sync.Mutex
	// nodes are the table nodes of the last durable root, by level from 1.
	nodes [][]entry
	// sequence is the last durable root's.
	sequence uint64
	// named says that the file has its name, so that a root is in it.
	named bool

	fileMu sync.Mutex // guards making the file

	// mu guards everything below.
	mu     sync.RWMutex
	file   disk.File // nil until the first spill or Flush
	latest *version
	// pinned are the versions before latest that snapshots hold, oldest first.
	pinned []*version
	// table has one entry a page of the latest version.
	table []entry
	// memory has the pages of the latest version whose entry is inMemory.
	memory map[uint32]residence
	// old has what pages were in versions that are pinned.
	old map[uint32][]oldCell
	// oldFrames is how many of them are in memory.
	oldFrames int
	// spillAt is at how many pages in memory spilling is tried again after it
	// found the disk full; 0 when it did not.
	spillAt int
	// held are frames being sealed without the lock; true once let go of.
	held  map[*frame]bool
	slots slots
	// dropped are kept slots that the latest version does not refer to: they
	// stop being kept when the next Flush is durable.
	dropped []uint32
	// pending are the pages changed since the version last flushed, flushing
	// those that the Flush under way writes.
	pending, flushing pageSet
	// metaPending says that the meta data changed since the version last
	// flushed.
	metaPending bool
	batch       *Batch
	// spareCells is an empty map for the next batch, or nil.
	spareCells map[uint32]cell
	failed     error
	closed     bool

	fileBytes atomic.Int64 // the file's length
	// overfull says that committed pages in memory have reached the hard
	// limit, since the disk is full.
	overfull atomic.Bool
}

// Open opens the store at o.Path. A store that does not exist is empty; its
// file appears with the first Flush. It returns a Corruption that names file
// and position when the root or the page table is damaged, and KeyUnavailable
// when the tenant's keys are not at hand.
func Open(o Options) (*Store, error) {
	if o.FS == nil || o.Path == "" || o.Tenant.IsZero() || o.Keys == nil || o.MaxDirtyPages < 0 {
		return nil, fault.New("page open", fault.Invalid, "a page store needs a filesystem, a path, a tenant and keys")
	}
	if o.MaxDirtyPages == 0 {
		o.MaxDirtyPages = defaultMaxDirtyPages
	}
	s := &Store{
		o:      o,
		latest: &version{sequence: 1},
		memory: map[uint32]residence{},
		old:    map[uint32][]oldCell{},
		held:   map[*frame]bool{},
		slots:  newSlots(),
	}
	file, err := o.FS.OpenFile(o.Path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		if err := s.startEmpty(); err != nil {
			return nil, err
		}
		return s, nil
	}
	if err != nil {
		return nil, s.accessError("page open", err)
	}
	if err := s.load(file); err != nil {
		_ = file.Close() // nothing was written: the first error is the one that counts
		return nil, err
	}
	return s, nil
}

// startEmpty prepares a store whose file does not exist yet.
func (s *Store) startEmpty() error {
	var id [16]byte
	_, _ = rand.Read(id[:]) // crypto/rand.Read never fails: it ends the process
	s.keys = newKeys(s.o.Keys, s.o.Tenant, id)
	if err := removeIfThere(s.o.FS, s.o.Path+tmpSuffix); err != nil {
		return s.accessError("page open", err)
	}
	return nil
}

// Remove removes the file of a store that is not open. A missing one is no
// error. The caller syncs the directory if it needs to.
func Remove(fsys disk.FS, path string) error {
	if err := errors.Join(removeIfThere(fsys, path), removeIfThere(fsys, path+tmpSuffix)); err != nil {
		return fault.Wrap("page remove", fault.Unavailable, err, "cannot remove the projection file")
	}
	return nil
}

func removeIfThere(fsys disk.FS, path string) error {
	if err := fsys.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Dirty returns how many committed pages have changed since the last Flush,
// spilled ones and removed ones included. Changed meta data counts as one.
func (s *Store) Dirty() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	n := s.pending.count + s.flushing.count
	if s.metaPending {
		n++
	}
	return n
}

// FileBytes returns the length of the file in bytes, 0 while there is none.
func (s *Store) FileBytes() int64 { return s.fileBytes.Load() }

// Pages returns how many pages the latest version has.
func (s *Store) Pages() int64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return int64(s.latest.pages)
}

// ReadAt implements [io.ReaderAt] on the latest version, as it is at each
// call. It is for the one writer, whose version cannot change under it while
// it has no batch open.
func (s *Store) ReadAt(p []byte, off int64) (int, error) {
	return readRange(p, off, s.Pages()*PageSize, func(page uint32, part []byte, from int) error {
		return s.readPage(latestVersion, page, part, from)
	})
}

// Seals returns how many pages, table nodes and roots were sealed under the
// current key generation since the store was opened. A key must not seal more
// than [seal.MaxSealsPerKey] texts.
func (s *Store) Seals() uint64 { return s.keys.seals() }

// Close closes the file without flushing: what was committed since the last
// Flush is not on disk. Reads through snapshots fail from then on. Closing
// twice is no error.
func (s *Store) Close() error {
	s.ioMu.Lock()
	defer s.ioMu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	for _, r := range s.memory {
		s.recycle(r.frame)
	}
	for _, cells := range s.old {
		for _, c := range cells {
			s.recycle(c.frame)
		}
	}
	s.memory, s.old, s.table = nil, nil, nil
	if s.file == nil {
		return nil
	}
	if err := s.file.Close(); err != nil {
		return s.accessError("page close", err)
	}
	return nil
}

// ensureFile returns the file, and makes it when there is none yet.
func (s *Store) ensureFile() (disk.File, error) {
	s.fileMu.Lock()
	defer s.fileMu.Unlock()
	s.mu.RLock()
	file, err := s.file, s.usable()
	s.mu.RUnlock()
	if file != nil || err != nil {
		return file, err
	}
	file, err = s.o.FS.OpenFile(s.o.Path+tmpSuffix, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, s.accessError("page write", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		_ = file.Close() // nobody will use it
		return nil, s.usable()
	}
	s.file = file
	return file, nil
}

// usable returns why nothing can be written any more, or nil. The caller
// holds mu.
func (s *Store) usable() error {
	if s.closed {
		return s.closedError()
	}
	return s.failed
}

func (s *Store) closedError() error {
	return fault.New("page store", fault.Closed, "the projection file is closed").ForTenant(s.o.Tenant)
}

// accessError is for a call that failed before anything was in doubt.
func (s *Store) accessError(op string, err error) error {
	kind, message := fault.Unavailable, "the projection file cannot be reached"
	if diskFull(err) {
		kind, message = fault.DiskFull, "the disk is full: nothing was lost, free some space and try again"
	}
	return fault.Wrap(op, kind, err, "%s", message).ForTenant(s.o.Tenant)
}

// writeError turns the error of a write into what the caller is told. Unless
// the disk is only full, what the file holds is in doubt from then on, and
// nothing is written any more.
func (s *Store) writeError(op string, err error) error {
	if diskFull(err) {
		return s.accessError(op, err)
	}
	return s.stop(op, err)
}

// stop refuses all writes from now on.
func (s *Store) stop(op string, err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return s.closedError()
	}
	if s.failed == nil {
		s.failed = fault.Wrap(op, fault.Stopped, err, "the disk failed under the projection file: reopen it, what is missing is rebuilt from the log").ForTenant(s.o.Tenant)
	}
	return s.failed
}

func diskFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// corrupt is damage at a slot.
func (s *Store) corrupt(slot uint32, format string, args ...any) error {
	return fault.Corrupt("page read", s.o.Path, slotOffset(slot), format, args...).ForTenant(s.o.Tenant)
}
