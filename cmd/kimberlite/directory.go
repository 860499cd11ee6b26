package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"kimberlite"
	"kimberlite/client"
	"kimberlite/internal/deployment"
	"kimberlite/internal/fault"
	"kimberlite/internal/quantity"
)

func directoryCommand(a *app) *cobra.Command {
	return a.group(&cobra.Command{
		Use:     "directory",
		Short:   "Show where a cluster's tenants are",
		Example: `  kimberlite directory show`,
	}, directoryShowCommand(a))
}

// placementDocument is where a tenant is as --json prints it.
type placementDocument struct {
	Tenant uint64  `json:"tenant"`
	Name   string  `json:"name"`
	Region string  `json:"region"`
	Shard  uint64  `json:"shard"`
	Epoch  uint64  `json:"epoch"`
	State  string  `json:"state"`
	Target *uint64 `json:"target_shard"`
}

func documentPlacement(p *client.Placement) placementDocument {
	return placementDocument{p.Tenant.Uint64(), p.Name, p.Region.String(), p.Shard.Uint64(), p.Epoch, p.State, numberOrNull(p.Target.Uint64())}
}

// residencyDocument is where tenants' bytes are as --json prints it.
type residencyDocument struct {
	Tenants []tenantResidencyDocument `json:"tenants"`
	// Unreached are nodes that did not answer.
	Unreached []uint64 `json:"unreached_nodes"`
	Outside   int      `json:"places_outside"`
	Proven    bool     `json:"proven"`
}

type tenantResidencyDocument struct {
	Tenant uint64          `json:"tenant"`
	Name   string          `json:"name"`
	Region string          `json:"region"`
	Places []placeDocument `json:"places"`
}

type placeDocument struct {
	Node    uint64  `json:"node"`
	Region  string  `json:"region"`
	Shard   *uint64 `json:"shard"`
	Bytes   int64   `json:"bytes"`
	Key     bool    `json:"key"`
	Outside bool    `json:"outside"`
}

func documentResidency(r *client.Residency) residencyDocument {
	doc := residencyDocument{Unreached: numbers(r.Unreached), Outside: r.Outside()}
	doc.Proven = doc.Outside == 0 && len(doc.Unreached) == 0
	doc.Tenants = documents(r.Tenants, func(t *deployment.TenantResidency) tenantResidencyDocument {
		return tenantResidencyDocument{t.Tenant.Uint64(), t.Name, t.Region.String(), documents(t.Places, func(p *deployment.Place) placeDocument {
			return placeDocument{p.Node.Uint64(), p.Region.String(), numberOrNull(p.Shard.Uint64()), p.Bytes, p.Key, p.Region != t.Region}
		})}
	})
	return doc
}

func directoryShowCommand(a *app) *cobra.Command {
	var residency bool
	var tenant string
	c := &cobra.Command{
		Use:   "show",
		Short: "Show where tenants are, or with --residency every place that holds bytes of them",
		Long: `Show the directory: each tenant's region, shard, epoch and state. With
--residency, every node is asked which tenants' files and keys are on its own
disk, and each place is listed; it exits with 7 if any is in another region than
its tenant, and with 8 if a node did not answer, since then nothing is proven.`,
		Example: `  kimberlite directory show
  kimberlite directory show --residency --json`,
		Args: exactly(),
	}
	c.Flags().BoolVar(&residency, "residency", false, "every place that holds bytes of tenants")
	c.Flags().StringVar(&tenant, "tenant", "", "one tenant's id or name")
	return a.verb(c, func(ctx context.Context, _ []string) error {
		show := func(k client.Cluster, tenants ...kimberlite.TenantID) error {
			if residency {
				return a.showResidency(ctx, k, tenants)
			}
			return a.showPlacements(ctx, k, tenants)
		}
		if tenant == "" {
			return a.onCluster(func(k client.Cluster) error { return show(k) })
		}
		return a.onClusterTenant(ctx, tenant, func(k client.Cluster, id kimberlite.TenantID) error { return show(k, id) })
	})
}

func (a *app) showPlacements(ctx context.Context, k client.Cluster, only []kimberlite.TenantID) error {
	all, err := k.Placements(ctx)
	if err != nil {
		return err
	}
	var shown []client.Placement
	var rows []string
	for _, p := range all {
		if len(only) > 0 && p.Tenant != only[0] {
			continue
		}
		shown = append(shown, p)
		target := p.Target.Uint64() == 0
		rows = append(rows, line(p.Tenant, p.Name, p.Region, p.Shard, p.Epoch, p.State, orNone(target, p.Target)))
	}
	return a.print(documents(shown, documentPlacement), func(w io.Writer) {
		columns(w, "TENANT\tNAME\tREGION\tSHARD\tEPOCH\tSTATE\tTARGET", rows)
	})
}

func (a *app) showResidency(ctx context.Context, k client.Cluster, only []kimberlite.TenantID) error {
	r, err := k.Residency(ctx, only...)
	if err != nil {
		return err
	}
	doc := documentResidency(r)
	err = a.print(doc, func(w io.Writer) {
		var rows []string
		for _, t := range doc.Tenants {
			for _, p := range t.Places {
				note := ""
				if p.Outside {
					note = "OUTSIDE ITS REGION"
				}
				rows = append(rows, line(t.Tenant, t.Name, t.Region, p.Node, p.Region, orNone(p.Shard == nil, value(p.Shard)),
					quantity.DisplaySize(p.Bytes), yesNo(p.Key), note))
			}
		}
		columns(w, "TENANT\tNAME\tREGION\tNODE\tIN\tSHARD\tSIZE\tKEY\t", rows)
		if doc.Proven {
			fmt.Fprintf(w, "\nall %d tenants are in their region and nowhere else: every node was asked\n", len(doc.Tenants))
		}
	})
	switch {
	case err != nil:
		return err
	case doc.Outside > 0:
		return fault.New("residency", fault.Corruption, "%d places are in another region than their tenant", doc.Outside)
	case len(doc.Unreached) > 0:
		return fault.New("residency", fault.Unavailable, "nodes %s did not answer, so that what they hold is not known", joined(r.Unreached))
	}
	return nil
}

// value is what a pointer points at, or nil.
func value(p *uint64) any {
	if p == nil {
		return nil
	}
	return *p
}
