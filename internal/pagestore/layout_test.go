package pagestore

import (
	"bytes"
	"encoding/hex"
	"testing"
)

func TestSizesFitTheSlots(t *testing.T) {
	if rootFanout != 290 || nodeFanout != 338 || rootMeta-rootFixed-rootFanout*entrySize != 2 || rootMeta+2+MaxMeta != rootBody || tagAt+16 != sealedSize {
		t.Fatal(rootFanout, nodeFanout, rootBody, tagAt)
	}
}

func TestLevelsFollowThePageCount(t *testing.T) {
	for _, c := range []struct {
		pages uint64
		want  []uint64
	}{
		{0, []uint64{0}},
		{290, []uint64{290}},
		{291, []uint64{291, 1}},
		{290 * 338, []uint64{290 * 338, 290}},
		{290*338 + 1, []uint64{290*338 + 1, 291, 1}},
		{MaxPages, []uint64{MaxPages, 3176751, 9399, 28}},
	} {
		got := levelsFor(c.pages)
		if len(got) != len(c.want) || len(got)-1 > maxLevels {
			t.Fatal(c.pages, got)
		}
		for i := range got {
			if got[i] != c.want[i] {
				t.Fatal(c.pages, got)
			}
		}
	}
}

func sampleRoot() root {
	return root{sequence: 3, tenant: 7, pages: 2, slots: 9, entries: []entry{{slot: 2, tag: [8]byte{1, 2, 3}}, {}}, meta: []byte{0xC0, 0xFF, 0xEE}}
}

// The bytes of format version 2: they must never change.
func TestRootBytesAreStable(t *testing.T) {
	b := make([]byte, rootBody)
	encodeRoot(b, sampleRoot())
	const want = "0300000000000000" + "0700000000000000" + "0200000000000000" + "0900000000000000" + "00000000" + "02000000" +
		"02000000" + "0102030000000000" + "00000000" + "0000000000000000"
	if got := hex.EncodeToString(b[:64]); got != want || !allZero(b[64:3522]) {
		t.Fatal(got)
	}
	if got := hex.EncodeToString(b[3522:3527]); got != "0300"+"c0ffee" || !allZero(b[3527:]) {
		t.Fatal(got)
	}
	h := make([]byte, rootHeader)
	encodeHeader(h, header{fileID: [16]byte{15: 0xAB}, generation: 0x01020304})
	if got := hex.EncodeToString(h); got != "4b4c504147455332"+"000000000000000000000000000000ab"+"04030201"+"00000000" {
		t.Fatal(got)
	}
	var place [placeSize]byte
	putPlace(&place, kindNode, 2, 0x01020304, 0x0A0B0C0D)
	if got := hex.EncodeToString(place[:]); got != "4e02040302010d0c0b0a" {
		t.Fatal(got)
	}
	if got := hex.EncodeToString(rootPlace(1, 7, h)); got != "5201"+"0700000000000000"+hex.EncodeToString(h) {
		t.Fatal(got)
	}
}

func TestRootsThatDoNotAddUpAreRefused(t *testing.T) {
	for name, change := range map[string]func(r *root, b []byte){
		"sequence 0":         func(r *root, b []byte) { b[0] = 0 },
		"too many pages":     func(r *root, b []byte) { b[22] = 1 },
		"no slots":           func(r *root, b []byte) { b[24] = 1 },
		"too many slots":     func(r *root, b []byte) { b[28] = 1 },
		"a level too many":   func(r *root, b []byte) { b[32] = 1 },
		"an entry too many":  func(r *root, b []byte) { b[36] = 3 },
		"an entry too few":   func(r *root, b []byte) { b[36] = 1 },
		"a slot past all":    func(r *root, b []byte) { b[40] = 9 },
		"a root's slot":      func(r *root, b []byte) { b[40] = 1 },
		"a hole with a tag":  func(r *root, b []byte) { b[56] = 1 },
		"bytes after":        func(r *root, b []byte) { b[rootBody-1] = 1 },
		"meta too long":      func(r *root, b []byte) { b[3523] = 2; b[3522] = 1 },
		"meta too short":     func(r *root, b []byte) { b[3522] = 2 },
		"bytes before meta":  func(r *root, b []byte) { b[3521] = 1 },
		"no memory on disk":  func(r *root, b []byte) { copy(b[40:], "\xff\xff\xff\xff") },
		"pages without room": func(r *root, b []byte) { b[17] = 2 },
	} {
		b := make([]byte, rootBody)
		r := sampleRoot()
		encodeRoot(b, r)
		if _, err := decodeRoot(b); err != nil {
			t.Fatal(err)
		}
		change(&r, b)
		if _, err := decodeRoot(b); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := decodeRoot(make([]byte, 5)); err == nil {
		t.Error("a short root: no error")
	}
}

func FuzzDecodeRoot(f *testing.F) {
	b := make([]byte, rootBody)
	encodeRoot(b, sampleRoot())
	f.Add(b)
	deep := root{sequence: 1, tenant: 1, pages: rootFanout + 1, slots: 400, levels: 1, entries: []entry{{slot: 5}}}
	b = make([]byte, rootBody)
	encodeRoot(b, deep)
	f.Add(b)
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := decodeRoot(b)
		if err != nil {
			return
		}
		again := make([]byte, rootBody)
		encodeRoot(again, r)
		if !bytes.Equal(again, b) {
			t.Fatal("a root has two forms")
		}
	})
}

func FuzzDecodeNode(f *testing.F) {
	b := make([]byte, payloadSize)
	encodeNode(b, []entry{{slot: 2, tag: [8]byte{9}}, {}, {slot: 3}})
	f.Add(b, 3, uint64(5), false)
	f.Add(b, 1, uint64(3), true)
	f.Add(b[:10], 400, uint64(0), true)
	f.Fuzz(func(t *testing.T, b []byte, count int, slots uint64, nodes bool) {
		entries, err := decodeNode(b, count, slots, nodes)
		if err != nil {
			return
		}
		if len(entries) != count {
			t.Fatal("count")
		}
		for _, e := range entries {
			if e.slot == inMemory {
				return // slots is not a root's: those are below it
			}
			if e.slot != 0 && uint64(e.slot) >= slots || e.slot == 0 && nodes {
				t.Fatal("a slot out of range")
			}
		}
		again := make([]byte, payloadSize)
		encodeNode(again, entries)
		if !bytes.Equal(again, b) {
			t.Fatal("a node has two forms")
		}
	})
}

func FuzzDecodeHeader(f *testing.F) {
	b := make([]byte, PageSize)
	encodeHeader(b, header{generation: 3})
	f.Add(b)
	f.Add(make([]byte, PageSize))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < rootHeader || len(b) > PageSize {
			return
		}
		h, err := decodeHeader(b)
		if err == nil && string(b[:8]) != rootMagic {
			t.Fatal("magic", h)
		}
	})
}
