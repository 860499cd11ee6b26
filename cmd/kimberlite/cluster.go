package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"kimberlite/client"
	"kimberlite/internal/deployment"
	"kimberlite/internal/fault"
	"kimberlite/internal/quantity"
)

// The columns of tables of nodes and shards.
const (
	nodeColumns  = "NODE\tREGION\tZONE\tSTATE\tALIVE\tREPLICAS\tLEADS\tRTT\tSENT\tRECEIVED\tPROXIED\tPEERS\tPG\tRPC\tVERSION"
	shardColumns = "SHARD\tREGION\tSTATE\tLEADER\tTENANTS\tSIZE\tOPS/S\tREPLICAS (NODE:LAG)"
)

// onCluster gives the cluster of the server that the flags name to fn.
func (a *app) onCluster(fn func(c client.Cluster) error) error {
	on, err := a.target()
	if err != nil {
		return err
	}
	if on.server == "" {
		return fault.New("", fault.Unsupported, "this verb acts on a running cluster: give --server URL of any of its nodes, or set %s", envServer)
	}
	return withServer(on, func(b backend) error { return fn(b.(remote).c.Cluster()) })
}

func clusterCommand(a *app) *cobra.Command {
	return a.group(&cobra.Command{
		Use:   "cluster",
		Short: "Begin a cluster, look at one, and rotate its certificates",
		Long: `Begin a cluster, look at one, and rotate its certificates. A cluster is a
deployment of several nodes in one or more regions: a directory that all of them
have, and shards, each a group of replicas within one region. cluster init makes
its first node, node token create and node join the others.`,
		Example: `  kimberlite cluster init --data ./node-1 --region us-east --token-file ./operator.token`,
	}, clusterInitCommand(a), clusterStatusCommand(a), clusterRotateCommand(a))
}

func clusterStatusCommand(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:     "status",
		Short:   "Show the directory, the nodes and the shards, as one node sees them",
		Example: `  kimberlite cluster status`,
		Args:    exactly(),
	}
	return a.verb(c, func(ctx context.Context, _ []string) error {
		return a.onCluster(func(k client.Cluster) error {
			st, err := k.Status(ctx)
			if err != nil {
				return err
			}
			return a.print(documentStatus(st), func(w io.Writer) {
				d := &st.Directory
				columns(w, "", []string{
					line("deployment", st.Deployment), line("since", stamp(st.Created)),
					line("directory", fmt.Sprintf("leader %s, voters %s, learners %s, applied %d in term %d",
						orNone(d.Leader.IsZero(), d.Leader), joined(d.Voters), joined(d.Learners), d.Applied, d.Term)),
				})
				fmt.Fprintln(w)
				columns(w, nodeColumns, nodeRows(st.Nodes))
				if len(st.Shards) > 0 {
					fmt.Fprintln(w)
					columns(w, shardColumns, shardRows(st.Shards))
				}
				for _, p := range st.Problems {
					fmt.Fprintf(w, "\n! %s\n", printable(p))
				}
			})
		})
	})
}

// statusDocument is a deployment as --json prints it.
type statusDocument struct {
	Deployment string            `json:"deployment"`
	Created    string            `json:"created"`
	Directory  directoryDocument `json:"directory"`
	Nodes      []nodeDocument    `json:"nodes"`
	Shards     []shardDocument   `json:"shards"`
	Problems   []string          `json:"problems"`
}

// directoryDocument is the directory's group.
type directoryDocument struct {
	Leader   *uint64  `json:"leader"`
	Term     uint64   `json:"term"`
	Applied  uint64   `json:"applied"`
	Voters   []uint64 `json:"voters"`
	Learners []uint64 `json:"learners"`
}

func documentStatus(st *client.ClusterStatus) statusDocument {
	d := &st.Directory
	return statusDocument{
		Deployment: st.Deployment, Created: stamp(st.Created), Directory: directoryDocument{
			Leader: numberOrNull(d.Leader.Uint64()), Term: d.Term, Applied: d.Applied, Voters: numbers(d.Voters), Learners: numbers(d.Learners),
		},
		Nodes: documents(st.Nodes, documentNode), Shards: documents(st.Shards, documentShard), Problems: append([]string{}, st.Problems...),
	}
}

func clusterRotateCommand(a *app) *cobra.Command {
	var node string
	var authority bool
	c := &cobra.Command{
		Use:   "rotate-certificates",
		Short: "Have nodes take new certificates, or make a new certificate authority",
		Long: `Have every node take a new certificate at once; they do so by themselves, too,
when a third of the time of theirs is left. With --authority, make a new
certificate authority first: it signs from then on, and the old one is believed
until all nodes have certificates of the new one. Clients need the new ca.pem
from a node's DATA/cluster before that.`,
		Example: `  kimberlite cluster rotate-certificates`,
		Args:    exactly(),
	}
	c.Flags().StringVar(&node, "node", "", "one node's id; all nodes unless given")
	c.Flags().BoolVar(&authority, "authority", false, "make a new certificate authority first")
	return a.verb(c, func(ctx context.Context, _ []string) error {
		id, err := parseNode("--node", node, true)
		if err != nil {
			return err
		}
		return a.onCluster(func(k client.Cluster) error { return a.rotateCertificates(ctx, k, id, authority) })
	})
}

// rotatedDocument is rotate-certificates' result as --json prints it.
type rotatedDocument struct {
	Authority *authorityDocument `json:"authority"`
	Nodes     []renewalDocument  `json:"nodes"`
}

type authorityDocument struct {
	Fingerprint string `json:"fingerprint"`
	Expires     string `json:"expires"`
}

type renewalDocument struct {
	Node    uint64  `json:"node"`
	Expires *string `json:"expires"`
	Problem string  `json:"problem,omitempty"`
}

func (a *app) rotateCertificates(ctx context.Context, k client.Cluster, node client.NodeID, authority bool) error {
	doc := rotatedDocument{Nodes: []renewalDocument{}}
	if authority {
		made, err := k.RotateAuthority(ctx)
		if err != nil {
			return err
		}
		doc.Authority = &authorityDocument{made.Fingerprint, stamp(made.Expires)}
	}
	renewals, err := k.RenewCertificates(ctx, node)
	if err != nil {
		return err
	}
	var rows []string
	failed := 0
	for _, r := range renewals {
		doc.Nodes = append(doc.Nodes, renewalDocument{r.Node.Uint64(), stampOrNull(r.Expires), r.Problem})
		text := "valid until " + stamp(r.Expires)
		if r.Problem != "" {
			text = "not renewed: " + r.Problem
			failed++
		}
		rows = append(rows, line("node "+r.Node.String(), text))
	}
	err = a.print(doc, func(w io.Writer) {
		if doc.Authority != nil {
			fmt.Fprintf(w, "new authority, SHA-256 %s, valid until %s\n", doc.Authority.Fingerprint, doc.Authority.Expires)
		}
		columns(w, "", rows)
	})
	if err == nil && failed > 0 {
		err = fault.New("rotate-certificates", fault.Unavailable, "%d of %d nodes have no new certificate: run it again once they are up", failed, len(renewals))
	}
	return err
}

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
