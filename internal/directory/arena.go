package directory

import "strings"

// chunkBytes is how many bytes of names share one allocation; offsets within
// it fit 16 bits.
const chunkBytes = 1 << 16

// nameRef is where a name is in an arena.
type nameRef struct {
	chunk uint32
	off   uint16
	size  uint8
}

// arena keeps many short strings in few allocations without a pointer each, so
// that the garbage collector has nothing to follow. A chunk is given back when
// the last of its names is dropped.
type arena struct {
	chunks []chunk
	free   []uint32 // chunks without text
	fill   strings.Builder
	filled uint32 // the chunk that fill is
	open   bool   // whether there is one
}

type chunk struct {
	text string
	live uint32 // names in it
}

// put keeps a name of at most 255 bytes.
func (a *arena) put(name string) nameRef {
	if !a.open || a.fill.Len()+len(name) > chunkBytes {
		a.next()
	}
	off := a.fill.Len()
	a.fill.WriteString(name) // never grows: the text before stays where it is
	c := &a.chunks[a.filled]
	c.text = a.fill.String()
	c.live++
	return nameRef{chunk: a.filled, off: uint16(off), size: uint8(len(name))}
}

// next begins another chunk.
func (a *arena) next() {
	if a.open && a.chunks[a.filled].live == 0 {
		a.release(a.filled)
	}
	a.fill = strings.Builder{}
	a.fill.Grow(chunkBytes)
	a.open = true
	if n := len(a.free); n > 0 {
		a.filled, a.free = a.free[n-1], a.free[:n-1]
		return
	}
	a.filled = uint32(len(a.chunks))
	a.chunks = append(a.chunks, chunk{})
}

func (a *arena) release(i uint32) {
	a.chunks[i].text = ""
	a.free = append(a.free, i)
}

// get returns a name without copying it.
func (a *arena) get(r nameRef) string {
	return a.chunks[r.chunk].text[r.off : int(r.off)+int(r.size)]
}

// drop forgets a name.
func (a *arena) drop(r nameRef) {
	c := &a.chunks[r.chunk]
	c.live--
	if c.live == 0 && r.chunk != a.filled {
		a.release(r.chunk)
	}
}
