package main

import (
	"context"

	"github.com/spf13/cobra"

	"kimberlite"
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
		if _, err := flags.limits(kimberlite.Limits{}); err != nil {
			return err
		}
		return a.withTenant(ctx, args[0], func(db *kimberlite.DB, t *kimberlite.Tenant) error {
			info, err := t.Info()
			if err != nil {
				return err
			}
			limits, err := flags.limits(info.Quota)
			if err != nil {
				return err
			}
			change := kimberlite.TenantChange{Retention: retention, Quota: &limits}
			if flags.name != "" {
				change.Name = &flags.name
			}
			if err := db.SetTenant(ctx, t.ID(), change); err != nil {
				return err
			}
			return a.showTenant(t)
		})
	})
}
