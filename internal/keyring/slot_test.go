package keyring

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"hash/crc32"
	"testing"
)

func TestSlotRoundTrip(t *testing.T) {
	at := newPlace(3, 17)
	for n := 1; n <= MaxWrapped; n++ {
		s := slot{owner: own(1<<63, 1<<31), sequence: uint64(n) << 50, wrapped: bytes.Repeat([]byte{byte(n)}, n)}
		got, v := decodeSlot(encodeLive(s, at)[:], at)
		if v != live || got.owner != s.owner || got.sequence != s.sequence || !bytes.Equal(got.wrapped, s.wrapped) {
			t.Fatalf("%d bytes: verdict %d, %+v", n, v, got)
		}
	}
	if _, v := decodeSlot(encodeFree(at)[:], at); v != free {
		t.Fatalf("free slot: verdict %d", v)
	}
	one, other := encodeFree(at), encodeFree(at)
	if *one == *other {
		t.Error("destroyed slots are not filled at random")
	}
}

// goldenSlot is a slot of format 1, without its zero filler: tenant 7,
// generation 3, sequence 5, file 1, slot 2, "golden wrapped KEK".
const goldenSlot = "4b4c4b5301020012000000000000000700000003000000000000000500010002000000008ccfe12f676f6c64656e2077726170706564204b454b4b4c4b5301020012000000000000000700000003000000000000000500010002000000008ccfe12f8a1ea736"

func TestSlotOfFormat1IsReadForEver(t *testing.T) {
	at := newPlace(1, 2)
	s := slot{owner: own(7, 3), sequence: 5, wrapped: []byte("golden wrapped KEK")}
	b := encodeLive(s, at)
	short := append(bytes.Clone(b[:blobStart+len(s.wrapped)]), b[tailStart:]...)
	if got := hex.EncodeToString(short); got != goldenSlot {
		t.Errorf("a slot is written as %s", got)
	}
}

func TestEveryFlippedByteOfASlotIsDamageWithItsOwner(t *testing.T) {
	at := newPlace(1, 2)
	whole := encodeLive(slot{owner: own(7, 3), sequence: 5, wrapped: blobOf(7, 3)}, at)
	empty := encodeFree(at)
	for i := range whole {
		for bit := range 8 {
			b := *whole
			b[i] ^= 1 << bit
			if s, v := decodeSlot(b[:], at); v != damaged || s.owner != own(7, 3) {
				t.Fatalf("byte %d, bit %d: verdict %d, owner %v", i, bit, v, s.owner)
			}
			b = *empty
			b[i] ^= 1 << bit
			if _, v := decodeSlot(b[:], at); v != torn {
				t.Fatalf("free slot, byte %d, bit %d: verdict %d", i, bit, v)
			}
		}
	}
}

func TestSlotIsNoSlotElsewhere(t *testing.T) {
	b := encodeLive(slot{owner: own(7, 3), wrapped: []byte("k")}, newPlace(1, 2))
	for _, at := range []place{newPlace(1, 3), newPlace(2, 2), newPlace(1, 258), newPlace(257, 2)} {
		if _, v := decodeSlot(b[:], at); v != unowned {
			t.Errorf("at %d/%d: verdict %d", at.file(), at.slot(), v)
		}
	}
	if _, v := decodeSlot(make([]byte, slotSize), newPlace(1, 2)); v != unowned {
		t.Errorf("zeros: verdict %d", v)
	}
}

func TestSlotWithTwoOwnersIsNobodys(t *testing.T) {
	at := newPlace(1, 2)
	a := encodeLive(slot{owner: own(7, 3), sequence: 5, wrapped: blobOf(7, 3)}, at)
	b := encodeLive(slot{owner: own(8, 3), sequence: 5, wrapped: blobOf(8, 3)}, at)
	copy(a[tailStart:sumStart], b[tailStart:])
	putSum(a)
	if s, v := decodeSlot(a[:], at); v != unowned || !s.tenant.IsZero() {
		t.Errorf("verdict %d, owner %v", v, s.owner)
	}
}

func TestTornWriteNeverHidesAKeyOrInventsOne(t *testing.T) {
	at := newPlace(1, 2)
	empty := encodeFree(at)
	held := encodeLive(slot{owner: own(7, 3), sequence: 5, wrapped: blobOf(7, 3)}, at)
	for cut := 1; cut < slotSize; cut++ {
		for name, pair := range map[string][2]*[slotSize]byte{"put": {held, empty}, "destroy": {empty, held}} {
			b := append(bytes.Clone(pair[0][:cut]), pair[1][cut:]...) // new first
			s, v := decodeSlot(b, at)
			key := bytes.Contains(b, blobOf(7, 3))
			switch {
			case v == live && !key:
				t.Fatalf("%s torn at %d: a key that is not there", name, cut)
			case key && v != live && (v != damaged || s.owner != own(7, 3)):
				t.Fatalf("%s torn at %d: a whole key is left and its owner is unknown (verdict %d)", name, cut, v)
			}
		}
	}
}

func FuzzSlot(f *testing.F) {
	at := newPlace(1, 2)
	f.Add(encodeLive(slot{owner: own(7, 3), sequence: 5, wrapped: blobOf(7, 3)}, at)[:])
	f.Add(encodeFree(at)[:])
	f.Add(make([]byte, slotSize))
	f.Fuzz(func(t *testing.T, b []byte) {
		var full [slotSize]byte
		copy(full[:], b)
		// Sums made right, so that the fuzzer gets behind them.
		for _, o := range []int{0, tailStart} {
			binary.BigEndian.PutUint32(full[o+36:], crc32.Checksum(full[o:o+36], castagnoli))
		}
		binary.BigEndian.PutUint32(full[sumStart:], crc32.Checksum(full[:sumStart], castagnoli))
		s, v := decodeSlot(full[:], at)
		if v == live && (s.tenant.IsZero() || s.generation.IsZero() || len(s.wrapped) == 0 || len(s.wrapped) > MaxWrapped) {
			t.Fatalf("a slot of %v with %d bytes", s.owner, len(s.wrapped))
		}
	})
}
