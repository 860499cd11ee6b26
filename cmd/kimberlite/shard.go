package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"kimberlite/client"
	"kimberlite/internal/deployment"
	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/quantity"
)

func shardCommand(a *app) *cobra.Command {
	return a.group(&cobra.Command{
		Use:     "shard",
		Short:   "Create, list, balance and remove a cluster's shards",
		Example: `  kimberlite shard list`,
	}, shardCreateCommand(a), shardListCommand(a), shardShowCommand(a), shardRebalanceCommand(a), shardRemoveCommand(a))
}

// parseShard reads a shard's id.
func parseShard(flag, text string) (client.ShardID, error) {
	id, err := ident.ParseShardID(text)
	if err == nil && id.IsDirectory() {
		err = fault.New("", fault.Invalid, "shards have ids from 1 on; 0 is the directory's own group")
	}
	if err != nil {
		return id, badFlag(flag, err)
	}
	return id, nil
}

func shardCreateCommand(a *app) *cobra.Command {
	var region, nodes string
	var replicas int
	c := &cobra.Command{
		Use:   "create --region R",
		Short: "Create a shard, whose replicas are on nodes of one region",
		Long: `Create a shard, whose replicas are on nodes of one region. Unless --nodes names
them, the cluster takes those with the least on them, in different zones where
it can.`,
		Example: `  kimberlite shard create --region local --replicas 1`,
		Args:    exactly(),
	}
	c.Flags().StringVar(&region, "region", "", "region of the shard, such as us-east (required)")
	c.Flags().IntVar(&replicas, "replicas", 0, "how many; 3 unless given")
	c.Flags().StringVar(&nodes, "nodes", "", "ids of the nodes, such as 1,2,3")
	must(c.MarkFlagRequired("region"))
	return a.verb(c, func(ctx context.Context, _ []string) error {
		in, err := ident.NewRegion(region)
		if err != nil {
			return badFlag("--region", err)
		}
		if replicas < 0 || replicas > 9 {
			return fault.New("--replicas", fault.Invalid, "a shard has 1 to 9 replicas")
		}
		var on []client.NodeID
		for _, text := range strings.FieldsFunc(nodes, func(r rune) bool { return r == ',' || r == ' ' }) {
			id, err := parseNode("--nodes", text, false)
			if err != nil {
				return err
			}
			on = append(on, id)
		}
		return a.onCluster(func(k client.Cluster) error {
			s, err := k.CreateShard(ctx, in, replicas, on)
			if err != nil {
				return err
			}
			var at []client.NodeID
			for _, m := range s.Members {
				at = append(at, m.Node)
			}
			return a.print(documentShard(&s), func(w io.Writer) {
				fmt.Fprintf(w, "shard %s is made in %s, on nodes %s\n", s.ID, s.Region, joined(at))
			})
		})
	})
}

func (a *app) showShard(s *client.Shard) error {
	return a.print(documentShard(s), func(w io.Writer) { columns(w, shardColumns, shardRows([]client.Shard{*s})) })
}

func shardListCommand(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:     "list",
		Short:   "List the shards",
		Example: `  kimberlite shard list`,
		Args:    exactly(),
	}
	return a.verb(c, func(ctx context.Context, _ []string) error {
		return a.onCluster(func(k client.Cluster) error {
			shards, err := k.Shards(ctx)
			if err != nil {
				return err
			}
			return a.print(documents(shards, documentShard), func(w io.Writer) { columns(w, shardColumns, shardRows(shards)) })
		})
	})
}

func shardShowCommand(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:     "show SHARD",
		Short:   "Show one shard",
		Example: `  kimberlite shard show 1`,
		Args:    exactly("SHARD"),
	}
	return a.verb(c, func(ctx context.Context, args []string) error {
		id, err := parseShard("SHARD", args[0])
		if err != nil {
			return err
		}
		return a.onCluster(func(k client.Cluster) error {
			shards, err := k.Shards(ctx)
			if err != nil {
				return err
			}
			for i := range shards {
				if shards[i].ID == id {
					return a.showShard(&shards[i])
				}
			}
			return fault.New("shard show", fault.NotFound, "there is no shard %s: shard list shows those that there are", id)
		})
	})
}

func shardRemoveCommand(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:     "remove SHARD",
		Short:   "Remove a shard that has no tenants",
		Example: `  kimberlite shard remove 99 || test $? = 3   # there is no shard 99`,
		Args:    exactly("SHARD"),
	}
	return a.verb(c, func(ctx context.Context, args []string) error {
		id, err := parseShard("SHARD", args[0])
		if err != nil {
			return err
		}
		return a.onCluster(func(k client.Cluster) error {
			if err := k.RemoveShard(ctx, id); err != nil {
				return err
			}
			return a.print(map[string]uint64{"removed": id.Uint64()}, func(w io.Writer) { fmt.Fprintf(w, "shard %s is removed\n", id) })
		})
	})
}

// planDocument is a plan as --json prints it, with what came of it.
type planDocument struct {
	DryRun bool                  `json:"dry_run"`
	Moves  []plannedMoveDocument `json:"moves"`
	Shards []loadDocument        `json:"shards"`
	Done   []moveDocument        `json:"done"`
}

type plannedMoveDocument struct {
	Tenant uint64 `json:"tenant"`
	From   uint64 `json:"from"`
	To     uint64 `json:"to"`
	Bytes  int64  `json:"bytes"`
	Reason string `json:"reason"`
}

type loadDocument struct {
	Shard         uint64 `json:"shard"`
	Region        string `json:"region"`
	TenantsBefore int    `json:"tenants_before"`
	TenantsAfter  int    `json:"tenants_after"`
	BytesBefore   int64  `json:"bytes_before"`
	BytesAfter    int64  `json:"bytes_after"`
}

func documentPlan(p *client.RebalancePlan, dryRun bool) planDocument {
	return planDocument{
		DryRun: dryRun, Moves: documents(p.Moves, func(m *deployment.PlannedMove) plannedMoveDocument {
			return plannedMoveDocument{m.Tenant.Uint64(), m.From.Uint64(), m.To.Uint64(), m.Bytes, m.Reason}
		}),
		Shards: documents(p.Loads, func(l *deployment.Load) loadDocument {
			return loadDocument{l.Shard.Uint64(), l.Region.String(), l.TenantsBefore, l.TenantsAfter, l.BytesBefore, l.BytesAfter}
		}),
		Done: []moveDocument{},
	}
}

// showPlan prints a plan for people.
func showPlan(w io.Writer, p *client.RebalancePlan) {
	loads := make([]string, len(p.Loads))
	for i, l := range p.Loads {
		loads[i] = line(l.Shard, l.Region, l.TenantsBefore, l.TenantsAfter, quantity.DisplaySize(l.BytesBefore), quantity.DisplaySize(l.BytesAfter))
	}
	columns(w, "SHARD\tREGION\tTENANTS\tTHEN\tSIZE\tTHEN", loads)
	fmt.Fprintln(w)
	if len(p.Moves) == 0 {
		fmt.Fprintln(w, "nothing to move")
		return
	}
	moves := make([]string, len(p.Moves))
	for i, m := range p.Moves {
		moves[i] = line(m.Tenant, m.From, m.To, quantity.DisplaySize(m.Bytes), m.Reason)
	}
	columns(w, "TENANT\tFROM\tTO\tSIZE\tWHY", moves)
}

func shardRebalanceCommand(a *app) *cobra.Command {
	var region string
	var most int
	var dryRun bool
	c := &cobra.Command{
		Use:   "rebalance",
		Short: "Move tenants so that shards of a region have alike much; --dry-run shows the plan",
		Long: `Move tenants between the shards of a region so that they have alike much, by
bytes and by load: as few moves as it takes, one after another, each as tenant
move does it. The plan is printed first, and with --dry-run nothing else is done.
Ctrl-C ends it after the move that runs.`,
		Example: `  kimberlite shard rebalance --dry-run`,
		Args:    exactly(),
	}
	c.Flags().StringVar(&region, "region", "", "one region; all unless given")
	c.Flags().IntVar(&most, "max-moves", 0, "at most so many moves")
	c.Flags().BoolVar(&dryRun, "dry-run", false, "show the plan and move nothing")
	return a.verb(c, func(ctx context.Context, _ []string) error {
		var in client.Region
		if region != "" {
			var err error
			if in, err = ident.NewRegion(region); err != nil {
				return badFlag("--region", err)
			}
		}
		if most < 0 {
			return fault.New("--max-moves", fault.Invalid, "want 1 or more")
		}
		return a.onCluster(func(k client.Cluster) error {
			if dryRun {
				p, err := k.PlanRebalance(ctx, in, most)
				if err != nil {
					return err
				}
				return a.print(documentPlan(p, true), func(w io.Writer) { showPlan(w, p) })
			}
			return a.rebalance(ctx, k, in, most)
		})
	})
}

func (a *app) rebalance(ctx context.Context, k client.Cluster, in client.Region, most int) error {
	var doc planDocument
	var shown error
	tell := a.moveTeller()
	err := k.Rebalance(ctx, in, most, func(p *client.RebalancePlan) {
		doc = documentPlan(p, false)
		if !a.global.json {
			shown = a.print(nil, func(w io.Writer) { showPlan(w, p) })
		}
	}, func(m client.Move) {
		tell(m)
		if deployment.Ended(m.Phase) {
			doc.Done = append(doc.Done, documentMove(&m))
		}
	})
	switch {
	case err != nil:
		return err
	case shown != nil:
		return shown
	}
	return a.print(doc, func(w io.Writer) {
		if len(doc.Moves) > 0 {
			fmt.Fprintf(w, "\n%d tenants moved\n", len(doc.Done))
		}
	})
}
