package torture

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"kimberlite/internal/disk"
	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/node"
	"kimberlite/internal/record"
	"kimberlite/internal/verify"
)

const flipTenants = 2

// still is a data directory at rest, made once and copied for each test.
type still struct {
	mem  *disk.Mem
	key  string
	seed uint64
	l    *ledger
}

// atRest makes a data directory of two tenants with a few operations each and
// closes it.
func atRest(t *testing.T, each int) *still {
	t.Helper()
	s := &still{mem: disk.NewMem(), key: masterKey(t), seed: seedOf(t), l: newLedger()}
	n := open(t, s.config(s.mem))
	s.work(t, n, each)
	if err := closeNode(n); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *still) config(fsys disk.FS) node.Config {
	c := small(fsys, dataDir, s.key)
	c.MaxOpenTenants = flipTenants + 1
	return c
}

func (s *still) work(t *testing.T, n *node.Node, each int) {
	t.Helper()
	ld := &load{n: n, l: s.l, seed: s.seed, tenants: flipTenants, writers: 2}
	if err := ld.setup(); err != nil {
		t.Fatal(err)
	}
	if err := ld.run(context.Background(), each); err != nil {
		t.Fatal(err)
	}
}

// copy returns the files as they are, for one test to harm.
func (s *still) copy() *disk.Mem { return s.mem.CrashClone(nil) }

func tenantPath(id uint64, elem ...string) string {
	return filepath.Join(append([]string{dataDir, "shards", "1", "tenants", ident.MustTenantID(id).String()}, elem...)...)
}

// files returns the files below a directory, in order.
func files(t *testing.T, fsys disk.FS, dir string) []string {
	t.Helper()
	names, err := fsys.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, name := range names {
		path := filepath.Join(dir, name)
		info, err := fsys.Stat(path)
		switch {
		case err != nil:
			t.Fatal(err)
		case info.IsDir():
			all = append(all, files(t, fsys, path)...)
		default:
			all = append(all, path)
		}
	}
	return all
}

func contents(t *testing.T, fsys disk.FS, path string) []byte {
	t.Helper()
	data, err := disk.ReadFile(fsys, path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// overwrite puts data at a place of a file.
func overwrite(t *testing.T, fsys disk.FS, path string, at int, data []byte) {
	t.Helper()
	f, err := fsys.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteAt(data, int64(at))
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		t.Fatal(err)
	}
}

// flip returns a byte with one bit, or all, turned over.
func flip(b byte, at int) byte {
	if at%9 == 8 {
		return ^b
	}
	return b ^ 1<<(at%9)
}

// TestEveryFlippedByteOfALogIsNamed flips each byte of a tenant's segments and
// of its signed head. The verifier names file and place; whoever reads gets
// the right rows and events, or Corruption.
func TestEveryFlippedByteOfALogIsNamed(t *testing.T) {
	s := atRest(t, 12)
	all := whole(t, s.seed)
	for _, path := range files(t, s.mem, tenantPath(1, "log")) {
		data := contents(t, s.mem, path)
		bounds := recordBounds(t, path, data)
		step := 1
		if !all {
			step = 37
		}
		mem := s.copy()
		for at := 0; at < len(data); at += step {
			overwrite(t, mem, path, at, []byte{flip(data[at], at)})
			rep, err := verify.Path(context.Background(), mem, tenantPath(1), nil)
			if err != nil {
				t.Fatalf("%s, byte %d: %v", path, at, err)
			}
			named := slices.ContainsFunc(rep.All(), func(p verify.Problem) bool {
				return p.File == path && within(bounds, at, int(p.Offset))
			})
			if !named {
				t.Errorf("%s, byte %d: %+v", path, at, rep.All())
			}
			overwrite(t, mem, path, at, data[at:at+1])
		}
		t.Logf("%s: %d bytes", filepath.Base(path), len(data))
	}
}

// recordBounds returns where the records of a segment begin, its header and
// its end included; of another file only its two ends.
func recordBounds(t *testing.T, path string, data []byte) []int {
	t.Helper()
	if !strings.HasSuffix(path, ".segment") {
		return []int{0, len(data)}
	}
	bounds := []int{0, record.SegmentHeaderBytes}
	for at := record.SegmentHeaderBytes; at < len(data); {
		_, payload, err := record.ParseHeader(data[at:])
		if err != nil {
			t.Fatal(err)
		}
		at += record.HeaderBytes + payload + record.TrailerBytes
		bounds = append(bounds, at)
	}
	return bounds
}

// within says whether a reported offset lies in the record, or header, that
// was flipped.
func within(bounds []int, flipped, reported int) bool {
	for i := range len(bounds) - 1 {
		if bounds[i] <= flipped && flipped < bounds[i+1] {
			return bounds[i] <= reported && reported < bounds[i+1]
		}
	}
	return false
}

// TestAFlippedByteOfALogIsNeverReadAsSomethingElse opens the node over a
// flipped byte, reads, and rebuilds from the log.
func TestAFlippedByteOfALogIsNeverReadAsSomethingElse(t *testing.T) {
	s := atRest(t, 12)
	samples := 300
	if !whole(t, s.seed) {
		samples = 3
	}
	rng := rand.New(rand.NewPCG(s.seed, 6))
	var paths []string
	for _, path := range files(t, s.mem, tenantPath(1, "log")) {
		if strings.HasSuffix(path, ".segment") {
			paths = append(paths, path)
		}
	}
	for range samples {
		path := paths[rng.IntN(len(paths))]
		data := contents(t, s.mem, path)
		at := rng.IntN(len(data))
		mem := s.copy()
		overwrite(t, mem, path, at, []byte{flip(data[at], rng.IntN(9))})
		s.readOver(t, mem, fmt.Sprintf("%s, byte %d", path, at), func(err error) bool { return fault.Is(err, fault.Corruption) })
	}
}

// readOver opens a node over harmed files and reads all, before and after a
// rebuild: what it gets is right, or an error that may be. Tenant 2, which is
// unharmed when the harm is tenant 1's alone, reads on.
func (s *still) readOver(t *testing.T, mem *disk.Mem, what string, may func(error) bool) {
	t.Helper()
	n, err := node.Open(context.Background(), s.config(mem))
	if err != nil {
		if !may(err) {
			t.Errorf("%s: open: %s: %v", what, kind(err), err)
		}
		return
	}
	defer func() {
		if err := closeNode(n); err != nil && !may(err) {
			t.Errorf("%s: close: %v", what, err)
		}
	}()
	for _, rebuild := range []bool{false, true} {
		c := checker{n: n, l: s.l, seed: s.seed, tenants: flipTenants, rebuild: func(uint64) bool { return rebuild }}
		for id := uint64(1); id <= flipTenants; id++ {
			if err := c.tenant(context.Background(), id); err != nil && (id == 2 && strings.Contains(what, "/tenants/") || !may(err)) {
				t.Errorf("%s: tenant %d: %s: %v", what, id, kind(err), err)
			}
		}
	}
}

// TestAFlippedByteOfAProjectionGivesNoWrongRows flips bytes of a projection's
// file: all of its first page, and every so many beyond. The tenant then has
// exactly its rows, since what is damaged is rebuilt, or says Corruption.
func TestAFlippedByteOfAProjectionGivesNoWrongRows(t *testing.T) {
	s := atRest(t, 30)
	all := whole(t, s.seed)
	mem := s.copy()
	n := open(t, s.config(mem))
	defer func() {
		if err := closeNode(n); err != nil {
			t.Error(err)
		}
	}()
	ctx := context.Background()
	h, err := n.Tenants().Tenant(ident.MustTenantID(1))
	if err != nil {
		t.Fatal(err)
	}
	want, err := h.TableHash(ctx)
	if err != nil {
		t.Fatal(err)
	}
	path := tenantPath(1, "projection.db")
	shut(t, n)
	data := contents(t, mem, path)
	flips, refused := 0, 0
	for at := 0; at < len(data); at += stride(all, at) {
		harmed := bytes.Clone(data)
		harmed[at] = flip(data[at], at)
		if err := disk.WriteFileDurable(mem, path, harmed, 0o600); err != nil {
			t.Fatal(err)
		}
		flips++
		got, err := h.TableHash(ctx)
		switch {
		case fault.Is(err, fault.Corruption):
			// Found while it was being read; the next opening rebuilds.
			refused++
			got, err = h.TableHash(ctx)
			fallthrough
		default:
			if err != nil || got != want {
				t.Errorf("byte %d of %d: %v, the right rows: %t", at, len(data), err, got == want)
			}
		}
		shut(t, n)
	}
	t.Logf("%d flips in %d bytes: %d found while reading, the others at opening or without effect", flips, len(data), refused)
}

// stride says how far the next byte to flip is: each of the first page, where
// the root is.
func stride(all bool, at int) int {
	switch {
	case !all:
		return 2999
	case at < 4096:
		return 1
	case at < 8192:
		return 13
	}
	return 101
}

// shut closes tenant 1 as the LRU would.
func shut(t *testing.T, n *node.Node) {
	t.Helper()
	closed, err := n.Tenants().CloseTenant(ident.MustTenantID(1))
	if err != nil || !closed {
		t.Fatalf("closing the tenant: %t, %v", closed, err)
	}
}

// TestAFlippedByteElsewhereIsSaidOrHarmless flips bytes of everything else in
// a data directory: settings, keyring, replicated log.
func TestAFlippedByteElsewhereIsSaidOrHarmless(t *testing.T) {
	s := atRest(t, 12)
	each := 40
	if !whole(t, s.seed) {
		each = 1
	}
	rng := rand.New(rand.NewPCG(s.seed, 7))
	said, silent := 0, 0
	for _, path := range files(t, s.mem, dataDir) {
		data := contents(t, s.mem, path)
		if strings.Contains(path, "/tenants/") || len(data) == 0 {
			continue
		}
		for i := range each {
			at := rng.IntN(len(data))
			if i%2 == 0 {
				at = rng.IntN(min(len(data), 4096)) // files of the engine end in zeros
			}
			what := fmt.Sprintf("%s, byte %d", strings.TrimPrefix(path, dataDir), at)
			mem := s.copy()
			overwrite(t, mem, path, at, []byte{flip(data[at], rng.IntN(9))})
			found := verified(mem, dataDir)
			if found != nil {
				said++
			} else {
				silent++
			}
			s.readOver(t, mem, what, saidOf(path))
		}
	}
	t.Logf("the verifier reported %d flips, %d had no effect", said, silent)
}

// saidOf returns the errors that a flip in a file may lead to.
func saidOf(path string) func(error) bool {
	kinds := []fault.Kind{fault.Corruption}
	switch {
	case strings.HasSuffix(path, "node.toml"):
		kinds = append(kinds, fault.Invalid, fault.Incompatible, fault.KeyInvalid)
	case strings.Contains(path, "/keyring/"):
		kinds = append(kinds, fault.KeyInvalid, fault.KeyUnavailable, fault.Incompatible)
	case strings.Contains(path, "/replication/"):
		kinds = append(kinds, fault.Incompatible)
	}
	return func(err error) bool { return slices.Contains(kinds, fault.KindOf(err)) }
}
