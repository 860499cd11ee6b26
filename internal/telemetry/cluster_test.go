package telemetry

import (
	"testing"
	"time"

	"kimberlite/internal/ident"
)

func TestAClustersNodeShowsItsShardsItsPeersAndResidency(t *testing.T) {
	m := newTelemetry(t, Config{})
	us, err := ident.NewRegion("us-east")
	if err != nil {
		t.Fatal(err)
	}
	m.ObserveCluster(func() Cluster {
		return Cluster{
			Shards: []ShardFigures{
				{Shard: ident.NewShardID(1), Leads: true, Lag: 7, Silent: 1, OpsPerSecond: 2.5},
				{Shard: ident.NewShardID(2), Lacks: true, Fetched: 10, Wanted: 100},
			},
			Peers: []PeerFigures{{
				Node: ident.NewNodeID(4), Region: us, Connected: true, RoundTrip: 80 * time.Millisecond, Queued: 3, Dropped: 9, Sessions: 2,
				Traffic: []PeerTraffic{{"raft", 100, 200}, {"stream", 5, 6}},
			}},
			DirectoryLeads: true, DirectoryApplied: 12, MovesDone: 2, MovesAborted: 1, MoveBytes: 1000, Outside: 4,
			CertificateExpires: time.Unix(1_800_000_000, 0),
		}
	})
	got := scrape(t, m)
	for _, c := range []struct {
		name   string
		labels []string
		want   float64
	}{
		{"kimberlite_shard_leads", []string{"shard=1"}, 1}, {"kimberlite_shard_leads", []string{"shard=2"}, 0},
		{"kimberlite_shard_lag_entries", []string{"shard=1"}, 7}, {"kimberlite_shard_silent_members", []string{"shard=1"}, 1},
		{"kimberlite_shard_catching_up", []string{"shard=2"}, 1}, {"kimberlite_shard_fetched_bytes", []string{"shard=2"}, 10},
		{"kimberlite_shard_fetch_bytes", []string{"shard=2"}, 100}, {"kimberlite_shard_entries_per_second", []string{"shard=1"}, 2.5},
		{"kimberlite_peer_connected", []string{"node=4", "region=us-east"}, 1},
		{"kimberlite_peer_round_trip_seconds", []string{"node=4", "region=us-east"}, 0.08},
		{"kimberlite_peer_queued_messages", []string{"node=4", "region=us-east"}, 3},
		{"kimberlite_peer_dropped_messages_total", []string{"node=4", "region=us-east"}, 9},
		{"kimberlite_peer_proxied_sessions", []string{"node=4", "region=us-east"}, 2},
		{"kimberlite_peer_sent_bytes_total", []string{"node=4", "region=us-east", "protocol=raft"}, 100},
		{"kimberlite_peer_received_bytes_total", []string{"node=4", "region=us-east", "protocol=stream"}, 6},
		{"kimberlite_directory_leads", nil, 1}, {"kimberlite_directory_applied_index", nil, 12},
		{"kimberlite_tenant_moves_total", []string{"outcome=done"}, 2}, {"kimberlite_tenant_moves_total", []string{"outcome=aborted"}, 1},
		{"kimberlite_tenant_move_bytes_total", nil, 1000}, {"kimberlite_residency_outside_tenants", nil, 4},
		{"kimberlite_node_certificate_expires_seconds", nil, 1_800_000_000},
	} {
		if v := value(got, c.name, c.labels...); v != c.want {
			t.Errorf("%s%v = %v, want %v", c.name, c.labels, v, c.want)
		}
	}
}
