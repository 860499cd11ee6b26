package placement

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
)

// PickReplicas returns the nodes of a region that should hold a group of n
// replicas, in the order of their ids. Those of existing that can stay stay;
// others come from the zones that hold the fewest of the group's replicas, and
// within a zone from the node that carries least. When there are more than n,
// those in the fullest zones and on the nodes that carry most go.
//
// A region with fewer than n nodes gives all it has, so the caller compares
// the lengths; one with none is an Unavailable that says so. A node of another
// region is never in the answer, even if existing names it.
func PickReplicas(nodes []Node, region ident.Region, existing []ident.NodeID, n int) ([]ident.NodeID, error) {
	if n < 1 {
		return nil, fault.New("place replicas", fault.Invalid, "a group needs 1 replica or more, not %d", n)
	}
	var chosen, spare []Node
	for _, node := range nodesByID(nodes) {
		switch {
		case node.Region != region || node.Out:
		case slices.Contains(existing, node.ID):
			chosen = append(chosen, node)
		default:
			spare = append(spare, node)
		}
	}
	if len(chosen)+len(spare) == 0 {
		return nil, fault.New("place replicas", fault.Unavailable,
			"region %q has no node that takes replicas: join one with a token of `kimberlite node token create --region %s`", region, region)
	}
	zones := map[string]int{}
	for _, node := range chosen {
		zones[node.Zone]++
	}
	for len(chosen) > n {
		i := worst(chosen, zones)
		zones[chosen[i].Zone]--
		chosen = slices.Delete(chosen, i, i+1)
	}
	for len(chosen) < n && len(spare) > 0 {
		i := best(spare, zones)
		zones[spare[i].Zone]++
		chosen = append(chosen, spare[i])
		spare = slices.Delete(spare, i, i+1)
	}
	return sortedIDs(chosen), nil
}

// best is the index of the node in the emptiest zone that carries least.
func best(nodes []Node, zones map[string]int) int {
	b := 0
	for i := range nodes {
		if c := cmp.Or(cmp.Compare(zones[nodes[i].Zone], zones[nodes[b].Zone]), compareLoad(nodes[i], nodes[b])); c < 0 {
			b = i
		}
	}
	return b
}

// worst is the index of the node in the fullest zone that carries most.
func worst(nodes []Node, zones map[string]int) int {
	w := 0
	for i := range nodes {
		if c := cmp.Or(cmp.Compare(zones[nodes[i].Zone], zones[nodes[w].Zone]), compareLoad(nodes[i], nodes[w])); c > 0 {
			w = i
		}
	}
	return w
}

func sortedIDs(nodes []Node) []ident.NodeID {
	ids := make([]ident.NodeID, len(nodes))
	for i := range nodes {
		ids[i] = nodes[i].ID
	}
	slices.SortFunc(ids, compareNodes)
	return ids
}

// Replacement gives one replica of a group from one node to another.
type Replacement struct {
	Shard  ident.ShardID
	From   ident.NodeID
	To     ident.NodeID
	Want   []ident.NodeID // all that should hold the group afterwards
	Reason string
}

// Refusal is a replica that cannot be replaced, and why.
type Refusal struct {
	Shard  ident.ShardID
	Node   ident.NodeID
	Reason string
}

// PlanReplacement returns where the replicas of a node that drains or is gone
// should go, one replacement a group and in the order of the shards. Each
// counts as carried by its new node when the next is decided. A group whose
// region has no other node to offer is refused with that reason and keeps what
// it has: a replica outside the region is never the answer.
func PlanReplacement(gone ident.NodeID, nodes []Node, groups []Group) ([]Replacement, []Refusal) {
	nodes = nodesByID(nodes)
	for i := range nodes {
		if nodes[i].ID == gone {
			nodes[i].Out = true
		}
	}
	var plan []Replacement
	var refused []Refusal
	for _, g := range groupsByShard(groups) {
		if !slices.Contains(g.Replicas, gone) {
			continue
		}
		to, reason := replacementFor(gone, nodes, g)
		if to < 0 {
			refused = append(refused, Refusal{Shard: g.Shard, Node: gone, Reason: reason})
			continue
		}
		nodes[to].Replicas++
		want := slices.DeleteFunc(slices.Clone(g.Replicas), func(id ident.NodeID) bool { return id == gone })
		want = append(want, nodes[to].ID)
		slices.SortFunc(want, compareNodes)
		plan = append(plan, Replacement{Shard: g.Shard, From: gone, To: nodes[to].ID, Want: want, Reason: reason})
	}
	return plan, refused
}

// replacementFor returns the index of the node that takes gone's place in a
// group, or -1, and the reason of either.
func replacementFor(gone ident.NodeID, nodes []Node, g Group) (int, string) {
	zones := map[string]int{}
	to := -1
	for _, node := range nodes {
		if node.Region == g.Region && node.ID != gone && slices.Contains(g.Replicas, node.ID) {
			zones[node.Zone]++
		}
	}
	for i, node := range nodes {
		if node.Region != g.Region || node.Out || slices.Contains(g.Replicas, node.ID) {
			continue
		}
		if to < 0 || cmp.Or(cmp.Compare(zones[node.Zone], zones[nodes[to].Zone]), compareLoad(node, nodes[to])) < 0 {
			to = i
		}
	}
	if to < 0 {
		return -1, fmt.Sprintf("region %q has no node to put shard %s on besides those that hold it (%s): join one there first",
			g.Region, g.Shard, list(g.Replicas))
	}
	return to, fmt.Sprintf("node %s holds %d groups, and its zone %q %d of the %d replicas that shard %s has elsewhere",
		nodes[to].ID, nodes[to].Replicas, nodes[to].Zone, zones[nodes[to].Zone], len(g.Replicas)-1, g.Shard)
}

func list(ids []ident.NodeID) string {
	ids = slices.SortedFunc(slices.Values(ids), compareNodes)
	names := make([]string, len(ids))
	for i, id := range ids {
		names[i] = id.String()
	}
	return strings.Join(names, ", ")
}
