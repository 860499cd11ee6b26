package main

import (
	"context"

	"github.com/spf13/cobra"

	"kimberlite/internal/fault"
)

func tenantSetCommand(a *app) *cobra.Command {
	var flags configFlags
	c := &cobra.Command{
		Use:   "set ID",
		Short: "Change a tenant's name, retention or quotas",
		Example: `  kimberlite tenant create --data ./data --id 1 --name hospital-a
  kimberlite tenant set 1 --data ./data --max-log-size 20GiB --max-ops-per-sec 5000`,
		Args: exactly("ID"),
	}
	flags.add(c, "", "", "")
	return a.verb(c, func(ctx context.Context, args []string) error {
		if c.Flags().Changed("name") && flags.name == "" {
			return fault.New("--name", fault.Invalid, "a tenant's name cannot be empty")
		}
		if flags == (configFlags{}) {
			return fault.New("tenant set", fault.Invalid, "nothing to change was given (see kimberlite tenant set --help)")
		}
		retention, err := flags.parseRetention()
		if err != nil {
			return err
		}
		limits, err := flags.limits()
		if err != nil {
			return err
		}
		change := tenantChange{retention: retention, limits: limits}
		if flags.name != "" {
			change.name = &flags.name
		}
		return a.onTenant(ctx, args[0], func(b backend, t tenantHandle) error {
			info, err := b.setTenant(ctx, t.ID(), change)
			if err != nil {
				return err
			}
			return a.showTenant(info)
		})
	})
}
