package torture

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	"kimberlite/internal/disk"
	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/node"
	"kimberlite/internal/tenant"
)

// rename moves a file or directory.
func rename(t *testing.T, fsys disk.FS, from, to string) {
	t.Helper()
	if err := fsys.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

// swap exchanges two files or directories.
func swap(t *testing.T, fsys disk.FS, a, b string) {
	t.Helper()
	rename(t, fsys, a, a+".swap")
	rename(t, fsys, b, a)
	rename(t, fsys, a+".swap", b)
}

// replace puts what another filesystem has at path in the place of what is there.
func replace(t *testing.T, fsys, from disk.FS, path string) {
	t.Helper()
	if err := errors.Join(fsys.RemoveAll(path), disk.CopyTree(fsys, path, from, path)); err != nil {
		t.Fatal(err)
	}
}

// TestMovedAndOlderFilesNeverGiveWrongRows puts files of one tenant in the
// place of another's, and older copies of files in the place of newer ones. A
// tenant then has exactly its rows, or what is wrong is said.
func TestMovedAndOlderFilesNeverGiveWrongRows(t *testing.T) {
	s := atRest(t, 12)
	older := s.copy()
	forked := s.fork(t)
	n := open(t, s.config(s.mem))
	s.work(t, n, 6)
	rotate(t, n)
	s.work(t, n, 6)
	if err := closeNode(n); err != nil {
		t.Fatal(err)
	}
	for name, m := range moves() {
		t.Run(name, func(t *testing.T) {
			mem := s.copy()
			m.harm(t, mem, copies{older, forked})
			found := verified(mem, dataDir)
			if m.verifies && found != nil {
				t.Errorf("the verifier: %v", found)
			}
			if !m.verifies && found == nil {
				t.Error("the verifier found nothing")
			}
			s.readMoved(t, mem, m)
		})
	}
}

// rotate replaces both keys of tenant 1, so that older copies lack them.
func rotate(t *testing.T, n *node.Node) {
	t.Helper()
	h, err := n.Tenants().Tenant(ident.MustTenantID(1))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(h.RotateDEK(context.Background()), h.RotateKEK(context.Background())); err != nil {
		t.Fatal(err)
	}
}

// copies are data directories of the same tenants under the same keys.
type copies struct {
	// older is from earlier, forked went another way from there.
	older, forked *disk.Mem
}

// fork returns a copy that goes on with other operations.
func (s *still) fork(t *testing.T) *disk.Mem {
	t.Helper()
	other := &still{mem: s.copy(), key: s.key, seed: s.seed + 1, l: s.l.copy()}
	n := open(t, other.config(other.mem))
	for id := uint64(1); id <= flipTenants; id++ {
		h, err := n.Tenants().Tenant(ident.MustTenantID(id))
		if err != nil {
			t.Fatal(err)
		}
		for i := range 5 {
			if _, err := h.Exec(context.Background(), tenant.Request{}, "INSERT INTO line VALUES (99, ?, 0)", []any{i}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := closeNode(n); err != nil {
		t.Fatal(err)
	}
	return other.mem
}

// move is something done to the files at rest.
type move struct {
	harm func(t *testing.T, mem *disk.Mem, c copies)
	// verifies says that the verifier has nothing to say: the logs are whole.
	verifies bool
	// reads says that both tenants have all their rows, and one can be rebuilt.
	reads bool
	// refused is what opening a tenant, or the node, says otherwise.
	refused []fault.Kind
}

func moves() map[string]move {
	corrupt := []fault.Kind{fault.Corruption}
	return map[string]move{
		"projections swapped": {reads: true, verifies: true, harm: func(t *testing.T, mem *disk.Mem, _ copies) {
			swap(t, mem, tenantPath(1, "projection.db"), tenantPath(2, "projection.db"))
		}},
		"an older projection": {reads: true, verifies: true, harm: func(t *testing.T, mem *disk.Mem, c copies) {
			replace(t, mem, c.older, tenantPath(1, "projection.db"))
		}},
		"a projection of another history": {reads: true, verifies: true, harm: func(t *testing.T, mem *disk.Mem, c copies) {
			replace(t, mem, c.forked, tenantPath(1, "projection.db"))
		}},
		"a log of another history": {refused: corrupt, harm: func(t *testing.T, mem *disk.Mem, c copies) {
			replace(t, mem, c.forked, tenantPath(1, "log"))
		}},
		"no projection": {reads: true, verifies: true, harm: func(t *testing.T, mem *disk.Mem, _ copies) {
			if err := mem.Remove(tenantPath(1, "projection.db")); err != nil {
				t.Fatal(err)
			}
		}},
		"a projection newer than its log": {refused: corrupt, harm: func(t *testing.T, mem *disk.Mem, c copies) {
			replace(t, mem, c.older, tenantPath(1, "log"))
		}},
		"logs swapped": {refused: corrupt, harm: func(t *testing.T, mem *disk.Mem, _ copies) {
			swap(t, mem, tenantPath(1, "log"), tenantPath(2, "log"))
		}},
		"tenants swapped": {refused: corrupt, harm: func(t *testing.T, mem *disk.Mem, _ copies) {
			swap(t, mem, tenantPath(1), tenantPath(2))
		}},
		"a segment of another tenant": {refused: corrupt, harm: func(t *testing.T, mem *disk.Mem, _ copies) {
			first := "00000000000000000000.segment"
			replaceFile(t, mem, tenantPath(1, "log", first), tenantPath(2, "log", first))
		}},
		"an older tenant": {refused: corrupt, harm: func(t *testing.T, mem *disk.Mem, c copies) {
			replace(t, mem, c.older, tenantPath(1))
		}},
		"no log": {refused: corrupt, harm: func(t *testing.T, mem *disk.Mem, _ copies) {
			if err := mem.RemoveAll(tenantPath(1, "log")); err != nil {
				t.Fatal(err)
			}
		}},
		"no tenant": {refused: corrupt, harm: func(t *testing.T, mem *disk.Mem, _ copies) {
			if err := mem.RemoveAll(tenantPath(1)); err != nil {
				t.Fatal(err)
			}
		}},
		"an older head": {reads: true, verifies: true, harm: func(t *testing.T, mem *disk.Mem, c copies) {
			replace(t, mem, c.older, tenantPath(1, "log", "HEAD"))
		}},
		"heads swapped": {reads: true, harm: func(t *testing.T, mem *disk.Mem, _ copies) {
			swap(t, mem, tenantPath(1, "log", "HEAD"), tenantPath(2, "log", "HEAD"))
		}},
		"an older keyring": {verifies: true, refused: []fault.Kind{fault.KeyUnavailable, fault.KeyInvalid, fault.Corruption}, harm: func(t *testing.T, mem *disk.Mem, c copies) {
			replace(t, mem, c.older, dataDir+"/keyring")
		}},
		"an older replicated log": {refused: []fault.Kind{fault.Corruption, fault.KeyUnavailable}, harm: func(t *testing.T, mem *disk.Mem, c copies) {
			replace(t, mem, c.older, dataDir+"/replication")
		}},
		"no replicated log": {refused: corrupt, harm: func(t *testing.T, mem *disk.Mem, _ copies) {
			if err := mem.RemoveAll(dataDir + "/replication"); err != nil {
				t.Fatal(err)
			}
		}},
	}
}

// replaceFile copies a file over another of the same filesystem.
func replaceFile(t *testing.T, mem *disk.Mem, path, with string) {
	t.Helper()
	if err := errors.Join(mem.Remove(path), disk.CopyTree(mem, path, mem, with)); err != nil {
		t.Fatal(err)
	}
}

// readMoved opens and reads: all rows, or a refusal, and never anything else.
func (s *still) readMoved(t *testing.T, mem *disk.Mem, m move) {
	t.Helper()
	may := func(err error) bool {
		for _, k := range m.refused {
			if fault.Is(err, k) {
				return true
			}
		}
		return false
	}
	n, err := node.Open(context.Background(), s.config(mem))
	if err != nil {
		if !may(err) {
			t.Errorf("open: %s: %v", kind(err), err)
		}
		t.Logf("the node does not open: %v", err)
		return
	}
	whole := true
	for id := uint64(1); id <= flipTenants; id++ {
		c := checker{n: n, l: s.l, seed: s.seed, tenants: flipTenants, rebuild: func(uint64) bool { return m.reads }}
		if err := c.tenant(context.Background(), id); err != nil {
			whole = false
			if !may(err) {
				t.Errorf("tenant %d: %s: %v", id, kind(err), err)
			}
			t.Logf("tenant %d is refused: %v", id, err)
		}
	}
	if whole != m.reads {
		t.Errorf("every tenant has its rows: %t, want %t", whole, m.reads)
	}
	if err := closeNode(n); err != nil && !may(err) {
		t.Errorf("close: %v", err)
	}
}

// TestDamageOfOneTenantLosesNothingOfIt: records that a damaged log cannot
// take must stay in the replicated log, whatever the other tenants do, until
// the damage is mended.
func TestDamageOfOneTenantLosesNothingOfIt(t *testing.T) {
	s := atRest(t, 12)
	n := open(t, s.config(s.mem))
	s.work(t, n, 6)
	// As a power loss leaves it: the last records are only in the replicated
	// log.
	lost := s.mem.CrashClone(nil)
	if err := closeNode(n); err != nil {
		t.Fatal(err)
	}
	var segment string
	for _, path := range files(t, lost, tenantPath(1, "log")) {
		if strings.HasSuffix(path, ".segment") {
			segment = path // the last one
		}
	}
	data := contents(t, lost, segment)
	cut := len(data) - 40
	for name, harm := range map[string][]byte{
		"a byte flipped": append(append(bytes.Clone(data[:cut]), data[cut]^1), data[cut+1:]...),
		"cut short":      data[:cut],
		"emptied":        nil,
	} {
		t.Run(name, func(t *testing.T) {
			mem := lost.CrashClone(nil)
			write(t, mem, segment, harm)
			for range 2 {
				s.liveWithDamage(t, mem)
			}
			data := data
			if name == "a byte flipped" { // it went on growing
				data = contents(t, mem, segment)
				data[cut] ^= 1
			}
			write(t, mem, segment, data)
			s.mended(t, mem)
		})
	}
}

func write(t *testing.T, mem *disk.Mem, path string, data []byte) {
	t.Helper()
	if err := disk.WriteFileDurable(mem, path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// liveWithDamage opens a node whose tenant 1 has a damaged log: that tenant is
// refused and tenant 2 goes on, checkpoints and all.
func (s *still) liveWithDamage(t *testing.T, mem *disk.Mem) {
	t.Helper()
	ctx := context.Background()
	n := open(t, s.config(mem))
	damaged, err := n.Tenants().Tenant(ident.MustTenantID(1))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := damaged.Exec(ctx, tenant.Request{}, "UPDATE account SET balance = 0", nil); !fault.Is(err, fault.Corruption) {
		t.Errorf("a write to a damaged log: %v", err)
	}
	other, err := n.Tenants().Tenant(ident.MustTenantID(2))
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, err := other.Exec(ctx, tenant.Request{}, "UPDATE account SET balance = balance", nil); err != nil {
			t.Errorf("another tenant: %v", err)
		}
		if err := n.Checkpoint(ctx); err != nil && !fault.Is(err, fault.Corruption) {
			t.Errorf("checkpoint: %v", err)
		}
	}
	if err := closeNode(n); err != nil {
		t.Errorf("close: %v", err)
	}
}

// mended checks everything once the damage is gone.
func (s *still) mended(t *testing.T, mem *disk.Mem) {
	t.Helper()
	n := open(t, s.config(mem))
	c := checker{n: n, l: s.l, seed: s.seed, tenants: flipTenants, rebuild: func(uint64) bool { return true }}
	if err := c.check(context.Background()); err != nil {
		t.Errorf("after the damage was mended: %v", err)
	}
	if err := closeNode(n); err != nil {
		t.Error(err)
	}
	if err := verified(mem, dataDir); err != nil {
		t.Error(err)
	}
}

// TestAProjectionOfAnotherHistoryIsRebuilt gives a tenant a projection that
// was made, under its own keys, from a log that went another way: with records
// of the same lengths in the same places, or with more of them.
func TestAProjectionOfAnotherHistoryIsRebuilt(t *testing.T) {
	s := atRest(t, 5)
	histories := map[string]*disk.Mem{}
	for _, way := range []string{"aaa", "bbb", "bbbb"} {
		mem := s.copy()
		n := open(t, s.config(mem))
		h, err := n.Tenants().Tenant(ident.MustTenantID(1))
		if err != nil {
			t.Fatal(err)
		}
		for range way {
			if _, err := h.Exec(context.Background(), tenant.Request{}, "INSERT INTO line VALUES (?, 0, 0)", []any{int(way[0])}); err != nil {
				t.Fatal(err)
			}
		}
		if err := closeNode(n); err != nil {
			t.Fatal(err)
		}
		histories[way] = mem
	}
	for _, other := range []string{"bbb", "bbbb"} {
		mem := histories["aaa"].CrashClone(nil)
		replace(t, mem, histories[other], tenantPath(1, "projection.db"))
		n := open(t, s.config(mem))
		h, err := n.Tenants().Tenant(ident.MustTenantID(1))
		if err != nil {
			t.Fatal(err)
		}
		rows := map[int]int{}
		if err := each(context.Background(), h, "SELECT writer, 0, 0 FROM line WHERE writer >= 50", func(w, _, _ int) { rows[w]++ }); err != nil {
			t.Errorf("%s: %v", other, err)
		}
		if rows['a'] != 3 || rows['b'] != 0 {
			t.Errorf("%s: rows of the own history %d, of the other %d", other, rows['a'], rows['b'])
		}
		if err := closeNode(n); err != nil {
			t.Error(err)
		}
	}
}
