package main

import (
	"context"
	"fmt"
	"io"
	"strconv"

	"github.com/spf13/cobra"

	"kimberlite"
	"kimberlite/internal/fault"
)

func streamCommand(a *app) *cobra.Command {
	return a.group(&cobra.Command{
		Use:   "stream",
		Short: "Create, list, append to, read and follow event streams",
		Example: `  kimberlite tenant create --data ./data --id 1 --name hospital-a
  kimberlite stream create --data ./data --tenant 1 admissions
  kimberlite stream append --data ./data --tenant 1 admissions '{"patient":"123","ward":"B"}'
  kimberlite stream read --data ./data --tenant 1 admissions`,
	}, streamCreateCommand(a), streamListCommand(a), streamAppendCommand(a), streamReadCommand(a), streamTailCommand(a))
}

// streamTenant is a tenant's event streams; every table is one.
type streamTenant interface {
	CreateStream(ctx context.Context, name string) (kimberlite.StreamInfo, error)
	Streams(ctx context.Context) ([]kimberlite.StreamInfo, error)
	Append(ctx context.Context, stream string, messages ...kimberlite.Message) (kimberlite.Offset, error)
	Read(ctx context.Context, stream string, from kimberlite.Offset, limit int) ([]kimberlite.Event, kimberlite.Offset, error)
	Tail(ctx context.Context, stream string, from kimberlite.Offset, fn func(kimberlite.Event) error) error
}

// streamDocument is a stream as --json prints it.
type streamDocument struct {
	Tenant  uint64   `json:"tenant"`
	Number  uint64   `json:"number"`
	Name    string   `json:"name"`
	Kind    string   `json:"kind"`
	Next    uint64   `json:"next"`
	Columns []string `json:"columns"`
}

func documentStream(s kimberlite.StreamInfo) streamDocument {
	columns := s.Columns
	if columns == nil {
		columns = []string{}
	}
	return streamDocument{
		Tenant: s.ID.Tenant().Uint64(), Number: s.ID.Number(), Name: s.Name, Kind: streamKind(s.Table),
		Next: s.Next.Uint64(), Columns: columns,
	}
}

func streamCreateCommand(a *app) *cobra.Command {
	var tenant string
	c := &cobra.Command{
		Use:   "create STREAM",
		Short: "Create an event stream",
		Example: `  kimberlite tenant create --data ./data --id 1 --name hospital-a
  kimberlite stream create --data ./data --tenant 1 admissions`,
		Args: exactly("STREAM"),
	}
	tenantFlag(c, &tenant)
	return a.verb(c, func(ctx context.Context, args []string) error {
		return a.onTenant(ctx, tenant, func(_ backend, t tenantHandle) error {
			info, err := t.CreateStream(ctx, args[0])
			if err != nil {
				return err
			}
			return a.print(documentStream(info), func(w io.Writer) {
				fmt.Fprintf(w, "stream %s created\n", printable(info.Name))
			})
		})
	})
}

func streamListCommand(a *app) *cobra.Command {
	var tenant string
	c := &cobra.Command{
		Use:   "list",
		Short: "List a tenant's streams; every table is one",
		Example: `  kimberlite tenant create --data ./data --id 1 --name hospital-a
  kimberlite stream list --data ./data --tenant 1`,
		Args: exactly(),
	}
	tenantFlag(c, &tenant)
	return a.verb(c, func(ctx context.Context, _ []string) error {
		return a.onTenant(ctx, tenant, func(_ backend, t tenantHandle) error {
			streams, err := t.Streams(ctx)
			if err != nil {
				return err
			}
			docs := make([]streamDocument, len(streams))
			rows := make([]string, len(streams))
			for i, s := range streams {
				docs[i] = documentStream(s)
				rows[i] = line(s.Name, streamKind(s.Table), s.Next)
			}
			return a.print(docs, func(w io.Writer) { columns(w, "NAME\tKIND\tEVENTS", rows) })
		})
	})
}

// positionFlag is --from of read and tail.
type positionFlag struct{ from string }

func (p *positionFlag) add(c *cobra.Command) {
	c.Flags().StringVar(&p.from, "from", "0", "offset of the first event, from 0")
}

func (p *positionFlag) offset() (kimberlite.Offset, error) {
	n, err := strconv.ParseUint(p.from, 10, 64)
	if err != nil {
		return kimberlite.Offset{}, fault.New("--from", fault.Invalid, "an offset is a number from 0 on")
	}
	return kimberlite.NewOffset(n), nil
}
