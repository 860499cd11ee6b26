package keyring

import (
	"bytes"
	"crypto/ed25519"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"slices"
	"time"

	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/seal"
)

// Envelope is what the replicated state keeps of a tenant's keys: its DEKs
// and its signing key, wrapped under the KEK. The KEK is not in it, in no
// form, so that whoever holds every copy of the envelope and the master key
// opens nothing once the keyring's slots are destroyed.
//
// An Envelope is a value: what makes a new one never changes the old one's
// memory.
type Envelope struct {
	// KEK is the generation of the key that wraps the others.
	KEK ident.KeyGeneration
	// DEKs are the wrapped DEKs by ascending generation, at least one; the
	// last seals, all of them open.
	DEKs []WrappedDEK
	// Signing is the key that signs the tenant's chain heads.
	Signing WrappedSigningKey
}

// WrappedDEK is one generation of a DEK, wrapped.
type WrappedDEK struct {
	// Generation counts DEKs from 1.
	Generation ident.KeyGeneration
	// Created is when it was made, in UTC, to the nanosecond.
	Created time.Time
	// Wrapped is nonce ‖ ciphertext ‖ tag: 60 bytes.
	Wrapped []byte
}

// WrappedSigningKey is an Ed25519 key, its private half wrapped.
type WrappedSigningKey struct {
	// Public is the public half, 32 bytes.
	Public ed25519.PublicKey
	// Wrapped is the 32-byte seed as nonce ‖ ciphertext ‖ tag: 60 bytes.
	Wrapped []byte
}

// An envelope, big-endian:
//
//	 0   4  magic "KLEV"
//	 4   1  format version, 1
//	 5   1  reserved, 0
//	 6   2  number n of DEKs, 1 to 4096
//	 8   4  KEK generation
//	12 72n  DEKs by ascending generation, each
//	           0   4  generation
//	           4   8  made at, nanoseconds since 1970 (two's complement)
//	          12  60  wrapped DEK
//	 +0  32  public signing key
//	+32  60  wrapped signing key
//	+92   4  CRC-32C of everything before
//
// So 180 bytes with one DEK, 72 more for each rotation.
const (
	envelopeMagic  = "KLEV"
	envelopeFormat = 1
	envelopeHead   = 12
	wrappedSize    = seal.KeySize + seal.Overhead
	dekSize        = 12 + wrappedSize
	envelopeTail   = ed25519.PublicKeySize + wrappedSize + 4

	// MaxDEKs is how many DEKs an envelope holds: rotated daily, 11 years.
	MaxDEKs = 4096
)

// Current returns the DEK that seals.
func (e Envelope) Current() WrappedDEK { return e.DEKs[len(e.DEKs)-1] }

// find returns the DEK of a generation.
func (e Envelope) find(generation ident.KeyGeneration) (WrappedDEK, bool) {
	i, ok := slices.BinarySearchFunc(e.DEKs, generation, func(d WrappedDEK, g ident.KeyGeneration) int {
		return int(int64(d.Generation.Uint32()) - int64(g.Uint32()))
	})
	if !ok {
		return WrappedDEK{}, false
	}
	return e.DEKs[i], true
}

// Validate returns why e is no envelope: Invalid.
func (e Envelope) Validate() error {
	const op = "key envelope"
	if e.KEK.IsZero() || len(e.DEKs) == 0 || len(e.DEKs) > MaxDEKs {
		return fault.New(op, fault.Invalid, "an envelope names a KEK generation and holds 1 to %d DEKs, not %d", MaxDEKs, len(e.DEKs))
	}
	var last uint32
	for _, d := range e.DEKs {
		if d.Generation.Uint32() <= last || len(d.Wrapped) != wrappedSize || !time.Unix(0, d.Created.UnixNano()).Equal(d.Created) {
			return fault.New(op, fault.Invalid, "DEK generation %s is out of order or malformed", d.Generation)
		}
		last = d.Generation.Uint32()
	}
	if len(e.Signing.Public) != ed25519.PublicKeySize || len(e.Signing.Wrapped) != wrappedSize {
		return fault.New(op, fault.Invalid, "the signing key is malformed")
	}
	return nil
}

// Encode returns the envelope's bytes. Equal envelopes give equal bytes. It
// panics on an envelope that Validate refuses: Create, the Rotate functions
// and DecodeEnvelope make none.
func (e Envelope) Encode() []byte {
	if err := e.Validate(); err != nil {
		panic(fmt.Sprintf("keyring: encode: %v", err))
	}
	b := make([]byte, 0, envelopeHead+len(e.DEKs)*dekSize+envelopeTail)
	b = append(b, envelopeMagic...)
	b = append(b, envelopeFormat, 0)
	b = binary.BigEndian.AppendUint16(b, uint16(len(e.DEKs)))
	b = binary.BigEndian.AppendUint32(b, e.KEK.Uint32())
	for _, d := range e.DEKs {
		b = binary.BigEndian.AppendUint32(b, d.Generation.Uint32())
		b = binary.BigEndian.AppendUint64(b, uint64(d.Created.UnixNano()))
		b = append(b, d.Wrapped...)
	}
	b = append(b, e.Signing.Public...)
	b = append(b, e.Signing.Wrapped...)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// DecodeEnvelope reads what Encode wrote; the result shares no memory with b.
// Errors: Corruption (that names no file), Incompatible for another version.
func DecodeEnvelope(b []byte) (Envelope, error) {
	const op = "key envelope"
	damage := func(what string) (Envelope, error) {
		return Envelope{}, fault.New(op, fault.Corruption, "the key envelope is damaged: %s", what)
	}
	if len(b) < envelopeHead+4 || string(b[:4]) != envelopeMagic {
		return damage("it does not begin as one")
	}
	sum := len(b) - 4
	if crc32.Checksum(b[:sum], castagnoli) != binary.BigEndian.Uint32(b[sum:]) {
		return damage("its checksum does not match")
	}
	if b[4] != envelopeFormat {
		return Envelope{}, fault.New(op, fault.Incompatible, "the key envelope has format %d, this program knows %d: use a newer program", b[4], envelopeFormat)
	}
	n := int(binary.BigEndian.Uint16(b[6:]))
	if b[5] != 0 || len(b) != envelopeHead+n*dekSize+envelopeTail {
		return damage("its length does not fit its content")
	}
	b = bytes.Clone(b)
	e := Envelope{KEK: ident.NewKeyGeneration(binary.BigEndian.Uint32(b[8:])), DEKs: make([]WrappedDEK, n)}
	rest := b[envelopeHead:]
	for i := range e.DEKs {
		e.DEKs[i] = WrappedDEK{
			Generation: ident.NewKeyGeneration(binary.BigEndian.Uint32(rest)),
			Created:    time.Unix(0, int64(binary.BigEndian.Uint64(rest[4:]))).UTC(),
			Wrapped:    rest[12:dekSize:dekSize],
		}
		rest = rest[dekSize:]
	}
	const end = ed25519.PublicKeySize + wrappedSize
	e.Signing = WrappedSigningKey{
		Public:  ed25519.PublicKey(rest[:ed25519.PublicKeySize:ed25519.PublicKeySize]),
		Wrapped: rest[ed25519.PublicKeySize:end:end],
	}
	if err := e.Validate(); err != nil {
		return damage("its content makes no sense")
	}
	return e, nil
}

// CheckSuccessor returns nil when next may follow prev as the tenant's
// envelope, else a Conflict. It is pure, so that every replica refuses the
// same: two rotations proposed from the same envelope must not both take
// effect, since the second would drop the first one's DEK and with it all
// that was sealed under it.
//
// Allowed is: the same KEK, and DEKs added behind the old ones, which stay as
// they are; or a later KEK, and the same DEKs by generation and time, wrapped
// anew, with more behind them or not. The public signing key never changes.
func CheckSuccessor(prev, next Envelope) error {
	const op = "key envelope"
	conflict := func(format string, args ...any) error {
		return fault.New(op, fault.Conflict, "the tenant's keys changed meanwhile: "+format+": rotate again", args...)
	}
	if err := next.Validate(); err != nil {
		return err
	}
	sameKEK := next.KEK == prev.KEK
	if !sameKEK && next.KEK.Uint32() < prev.KEK.Uint32() {
		return conflict("KEK generation %s is in force, not %s", prev.KEK, next.KEK)
	}
	if !next.Signing.Public.Equal(prev.Signing.Public) || sameKEK && !bytes.Equal(prev.Signing.Wrapped, next.Signing.Wrapped) {
		return conflict("the signing key differs")
	}
	if len(next.DEKs) < len(prev.DEKs) || sameKEK && len(next.DEKs) == len(prev.DEKs) {
		return conflict("there are %d DEKs, not %d", len(prev.DEKs), len(next.DEKs))
	}
	for i, d := range prev.DEKs {
		n := next.DEKs[i]
		if n.Generation != d.Generation || !n.Created.Equal(d.Created) || sameKEK && !bytes.Equal(n.Wrapped, d.Wrapped) {
			return conflict("DEK generation %s differs", d.Generation)
		}
	}
	return nil
}
