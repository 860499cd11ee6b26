package pagestore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"sync"
	"testing"

	"kimberlite/internal/disk"
	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/seal"
)

const testPath = "/t/projection.db"

var testTenant = ident.MustTenantID(7)

// testKeys are the DEKs of one tenant.
type testKeys struct {
	mu     sync.Mutex // guards all below
	deks   []*seal.DEK
	locked bool
}

func newTestKeys(tenant ident.TenantID) *testKeys {
	k := &testKeys{}
	k.rotate(tenant)
	return k
}

func (k *testKeys) rotate(tenant ident.TenantID) {
	k.mu.Lock()
	defer k.mu.Unlock()
	secret := bytes.Repeat([]byte{byte(len(k.deks) + 1), byte(tenant.Uint64())}, seal.KeySize/2)
	dek, err := seal.NewDEK(tenant, ident.NewKeyGeneration(uint32(len(k.deks)+1)), secret)
	if err != nil {
		panic(err)
	}
	k.deks = append(k.deks, dek)
}

func (k *testKeys) lock() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.locked = true
}

func (k *testKeys) Current() ident.KeyGeneration {
	k.mu.Lock()
	defer k.mu.Unlock()
	return ident.NewKeyGeneration(uint32(len(k.deks)))
}

func (k *testKeys) DEK(g ident.KeyGeneration) (*seal.DEK, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.locked {
		return nil, fault.New("keys", fault.KeyUnavailable, "locked")
	}
	if g.IsZero() || int(g.Uint32()) > len(k.deks) {
		return nil, fault.New("keys", fault.NotFound, "no generation %s", g)
	}
	return k.deks[g.Uint32()-1], nil
}

// env is a filesystem with the keys of one tenant.
type env struct {
	t    testing.TB
	fs   disk.FS
	keys *testKeys
	max  int
}

func newEnv(t testing.TB) *env {
	return &env{t: t, fs: newMem(t), keys: newTestKeys(testTenant), max: 16}
}

func newMem(t testing.TB) *disk.Mem {
	m := disk.NewMem()
	if err := m.MkdirAll("/t", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := m.SyncDir("/"); err != nil {
		t.Fatal(err)
	}
	return m
}

func (e *env) tryOpen() (*Store, error) {
	return Open(Options{FS: e.fs, Path: testPath, Tenant: testTenant, Keys: e.keys, MaxDirtyPages: e.max})
}

func (e *env) open() *Store {
	e.t.Helper()
	s, err := e.tryOpen()
	check(e.t, err)
	return s
}

func (e *env) bytes() []byte {
	e.t.Helper()
	data, err := disk.ReadFile(e.fs, testPath)
	check(e.t, err)
	return data
}

// put replaces the whole file, without the store's knowledge.
func (e *env) put(data []byte) {
	e.t.Helper()
	check(e.t, disk.WriteFileDurable(e.fs, testPath, data, 0o600))
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantKind(t testing.TB, err error, kind fault.Kind) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want %v", kind)
	}
	if fault.KindOf(err) != kind {
		t.Fatalf("error %v is of kind %v, want %v", err, fault.KindOf(err), kind)
	}
}

// content is a page filled from a seed, with zero reserved bytes.
func content(seed uint64) []byte {
	p := make([]byte, PageSize)
	rng := rand.New(rand.NewPCG(seed, 1))
	for i := 0; i < payloadSize; i += 8 {
		binary.LittleEndian.PutUint64(p[i:], rng.Uint64())
	}
	return p
}

type writer interface {
	WriteAt(p []byte, off int64) (int, error)
}

func writePage(t testing.TB, w writer, page int, seed uint64) {
	t.Helper()
	_, err := w.WriteAt(content(seed), int64(page)*PageSize)
	check(t, err)
}

// set commits pages with contents by seed.
func set(t testing.TB, s *Store, pages map[int]uint64) {
	t.Helper()
	b := s.Begin()
	for page, seed := range pages {
		writePage(t, b, page, seed)
	}
	check(t, b.Commit())
}

func readAll(s interface {
	io.ReaderAt
	Size() int64
}) ([]byte, error) {
	p := make([]byte, s.Size())
	n, err := s.ReadAt(p, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if n != len(p) {
		return nil, io.ErrUnexpectedEOF
	}
	return p, nil
}

// state returns the whole of the latest version.
func state(t testing.TB, s *Store) []byte {
	t.Helper()
	sn := s.Snapshot()
	defer sn.Release()
	p, err := readAll(sn)
	check(t, err)
	return p
}

func wantPage(t testing.TB, r io.ReaderAt, page int, seed uint64) {
	t.Helper()
	p := make([]byte, PageSize)
	_, err := r.ReadAt(p, int64(page)*PageSize)
	check(t, err)
	if !bytes.Equal(p, content(seed)) {
		t.Fatalf("page %d is not what was written as %d", page, seed)
	}
}

// verify checks the store's own bookkeeping against its table: every slot is
// referred to at most once and marked as it is used, and nothing is kept that
// nobody needs. No Flush may be under way.
func (s *Store) verify(t testing.TB) {
	t.Helper()
	s.ioMu.Lock()
	defer s.ioMu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	live, kept := s.liveSlots(t), s.keptSlots(t)
	free := uint32(0)
	for slot := range s.slots.count {
		if s.slots.isLive(slot) != live[slot] {
			t.Fatalf("slot %d: live is %v, want %v", slot, s.slots.isLive(slot), live[slot])
		}
		if s.slots.isKept(slot) != kept[slot] {
			t.Fatalf("slot %d: kept is %v, want %v", slot, s.slots.isKept(slot), kept[slot])
		}
		if s.slots.isFree(slot) {
			free++
		}
	}
	if free != s.slots.free {
		t.Fatalf("%d slots are free, %d counted", free, s.slots.free)
	}
	for _, v := range s.pinned {
		if v.pins.Load() == 0 {
			t.Fatalf("version %d is kept for no snapshot", v.sequence)
		}
	}
	if len(s.pinned) == 0 && len(s.old) != 0 {
		t.Fatal("old pages without a snapshot")
	}
}

// liveSlots returns the slots that any version or the batch has pages in, and
// checks the frames on the way.
func (s *Store) liveSlots(t testing.TB) map[uint32]bool {
	t.Helper()
	live := map[uint32]bool{}
	use := func(at entry) {
		if at.stored() && live[at.slot] {
			t.Fatalf("slot %d is used twice", at.slot)
		}
		if at.stored() {
			live[at.slot] = true
		}
	}
	resident, oldFrames := 0, 0
	for page, at := range s.table {
		use(at)
		if at.slot == inMemory {
			resident++
			if s.memory[uint32(page)].frame == nil {
				t.Fatalf("page %d is nowhere", page)
			}
		}
	}
	for _, cells := range s.old {
		for _, c := range cells {
			use(c.at)
			if c.frame != nil {
				oldFrames++
			}
		}
	}
	if s.batch != nil {
		for _, c := range s.batch.cells {
			use(c.at)
		}
	}
	if resident != len(s.memory) || oldFrames != s.oldFrames {
		t.Fatalf("%d pages in memory, %d counted; %d old frames, %d counted", resident, len(s.memory), oldFrames, s.oldFrames)
	}
	return live
}

// keptSlots returns the slots that a durable root may refer to.
func (s *Store) keptSlots(t testing.TB) map[uint32]bool {
	t.Helper()
	kept := map[uint32]bool{0: true, 1: true}
	for _, nodes := range s.nodes {
		for _, at := range nodes {
			kept[at.slot] = true
		}
	}
	for _, slot := range s.dropped {
		if kept[slot] {
			t.Fatalf("slot %d was dropped and is in use", slot)
		}
		kept[slot] = true
	}
	for _, at := range s.table {
		if at.stored() && s.slots.isKept(at.slot) {
			kept[at.slot] = true
		}
	}
	return kept
}
