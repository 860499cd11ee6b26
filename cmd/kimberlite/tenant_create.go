package main

import (
	"context"
	"io"

	"github.com/spf13/cobra"

	"kimberlite"
	"kimberlite/internal/ident"
	"kimberlite/internal/tenant"
)

func tenantCreateCommand(a *app) *cobra.Command {
	var flags configFlags
	var id, region string
	c := &cobra.Command{
		Use:   "create",
		Short: "Create a tenant with keys of its own",
		Long: `Create a tenant with keys, a log, tables and quotas of its own. A data
directory that does not exist yet is made.`,
		Example: `  kimberlite tenant create --data ./data --id 1 --name hospital-a --region us-east --retention 2555d
  kimberlite tenant create --data ./data --id 2 --name hospital-b --max-log-size 1MiB --json`,
		Args: exactly(),
	}
	flags.add(c, "0s", defaultSize, "unlimited")
	c.Flags().StringVar(&id, "id", "", "id, a number from 1 on (required)")
	c.Flags().StringVar(&region, "region", kimberlite.DefaultRegion, "region, such as us-east, which is recorded")
	must(c.MarkFlagRequired("id"))
	must(c.MarkFlagRequired("name"))
	return a.verb(c, func(ctx context.Context, _ []string) error {
		config, err := tenantConfig(&flags, id, region)
		if err != nil {
			return err
		}
		return a.withBackend(ctx, false, func(b backend) error {
			info, err := b.createTenant(ctx, config)
			if err != nil {
				return err
			}
			return a.print(documentTenant(info), func(w io.Writer) { columns(w, "", tenantRows(info)) })
		})
	})
}

// tenantConfig reads the flags before anything is opened or made.
func tenantConfig(flags *configFlags, id, region string) (kimberlite.TenantConfig, error) {
	config := kimberlite.TenantConfig{Name: flags.name, Region: region}
	var err error
	if config.ID, err = kimberlite.ParseTenantID(id); err != nil {
		return config, badFlag("--id", err)
	}
	limits, err := flags.limits()
	if err != nil {
		return config, err
	}
	config.Quota = limits.change(kimberlite.Limits{})
	retention, err := flags.parseRetention()
	if err != nil {
		return config, err
	}
	if retention != nil {
		config.Retention = *retention
	}
	place, err := ident.NewRegion(region)
	if err != nil {
		return config, badFlag("--region", err)
	}
	return config, tenant.Config{ID: config.ID, Name: config.Name, Region: place}.Validate()
}
