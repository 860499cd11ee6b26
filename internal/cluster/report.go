package cluster

import (
	"context"
	"sync"
	"time"

	"kimberlite/internal/directory"
	"kimberlite/internal/ident"
	"kimberlite/internal/peer"
	"kimberlite/internal/pki"
	"kimberlite/internal/replication"
)

// report is what a node says of itself.
type report struct {
	Node        ident.NodeID  `json:"node"`
	Version     string        `json:"version"`
	MasterKey   string        `json:"master_key"`
	Authority   string        `json:"authority"` // of its certificate
	Authorities []string      `json:"authorities"`
	Expires     time.Time     `json:"expires"`
	Shards      []shardReport `json:"shards"`
}

// shardReport is one replica of a report.
type shardReport struct {
	Shard   ident.ShardID       `json:"shard"`
	Replica replication.Replica `json:"replica"`
	Leads   bool                `json:"leads"`
	Leader  ident.NodeID        `json:"leader"`
	Term    uint64              `json:"term"`
	Applied uint64              `json:"applied"`
	Last    uint64              `json:"last"`
	Members []MemberStatus      `json:"members"`
	Tenants int                 `json:"tenants"`
	Bytes   int64               `json:"bytes"`
	Load    float64             `json:"load"`
	// Fetching says that the replica receives what it lacks.
	Fetching bool   `json:"fetching"`
	Problem  string `json:"problem,omitempty"`
}

// rate is how fast a shard applies entries.
type rate struct {
	mu    sync.Mutex // guards the fields
	at    time.Time
	index uint64
	value float64
}

// sample takes the index at a time; samples of less than a second are left
// out, and older ones count less and less.
func (r *rate) sample(now time.Time, index uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	passed := now.Sub(r.at).Seconds()
	if !r.at.IsZero() && passed < 1 {
		return
	}
	if !r.at.IsZero() && index >= r.index {
		r.value = 0.7*r.value + 0.3*float64(index-r.index)/passed
	}
	r.at, r.index = now, index
}

func (r *rate) get() float64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.value
}

func (n *Node) handleReports() {
	answer(n, "report", func(context.Context, peer.Peer, none) (report, error) { return n.report(), nil })
	answer(n, "holdings", n.serveHoldings)
}

// report describes this node.
func (n *Node) report() report {
	pair := n.creds.pair.Load()
	r := report{
		Node: n.identity.Node, Version: n.addresses.Version, MasterKey: n.parts.MasterKey,
		Authority: pki.FingerprintOf(authorityOf(pair)).String(), Expires: pair.Leaf.NotAfter,
	}
	for _, f := range n.creds.bundle.Load().Fingerprints() {
		r.Authorities = append(r.Authorities, f.String())
	}
	for _, h := range n.hosted() {
		r.Shards = append(r.Shards, h.report())
	}
	return r
}

func (h *host) report() shardReport {
	st := h.shard.Status()
	_, leads := h.shard.Lead()
	r := shardReport{
		Shard: h.id, Replica: replication.Replica{ID: h.replica, Node: h.n.identity.Node}, Leads: leads, Leader: st.Leader.Node,
		Term: st.Term, Applied: st.Applied, Last: st.Last, Load: h.rate.get(), Fetching: st.Fetch != nil,
		Members: memberStatus(st.Status),
	}
	for _, t := range h.shard.Tenants() {
		r.Tenants++
		r.Bytes += t.Log.TotalBytes
	}
	if err := h.shard.Err(); err != nil {
		r.Problem = err.Error()
	}
	return r
}

// memberStatus joins a group's members with what the leader knows of them.
func memberStatus(st replication.Status) []MemberStatus {
	var all []MemberStatus
	for _, m := range st.Members {
		one := MemberStatus{Replica: m}
		if m.ID == st.Self.ID {
			one.Active = true
			one.Lag = st.Last - min(st.Applied, st.Last)
		}
		for _, p := range st.Peers {
			if p.ID == m.ID {
				one.Active, one.Snapshotting = p.Active, p.Snapshotting
				one.Lag = st.Last - min(p.Match, st.Last)
			}
		}
		all = append(all, one)
	}
	return all
}

// reports remembers what nodes said a moment ago.
type reports struct {
	mu sync.Mutex // guards at
	at map[ident.NodeID]heard
}

type heard struct {
	report report
	when   time.Time
}

const (
	reportFresh   = 2 * time.Second
	reportTimeout = time.Second
)

// hear asks nodes for their reports, all at a time; a node that does not
// answer in time is missing in what it returns. Answers of the last seconds
// stand, unless fresh ones are asked for.
func (n *Node) hear(ctx context.Context, of []directory.Node, fresh bool) map[ident.NodeID]report {
	ctx, cancel := context.WithTimeout(ctx, reportTimeout)
	defer cancel()
	var (
		mu  sync.Mutex // guards all
		all = map[ident.NodeID]report{}
		wg  sync.WaitGroup
	)
	for _, o := range of {
		if o.State == directory.NodeRemoved {
			continue
		}
		n.reports.mu.Lock()
		h, ok := n.reports.at[o.ID]
		n.reports.mu.Unlock()
		if ok && !fresh && time.Since(h.when) < reportFresh {
			mu.Lock()
			all[o.ID] = h.report
			mu.Unlock()
			continue
		}
		wg.Go(func() {
			r, err := ask[report](ctx, n, o.ID, "report", none{})
			if err != nil {
				return
			}
			mu.Lock()
			all[o.ID] = r
			mu.Unlock()
			n.reports.mu.Lock()
			if n.reports.at == nil {
				n.reports.at = map[ident.NodeID]heard{}
			}
			n.reports.at[o.ID] = heard{r, time.Now()}
			n.reports.mu.Unlock()
		})
	}
	wg.Wait()
	return all
}

// leaders returns the reports of shards by those that lead them.
func leaders(all map[ident.NodeID]report) map[ident.ShardID]shardReport {
	lead := map[ident.ShardID]shardReport{}
	for _, r := range all {
		for _, s := range r.Shards {
			if have, ok := lead[s.Shard]; s.Leads && (!ok || s.Term > have.Term) {
				lead[s.Shard] = s
			}
		}
	}
	return lead
}

// nodesOf returns the nodes of a region.
func (n *Node) nodesOf(region ident.Region) []directory.Node {
	var in []directory.Node
	for _, o := range n.dir.Nodes() {
		if o.Region == region || region.IsZero() {
			in = append(in, o)
		}
	}
	return in
}
