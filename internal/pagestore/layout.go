package pagestore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"kimberlite/internal/seal"
)

// The file is a row of 4096-byte slots:
//
//	slot 0    root, even sequence numbers
//	slot 1    root, odd sequence numbers
//	slot 2..  sealed pages and table nodes, in no order, some of them free
//
// All numbers are little-endian. A root slot:
//
//	offset size
//	     0    8  magic "KLPAGES2"; the digit is the format version
//	     8   16  file id, random, never changed
//	    24    4  key generation
//	    28    4  zero
//	    32   12  nonce   ┐
//	    44 4036  body    │ sealed; the place is 'R', the root slot's number,
//	  4080   16  tag     ┘ the tenant and the 32 clear bytes above
//
// Its body:
//
//	 0    8  sequence number, from 1; the higher valid root counts
//	 8    8  tenant
//	16    8  pages: how many logical pages there are
//	24    8  slots: every slot that is referred to is below it
//	32    4  levels of table nodes below the root: 0 to 3
//	36    4  entries that follow
//	40 3482  up to 290 entries; the rest is zero
//	3522    2  length of the meta data, at most 512
//	3524  512  meta data of the version, opaque here; the rest is zero
//
// An entry, of pages at level 0 and of nodes above:
//
//	0    4  slot; 0 is a hole, a page that reads as zeros
//	4    8  the first 8 bytes of the tag that is in that slot
//
// A page or node slot:
//
//	   0   12  nonce      ┐ sealed; the place is 'P' or 'N', the node's
//	  12 4064  plaintext  │ level, its page or node number and the number
//	4076   16  tag        ┘ of the slot
//	4092    4  key generation
//
// A node's plaintext is 338 entries and 8 zero bytes: node i of level 1 has
// the entries of pages 338·i and up, node i of level k+1 those of nodes 338·i
// and up of level k. Entries past the end are zero. A page's plaintext is its
// first 4064 bytes; the last 32 are SQLite's reserved bytes, always zero.
const (
	// PageSize is the size in bytes of a logical page and of a slot.
	PageSize = 4096
	// Reserved is how many bytes at the end of every logical page are not
	// stored and read back as zeros: SQLite's reserved bytes.
	Reserved = 32
	// MaxPages is how many pages a store holds at most.
	MaxPages = 1 << 30
	// MaxMeta is how many bytes of meta data a version can have.
	MaxMeta = 512

	payloadSize = PageSize - Reserved

	rootSlots  = 2
	rootMagic  = "KLPAGES2"
	rootHeader = 32
	rootBody   = PageSize - rootHeader - seal.Overhead
	rootFixed  = 40
	entrySize  = 12
	tagPrefix  = 8
	rootMeta   = rootBody - MaxMeta - 2
	rootFanout = (rootMeta - rootFixed) / entrySize
	nodeFanout = payloadSize / entrySize
	maxLevels  = 3

	tagAt        = seal.NonceSize + payloadSize
	generationAt = PageSize - 4
	sealedSize   = generationAt
)

// kind says what a slot holds. It is part of the sealed place.
type kind byte

const (
	kindRoot kind = 'R'
	kindPage kind = 'P'
	kindNode kind = 'N'
)

// entry says where a page or node is stored and which version of it.
type entry struct {
	slot uint32
	tag  [tagPrefix]byte
}

// inMemory is the slot of a page whose bytes are only in memory. It is never
// written.
const inMemory = 1<<32 - 1

// stored reports whether the entry names a slot of the file.
func (e entry) stored() bool { return e.slot != 0 && e.slot != inMemory }

// root is what one root slot says, apart from its clear header.
type root struct {
	sequence uint64
	tenant   uint64
	pages    uint64
	slots    uint64
	levels   int
	entries  []entry
	meta     []byte
}

// header is the clear part of a root slot.
type header struct {
	fileID     [16]byte
	generation uint32
}

// levelsFor returns how many entries each level has for a number of pages:
// first the pages, then the nodes of level 1, and so on. The last one fits
// into the root.
func levelsFor(pages uint64) []uint64 {
	counts := []uint64{pages}
	for counts[len(counts)-1] > rootFanout {
		counts = append(counts, (counts[len(counts)-1]+nodeFanout-1)/nodeFanout)
	}
	return counts
}

// slotOffset returns where a slot begins in the file.
func slotOffset(slot uint32) int64 { return int64(slot) * PageSize }

// placeSize is the size of the place of a page or node.
const placeSize = 10

// putPlace writes the place that a page or node is bound to.
func putPlace(dst *[placeSize]byte, k kind, level int, number, slot uint32) {
	dst[0] = byte(k)
	dst[1] = byte(level)
	binary.LittleEndian.PutUint32(dst[2:], number)
	binary.LittleEndian.PutUint32(dst[6:], slot)
}

// rootPlace returns the place that a root's body is bound to.
func rootPlace(slot int, tenant uint64, head []byte) []byte {
	place := make([]byte, 0, 2+8+rootHeader)
	place = append(place, byte(kindRoot), byte(slot))
	place = binary.LittleEndian.AppendUint64(place, tenant)
	return append(place, head[:rootHeader]...)
}

// encodeHeader writes the clear part of a root slot.
func encodeHeader(dst []byte, h header) {
	clear(dst[:rootHeader])
	copy(dst, rootMagic)
	copy(dst[8:], h.fileID[:])
	binary.LittleEndian.PutUint32(dst[24:], h.generation)
}

// errAbsent says that a root slot was never written.
var errAbsent = errors.New("the root slot is empty")

// decodeHeader reads the clear part of a root slot of [PageSize] bytes.
func decodeHeader(b []byte) (header, error) {
	if allZero(b) {
		return header{}, errAbsent
	}
	if string(b[:len(rootMagic)]) != rootMagic {
		return header{}, errors.New("the root slot does not begin with " + rootMagic)
	}
	var h header
	copy(h.fileID[:], b[8:])
	h.generation = binary.LittleEndian.Uint32(b[24:])
	return h, nil
}

// encodeRoot writes a root's body of rootBody bytes.
func encodeRoot(dst []byte, r root) {
	clear(dst[:rootBody])
	binary.LittleEndian.PutUint64(dst, r.sequence)
	binary.LittleEndian.PutUint64(dst[8:], r.tenant)
	binary.LittleEndian.PutUint64(dst[16:], r.pages)
	binary.LittleEndian.PutUint64(dst[24:], r.slots)
	binary.LittleEndian.PutUint32(dst[32:], uint32(r.levels))
	binary.LittleEndian.PutUint32(dst[36:], uint32(len(r.entries)))
	putEntries(dst[rootFixed:], r.entries)
	binary.LittleEndian.PutUint16(dst[rootMeta:], uint16(len(r.meta)))
	copy(dst[rootMeta+2:rootBody], r.meta)
}

// decodeRoot reads a root's opened body and checks every number in it.
func decodeRoot(b []byte) (root, error) {
	if len(b) != rootBody {
		return root{}, fmt.Errorf("the root has %d bytes, not %d", len(b), rootBody)
	}
	r := root{
		sequence: binary.LittleEndian.Uint64(b),
		tenant:   binary.LittleEndian.Uint64(b[8:]),
		pages:    binary.LittleEndian.Uint64(b[16:]),
		slots:    binary.LittleEndian.Uint64(b[24:]),
		levels:   int(binary.LittleEndian.Uint32(b[32:])),
	}
	count := uint64(binary.LittleEndian.Uint32(b[36:]))
	switch {
	case r.sequence == 0:
		return root{}, errors.New("the root's sequence number is 0")
	case r.pages > MaxPages:
		return root{}, fmt.Errorf("the root names %d pages, the limit is %d", r.pages, MaxPages)
	case r.slots < rootSlots || r.slots >= inMemory:
		return root{}, fmt.Errorf("the root names %d slots", r.slots)
	}
	counts := levelsFor(r.pages)
	if r.levels != len(counts)-1 || count != counts[r.levels] {
		return root{}, fmt.Errorf("the root has %d levels and %d entries, which do not fit %d pages", r.levels, count, r.pages)
	}
	entries, err := getEntries(b[rootFixed:rootMeta], int(count), r.slots, r.levels > 0)
	if err != nil {
		return root{}, err
	}
	r.entries = entries
	length := int(binary.LittleEndian.Uint16(b[rootMeta:]))
	if length > MaxMeta || !allZero(b[rootMeta+2+length:]) {
		return root{}, fmt.Errorf("the root's meta data of %d bytes does not add up", length)
	}
	r.meta = slices.Clone(b[rootMeta+2 : rootMeta+2+length])
	return r, nil
}

// encodeNode writes a node's plaintext of payloadSize bytes.
func encodeNode(dst []byte, entries []entry) {
	clear(dst[:payloadSize])
	putEntries(dst, entries)
}

// decodeNode reads a node's opened plaintext: count entries that are below
// slots, without holes when they are nodes themselves.
func decodeNode(b []byte, count int, slots uint64, nodes bool) ([]entry, error) {
	if len(b) != payloadSize {
		return nil, fmt.Errorf("the table node has %d bytes, not %d", len(b), payloadSize)
	}
	if count < 1 || count > nodeFanout {
		return nil, fmt.Errorf("a table node cannot have %d entries", count)
	}
	return getEntries(b, count, slots, nodes)
}

func putEntries(dst []byte, entries []entry) {
	for i, e := range entries {
		if e.slot == inMemory {
			panic("pagestore: a page that is only in memory was about to be named on disk")
		}
		binary.LittleEndian.PutUint32(dst[i*entrySize:], e.slot)
		copy(dst[i*entrySize+4:], e.tag[:])
	}
}

func getEntries(b []byte, count int, slots uint64, nodes bool) ([]entry, error) {
	entries := make([]entry, count)
	for i := range entries {
		e := &entries[i]
		e.slot = binary.LittleEndian.Uint32(b[i*entrySize:])
		copy(e.tag[:], b[i*entrySize+4:])
		switch {
		case e.slot == 0 && (nodes || e.tag != [tagPrefix]byte{}):
			return nil, fmt.Errorf("table entry %d has no slot", i)
		case e.slot != 0 && (e.slot < rootSlots || uint64(e.slot) >= slots):
			return nil, fmt.Errorf("table entry %d names slot %d of %d", i, e.slot, slots)
		}
	}
	if !allZero(b[count*entrySize:]) {
		return nil, errors.New("there are bytes after the last table entry")
	}
	return entries, nil
}

// zeros is what nothing looks like.
var zeros [PageSize]byte

// allZero reports whether at most PageSize bytes are all zero.
func allZero(b []byte) bool { return bytes.Equal(b, zeros[:len(b)]) }
