package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"kimberlite/internal/quantity"
)

func (r *Report) write(out io.Writer, asJSON bool) error {
	if asJSON {
		e := json.NewEncoder(out)
		e.SetIndent("", "  ")
		return e.Encode(r)
	}
	var b strings.Builder
	r.deployment(&b)
	r.memory(&b)
	r.answers(&b)
	r.zone(&b)
	r.rebalance(&b)
	_, err := io.WriteString(out, b.String())
	return err
}

func row(b *strings.Builder, what, format string, args ...any) {
	fmt.Fprintf(b, "| %s | %s |\n", what, fmt.Sprintf(format, args...))
}

func heading(b *strings.Builder, text string) {
	fmt.Fprintf(b, "\n%s\n\n| what | figure |\n|---|---|\n", text)
}

func percent(part float64) string { return fmt.Sprintf("%.1f %%", 100*part) }

func (r *Report) deployment(b *strings.Builder) {
	fmt.Fprintf(b, "Deployment, seed %d:\n\n| what | figure |\n|---|---|\n", r.Seed)
	row(b, "tenants", "%d", r.Tenants)
	row(b, "nodes, regions, zones a region", "%d, %d, %d", r.Nodes, r.Regions, r.Zones)
	row(b, "shards, replicas", "%d, %d", r.Shards, r.Replicas)
	row(b, "bytes of all tenants, on one replica", "%s", humanBytes(r.HeldBytes))
	row(b, "time to place one tenant", "%s", short(r.PlaceTime))
	row(b, "tenants of a shard: most and least, of its region's mean", "%s, %s", percent(r.PerShard.Most), percent(r.PerShard.Least))
	row(b, "largest region, nodes", "%d", r.Node.Nodes)
	row(b, "its nodes over the mean at most: replicas, bytes, leaders", "%s, %s, %s", percent(r.Node.Replicas.Over()), percent(r.Node.Bytes.Over()), percent(r.Node.Leads.Over()))
	row(b, "its groups with two replicas in a zone", "%d", r.Node.Crowded)
}

func (r *Report) memory(b *strings.Builder) {
	heading(b, "Directory on every node:")
	row(b, "memory of all tenants", "%s", humanBytes(r.Tenant.Heap))
	row(b, "memory a tenant, with a name of 19 bytes or so", "%.0f B", r.Tenant.HeapPerTenant)
	row(b, "memory of the program with nodes and shards", "%s", humanBytes(r.Tenant.HeapRest))
	row(b, "a tenant in a checkpoint", "%.0f B", r.Tenant.SavedPerTenant)
	row(b, "a new node's copy of all tenants", "%s", humanBytes(r.Tenant.SnapshotBytes))
	row(b, "applying all of it, two commands a tenant", "%s, %.0f commands/s", short(r.Tenant.CreateTime), 2*float64(r.Tenants)/r.Tenant.CreateTime.Seconds())
	row(b, "a new tenant in the log", "%.0f B", r.Tenant.CommandBytes)
	row(b, "sent by the directory's leader for a new tenant", "%s", humanBytes(uint64(r.Traffic.CreateLeader)))
	row(b, "quiet: sent and received by the leader (reckoned)", "%s/s", humanBytes(uint64(r.Traffic.QuietLeader)))
}

func (r *Report) answers(b *strings.Builder) {
	heading(b, "Look-ups of tenants drawn evenly (mean; singly, the clock included: p50, p99, p99.9):")
	for _, line := range []struct {
		what string
		t    Times
	}{{"by id", r.LookUps.ByID}, {"by name", r.LookUps.ByName}, {"by id, while commands are applied", r.LookUps.ByIDWhileWriting}} {
		row(b, line.what, "%s; %s, %s, %s", short(line.t.Mean), short(line.t.P50), short(line.t.P99), short(line.t.P999))
	}
}

func (r *Report) zone(b *strings.Builder) {
	z := r.Zone
	heading(b, fmt.Sprintf("Loss of zone %s of region %s, the largest:", z.Zone, z.Region))
	row(b, "nodes lost, of", "%d of %d", z.NodesLost, z.Before.Nodes)
	row(b, "groups that lost a replica; their majority", "%d; %d", z.Groups, z.WithoutMajority)
	row(b, "replicas that move; refused", "%d; %d", z.Moved, z.Refused)
	row(b, "bytes that move", "%s", humanBytes(z.Bytes))
	row(b, "planning all of it", "%s", short(z.PlanTime))
	row(b, fmt.Sprintf("copying at %s/s a node", quantity.FormatSize(r.Rate)), "%s", short(z.CopyTime))
	row(b, "directory's log; sent by its leader", "%s; %s", humanBytes(z.CommandBytes), humanBytes(z.CommandBytes*uint64(r.Nodes-1)))
	row(b, "leaders moved afterwards", "%d", z.LeadersMoved)
	row(b, "nodes over the mean at most, before: replicas, bytes, leaders", "%s, %s, %s", percent(z.Before.Replicas.Over()), percent(z.Before.Bytes.Over()), percent(z.Before.Leads.Over()))
	row(b, "after", "%s, %s, %s", percent(z.After.Replicas.Over()), percent(z.After.Bytes.Over()), percent(z.After.Leads.Over()))
	row(b, "groups with more replicas in a zone than need be", "%d", z.After.Crowded)
}

func (r *Report) rebalance(b *strings.Builder) {
	n := r.Rebalanced
	heading(b, fmt.Sprintf("Region %s gets %d shards more and is evened out:", n.Region, n.NewShards))
	row(b, "shards, tenants", "%d, %d", n.Shards, n.Tenants)
	row(b, "off the mean at most before: bytes, load", "%s, %s", percent(n.BytesBefore), percent(n.LoadBefore))
	row(b, "after", "%s, %s", percent(n.BytesAfter), percent(n.LoadAfter))
	row(b, "tenants that move", "%d", n.Moves)
	row(b, "bytes that move, of what the region holds", "%s, %s", humanBytes(n.Bytes), percent(float64(n.Bytes)/float64(max(n.Held, 1))))
	row(b, "planning all of it", "%s", short(n.PlanTime))
	row(b, "directory's log", "%s", humanBytes(n.CommandBytes))
	if n.Left != "" {
		row(b, "left as it is since", "%s", n.Left)
	}
}

// humanBytes is a size of three digits.
func humanBytes(n uint64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB"}
	f, u := float64(n), 0
	for f >= 1000 && u < len(units)-1 {
		f, u = f/1024, u+1
	}
	switch {
	case u == 0 || f >= 100:
		return fmt.Sprintf("%.0f %s", f, units[u])
	case f >= 10:
		return fmt.Sprintf("%.1f %s", f, units[u])
	}
	return fmt.Sprintf("%.2f %s", f, units[u])
}

// short is a duration of three digits.
func short(d time.Duration) string {
	for unit := time.Duration(1); unit < time.Hour; unit *= 10 {
		if d < 1000*unit {
			return d.Round(unit).String()
		}
	}
	return d.Round(time.Minute).String()
}
