// Package record is the codec of a tenant's log: records, the payloads inside
// them, the headers of segment files and the signed heads.
//
// It guarantees that every byte of an encoded record, segment header or head
// is covered by a checksum, a hash or a signature; that a decoder never panics
// and allocates in proportion to its input; and that each value has exactly
// one encoding, so that what decodes encodes to the same bytes. It is pure: it
// must not know about files, clocks or keyrings. The tenant log, the tenant
// runtime, the projection and the export call it. docs/format.md shows the
// same bytes for readers who do not read Go.
//
// Numbers are big-endian. All functions are safe for concurrent use.
package record

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"hash/crc32"
	"math"
	"time"

	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/seal"
)

// A record, on disk and in the replicated log:
//
//	 0      4   6 7 8               16              24              32
//	+--------+---+-+-+---------------+---------------+---------------+
//	| "KLRC" |ver|k|0|    tenant     |    offset     |    time, ns   |
//	+--------+---+-+-+-------+-------+-------+-------+---------------+
//	|key gen | length| events|  crc  |                               |
//	+--------+-------+-------+-------+      previous record's        +
//	 32       36      40      44   48        hash (32 bytes)
//	+                                +-------------------------------+
//	|                                | 80
//	+--------------------------------+-------------------------------+
//	| sealed payload: nonce (12) ‖ ciphertext ‖ tag (16)             |
//	+----------------------------------------------------------------+
//	| SHA-256 of everything before it in this record (32)            |
//	+----------------------------------------------------------------+
//
// ver is 1, k the record kind, 0 a byte that must be zero, length that of the
// sealed payload, and crc the CRC-32C of the other 76 bytes of the header. The
// crc carries no trust: it lets a reader tell a damaged header from a damaged
// payload, and believe the length before it has read that far. Later versions
// keep magic, version and crc where they are and what they cover, so that a
// flipped version is not taken for a newer program's work.
const (
	// HeaderBytes is the size of the clear header.
	HeaderBytes = 80
	// TrailerBytes is the size of the hash that ends a record.
	TrailerBytes = 32
	// MinRecordBytes is the size of a record with an empty payload.
	MinRecordBytes = HeaderBytes + seal.Overhead + TrailerBytes
	// MaxPayloadBytes is the longest encoded payload, before sealing.
	MaxPayloadBytes = MaxRecordBytes - MinRecordBytes
)

// Version is the format version that this package writes and reads.
const Version = 1

// Magic starts every record, so that a reader can find the next one after a
// damaged header.
const Magic = "KLRC"

const crcAt = 44 // where the header's checksum stands

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// String returns the hash in lower-case hexadecimal.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// EncodedLen returns the length of the record that [SealRecord] makes of an
// encoded payload of payloadLen bytes.
func EncodedLen(payloadLen int) int { return MinRecordBytes + payloadLen }

// GenesisHash returns the previous hash of a tenant's record 0. It differs
// from tenant to tenant, so that no record 0 fits another tenant's chain.
func GenesisHash(tenant ident.TenantID) Hash {
	b := append(make([]byte, 0, 64), "kimberlite/v1/log-genesis\x00"...)
	return sha256.Sum256(binary.BigEndian.AppendUint64(b, tenant.Uint64()))
}

// SegmentKeyID returns the id under which the key of a segment's records is
// derived: DEK.Derive(seal.LogSegment, SegmentKeyID(base)).
func SegmentKeyID(base ident.Offset) []byte {
	return binary.BigEndian.AppendUint64(nil, base.Uint64())
}

// SealRecord returns the whole record of a payload that [EncodePayload] made,
// and its hash. The header is authenticated with the ciphertext, so that a
// record with any other header does not open. It fails with Invalid when the
// header holds what cannot be stored, and TooLarge over the limit.
func SealRecord(h Header, payload []byte, key *seal.Key) ([]byte, Hash, error) {
	if err := h.validate(); err != nil {
		return nil, Hash{}, err
	}
	if len(payload) > MaxPayloadBytes {
		return nil, Hash{}, tooLarge(len(payload))
	}
	rec := make([]byte, HeaderBytes, EncodedLen(len(payload)))
	putHeader(rec, h, seal.Overhead+len(payload))
	rec = key.Seal(rec, payload, rec[:HeaderBytes:HeaderBytes])
	sum := Hash(sha256.Sum256(rec))
	return append(rec, sum[:]...), sum, nil
}

// ParseHeader reads the header that b starts with; b may hold more. It
// returns the length of the sealed payload that follows, so that the record is
// HeaderBytes + payloadLen + TrailerBytes long. Damage is a Corruption that
// names no file, a record of a later version is Incompatible. It does not
// check the record's hash: see [CheckRecord].
func ParseHeader(b []byte) (h Header, payloadLen int, err error) {
	if len(b) < HeaderBytes {
		return Header{}, 0, corrupt("a record header has %d bytes, only %d are there", HeaderBytes, len(b))
	}
	b = b[:HeaderBytes]
	if string(b[:4]) != Magic {
		return Header{}, 0, corrupt("no record starts here")
	}
	if headerCRC(b) != binary.BigEndian.Uint32(b[crcAt:]) {
		return Header{}, 0, corrupt("the record header does not match its checksum")
	}
	if v := binary.BigEndian.Uint16(b[4:]); v != Version {
		return Header{}, 0, incompatible("record", v)
	}
	if b[6] != byte(DataRecord) {
		return Header{}, 0, fault.New("record", fault.Incompatible, "record of the unknown kind %d: use a newer kimberlite", b[6])
	}
	if b[7] != 0 {
		return Header{}, 0, corrupt("byte 7 of the record header is not zero")
	}
	return parseFields(b)
}

// parseFields reads the fields of a header whose checksum and version hold.
func parseFields(b []byte) (Header, int, error) {
	tenant, err := ident.NewTenantID(binary.BigEndian.Uint64(b[8:]))
	if err != nil {
		return Header{}, 0, corrupt("the record header names no tenant")
	}
	h := Header{
		Kind:       RecordKind(b[6]),
		Tenant:     tenant,
		Offset:     ident.NewOffset(binary.BigEndian.Uint64(b[16:])),
		Time:       timeOf(binary.BigEndian.Uint64(b[24:])),
		Generation: ident.NewKeyGeneration(binary.BigEndian.Uint32(b[32:])),
		Events:     binary.BigEndian.Uint32(b[40:]),
		PrevHash:   Hash(b[48:80]),
	}
	if h.Generation.IsZero() {
		return Header{}, 0, corrupt("the record header names no key generation")
	}
	if h.Offset.Uint64() == math.MaxUint64 {
		return Header{}, 0, corrupt("the record header holds an offset that no log reaches")
	}
	n := int64(binary.BigEndian.Uint32(b[36:]))
	if n < seal.Overhead || n > MaxRecordBytes-HeaderBytes-TrailerBytes {
		return Header{}, 0, corrupt("the record header holds the impossible payload length %d", n)
	}
	return h, int(n), nil
}

// CheckRecord checks that b is one whole record and that its hash holds. The
// sealed payload it returns shares memory with b. Damage is a Corruption that
// names no file.
func CheckRecord(b []byte) (h Header, sealedPayload []byte, sum Hash, err error) {
	h, n, err := ParseHeader(b)
	if err != nil {
		return Header{}, nil, Hash{}, err
	}
	if len(b) != HeaderBytes+n+TrailerBytes {
		return Header{}, nil, Hash{}, corrupt("the record should have %d bytes and has %d", HeaderBytes+n+TrailerBytes, len(b))
	}
	sum = sha256.Sum256(b[:HeaderBytes+n])
	if !bytes.Equal(sum[:], b[HeaderBytes+n:]) {
		return Header{}, nil, Hash{}, corrupt("record %s does not match its hash", h.Offset)
	}
	return h, b[HeaderBytes : HeaderBytes+n], sum, nil
}

// OpenRecord checks a whole record, opens its payload under the segment's key
// and decodes it. Damage, another key and a moved record are Corruptions that
// name no file.
func OpenRecord(b []byte, key *seal.Key) (Header, *Payload, error) {
	h, sealed, _, err := CheckRecord(b)
	if err != nil {
		return Header{}, nil, err
	}
	plain, err := key.Open(make([]byte, 0, len(sealed)), sealed, b[:HeaderBytes])
	if err != nil {
		return Header{}, nil, err
	}
	p, err := DecodePayload(plain)
	if err != nil {
		return Header{}, nil, err
	}
	if n := p.EventCount(); uint64(n) != uint64(h.Events) {
		return Header{}, nil, corrupt("record %s announces %d events and holds %d", h.Offset, h.Events, n)
	}
	return h, p, nil
}

// EventCount returns how many events the payload holds: what the header's
// Events must say.
func (p *Payload) EventCount() int {
	n := 0
	for i := range p.Txns {
		n += len(p.Txns[i].Events)
	}
	return n
}

// validate reports what SealRecord could not store.
func (h Header) validate() error {
	switch {
	case h.Kind != DataRecord:
		return invalid("unknown record kind %d", h.Kind)
	case h.Tenant.IsZero():
		return invalid("a record needs a tenant")
	case h.Generation.IsZero():
		return invalid("a record needs a key generation")
	case h.Offset.Uint64() == math.MaxUint64:
		return invalid("no log reaches offset %s", h.Offset)
	case !storable(h.Time):
		return invalid("the record's time is outside of the years 1678 to 2262")
	}
	return nil
}

func putHeader(b []byte, h Header, sealedLen int) {
	copy(b, Magic)
	binary.BigEndian.PutUint16(b[4:], Version)
	b[6], b[7] = byte(h.Kind), 0
	binary.BigEndian.PutUint64(b[8:], h.Tenant.Uint64())
	binary.BigEndian.PutUint64(b[16:], h.Offset.Uint64())
	binary.BigEndian.PutUint64(b[24:], uint64(h.Time.UnixNano()))
	binary.BigEndian.PutUint32(b[32:], h.Generation.Uint32())
	binary.BigEndian.PutUint32(b[36:], uint32(sealedLen))
	binary.BigEndian.PutUint32(b[40:], h.Events)
	copy(b[48:], h.PrevHash[:])
	binary.BigEndian.PutUint32(b[crcAt:], headerCRC(b))
}

// headerCRC is the CRC-32C of a header without the four bytes that hold it.
func headerCRC(b []byte) uint32 {
	return crc32.Update(crc32.Checksum(b[:crcAt], castagnoli), castagnoli, b[crcAt+4:HeaderBytes])
}

// storable reports whether t fits into 64 bits of nanoseconds since 1970.
func storable(t time.Time) bool { return time.Unix(0, t.UnixNano()).Equal(t) }

func timeOf(ns uint64) time.Time { return time.Unix(0, int64(ns)).UTC() }

func corrupt(format string, args ...any) error {
	return fault.New("record", fault.Corruption, format, args...)
}

func invalid(format string, args ...any) error {
	return fault.New("record", fault.Invalid, format, args...)
}

func incompatible(what string, version uint16) error {
	return fault.New("record", fault.Incompatible, "%s of format version %d: this program reads version %d, use a newer kimberlite", what, version, Version)
}

func tooLarge(n int) error {
	return fault.New("record", fault.TooLarge, "the transaction needs a record of %d bytes or more, the limit is %d: split it", n, MaxRecordBytes)
}
