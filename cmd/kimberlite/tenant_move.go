package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"kimberlite"
	"kimberlite/client"
	"kimberlite/internal/deployment"
	"kimberlite/internal/fault"
	"kimberlite/internal/quantity"
)

// moveDocument is a move as --json prints it.
type moveDocument struct {
	Tenant      uint64  `json:"tenant"`
	From        uint64  `json:"from"`
	To          uint64  `json:"to"`
	Phase       string  `json:"phase"`
	CopiedBytes int64   `json:"copied_bytes"`
	TotalBytes  int64   `json:"total_bytes"`
	Began       *string `json:"began"`
	Ended       *string `json:"ended"`
	FencedMS    float64 `json:"fenced_ms"`
	Problem     string  `json:"problem,omitempty"`
}

func documentMove(m *client.Move) moveDocument {
	problem := m.Problem
	if m.Phase == deployment.Done {
		problem = "" // it was overcome
	}
	return moveDocument{
		Tenant: m.Tenant.Uint64(), From: m.From.Uint64(), To: m.To.Uint64(), Phase: m.Phase, CopiedBytes: m.Copied, TotalBytes: m.Total,
		Began: stampOrNull(m.Began), Ended: stampOrNull(m.Ended), FencedMS: float64(m.Fenced) / float64(time.Millisecond), Problem: problem,
	}
}

func tenantMoveCommand(a *app) *cobra.Command {
	var shard string
	var status bool
	c := &cobra.Command{
		Use:   "move ID --shard SHARD",
		Short: "Move a tenant to another shard of its region, while it is served",
		Long: `Move a tenant to another shard of its region, while it is served: its log is
copied, writes wait a moment for the last of it, and the directory is told. Reads
never stop. Chain, offsets, credentials and quotas go with it. Ctrl-C ends the
telling and not the move; the same command again joins it, and --status says how
it is.`,
		Example: `  kimberlite tenant create --id 9001 --name moved --region local
  kimberlite tenant move 9001 --shard "$(kimberlite shard create --region local --replicas 1 --json | sed -n 's/^  "id": \(.*\),/\1/p')"`,
		Args: exactly("ID"),
	}
	c.Flags().StringVar(&shard, "shard", "", "id of the shard to move to")
	c.Flags().BoolVar(&status, "status", false, "say how the last move is, and move nothing")
	return a.verb(c, func(ctx context.Context, args []string) error {
		if status == (shard != "") {
			return fault.New("tenant move", fault.Invalid, "give either --shard or --status")
		}
		var to client.ShardID
		if shard != "" {
			var err error
			if to, err = parseShard("--shard", shard); err != nil {
				return err
			}
		}
		return a.onClusterTenant(ctx, args[0], func(k client.Cluster, id kimberlite.TenantID) error {
			if status {
				m, err := k.Move(ctx, id)
				if err != nil {
					return err
				}
				return a.print(documentMove(&m), func(w io.Writer) { fmt.Fprintln(w, moveText(&m)) })
			}
			m, err := k.MoveTenant(ctx, id, to, a.moveTeller())
			if err != nil {
				return err
			}
			return a.print(documentMove(&m), func(w io.Writer) { fmt.Fprintln(w, moveText(&m)) })
		})
	})
}

// onClusterTenant finds a tenant of a cluster by id or name.
func (a *app) onClusterTenant(ctx context.Context, ref string, fn func(k client.Cluster, id kimberlite.TenantID) error) error {
	on, err := a.target()
	if err != nil {
		return err
	}
	if on.server == "" {
		return a.onCluster(nil) // it says so
	}
	return a.onTenant(ctx, ref, func(b backend, t tenantHandle) error { return fn(b.(remote).c.Cluster(), t.ID()) })
}

// moveTeller tells on stderr how moves go: a bar on a terminal, otherwise a
// line for each phase; nothing with --json.
func (a *app) moveTeller() func(client.Move) {
	var bar *progress
	var last client.Move
	return func(m client.Move) {
		if a.global.json {
			return
		}
		if m.Problem != "" && m.Problem != last.Problem && !deployment.Ended(m.Phase) {
			fmt.Fprintf(a.stderr, "tenant %s: %s, and waits: %s\n", m.Tenant, m.Phase, printable(m.Problem))
		}
		if m.Tenant != last.Tenant || m.Phase != last.Phase {
			if bar != nil {
				bar.done()
				bar = nil
			}
			if !deployment.Ended(m.Phase) {
				fmt.Fprintf(a.stderr, "tenant %s: %s\n", m.Tenant, m.Phase)
			}
			if m.Phase == deployment.Copying {
				bar = a.progress("tenant "+m.Tenant.String(), m.Total)
			}
		}
		if bar != nil {
			bar.total = m.Total
			bar.set(m.Copied)
		}
		last = m
	}
}

func moveText(m *client.Move) string {
	text := fmt.Sprintf("tenant %s: from shard %s to %s: %s, %s of %s copied", m.Tenant, m.From, m.To, m.Phase, quantity.DisplaySize(m.Copied), quantity.DisplaySize(m.Total))
	if m.Phase == deployment.Done {
		text = fmt.Sprintf("tenant %s is on shard %s, %s before; %s copied", m.Tenant, m.To, m.From, quantity.DisplaySize(m.Copied))
	}
	if !m.Ended.IsZero() {
		text += fmt.Sprintf(" in %s, writes waited %s", m.Ended.Sub(m.Began).Round(time.Millisecond), m.Fenced.Round(time.Millisecond))
	}
	if m.Problem != "" && m.Phase != deployment.Done {
		text += ": " + printable(m.Problem)
	}
	return text
}
