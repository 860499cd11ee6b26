package main

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"

	"kimberlite/internal/ident"
	"kimberlite/internal/placement"
)

// copiesOfShard is how many replicas a shard has.
const copiesOfShard = 3

// world is the deployment: what its nodes and shards hold, as numbers.
type world struct {
	s       settings
	random  *rand.Rand
	regions []ident.Region
	weights []float64 // of the regions, in sum 1
	nodes   []placement.Node
	groups  []placement.Group // by shard, from shard 1
	shards  [][]placement.Shard
	first   []int // the index in groups of each region's first shard
	// tenants are by id, from tenant 1.
	tenants []tenant
}

type tenant struct {
	shard uint32 // its number
	bytes uint64
	load  float32 // operations a second
}

func newWorld(s settings) *world {
	w := &world{s: s, random: rand.New(rand.NewPCG(s.seed, 0x6b696d62))}
	sum := 0.0
	for i := range s.regions {
		name := fmt.Sprintf("region-%02d", i+1)
		region, err := ident.NewRegion(name)
		if err != nil {
			panic(err) // the name is ours
		}
		w.regions = append(w.regions, region)
		weight := 1 + 2*w.random.Float64() // the largest has up to three times the smallest
		w.weights = append(w.weights, weight)
		sum += weight
	}
	for i := range w.weights {
		w.weights[i] /= sum
	}
	w.shards = make([][]placement.Shard, s.regions)
	return w
}

// addNodes makes the nodes: each region gets what its weight asks for, at least
// one node a zone, and spreads them over its zones.
func (w *world) addNodes() {
	least := max(w.s.zones, copiesOfShard)
	spare := w.s.nodes - least*len(w.regions)
	for i, region := range w.regions {
		n := least + int(float64(spare)*w.weights[i])
		if i == len(w.regions)-1 {
			n = w.s.nodes - len(w.nodes)
		}
		for k := range n {
			w.nodes = append(w.nodes, placement.Node{
				ID: ident.NewNodeID(uint64(len(w.nodes) + 1)), Region: region, Zone: zoneName(k % w.s.zones),
			})
		}
	}
}

func zoneName(i int) string { return string(rune('a' + i)) }

func (w *world) nodesOf(region ident.Region) []placement.Node {
	var nodes []placement.Node
	for _, n := range w.nodes {
		if n.Region == region {
			nodes = append(nodes, n)
		}
	}
	return nodes
}

// addShards makes as many shards in each region as its nodes have room for,
// where placement puts them, and lets placement spread their leaders.
func (w *world) addShards() error {
	for i, region := range w.regions {
		w.first = append(w.first, len(w.groups))
		nodes := w.nodesOf(region)
		for range len(nodes) * w.s.replicasPerNode / copiesOfShard {
			chosen, err := placement.PickReplicas(nodes, region, nil, copiesOfShard)
			if err != nil {
				return err
			}
			id := ident.NewShardID(uint64(len(w.groups) + 1))
			for _, node := range chosen {
				w.nodes[node.Uint64()-1].Replicas++
				nodes[node.Uint64()-nodes[0].ID.Uint64()].Replicas++
			}
			w.groups = append(w.groups, placement.Group{Shard: id, Region: region, Replicas: chosen, Leader: chosen[0]})
			w.shards[i] = append(w.shards[i], placement.Shard{ID: id, Region: region})
		}
	}
	return nil
}

// addTenants places the tenants one by one. Sizes are log-normal (a few hold
// most), loads Pareto.
func (w *world) addTenants() error {
	const sigma = 1.5
	mu := math.Log(float64(w.s.meanBytes)) - sigma*sigma/2
	w.tenants = make([]tenant, w.s.tenants)
	for i := range w.tenants {
		r := w.pickRegion()
		id, err := placement.PickShard(w.shards[r], w.regions[r])
		if err != nil {
			return err
		}
		t := &w.tenants[i]
		t.shard = uint32(id.Uint64())
		t.bytes = uint64(math.Exp(mu + sigma*w.random.NormFloat64()))
		t.load = float32(min(0.02*math.Pow(1-w.random.Float64(), -1/1.2), 100))
		s := &w.shards[r][int(t.shard)-1-w.first[r]]
		s.Tenants++
		s.Bytes += t.bytes
		s.Load += float64(t.load)
	}
	w.weighNodes()
	return nil
}

func (w *world) pickRegion() int {
	at := w.random.Float64()
	for i, weight := range w.weights {
		if at -= weight; at < 0 {
			return i
		}
	}
	return len(w.weights) - 1
}

// weighNodes adds up what each node holds.
func (w *world) weighNodes() {
	for i := range w.nodes {
		w.nodes[i].Replicas, w.nodes[i].Bytes, w.nodes[i].Load = 0, 0, 0
	}
	for i, g := range w.groups {
		s := w.shardAt(i)
		for _, id := range g.Replicas {
			n := &w.nodes[id.Uint64()-1]
			n.Replicas++
			n.Bytes += s.Bytes
		}
		w.nodes[g.Leader.Uint64()-1].Load += s.Load
	}
}

// shardAt is the shard of groups[i].
func (w *world) shardAt(i int) *placement.Shard {
	for r := len(w.first) - 1; ; r-- {
		if i >= w.first[r] {
			return &w.shards[r][i-w.first[r]]
		}
	}
}

// spreadLeaders has placement say who leads, and reports how many change.
func (w *world) spreadLeaders() int {
	changed := 0
	for r, region := range w.regions {
		end := len(w.groups)
		if r+1 < len(w.first) {
			end = w.first[r+1]
		}
		for _, t := range placement.SpreadLeaders(w.nodesOf(region), w.groups[w.first[r]:end], math.MaxInt) {
			w.groups[t.Shard.Uint64()-1].Leader = t.To
			changed++
		}
	}
	w.weighNodes()
	return changed
}

// tenantName is a name as long as people give.
func tenantName(id uint64) string { return "hospital-" + strconv.FormatUint(id, 36) + "-clinic" }
