package keyring

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"kimberlite/internal/ident"
)

// A slot, big-endian, one disk sector:
//
//	  0    4  magic "KLKS"
//	  4    1  format version, 1
//	  5    1  state: 1 free, 2 live
//	  6    2  length n of the wrapped KEK, 0 when free
//	  8    8  tenant, 0 when free
//	 16    4  KEK generation, 0 when free
//	 20    8  sequence: of two slots of one tenant and generation, the higher counts
//	 28    4  place: file number (16 bits), slot number in the file (16 bits)
//	 32    4  reserved, 0
//	 36    4  CRC-32C of bytes 0 to 35
//	 40    n  wrapped KEK
//	40+n  ..  filler: zeros when live, random when free
//	468   40  bytes 0 to 39 again
//	508    4  CRC-32C of bytes 0 to 507
//
// The owner stands at both ends with a checksum of its own, so that damage
// anywhere leaves one that says whose slot it is, and so that a write torn by
// a power loss shows the old owner, the new one, or both. The place is in it,
// so that a slot copied elsewhere is not taken for a slot. A destroyed slot is
// random and not zero: storage that detects zeros may drop the block and keep
// the old bytes.
const (
	slotSize   = 512
	slotFormat = 1
	stateFree  = 1
	stateLive  = 2

	ownerSize = 40
	blobStart = ownerSize
	tailStart = slotSize - 4 - ownerSize
	sumStart  = slotSize - 4

	// MaxWrapped is the longest wrapped KEK that a slot holds, in bytes.
	MaxWrapped = tailStart - blobStart
)

var (
	slotMagic  = [4]byte{'K', 'L', 'K', 'S'}
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

// place is where a slot stands: file number in the upper 16 bits, slot number
// within the file in the lower; slot 0 is the file's head.
type place uint32

func newPlace(file, slot int) place { return place(file)<<16 | place(slot) }
func (p place) file() int           { return int(p >> 16) }
func (p place) slot() int           { return int(p & 0xffff) }
func (p place) offset() int64       { return int64(p.slot()) * slotSize }

// owner is whose a slot is; the zero owner is a free slot's.
type owner struct {
	tenant     ident.TenantID
	generation ident.KeyGeneration
}

// slot is a decoded slot; wrapped points into the bytes it came from.
type slot struct {
	owner
	sequence uint64
	wrapped  []byte
}

// verdict says what the bytes of a slot are.
type verdict int

const (
	live    verdict = iota // whole, holds a key
	free                   // whole, holds none
	torn                   // damaged, but all that is left of it says that it is free
	damaged                // damaged, and its owner is known
	unowned                // damaged, and whose it is cannot be known
)

// encodeOwner writes the 40 bytes that stand at both ends of a slot.
func encodeOwner(b []byte, state byte, s slot, at place) {
	clear(b[:ownerSize])
	copy(b, slotMagic[:])
	b[4], b[5] = slotFormat, state
	binary.BigEndian.PutUint16(b[6:], uint16(len(s.wrapped)))
	binary.BigEndian.PutUint64(b[8:], s.tenant.Uint64())
	binary.BigEndian.PutUint32(b[16:], s.generation.Uint32())
	binary.BigEndian.PutUint64(b[20:], s.sequence)
	binary.BigEndian.PutUint32(b[28:], uint32(at))
	binary.BigEndian.PutUint32(b[36:], crc32.Checksum(b[:36], castagnoli))
}

// encodeLive returns the bytes of a slot that holds a key. It panics on what
// Put has checked: an owner, and 1 to MaxWrapped bytes.
func encodeLive(s slot, at place) *[slotSize]byte {
	if s.tenant.IsZero() || s.generation.IsZero() || len(s.wrapped) == 0 || len(s.wrapped) > MaxWrapped {
		panic(fmt.Sprintf("keyring: slot of tenant %s, generation %s with %d bytes", s.tenant, s.generation, len(s.wrapped)))
	}
	var b [slotSize]byte
	encodeOwner(b[:], stateLive, s, at)
	copy(b[blobStart:tailStart], s.wrapped)
	finishSlot(&b)
	return &b
}

// encodeFree returns the bytes of a slot that holds nothing: random filler.
func encodeFree(at place) *[slotSize]byte {
	var b [slotSize]byte
	_, _ = rand.Read(b[blobStart:tailStart]) // never fails: it ends the process
	encodeOwner(b[:], stateFree, slot{}, at)
	finishSlot(&b)
	return &b
}

func finishSlot(b *[slotSize]byte) {
	copy(b[tailStart:sumStart], b[:ownerSize])
	binary.BigEndian.PutUint32(b[sumStart:], crc32.Checksum(b[:sumStart], castagnoli))
}

// decodeOwner reads one of the two copies; ok is false for anything but what
// encodeOwner writes for this place.
func decodeOwner(b []byte, at place) (s slot, length int, ok bool) {
	if [4]byte(b) != slotMagic || b[4] != slotFormat ||
		crc32.Checksum(b[:36], castagnoli) != binary.BigEndian.Uint32(b[36:]) ||
		place(binary.BigEndian.Uint32(b[28:])) != at || binary.BigEndian.Uint32(b[32:]) != 0 {
		return slot{}, 0, false
	}
	length = int(binary.BigEndian.Uint16(b[6:]))
	generation := ident.NewKeyGeneration(binary.BigEndian.Uint32(b[16:]))
	tenant, err := ident.NewTenantID(binary.BigEndian.Uint64(b[8:]))
	switch b[5] {
	case stateFree:
		return slot{}, 0, err != nil && generation.IsZero() && length == 0 && binary.BigEndian.Uint64(b[20:]) == 0
	case stateLive:
		s = slot{owner: owner{tenant, generation}, sequence: binary.BigEndian.Uint64(b[20:])}
		return s, length, err == nil && !generation.IsZero() && length > 0 && length <= MaxWrapped
	}
	return slot{}, 0, false
}

// decodeSlot reads the slotSize bytes at a place. The owner is set for live
// and damaged, the rest for live only.
func decodeSlot(b []byte, at place) (slot, verdict) {
	head, n, headOK := decodeOwner(b, at)
	tail, _, tailOK := decodeOwner(b[tailStart:], at)
	whole := crc32.Checksum(b[:sumStart], castagnoli) == binary.BigEndian.Uint32(b[sumStart:])
	if whole && headOK && tailOK && [ownerSize]byte(b) == [ownerSize]byte(b[tailStart:]) {
		if head.tenant.IsZero() {
			return slot{}, free
		}
		head.wrapped = b[blobStart : blobStart+n]
		return head, live
	}
	return judgeDamage(head.owner, headOK, tail.owner, tailOK)
}

// judgeDamage says whose a damaged slot is, from what its two ends say.
func judgeDamage(head owner, headOK bool, tail owner, tailOK bool) (slot, verdict) {
	var none owner
	switch {
	case !headOK && !tailOK:
		return slot{}, unowned
	case !headOK || (tailOK && head == none):
		head = tail
	case tailOK && tail != none && tail != head:
		// A slot is freed and synced before it gets its next owner, so no
		// power loss mixes two.
		return slot{}, unowned
	}
	if head == none {
		return slot{}, torn
	}
	return slot{owner: head}, damaged
}
