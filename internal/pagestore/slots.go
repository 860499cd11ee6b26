package pagestore

import "math/bits"

// slots says which slots of the file may be written.
//
// A slot is live when the current table, an older version that a snapshot
// pins, or an open batch has its page there. It is kept when the last durable
// root, or the one being written, refers to it. It is free when it is neither.
// The zero value is not usable; the caller locks.
type slots struct {
	live []uint64
	kept []uint64
	// count is how many slots there are, roots included: the end of the file
	// once every slot handed out is written.
	count uint32
	// free is how many slots below count are free.
	free uint32
	// hint is a word below which no slot is free.
	hint int
}

func newSlots() slots {
	s := slots{}
	s.grow(rootSlots)
	s.setKept(0)
	s.setKept(1)
	return s
}

// grow makes room for count slots; the new ones are free.
func (s *slots) grow(count uint32) {
	if count <= s.count {
		return
	}
	for uint32(len(s.live)*64) < count {
		s.live = append(s.live, 0)
		s.kept = append(s.kept, 0)
	}
	s.hint = min(s.hint, int(s.count/64))
	s.free += count - s.count
	s.count = count
}

// take returns a free slot, marked live or kept. It returns false when the
// numbers have run out.
func (s *slots) take(live, kept bool) (uint32, bool) {
	if s.free == 0 {
		if s.count >= inMemory-1 {
			return 0, false
		}
		s.grow(s.count + 1)
	}
	for {
		if used := s.live[s.hint] | s.kept[s.hint]; used != ^uint64(0) {
			slot := uint32(s.hint*64 + bits.TrailingZeros64(^used))
			if slot >= s.count {
				panic("pagestore: the count of free slots is wrong")
			}
			s.mark(slot, live, kept)
			return slot, true
		}
		s.hint++
	}
}

func (s *slots) mark(slot uint32, live, kept bool) {
	if s.isFree(slot) && (live || kept) {
		s.free--
	}
	bit := uint64(1) << (slot % 64)
	if live {
		s.live[slot/64] |= bit
	}
	if kept {
		s.kept[slot/64] |= bit
	}
}

func (s *slots) isFree(slot uint32) bool {
	return (s.live[slot/64]|s.kept[slot/64])>>(slot%64)&1 == 0
}

func (s *slots) isKept(slot uint32) bool { return s.kept[slot/64]>>(slot%64)&1 == 1 }

func (s *slots) isLive(slot uint32) bool { return s.live[slot/64]>>(slot%64)&1 == 1 }

func (s *slots) setKept(slot uint32) { s.mark(slot, false, true) }

func (s *slots) clearLive(slot uint32) {
	if !s.isLive(slot) {
		panic("pagestore: a slot was let go twice")
	}
	s.live[slot/64] &^= 1 << (slot % 64)
	s.freed(slot)
}

func (s *slots) clearKept(slot uint32) {
	if !s.isKept(slot) {
		panic("pagestore: a kept slot was let go twice")
	}
	s.kept[slot/64] &^= 1 << (slot % 64)
	s.freed(slot)
}

func (s *slots) freed(slot uint32) {
	if s.isFree(slot) {
		s.free++
		s.hint = min(s.hint, int(slot/64))
	}
}

// tail returns the first slot of the run of free slots at the end.
func (s *slots) tail() uint32 {
	end := s.count
	for end > rootSlots && s.isFree(end-1) {
		end--
	}
	return end
}

// cut forgets the slots from end on, which must be free.
func (s *slots) cut(end uint32) {
	s.free -= s.count - end
	s.count = end
	words := int((end + 63) / 64)
	s.live, s.kept = s.live[:words], s.kept[:words]
	s.hint = min(s.hint, words-1)
}
