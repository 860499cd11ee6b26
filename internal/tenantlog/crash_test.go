package tenantlog

import (
	"bytes"
	"testing"

	"kimberlite/internal/disk"
	"kimberlite/internal/ident"
)

// Power fails at every sync point, and everything unsynced is kept, dropped or
// torn at random. Opened at the last position that was synced, the log holds
// exactly the records up to there, takes the rest again, and ends with the
// same bytes as one that never crashed.
func TestPowerLossKeepsWhatWasSynced(t *testing.T) {
	const records, every = 40, 7
	c, rng := newChain(t, tenant1), testRand(11)
	for range records {
		c.next(rng.IntN(200))
	}
	mem := disk.NewMem()
	l := mustOpen(t, testOptions(mem, tenant1), Start(tenant1))
	durable := Start(tenant1)
	var clones []*disk.Mem
	var positions []Position
	crash := func(string) {
		for range 3 {
			clones, positions = append(clones, mem.CrashClone(rng)), append(positions, durable)
		}
		clones, positions = append(clones, mem.CrashClone(nil)), append(positions, durable)
	}
	mem.BeforeSync(crash)
	mem.OnSync(crash)
	for i, rec := range c.recs {
		mustAppend(t, l, rec)
		if i%every == every-1 {
			at := l.Position()
			mustSync(t, l)
			signHead(t, mem, tenant1, at) // before the checkpoint that makes it count
			durable = at
		}
	}
	mustSync(t, l) // not checkpointed
	mem.BeforeSync(nil)
	mem.OnSync(nil)
	end, want := l.Position(), files(t, mem)
	if len(clones) < 100 {
		t.Fatalf("only %d crashes", len(clones))
	}
	for i, clone := range clones {
		recovered(t, clone, c, positions[i], end, want)
	}
}

// recovered plays a recovery on what a crash left.
func recovered(t *testing.T, fsys *disk.Mem, c *chain, at, end Position, want map[string][]byte) {
	t.Helper()
	n := at.Next.Uint64()
	// Whoever verifies before the recovery sees at worst a torn end.
	if r := verify(t, fsys, tenant1, Expect{Position: &at, PublicKey: public}); len(r.Problems) > 0 || r.Records < n {
		t.Fatalf("before recovery at %d: %v", n, r.Problems)
	}
	if h, ok, err := ReadHead(fsys, testDir); err != nil || !ok && n > 0 || ok && h.Next.Before(at.Next) && n-h.Next.Uint64() > 7 {
		t.Fatalf("the head after a crash: %+v, %t, %v", h, ok, err)
	}
	l := mustOpen(t, testOptions(fsys, tenant1), at)
	wantRecords(t, l, 0, c.recs[:n])
	wantClean(t, verify(t, fsys, tenant1, Expect{Position: &at, PublicKey: public}), int(n))
	for _, rec := range c.recs[n:] {
		mustAppend(t, l, rec)
	}
	mustSync(t, l)
	if l.Position() != end {
		t.Fatalf("recovered to %+v, not %+v", l.Position(), end)
	}
	after := fsys.CrashClone(nil)
	signHead(t, after, tenant1, end)
	signed := Expect{Position: &end, PublicKey: public}
	wantClean(t, verify(t, after, tenant1, signed), len(c.recs))
	for name, b := range want {
		if name != headFile && !bytes.Equal(readFile(t, after, name), b) {
			t.Fatalf("%s differs after recovery at %d", name, n)
		}
	}
}

// A crash while Open cuts leaves something that the same position opens again.
func TestPowerLossWhileOpeningIsHarmless(t *testing.T) {
	mem, c, positions := smallLog(t, tenant1, 25)
	rng := testRand(12)
	for _, at := range []Position{Start(tenant1), positions[3], positions[12], positions[20]} {
		live := mem.CrashClone(nil)
		var clones []*disk.Mem
		crash := func(string) { clones = append(clones, live.CrashClone(rng), live.CrashClone(nil)) }
		live.BeforeSync(crash)
		live.OnSync(crash)
		mustOpen(t, testOptions(live, tenant1), at)
		if len(clones) == 0 {
			t.Fatal("nothing was synced")
		}
		for _, clone := range clones {
			wantRecords(t, mustOpen(t, testOptions(clone, tenant1), at), 0, c.recs[:at.Next.Uint64()])
		}
	}
}

// The process dies after making directories and files and before syncing any,
// the next one finds them there; what that one syncs must survive.
func TestNamesMadeByADeadProcessBecomeDurable(t *testing.T) {
	mem, c := disk.NewMem(), newChain(t, tenant1)
	if err := disk.MkdirAllDurable(mem, "/data/tenants", 0o700); err != nil {
		t.Fatal(err)
	}
	dead := mustOpen(t, testOptions(mem, tenant1), Start(tenant1))
	grow(t, dead, c, 10, 100, testRand(1))
	if err := dead.Close(); err != nil {
		t.Fatal(err)
	}
	l := mustOpen(t, testOptions(mem, tenant1), Start(tenant1))
	for _, rec := range c.recs {
		mustAppend(t, l, rec)
	}
	mustSync(t, l)
	after := mustOpen(t, testOptions(mem.CrashClone(nil), tenant1), l.Position())
	wantRecords(t, after, 0, c.recs)
}

func TestTenantsFilesDoNotMeet(t *testing.T) {
	mem := disk.NewMem()
	for _, tenant := range []ident.TenantID{tenant1, tenant2} {
		o := testOptions(mem, tenant)
		o.Dir = "/data/tenants/" + tenant.String() + "/log"
		l, c := mustOpen(t, o, Start(tenant)), newChain(t, tenant)
		grow(t, l, c, 10, 100, testRand(1))
		mustSync(t, l)
		o.Dir = "/data/tenants/" + map[ident.TenantID]string{tenant1: "2", tenant2: "1"}[tenant] + "/log"
		if _, err := Open(o, l.Position()); err == nil {
			t.Fatal("opened another tenant's log")
		}
	}
}
