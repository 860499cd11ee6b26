package main

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"time"

	"kimberlite/internal/directory"
	"kimberlite/internal/ident"
	"kimberlite/internal/pki"
	"kimberlite/internal/placement"
	"kimberlite/internal/replication"
)

// registry is the deployment's directory, on one of its nodes.
type registry struct {
	d    *directory.Directory
	feed *directory.Feed
	at   time.Time // the clock of the commands
	// sinceCheckpoint counts commands: a node makes checkpoints by time.
	sinceCheckpoint int
}

const (
	deploymentName     = "sim"
	commandsCheckpoint = 100_000
	certificateValid   = 10 * 365 * 24 * time.Hour
)

func newRegistry() *registry {
	d := directory.New(directory.Options{Node: ident.NewNodeID(1)})
	return &registry{d: d, feed: directory.NewFeed(d), at: time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)}
}

// apply has a command take effect and returns its bytes in the log.
func (r *registry) apply(c directory.Command) (directory.Result, int, error) {
	r.at = r.at.Add(time.Millisecond)
	result, n, err := r.feed.Apply(c, r.at)
	if err != nil {
		return result, n, fmt.Errorf("%T: %w", c, err)
	}
	if r.sinceCheckpoint++; r.sinceCheckpoint == commandsCheckpoint {
		return result, n, r.checkpoint()
	}
	return result, n, nil
}

func (r *registry) checkpoint() error {
	r.sinceCheckpoint = 0
	_, err := r.feed.Checkpoint()
	return err
}

// addNodes makes the deployment and has every node join with its own token.
func (r *registry) addNodes(nodes []placement.Node, random *rand.ChaCha8) error {
	ca, err := pki.NewAuthority(deploymentName, r.at, certificateValid)
	if err != nil {
		return err
	}
	for i, n := range nodes {
		addresses := directory.NodeAddresses{
			Zone: n.Zone, PeerAddr: fmt.Sprintf("10.%d.%d.%d:7445", i>>16, i>>8&255, i&255),
			PGAddr: fmt.Sprintf("10.%d.%d.%d:5433", i>>16, i>>8&255, i&255), RPCAddr: fmt.Sprintf("10.%d.%d.%d:7443", i>>16, i>>8&255, i&255), Version: "1.0.0",
		}
		if i == 0 {
			_, _, err = r.apply(directory.Bootstrap{Deployment: deploymentName, Region: n.Region, NodeAddresses: addresses, CA: ca.CertificatePEM()})
		} else {
			err = r.join(n, addresses, random)
		}
		if err != nil {
			return err
		}
	}
	return r.checkpoint()
}

func (r *registry) join(n placement.Node, addresses directory.NodeAddresses, random *rand.ChaCha8) error {
	secret, token, err := directory.NewToken(n.Region, r.at, r.at.Add(time.Hour), random)
	if err != nil {
		return err
	}
	if _, _, err = r.apply(directory.CreateToken{Token: token}); err != nil {
		return err
	}
	proof, _, err := r.d.ProveToken(secret, r.at)
	if err != nil {
		return err
	}
	result, _, err := r.apply(directory.AddNode{Proof: proof, Region: n.Region, NodeAddresses: addresses})
	if err == nil && result.Node != n.ID {
		err = fmt.Errorf("node %s was allotted %s", n.ID, result.Node)
	}
	return err
}

func (r *registry) addShards(groups []placement.Group) error {
	for _, g := range groups {
		result, _, err := r.apply(directory.CreateShard{Region: g.Region, Nodes: g.Replicas})
		if err != nil {
			return err
		}
		if result.Shard != g.Shard {
			return fmt.Errorf("shard %s was allotted %s", g.Shard, result.Shard)
		}
	}
	return r.checkpoint()
}

// TenantCost is what tenants cost the directory.
type TenantCost struct {
	Tenants       int
	CreateTime    time.Duration // applying all of it on one node
	CommandBytes  float64       // a tenant, of its two commands
	Heap          uint64        // bytes that all tenants take
	HeapPerTenant float64
	HeapRest      uint64 // nodes, shards and the program itself
	// SnapshotBytes are what a new node fetches.
	SnapshotBytes  uint64
	SavedPerTenant float64
}

// addTenants reserves and activates every tenant, and measures what that takes.
func (r *registry) addTenants(w *world) (TenantCost, error) {
	cost := TenantCost{Tenants: len(w.tenants), HeapRest: heap()}
	bytes := 0
	began := time.Now()
	for i, t := range w.tenants {
		id := ident.MustTenantID(uint64(i + 1))
		shard := ident.NewShardID(uint64(t.shard))
		reserved, n, err := r.apply(directory.ReserveTenant{Tenant: id, Name: tenantName(id.Uint64()), Region: w.groups[t.shard-1].Region, Shard: shard})
		if err != nil {
			return cost, err
		}
		_, m, err := r.apply(directory.ActivateTenant{Tenant: id, Epoch: reserved.Epoch})
		if err != nil {
			return cost, err
		}
		bytes += n + m
	}
	if err := r.checkpoint(); err != nil {
		return cost, err
	}
	cost.CreateTime = time.Since(began)
	cost.CommandBytes = float64(bytes) / float64(len(w.tenants))
	cost.Heap = heap() - cost.HeapRest
	cost.HeapPerTenant = float64(cost.Heap) / float64(len(w.tenants))
	for i := range w.tenants {
		cost.SnapshotBytes += uint64(r.feed.SavedTenant(ident.MustTenantID(uint64(i + 1))))
	}
	cost.SavedPerTenant = float64(cost.SnapshotBytes) / float64(len(w.tenants))
	return cost, nil
}

// heap is what is in use after a collection.
func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// LookUps is how long the directory takes to answer.
type LookUps struct {
	ByID, ByName Times
	// ByIDWhileWriting is the same while another goroutine applies commands.
	ByIDWhileWriting Times
}

// Times are of single look-ups, but for the mean, which is of all together.
type Times struct {
	Mean, P50, P99, P999 time.Duration
	Count                int
}

// lookUp times look-ups of tenants drawn evenly, so that most miss the
// processor's caches.
func (r *registry) lookUp(tenants, count int, random *rand.Rand) (LookUps, error) {
	ids := make([]ident.TenantID, count)
	for i := range ids {
		ids[i] = ident.MustTenantID(1 + random.Uint64N(uint64(tenants)))
	}
	names := make([]string, min(count, 1_000_000))
	for i := range names {
		names[i] = tenantName(ids[i].Uint64())
	}
	var l LookUps
	missed := 0
	byID := func(i int) {
		if t, ok := r.d.Tenant(ids[i%len(ids)]); !ok || t.State != directory.TenantActive {
			missed++
		}
	}
	l.ByID = timesOf(count, byID)
	l.ByName = timesOf(len(names), func(i int) {
		if t, ok := r.d.TenantNamed(names[i]); !ok || t.ID != ids[i] {
			missed++
		}
	})
	stop, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- r.writeUntil(stop) }()
	l.ByIDWhileWriting = timesOf(count, byID)
	close(stop)
	if err := <-done; err != nil {
		return l, err
	}
	if missed > 0 {
		return l, fmt.Errorf("%d look-ups did not find their tenant", missed)
	}
	return l, nil
}

// writeUntil applies settings, which no look-up depends on.
func (r *registry) writeUntil(stop <-chan struct{}) error {
	for i := 0; ; i++ {
		select {
		case <-stop:
			return nil
		default:
		}
		if _, _, err := r.apply(directory.SetSetting{Name: "sim", Value: fmt.Sprint(i)}); err != nil {
			return err
		}
	}
}

// sampled of the look-ups are timed one by one, since asking the clock takes
// about as long as a look-up.
const sampled = 200_000

func timesOf(count int, do func(int)) Times {
	began := time.Now()
	for i := range count {
		do(i)
	}
	t := Times{Mean: time.Since(began) / time.Duration(count), Count: count}
	single := make([]time.Duration, min(count, sampled))
	for i := range single {
		began = time.Now()
		do(count - 1 - i)
		single[i] = time.Since(began)
	}
	slices.Sort(single)
	at := func(part float64) time.Duration { return single[int(part*float64(len(single)-1))] }
	t.P50, t.P99, t.P999 = at(0.5), at(0.99), at(0.999)
	return t
}

// setReplicas tells the directory where a shard should be now.
func (r *registry) setReplicas(g placement.Group, want []ident.NodeID) (int, error) {
	s, ok := r.d.Shard(g.Shard)
	if !ok {
		return 0, fmt.Errorf("the directory has no shard %s", g.Shard)
	}
	members := make([]replication.Replica, 0, len(want))
	for _, node := range want {
		member, there := s.On(node)
		if !there {
			member = replication.Replica{Node: node}
		}
		members = append(members, member)
	}
	_, n, err := r.apply(directory.SetReplicas{Shard: g.Shard, Generation: s.Generation, Want: members})
	return n, err
}
