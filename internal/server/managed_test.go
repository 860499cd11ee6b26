package server

import (
	"testing"

	"kimberlite/internal/deployment"
	"kimberlite/internal/directory"
	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
)

func region(t *testing.T, name string) ident.Region {
	t.Helper()
	r, err := ident.NewRegion(name)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestAPlanMovesOnlyWithinARegionAndCountsWhatItMoves plans for two regions of
// which one is uneven.
func TestAPlanMovesOnlyWithinARegionAndCountsWhatItMoves(t *testing.T) {
	us, eu := region(t, "us-east"), region(t, "eu-west")
	leader := ident.NewNodeID(1)
	shards := []deployment.Shard{
		{ID: ident.NewShardID(1), Region: us, State: "active", Leader: leader},
		{ID: ident.NewShardID(2), Region: us, State: "active", Leader: leader},
		{ID: ident.NewShardID(3), Region: eu, State: "active", Leader: leader},
	}
	const size = 100 << 20
	bytes := map[ident.TenantID]int64{}
	var all []directory.Tenant
	add := func(n uint64, r ident.Region, on uint64, state directory.TenantState) {
		id := ident.MustTenantID(n)
		bytes[id] = size
		all = append(all, directory.Tenant{ID: id, Region: r, Shard: ident.NewShardID(on), State: state})
	}
	for n := uint64(1); n <= 6; n++ {
		add(n, us, 1, directory.TenantActive)
	}
	add(7, us, 1, directory.TenantMoving)
	add(8, eu, 3, directory.TenantActive)
	p, err := planOf(shards, all, bytes, ident.Region{}, 0)
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Moves) < 2 || len(p.Moves) > 4 {
		t.Fatalf("%d moves: %+v", len(p.Moves), p.Moves)
	}
	for _, m := range p.Moves {
		if m.From != shards[0].ID || m.To != shards[1].ID || m.Tenant.Uint64() > 6 || m.Bytes != size || m.Reason == "" {
			t.Errorf("%+v", m)
		}
	}
	moved := len(p.Moves)
	for i, want := range []deployment.Load{
		{Shard: shards[0].ID, Region: us, TenantsBefore: 7, TenantsAfter: 7 - moved, BytesBefore: 7 * size, BytesAfter: int64(7-moved) * size},
		{Shard: shards[1].ID, Region: us, TenantsAfter: moved, BytesAfter: int64(moved) * size},
		{Shard: shards[2].ID, Region: eu, TenantsBefore: 1, TenantsAfter: 1, BytesBefore: size, BytesAfter: size},
	} {
		if p.Loads[i] != want {
			t.Errorf("%+v, want %+v", p.Loads[i], want)
		}
	}
	if p, err = planOf(shards, all, bytes, us, 1); err != nil || len(p.Moves) != 1 || len(p.Loads) != 2 {
		t.Errorf("at most one, in us-east: %+v, %v", p, err)
	}
	if p, err = planOf(shards, all, bytes, eu, 0); err != nil || len(p.Moves) != 0 {
		t.Errorf("in eu-west: %+v, %v", p, err)
	}
	if _, err = planOf(shards, all, bytes, region(t, "ap-south"), 0); !fault.Is(err, fault.NotFound) {
		t.Errorf("where there is no shard: %v", err)
	}
}

func TestANodeTellsOnlyWhereOthersReachIt(t *testing.T) {
	for _, c := range []struct{ said, listens, want string }{
		{"", "127.0.0.1:5433", "127.0.0.1:5433"}, {"db.example.com:5432", "0.0.0.0:5433", "db.example.com:5432"},
		{"", "0.0.0.0:5433", ""}, {"", "[::]:5433", ""}, {"", "127.0.0.1:0", ""}, {"", "", ""}, {"a:1", "", "a:1"},
	} {
		if got := reachable(c.said, c.listens); got != c.want {
			t.Errorf("said %q, listens on %q: %q, want %q", c.said, c.listens, got, c.want)
		}
	}
}
