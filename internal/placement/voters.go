package placement

import (
	"cmp"
	"slices"

	"kimberlite/internal/ident"
)

// MaxDirectoryVoters is how many nodes vote in the directory at most.
const MaxDirectoryVoters = 5

// PickDirectoryVoters returns who should vote in the directory, in the order
// of ids: 5 nodes, or 3 where there are fewer than 5, or 1 where there are
// fewer than 3 (an even number would survive no more failures than one less).
// They are spread over regions first and over a region's zones next. Of
// candidates that spread equally well, those that vote now stay; others are
// those that carry least.
func PickDirectoryVoters(nodes []Node, current []ident.NodeID) []ident.NodeID {
	var candidates []Node
	for _, node := range nodesByID(nodes) {
		if !node.Out {
			candidates = append(candidates, node)
		}
	}
	n := 1
	switch {
	case len(candidates) == 0:
		return nil
	case len(candidates) >= MaxDirectoryVoters:
		n = MaxDirectoryVoters
	case len(candidates) >= 3:
		n = 3
	}
	type place struct {
		region ident.Region
		zone   string
	}
	regions, zones := map[ident.Region]int{}, map[place]int{}
	moves := func(id ident.NodeID) int {
		if slices.Contains(current, id) {
			return 0
		}
		return 1
	}
	var chosen []Node
	for len(chosen) < n {
		b := 0
		for i, node := range candidates {
			other := candidates[b]
			if cmp.Or(
				cmp.Compare(regions[node.Region], regions[other.Region]),
				cmp.Compare(zones[place{node.Region, node.Zone}], zones[place{other.Region, other.Zone}]),
				cmp.Compare(moves(node.ID), moves(other.ID)),
				compareLoad(node, other),
			) < 0 {
				b = i
			}
		}
		node := candidates[b]
		regions[node.Region]++
		zones[place{node.Region, node.Zone}]++
		chosen = append(chosen, node)
		candidates = slices.Delete(candidates, b, b+1)
	}
	return sortedIDs(chosen)
}

// Transfer gives the lead of a group from one of its nodes to another.
type Transfer struct {
	Shard    ident.ShardID
	From, To ident.NodeID
}

// SpreadLeaders returns which groups should be led by another of their nodes,
// at most limit of them: none by a node that is Out, and no node leading two
// groups more than another that could lead one of them. Groups without a
// leader are left alone: they elect one first.
func SpreadLeaders(nodes []Node, groups []Group, limit int) []Transfer {
	out := map[ident.NodeID]bool{}
	for _, node := range nodes {
		out[node.ID] = node.Out
	}
	groups = groupsByShard(groups)
	leads := map[ident.NodeID]int{}
	for _, g := range groups {
		leads[g.Leader]++
	}
	var plan []Transfer
	moved := map[ident.ShardID]bool{}
	for len(plan) < limit {
		from, to := -1, ident.NodeID{}
		gain := 1 // the least difference that a transfer must be better than
		for i, g := range groups {
			if g.Leader.IsZero() || moved[g.Shard] {
				continue
			}
			isOut, known := out[g.Leader]
			for _, id := range slices.SortedFunc(slices.Values(g.Replicas), compareNodes) {
				if away, ok := out[id]; !ok || away || id == g.Leader {
					continue
				}
				better := leads[g.Leader] - leads[id]
				if isOut || !known {
					better += len(groups) + 2 // goes before every other
				}
				if better > gain {
					gain, from, to = better, i, id
				}
			}
		}
		if from < 0 {
			break
		}
		g := &groups[from]
		plan = append(plan, Transfer{Shard: g.Shard, From: g.Leader, To: to})
		leads[g.Leader]--
		leads[to]++
		moved[g.Shard] = true
		g.Leader = to
	}
	return plan
}
