package server

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"kimberlite/internal/cluster"
	"kimberlite/internal/peer"
	"kimberlite/internal/telemetry"
)

// defaultListen is where a cluster's node listens for others unless it is
// said.
const defaultListen = "127.0.0.1:7445"

// clusterPath is a file of a cluster node's identity in a data directory.
func clusterPath(data, name string) string { return filepath.Join(data, cluster.DirName, name) }

// IsMember says whether a data directory is that of a cluster's node.
func IsMember(data string) bool {
	_, err := os.Stat(clusterPath(data, "identity.json"))
	return err == nil
}

func (c *Config) member() bool { return IsMember(c.Data.Dir) }

// nodeFiles are a cluster node's certificate, with its chain, and its key.
func nodeFiles(data string) (cert, key string) {
	return clusterPath(data, "node.crt"), clusterPath(data, "node.key")
}

// ClusterCA is where a cluster's node keeps the certificates to trust.
func ClusterCA(data string) string { return clusterPath(data, "ca.pem") }

// pgPair returns the files of the certificate and key for PostgreSQL clients:
// those of [pg], or else the node's own of the deployment.
func (c *Config) pgPair() (cert, key string) {
	if c.PG.TLSCert == "" && c.member() {
		return nodeFiles(c.Data.Dir)
	}
	return c.PG.TLSCert, c.PG.TLSKey
}

// Reached says where a cluster's node is reached whose doors are at these
// addresses. What is "" is to stay as it was said before.
func (c *Config) Reached(pg, rpc, version string) cluster.Addresses {
	return cluster.Addresses{
		Listen: c.Cluster.Listen, Peer: c.Cluster.AdvertisePeer, Zone: c.Cluster.Zone, Version: label(version),
		PG: reachable(c.Cluster.AdvertisePG, pg), RPC: reachable(c.Cluster.AdvertiseRPC, rpc),
	}
}

// label makes a text one that may stand in the directory.
func label(s string) string {
	s = strings.Map(func(r rune) rune {
		if isLabel(r) || r == '+' {
			return r
		}
		return -1
	}, s)
	return s[:min(len(s), maxLabel)]
}

// reachable is what a node says of a door: what it is told to say, or where
// the door listens, if that says anything to others.
func reachable(said, listens string) string {
	host, port, err := net.SplitHostPort(listens)
	if said != "" || err != nil || port == "0" {
		return said
	}
	if ip, err := netip.ParseAddr(host); err == nil && ip.IsUnspecified() {
		return ""
	}
	return listens
}

// figures are a cluster node's for its metrics.
func figures(member *cluster.Node) telemetry.Cluster {
	m := member.Metrics()
	out := telemetry.Cluster{
		DirectoryLeads: m.DirectoryLeads, DirectoryApplied: m.DirectoryApplied, MovesDone: m.MovesDone, MovesAborted: m.MovesAborted,
		MoveBytes: m.MoveBytes, Outside: m.Outside, CertificateExpires: time.Unix(m.CertificateExpires, 0),
	}
	for i := range m.Shards {
		s := &m.Shards[i]
		out.Shards = append(out.Shards, telemetry.ShardFigures{
			Shard: s.Shard, Leads: s.Leads, Lag: s.Lag, Silent: s.Inactive, Lacks: s.Fetching, Fetched: s.FetchedBytes, Wanted: s.FetchBytes, OpsPerSecond: s.Load,
		})
	}
	for i := range m.Links {
		l := &m.Links[i]
		one := telemetry.PeerFigures{
			Node: l.Node, Region: l.Region, Connected: l.Connected, RoundTrip: l.RTT, Queued: l.Queue, Dropped: l.Drops, Sessions: l.Streams,
		}
		for _, p := range peer.Protocols() {
			one.Traffic = append(one.Traffic, telemetry.PeerTraffic{Protocol: p.String(), Sent: l.Traffic[p].Sent, Received: l.Traffic[p].Received})
		}
		out.Peers = append(out.Peers, one)
	}
	return out
}
