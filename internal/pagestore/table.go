package pagestore

import (
	"slices"
	"sync/atomic"
)

// headerSize is how many bytes at the start of the first page are kept at
// hand with every version: SQLite reads some of them in every transaction.
const headerSize = 100

// version is one committed state. The latest has its pages in Store.table;
// what an older one sees differently is in Store.old.
type version struct {
	sequence uint64
	pages    uint32
	// pins counts the snapshots. It rises only while the version is the
	// latest, with Store.mu held.
	pins atomic.Int64
	// superseded is set when it stops being the latest.
	superseded atomic.Bool
	// header has the first bytes of the first page, nil until they are read.
	header atomic.Pointer[[headerSize]byte]
	// holds are the pages of which Store.old has a cell that this version
	// needs and no newer pinned one. Guarded by Store.mu.
	holds []uint32
	// meta is what the batch that made it was given; it is never changed.
	meta []byte
}

// cell is what one page is at some version: a slot of the file, a frame in
// memory, or a hole.
type cell struct {
	at    entry
	frame *frame // set if and only if at.slot is inMemory
}

func memoryCell(f *frame) cell { return cell{at: entry{slot: inMemory}, frame: f} }

// residence is a page of the latest version that is in memory.
type residence struct {
	frame *frame
	// since is the version that wrote it, to spill the oldest first.
	since uint64
}

// oldCell is what a page was from version first to version last, both
// included. Only versions that are pinned count: first may be too low.
type oldCell struct {
	first, last uint64
	cell
}

// latestVersion reads the latest version, whichever it is.
const latestVersion = ^uint64(0)

// locate returns what a page is at a version. The caller holds mu.
func (s *Store) locate(sequence uint64, page uint32) cell {
	if len(s.old) > 0 {
		for _, c := range s.old[page] {
			if sequence <= c.last {
				return c.cell
			}
		}
	}
	return s.current(page)
}

// current returns what a page is at the latest version.
func (s *Store) current(page uint32) cell {
	at := s.table[page]
	if at.slot != inMemory {
		return cell{at: at}
	}
	return cell{at: at, frame: s.memory[page].frame}
}

// publish makes next the latest version; apply changes the table by
// [Store.replace]. The caller holds mu.
func (s *Store) publish(next *version, apply func()) {
	prev := s.latest
	// The order matters: a Release that takes the last pin without seeing
	// superseded took it before the next line reads the pins.
	prev.superseded.Store(true)
	if prev.pins.Load() > 0 {
		s.pinned = append(s.pinned, prev)
	}
	if grown := int(next.pages) - len(s.table); grown > 0 {
		s.table = append(s.table, make([]entry, grown)...)
		for page := prev.pages; page < next.pages; page++ {
			s.pending.add(page)
		}
	}
	apply()
	s.table = s.table[:next.pages]
	s.latest = next
}

// replace gives a page of the table a new cell within publish.
func (s *Store) replace(page uint32, next cell, sequence uint64) {
	prev := s.current(page)
	s.table[page] = next.at
	if next.frame != nil {
		s.memory[page] = residence{next.frame, sequence}
	} else if prev.frame != nil {
		delete(s.memory, page)
	}
	s.pending.add(page)
	if prev.at.stored() && s.slots.isKept(prev.at.slot) {
		s.dropped = append(s.dropped, prev.at.slot)
	}
	if page < s.latest.pages {
		s.retire(page, prev)
	}
}

// retire takes a cell out of the latest version: a pinned version keeps it
// if it needs it.
func (s *Store) retire(page uint32, c cell) {
	if len(s.pinned) > 0 {
		first := uint64(0)
		if cells := s.old[page]; len(cells) > 0 {
			first = cells[len(cells)-1].last + 1
		}
		if newest := s.pinned[len(s.pinned)-1]; newest.sequence >= first {
			s.old[page] = append(s.old[page], oldCell{first, s.latest.sequence, c})
			newest.holds = append(newest.holds, page)
			if c.frame != nil {
				s.oldFrames++
			}
			return
		}
	}
	s.letGo(c)
}

// letGo ends the use of a cell by any version.
func (s *Store) letGo(c cell) {
	if c.at.stored() {
		s.slots.clearLive(c.at.slot)
	}
	s.recycle(c.frame)
}

// pin adds a pin to the latest version. The caller holds mu, shared at least.
func (s *Store) pin() *version {
	v := s.latest
	v.pins.Add(1)
	return v
}

// unpin takes a pin away and lets go of what only that version needed.
func (s *Store) unpin(v *version) {
	if v.pins.Add(-1) > 0 || !v.superseded.Load() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reclaim(v)
}

// reclaim passes what a version without pins holds on to the next older
// pinned version that needs it, or lets it go. The caller holds mu.
func (s *Store) reclaim(v *version) {
	i := slices.Index(s.pinned, v)
	if i < 0 || s.closed {
		return
	}
	s.pinned = slices.Delete(s.pinned, i, i+1)
	var older *version
	if i > 0 {
		older = s.pinned[i-1]
	}
	for _, page := range v.holds {
		cells := s.old[page]
		at := slices.IndexFunc(cells, func(c oldCell) bool { return v.sequence <= c.last })
		if older != nil && older.sequence >= cells[at].first {
			older.holds = append(older.holds, page)
			continue
		}
		if cells[at].frame != nil {
			s.oldFrames--
		}
		s.letGo(cells[at].cell)
		if len(cells) == 1 {
			delete(s.old, page)
		} else {
			s.old[page] = slices.Delete(cells, at, at+1)
		}
	}
	v.holds = nil
}
