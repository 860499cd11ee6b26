// Package seal is the narrow interface between cryptography and storage:
// every byte of a tenant that reaches a disk passes through [Key.Seal].
//
// It guarantees AES-256-GCM with a random nonce, under a subkey that HKDF
// binds to the tenant, the key generation, the purpose and the file, and it
// authenticates the place that the caller names. So ciphertext moved to
// another tenant, file, kind or position does not open. It must not know
// about files or keyrings; the tenant log, the page store and the keyring
// call it.
//
// Only Go's own cryptography is used, in the forms that
// GODEBUG=fips140=only allows (crypto/cipher.NewGCMWithRandomNonce).
package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"sync"
	"sync/atomic"

	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
)

// Sizes in bytes.
const (
	// KeySize is the size of every symmetric key: KEK, DEK and subkey.
	KeySize = 32
	// NonceSize is the size of the random nonce that starts a sealed text.
	NonceSize = 12
	// TagSize is the size of the tag that ends a sealed text.
	TagSize = 16
	// Overhead is what Seal adds: sealed = nonce ‖ ciphertext ‖ tag.
	Overhead = NonceSize + TagSize
)

// MaxSealsPerKey is how many texts one subkey may seal: NIST SP 800-38D,
// section 8.3, allows 2^32 with random nonces; a quarter of it is kept as
// room for seals that a crash left uncounted.
const MaxSealsPerKey = 3 << 30

// Purpose separates the subkeys of one DEK. The list is append-only: the
// strings are part of the format.
type Purpose string

// The purposes.
const (
	// LogSegment seals records; the id is the segment's base offset.
	LogSegment Purpose = "log-segment"
	// ProjectionFile seals pages and page tables; the id is the file's random id.
	ProjectionFile Purpose = "projection-file"
	// KeyWrap wraps a key under another; the id is empty.
	KeyWrap Purpose = "key-wrap"
)

// DEK is one generation of a tenant's data encryption key, unwrapped.
// It is safe for concurrent use, Zero included.
type DEK struct {
	tenant     ident.TenantID
	generation ident.KeyGeneration
	insecure   bool

	mu     sync.RWMutex  // guards what follows
	secret [KeySize]byte // zeros once gone
	gone   bool          // set by Zero
}

// NewDEK returns the DEK of a tenant and generation. It copies secret, which
// must be [KeySize] bytes.
func NewDEK(tenant ident.TenantID, generation ident.KeyGeneration, secret []byte) (*DEK, error) {
	if len(secret) != KeySize {
		return nil, fault.New("seal", fault.KeyInvalid, "a DEK has %d bytes, not %d", KeySize, len(secret))
	}
	d := &DEK{tenant: tenant, generation: generation}
	copy(d.secret[:], secret)
	return d, nil
}

// Tenant returns whose key it is.
func (d *DEK) Tenant() ident.TenantID { return d.tenant }

// Generation returns the key's generation.
func (d *DEK) Generation() ident.KeyGeneration { return d.generation }

// Zero overwrites the secret; from then on Derive fails with KeyUnavailable,
// so that nothing can ever be sealed under a key of zeros. Keys derived before
// keep working: whoever holds them drops them.
func (d *DEK) Zero() {
	d.mu.Lock()
	defer d.mu.Unlock()
	clear(d.secret[:])
	d.gone = true
}

// Derive returns the subkey for a purpose and a file. The same arguments give
// the same subkey; id is at most 64 bytes.
func (d *DEK) Derive(purpose Purpose, id []byte) (*Key, error) {
	if d.insecure {
		return &Key{}, nil
	}
	d.mu.RLock()
	defer d.mu.RUnlock()
	if d.gone {
		return nil, fault.New("seal", fault.KeyUnavailable, "the tenant's keys were wiped from memory: it is locked, closed or erased").ForTenant(d.tenant)
	}
	info := make([]byte, 0, 128)
	info = append(info, "kimberlite/v1/"...)
	info = append(info, purpose...)
	info = append(info, 0)
	info = binary.BigEndian.AppendUint64(info, d.tenant.Uint64())
	info = binary.BigEndian.AppendUint32(info, d.generation.Uint32())
	info = append(info, id...)
	sub, err := hkdf.Key(sha256.New, d.secret[:], nil, string(info), KeySize)
	if err != nil {
		return nil, fault.Wrap("seal", fault.Internal, err, "cannot derive a subkey")
	}
	defer clear(sub)
	return NewKey(sub)
}

// Key seals and opens. It is safe for concurrent use.
type Key struct {
	aead  cipher.AEAD // nil only in the benchmarks' plaintext mode
	seals atomic.Uint64
}

// NewKey returns a key from [KeySize] bytes, which it does not keep.
func NewKey(secret []byte) (*Key, error) {
	if len(secret) != KeySize {
		return nil, fault.New("seal", fault.KeyInvalid, "a key has %d bytes, not %d", KeySize, len(secret))
	}
	block, err := aes.NewCipher(secret)
	if err != nil {
		return nil, fault.Wrap("seal", fault.Internal, err, "cannot make the cipher")
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, fault.Wrap("seal", fault.Internal, err, "cannot make the cipher")
	}
	return &Key{aead: aead}, nil
}

// Seal appends nonce ‖ ciphertext ‖ tag of plaintext to dst and returns it.
// place is authenticated and not stored. dst must not overlap plaintext.
func (k *Key) Seal(dst, plaintext, place []byte) []byte {
	k.seals.Add(1)
	if k.aead == nil {
		return sealPlain(dst, plaintext)
	}
	return k.aead.Seal(dst, nil, plaintext, place)
}

// Open appends the plaintext of sealed to dst and returns it. It fails with a
// Corruption that names no file when sealed is damaged, was sealed under
// another key, or belongs to another place.
func (k *Key) Open(dst, sealed, place []byte) ([]byte, error) {
	if k.aead == nil {
		return openPlain(dst, sealed)
	}
	out, err := k.aead.Open(dst, nil, sealed, place)
	if err != nil {
		return nil, fault.New("open", fault.Corruption, "sealed bytes do not open: damaged, moved, or sealed under another key")
	}
	return out, nil
}

// Seals returns how many texts this key sealed since it was derived.
func (k *Key) Seals() uint64 { return k.seals.Load() }

// KeySource gives a tenant's DEKs to whoever seals. Implementations are safe
// for concurrent use.
type KeySource interface {
	// Current returns the generation that seals from now on.
	Current() ident.KeyGeneration
	// DEK returns a generation, old or current; NotFound when there is none,
	// KeyUnavailable when the tenant is locked or its KEK is gone.
	DEK(generation ident.KeyGeneration) (*DEK, error)
}

// RandomKey returns [KeySize] fresh random bytes.
func RandomKey() []byte {
	b := make([]byte, KeySize)
	_, _ = rand.Read(b) // crypto/rand.Read never fails: it ends the process
	return b
}
