package keyring

import (
	"encoding/binary"

	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/seal"
)

// What a key wrapped under a KEK is; the strings are part of the format.
const (
	kindDEK     = "dek"
	kindSigning = "signing"
)

// wrapKey returns the key that wraps a tenant's keys: derived from the KEK for
// this purpose alone, bound to tenant and KEK generation.
func wrapKey(tenant ident.TenantID, generation ident.KeyGeneration, kek []byte) (*seal.Key, error) {
	d, err := seal.NewDEK(tenant, generation, kek)
	if err != nil {
		return nil, err
	}
	defer d.Zero()
	return d.Derive(seal.KeyWrap, nil)
}

// wrapPlace returns the authenticated data of a wrapped key: what it is, whose,
// which generation, under which KEK, and what the envelope says of it in the
// clear (when a DEK was made, the public half of a signing key).
func wrapPlace(kind string, o owner, generation ident.KeyGeneration, clear []byte) []byte {
	b := append(make([]byte, 0, 96), "kimberlite/v1/"...)
	b = append(append(b, kind...), 0)
	b = binary.BigEndian.AppendUint64(b, o.tenant.Uint64())
	b = binary.BigEndian.AppendUint32(b, o.generation.Uint32())
	b = binary.BigEndian.AppendUint32(b, generation.Uint32())
	return append(b, clear...)
}

// dekPlace is wrapPlace for a DEK; o is the tenant and the KEK's generation.
func dekPlace(o owner, d WrappedDEK) []byte {
	made := binary.BigEndian.AppendUint64(nil, uint64(d.Created.UnixNano()))
	return wrapPlace(kindDEK, o, d.Generation, made)
}

// signingPlace is wrapPlace for the signing key.
func signingPlace(o owner, s WrappedSigningKey) []byte {
	return wrapPlace(kindSigning, o, ident.KeyGeneration{}, s.Public)
}

// openWrapped opens one key of an envelope. Errors: KeyInvalid.
func openWrapped(k *seal.Key, wrapped, place []byte, o owner, what string) ([]byte, error) {
	secret, err := k.Open(nil, wrapped, place)
	if err != nil || len(secret) != seal.KeySize {
		clear(secret)
		return nil, fault.New("unwrap key", fault.KeyInvalid, "the %s does not open under KEK generation %s of this tenant: it was moved, or wrapped under another KEK", what, o.generation).ForTenant(o.tenant)
	}
	return secret, nil
}
