package main

import (
	"fmt"
	"strings"
	"time"

	"kimberlite/client"
	"kimberlite/internal/deployment"
	"kimberlite/internal/quantity"
)

// The columns of tables of nodes and shards.
const (
	nodeColumns  = "NODE\tREGION\tZONE\tSTATE\tALIVE\tREPLICAS\tLEADS\tRTT\tSENT\tRECEIVED\tPROXIED\tPEERS\tPG\tRPC\tVERSION"
	shardColumns = "SHARD\tREGION\tSTATE\tLEADER\tTENANTS\tSIZE\tOPS/S\tREPLICAS (NODE:LAG)"
)

// numbered is what has an id that is a number.
type numbered interface{ Uint64() uint64 }

// numbers are ids as JSON has them.
func numbers[T numbered](ids []T) []uint64 {
	out := make([]uint64, len(ids))
	for i, id := range ids {
		out[i] = id.Uint64()
	}
	return out
}

// joined lists ids for people.
func joined[T numbered](ids []T) string {
	if len(ids) == 0 {
		return "none"
	}
	texts := make([]string, len(ids))
	for i, id := range ids {
		texts[i] = fmt.Sprint(id.Uint64())
	}
	return strings.Join(texts, ",")
}

// documents makes a list for JSON, which is never null.
func documents[F, T any](from []F, to func(*F) T) []T {
	out := make([]T, len(from))
	for i := range from {
		out[i] = to(&from[i])
	}
	return out
}

func numberOrNull(n uint64) *uint64 {
	if n == 0 {
		return nil
	}
	return &n
}

// orNone is a value for people, or a hyphen.
func orNone(none bool, value any) string {
	if none {
		return "-"
	}
	return fmt.Sprint(value)
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// nodeDocument is a node as --json prints it.
type nodeDocument struct {
	ID       uint64        `json:"id"`
	Region   string        `json:"region"`
	Zone     string        `json:"zone"`
	State    string        `json:"state"`
	Version  string        `json:"version"`
	PeerAddr string        `json:"peer_addr"`
	PGAddr   string        `json:"pg_addr"`
	RPCAddr  string        `json:"rpc_addr"`
	Joined   string        `json:"joined"`
	HoldsCA  bool          `json:"holds_ca"`
	Self     bool          `json:"self"`
	Alive    bool          `json:"alive"`
	Replicas int           `json:"replicas"`
	Leads    int           `json:"leads"`
	Link     *linkDocument `json:"link"`
}

// linkDocument is the link from the asked node to another.
type linkDocument struct {
	Connected     bool    `json:"connected"`
	RoundTripMS   float64 `json:"round_trip_ms"`
	SentBytes     uint64  `json:"sent_bytes"`
	ReceivedBytes uint64  `json:"received_bytes"`
	ProxiedBytes  uint64  `json:"proxied_bytes"`
	Queued        uint64  `json:"queued"`
	Dropped       uint64  `json:"dropped"`
}

func documentNode(n *client.Node) nodeDocument {
	doc := nodeDocument{
		ID: n.ID.Uint64(), Region: n.Region.String(), Zone: n.Zone, State: n.State, Version: n.Version, PeerAddr: n.PeerAddr, PGAddr: n.PGAddr,
		RPCAddr: n.RPCAddr, Joined: stamp(n.Joined), HoldsCA: n.HoldsCA, Self: n.Self, Alive: n.Alive, Replicas: n.Replicas, Leads: n.Leads,
	}
	if l := n.Link; l != nil {
		doc.Link = &linkDocument{
			Connected: l.Connected, RoundTripMS: float64(l.RoundTrip) / float64(time.Millisecond), SentBytes: l.Sent, ReceivedBytes: l.Received,
			ProxiedBytes: l.Proxied, Queued: l.Queued, Dropped: l.Dropped,
		}
	}
	return doc
}

func nodeRows(nodes []client.Node) []string {
	rows := make([]string, len(nodes))
	for i, n := range nodes {
		name, rtt, sent, received, proxied := n.ID.String(), "-", "-", "-", "-"
		if n.Self {
			name += "*"
		}
		if l := n.Link; l != nil {
			if l.RoundTrip > 0 {
				rtt = fmt.Sprintf("%.1fms", float64(l.RoundTrip)/float64(time.Millisecond))
			}
			sent, received, proxied = bytesText(l.Sent), bytesText(l.Received), bytesText(l.Proxied)
		}
		rows[i] = line(name, n.Region, orNone(n.Zone == "", n.Zone), n.State, yesNo(n.Alive), n.Replicas, n.Leads, rtt, sent, received, proxied,
			n.PeerAddr, orNone(n.PGAddr == "", n.PGAddr), orNone(n.RPCAddr == "", n.RPCAddr), n.Version)
	}
	return rows
}

func bytesText(n uint64) string { return quantity.DisplaySize(int64(min(n, 1<<62))) } //nolint:gosec // bounded

// shardDocument is a shard as --json prints it.
type shardDocument struct {
	ID           uint64           `json:"id"`
	Region       string           `json:"region"`
	State        string           `json:"state"`
	Leader       *uint64          `json:"leader"`
	Term         uint64           `json:"term"`
	Tenants      int              `json:"tenants"`
	Bytes        int64            `json:"bytes"`
	OpsPerSecond float64          `json:"ops_per_second"`
	Members      []memberDocument `json:"members"`
}

// memberDocument is one replica.
type memberDocument struct {
	Replica    uint64 `json:"replica"`
	Node       uint64 `json:"node"`
	Learner    bool   `json:"learner"`
	Lag        uint64 `json:"lag"`
	Active     bool   `json:"active"`
	CatchingUp bool   `json:"catching_up"`
}

func documentShard(s *client.Shard) shardDocument {
	return shardDocument{
		ID: s.ID.Uint64(), Region: s.Region.String(), State: s.State, Leader: numberOrNull(s.Leader.Uint64()), Term: s.Term,
		Tenants: s.Tenants, Bytes: s.Bytes, OpsPerSecond: s.Load, Members: documents(s.Members, func(m *deployment.Member) memberDocument {
			return memberDocument{m.Replica.Uint64(), m.Node.Uint64(), m.Learner, m.Lag, m.Active, m.CatchingUp}
		}),
	}
}

func shardRows(shards []client.Shard) []string {
	rows := make([]string, len(shards))
	for i, s := range shards {
		var members []string
		for _, m := range s.Members {
			text := fmt.Sprintf("%s:%d", m.Node, m.Lag)
			switch {
			case m.CatchingUp:
				text += " catching up"
			case m.Learner:
				text += " learner"
			case !m.Active:
				text += " silent"
			}
			members = append(members, text)
		}
		rows[i] = line(s.ID, s.Region, s.State, orNone(s.Leader.IsZero(), s.Leader), s.Tenants, quantity.DisplaySize(s.Bytes),
			fmt.Sprintf("%.0f", s.Load), strings.Join(members, ", "))
	}
	return rows
}
