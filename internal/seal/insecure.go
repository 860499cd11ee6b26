package seal

import (
	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
)

// InsecurePlaintextDEK returns a DEK whose keys do not encrypt: sealed bytes
// keep their size and layout, with zeros for nonce and tag. It exists only to
// measure what sealing costs; a test checks that nothing outside _test.go
// files names it.
func InsecurePlaintextDEK(tenant ident.TenantID, generation ident.KeyGeneration) *DEK {
	return &DEK{tenant: tenant, generation: generation, insecure: true}
}

func sealPlain(dst, plaintext []byte) []byte {
	var pad [TagSize]byte
	dst = append(dst, pad[:NonceSize]...)
	dst = append(dst, plaintext...)
	return append(dst, pad[:]...)
}

func openPlain(dst, sealed []byte) ([]byte, error) {
	if len(sealed) < Overhead {
		return nil, fault.New("open", fault.Corruption, "sealed bytes are cut short")
	}
	return append(dst, sealed[NonceSize:len(sealed)-TagSize]...), nil
}
