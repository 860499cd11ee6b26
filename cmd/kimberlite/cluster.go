package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"kimberlite/client"
	"kimberlite/internal/fault"
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
