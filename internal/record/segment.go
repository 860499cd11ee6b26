package record

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"time"

	"kimberlite/internal/ident"
)

// A segment file starts with:
//
//	 0      4   6   8               16              24
//	+--------+---+---+---------------+---------------+
//	| "KLSG" |ver| 0 |    tenant     |  base offset  |
//	+--------+---+---+---------------+---------------+
//	| hash of the record before base (32)            |
//	+---------------+--------------------------------+
//	| time of base  | SHA-256 of the 64 bytes (32)   |
//	+---------------+--------------------------------+
//	 56              64                               96
//
// ver is 1 and the two bytes after it must be zero. Everything in it follows
// from the records, so that all replicas write the same bytes. Records follow
// one another from byte 96 to the end of the file.
const (
	// SegmentHeaderBytes is the size of a segment file's header.
	SegmentHeaderBytes = 96

	segmentMagic = "KLSG"
	segmentSumAt = 64
)

// SegmentHeader is the start of a segment file.
type SegmentHeader struct {
	// Version is the format version; Encode always writes [Version].
	Version uint16
	// Tenant is whose log the segment belongs to.
	Tenant ident.TenantID
	// Base is the offset of the segment's first record.
	Base ident.Offset
	// PrevHash is the hash of the record before Base, or the tenant's
	// [GenesisHash].
	PrevHash Hash
	// Time is the time of the segment's first record.
	Time time.Time
}

// Encode returns the [SegmentHeaderBytes] bytes of the header.
func (h SegmentHeader) Encode() []byte {
	b := make([]byte, SegmentHeaderBytes)
	copy(b, segmentMagic)
	binary.BigEndian.PutUint16(b[4:], Version)
	binary.BigEndian.PutUint64(b[8:], h.Tenant.Uint64())
	binary.BigEndian.PutUint64(b[16:], h.Base.Uint64())
	copy(b[24:], h.PrevHash[:])
	binary.BigEndian.PutUint64(b[56:], uint64(h.Time.UnixNano()))
	sum := sha256.Sum256(b[:segmentSumAt])
	copy(b[segmentSumAt:], sum[:])
	return b
}

// DecodeSegmentHeader reads the header that b starts with; b may hold more.
// Damage is a Corruption that names no file, a later version Incompatible.
func DecodeSegmentHeader(b []byte) (SegmentHeader, error) {
	if len(b) < SegmentHeaderBytes {
		return SegmentHeader{}, corrupt("a segment header has %d bytes, only %d are there", SegmentHeaderBytes, len(b))
	}
	if string(b[:4]) != segmentMagic {
		return SegmentHeader{}, corrupt("the file does not start as a log segment does")
	}
	sum := sha256.Sum256(b[:segmentSumAt])
	if !bytes.Equal(sum[:], b[segmentSumAt:SegmentHeaderBytes]) {
		return SegmentHeader{}, corrupt("the segment header does not match its checksum")
	}
	version := binary.BigEndian.Uint16(b[4:])
	if version != Version {
		return SegmentHeader{}, incompatible("log segment", version)
	}
	if b[6] != 0 || b[7] != 0 {
		return SegmentHeader{}, corrupt("bytes 6 and 7 of the segment header are not zero")
	}
	tenant, err := ident.NewTenantID(binary.BigEndian.Uint64(b[8:]))
	if err != nil {
		return SegmentHeader{}, corrupt("the segment header names no tenant")
	}
	return SegmentHeader{
		Version:  version,
		Tenant:   tenant,
		Base:     ident.NewOffset(binary.BigEndian.Uint64(b[16:])),
		PrevHash: Hash(b[24:56]),
		Time:     timeOf(binary.BigEndian.Uint64(b[56:])),
	}, nil
}
