package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"kimberlite"
	"kimberlite/internal/fault"
	"kimberlite/internal/quantity"
)

// auditTenant is a tenant's audit trail.
type auditTenant interface {
	readAudit(ctx context.Context, from kimberlite.Offset, limit int) ([]kimberlite.AuditEntry, kimberlite.Offset, error)
	tailAudit(ctx context.Context, from kimberlite.Offset, fn func(kimberlite.AuditEntry) error) error
}

// auditDocument is an entry of the audit trail as --json prints it, a line
// each.
type auditDocument struct {
	Tenant    uint64         `json:"tenant"`
	Offset    uint64         `json:"offset"`
	LogOffset uint64         `json:"log_offset"`
	Time      string         `json:"time"`
	Principal string         `json:"principal"`
	Role      string         `json:"role"`
	Remote    string         `json:"remote"`
	Action    string         `json:"action"`
	Object    string         `json:"object"`
	Outcome   string         `json:"outcome"`
	Detail    map[string]any `json:"detail"`
}

func auditCommand(a *app) *cobra.Command {
	var tenant, since string
	var follow bool
	c := &cobra.Command{
		Use:   "audit",
		Short: "Read a tenant's audit trail",
		Long: `Read a tenant's audit trail: logins, refusals, credentials, schema changes, key
rotations and changes of limits, as they stand in the tenant's own chain. It
holds no row and no text of a statement. In SQL it is kimberlite.audit.`,
		Example: `  kimberlite tenant create --data ./data --id 1 --name hospital-a
  kimberlite credential create --data ./data --tenant 1 --name app --role owner
  kimberlite audit --data ./data --tenant 1 --since 24h --json`,
		Args: exactly(),
	}
	tenantFlag(c, &tenant)
	c.Flags().StringVar(&since, "since", "", "only what happened since: a time such as 2026-01-31T08:00:00Z, or how long ago, such as 24h or 7d")
	c.Flags().BoolVar(&follow, "follow", false, "go on with each new entry until Ctrl-C")
	return a.verb(c, func(ctx context.Context, _ []string) error {
		first, err := parseSince(since, time.Now())
		if err != nil {
			return err
		}
		return a.onTenant(ctx, tenant, func(_ backend, t tenantHandle) error {
			show := func(e kimberlite.AuditEntry) error {
				if e.Time.Before(first) {
					return nil
				}
				return a.printAudit(t.ID(), e)
			}
			if follow {
				err := t.tailAudit(ctx, kimberlite.NewOffset(0), show)
				if fault.Is(err, fault.Canceled) {
					return fault.New("audit", fault.Canceled, "interrupted").ForTenant(t.ID())
				}
				return err
			}
			return readAudit(ctx, t, show)
		})
	})
}

// parseSince reads a time, or how long before now.
func parseSince(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return t, nil
	}
	d, err := quantity.ParseDuration(text)
	if err != nil {
		return time.Time{}, fault.New("--since", fault.Invalid, "want a time such as 2026-01-31T08:00:00Z, or a duration such as 24h or 7d")
	}
	return now.Add(-d), nil
}

// readAudit gives fn all entries there are, some at a time.
func readAudit(ctx context.Context, t auditTenant, fn func(kimberlite.AuditEntry) error) error {
	from := kimberlite.NewOffset(0)
	for {
		entries, next, err := t.readAudit(ctx, from, readStep)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if err := fn(e); err != nil {
				return err
			}
		}
		if len(entries) < readStep {
			return nil
		}
		from = next
	}
}

// printAudit writes one entry at once, so that who follows sees it.
func (a *app) printAudit(id kimberlite.TenantID, e kimberlite.AuditEntry) error {
	if a.global.json {
		doc := auditDocument{
			Tenant: id.Uint64(), Offset: e.Offset.Uint64(), LogOffset: e.LogOffset.Uint64(), Time: stamp(e.Time),
			Principal: e.Principal, Role: e.Role, Remote: e.Remote, Action: e.Action, Object: e.Object, Outcome: e.Outcome, Detail: e.Detail,
		}
		if doc.Detail == nil {
			doc.Detail = map[string]any{}
		}
		return writeJSONLine(a.stdout, doc)
	}
	who := e.Principal
	if who == "" {
		who = "-"
	}
	if e.Remote != "" {
		who += " from " + e.Remote
	}
	detail := ""
	if len(e.Detail) > 0 {
		text, err := json.Marshal(e.Detail)
		if err != nil {
			return fault.Wrap("audit", fault.Internal, err, "an entry cannot be shown")
		}
		detail = "  " + string(text)
	}
	w := &sticky{w: a.stdout}
	fmt.Fprintf(w, "%s  %s  %s  %s %s  %s%s\n", e.Offset, stamp(e.Time), printable(who), e.Action, printable(e.Object), e.Outcome, printable(detail))
	return w.failure()
}
