package record

import (
	"bytes"
	"encoding/binary"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
)

// The vectors of each format version are sealed once, under a key that this
// file fixes, and kept: they must open for ever. Writing them again is for a
// new version only, into new files.
var writeGolden = flag.Bool("write-golden", false, "write testdata/golden anew")

func goldenFile(name string) string { return filepath.Join("testdata", "golden", name) }

func readGolden(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(goldenFile(name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func goldenHeader(p *Payload, generation uint32) Header {
	h := testHeader(p)
	h.Generation = ident.NewKeyGeneration(generation)
	return h
}

func TestWriteGolden(t *testing.T) {
	if !*writeGolden {
		t.Skip("only with -write-golden")
	}
	write := func(name string, b []byte) {
		if err := os.WriteFile(goldenFile(name), b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	good := testRecord(t)
	write("record-v1.bin", good)
	payload, err := EncodePayload(nil, everything())
	if err != nil {
		t.Fatal(err)
	}
	write("payload-v1.bin", payload)
	write("segment-header-v1.bin", testSegmentHeader().Encode())
	write("head-v1.bin", testHead(t).Encode())

	change := func(f func(b []byte)) []byte {
		b := bytes.Clone(good)
		f(b)
		return b
	}
	write("record-v1-fail-flipped.bin", change(func(b []byte) { b[len(b)/2] ^= 4 }))
	write("record-v1-fail-cut.bin", good[:len(good)-1])
	write("record-v1-fail-wrong-tenant.bin", rehash(change(func(b []byte) { binary.BigEndian.PutUint64(b[8:], 8) })))
	write("record-v1-fail-moved-offset.bin", rehash(change(func(b []byte) { binary.BigEndian.PutUint64(b[16:], 6) })))
	write("record-v1-fail-future-version.bin", rehash(change(func(b []byte) { b[5] = 2 })))
}

func TestGoldenRecordKeepsOpening(t *testing.T) {
	rec, want := readGolden(t, "record-v1.bin"), everything()
	h, p, err := OpenRecord(rec, testKey(t, tenant7, ident.Offset{}))
	if err != nil {
		t.Fatal(err)
	}
	if h != goldenHeader(want, 3) {
		t.Errorf("%+v", h)
	}
	if err := same(want, p); err != nil {
		t.Error(err)
	}
	payload, err := EncodePayload(nil, want)
	if err != nil || !bytes.Equal(payload, readGolden(t, "payload-v1.bin")) {
		t.Errorf("the payload's encoding changed (%v)", err)
	}
}

func TestGoldenSegmentHeaderAndHeadKeepTheirBytes(t *testing.T) {
	if !bytes.Equal(testSegmentHeader().Encode(), readGolden(t, "segment-header-v1.bin")) {
		t.Error("the segment header's encoding changed")
	}
	b := readGolden(t, "head-v1.bin")
	if !bytes.Equal(testHead(t).Encode(), b) {
		t.Error("the head's encoding or signature changed")
	}
	h, err := DecodeHead(b)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Verify(); err != nil {
		t.Error(err)
	}
}

func TestGoldenVectorsThatMustFail(t *testing.T) {
	for name, c := range map[string]struct {
		passesCheck bool // the hash was made right again: only the key finds it
		kind        fault.Kind
	}{
		"flipped":        {false, fault.Corruption},
		"cut":            {false, fault.Corruption},
		"future-version": {false, fault.Incompatible},
		"wrong-tenant":   {true, fault.Corruption},
		"moved-offset":   {true, fault.Corruption},
	} {
		rec := readGolden(t, "record-v1-fail-"+name+".bin")
		if _, _, _, err := CheckRecord(rec); (err == nil) != c.passesCheck {
			t.Errorf("%s: check: %v", name, err)
		}
		for _, tenant := range []ident.TenantID{tenant7, ident.MustTenantID(8)} {
			_, _, err := OpenRecord(rec, testKey(t, tenant, ident.Offset{}))
			if !fault.Is(err, c.kind) {
				t.Errorf("%s: open as tenant %s: %v", name, tenant, err)
			}
		}
	}
}
