package keyring

import (
	"os"
	"path/filepath"
	"testing"

	"kimberlite/internal/disk"
	"kimberlite/internal/kms"
)

// blobSize is the size of a KEK wrapped by the file provider.
const blobSize = 74

// opened counts the places of all files below dir at which a blob begins that
// the master key opens for a tenant and the generations that were made.
func opened(t *testing.T, p kms.Provider, dir string, n uint64) (found int) {
	t.Helper()
	// The head and the checksum of a blob are no secret, so an attacker makes
	// them: only the 60 sealed bytes must be found.
	some, err := p.Wrap(t.Context(), make([]byte, 32), kms.Context{Tenant: tenant(n), Generation: gen(1)})
	wantNil(t, err)
	err = filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b := readOS(t, path)
		for at := 0; at+wrappedSize <= len(b); at++ {
			blob := forge(some, b[at:at+wrappedSize])
			for g := uint32(1); g <= 2; g++ {
				if kek, err := p.Unwrap(t.Context(), blob, kms.Context{Tenant: tenant(n), Generation: gen(g)}); err == nil {
					clear(kek)
					found++
				}
			}
		}
		return nil
	})
	wantNil(t, err)
	return found
}

// forge returns a blob with the head of one and the sealed bytes given.
func forge(head, sealed []byte) []byte {
	blob := append([]byte(nil), head[:10]...)
	blob = append(blob, sealed...)
	sum := crc32c(blob)
	return append(blob, byte(sum>>24), byte(sum>>16), byte(sum>>8), byte(sum))
}

func TestAfterErasureTheMasterKeyOpensNothingOfTheTenantInAnyFile(t *testing.T) {
	p := openMaster(t)
	dir := t.TempDir()
	r, err := Open(Options{FS: disk.OS{}, Dir: filepath.Join(dir, "keyring")})
	wantNil(t, err)
	envelopes := map[string][]byte{}
	for n := uint64(1); n <= 3; n++ {
		m := create(t, p, n)
		if len(m.kek.Blob) != blobSize {
			t.Fatalf("a wrapped KEK has %d bytes", len(m.kek.Blob))
		}
		wantNil(t, r.Put(tenant(n), m.kek.Gen, m.kek.Blob))
		envelopes["a"+tenant(n).String()] = m.env.Encode()
		// A KEK rotation, of which the old KEK is left, as by a crash; and a
		// master rotation, which replaces.
		next, kek, err := RotateKEK(t.Context(), p, m.keys, m.env)
		wantNil(t, err, r.Put(tenant(n), kek.Gen, kek.Blob))
		envelopes["b"+tenant(n).String()] = next.Encode()
		blob, err := RewrapKEK(t.Context(), p, p, tenant(n), kek.Gen, kek.Blob)
		wantNil(t, err, r.Replace(tenant(n), kek.Gen, blob))
	}
	// What the replicated log, snapshots and backups keep: every envelope.
	for name, b := range envelopes {
		wantNil(t, os.WriteFile(filepath.Join(dir, name), b, 0o600))
	}
	// The control: the search finds what is there.
	if got := opened(t, p, dir, 2); got != 2 {
		t.Fatalf("the search finds %d KEKs of tenant 2, want 2", got)
	}
	wantNil(t, r.DestroyAll(tenant(2)))
	if got := opened(t, p, dir, 2); got != 0 {
		t.Errorf("the master key still opens %d KEKs of the erased tenant", got)
	}
	wantNil(t, r.Close())
	r, err = Open(Options{FS: disk.OS{}, Dir: filepath.Join(dir, "keyring")})
	wantNil(t, err)
	defer func() { _ = r.Close() }()
	if got := len(r.Generations(tenant(2))); got != 0 {
		t.Errorf("%d generations of the erased tenant", got)
	}
	for _, n := range []uint64{1, 3} {
		if got := opened(t, p, dir, n); got != 2 {
			t.Errorf("tenant %d lost a key", n)
		}
	}
}

func TestEnvelopeAloneOpensNothingUnderTheMasterKey(t *testing.T) {
	p := openMaster(t)
	m := create(t, p, 1)
	dir := t.TempDir()
	wantNil(t, os.WriteFile(filepath.Join(dir, "envelope"), m.env.Encode(), 0o600))
	if got := opened(t, p, dir, 1); got != 0 {
		t.Errorf("the master key opens %d parts of an envelope", got)
	}
}
