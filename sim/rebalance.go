package main

import (
	"fmt"
	"time"

	"kimberlite/internal/directory"
	"kimberlite/internal/ident"
	"kimberlite/internal/placement"
)

// Rebalance is what it costs to even out a region after new shards were added.
type Rebalance struct {
	Region                  string
	Shards, NewShards       int
	Tenants                 int
	PlanTime                time.Duration
	Moves                   int
	Bytes, Held             uint64 // moved, and in the region
	BytesBefore, BytesAfter float64
	LoadBefore, LoadAfter   float64
	CommandBytes            uint64
	Left                    string
}

// newShardsPart of a region's shards are added before it is evened out.
const newShardsPart = 10

// grow adds a tenth to a region's shards, on the nodes that it has, and lets
// placement fill them with tenants of the others.
func (w *world) grow(r *registry) (Rebalance, error) {
	region := w.regions[0]
	report := Rebalance{Region: region.String(), NewShards: len(w.shards[0])/newShardsPart + 1}
	shards := append([]placement.Shard(nil), w.shards[0]...)
	for range report.NewShards {
		nodes, err := placement.PickReplicas(w.nodesOf(region), region, nil, copiesOfShard)
		if err != nil {
			return report, err
		}
		created, _, err := r.apply(directory.CreateShard{Region: region, Nodes: nodes})
		if err != nil {
			return report, err
		}
		for _, id := range nodes {
			w.nodes[id.Uint64()-1].Replicas++
		}
		shards = append(shards, placement.Shard{ID: created.Shard, Region: region})
	}
	report.Shards = len(shards)
	var tenants []placement.Tenant
	last := w.first[0] + len(w.shards[0])
	for i, t := range w.tenants {
		if int(t.shard) <= last {
			tenants = append(tenants, placement.Tenant{ID: ident.MustTenantID(uint64(i + 1)), Shard: ident.NewShardID(uint64(t.shard)), Bytes: t.bytes, Load: float64(t.load)})
			report.Held += t.bytes
		}
	}
	report.Tenants = len(tenants)
	began := time.Now()
	plan := placement.PlanRebalance(shards, tenants, placement.Limits{})
	report.PlanTime = time.Since(began)
	balance := plan.Balances[0]
	report.Moves, report.Bytes, report.Left = len(plan.Moves), plan.Bytes, balance.Left
	report.BytesBefore, report.BytesAfter = balance.BytesBefore, balance.BytesAfter
	report.LoadBefore, report.LoadAfter = balance.LoadBefore, balance.LoadAfter
	for _, move := range plan.Moves {
		n, err := r.move(move)
		if err != nil {
			return report, err
		}
		report.CommandBytes += uint64(n)
	}
	return report, nil
}

// move has the directory go through the steps of a move.
func (r *registry) move(m placement.Move) (int, error) {
	t, ok := r.d.Tenant(m.Tenant)
	if !ok || t.Shard != m.From {
		return 0, fmt.Errorf("the directory has tenant %s on shard %s, the plan moves it from %s", m.Tenant, t.Shard, m.From)
	}
	bytes := 0
	for _, step := range []func(epoch uint64) directory.Command{
		func(epoch uint64) directory.Command {
			return directory.BeginMove{Tenant: m.Tenant, Epoch: epoch, Target: m.To}
		},
		func(epoch uint64) directory.Command { return directory.FlipMove{Tenant: m.Tenant, Epoch: epoch} },
		func(epoch uint64) directory.Command { return directory.EndMove{Tenant: m.Tenant, Epoch: epoch} },
	} {
		t, _ = r.d.Tenant(m.Tenant)
		_, n, err := r.apply(step(t.Epoch))
		if err != nil {
			return bytes, err
		}
		bytes += n
	}
	return bytes, nil
}
