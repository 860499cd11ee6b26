package pagestore

import (
	"path/filepath"
	"slices"

	"kimberlite/internal/disk"
)

// flush is one Flush under way. The version that it writes is pinned, so that
// its pages stay where they are while newer versions are published.
type flush struct {
	s *Store
	v *version
	// items are the version's pages that were in memory.
	items []item
	// dropping are slots of the durable root that the version does not use.
	dropping []uint32
	// nodes are the version's table nodes, made the slots of those that are
	// new, unused those of the durable root that they replace.
	nodes        [][]entry
	made, unused []uint32
	// meta says that the version's meta data has changed.
	meta bool
	// rooted says that writing the root was begun: it may be on the disk.
	rooted bool
}

// Flush makes the latest committed version durable: pages and table nodes are
// written to free slots and synced, then the root is written and synced. When
// it returns nil, a crash finds this version or a later one. Snapshots, an
// open batch and commits may go on beside it.
//
// DiskFull means that nothing was lost and that a later Flush may succeed.
// After any other error of a write or sync the store is Stopped: reads go on,
// every later Commit and Flush fails.
func (s *Store) Flush() error {
	s.ioMu.Lock()
	defer s.ioMu.Unlock()
	f, err := s.beginFlush()
	if f == nil {
		return err
	}
	err = f.write()
	f.end(err)
	return err
}

// beginFlush pins the latest version and takes over what has changed. It
// returns nil when there is nothing to do or nothing can be done.
func (s *Store) beginFlush() (*flush, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(); err != nil || s.pending.count == 0 && !s.metaPending {
		return nil, err
	}
	f := &flush{s: s, v: s.pin(), dropping: s.dropped, meta: s.metaPending}
	s.dropped, s.metaPending = nil, false
	s.flushing, s.pending = s.pending, pageSet{}
	for page, r := range s.memory {
		f.items = append(f.items, item{page: page, frame: r.frame})
		s.held[r.frame] = false
	}
	// Slots that were spilled to are part of the root to come.
	s.flushing.each(func(page uint32) bool {
		if page >= f.v.pages {
			return false
		}
		if at := s.table[page]; at.stored() && !s.slots.isKept(at.slot) {
			s.slots.setKept(at.slot)
		}
		return true
	})
	slices.SortFunc(f.items, byPage)
	return f, nil
}

// write does the input and output of a Flush.
func (f *flush) write() error {
	s := f.s
	err := s.writeItems("page flush", f.items, true)
	s.settle(f.items, err == nil)
	if err != nil {
		return err
	}
	file, err := s.ensureFile()
	if err != nil {
		return err
	}
	if err := f.writeNodes(); err != nil {
		return err
	}
	// A file without a name is not looked at after a crash, so that one sync
	// is enough for pages and root.
	if s.named {
		if err := file.Sync(); err != nil {
			return s.stop("page flush", err)
		}
	}
	if err := f.writeRoot(file); err != nil {
		return err
	}
	if err := file.Sync(); err != nil {
		return s.stop("page flush", err)
	}
	return f.name()
}

// name gives a new file its name once there is a root in it.
func (f *flush) name() error {
	s := f.s
	if s.named {
		return nil
	}
	if err := s.o.FS.Rename(s.o.Path+tmpSuffix, s.o.Path); err != nil {
		return s.writeError("page flush", err)
	}
	if err := s.o.FS.SyncDir(filepath.Dir(s.o.Path)); err != nil {
		return s.stop("page flush", err)
	}
	return nil
}

// writeNodes writes the table nodes that differ from the durable root's.
func (f *flush) writeNodes() error {
	s := f.s
	counts := levelsFor(uint64(f.v.pages))
	f.nodes = make([][]entry, len(counts)-1)
	changed := &s.flushing
	for level := 1; level < len(counts); level++ {
		f.nodes[level-1] = make([]entry, counts[level])
		var before []entry
		if level <= len(s.nodes) {
			before = s.nodes[level-1]
		}
		copy(f.nodes[level-1], before)
		stale := staleNodes(changed, len(before), int(counts[level]))
		if err := f.writeLevel(level, stale, counts[level-1]); err != nil {
			return err
		}
		for _, number := range stale {
			if int(number) < len(before) {
				f.unused = append(f.unused, before[number].slot)
			}
		}
		for _, at := range before[min(len(before), int(counts[level])):] {
			f.unused = append(f.unused, at.slot)
		}
		changed = &pageSet{}
		for _, number := range stale {
			changed.add(number)
		}
	}
	for level := len(counts); level <= len(s.nodes); level++ {
		for _, at := range s.nodes[level-1] {
			f.unused = append(f.unused, at.slot)
		}
	}
	return nil
}

// staleNodes returns, in order, which of count nodes are to be written: those
// with a changed entry and those that were not there before.
func staleNodes(changed *pageSet, before, count int) []uint32 {
	var stale []uint32
	changed.each(func(number uint32) bool {
		node := number / nodeFanout
		if int(node) >= min(before, count) {
			return false
		}
		if len(stale) == 0 || stale[len(stale)-1] != node {
			stale = append(stale, node)
		}
		return true
	})
	for node := before; node < count; node++ {
		stale = append(stale, uint32(node))
	}
	return stale
}

// writeLevel writes some nodes of a level above below entries.
func (f *flush) writeLevel(level int, stale []uint32, below uint64) error {
	s := f.s
	w, err := s.newWriter()
	if err != nil {
		return err
	}
	defer w.close()
	taken, err := s.takeSlots(len(stale), false, true)
	if err != nil {
		return err
	}
	f.made = append(f.made, taken...)
	var plain [payloadSize]byte
	for i, number := range stale {
		first := uint64(number) * nodeFanout
		encodeNode(plain[:], f.entries(level-1, first, min(below, first+nodeFanout)))
		at, err := w.add(kindNode, level, number, taken[i], plain[:])
		if err != nil {
			return s.writeError("page flush", err)
		}
		f.nodes[level-1][number] = at
	}
	if err := w.flush(); err != nil {
		return s.writeError("page flush", err)
	}
	return nil
}

// entries returns the version's entries from first to before end of a level.
func (f *flush) entries(level int, first, end uint64) []entry {
	if level > 0 {
		return f.nodes[level-1][first:end]
	}
	entries := make([]entry, 0, end-first)
	f.s.mu.RLock()
	defer f.s.mu.RUnlock()
	for page := first; page < end; page++ {
		entries = append(entries, f.s.locate(f.v.sequence, uint32(page)).at)
	}
	return entries
}

// writeRoot writes the next root over the older of the two.
func (f *flush) writeRoot(file disk.File) error {
	s := f.s
	generation, key, err := s.keys.current()
	if err != nil {
		return err
	}
	counts := levelsFor(uint64(f.v.pages))
	top := len(counts) - 1
	s.mu.RLock()
	slots := uint64(s.slots.count)
	s.mu.RUnlock()
	r := root{
		sequence: s.sequence + 1,
		tenant:   s.o.Tenant.Uint64(),
		pages:    uint64(f.v.pages),
		slots:    slots,
		levels:   top,
		entries:  f.entries(top, 0, counts[top]),
		meta:     f.v.meta,
	}
	body := make([]byte, rootBody)
	encodeRoot(body, r)
	slot := int(r.sequence % rootSlots)
	sealed := make([]byte, rootHeader, PageSize)
	encodeHeader(sealed, header{fileID: s.keys.fileID, generation: generation})
	sealed = key.Seal(sealed, body, rootPlace(slot, r.tenant, sealed))
	f.rooted = true
	if _, err := file.WriteAt(sealed, slotOffset(uint32(slot))); err != nil {
		return s.writeError("page flush", err)
	}
	grow(&s.fileBytes, slotOffset(uint32(slot)+1))
	return nil
}

// end publishes what the Flush did: after success the slots that only the
// root before used are free, after an error everything is as before it.
func (f *flush) end(err error) {
	s := f.s
	s.mu.Lock()
	if err == nil {
		for _, slot := range slices.Concat(f.dropping, f.unused) {
			s.slots.clearKept(slot)
		}
		s.nodes = f.nodes
		s.sequence++
		s.named = true
		s.shorten()
	} else {
		s.dropped = append(s.dropped, f.dropping...)
		if f.rooted {
			s.dropped = append(s.dropped, f.made...) // the root may be there after all
		} else {
			s.giveBack(f.made)
		}
		s.pending.addAll(&s.flushing)
		s.metaPending = s.metaPending || f.meta
	}
	s.flushing = pageSet{}
	s.mu.Unlock()
	s.unpin(f.v)
}

// Limits of shortening the file: at least so many free slots at its end, and
// at least a quarter of it.
const (
	shortenSlots = 256
	shortenPart  = 4
)

// shorten cuts free slots off the end of the file. The caller holds ioMu and
// mu: nobody takes a slot meanwhile.
func (s *Store) shorten() {
	end := s.slots.tail()
	if free := s.slots.count - end; free < shortenSlots || free < s.slots.count/shortenPart {
		return
	}
	if s.file.Truncate(slotOffset(end)) != nil {
		return // only room is lost: the slots stay free
	}
	s.slots.cut(end)
	s.fileBytes.Store(slotOffset(end))
}
