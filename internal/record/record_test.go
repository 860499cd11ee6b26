package record

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"math"
	"testing"
	"time"

	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/seal"
)

var (
	tenant7 = ident.MustTenantID(7)
	tenant8 = ident.MustTenantID(math.MaxUint64)
	moment  = time.Date(2025, 6, 1, 12, 0, 0, 123456789, time.UTC)
)

// testKey is the key of a segment under a DEK that anybody may know.
func testKey(t testing.TB, tenant ident.TenantID, base ident.Offset) *seal.Key {
	t.Helper()
	dek, err := seal.NewDEK(tenant, ident.NewKeyGeneration(3), bytes.Repeat([]byte{0x42}, seal.KeySize))
	if err != nil {
		t.Fatal(err)
	}
	key, err := dek.Derive(seal.LogSegment, SegmentKeyID(base))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func testHeader(p *Payload) Header {
	return Header{
		Kind: DataRecord, Tenant: tenant7, Offset: ident.NewOffset(5), Time: moment,
		Generation: ident.NewKeyGeneration(3), Events: uint32(p.EventCount()), PrevHash: GenesisHash(tenant7),
	}
}

func testRecord(t testing.TB) []byte {
	t.Helper()
	p := everything()
	payload, err := EncodePayload(nil, p)
	if err != nil {
		t.Fatal(err)
	}
	rec, _, err := SealRecord(testHeader(p), payload, testKey(t, tenant7, ident.Offset{}))
	if err != nil {
		t.Fatal(err)
	}
	return rec
}

// rehash makes the checksum and hash of a record right again, as someone who
// alters it on purpose would.
func rehash(rec []byte) []byte {
	binary.BigEndian.PutUint32(rec[crcAt:], headerCRC(rec))
	sum := sha256.Sum256(rec[:len(rec)-TrailerBytes])
	copy(rec[len(rec)-TrailerBytes:], sum[:])
	return rec
}

func TestRecordRoundTrip(t *testing.T) {
	p := everything()
	payload, err := EncodePayload(nil, p)
	if err != nil {
		t.Fatal(err)
	}
	key, want := testKey(t, tenant7, ident.Offset{}), testHeader(p)
	rec, sum, err := SealRecord(want, payload, key)
	if err != nil {
		t.Fatal(err)
	}
	if len(rec) != EncodedLen(len(payload)) || cap(rec) != len(rec) {
		t.Fatalf("%d bytes (capacity %d), not %d", len(rec), cap(rec), EncodedLen(len(payload)))
	}
	h, got, err := OpenRecord(rec, key)
	if err != nil || h != want {
		t.Fatalf("%+v, %v", h, err)
	}
	if err := same(p, got); err != nil {
		t.Fatal(err)
	}
	h, sealed, sum2, err := CheckRecord(rec)
	if err != nil || h != want || sum2 != sum || len(sealed) != seal.Overhead+len(payload) {
		t.Fatalf("%+v, %v", h, err)
	}
	if bytes.Contains(rec, []byte("patients")) {
		t.Fatal("plaintext in a sealed record")
	}
}

func TestEveryBitOfARecordIsCovered(t *testing.T) {
	rec := testRecord(t)
	for i := range rec {
		for bit := range 8 {
			bad := bytes.Clone(rec)
			bad[i] ^= 1 << bit
			if _, _, _, err := CheckRecord(bad); !fault.Is(err, fault.Corruption) {
				t.Fatalf("byte %d, bit %d: %v", i, bit, err)
			}
			if _, _, err := ParseHeader(bad); i < HeaderBytes && !fault.Is(err, fault.Corruption) {
				t.Fatalf("header byte %d, bit %d: %v", i, bit, err)
			}
		}
	}
}

func TestACutOrPaddedRecordIsRefused(t *testing.T) {
	rec := testRecord(t)
	for n := range rec {
		if _, _, _, err := CheckRecord(rec[:n]); !fault.Is(err, fault.Corruption) {
			t.Fatalf("%d bytes: %v", n, err)
		}
	}
	if _, _, _, err := CheckRecord(append(bytes.Clone(rec), 0)); !fault.Is(err, fault.Corruption) {
		t.Fatal(err)
	}
}

// Whoever can write the files can make hashes and checksums right again: then
// the authenticated header stops them.
func TestARecordWithAnotherHeaderDoesNotOpen(t *testing.T) {
	rec, key := testRecord(t), testKey(t, tenant7, ident.Offset{})
	for name, at := range map[string]int{"tenant": 15, "offset": 23, "time": 31, "generation": 35, "events": 43, "previous hash": 60} {
		bad := bytes.Clone(rec)
		bad[at] ^= 1
		rehash(bad)
		if _, _, _, err := CheckRecord(bad); err != nil {
			t.Fatalf("%s: the test's own record is wrong: %v", name, err)
		}
		if _, _, err := OpenRecord(bad, key); !fault.Is(err, fault.Corruption) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, _, err := OpenRecord(rec, testKey(t, tenant8, ident.Offset{})); !fault.Is(err, fault.Corruption) {
		t.Error("opened under another tenant's key")
	}
	if _, _, err := OpenRecord(rec, testKey(t, tenant7, ident.NewOffset(1))); !fault.Is(err, fault.Corruption) {
		t.Error("opened under another segment's key")
	}
}

func TestHeaderFieldsOutOfRangeAreRefused(t *testing.T) {
	for name, c := range map[string]struct {
		change func(rec []byte)
		kind   fault.Kind
	}{
		"later version":    {func(b []byte) { b[5] = 2 }, fault.Incompatible},
		"unknown kind":     {func(b []byte) { b[6] = 2 }, fault.Incompatible},
		"reserved byte":    {func(b []byte) { b[7] = 1 }, fault.Corruption},
		"no tenant":        {func(b []byte) { clear(b[8:16]) }, fault.Corruption},
		"last offset":      {func(b []byte) { copy(b[16:24], bytes.Repeat([]byte{255}, 8)) }, fault.Corruption},
		"no generation":    {func(b []byte) { clear(b[32:36]) }, fault.Corruption},
		"length too short": {func(b []byte) { binary.BigEndian.PutUint32(b[36:], seal.Overhead-1) }, fault.Corruption},
		"length too long": {func(b []byte) {
			binary.BigEndian.PutUint32(b[36:], MaxRecordBytes-HeaderBytes-TrailerBytes+1)
		}, fault.Corruption},
	} {
		bad := testRecord(t)
		c.change(bad)
		if _, _, err := ParseHeader(rehash(bad)); !fault.Is(err, c.kind) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSealRefusesWhatItCannotStore(t *testing.T) {
	key := testKey(t, tenant7, ident.Offset{})
	for name, change := range map[string]func(*Header){
		"no tenant":     func(h *Header) { h.Tenant = ident.TenantID{} },
		"no generation": func(h *Header) { h.Generation = ident.KeyGeneration{} },
		"no kind":       func(h *Header) { h.Kind = 0 },
		"last offset":   func(h *Header) { h.Offset = ident.NewOffset(math.MaxUint64) },
		"zero time":     func(h *Header) { h.Time = time.Time{} },
		"year 3000":     func(h *Header) { h.Time = time.Date(3000, 1, 1, 0, 0, 0, 0, time.UTC) },
	} {
		h := testHeader(&Payload{})
		change(&h)
		if _, _, err := SealRecord(h, []byte{0}, key); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, _, err := SealRecord(testHeader(&Payload{}), make([]byte, MaxPayloadBytes+1), key); !fault.Is(err, fault.TooLarge) {
		t.Error(err)
	}
}

func TestEventCountMustAgreeWithThePayload(t *testing.T) {
	p, key := everything(), testKey(t, tenant7, ident.Offset{})
	payload, err := EncodePayload(nil, p)
	if err != nil {
		t.Fatal(err)
	}
	h := testHeader(p)
	h.Events++
	rec, _, err := SealRecord(h, payload, key)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := OpenRecord(rec, key); !fault.Is(err, fault.Corruption) {
		t.Fatal(err)
	}
}

func TestGenesisDiffersByTenant(t *testing.T) {
	if GenesisHash(tenant7) == GenesisHash(tenant8) || (GenesisHash(tenant7) == Hash{}) {
		t.Fatal("genesis hashes are not distinct")
	}
}

func testSegmentHeader() SegmentHeader {
	return SegmentHeader{Version: Version, Tenant: tenant8, Base: ident.NewOffset(1 << 50), PrevHash: GenesisHash(tenant7), Time: moment}
}

func TestEveryBitOfASegmentHeaderIsCovered(t *testing.T) {
	want := testSegmentHeader()
	b := want.Encode()
	got, err := DecodeSegmentHeader(append(bytes.Clone(b), 1, 2, 3))
	if err != nil || got != want || len(b) != SegmentHeaderBytes {
		t.Fatalf("%+v, %v", got, err)
	}
	for i := range b {
		for bit := range 8 {
			bad := bytes.Clone(b)
			bad[i] ^= 1 << bit
			if _, err := DecodeSegmentHeader(bad); !fault.Is(err, fault.Corruption) {
				t.Fatalf("byte %d, bit %d: %v", i, bit, err)
			}
		}
		if _, err := DecodeSegmentHeader(b[:i]); !fault.Is(err, fault.Corruption) {
			t.Fatalf("%d bytes: %v", i, err)
		}
	}
	for at, kind := range map[int]fault.Kind{5: fault.Incompatible, 6: fault.Corruption, 7: fault.Corruption} {
		bad := bytes.Clone(b)
		bad[at]++
		sum := sha256.Sum256(bad[:segmentSumAt])
		copy(bad[segmentSumAt:], sum[:])
		if _, err := DecodeSegmentHeader(bad); !fault.Is(err, kind) {
			t.Errorf("byte %d: %v", at, err)
		}
	}
}

func testHead(t testing.TB) Head {
	t.Helper()
	h := Head{
		Tenant: tenant7, Next: ident.NewOffset(100), LastHash: GenesisHash(tenant8), Time: moment,
		TotalBytes: 1 << 40, Segment: ident.NewOffset(90), SegmentBytes: 12345,
	}
	if err := h.Sign(ed25519.NewKeyFromSeed(bytes.Repeat([]byte{9}, ed25519.SeedSize))); err != nil {
		t.Fatal(err)
	}
	return h
}

func TestEveryBitOfAHeadIsUnderItsSignature(t *testing.T) {
	want := testHead(t)
	b := want.Encode()
	got, err := DecodeHead(b)
	if err != nil || len(b) != HeadBytes {
		t.Fatal(err)
	}
	if err := got.Verify(); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Encode(), b) || got.Tenant != want.Tenant || got.Next != want.Next || got.LastHash != want.LastHash ||
		!got.Time.Equal(want.Time) || got.TotalBytes != want.TotalBytes || got.Segment != want.Segment || got.SegmentBytes != want.SegmentBytes {
		t.Fatalf("%+v", got)
	}
	for i := range b {
		for bit := range 8 {
			bad := bytes.Clone(b)
			bad[i] ^= 1 << bit
			h, err := DecodeHead(bad)
			if err == nil {
				err = h.Verify()
			}
			if err == nil {
				t.Fatalf("byte %d, bit %d: not found", i, bit)
			}
		}
		if _, err := DecodeHead(b[:i]); !fault.Is(err, fault.Corruption) {
			t.Fatalf("%d bytes: %v", i, err)
		}
	}
	b[5] = 2
	if _, err := DecodeHead(b); !fault.Is(err, fault.Incompatible) {
		t.Fatal(err)
	}
}

func TestAnUnsignedHeadDoesNotVerify(t *testing.T) {
	if err := (Head{Tenant: tenant7}).Verify(); !fault.Is(err, fault.Corruption) {
		t.Fatal(err)
	}
	h := testHead(t)
	h.PublicKey = h.PublicKey[:31]
	if err := h.Verify(); !fault.Is(err, fault.Corruption) {
		t.Fatal(err)
	}
	for _, h := range []Head{{}, {Tenant: tenant7}, {Tenant: tenant7, Time: moment, TotalBytes: -1}} {
		if err := h.Sign(ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))); !fault.Is(err, fault.Invalid) {
			t.Errorf("%+v: %v", h, err)
		}
	}
	if err := h.Sign(nil); !fault.Is(err, fault.Invalid) {
		t.Error(err)
	}
}

func FuzzRecord(f *testing.F) {
	f.Add(testRecord(f))
	f.Add([]byte(Magic))
	f.Add(make([]byte, MinRecordBytes))
	key := testKey(f, tenant7, ident.Offset{})
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) >= MinRecordBytes && string(b[:4]) == Magic {
			rehash(b) // or hardly any input gets past the checksums
		}
		h, _, err := ParseHeader(b)
		if err != nil {
			onlyDamage(t, err)
			return
		}
		again := make([]byte, HeaderBytes)
		putHeader(again, h, int(binary.BigEndian.Uint32(b[36:])))
		if !bytes.Equal(again, b[:HeaderBytes]) {
			t.Fatalf("%x parses and encodes to %x", b[:HeaderBytes], again)
		}
		if _, _, err := OpenRecord(b, key); err != nil {
			onlyDamage(t, err)
		}
	})
}

func FuzzSegmentHeader(f *testing.F) {
	f.Add(testSegmentHeader().Encode())
	f.Add([]byte(segmentMagic))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) >= SegmentHeaderBytes {
			sum := sha256.Sum256(b[:segmentSumAt])
			copy(b[segmentSumAt:], sum[:])
		}
		h, err := DecodeSegmentHeader(b)
		if err != nil {
			onlyDamage(t, err)
		} else if !bytes.Equal(h.Encode(), b[:SegmentHeaderBytes]) {
			t.Fatalf("%x decodes and encodes to %x", b, h.Encode())
		}
	})
}

func FuzzHead(f *testing.F) {
	h := testHead(f)
	f.Add(h.Encode())
	f.Add([]byte(headMagic))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := DecodeHead(b)
		if err != nil {
			onlyDamage(t, err)
			return
		}
		if !bytes.Equal(h.Encode(), b) {
			t.Fatalf("%x decodes and encodes to %x", b, h.Encode())
		}
		if err := h.Verify(); err != nil {
			onlyDamage(t, err)
		}
	})
}

func onlyDamage(t *testing.T, err error) {
	t.Helper()
	if k := fault.KindOf(err); k != fault.Corruption && k != fault.Incompatible {
		t.Fatal(err)
	}
}

func BenchmarkSealRecord(b *testing.B) {
	key, h, payload := testKey(b, tenant7, ident.Offset{}), testHeader(&Payload{}), make([]byte, 160)
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := SealRecord(h, payload, key); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCheckRecord(b *testing.B) {
	rec, _, err := SealRecord(testHeader(&Payload{}), make([]byte, 160), testKey(b, tenant7, ident.Offset{}))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, _, _, err := CheckRecord(rec); err != nil {
			b.Fatal(err)
		}
	}
}
