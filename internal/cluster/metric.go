package cluster

import (
	"sync/atomic"

	"kimberlite/internal/ident"
	"kimberlite/internal/peer"
)

// counts are what has happened on this node since it started.
type counts struct {
	movesDone, movesAborted, moveBytes atomic.Int64
	outside                            atomic.Int64 // as of the last check
}

// Metrics are this node's figures, for telemetry. It does not ask other
// nodes for them.
type Metrics struct {
	Shards []ShardMetrics
	Links  []peer.Link
	// DirectoryLeads says that this node leads the directory, and
	// DirectoryApplied how far its copy is.
	DirectoryLeads   bool
	DirectoryApplied uint64
	// MovesDone and MovesAborted count the moves that this node drove,
	// MoveBytes what they copied here.
	MovesDone, MovesAborted, MoveBytes int64
	// Outside counts tenants of other regions on this node's disk: an alarm.
	Outside int64
	// CertificateExpires is when the node's certificate ends, in seconds of
	// Unix time.
	CertificateExpires int64
}

// ShardMetrics are one replica's figures.
type ShardMetrics struct {
	Shard ident.ShardID
	Leads bool
	Term  uint64
	// Lag is, on the leader, how many entries the furthest member is behind,
	// and elsewhere how many entries this replica knows of and has not applied.
	Lag uint64
	// Inactive counts the members that the leader does not hear from, and
	// Snapshots those that receive what they lack.
	Inactive, Snapshots int
	// Fetching says that this replica receives what it lacks; FetchedBytes of
	// FetchBytes have come.
	Fetching                 bool
	FetchedBytes, FetchBytes int64
	Load                     float64
	OpenTenants              int
}

// Metrics returns this node's figures.
func (n *Node) Metrics() Metrics {
	m := Metrics{
		Links: n.net.Links(), DirectoryLeads: n.directs(), DirectoryApplied: n.dir.Applied(),
		MovesDone: n.counts.movesDone.Load(), MovesAborted: n.counts.movesAborted.Load(), MoveBytes: n.counts.moveBytes.Load(),
		Outside: n.counts.outside.Load(), CertificateExpires: n.creds.pair.Load().Leaf.NotAfter.Unix(),
	}
	for _, h := range n.hosted() {
		st := h.shard.Status()
		_, leads := h.shard.Lead()
		s := ShardMetrics{
			Shard: h.id, Leads: leads, Term: st.Term, Load: h.rate.get(), OpenTenants: h.tenants.OpenTenants(),
			Lag: st.Committed - min(st.Applied, st.Committed),
		}
		for _, p := range st.Peers {
			if !leads {
				break
			}
			s.Lag = max(s.Lag, st.Last-min(p.Match, st.Last))
			if !p.Active {
				s.Inactive++
			}
			if p.Snapshotting {
				s.Snapshots++
			}
		}
		if st.Fetch != nil {
			s.Fetching, s.FetchedBytes, s.FetchBytes = true, st.Fetch.Bytes, st.Fetch.WantBytes
		}
		m.Shards = append(m.Shards, s)
	}
	return m
}
