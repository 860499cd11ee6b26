package directory

import "math"

// index finds slots by hash: open addressing in many small parts, so that it
// grows a part at a time, and 8 bytes an entry, so that a look-up touches one
// line of memory before the record's. Go's own map takes twice the memory, and
// two lines more.
type index struct {
	parts [indexParts]part
}

const (
	indexPartBits = 12
	indexParts    = 1 << indexPartBits
	minPartSize   = 4
)

// part is a table with linear probing, of a power of two entries or none.
type part struct {
	// entries are the low half of the hash, above the slot and 1; 0 is none.
	entries []uint64
	used    int
}

// seek is the state of a search for a hash.
type seek struct {
	p    *part
	i    int
	want uint64
}

func (x *index) seek(hash uint64) seek {
	p := &x.parts[hash>>(64-indexPartBits)]
	return seek{p: p, want: hash & math.MaxUint32, i: int(uint32(hash)) & (len(p.entries) - 1)}
}

// next returns the next slot that may be the one that is searched for.
func (s *seek) next() (slot uint32, ok bool) {
	if len(s.p.entries) == 0 {
		return 0, false
	}
	for mask := len(s.p.entries) - 1; ; {
		e := s.p.entries[s.i]
		if e == 0 {
			return 0, false
		}
		s.i = (s.i + 1) & mask
		if e>>32 == s.want {
			return uint32(e) - 1, true
		}
	}
}

// add puts in a slot that is not there.
func (x *index) add(hash uint64, slot uint32) {
	p := &x.parts[hash>>(64-indexPartBits)]
	if 4*(p.used+1) > 3*len(p.entries) {
		old := p.entries
		p.entries = make([]uint64, max(minPartSize, 2*len(old)))
		for _, e := range old {
			if e != 0 {
				p.put(e)
			}
		}
	}
	p.put(uint64(uint32(hash))<<32 | uint64(slot+1))
	p.used++
}

func (p *part) put(e uint64) {
	mask := len(p.entries) - 1
	i := int(e>>32) & mask
	for p.entries[i] != 0 {
		i = (i + 1) & mask
	}
	p.entries[i] = e
}

// remove takes out a slot that is there, and closes the gap.
func (x *index) remove(hash uint64, slot uint32) {
	p := &x.parts[hash>>(64-indexPartBits)]
	mask := len(p.entries) - 1
	want := uint64(uint32(hash))<<32 | uint64(slot+1)
	i := int(uint32(hash)) & mask
	for p.entries[i] != want {
		i = (i + 1) & mask
	}
	for j := i; ; {
		j = (j + 1) & mask
		e := p.entries[j]
		if e == 0 {
			break
		}
		// One that began its search behind the gap stays where it is.
		if home := int(e>>32) & mask; (j-home)&mask >= (j-i)&mask {
			p.entries[i] = e
			i = j
		}
	}
	p.entries[i] = 0
	p.used--
}
