package server

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"

	"kimberlite/internal/cluster"
)

// defaultListen is where a cluster's node listens for others unless it is
// said.
const defaultListen = "127.0.0.1:7445"

// clusterPath is a file of a cluster node's identity in a data directory.
func clusterPath(data, name string) string { return filepath.Join(data, "cluster", name) }

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
		Listen: c.Cluster.Listen, Peer: c.Cluster.AdvertisePeer, Zone: c.Cluster.Zone, Version: version,
		PG: reachable(c.Cluster.AdvertisePG, pg), RPC: reachable(c.Cluster.AdvertiseRPC, rpc),
	}
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
