package kms

import (
	"bytes"
	"encoding/hex"
	"testing"

	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
)

// goldenMaster is a key for vectors alone.
func goldenMaster() []byte { return bytes.Repeat([]byte{0x42}, 32) }

// goldenBlob was written by format 1 under goldenMaster for tenant 7,
// generation 3; it must open for ever.
const goldenBlob = "0101131230d22a6bd37326feba2690760d8c74829180bf4ab434c58e5f09db49302b8745227b387e21f0b597644db09244e84db8c6cbf99e210d53d7a4be43a0d5ec306718937a1e2df5"

func golden(t *testing.T) *fileProvider {
	t.Helper()
	version, wrap, err := deriveMaster(goldenMaster())
	if err != nil {
		t.Fatal(err)
	}
	return &fileProvider{version: version, wrap: wrap}
}

func TestBlobOfFormat1OpensForEver(t *testing.T) {
	blob, err := hex.DecodeString(goldenBlob)
	if err != nil {
		t.Fatal(err)
	}
	c := Context{Tenant: ident.MustTenantID(7), Generation: ident.NewKeyGeneration(3)}
	got, err := golden(t).Unwrap(t.Context(), blob, c)
	if err != nil || string(got) != "the KEK of the golden vector...." {
		t.Fatalf("got %q, %v", got, err)
	}
}

func TestSoundBlobOfAnotherFormatOrProviderIsNotCalledDamage(t *testing.T) {
	p := golden(t)
	c := Context{Tenant: ident.MustTenantID(7), Generation: ident.NewKeyGeneration(3)}
	for at, want := range map[int]fault.Kind{0: fault.Incompatible, 1: fault.KeyInvalid} {
		blob, err := p.Wrap(t.Context(), make([]byte, 32), c)
		if err != nil {
			t.Fatal(err)
		}
		blob[at]++
		blob = finishBlob(blob[:len(blob)-blobChecksum])
		if _, err := p.Unwrap(t.Context(), blob, c); !fault.Is(err, want) {
			t.Errorf("byte %d: got %v, want %s", at, err, want)
		}
	}
}

func TestForgedHeadDoesNotOpen(t *testing.T) {
	// The head is authenticated: a blob relabelled with a sound checksum
	// still fails.
	p := golden(t)
	c := Context{Tenant: ident.MustTenantID(7), Generation: ident.NewKeyGeneration(3)}
	blob, err := p.Wrap(t.Context(), make([]byte, 32), c)
	if err != nil {
		t.Fatal(err)
	}
	relabelled := &fileProvider{version: keyVersion{1}, wrap: p.wrap}
	copy(blob[2:], relabelled.version[:])
	blob = finishBlob(blob[:len(blob)-blobChecksum])
	if _, err := relabelled.Unwrap(t.Context(), blob, c); !fault.Is(err, fault.KeyInvalid) {
		t.Errorf("got %v", err)
	}
}
