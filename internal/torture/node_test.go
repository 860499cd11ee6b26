package torture

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"kimberlite/internal/disk"
	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/kms"
	"kimberlite/internal/node"
	"kimberlite/internal/seal"
	"kimberlite/internal/verify"
)

// dataDir is where nodes on a filesystem in memory have their files.
const dataDir = "/data"

// small is the configuration of every node here: so small that in a short run
// segments roll over, tenants are closed and pages are spilled.
func small(fsys disk.FS, dir, masterKey string) node.Config {
	return node.Config{
		FS: fsys, Dir: dir, MasterKey: masterKey, MaxOpenTenants: 3, MaxReaders: 2, MaxDirtyPages: 24,
		SegmentBytes: 16 << 10, CheckpointInterval: -1, ReserveBytes: -1,
	}
}

// masterKey makes a key on the real disk, which no fault here reaches.
func masterKey(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "master.key")
	if err := kms.CreateFileKey(path); err != nil {
		t.Fatal(err)
	}
	return "file://" + path
}

func open(t testing.TB, c node.Config) *node.Node {
	t.Helper()
	n, err := node.Open(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// closeNode closes a node, which must not hang.
func closeNode(n *node.Node) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	return n.Close(ctx)
}

// verified returns what offline verification has to say against a data
// directory, or nil.
func verified(fsys disk.FS, dir string) error {
	rep, err := verify.Path(context.Background(), fsys, dir, nil)
	if err != nil {
		return fmt.Errorf("verify: %w", err)
	}
	return reported(rep)
}

// mended is how the report of damage ends that no power loss can tell from its
// own: behind the last checkpoint, where the replicated log holds it all.
const mended = "the next opening writes it again"

func reported(rep *verify.Report) error {
	var errs []error
	for _, p := range rep.All() {
		if strings.HasSuffix(p.Message, mended) {
			continue
		}
		errs = append(errs, fmt.Errorf("verify: %s, offset %d, record %s: %s", p.File, p.Offset, p.Record, p.Message))
	}
	return errors.Join(errs...)
}

// verifiedRunning checks every tenant's chain while the node runs.
func verifiedRunning(ctx context.Context, n *node.Node) error {
	if err := n.Checkpoint(ctx); err != nil {
		return err
	}
	for _, st := range n.Shard().Tenants() {
		rep, err := verify.Running(ctx, n.Shard(), st.ID)
		if err != nil {
			return fmt.Errorf("verify tenant %s: %w", st.ID, err)
		}
		if err := reported(&verify.Report{Tenants: []verify.TenantReport{*rep}}); err != nil {
			return err
		}
	}
	return nil
}

// seedOf returns the seed of a test: KIMBERLITE_SEED, or a new one. It is
// printed, so that a failure can be repeated.
func seedOf(t testing.TB) uint64 {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if s := cmp.Or(os.Getenv("KIMBERLITE_SEED"), os.Getenv(envSeed)); s != "" {
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		seed = n
	}
	t.Logf("KIMBERLITE_SEED=%d", seed)
	return seed
}

// plaintext turns sealing off.
type plaintext struct{ seal.KeySource }

func (p plaintext) DEK(g ident.KeyGeneration) (*seal.DEK, error) {
	d, err := p.KeySource.DEK(g)
	if err != nil {
		return nil, err
	}
	return seal.InsecurePlaintextDEK(d.Tenant(), g), nil
}

// kind returns an error's kind for messages, also of no error.
func kind(err error) string {
	if err == nil {
		return "no error"
	}
	return fault.KindOf(err).String()
}
