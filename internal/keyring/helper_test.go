package keyring

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kimberlite/internal/disk"
	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/kms"
)

const ringDir = "/data/keyring"

var epoch = time.Date(2025, 3, 1, 12, 0, 0, 123456789, time.UTC)

func tenant(n uint64) ident.TenantID   { return ident.MustTenantID(n) }
func gen(n uint32) ident.KeyGeneration { return ident.NewKeyGeneration(n) }
func own(t uint64, g uint32) owner     { return owner{tenant(t), gen(g)} }
func ringPath(number int) string       { return filepath.Join(ringDir, fileName(number)) }
func wantNil(t testing.TB, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

func wantKind(t testing.TB, err error, kind fault.Kind, texts ...string) {
	t.Helper()
	if !fault.Is(err, kind) {
		t.Fatalf("got error %v, want kind %s", err, kind)
	}
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("error %q does not say %q", err, text)
		}
	}
}

// blobOf returns bytes like a wrapped KEK's, which name their owner, so that a
// search finds them wherever they are.
func blobOf(t uint64, g uint32) []byte {
	b := binary.BigEndian.AppendUint64([]byte("wrapped!"), t)
	b = binary.BigEndian.AppendUint32(b, g)
	rng := rand.New(rand.NewPCG(t, uint64(g)))
	for len(b) < 74 {
		b = append(b, byte(rng.Uint32()))
	}
	return b
}

func openRing(t testing.TB, fsys disk.FS) *Ring {
	t.Helper()
	r, err := Open(Options{FS: fsys, Dir: ringDir})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// newMem returns a filesystem on which the data directory is durable, as the
// node leaves it.
func newMem(t testing.TB) *disk.Mem {
	t.Helper()
	mem := disk.NewMem()
	wantNil(t, mem.MkdirAll(filepath.Dir(ringDir), 0o700), mem.SyncDir("/"))
	return mem
}

// newRing returns a ring in memory with generation 1 of some tenants.
func newRing(t testing.TB, tenants ...uint64) (*Ring, *disk.Mem) {
	t.Helper()
	mem := newMem(t)
	r := openRing(t, mem)
	for _, n := range tenants {
		wantNil(t, r.Put(tenant(n), gen(1), blobOf(n, 1)))
	}
	return r, mem
}

func wantKey(t testing.TB, r *Ring, n uint64, g uint32) {
	t.Helper()
	if got, err := r.Get(tenant(n), gen(g)); err != nil || !bytes.Equal(got, blobOf(n, g)) {
		t.Fatalf("tenant %d, generation %d: %d bytes, %v", n, g, len(got), err)
	}
}

func wantNoKey(t testing.TB, r *Ring, n uint64, g uint32) {
	t.Helper()
	_, err := r.Get(tenant(n), gen(g))
	wantKind(t, err, fault.NotFound)
}

// ringBytes returns the bytes of every file in the ring's directory.
func ringBytes(t testing.TB, fsys disk.FS) []byte {
	t.Helper()
	names, err := fsys.ReadDir(ringDir)
	if err != nil {
		t.Fatal(err)
	}
	var all []byte
	for _, name := range names {
		b, err := disk.ReadFile(fsys, filepath.Join(ringDir, name))
		wantNil(t, err)
		all = append(all, b...)
	}
	return all
}

// wantErased searches every file for a destroyed blob, or a half of it.
func wantErased(t testing.TB, fsys disk.FS, n uint64, g uint32) {
	t.Helper()
	all, blob := ringBytes(t, fsys), blobOf(n, g)
	for _, part := range [][]byte{blob[:24], blob[24:]} {
		if i := bytes.Index(all, part); i >= 0 {
			t.Fatalf("a part of the destroyed key of tenant %d, generation %d is at byte %d", n, g, i)
		}
	}
}

// edit changes a file's bytes in place.
func edit(t testing.TB, fsys disk.FS, path string, change func(b []byte) []byte) {
	t.Helper()
	b, err := disk.ReadFile(fsys, path)
	wantNil(t, err)
	wantNil(t, disk.WriteFileDurable(fsys, path, change(b), 0o600))
}

// offsetOf returns where the slot of an owner stands.
func offsetOf(t testing.TB, r *Ring, o owner) int64 {
	t.Helper()
	r.mu.RLock()
	defer r.mu.RUnlock()
	at, ok := r.index.find(o)
	if !ok {
		t.Fatalf("no slot of %v", o)
	}
	return at.offset()
}

// openMaster makes a key file and opens it.
func openMaster(t testing.TB) kms.Provider {
	t.Helper()
	path := filepath.Join(t.TempDir(), "master.key")
	wantNil(t, kms.CreateFileKey(path))
	p, err := kms.Open(t.Context(), "file://"+path, "")
	wantNil(t, err)
	t.Cleanup(func() { _ = p.Close() })
	return p
}

func readOS(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	wantNil(t, err)
	return b
}

// putSum makes the checksum at the end of a slot or head right.
func putSum(b *[slotSize]byte) {
	binary.BigEndian.PutUint32(b[sumStart:], crc32.Checksum(b[:sumStart], castagnoli))
}

func crc32c(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }
