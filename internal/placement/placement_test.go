package placement

import (
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
)

var (
	east = region("us-east")
	west = region("eu-west")
)

func region(name string) ident.Region {
	r, err := ident.NewRegion(name)
	if err != nil {
		panic(err)
	}
	return r
}

func node(n uint64) ident.NodeID   { return ident.NewNodeID(n) }
func shard(n uint64) ident.ShardID { return ident.NewShardID(n) }

func nodeIDs(numbers ...uint64) []ident.NodeID {
	var ids []ident.NodeID
	for _, n := range numbers {
		ids = append(ids, node(n))
	}
	return ids
}

// nodesOf reads "1a 2b 3c! 4a+2": id, zone, "!" for Out, "+n" for the groups
// that it holds.
func nodesOf(r ident.Region, text string) []Node {
	var nodes []Node
	for _, word := range strings.Fields(text) {
		n := Node{Region: r}
		if before, after, ok := strings.Cut(word, "+"); ok {
			word = before
			n.Replicas = int(after[0] - '0')
		}
		if strings.HasSuffix(word, "!") {
			n.Out, word = true, strings.TrimSuffix(word, "!")
		}
		n.Zone = word[len(word)-1:]
		number := uint64(0)
		for _, digit := range word[:len(word)-1] {
			number = 10*number + uint64(digit-'0')
		}
		n.ID = node(number)
		nodes = append(nodes, n)
	}
	return nodes
}

func TestPickShardTakesTheOneWithMostRoom(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		shards []Shard
		want   uint64
		kind   fault.Kind
		says   string
	}{
		"of equals the lowest id": {shards: []Shard{{ID: shard(3), Region: east}, {ID: shard(2), Region: east}}, want: 2},
		"fewest bytes":            {shards: []Shard{{ID: shard(1), Region: east, Bytes: 100, Tenants: 4}, {ID: shard(2), Region: east, Bytes: 90, Tenants: 4}}, want: 2},
		"fewest tenants":          {shards: []Shard{{ID: shard(1), Region: east, Tenants: 4}, {ID: shard(2), Region: east, Tenants: 3}}, want: 2},
		"least load":              {shards: []Shard{{ID: shard(1), Region: east, Load: 4}, {ID: shard(2), Region: east, Load: 3}}, want: 2},
		"an empty one that is elsewhere does not count": {shards: []Shard{{ID: shard(1), Region: west}, {ID: shard(2), Region: east, Bytes: 1 << 50}}, want: 2},
		"one that is emptied does not count":            {shards: []Shard{{ID: shard(1), Region: east, Out: true}, {ID: shard(2), Region: east, Bytes: 1 << 50}}, want: 2},
		"none at all":                                   {shards: []Shard{{ID: shard(1), Region: west}}, kind: fault.NotFound, says: `no shard in region "us-east"`},
		"none that is open":                             {shards: []Shard{{ID: shard(1), Region: east, Out: true}}, kind: fault.Unavailable, says: "none of the 1 shards"},
	} {
		got, err := PickShard(test.shards, east)
		switch {
		case test.want != 0 && (err != nil || got != shard(test.want)):
			t.Errorf("%s: shard %s, %v; want %d", name, got, err, test.want)
		case test.want == 0 && (!fault.Is(err, test.kind) || !strings.Contains(err.Error(), test.says)):
			t.Errorf("%s: %v, want a %s that says %q", name, err, test.kind, test.says)
		}
	}
}

func TestNewTenantsFillShardsEvenly(t *testing.T) {
	t.Parallel()
	shards := []Shard{{ID: shard(1), Region: east, Tenants: 30}, {ID: shard(2), Region: east}, {ID: shard(3), Region: east}}
	for range 90 {
		id, err := PickShard(shards, east)
		if err != nil {
			t.Fatal(err)
		}
		shards[id.Uint64()-1].Tenants++
	}
	for _, s := range shards {
		if s.Tenants != 40 {
			t.Errorf("shard %s has %d of 120 tenants", s.ID, s.Tenants)
		}
	}
}

func TestPickReplicasSpreadsOverZonesAndKeepsWhatStands(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		nodes    string
		existing []ident.NodeID
		n        int
		want     []ident.NodeID
	}{
		"one a zone":                        {nodes: "1a 2a 3b 4b 5c 6c", n: 3, want: nodeIDs(1, 3, 5)},
		"the least loaded of a zone":        {nodes: "1a+1 2a 3b+2 4b+1 5c", n: 3, want: nodeIDs(2, 4, 5)},
		"zones before load":                 {nodes: "1a 2a 3a 4b+9", n: 2, want: nodeIDs(1, 4)},
		"existing stay though they crowd":   {nodes: "1a 2a 3b 4c", existing: nodeIDs(1, 2), n: 3, want: nodeIDs(1, 2, 3)},
		"an existing one that is out goes":  {nodes: "1a! 2b 3c 4a", existing: nodeIDs(1, 2, 3), n: 3, want: nodeIDs(2, 3, 4)},
		"an existing one elsewhere goes":    {nodes: "2b 3c 4a", existing: nodeIDs(2, 3, 99), n: 3, want: nodeIDs(2, 3, 4)},
		"too many: the fullest zone gives":  {nodes: "1a 2a 3b 4c", existing: nodeIDs(1, 2, 3, 4), n: 3, want: nodeIDs(1, 3, 4)},
		"too few nodes: all that there are": {nodes: "1a 2a! 3b", n: 3, want: nodeIDs(1, 3)},
	} {
		nodes := append(nodesOf(east, test.nodes), nodesOf(west, "90x 91y 99z")...)
		got, err := PickReplicas(nodes, east, test.existing, test.n)
		if err != nil || !slices.Equal(got, test.want) {
			t.Errorf("%s: %v, %v; want %v", name, got, err, test.want)
		}
	}
	if _, err := PickReplicas(nodesOf(west, "1a 2b 3c"), east, nodeIDs(1), 3); !fault.Is(err, fault.Unavailable) {
		t.Errorf("a region without nodes: %v", err)
	}
	if _, err := PickReplicas(nodesOf(east, "1a"), east, nil, 0); !fault.Is(err, fault.Invalid) {
		t.Errorf("no replicas: %v", err)
	}
}

func TestPlanReplacementStaysInTheRegionOrSaysWhyNot(t *testing.T) {
	t.Parallel()
	nodes := append(nodesOf(east, "1a 2b 3c 4a 5b!"), nodesOf(west, "11a 12b 13c")...)
	groups := []Group{
		{Shard: shard(4), Region: west, Replicas: nodeIDs(11, 12, 13)},
		{Shard: shard(2), Region: east, Replicas: nodeIDs(1, 2, 3)},
		{Shard: shard(3), Region: east, Replicas: nodeIDs(1, 2, 4)},
		{Shard: shard(1), Region: east, Replicas: nodeIDs(2, 3, 4)},
	}
	plan, refused := PlanReplacement(node(1), nodes, groups)
	if len(refused) != 0 || len(plan) != 2 {
		t.Fatalf("%+v, refused %+v", plan, refused)
	}
	if plan[0].Shard != shard(2) || plan[0].To != node(4) || !slices.Equal(plan[0].Want, nodeIDs(2, 3, 4)) {
		t.Errorf("shard 2: %+v", plan[0])
	}
	if plan[1].Shard != shard(3) || plan[1].To != node(3) {
		t.Errorf("shard 3: %+v", plan[1])
	}
	plan, refused = PlanReplacement(node(12), nodes, groups)
	if len(plan) != 0 || len(refused) != 1 || !strings.Contains(refused[0].Reason, "eu-west") || !strings.Contains(refused[0].Reason, "11, 12, 13") {
		t.Errorf("a region without a spare node: %+v, refused %+v", plan, refused)
	}
	if plan, refused = PlanReplacement(node(5), nodes, groups); len(plan)+len(refused) != 0 {
		t.Errorf("a node that holds nothing: %+v, refused %+v", plan, refused)
	}
}

func TestReplacementsAreSpreadOverTheNodesThatTakeThem(t *testing.T) {
	t.Parallel()
	nodes := nodesOf(east, "1a 2b 3c 4a 5a 6a")
	var groups []Group
	for n := range uint64(30) {
		groups = append(groups, Group{Shard: shard(n + 1), Region: east, Replicas: nodeIDs(1, 2, 3)})
	}
	plan, _ := PlanReplacement(node(1), nodes, groups)
	taken := map[ident.NodeID]int{}
	for _, r := range plan {
		taken[r.To]++
	}
	if len(plan) != 30 || taken[node(4)] != 10 || taken[node(5)] != 10 || taken[node(6)] != 10 {
		t.Errorf("%d groups went to %v, want 10 each to 4, 5 and 6", len(plan), taken)
	}
}

func TestPickDirectoryVoters(t *testing.T) {
	t.Parallel()
	north := region("eu-north")
	for name, test := range map[string]struct {
		nodes   []Node
		current []ident.NodeID
		want    []ident.NodeID
	}{
		"nobody":                   {nil, nil, nil},
		"one node":                 {nodesOf(east, "1a"), nil, nodeIDs(1)},
		"two nodes: one votes":     {nodesOf(east, "1a 2b"), nodeIDs(2), nodeIDs(2)},
		"three":                    {nodesOf(east, "1a 2b 3c"), nil, nodeIDs(1, 2, 3)},
		"four: three vote":         {nodesOf(east, "1a 2a 3b 4c"), nil, nodeIDs(1, 3, 4)},
		"two regions, five vote":   {append(nodesOf(east, "1a 2b 3c"), nodesOf(west, "4a 5b 6c")...), nil, nodeIDs(1, 2, 3, 4, 5)},
		"those that vote stay":     {append(nodesOf(east, "1a 2b 3c"), nodesOf(west, "4a 5b 6c")...), nodeIDs(2, 3, 4, 5, 6), nodeIDs(2, 3, 4, 5, 6)},
		"a new region gets a vote": {slices.Concat(nodesOf(east, "1a 2b 3c"), nodesOf(west, "4a 5b 6c"), nodesOf(north, "7a")), nodeIDs(1, 2, 3, 4, 5), nodeIDs(1, 2, 4, 5, 7)},
		"one that is out does not": {nodesOf(east, "1a! 2b 3c 4a"), nodeIDs(1, 2, 3), nodeIDs(2, 3, 4)},
	} {
		if got := PickDirectoryVoters(test.nodes, test.current); !slices.Equal(got, test.want) {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
}

func TestSpreadLeaders(t *testing.T) {
	t.Parallel()
	group := func(n, leader uint64) Group {
		return Group{Shard: shard(n), Region: east, Replicas: nodeIDs(1, 2, 3), Leader: node(leader)}
	}
	for name, test := range map[string]struct {
		nodes  string
		groups []Group
		limit  int
		want   []Transfer
	}{
		"even":                       {"1a 2b 3c", []Group{group(1, 1), group(2, 2), group(3, 3)}, 9, nil},
		"one more is even":           {"1a 2b 3c", []Group{group(1, 1), group(2, 1), group(3, 2), group(4, 3)}, 9, nil},
		"all on one":                 {"1a 2b 3c", []Group{group(1, 1), group(2, 1), group(3, 1)}, 9, []Transfer{{shard(1), node(1), node(2)}, {shard(2), node(1), node(3)}}},
		"at most so many":            {"1a 2b 3c", []Group{group(1, 1), group(2, 1), group(3, 1)}, 1, []Transfer{{shard(1), node(1), node(2)}}},
		"off a node that drains":     {"1a! 2b 3c", []Group{group(1, 1), group(2, 2)}, 9, []Transfer{{shard(1), node(1), node(3)}}},
		"not to one that drains":     {"1a 2b! 3c!", []Group{group(1, 1), group(2, 1), group(3, 1)}, 9, nil},
		"without a leader: it waits": {"1a 2b 3c", []Group{group(1, 0), group(2, 0), group(3, 1)}, 9, nil},
	} {
		if got := SpreadLeaders(nodesOf(east, test.nodes), test.groups, test.limit); !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s: %+v, want %+v", name, got, test.want)
		}
	}
}

// shuffled returns a copy of s in another order.
func shuffled[T any](random *rand.Rand, s []T) []T {
	s = slices.Clone(s)
	random.Shuffle(len(s), func(i, j int) { s[i], s[j] = s[j], s[i] })
	return s
}
