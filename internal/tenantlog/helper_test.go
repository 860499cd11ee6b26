package tenantlog

import (
	"bytes"
	"crypto/ed25519"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"kimberlite/internal/disk"
	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/record"
	"kimberlite/internal/seal"
)

var (
	tenant1 = ident.MustTenantID(1)
	tenant2 = ident.MustTenantID(2)
	epoch   = time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)
	signer  = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{5}, ed25519.SeedSize))
	public  = signer.Public().(ed25519.PublicKey)
)

const testDir = "/data/tenants/1/log"

// chain makes records, each following the one before, and remembers them.
type chain struct {
	t      testing.TB
	tenant ident.TenantID
	key    *seal.Key
	last   record.Hash
	recs   [][]byte
}

func newChain(t testing.TB, tenant ident.TenantID) *chain {
	t.Helper()
	key, err := seal.NewKey(bytes.Repeat([]byte{byte(tenant.Uint64())}, seal.KeySize))
	if err != nil {
		t.Fatal(err)
	}
	return &chain{t: t, tenant: tenant, key: key, last: record.GenesisHash(tenant)}
}

// next returns the next record, with a payload of n bytes.
func (c *chain) next(n int) []byte {
	c.t.Helper()
	rec, sum, err := record.SealRecord(record.Header{
		Kind: record.DataRecord, Tenant: c.tenant, Offset: ident.NewOffset(uint64(len(c.recs))),
		Time: epoch.Add(time.Duration(len(c.recs)) * time.Second), Generation: ident.NewKeyGeneration(1), PrevHash: c.last,
	}, make([]byte, n), c.key)
	if err != nil {
		c.t.Fatal(err)
	}
	c.last = sum
	c.recs = append(c.recs, rec)
	return rec
}

// misfit returns a record that is sound by itself, follows the record at index
// i-1 by its hash, and says another tenant or offset than it should.
func (c *chain) misfit(i int, tenant ident.TenantID, offset uint64) []byte {
	c.t.Helper()
	before, _, err := record.ParseHeader(c.recs[i])
	if err != nil {
		c.t.Fatal(err)
	}
	before.Tenant, before.Offset = tenant, ident.NewOffset(offset)
	rec, _, err := record.SealRecord(before, make([]byte, 50), c.key)
	if err != nil {
		c.t.Fatal(err)
	}
	return rec
}

func testOptions(fsys disk.FS, tenant ident.TenantID) Options {
	return Options{FS: fsys, Dir: testDir, Tenant: tenant, SegmentBytes: 1200, BufferBytes: 300}
}

func mustOpen(t testing.TB, o Options, at Position) *Log {
	t.Helper()
	l, err := Open(o, at)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func mustAppend(t testing.TB, l *Log, rec []byte) Position {
	t.Helper()
	pos, err := l.Append(rec)
	if err != nil {
		t.Fatal(err)
	}
	return pos
}

func mustSync(t testing.TB, l *Log) {
	t.Helper()
	if err := l.Sync(); err != nil {
		t.Fatal(err)
	}
}

// grow appends n new records of up to size payload bytes, and returns the
// position after each.
func grow(t testing.TB, l *Log, c *chain, n, size int, rng *rand.Rand) []Position {
	t.Helper()
	var positions []Position
	for range n {
		rec := c.next(rng.IntN(size + 1))
		if want, got := l.SegmentFor(len(rec)), mustAppend(t, l, rec); want != got.Segment {
			t.Fatalf("SegmentFor said %s, the record landed in %s", want, got.Segment)
		}
		positions = append(positions, l.Position())
	}
	return positions
}

func testRand(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, seed)) }

func signHead(t testing.TB, fsys disk.FS, tenant ident.TenantID, p Position) {
	t.Helper()
	h := record.Head{Tenant: tenant, Next: p.Next, LastHash: p.LastHash, Time: epoch,
		TotalBytes: p.TotalBytes, Segment: p.Segment, SegmentBytes: p.SegmentBytes}
	if err := h.Sign(signer); err != nil {
		t.Fatal(err)
	}
	if err := WriteHead(fsys, testDir, h); err != nil {
		t.Fatal(err)
	}
}

// smallLog is a signed log of some segments on a filesystem in memory.
func smallLog(t testing.TB, tenant ident.TenantID, n int) (*disk.Mem, *chain, []Position) {
	t.Helper()
	mem, c := disk.NewMem(), newChain(t, tenant)
	l := mustOpen(t, testOptions(mem, tenant), Start(tenant))
	positions := grow(t, l, c, n, 120, testRand(tenant.Uint64()))
	mustSync(t, l)
	signHead(t, mem, tenant, l.Position())
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return mem, c, positions
}

func readFile(t testing.TB, fsys disk.FS, name string) []byte {
	t.Helper()
	b, err := disk.ReadFile(fsys, name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func writeFile(t testing.TB, fsys disk.FS, name string, b []byte) {
	t.Helper()
	f, err := fsys.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(b, 0); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// files returns the content of every file of a log.
func files(t testing.TB, fsys disk.FS) map[string][]byte {
	t.Helper()
	names, err := fsys.ReadDir(testDir)
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string][]byte)
	for _, name := range names {
		all[filepath.Join(testDir, name)] = readFile(t, fsys, filepath.Join(testDir, name))
	}
	return all
}

// readAll reads a log from its start in small steps.
func readAll(l *Log, step int) ([]Raw, error) {
	var all []Raw
	var at Cursor
	for {
		recs, next, err := l.Read(at, step)
		if err != nil {
			return all, err
		}
		if len(recs) == 0 {
			return all, nil
		}
		all, at = append(all, recs...), next
	}
}

func wantRecords(t testing.TB, l *Log, step int, want [][]byte) []Raw {
	t.Helper()
	got, err := readAll(l, step)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != len(want) {
		t.Fatalf("%d records, want %d", len(got), len(want))
	}
	for i := range got {
		if !bytes.Equal(got[i].Bytes, want[i]) || got[i].Cursor.Offset.Uint64() != uint64(i) {
			t.Fatalf("record %d is not what was appended", i)
		}
	}
	return got
}

func wantKind(t testing.TB, err error, kind fault.Kind) {
	t.Helper()
	if !fault.Is(err, kind) {
		t.Fatalf("want %s, got %v", kind, err)
	}
}
