package main

import (
	"context"

	"github.com/spf13/cobra"

	"kimberlite"
)

func tenantVerifyCommand(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:   "verify ID",
		Short: "Verify a tenant's hash chain on disk",
		Long: `Verify every record of a tenant's log: its bytes, its place in the hash chain
and the signed head. Damage is named by file and byte offset, with exit status 7.`,
		Example: `  kimberlite tenant create --data ./data --id 1 --name hospital-a
  kimberlite tenant verify 1 --data ./data`,
		Args: exactly("ID"),
	}
	return a.verb(c, func(ctx context.Context, args []string) error {
		return a.onTenant(ctx, args[0], func(_ backend, t tenantHandle) error {
			report, err := t.Verify(ctx)
			if err != nil {
				return err
			}
			return a.printVerified(&kimberlite.VerifyReport{Path: args[0], Tenants: []kimberlite.VerifyTenantReport{*report}})
		})
	})
}
