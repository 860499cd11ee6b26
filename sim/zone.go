package main

import (
	"fmt"
	"time"

	"kimberlite/internal/ident"
	"kimberlite/internal/placement"
)

// ZoneLoss is what the loss of one zone of a region costs.
type ZoneLoss struct {
	Region, Zone string
	NodesLost    int
	// Groups had a replica there; WithoutMajority of them lost more than half.
	Groups, WithoutMajority int
	Moved, Refused          int // replicas
	Bytes                   uint64
	PlanTime                time.Duration
	// CopyTime is what the slowest node needs at the rate, for what it receives
	// or sends.
	CopyTime      time.Duration
	LeadersMoved  int
	CommandBytes  uint64 // of the directory, before they go to every node
	Before, After NodeEvenness
}

// loseZone takes the first zone of the largest region away, and has placement
// replace what was there.
func (w *world) loseZone(commandBytes func(g placement.Group, want []ident.NodeID) (int, error)) (ZoneLoss, error) {
	largest := w.largest()
	region, zone := w.regions[largest], zoneName(0)
	loss := ZoneLoss{Region: region.String(), Zone: zone, Before: w.evenness(region)}
	var gone []ident.NodeID
	for i := range w.nodes {
		if n := &w.nodes[i]; n.Region == region && n.Zone == zone {
			n.Out = true
			gone = append(gone, n.ID)
		}
	}
	loss.NodesLost = len(gone)
	w.countLost(&loss, region)
	began := time.Now()
	copies := newCopies()
	for _, node := range gone {
		plan, refused := placement.PlanReplacement(node, w.nodesOf(region), w.groupsOf(largest))
		loss.Refused += len(refused)
		for _, r := range plan {
			g := &w.groups[r.Shard.Uint64()-1]
			n, err := commandBytes(*g, r.Want)
			if err != nil {
				return loss, err
			}
			loss.CommandBytes += uint64(n)
			bytes := w.shardAt(int(r.Shard.Uint64() - 1)).Bytes
			loss.Moved++
			loss.Bytes += bytes
			if g.Leader == r.From {
				g.Leader = w.elected(*g)
			}
			copies.sent[g.Leader] += bytes // a new replica is filled by who leads
			copies.received[r.To] += bytes
			g.Replicas = r.Want
			from, to := &w.nodes[r.From.Uint64()-1], &w.nodes[r.To.Uint64()-1]
			from.Replicas, from.Bytes = from.Replicas-1, from.Bytes-bytes
			to.Replicas, to.Bytes = to.Replicas+1, to.Bytes+bytes
		}
	}
	loss.LeadersMoved = w.spreadLeaders()
	loss.PlanTime = time.Since(began)
	loss.CopyTime = copies.time(w.s.rate)
	loss.After = w.evenness(region)
	return loss, w.checkRegions()
}

// largest is the index of the region with the most tenants.
func (w *world) largest() int {
	largest := 0
	for i := range w.weights {
		if w.weights[i] > w.weights[largest] {
			largest = i
		}
	}
	return largest
}

func (w *world) groupsOf(r int) []placement.Group {
	end := len(w.groups)
	if r+1 < len(w.first) {
		end = w.first[r+1]
	}
	return w.groups[w.first[r]:end]
}

// countLost counts the groups that lost replicas, and those that lost their
// majority.
func (w *world) countLost(loss *ZoneLoss, region ident.Region) {
	for _, g := range w.groups {
		lost := 0
		for _, id := range g.Replicas {
			if w.nodes[id.Uint64()-1].Out {
				lost++
			}
		}
		if g.Region != region || lost == 0 {
			continue
		}
		loss.Groups++
		if 2*lost >= len(g.Replicas) {
			loss.WithoutMajority++
		}
	}
}

// checkRegions is the rule that nothing may break.
func (w *world) checkRegions() error {
	for _, g := range w.groups {
		for _, id := range g.Replicas {
			if n := w.nodes[id.Uint64()-1]; n.Region != g.Region {
				return fmt.Errorf("shard %s of region %s has a replica on node %s of region %s", g.Shard, g.Region, n.ID, n.Region)
			}
		}
	}
	return nil
}

// elected is a replica of a group that is still there: any of them could win.
func (w *world) elected(g placement.Group) ident.NodeID {
	var there []ident.NodeID
	for _, id := range g.Replicas {
		if !w.nodes[id.Uint64()-1].Out {
			there = append(there, id)
		}
	}
	if len(there) == 0 {
		return ident.NodeID{}
	}
	return there[w.random.IntN(len(there))]
}

// copies adds up what nodes send and receive.
type copies struct {
	sent, received map[ident.NodeID]uint64
}

func newCopies() *copies {
	return &copies{sent: map[ident.NodeID]uint64{}, received: map[ident.NodeID]uint64{}}
}

// time is what the busiest node takes.
func (c *copies) time(rate int64) time.Duration {
	most := uint64(0)
	for _, counts := range []map[ident.NodeID]uint64{c.sent, c.received} {
		for _, n := range counts {
			most = max(most, n)
		}
	}
	return time.Duration(float64(most) / float64(rate) * float64(time.Second))
}
