package pagestore

import (
	"cmp"
	"slices"
)

func byPage(a, b item) int { return cmp.Compare(a.page, b.page) }

// spill writes committed pages to slots that no root refers to, so that
// memory stays bounded. Pages that only old snapshots need go first, then the
// ones that were written the longest ago. It is an attempt: after an error
// they stay in memory, and a failed disk stops the store for later calls.
func (s *Store) spill() {
	s.mu.RLock()
	resident := s.resident()
	s.mu.RUnlock()
	// A Flush under way writes the same pages. Wait for it only when memory
	// has really run over.
	if !s.ioMu.TryLock() {
		if resident < 2*s.o.MaxDirtyPages {
			return
		}
		s.ioMu.Lock()
	}
	defer s.ioMu.Unlock()
	items := s.victims()
	if len(items) == 0 {
		return
	}
	err := s.writeItems("page spill", items, false)
	s.settle(items, err == nil)
}

// resident counts the committed pages in memory. The caller holds mu.
func (s *Store) resident() int { return len(s.memory) + s.oldFrames }

// victims picks the pages to spill and holds their frames, so that they are
// not wiped while they are sealed. It takes an eighth more than it must, so
// that the next commits need not spill again.
func (s *Store) victims() []item {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.failed != nil {
		return nil
	}
	excess := s.resident() - s.o.MaxDirtyPages + s.o.MaxDirtyPages/8
	var items []item
	if s.oldFrames > 0 {
		items = s.oldItems()
	}
	if len(items) < excess {
		items = append(items, s.oldest(excess-len(items))...)
	}
	slices.SortFunc(items, byPage)
	for _, it := range items {
		s.held[it.frame] = false
	}
	return items
}

// oldItems returns the frames that only old versions need.
func (s *Store) oldItems() []item {
	items := make([]item, 0, s.oldFrames)
	for page, cells := range s.old {
		for _, c := range cells {
			if c.frame != nil {
				items = append(items, item{page: page, frame: c.frame})
			}
		}
	}
	return items
}

// oldest returns the n pages of the latest version that have been in memory
// for the longest.
func (s *Store) oldest(n int) []item {
	type aged struct {
		item
		since uint64
	}
	all := make([]aged, 0, len(s.memory))
	for page, r := range s.memory {
		all = append(all, aged{item{page: page, frame: r.frame}, r.since})
	}
	slices.SortFunc(all, func(a, b aged) int {
		return cmp.Or(cmp.Compare(a.since, b.since), cmp.Compare(a.page, b.page))
	})
	items := make([]item, 0, n)
	for _, a := range all[:min(n, len(all))] {
		items = append(items, a.item)
	}
	return items
}

// settle ends the hold on frames. When they were written, whoever refers to a
// frame now refers to its slot; a slot that nobody needs any more is free.
func (s *Store) settle(items []item, written bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, it := range items {
		orphan := s.held[it.frame]
		delete(s.held, it.frame)
		switch {
		case orphan:
			freeFrame(it.frame)
			if written {
				s.giveBack([]uint32{it.at.slot})
			}
		case written && !s.closed:
			s.move(it)
		}
	}
	s.spillAt = 0
	if !written {
		s.spillAt = s.resident() + s.o.MaxDirtyPages/4
	}
	s.overfull.Store(s.resident() >= hardFactor*s.o.MaxDirtyPages)
}

// move makes the owner of a frame refer to the slot that it was written to.
// The caller holds mu.
func (s *Store) move(it item) {
	if r, ok := s.memory[it.page]; ok && r.frame == it.frame {
		s.table[it.page] = it.at
		delete(s.memory, it.page)
		s.recycle(it.frame)
		return
	}
	cells := s.old[it.page]
	at := slices.IndexFunc(cells, func(c oldCell) bool { return c.frame == it.frame })
	if at < 0 {
		panic("pagestore: a page was lost while it was written")
	}
	cells[at].cell = cell{at: it.at}
	s.oldFrames--
	if s.slots.isKept(it.at.slot) {
		s.dropped = append(s.dropped, it.at.slot)
	}
	s.recycle(it.frame)
}
