package torture

import (
	"context"
	"testing"

	"kimberlite/internal/disk"
)

// TestALoadThatNobodyDisturbsHolds is the check of the checks: with nothing
// going wrong, tables, streams, keys and chains are what the ledger says.
func TestALoadThatNobodyDisturbsHolds(t *testing.T) {
	seed := seedOf(t)
	mem, key, l := disk.NewMem(), masterKey(t), newLedger()
	n := open(t, small(mem, dataDir, key))
	ld := &load{n: n, l: l, seed: seed, tenants: 4, writers: 2, admin: true}
	if err := ld.setup(); err != nil {
		t.Fatal(err)
	}
	if err := ld.run(context.Background(), 40); err != nil {
		t.Fatal(err)
	}
	c := checker{n: n, l: l, seed: seed, tenants: 4}
	if err := c.check(context.Background()); err != nil {
		t.Fatal(err)
	}
	if err := verifiedRunning(context.Background(), n); err != nil {
		t.Fatal(err)
	}
	if err := closeNode(n); err != nil {
		t.Fatal(err)
	}
	if err := verified(mem, dataDir); err != nil {
		t.Fatal(err)
	}
	n = open(t, small(mem, dataDir, key))
	c = checker{n: n, l: l, seed: seed, tenants: 4, rebuild: func(uint64) bool { return true }}
	if err := c.check(context.Background()); err != nil {
		t.Fatal(err)
	}
	if err := closeNode(n); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d operations acknowledged, %d refused", l.count(acked), l.count(refused))
}
