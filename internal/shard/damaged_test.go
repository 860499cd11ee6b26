package shard_test

import (
	"context"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"kimberlite/internal/disk"
	"kimberlite/internal/ident"
	"kimberlite/internal/tenantlog"
)

// A tenant's acknowledged records that only the replicated log holds must not
// be cut from it while the tenant's own files are damaged.
func TestACheckpointKeepsWhatADamagedTenantHasOnlyInTheReplicatedLog(t *testing.T) {
	fsys := disk.NewMem()
	r := open(t, fsys)
	bad, good := r.create(1), r.create(2)
	r.append(bad)
	r.append(good)
	if err := r.Checkpoint(context.Background()); err != nil {
		t.Fatal(err)
	}
	synced, _ := r.Tenant(bad)
	r.append(bad) // acknowledged, in the replicated log alone
	crashed := fsys.CrashClone(rand.New(rand.NewPCG(1, 2)))
	path := filepath.Join(r.LogDir(bad), tenantlog.SegmentName(ident.NewOffset(0)))
	flip := func() {
		f, err := crashed.OpenFile(path, 2, 0)
		if err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 1)
		if _, err := f.ReadAt(b, synced.Log.SegmentBytes-1); err != nil {
			t.Fatal(err)
		}
		b[0] ^= 1
		if _, err := f.WriteAt(b, synced.Log.SegmentBytes-1); err != nil {
			t.Fatal(err)
		}
	}
	flip()
	r = open(t, crashed)
	r.append(good)
	_ = r.Checkpoint(context.Background()) // may refuse; must not forget
	r.close()
	flip() // the byte is put back, as from a copy
	r = open(t, crashed)
	defer r.close()
	if st, _ := r.Tenant(bad); st.Log.Next.Uint64() != 2 {
		t.Fatalf("an acknowledged record is gone: next is %s, want 2", st.Log.Next)
	}
}
