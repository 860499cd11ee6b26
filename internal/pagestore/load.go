package pagestore

import (
	"errors"
	"io"

	"kimberlite/internal/disk"
	"kimberlite/internal/fault"
)

// load reads root and page table of a file into an empty store.
func (s *Store) load(file disk.File) error {
	size, err := file.Size()
	if err != nil {
		return s.accessError("page open", err)
	}
	r, err := s.loadRoot(file)
	if err != nil {
		return err
	}
	s.file, s.named, s.sequence = file, true, r.sequence
	s.fileBytes.Store(size)
	s.slots.grow(uint32(min(uint64(size/PageSize), inMemory-1)))
	s.latest.pages, s.latest.meta = uint32(r.pages), r.meta
	counts := levelsFor(r.pages)
	s.nodes = make([][]entry, r.levels)
	entries := r.entries
	for level := r.levels; level > 0; level-- {
		s.nodes[level-1] = entries
		if err := s.claim(entries, size, false); err != nil {
			return err
		}
		if entries, err = s.loadLevel(file, level, entries, counts[level-1], r.slots); err != nil {
			return err
		}
	}
	s.table = entries
	return s.claim(entries, size, true)
}

// claim marks the slots of the durable root, live when they hold pages.
func (s *Store) claim(entries []entry, size int64, live bool) error {
	for _, at := range entries {
		switch {
		case at.slot == 0:
			continue
		case slotOffset(at.slot)+PageSize > size:
			return s.corrupt(at.slot, "the file is cut short: remove the projection file, it is rebuilt from the log")
		case !s.slots.isFree(at.slot):
			return s.corrupt(at.slot, "the slot is named twice by the page table: remove the projection file, it is rebuilt from the log")
		}
		s.slots.mark(at.slot, live, true)
	}
	return nil
}

// loadLevel reads the nodes of a level and returns the count entries that
// they have of the level below.
func (s *Store) loadLevel(file disk.File, level int, nodes []entry, count, slots uint64) ([]entry, error) {
	b := scratches.Get().(*scratch)
	defer scratches.Put(b)
	entries := make([]entry, 0, count)
	for number, at := range nodes {
		if err := s.openSlot(file, b, b.plain[:0:payloadSize], kindNode, level, uint32(number), at); err != nil {
			return nil, err
		}
		part := int(min(nodeFanout, count-uint64(len(entries))))
		some, err := decodeNode(b.plain[:payloadSize], part, slots, level > 1)
		clear(b.plain[:])
		if err != nil {
			return nil, s.corrupt(at.slot, "%v: remove the projection file, it is rebuilt from the log", err)
		}
		entries = append(entries, some...)
	}
	return entries, nil
}

// loadRoot reads both root slots and returns the newer one that opens.
func (s *Store) loadRoot(file disk.File) (root, error) {
	var best root
	var first error
	for slot := range rootSlots {
		r, k, err := s.openRoot(file, slot)
		switch {
		case err == nil && best.sequence != 0 && k.fileID != s.keys.fileID:
			return root{}, s.corrupt(uint32(slot), "the two roots are of different files: remove the projection file, it is rebuilt from the log")
		case err == nil && r.sequence > best.sequence:
			best, s.keys = r, k
		case err != nil && !fault.Is(err, fault.Corruption):
			return root{}, err
		case err != nil && first == nil:
			first = err
		}
	}
	if best.sequence == 0 {
		return root{}, first
	}
	return best, nil
}

// openRoot reads one root slot. Whatever is wrong with it is a Corruption,
// except a key that is not at hand and a file that cannot be read.
func (s *Store) openRoot(file disk.File, slot int) (root, *keys, error) {
	damaged := func(err error) (root, *keys, error) {
		return root{}, nil, s.corrupt(uint32(slot), "no root of the projection file opens (%v): remove the file, it is rebuilt from the log", err)
	}
	b := make([]byte, PageSize)
	if n, err := file.ReadAt(b, slotOffset(uint32(slot))); err != nil && !errors.Is(err, io.EOF) {
		return root{}, nil, s.readError(uint32(slot), err)
	} else if n < PageSize {
		clear(b[n:])
	}
	h, err := decodeHeader(b)
	if err != nil {
		return damaged(err)
	}
	k := newKeys(s.o.Keys, s.o.Tenant, h.fileID)
	key, err := k.get(h.generation)
	switch {
	case err != nil && fault.Is(err, fault.NotFound):
		return damaged(err)
	case err != nil:
		return root{}, nil, fault.Wrap("page open", keyKind(err), err, "the tenant's key generation %d is not at hand", h.generation).ForTenant(s.o.Tenant)
	}
	body, err := key.Open(nil, b[rootHeader:], rootPlace(slot, s.o.Tenant.Uint64(), b))
	if err != nil {
		return damaged(err)
	}
	r, err := decodeRoot(body)
	if err == nil && (r.tenant != s.o.Tenant.Uint64() || r.sequence%rootSlots != uint64(slot)) {
		err = errors.New("the root belongs to another place")
	}
	if err != nil {
		return damaged(err)
	}
	return r, k, nil
}
