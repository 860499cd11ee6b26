package placement

import (
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"kimberlite/internal/ident"
)

// deployment is a random one.
type deployment struct {
	nodes   []Node
	shards  []Shard
	groups  []Group
	tenants []Tenant
}

func randomDeployment(random *rand.Rand) deployment {
	var d deployment
	regions := []ident.Region{east, west, region("eu-north"), region("ap-south")}[:1+random.IntN(4)]
	shards := uint64(0)
	for _, r := range regions {
		zones := 1 + random.IntN(4)
		var ids []ident.NodeID
		for range random.IntN(9) {
			n := Node{ID: node(uint64(len(d.nodes) + 1)), Region: r, Zone: string(rune('a' + random.IntN(zones))),
				Out: random.IntN(8) == 0, Replicas: random.IntN(5), Bytes: uint64(random.IntN(1000))}
			ids = append(ids, n.ID)
			d.nodes = append(d.nodes, n)
		}
		for range random.IntN(6) {
			shards++
			s := Shard{ID: shard(shards), Region: r, Out: random.IntN(10) == 0}
			for range random.IntN(60) {
				t := Tenant{ID: ident.MustTenantID(uint64(len(d.tenants) + 1)), Shard: s.ID, Stays: random.IntN(20) == 0,
					Bytes: uint64(math.Pow(2, 20*random.Float64())), Load: float64(random.IntN(100) * random.IntN(2))}
				s.Tenants++
				s.Bytes += t.Bytes
				s.Load += t.Load
				d.tenants = append(d.tenants, t)
			}
			d.shards = append(d.shards, s)
			if held := shuffled(random, ids); len(held) > 0 {
				held = held[:min(3, len(held))]
				d.groups = append(d.groups, Group{Shard: s.ID, Region: r, Replicas: held, Leader: held[0]})
			}
		}
	}
	return d
}

// each runs a check on many random deployments, and on each in another order.
func each(t *testing.T, check func(t *testing.T, random *rand.Rand, d, again deployment)) {
	t.Helper()
	for seed := range uint64(400) {
		random := rand.New(rand.NewPCG(seed, 4))
		d := randomDeployment(random)
		again := deployment{shuffled(random, d.nodes), shuffled(random, d.shards), shuffled(random, d.groups), shuffled(random, d.tenants)}
		check(t, random, d, again)
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func (d deployment) node(id ident.NodeID) (Node, bool) {
	i := slices.IndexFunc(d.nodes, func(n Node) bool { return n.ID == id })
	if i < 0 {
		return Node{}, false
	}
	return d.nodes[i], true
}

// spread is the greatest and the least number in counts.
func spread(counts map[string]int) (most, least int) {
	least = math.MaxInt
	for _, n := range counts {
		most, least = max(most, n), min(least, n)
	}
	return most, least
}

func TestReplicasAreOfTheRegionAndSpreadAsEvenlyAsZonesAllow(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, random *rand.Rand, d, again deployment) {
		n := 1 + random.IntN(5)
		got, err := PickReplicas(d.nodes, east, nil, n)
		other, _ := PickReplicas(again.nodes, east, nil, n)
		if !slices.Equal(got, other) {
			t.Errorf("%v, and in another order %v", got, other)
		}
		perZone, room := map[string]int{}, map[string]int{}
		open := 0
		for _, candidate := range d.nodes {
			if candidate.Region == east && !candidate.Out {
				room[candidate.Zone]++
				open++
			}
		}
		if (err != nil) != (open == 0) || len(got) != min(n, open) {
			t.Errorf("%d of %d nodes, want %d: %v", len(got), open, n, err)
		}
		for _, id := range got {
			if held, ok := d.node(id); !ok || held.Region != east || held.Out {
				t.Errorf("node %s: %+v", id, held)
			} else {
				perZone[held.Zone]++
			}
		}
		// A zone has two more than another only when the other has no more nodes.
		for zone, nodes := range room {
			for _, crowd := range perZone {
				if crowd > perZone[zone]+1 && perZone[zone] < nodes {
					t.Errorf("zones hold %v of %v", perZone, room)
				}
			}
		}
		// What stands and may stay is kept.
		kept, err := PickReplicas(d.nodes, east, got, n)
		if len(got) > 0 && (err != nil || !slices.Equal(kept, got)) {
			t.Errorf("%v becomes %v: %v", got, kept, err)
		}
	})
}

func TestReplacementNeverLeavesTheRegion(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, _ *rand.Rand, d, again deployment) {
		for _, gone := range d.nodes {
			plan, refused := PlanReplacement(gone.ID, d.nodes, d.groups)
			plan2, refused2 := PlanReplacement(gone.ID, again.nodes, again.groups)
			if !reflect.DeepEqual(plan, plan2) || !reflect.DeepEqual(refused, refused2) {
				t.Errorf("another order gives another plan")
			}
			held := 0
			for _, g := range d.groups {
				if slices.Contains(g.Replicas, gone.ID) {
					held++
				}
			}
			if len(plan)+len(refused) != held {
				t.Errorf("node %s holds %d groups: %d replaced, %d refused", gone.ID, held, len(plan), len(refused))
			}
			for _, r := range plan {
				to, ok := d.node(r.To)
				g := d.groups[slices.IndexFunc(d.groups, func(g Group) bool { return g.Shard == r.Shard })]
				if !ok || to.Region != g.Region || to.Out || r.To == gone.ID || slices.Contains(g.Replicas, r.To) ||
					slices.Contains(r.Want, gone.ID) || len(r.Want) != len(g.Replicas) {
					t.Errorf("%+v of %+v to %+v", r, g, to)
				}
			}
			for _, r := range refused {
				for _, n := range d.nodes {
					g := d.groups[slices.IndexFunc(d.groups, func(g Group) bool { return g.Shard == r.Shard })]
					if n.Region == g.Region && !n.Out && n.ID != gone.ID && !slices.Contains(g.Replicas, n.ID) {
						t.Errorf("%+v though node %s could take it", r, n.ID)
					}
				}
			}
		}
	})
}

func TestDirectoryVotersAreOddAndSpreadOverRegionsAndStay(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, _ *rand.Rand, d, again deployment) {
		voters := PickDirectoryVoters(d.nodes, nil)
		if other := PickDirectoryVoters(again.nodes, nil); !slices.Equal(voters, other) {
			t.Errorf("%v, and in another order %v", voters, other)
		}
		if stay := PickDirectoryVoters(again.nodes, voters); !slices.Equal(voters, stay) {
			t.Errorf("%v do not stay: %v", voters, stay)
		}
		room, votes := map[string]int{}, map[string]int{}
		open := 0
		for _, n := range d.nodes {
			if !n.Out {
				room[n.Region.String()]++
				votes[n.Region.String()] += 0
				open++
			}
		}
		if want := []int{0, 1, 1, 3, 3, 5}[min(open, 5)]; len(voters) != want {
			t.Errorf("%d voters of %d nodes, want %d", len(voters), open, want)
		}
		for _, id := range voters {
			n, _ := d.node(id)
			if n.Out {
				t.Errorf("node %s votes and is out", id)
			}
			votes[n.Region.String()]++
		}
		for name, have := range votes {
			if most, _ := spread(votes); most > have+1 && have < room[name] {
				t.Errorf("regions hold %v of %v", votes, room)
			}
		}
	})
}

func TestLeadersStayInTheirGroupsAndEndUpEven(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, _ *rand.Rand, d, again deployment) {
		plan := SpreadLeaders(d.nodes, d.groups, 1000)
		if other := SpreadLeaders(again.nodes, again.groups, 1000); !reflect.DeepEqual(plan, other) {
			t.Errorf("another order gives another plan")
		}
		leads := map[ident.NodeID]int{}
		leader := map[ident.ShardID]ident.NodeID{}
		for _, g := range d.groups {
			leader[g.Shard] = g.Leader
		}
		for _, move := range plan {
			if leader[move.Shard] != move.From {
				t.Errorf("%+v, and it is led by %s", move, leader[move.Shard])
			}
			leader[move.Shard] = move.To
		}
		for _, id := range leader {
			leads[id]++
		}
		moved := map[ident.ShardID]bool{}
		for _, move := range plan {
			moved[move.Shard] = true
		}
		for _, g := range d.groups {
			now, _ := d.node(leader[g.Shard])
			if !slices.Contains(g.Replicas, now.ID) {
				t.Errorf("shard %s is led from outside, by %s", g.Shard, now.ID)
			}
			for _, id := range g.Replicas {
				n, _ := d.node(id)
				if n.Out {
					continue
				}
				if now.Out || !moved[g.Shard] && leads[now.ID] > leads[id]+1 {
					t.Errorf("shard %s is led by %s (out: %v) with %d leads, and %s has %d", g.Shard, now.ID, now.Out, leads[now.ID], id, leads[id])
				}
			}
		}
	})
}

func TestRebalanceStaysInTheRegionAndMakesItMoreEven(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, random *rand.Rand, d, again deployment) {
		limits := Limits{Tolerance: 0.1, Moves: random.IntN(40), Bytes: uint64(random.IntN(2)) * 2 << 20}
		plan := PlanRebalance(d.shards, d.tenants, limits)
		if other := PlanRebalance(again.shards, again.tenants, limits); !reflect.DeepEqual(plan, other) {
			t.Errorf("another order gives another plan")
		}
		if limits.Moves > 0 && len(plan.Moves) > limits.Moves || limits.Bytes > 0 && plan.Bytes > limits.Bytes {
			t.Errorf("%d moves of %d bytes, limits %+v", len(plan.Moves), plan.Bytes, limits)
		}
		shards := map[ident.ShardID]Shard{}
		for _, s := range d.shards {
			shards[s.ID] = s
		}
		seen := map[ident.TenantID]bool{}
		copied := uint64(0)
		for _, move := range plan.Moves {
			i := slices.IndexFunc(d.tenants, func(x Tenant) bool { return x.ID == move.Tenant })
			if tenant := d.tenants[i]; tenant.Shard != move.From || tenant.Stays || tenant.Bytes != move.Bytes || seen[move.Tenant] {
				t.Errorf("%+v of %+v (moved before: %v)", move, tenant, seen[move.Tenant])
			}
			seen[move.Tenant] = true
			from, to := shards[move.From], shards[move.To]
			if from.Region != to.Region || to.Out || move.From == move.To || move.Reason == "" {
				t.Errorf("%+v from %+v to %+v", move, from, to)
			}
			copied += move.Bytes
			from.Bytes, to.Bytes = from.Bytes-move.Bytes, to.Bytes+move.Bytes
			from.Load, to.Load = from.Load-move.Load, to.Load+move.Load
			shards[move.From], shards[move.To] = from, to
		}
		if copied != plan.Bytes {
			t.Errorf("the plan says %d bytes, its moves copy %d", plan.Bytes, copied)
		}
		for _, b := range plan.Balances {
			checkBalance(t, b, shards, d.shards, limits)
		}
	})
}

// checkBalance works the figures of a region out again, from the shards as they
// are after the moves and as they were.
func checkBalance(t *testing.T, b Balance, after map[ident.ShardID]Shard, before []Shard, limits Limits) {
	t.Helper()
	deviation := func(of func(Shard) float64, shards []Shard) float64 {
		sum, open, worst := 0.0, 0, 0.0
		for _, s := range shards {
			sum += of(s)
			if !s.Out {
				open++
			}
		}
		mean := sum / float64(max(open, 1))
		for _, s := range shards {
			switch {
			case mean == 0:
			case s.Out:
				worst = max(worst, of(s)/mean)
			default:
				worst = max(worst, math.Abs(of(s)-mean)/mean)
			}
		}
		return worst
	}
	var was, is []Shard
	for _, s := range before {
		if s.Region == b.Region {
			was, is = append(was, s), append(is, after[s.ID])
		}
	}
	byBytes, byLoad := func(s Shard) float64 { return float64(s.Bytes) }, func(s Shard) float64 { return s.Load }
	for _, figure := range []struct {
		name      string
		got, want float64
	}{
		{"bytes before", b.BytesBefore, deviation(byBytes, was)}, {"bytes after", b.BytesAfter, deviation(byBytes, is)},
		{"load before", b.LoadBefore, deviation(byLoad, was)}, {"load after", b.LoadAfter, deviation(byLoad, is)},
	} {
		if math.Abs(figure.got-figure.want) > 1e-6 {
			t.Errorf("region %s, %s: %v, want %v", b.Region, figure.name, figure.got, figure.want)
		}
	}
	out := slices.ContainsFunc(was, func(s Shard) bool { return s.Out })
	if even := b.BytesAfter <= limits.Tolerance+1e-9 && b.LoadAfter <= limits.Tolerance+1e-9; !out && even != (b.Left == "") {
		t.Errorf("region %s is off by %.3f and %.3f, and is said to be left since %q", b.Region, b.BytesAfter, b.LoadAfter, b.Left)
	}
}

func TestRebalanceOfSmallTenantsReachesTheToleranceAndCopiesLittleMoreThanIsTooMuch(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	for _, empty := range []int{1, 3} {
		shards := make([]Shard, 8)
		var tenants []Tenant
		for i := range shards {
			shards[i] = Shard{ID: shard(uint64(i + 1)), Region: east}
			if i < empty {
				continue
			}
			for range 400 {
				x := Tenant{ID: ident.MustTenantID(uint64(len(tenants) + 1)), Shard: shards[i].ID, Bytes: 1 + uint64(random.IntN(1<<20)), Load: random.Float64()}
				tenants = append(tenants, x)
				shards[i].Tenants, shards[i].Bytes, shards[i].Load = shards[i].Tenants+1, shards[i].Bytes+x.Bytes, shards[i].Load+x.Load
			}
		}
		total := uint64(0)
		for _, s := range shards {
			total += s.Bytes
		}
		plan := PlanRebalance(shards, tenants, Limits{Tolerance: 0.05})
		b := plan.Balances[0]
		if b.Left != "" || b.BytesAfter > 0.05 || b.LoadAfter > 0.05 {
			t.Errorf("%d empty shards: %+v", empty, b)
		}
		// The empty shards need their mean; nothing needs to be copied twice.
		if need := total / 8 * uint64(empty); plan.Bytes > need+need/5 {
			t.Errorf("%d empty shards: %d bytes copied, %d are needed", empty, plan.Bytes, need)
		}
	}
}

func TestAHotTenantMovesAwayFromItsBigNeighbour(t *testing.T) {
	t.Parallel()
	shards := []Shard{{ID: shard(1), Region: east, Tenants: 3, Bytes: 1020, Load: 200}, {ID: shard(2), Region: east, Tenants: 1, Bytes: 1000, Load: 0}}
	tenants := []Tenant{
		{ID: ident.MustTenantID(1), Shard: shard(1), Bytes: 1000, Load: 100},
		{ID: ident.MustTenantID(2), Shard: shard(1), Bytes: 20, Load: 100},
		{ID: ident.MustTenantID(3), Shard: shard(2), Bytes: 1000},
	}
	plan := PlanRebalance(shards, tenants, Limits{})
	if len(plan.Moves) != 1 || plan.Moves[0].Tenant != ident.MustTenantID(2) || plan.Bytes != 20 {
		t.Errorf("%+v: want the tenant that is small and busy", plan)
	}
	if plan.Moves[0].Reason != "shard 1 holds 200 %, shard 2 0 % of the mean load of region us-east" {
		t.Errorf("the reason: %s", plan.Moves[0].Reason)
	}
}

func TestSlackLeavesSmallDifferencesAlone(t *testing.T) {
	t.Parallel()
	shards := []Shard{{ID: shard(1), Region: east, Tenants: 2, Bytes: 20}, {ID: shard(2), Region: east}}
	tenants := []Tenant{{ID: ident.MustTenantID(1), Shard: shard(1), Bytes: 10}, {ID: ident.MustTenantID(2), Shard: shard(1), Bytes: 10}}
	if plan := PlanRebalance(shards, tenants, Limits{SlackBytes: 1 << 20}); len(plan.Moves) != 0 || plan.Balances[0].Left != "" {
		t.Errorf("%+v", plan)
	}
	if plan := PlanRebalance(shards, tenants, Limits{}); len(plan.Moves) != 1 {
		t.Errorf("without slack: %+v", plan)
	}
}

func TestAShardThatIsOutIsEmptied(t *testing.T) {
	t.Parallel()
	shards := []Shard{{ID: shard(1), Region: east, Out: true, Tenants: 3, Bytes: 3}, {ID: shard(2), Region: east}, {ID: shard(3), Region: east}, {ID: shard(4), Region: west}}
	var tenants []Tenant
	for n := range uint64(3) {
		tenants = append(tenants, Tenant{ID: ident.MustTenantID(n + 1), Shard: shard(1), Bytes: 1, Stays: n == 2})
	}
	plan := PlanRebalance(shards, tenants, Limits{})
	if len(plan.Moves) != 2 || plan.Moves[0].To == plan.Moves[1].To || plan.Moves[0].To == shard(4) || plan.Moves[1].To == shard(4) {
		t.Errorf("%+v", plan)
	}
}
