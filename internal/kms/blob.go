package kms

import (
	"encoding/binary"
	"hash/crc32"

	"kimberlite/internal/fault"
	"kimberlite/internal/seal"
)

// A key wrapped by the file provider, big-endian:
//
//	 0        1  format version, 1
//	 1        1  provider, 1 = file
//	 2        8  version of the master key that wrapped it
//	10   28 + n  nonce(12) ‖ ciphertext(n) ‖ tag(16), AES-256-GCM
//	38+n      4  CRC-32C of everything before
//
// A KEK has n = 32, so 74 bytes. The checksum comes first when reading: it
// tells damage (Corruption) from a sound blob that this key or this context
// does not open (KeyInvalid). It protects nothing; the tag does.
const (
	blobFormat   = 1
	blobFile     = 1
	versionSize  = 8
	blobHead     = 2 + versionSize
	blobChecksum = 4
	minBlob      = blobHead + seal.Overhead + 1 + blobChecksum
	maxBlob      = blobHead + seal.Overhead + MaxPlaintext + blobChecksum
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// keyVersion tells master keys apart; see deriveMaster.
type keyVersion [versionSize]byte

// blob is a decoded wrapped key; sealed points into the bytes it came from.
type blob struct {
	version keyVersion
	sealed  []byte
}

// appendBlobHead appends the bytes before the sealed part.
func appendBlobHead(dst []byte, v keyVersion) []byte {
	dst = append(dst, blobFormat, blobFile)
	return append(dst, v[:]...)
}

// finishBlob appends the checksum of all of b.
func finishBlob(b []byte) []byte {
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// decodeBlob reads a wrapped key. Errors: Corruption for damage, Incompatible
// for a sound blob of another format.
func decodeBlob(b []byte) (blob, error) {
	if len(b) < minBlob || len(b) > maxBlob {
		return blob{}, fault.New("unwrap key", fault.Corruption, "the wrapped key is damaged: it has %d bytes", len(b))
	}
	body := b[:len(b)-blobChecksum]
	if crc32.Checksum(body, castagnoli) != binary.BigEndian.Uint32(b[len(body):]) {
		return blob{}, fault.New("unwrap key", fault.Corruption, "the wrapped key is damaged: its checksum does not match")
	}
	if body[0] != blobFormat {
		return blob{}, fault.New("unwrap key", fault.Incompatible, "the wrapped key has format %d, this program knows %d: use a newer program", body[0], blobFormat)
	}
	if body[1] != blobFile {
		return blob{}, fault.New("unwrap key", fault.KeyInvalid, "the key was wrapped by another kind of provider: open it with the master key URL that it was made with")
	}
	out := blob{sealed: body[blobHead:]}
	copy(out.version[:], body[2:blobHead])
	return out, nil
}
