package main

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"kimberlite"
	"kimberlite/internal/quantity"
)

func hexText(b []byte) string { return hex.EncodeToString(b) }

func tenantListCommand(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:   "list",
		Short: "List all tenants",
		Example: `  kimberlite tenant create --data ./data --id 1 --name hospital-a
  kimberlite tenant list --data ./data`,
		Args: exactly(),
	}
	return a.verb(c, func(ctx context.Context, _ []string) error {
		return a.withBackend(ctx, true, func(b backend) error {
			tenants, err := b.tenants(ctx)
			if err != nil {
				return err
			}
			docs := make([]tenantDocument, len(tenants))
			rows := make([]string, len(tenants))
			for i, t := range tenants {
				docs[i] = documentTenant(t)
				rows[i] = line(t.ID, t.Name, t.Region, quantity.FormatDuration(t.Retention),
					grouped(int64(t.LogRecords)), quantity.DisplaySize(t.LogBytes), limitText(t.Quota.MaxLogSize)) //nolint:gosec // a count of records
			}
			return a.print(docs, func(w io.Writer) {
				columns(w, "ID\tNAME\tREGION\tRETENTION\tRECORDS\tLOG\tMAX LOG", rows)
			})
		})
	})
}

func tenantShowCommand(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:   "show ID",
		Short: "Show one tenant, by id or name",
		Example: `  kimberlite tenant create --data ./data --id 1 --name hospital-a
  kimberlite tenant show 1 --data ./data`,
		Args: exactly("ID"),
	}
	return a.verb(c, func(ctx context.Context, args []string) error {
		return a.onTenant(ctx, args[0], func(_ backend, t tenantHandle) error {
			info, err := t.info(ctx)
			if err != nil {
				return err
			}
			return a.showTenant(info)
		})
	})
}

func (a *app) showTenant(info kimberlite.TenantInfo) error {
	return a.print(documentTenant(info), func(w io.Writer) { columns(w, "", tenantRows(info)) })
}

// usageDocument is a tenant's usage as --json prints it.
type usageDocument struct {
	ID              uint64         `json:"id"`
	Name            string         `json:"name"`
	LogBytes        int64          `json:"log_bytes"`
	LogRecords      uint64         `json:"log_records"`
	ProjectionBytes int64          `json:"projection_bytes"`
	InFlight        int64          `json:"in_flight"`
	Admitted        uint64         `json:"admitted"`
	Refused         uint64         `json:"refused"`
	Quota           limitsDocument `json:"quota"`
}

func tenantUsageCommand(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:   "usage ID",
		Short: "Show what a tenant uses of its quotas",
		Example: `  kimberlite tenant create --data ./data --id 1 --name hospital-a
  kimberlite tenant usage 1 --data ./data`,
		Args: exactly("ID"),
	}
	return a.verb(c, func(ctx context.Context, args []string) error {
		return a.onTenant(ctx, args[0], func(_ backend, t tenantHandle) error {
			info, err := t.info(ctx)
			if err != nil {
				return err
			}
			u, err := t.usage(ctx)
			if err != nil {
				return err
			}
			doc := usageDocument{
				ID: info.ID.Uint64(), Name: info.Name, LogBytes: u.LogBytes, LogRecords: u.LogRecords,
				ProjectionBytes: u.ProjectionBytes, InFlight: u.InFlight, Admitted: u.Admitted, Refused: u.Refused,
				Quota: documentLimits(info.Quota),
			}
			return a.print(doc, func(w io.Writer) { columns(w, "WHAT\tUSED\tLIMIT\tSHARE", usageRows(info.Quota, u)) })
		})
	})
}

func usageRows(l kimberlite.Limits, u kimberlite.Usage) []string {
	return []string{
		line("log", quantity.DisplaySize(u.LogBytes), limitText(l.MaxLogSize), share(u.LogBytes, l.MaxLogSize)),
		line("projections", quantity.DisplaySize(u.ProjectionBytes), limitText(l.MaxProjections), share(u.ProjectionBytes, l.MaxProjections)),
		line("ops per second", "-", countText(l.MaxOpsPerSec), "-"),
		line("concurrent ops", u.InFlight, countText(l.MaxConcurrentOps), share(u.InFlight, l.MaxConcurrentOps)),
	}
}

// share is a usage in percent of its limit.
func share(used, limit int64) string {
	if limit == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f%%", 100*float64(used)/float64(limit))
}
