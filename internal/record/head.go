package record

import (
	"crypto/ed25519"
	"encoding/binary"
	"math"
	"time"

	"kimberlite/internal/ident"
)

// A signed head:
//
//	 0      4   6   8               16              24
//	+--------+---+---+---------------+---------------+
//	| "KLHD" |ver| 0 |    tenant     |     next      |
//	+--------+---+---+---------------+---------------+
//	| hash of record next-1 (32)                     |
//	+---------------+---------------+----------------+
//	|    time, ns   |  total bytes  |  segment base  |  56
//	+---------------+---------------+----------------+
//	| segment bytes |  Ed25519 public key (32)       |  80
//	+---------------+--------------------------------+
//	| Ed25519 signature (64)                         |  120
//	+------------------------------------------------+
//
// The signature is over "kimberlite/v1/log-head", a zero byte, and the 120
// bytes before it. Every byte is under it, so there is no other checksum.
const (
	// HeadBytes is the size of an encoded head.
	HeadBytes = 184

	headMagic     = "KLHD"
	headContext   = "kimberlite/v1/log-head\x00"
	headPublicAt  = 88
	headSignature = 120
)

// Where a head's fields stand, for those who name a damaged one.
const (
	HeadTenantAt    = 8
	HeadLastHashAt  = 24
	HeadPublicKeyAt = headPublicAt
	HeadSignatureAt = headSignature
)

// Head says how far a tenant's log reached, under a signature: records that
// it covers cannot be cut away or replaced without its signer.
type Head struct {
	// Tenant is whose log it is.
	Tenant ident.TenantID
	// Next is the offset after the last record covered: their number.
	Next ident.Offset
	// LastHash is the hash of record Next-1, or the tenant's [GenesisHash].
	LastHash Hash
	// Time is when it was signed.
	Time time.Time
	// TotalBytes is the size of all segment files up to there.
	TotalBytes int64
	// Segment is the base of the segment that holds record Next-1, and
	// SegmentBytes that file's size up to the record's end.
	Segment      ident.Offset
	SegmentBytes int64
	// PublicKey is the signer's. That it is the right signer is for the
	// reader to know: see [Head.Verify].
	PublicKey ed25519.PublicKey
	// Signature is what Sign made.
	Signature []byte
}

// Sign sets PublicKey and Signature. It fails with Invalid when a field
// cannot be stored.
func (h *Head) Sign(private ed25519.PrivateKey) error {
	if len(private) != ed25519.PrivateKeySize {
		return invalid("an Ed25519 private key has %d bytes, not %d", ed25519.PrivateKeySize, len(private))
	}
	public := ed25519.PublicKey(private[ed25519.PrivateKeySize-ed25519.PublicKeySize:])
	return h.SignWith(public, func(msg []byte) ([]byte, error) { return ed25519.Sign(private, msg), nil })
}

// SignWith is [Head.Sign] for a signer that does not hand out its private
// key; what sign fails with is returned.
func (h *Head) SignWith(public ed25519.PublicKey, sign func(msg []byte) ([]byte, error)) error {
	switch {
	case len(public) != ed25519.PublicKeySize:
		return invalid("an Ed25519 public key has %d bytes, not %d", ed25519.PublicKeySize, len(public))
	case h.Tenant.IsZero():
		return invalid("a head needs a tenant")
	case !storable(h.Time):
		return invalid("the head's time is outside of the years 1678 to 2262")
	case h.SegmentBytes < 0 || h.TotalBytes < h.SegmentBytes:
		return invalid("a head's sizes are not negative, and a segment is no larger than the log")
	}
	h.PublicKey = public
	signature, err := sign(h.signed())
	if err != nil {
		return err
	}
	h.Signature = signature
	return nil
}

// Verify checks the signature against the head's own PublicKey, and nothing
// else: whoever trusts the head must compare PublicKey with the key that the
// tenant's heads are signed with. A failure is a Corruption.
func (h Head) Verify() error {
	if len(h.PublicKey) != ed25519.PublicKeySize || len(h.Signature) != ed25519.SignatureSize {
		return corrupt("the head of tenant %s is not signed", h.Tenant)
	}
	if !ed25519.Verify(h.PublicKey, h.signed(), h.Signature) {
		return corrupt("the signature of tenant %s's head is wrong", h.Tenant)
	}
	return nil
}

// Encode returns the [HeadBytes] bytes of a signed head.
func (h Head) Encode() []byte {
	return append(h.clear(), h.Signature...)
}

// DecodeHead reads a head and does not check its signature. Damage that shows
// is a Corruption that names no file, a later version Incompatible.
func DecodeHead(b []byte) (Head, error) {
	if len(b) != HeadBytes {
		return Head{}, corrupt("a signed head has %d bytes, not %d", HeadBytes, len(b))
	}
	if string(b[:4]) != headMagic {
		return Head{}, corrupt("the file does not start as a signed head does")
	}
	if v := binary.BigEndian.Uint16(b[4:]); v != Version {
		return Head{}, incompatible("signed head", v)
	}
	if b[6] != 0 || b[7] != 0 {
		return Head{}, corrupt("bytes 6 and 7 of the signed head are not zero")
	}
	tenant, err := ident.NewTenantID(binary.BigEndian.Uint64(b[8:]))
	if err != nil {
		return Head{}, corrupt("the signed head names no tenant")
	}
	total, segment := binary.BigEndian.Uint64(b[64:]), binary.BigEndian.Uint64(b[80:])
	if total > math.MaxInt64 || segment > total {
		return Head{}, corrupt("the signed head holds impossible sizes")
	}
	return Head{
		Tenant:       tenant,
		Next:         ident.NewOffset(binary.BigEndian.Uint64(b[16:])),
		LastHash:     Hash(b[24:56]),
		Time:         timeOf(binary.BigEndian.Uint64(b[56:])),
		TotalBytes:   int64(total),
		Segment:      ident.NewOffset(binary.BigEndian.Uint64(b[72:])),
		SegmentBytes: int64(segment),
		PublicKey:    append(ed25519.PublicKey(nil), b[headPublicAt:headSignature]...),
		Signature:    append([]byte(nil), b[headSignature:]...),
	}, nil
}

// clear returns the bytes before the signature.
func (h Head) clear() []byte {
	b := make([]byte, headSignature, HeadBytes)
	copy(b, headMagic)
	binary.BigEndian.PutUint16(b[4:], Version)
	binary.BigEndian.PutUint64(b[8:], h.Tenant.Uint64())
	binary.BigEndian.PutUint64(b[16:], h.Next.Uint64())
	copy(b[24:], h.LastHash[:])
	binary.BigEndian.PutUint64(b[56:], uint64(h.Time.UnixNano()))
	binary.BigEndian.PutUint64(b[64:], uint64(h.TotalBytes))
	binary.BigEndian.PutUint64(b[72:], h.Segment.Uint64())
	binary.BigEndian.PutUint64(b[80:], uint64(h.SegmentBytes))
	copy(b[headPublicAt:], h.PublicKey)
	return b
}

// signed returns what the signature is over.
func (h Head) signed() []byte {
	return append([]byte(headContext), h.clear()...)
}
