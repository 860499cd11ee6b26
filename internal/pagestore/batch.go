package pagestore

import (
	"slices"
	"syscall"

	"kimberlite/internal/fault"
)

// Batch is the one writer's uncommitted changes on top of the latest version.
// It is not safe for concurrent use, but snapshots and Flush may go on beside
// it. It ends with Commit or Discard.
type Batch struct {
	s *Store
	// pages is the length now. Pages from cut on, as far as they are not in
	// cells, were cut off since and read as zeros.
	pages, cut uint32
	cells      map[uint32]cell
	// resident counts the frames in cells; at retry the next spill is tried.
	resident, retry int
	changed, ended  bool
	// meta is the next version's, as far as metaSet says so.
	meta    []byte
	metaSet bool
}

// Begin starts a batch on the latest version. It panics when another one is
// open: there is one writer.
func (s *Store) Begin() *Batch {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.batch != nil {
		panic("pagestore: two batches at a time")
	}
	cells := s.spareCells
	s.spareCells = nil
	if cells == nil {
		cells = map[uint32]cell{}
	}
	s.batch = &Batch{s: s, pages: s.latest.pages, cut: s.latest.pages, cells: cells, retry: s.o.MaxDirtyPages}
	return s.batch
}

// maxSpareCells bounds the map that is kept from one batch to the next.
const maxSpareCells = 64

// spare hands the map of an ended batch on to the next. The caller holds mu.
func (b *Batch) spare() {
	if len(b.cells) <= maxSpareCells {
		clear(b.cells)
		b.s.spareCells = b.cells
	}
	b.cells = nil
}

// Size returns the length in bytes, a multiple of [PageSize].
func (b *Batch) Size() int64 { return int64(b.pages) * PageSize }

// ReadAt implements [io.ReaderAt]; it sees the batch's own changes.
func (b *Batch) ReadAt(p []byte, off int64) (int, error) {
	if b.ended {
		return 0, b.endedError()
	}
	return readRange(p, off, b.Size(), b.read)
}

// read fills part from byte from of a page below b.pages.
func (b *Batch) read(page uint32, part []byte, from int) error {
	c, ok := b.cells[page]
	switch {
	case ok && c.frame != nil:
		copy(part, c.frame[from:])
		return nil
	case ok:
		return b.s.readOwn(page, c, part, from)
	case page >= b.cut:
		clear(part)
		return nil
	}
	return b.s.readPage(latestVersion, page, part, from)
}

// readOwn reads a page of the batch that was spilled.
func (s *Store) readOwn(page uint32, c cell, part []byte, from int) error {
	s.mu.RLock()
	file, closed := s.file, s.closed
	s.mu.RUnlock()
	if closed {
		return s.closedError()
	}
	return s.readCell(file, page, c, part, from)
}

// WriteAt changes bytes at any place. Writing past the end lengthens the
// store to whole pages; what lies between reads as zeros. The reserved bytes
// of a page are passed over. It fails with DiskFull when the batch is larger
// than what memory may hold and the disk has no room, with TooLarge past
// [MaxPages]; then discard the batch.
func (b *Batch) WriteAt(p []byte, off int64) (int, error) {
	switch {
	case b.ended:
		return 0, b.endedError()
	case off < 0:
		return 0, fault.New("page write", fault.Invalid, "a negative offset")
	case off > MaxPages*PageSize-int64(len(p)):
		return 0, fault.New("page write", fault.TooLarge, "a projection has at most %d pages", MaxPages)
	}
	for done := 0; done < len(p); {
		page, from := uint32((off+int64(done))/PageSize), int((off+int64(done))%PageSize)
		part := p[done:min(len(p), done+PageSize-from)]
		if err := b.write(page, part, from); err != nil {
			return done, err
		}
		done += len(part)
	}
	return len(p), nil
}

func (b *Batch) write(page uint32, part []byte, from int) error {
	c, ok := b.cells[page]
	if c.frame == nil {
		if err := b.makeRoom(); err != nil {
			return err
		}
		f := newFrame()
		if whole := from == 0 && len(part) >= payloadSize; !whole && page < b.pages {
			if err := b.read(page, f[:], 0); err != nil {
				freeFrame(f)
				return err
			}
		}
		if ok {
			b.free(c)
		}
		c = memoryCell(f)
		b.cells[page] = c
		b.resident++
	}
	if from < payloadSize {
		copy(c.frame[from:payloadSize], part)
	}
	b.pages = max(b.pages, page+1)
	b.changed = true
	return nil
}

// free lets a cell of the batch go.
func (b *Batch) free(c cell) {
	if c.frame != nil {
		b.resident--
		freeFrame(c.frame)
		return
	}
	b.s.mu.Lock()
	defer b.s.mu.Unlock()
	b.s.slots.clearLive(c.at.slot)
}

// Truncate sets the length, a multiple of [PageSize]. What it adds reads as
// zeros.
func (b *Batch) Truncate(size int64) error {
	switch {
	case b.ended:
		return b.endedError()
	case size < 0 || size%PageSize != 0:
		return fault.New("page write", fault.Invalid, "the length %d is not a multiple of %d", size, PageSize)
	case size > MaxPages*PageSize:
		return fault.New("page write", fault.TooLarge, "a projection has at most %d pages", MaxPages)
	}
	pages := uint32(size / PageSize)
	if pages == b.pages {
		return nil
	}
	if pages < b.pages {
		for page, c := range b.cells {
			if page >= pages {
				b.free(c)
				delete(b.cells, page)
			}
		}
		b.cut = min(b.cut, pages)
	}
	b.pages = pages
	b.changed = true
	return nil
}

// SetMeta gives the version that the batch makes other meta data: bytes that
// mean nothing to the store, published, made durable and found again with the
// version's pages, and handed on to the versions after it until a batch sets
// others. They are kept, not copied. It fails with TooLarge past [MaxMeta].
func (b *Batch) SetMeta(meta []byte) error {
	switch {
	case b.ended:
		return b.endedError()
	case len(meta) > MaxMeta:
		return fault.New("page write", fault.TooLarge, "%d bytes of meta data, the limit is %d", len(meta), MaxMeta)
	}
	b.meta, b.metaSet = meta, true
	return nil
}

// Commit publishes the batch as the latest version: every later Snapshot sees
// all of it, none before sees any of it. It does not make it durable. The
// batch has ended, and was discarded if there is an error: Stopped after a
// write has failed, Closed after Close.
func (b *Batch) Commit() error {
	if b.ended {
		return b.endedError()
	}
	s := b.s
	s.mu.Lock()
	if err := s.usable(); err != nil {
		s.mu.Unlock()
		b.Discard()
		return err
	}
	b.ended = true
	s.batch = nil
	if b.changed || b.metaSet {
		next := &version{sequence: s.latest.sequence + 1, pages: b.pages, meta: s.latest.meta}
		if b.metaSet {
			next.meta = b.meta
			s.metaPending = true
		}
		next.header.Store(b.header())
		s.publish(next, func() { b.apply(next.sequence) })
	}
	b.spare()
	crowded := s.resident() > max(s.o.MaxDirtyPages, s.spillAt)
	s.mu.Unlock()
	if crowded {
		s.spill()
	}
	return nil
}

// apply moves the batch's cells into the table.
func (b *Batch) apply(sequence uint64) {
	for page := b.cut; page < b.s.latest.pages; page++ {
		if _, ok := b.cells[page]; !ok {
			b.s.replace(page, cell{}, sequence)
		}
	}
	for page, c := range b.cells {
		b.s.replace(page, c, sequence)
	}
}

// header returns the first bytes of the first page as committed, or nil when
// they are to be read when needed. The first page is never spilled by a batch.
func (b *Batch) header() *[headerSize]byte {
	if c, ok := b.cells[0]; ok {
		h := [headerSize]byte(c.frame[:])
		return &h
	}
	if b.cut == 0 {
		return nil
	}
	return b.s.latest.header.Load()
}

// Discard drops the batch. After Commit or Discard it does nothing.
func (b *Batch) Discard() {
	if b.ended {
		return
	}
	b.ended = true
	s := b.s
	s.mu.Lock()
	defer s.mu.Unlock()
	s.batch = nil
	for _, c := range b.cells {
		freeFrame(c.frame)
		if c.at.stored() {
			s.slots.clearLive(c.at.slot)
		}
	}
	b.spare()
}

func (b *Batch) endedError() error {
	return fault.New("page write", fault.Closed, "the batch has ended")
}

// makeRoom spills the batch's pages when there are too many in memory. While
// the disk is full it lets them grow up to a hard limit, and refuses more when
// committed pages have reached theirs.
func (b *Batch) makeRoom() error {
	limit := b.s.o.MaxDirtyPages
	if b.s.overfull.Load() {
		b.s.spill()
		if b.s.overfull.Load() {
			return b.s.accessError("page write", syscall.ENOSPC)
		}
	}
	if b.resident < max(limit, b.retry) {
		return nil
	}
	err := b.spill()
	if err == nil {
		b.retry = limit
		return nil
	}
	if fault.Is(err, fault.DiskFull) && b.resident < hardFactor*limit {
		b.retry = b.resident + limit/4 + 1
		return nil
	}
	return err
}

// spill writes all pages of the batch but the first to free slots.
func (b *Batch) spill() error {
	items := make([]item, 0, b.resident)
	for page, c := range b.cells {
		if c.frame != nil && page != 0 {
			items = append(items, item{page: page, frame: c.frame})
		}
	}
	if len(items) == 0 {
		return nil
	}
	slices.SortFunc(items, byPage)
	if err := b.s.writeItems("page write", items, false); err != nil {
		return err
	}
	for _, it := range items {
		b.cells[it.page] = cell{at: it.at}
		freeFrame(it.frame)
	}
	b.resident -= len(items)
	return nil
}
