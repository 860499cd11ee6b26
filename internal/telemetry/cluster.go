package telemetry

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"kimberlite/internal/ident"
)

// Cluster is how a cluster's node stands.
type Cluster struct {
	Shards []ShardFigures
	Peers  []PeerFigures
	// DirectoryLeads says that the node leads the directory, and
	// DirectoryApplied is how far its copy is.
	DirectoryLeads   bool
	DirectoryApplied uint64
	// Moves that this node drove, and the bytes that they copied here.
	MovesDone, MovesAborted, MoveBytes int64
	// Outside counts tenants of other regions that have bytes here.
	Outside            int64
	CertificateExpires time.Time
}

// ShardFigures are one replica's.
type ShardFigures struct {
	Shard ident.ShardID
	Leads bool
	// Lag is, on the leader, how many entries the furthest member is behind,
	// and elsewhere how many this replica is.
	Lag uint64
	// Silent counts the members that the leader does not hear from.
	Silent int
	// Lacks says that this replica receives what it lacks: Fetched of Wanted
	// bytes have come.
	Lacks           bool
	Fetched, Wanted int64
	OpsPerSecond    float64
}

// PeerFigures are those of the link with one other node.
type PeerFigures struct {
	Node      ident.NodeID
	Region    ident.Region
	Connected bool
	RoundTrip time.Duration
	Queued    int
	Dropped   uint64
	Sessions  int // that are passed on
	Traffic   []PeerTraffic
}

// PeerTraffic is what went over one protocol.
type PeerTraffic struct {
	Protocol       string
	Sent, Received uint64
}

// ObserveCluster adds how the cluster's node stands to the metrics. It is
// called once; figures is called at each scrape, and must be quick.
func (t *Telemetry) ObserveCluster(figures func() Cluster) {
	t.registry.MustRegister(&clusterCollector{figures})
}

type clusterCollector struct{ figures func() Cluster }

// The series of a cluster's node; there are as many as it has shards and
// peers.
var (
	shardLeadsDesc  = nodeDesc("shard_leads", "1 where this node leads the shard.", "shard")
	shardLagDesc    = nodeDesc("shard_lag_entries", "Entries that the furthest member is behind, on the leader; elsewhere, that this replica is.", "shard")
	shardSilentDesc = nodeDesc("shard_silent_members", "Members that the leader does not hear from.", "shard")
	shardLacksDesc  = nodeDesc("shard_catching_up", "1 while this replica receives what it lacks.", "shard")
	shardFetchDesc  = nodeDesc("shard_fetched_bytes", "Bytes that have come of what this replica lacks.", "shard")
	shardWantDesc   = nodeDesc("shard_fetch_bytes", "Bytes that this replica lacks, as far as it is known.", "shard")
	shardOpsDesc    = nodeDesc("shard_entries_per_second", "Entries of its replicated log that the shard applies each second.", "shard")

	peerUpDesc       = nodeDesc("peer_connected", "1 while messages can go to the other node.", "node", "region")
	peerRTTDesc      = nodeDesc("peer_round_trip_seconds", "Time to the other node and back, of the last probe.", "node", "region")
	peerQueueDesc    = nodeDesc("peer_queued_messages", "Messages that wait for the other node.", "node", "region")
	peerDroppedDesc  = nodeDesc("peer_dropped_messages_total", "Messages for the other node that were given up; they are sent anew.", "node", "region")
	peerSessionsDesc = nodeDesc("peer_proxied_sessions", "Sessions of clients that run over the link.", "node", "region")
	peerSentDesc     = nodeDesc("peer_sent_bytes_total", "Bytes sent to the other node, by protocol: those of proxied sessions are of stream.", "node", "region", "protocol")
	peerReceivedDesc = nodeDesc("peer_received_bytes_total", "Bytes received from the other node, by protocol.", "node", "region", "protocol")

	directoryLeadsDesc   = nodeDesc("directory_leads", "1 where this node leads the directory.")
	directoryAppliedDesc = nodeDesc("directory_applied_index", "How far this node's copy of the directory is.")
	movesDesc            = nodeDesc("tenant_moves_total", "Moves of tenants that this node drove, by outcome: done or aborted.", "outcome")
	moveBytesDesc        = nodeDesc("tenant_move_bytes_total", "Bytes that moves copied to this node.")
	outsideDesc          = nodeDesc("residency_outside_tenants", "Tenants of other regions that have bytes on this node: it must be 0.")
	certificateDesc      = nodeDesc("node_certificate_expires_seconds", "When the node's certificate ends, in Unix time.")
)

// Describe is for the registry.
func (c *clusterCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		shardLeadsDesc, shardLagDesc, shardSilentDesc, shardLacksDesc, shardFetchDesc, shardWantDesc, shardOpsDesc,
		peerUpDesc, peerRTTDesc, peerQueueDesc, peerDroppedDesc, peerSessionsDesc, peerSentDesc, peerReceivedDesc,
		directoryLeadsDesc, directoryAppliedDesc, movesDesc, moveBytesDesc, outsideDesc, certificateDesc,
	} {
		ch <- d
	}
}

// Collect is for the registry.
func (c *clusterCollector) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	count := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v, labels...)
	}
	f := c.figures()
	for i := range f.Shards {
		s := &f.Shards[i]
		id := s.Shard.String()
		gauge(shardLeadsDesc, one(s.Leads), id)
		gauge(shardLagDesc, float64(s.Lag), id)
		gauge(shardSilentDesc, float64(s.Silent), id)
		gauge(shardLacksDesc, one(s.Lacks), id)
		gauge(shardFetchDesc, float64(s.Fetched), id)
		gauge(shardWantDesc, float64(s.Wanted), id)
		gauge(shardOpsDesc, s.OpsPerSecond, id)
	}
	for i := range f.Peers {
		p := &f.Peers[i]
		node, region := p.Node.String(), p.Region.String()
		gauge(peerUpDesc, one(p.Connected), node, region)
		gauge(peerRTTDesc, p.RoundTrip.Seconds(), node, region)
		gauge(peerQueueDesc, float64(p.Queued), node, region)
		count(peerDroppedDesc, float64(p.Dropped), node, region)
		gauge(peerSessionsDesc, float64(p.Sessions), node, region)
		for _, t := range p.Traffic {
			count(peerSentDesc, float64(t.Sent), node, region, t.Protocol)
			count(peerReceivedDesc, float64(t.Received), node, region, t.Protocol)
		}
	}
	gauge(directoryLeadsDesc, one(f.DirectoryLeads))
	gauge(directoryAppliedDesc, float64(f.DirectoryApplied))
	count(movesDesc, float64(f.MovesDone), "done")
	count(movesDesc, float64(f.MovesAborted), "aborted")
	count(moveBytesDesc, float64(f.MoveBytes))
	gauge(outsideDesc, float64(f.Outside))
	gauge(certificateDesc, float64(f.CertificateExpires.Unix()))
}

func one(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
