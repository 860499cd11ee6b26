package pagestore

import (
	"encoding/binary"
	"errors"
	"io"
	"sync"
	"sync/atomic"

	"kimberlite/internal/disk"
	"kimberlite/internal/fault"
)

// Snapshot is one committed version, unchanged for as long as it is held. It
// is safe for concurrent use.
type Snapshot struct {
	s        *Store
	v        *version
	released atomic.Bool
}

// Snapshot returns the latest committed version. Release it: a held snapshot
// keeps the slots of its pages from being used again.
func (s *Store) Snapshot() *Snapshot {
	s.mu.RLock()
	v := s.pin()
	s.mu.RUnlock()
	return &Snapshot{s: s, v: v}
}

// Renew takes a released snapshot up again if its version is still the latest
// one, and says whether it did. It is not safe for concurrent use with Release.
func (sn *Snapshot) Renew() bool {
	sn.s.mu.RLock()
	defer sn.s.mu.RUnlock()
	if sn.s.latest != sn.v || !sn.released.Load() {
		return false
	}
	sn.s.pin()
	sn.released.Store(false)
	return true
}

// Meta returns the meta data of the version: see [Batch.SetMeta]. It is not to
// be changed.
func (sn *Snapshot) Meta() []byte { return sn.v.meta }

// Sequence numbers the versions since the store was opened: a later one has a
// higher number.
func (sn *Snapshot) Sequence() uint64 { return sn.v.sequence }

// Size returns the length of the version in bytes, a multiple of [PageSize].
func (sn *Snapshot) Size() int64 { return int64(sn.v.pages) * PageSize }

// Release ends the use of the snapshot. Releasing twice does nothing.
func (sn *Snapshot) Release() {
	if !sn.released.Swap(true) {
		sn.s.unpin(sn.v)
	}
}

// ReadAt implements [io.ReaderAt] for any offset and length. A damaged page
// is a Corruption that names the file and the byte position of its slot, and
// then what p holds is not to be used.
func (sn *Snapshot) ReadAt(p []byte, off int64) (int, error) {
	if sn.released.Load() {
		return 0, fault.New("page read", fault.Closed, "the snapshot was released")
	}
	if off >= 0 && off <= headerSize-int64(len(p)) && sn.v.pages > 0 {
		return sn.readHeader(p, off)
	}
	return readRange(p, off, sn.Size(), func(page uint32, part []byte, from int) error {
		return sn.s.readPage(sn.v.sequence, page, part, from)
	})
}

// readHeader reads within the first bytes, which are kept at hand.
func (sn *Snapshot) readHeader(p []byte, off int64) (int, error) {
	h := sn.v.header.Load()
	if h == nil {
		h = new([headerSize]byte)
		if err := sn.s.readPage(sn.v.sequence, 0, h[:], 0); err != nil {
			return 0, err
		}
		sn.v.header.Store(h)
	}
	return copy(p, h[off:]), nil
}

// readRange splits a read into pages. read fills part from byte from of page.
func readRange(p []byte, off, size int64, read func(page uint32, part []byte, from int) error) (int, error) {
	if off < 0 {
		return 0, fault.New("page read", fault.Invalid, "a negative offset")
	}
	var end error
	if off >= size {
		return 0, io.EOF
	}
	if int64(len(p)) > size-off {
		p, end = p[:size-off], io.EOF
	}
	for done := 0; done < len(p); {
		page, from := uint32((off+int64(done))/PageSize), int((off+int64(done))%PageSize)
		part := p[done:min(len(p), done+PageSize-from)]
		if err := read(page, part, from); err != nil {
			return done, err
		}
		done += len(part)
	}
	return len(p), end
}

// readPage fills part from byte from of a page that the version has.
func (s *Store) readPage(sequence uint64, page uint32, part []byte, from int) error {
	s.mu.RLock()
	if s.closed {
		s.mu.RUnlock()
		return s.closedError()
	}
	c := s.locate(sequence, page)
	if c.frame != nil {
		// Copied with the lock held: a spill may wipe the frame after it.
		copy(part, c.frame[from:])
		s.mu.RUnlock()
		return nil
	}
	file := s.file
	s.mu.RUnlock()
	return s.readCell(file, page, c, part, from)
}

// readCell fills part from a page that is in the file, or a hole. The caller
// has seen to it that the slot is not used again meanwhile.
func (s *Store) readCell(file disk.File, page uint32, c cell, part []byte, from int) error {
	if c.at.slot == 0 {
		clear(part)
		return nil
	}
	b := scratches.Get().(*scratch)
	defer scratches.Put(b)
	if from == 0 && len(part) == PageSize {
		if err := s.openSlot(file, b, part[:0:payloadSize], kindPage, 0, page, c.at); err != nil {
			return err
		}
		clear(part[payloadSize:])
		return nil
	}
	defer clear(b.plain[:])
	if err := s.openSlot(file, b, b.plain[:0:payloadSize], kindPage, 0, page, c.at); err != nil {
		return err
	}
	copy(part, b.plain[from:])
	return nil
}

// scratch is what opening a slot needs, so that it allocates nothing.
type scratch struct {
	sealed [PageSize]byte
	plain  [PageSize]byte // wiped after use; the reserved bytes stay zero
	place  [placeSize]byte
}

var scratches = sync.Pool{New: func() any { return new(scratch) }}

// openSlot reads the slot that an entry names and appends its payloadSize
// bytes of plaintext to dst.
func (s *Store) openSlot(file disk.File, b *scratch, dst []byte, k kind, level int, number uint32, at entry) error {
	n, err := file.ReadAt(b.sealed[:], slotOffset(at.slot))
	if n < PageSize {
		return s.readError(at.slot, err)
	}
	if [tagPrefix]byte(b.sealed[tagAt:]) != at.tag {
		return s.corrupt(at.slot, "%s %d is damaged or of another version: remove the projection file, it is rebuilt from the log", what(k), number)
	}
	key, err := s.keys.get(binary.LittleEndian.Uint32(b.sealed[generationAt:]))
	if err != nil && !fault.Is(err, fault.NotFound) { // a generation that never was is damage
		return err
	}
	if err == nil {
		putPlace(&b.place, k, level, number, at.slot)
		_, err = key.Open(dst, b.sealed[:sealedSize], b.place[:])
	}
	if err != nil {
		return s.corrupt(at.slot, "%s %d is damaged: remove the projection file, it is rebuilt from the log", what(k), number)
	}
	return nil
}

// readError is for a slot that could not be read in full.
func (s *Store) readError(slot uint32, err error) error {
	switch {
	case err == nil || errors.Is(err, io.EOF):
		return s.corrupt(slot, "the file is cut short: remove the projection file, it is rebuilt from the log")
	case s.isClosed():
		return s.closedError()
	}
	return fault.Wrap("page read", fault.Unavailable, err, "the projection file cannot be read").ForTenant(s.o.Tenant)
}

func (s *Store) isClosed() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.closed
}

func what(k kind) string {
	if k == kindPage {
		return "page"
	}
	return "table node"
}
