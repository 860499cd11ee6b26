package pagestore

import (
	"math/bits"
	"sync"
)

// frame is a page's plaintext in memory. Its reserved bytes are zero.
type frame [PageSize]byte

// frames are zeroed frames to use again, for all stores.
var frames = sync.Pool{New: func() any { return new(frame) }}

func newFrame() *frame { return frames.Get().(*frame) }

// freeFrame gives a frame back, wiped. A nil frame is ignored.
func freeFrame(f *frame) {
	if f == nil {
		return
	}
	clear(f[:])
	frames.Put(f)
}

// recycle lets a frame go, or leaves that to whoever is sealing it. The
// caller holds mu.
func (s *Store) recycle(f *frame) {
	if f == nil {
		return
	}
	if _, ok := s.held[f]; ok {
		s.held[f] = true
		return
	}
	freeFrame(f)
}

// pageSet is a set of page numbers, one bit each.
type pageSet struct {
	bits  []uint64
	count int
}

func (p *pageSet) add(page uint32) {
	word := int(page / 64)
	if word >= len(p.bits) {
		grown := make([]uint64, max(word+1, 2*len(p.bits)))
		copy(grown, p.bits)
		p.bits = grown
	}
	if bit := uint64(1) << (page % 64); p.bits[word]&bit == 0 {
		p.bits[word] |= bit
		p.count++
	}
}

// each calls f for every member in order until it returns false.
func (p *pageSet) each(f func(page uint32) bool) {
	for word, set := range p.bits {
		for ; set != 0; set &= set - 1 {
			if !f(uint32(word*64 + bits.TrailingZeros64(set))) {
				return
			}
		}
	}
}

// addAll adds the members of q.
func (p *pageSet) addAll(q *pageSet) {
	q.each(func(page uint32) bool {
		p.add(page)
		return true
	})
}
