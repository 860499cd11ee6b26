package main

import (
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"time"
)

// Report is what a run found.
type Report struct {
	Tenants, Nodes, Regions, Zones, Shards, Replicas int
	Seed                                             uint64
	MeanBytes, Rate                                  int64
	HeldBytes                                        uint64 // by all tenants, on one replica

	PlaceTime  time.Duration // of one tenant, by PickShard
	PerShard   Even          // tenants, over all shards of a region, relative to it
	Node       NodeEvenness  // of the largest region
	Tenant     TenantCost
	LookUps    LookUps
	Traffic    Traffic
	Zone       ZoneLoss
	Rebalanced Rebalance
}

// Traffic is what the directory sends. Its leader sends to each node itself.
type Traffic struct {
	// CreateLeader is what its leader sends for one new tenant, CreateNode what
	// one node receives.
	CreateLeader, CreateNode float64
	// QuietLeader is what its leader sends and receives a second when nothing
	// changes, with heartbeats of HeartbeatBytes every HeartbeatEvery.
	QuietLeader    float64
	HeartbeatBytes int
	HeartbeatEvery time.Duration
}

// A heartbeat's bytes are reckoned, not measured: the message with its frame,
// its part of a record of TLS and of the packets' heads.
const (
	heartbeatBytes = 100
	heartbeatEvery = 100 * time.Millisecond
)

func simulate(s settings, log io.Writer) (*Report, error) {
	began := time.Now()
	say := func(what string) { fmt.Fprintf(log, "%6.1fs  %s\n", time.Since(began).Seconds(), what) }
	w := newWorld(s)
	w.addNodes()
	if err := w.addShards(); err != nil {
		return nil, err
	}
	report := &Report{
		Tenants: s.tenants, Nodes: len(w.nodes), Regions: len(w.regions), Zones: s.zones, Shards: len(w.groups),
		Replicas: copiesOfShard * len(w.groups), Seed: s.seed, MeanBytes: s.meanBytes, Rate: s.rate,
	}
	say("tenants are placed")
	placing := time.Now()
	if err := w.addTenants(); err != nil {
		return nil, err
	}
	report.PlaceTime = time.Since(placing) / time.Duration(s.tenants)
	w.spreadLeaders()
	report.describe(w)

	say("the directory is filled")
	var seed [32]byte
	binary.LittleEndian.PutUint64(seed[:], s.seed)
	r := newRegistry()
	if err := r.addNodes(w.nodes, rand.NewChaCha8(seed)); err != nil {
		return nil, err
	}
	if err := r.addShards(w.groups); err != nil {
		return nil, err
	}
	var err error
	if report.Tenant, err = r.addTenants(w); err != nil {
		return nil, err
	}
	report.traffic()
	say("tenants are looked up")
	if report.LookUps, err = r.lookUp(s.tenants, s.lookUps, w.random); err != nil {
		return nil, err
	}
	say("a zone is lost")
	if report.Zone, err = w.loseZone(r.setReplicas); err != nil {
		return nil, err
	}
	say("a region grows")
	if report.Rebalanced, err = w.grow(r); err != nil {
		return nil, err
	}
	say("done")
	return report, nil
}

func (r *Report) describe(w *world) {
	var relative []float64
	for _, shards := range w.shards {
		sum := 0
		for _, s := range shards {
			sum += s.Tenants
			r.HeldBytes += s.Bytes
		}
		for _, s := range shards {
			if sum > 0 {
				relative = append(relative, float64(s.Tenants)*float64(len(shards))/float64(sum))
			}
		}
	}
	r.PerShard = evenOf(relative)
	r.Node = w.evenness(w.regions[w.largest()])
}

func (r *Report) traffic() {
	others := float64(r.Nodes - 1)
	r.Traffic = Traffic{
		CreateLeader: r.Tenant.CommandBytes * others, CreateNode: r.Tenant.CommandBytes,
		QuietLeader:    2 * heartbeatBytes * others / heartbeatEvery.Seconds(),
		HeartbeatBytes: heartbeatBytes, HeartbeatEvery: heartbeatEvery,
	}
}
