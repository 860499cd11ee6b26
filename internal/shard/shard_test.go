package shard_test

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"kimberlite/internal/disk"
	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/record"
	"kimberlite/internal/replication"
	"kimberlite/internal/seal"
	"kimberlite/internal/shard"
	"kimberlite/internal/tenantlog"
)

const dir = "/data"

// rig is an open shard on some filesystem.
type rig struct {
	t     *testing.T
	store *replication.Store
	*shard.Shard
}

func open(t *testing.T, fsys disk.FS) *rig {
	t.Helper()
	for _, d := range []string{"replication", "shards/1/tenants"} {
		if err := disk.MkdirAllDurable(fsys, filepath.Join(dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	store, err := replication.OpenStore(replication.StoreOptions{FS: fsys, Dir: filepath.Join(dir, "replication")})
	if err != nil {
		t.Fatal(err)
	}
	s, err := shard.Open(shard.Options{
		FS: fsys, Dir: filepath.Join(dir, "shards", "1"), ID: ident.NewShardID(1), Node: ident.NewNodeID(1),
		Store: store, SegmentBytes: 4096, CheckpointInterval: -1, MaxOpenLogs: 2,
	})
	if err != nil {
		t.Fatal(err, store.Close())
	}
	s.SetHeadSigner(func(_ context.Context, id ident.TenantID, at tenantlog.Position) error {
		h := record.Head{
			Tenant: id, Next: at.Next, LastHash: at.LastHash, TotalBytes: at.TotalBytes,
			Segment: at.Segment, SegmentBytes: at.SegmentBytes, Time: time.Unix(3, 0).UTC(),
		}
		if err := h.Sign(ed25519.NewKeyFromSeed(make([]byte, 32))); err != nil {
			return err
		}
		return tenantlog.WriteHead(fsys, s.LogDir(id), h)
	})
	return &rig{t, store, s}
}

func (r *rig) close() {
	r.t.Helper()
	if err := r.Shard.Close(); err != nil {
		r.t.Error(err)
	}
	if err := r.store.Close(); err != nil {
		r.t.Error(err)
	}
}

func (r *rig) create(n uint64) ident.TenantID {
	r.t.Helper()
	id := ident.MustTenantID(n)
	region, _ := ident.NewRegion("us-east")
	err := r.CreateTenant(context.Background(), shard.TenantState{
		ID: id, Name: fmt.Sprintf("tenant-%d", n), Region: region, Created: time.Unix(1, 0).UTC(), Envelope: []byte("sealed keys"),
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return id
}

var testKey = func() *seal.Key {
	k, err := seal.NewKey(make([]byte, seal.KeySize))
	if err != nil {
		panic(err)
	}
	return k
}()

func makeRecord(id ident.TenantID, at tenantlog.Position) []byte {
	payload, err := record.EncodePayload(nil, &record.Payload{Txns: []record.Txn{{
		Events: []record.Event{{Kind: record.Message, Stream: 1, StreamOffset: at.Next.Uint64(), Data: []byte("m")}},
	}}})
	if err != nil {
		panic(err)
	}
	rec, _, err := record.SealRecord(record.Header{
		Kind: record.DataRecord, Tenant: id, Offset: at.Next, Time: time.Unix(2, 0).UTC(),
		Generation: ident.NewKeyGeneration(1), Events: 1, PrevHash: at.LastHash,
	}, payload, testKey)
	if err != nil {
		panic(err)
	}
	return rec
}

func (r *rig) append(id ident.TenantID) {
	r.t.Helper()
	st, err := r.Tenant(id)
	if err != nil {
		r.t.Fatal(err)
	}
	if _, err := r.Append(context.Background(), makeRecord(id, st.Log)); err != nil {
		r.t.Fatal(err)
	}
}

func verifyLog(t *testing.T, r *rig, fsys disk.FS, id ident.TenantID, want uint64) {
	t.Helper()
	st, err := r.Tenant(id)
	if err != nil {
		t.Fatal(err)
	}
	if st.Log.Next.Uint64() < want {
		t.Fatalf("tenant %s has %d records, %d were acknowledged", id, st.Log.Next.Uint64(), want)
	}
	log, release, err := r.PinLog(id)
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	if err := errors.Join(r.Checkpoint(context.Background()), log.Sync()); err != nil {
		t.Fatal(err)
	}
	rep, err := tenantlog.Verify(fsys, r.LogDir(id), id, tenantlog.Expect{Position: &st.Log}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := rep.Err(); err != nil {
		t.Fatal(err)
	}
}

func TestTenantsAndLogsSurviveARestart(t *testing.T) {
	fsys := disk.NewMem()
	r := open(t, fsys)
	ids := []ident.TenantID{r.create(1), r.create(2), r.create(1 << 63)}
	for range 30 {
		for _, id := range ids {
			r.append(id)
		}
	}
	r.close()
	r = open(t, fsys)
	defer r.close()
	for _, id := range ids {
		verifyLog(t, r, fsys, id, 30)
		r.append(id)
	}
}

func TestARecordOutOfTurnIsRefusedWithoutEffect(t *testing.T) {
	fsys := disk.NewMem()
	r := open(t, fsys)
	defer r.close()
	id := r.create(1)
	st, _ := r.Tenant(id)
	rec := makeRecord(id, st.Log)
	r.append(id)
	if _, err := r.Append(context.Background(), rec); !fault.Is(err, fault.Conflict) {
		t.Fatalf("a record repeated: %v", err)
	}
	if _, err := r.Append(context.Background(), makeRecord(ident.MustTenantID(9), tenantlog.Start(ident.MustTenantID(9)))); !fault.Is(err, fault.NotFound) {
		t.Fatalf("a record for a tenant that does not exist: %v", err)
	}
	verifyLog(t, r, fsys, id, 1)
}

func TestIdsAndNamesAreTakenOnce(t *testing.T) {
	r := open(t, disk.NewMem())
	defer r.close()
	r.create(1)
	region, _ := ident.NewRegion("us-east")
	for _, st := range []shard.TenantState{
		{ID: ident.MustTenantID(1), Name: "other", Region: region},
		{ID: ident.MustTenantID(2), Name: "tenant-1", Region: region},
	} {
		if err := r.CreateTenant(context.Background(), st); !fault.Is(err, fault.AlreadyExists) {
			t.Errorf("creating %s %q: %v", st.ID, st.Name, err)
		}
	}
}

func TestKeysChangeOnlyFromTheEnvelopeInForce(t *testing.T) {
	r := open(t, disk.NewMem())
	defer r.close()
	id := r.create(1)
	r.append(id)
	ctx := context.Background()
	if err := r.SetKeys(ctx, id, []byte("another"), []byte("new"), true); !fault.Is(err, fault.Conflict) {
		t.Fatalf("from an envelope that is not in force: %v", err)
	}
	if err := r.SetKeys(ctx, id, []byte("sealed keys"), []byte("new"), true); err != nil {
		t.Fatal(err)
	}
	st, _ := r.Tenant(id)
	if string(st.Envelope) != "new" || st.GenerationStart.Uint64() != 1 {
		t.Fatalf("envelope %q from %s", st.Envelope, st.GenerationStart)
	}
}

// TestAcknowledgedRecordsSurvivePowerLoss cuts the power at every sync point
// of a run with checkpoints, and checks that what was acknowledged by then is
// there and that the chains hold.
func TestAcknowledgedRecordsSurvivePowerLoss(t *testing.T) {
	fsys := disk.NewMem()
	var mu sync.Mutex
	acked := map[uint64]uint64{}
	type crash struct {
		fs    *disk.Mem
		acked map[uint64]uint64
	}
	var crashes []crash
	rng := rand.New(rand.NewPCG(1, 2))
	fsys.OnSync(func(string) {
		mu.Lock()
		defer mu.Unlock()
		seen := map[uint64]uint64{}
		for k, v := range acked {
			seen[k] = v
		}
		source := rng
		if len(crashes)%2 == 0 {
			source = nil // the harshest: everything unsynced is lost
		}
		crashes = append(crashes, crash{fsys.CrashClone(source), seen})
	})
	r := open(t, fsys)
	ids := []ident.TenantID{r.create(1), r.create(2), r.create(3)}
	for i := range 24 {
		id := ids[i%len(ids)]
		r.append(id)
		mu.Lock()
		acked[id.Uint64()]++
		mu.Unlock()
		if i%7 == 6 {
			if err := r.Checkpoint(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
	}
	r.close()
	fsys.OnSync(nil)
	t.Logf("%d power losses", len(crashes))
	for i, c := range crashes {
		r := open(t, c.fs)
		for n, want := range c.acked {
			verifyLog(t, r, c.fs, ident.MustTenantID(n), want)
		}
		r.close()
		if t.Failed() {
			t.Fatalf("after power loss %d", i)
		}
	}
}

func TestADamagedLogIsItsTenantsOwnMatter(t *testing.T) {
	fsys := disk.NewMem()
	r := open(t, fsys)
	bad, good := r.create(1), r.create(2)
	r.append(bad)
	r.append(good)
	path := filepath.Join(r.LogDir(bad), tenantlog.SegmentName(ident.NewOffset(0)))
	r.close()
	f, err := fsys.OpenFile(path, 2, 0)
	if err != nil {
		t.Fatal(err)
	}
	size, err := f.Size()
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 1)
	if _, err := f.ReadAt(b, size-1); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 1
	if _, err := f.WriteAt(b, size-1); err != nil {
		t.Fatal(err)
	}
	r = open(t, fsys)
	defer r.close()
	st, _ := r.Tenant(bad)
	if _, _, err := r.PinLog(bad); !fault.Is(err, fault.Corruption) {
		t.Fatalf("the damaged log opened: %v (at %s)", err, st.Log.Next)
	}
	r.append(good)
	verifyLog(t, r, fsys, good, 2)
}
