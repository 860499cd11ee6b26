package main

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"kimberlite/client"
	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/quantity"
)

func nodeCommand(a *app) *cobra.Command {
	return a.group(&cobra.Command{
		Use:     "node",
		Short:   "Let nodes into a cluster, list them, and take them out",
		Example: `  kimberlite node list`,
	}, nodeTokenCommand(a), nodeJoinCommand(a), nodeListCommand(a), nodeDrainCommand(a), nodeRemoveCommand(a))
}

// parseNode reads a node's id; "" is all where that is allowed.
func parseNode(flag, text string, mayBeAll bool) (client.NodeID, error) {
	if text == "" && mayBeAll {
		return client.NodeID{}, nil
	}
	id, err := ident.ParseNodeID(text)
	if err == nil && id.IsZero() {
		err = fault.New("", fault.Invalid, "nodes have ids from 1 on")
	}
	if err != nil {
		return id, badFlag(flag, err)
	}
	return id, nil
}

func nodeTokenCommand(a *app) *cobra.Command {
	return a.group(&cobra.Command{
		Use:     "token",
		Short:   "Create, list and revoke the tokens that nodes join with",
		Example: `  kimberlite node token create --region local`,
	}, nodeTokenCreateCommand(a), nodeTokenListCommand(a), nodeTokenRevokeCommand(a))
}

// tokenDocument is a join token as --json prints it.
type tokenDocument struct {
	ID      string  `json:"id"`
	Region  string  `json:"region"`
	Created string  `json:"created"`
	Expires string  `json:"expires"`
	Used    *uint64 `json:"used_by_node"`
	// Token is shown when it is made and never again.
	Token string `json:"token,omitempty"`
}

func documentToken(t *client.JoinToken) tokenDocument {
	return tokenDocument{ID: t.ID, Region: t.Region.String(), Created: stamp(t.Created), Expires: stamp(t.Expires), Used: numberOrNull(t.Used.Uint64())}
}

func nodeTokenCreateCommand(a *app) *cobra.Command {
	var region, valid string
	c := &cobra.Command{
		Use:   "create --region R",
		Short: "Create a token that one node can join with, and print it, which is done this once",
		Long: `Create a token that one node can join a region with, and print it, which is done
this once. It names the deployment's certificate authority and where to join, so
that a node that has it needs to be told nothing else. Whoever has it can join a
node: hand it over as a secret.`,
		Example: `  kimberlite node token create --region local --valid 15m`,
		Args:    exactly(),
	}
	c.Flags().StringVar(&region, "region", "", "region of the node, such as us-east (required)")
	c.Flags().StringVar(&valid, "valid", "1h", "how long it can be used")
	must(c.MarkFlagRequired("region"))
	return a.verb(c, func(ctx context.Context, _ []string) error {
		in, err := ident.NewRegion(region)
		if err != nil {
			return badFlag("--region", err)
		}
		d, err := quantity.ParseDuration(valid)
		if err != nil {
			return badFlag("--valid", err)
		}
		return a.onCluster(func(k client.Cluster) error {
			t, err := k.CreateJoinToken(ctx, in, d)
			if err != nil {
				return err
			}
			doc := documentToken(&t.Token)
			doc.Token = t.Secret
			if !a.global.json {
				fmt.Fprintf(a.stderr, "for one node in %s, until %s; it is shown this once\n", t.Region, doc.Expires)
			}
			return a.print(doc, func(w io.Writer) { fmt.Fprintln(w, t.Secret) })
		})
	})
}

func nodeTokenListCommand(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:     "list",
		Short:   "List the tokens that nodes join with",
		Example: `  kimberlite node token list`,
		Args:    exactly(),
	}
	return a.verb(c, func(ctx context.Context, _ []string) error {
		return a.onCluster(func(k client.Cluster) error {
			all, err := k.JoinTokens(ctx)
			if err != nil {
				return err
			}
			rows := make([]string, len(all))
			for i, t := range all {
				rows[i] = line(t.ID, t.Region, stamp(t.Created), stamp(t.Expires), orNone(t.Used.IsZero(), t.Used))
			}
			return a.print(documents(all, documentToken), func(w io.Writer) { columns(w, "TOKEN\tREGION\tCREATED\tEXPIRES\tUSED BY NODE", rows) })
		})
	})
}

func nodeTokenRevokeCommand(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:     "revoke TOKEN",
		Short:   "Make a token useless, by its id",
		Example: `  kimberlite node token revoke "$(kimberlite node token create --region local --json | sed -n 's/.*"id": "\(.*\)".*/\1/p')"`,
		Args:    exactly("TOKEN"),
	}
	return a.verb(c, func(ctx context.Context, args []string) error {
		return a.onCluster(func(k client.Cluster) error {
			if err := k.RevokeJoinToken(ctx, args[0]); err != nil {
				return err
			}
			return a.print(map[string]string{"revoked": args[0]}, func(w io.Writer) { fmt.Fprintf(w, "token %s is revoked\n", printable(args[0])) })
		})
	})
}

func nodeListCommand(a *app) *cobra.Command {
	var removed bool
	c := &cobra.Command{
		Use:     "list",
		Short:   "List the nodes; a star marks the one that was asked",
		Example: `  kimberlite node list`,
		Args:    exactly(),
	}
	c.Flags().BoolVar(&removed, "removed", false, "those that were taken out, too")
	return a.verb(c, func(ctx context.Context, _ []string) error {
		return a.onCluster(func(k client.Cluster) error {
			nodes, err := k.Nodes(ctx, removed)
			if err != nil {
				return err
			}
			return a.print(documents(nodes, documentNode), func(w io.Writer) { columns(w, nodeColumns, nodeRows(nodes)) })
		})
	})
}

// drainDocument is what is left on a node as --json prints it.
type drainDocument struct {
	Node           uint64   `json:"node"`
	State          string   `json:"state"`
	Shards         []uint64 `json:"shards"`
	Leads          []uint64 `json:"leads"`
	DirectoryVoter bool     `json:"directory_voter"`
	Done           bool     `json:"done"`
	Blocked        string   `json:"blocked,omitempty"`
}

func documentDrain(d *client.Drain) drainDocument {
	return drainDocument{d.Node.Uint64(), d.State, numbers(d.Shards), numbers(d.Leads), d.DirectoryVoter, d.Done, d.Blocked}
}

// drainPause is how often it is asked what is left.
const drainPause = 500 * time.Millisecond

func nodeDrainCommand(a *app) *cobra.Command {
	var undo, noWait bool
	var timeout string
	c := &cobra.Command{
		Use:   "drain NODE",
		Short: "Have everything on a node go to others, and wait until it has",
		Long: `Have a node's replicas and leaderships go to other nodes of its region, and wait
until nothing is left. The node goes on serving as an entry; it can then be
removed, or stopped for as long as one likes. Ctrl-C ends the waiting and not the
drain: --undo does. A region without another node that could take a replica is
said, and the drain waits for one.`,
		Example: `  kimberlite node drain 1 --no-wait
  kimberlite node drain 1 --undo`,
		Args: exactly("NODE"),
	}
	c.Flags().BoolVar(&undo, "undo", false, "let the node take replicas again")
	c.Flags().BoolVar(&noWait, "no-wait", false, "return at once")
	c.Flags().StringVar(&timeout, "timeout", "1h", "how long to wait; then it exits with 8, and the drain goes on")
	return a.verb(c, func(ctx context.Context, args []string) error {
		node, err := parseNode("NODE", args[0], false)
		if err != nil {
			return err
		}
		patience, err := quantity.ParseDuration(timeout)
		if err != nil {
			return badFlag("--timeout", err)
		}
		return a.onCluster(func(k client.Cluster) error {
			d, err := k.DrainNode(ctx, node, undo)
			if err == nil && !undo && !noWait {
				d, err = a.waitForDrain(ctx, k, d, patience)
			}
			if err != nil {
				return err
			}
			return a.print(documentDrain(d), func(w io.Writer) {
				switch {
				case undo:
					fmt.Fprintf(w, "node %s is %s\n", d.Node, d.State)
				case d.Done:
					fmt.Fprintf(w, "node %s is drained: it can be removed\n", d.Node)
				default:
					fmt.Fprintf(w, "node %s drains; %s\n", d.Node, drainLeft(d))
				}
			})
		})
	})
}

// waitForDrain waits until nothing is left, and tells on stderr when that
// changes.
func (a *app) waitForDrain(ctx context.Context, k client.Cluster, d *client.Drain, patience time.Duration) (*client.Drain, error) {
	deadline := time.Now().Add(patience)
	for told := ""; !d.Done; {
		if left := drainLeft(d); left != told && !a.global.json {
			fmt.Fprintf(a.stderr, "node %s: %s\n", d.Node, left)
			told = left
		}
		if time.Now().After(deadline) {
			return nil, fault.New("node drain", fault.Timeout, "node %s is not drained yet, and goes on: %s", d.Node, drainLeft(d))
		}
		select {
		case <-ctx.Done():
			return nil, fault.OfContext("node drain", ctx)
		case <-time.After(drainPause):
		}
		next, err := k.DrainStatus(ctx, d.Node)
		switch {
		case err == nil:
			d = next
		case !fault.Is(err, fault.Unavailable):
			return nil, err
		}
	}
	return d, nil
}

// drainLeft says what is left.
func drainLeft(d *client.Drain) string {
	text := fmt.Sprintf("left on it: shards %s", joined(d.Shards))
	if d.DirectoryVoter {
		text += ", and its vote in the directory"
	}
	if d.Blocked != "" {
		text += "; it waits: " + printable(d.Blocked)
	}
	return text
}

func nodeRemoveCommand(a *app) *cobra.Command {
	var force bool
	c := &cobra.Command{
		Use:   "remove NODE",
		Short: "Take a drained, or with --force a dead, node out for good",
		Long: `Take a node out of the cluster for good. It must have been drained, or be dead
and --force be given: then its replicas are made anew on other nodes of its
region. It is refused by the others from then on, and never comes back; its
machine can join again as a new node, with an empty data directory.`,
		Example: `  kimberlite node remove 7 --force || test $? = 3   # there is no node 7`,
		Args:    exactly("NODE"),
	}
	c.Flags().BoolVar(&force, "force", false, "although it was not drained: it is dead")
	return a.verb(c, func(ctx context.Context, args []string) error {
		node, err := parseNode("NODE", args[0], false)
		if err != nil {
			return err
		}
		return a.onCluster(func(k client.Cluster) error {
			if err := k.RemoveNode(ctx, node, force); err != nil {
				return err
			}
			return a.print(map[string]uint64{"removed": node.Uint64()}, func(w io.Writer) {
				fmt.Fprintf(w, "node %s is out of the cluster\n", strconv.FormatUint(node.Uint64(), 10))
			})
		})
	})
}
