package main

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"kimberlite"
	"kimberlite/internal/fault"
	"kimberlite/internal/quantity"
)

// tenantAdmin makes, lists and changes tenants.
type tenantAdmin interface {
	createTenant(ctx context.Context, c kimberlite.TenantConfig) (kimberlite.TenantInfo, error)
	tenants(ctx context.Context) ([]kimberlite.TenantInfo, error)
	setTenant(ctx context.Context, id kimberlite.TenantID, c tenantChange) (kimberlite.TenantInfo, error)
}

// tenantStatus describes and checks one tenant.
type tenantStatus interface {
	info(ctx context.Context) (kimberlite.TenantInfo, error)
	usage(ctx context.Context) (kimberlite.Usage, error)
	Verify(ctx context.Context) (*kimberlite.VerifyTenantReport, error)
}

// tenantChange is what tenant set changes; what is nil stays as it is.
type tenantChange struct {
	name      *string
	retention *time.Duration
	limits    limitChange
}

func tenantCommand(a *app) *cobra.Command {
	return a.group(&cobra.Command{
		Use:   "tenant",
		Short: "Create, look at, measure, change, move and verify tenants",
		Example: `  kimberlite tenant create --data ./data --id 1 --name hospital-a
  kimberlite tenant list --data ./data`,
	}, tenantCreateCommand(a), tenantListCommand(a), tenantShowCommand(a), tenantUsageCommand(a),
		tenantSetCommand(a), tenantMoveCommand(a), tenantVerifyCommand(a))
}

// defaultSize bounds log and projections of tenants that name no limit.
const defaultSize = "10GiB"

// configFlags are the flags that tenant create and tenant set share.
type configFlags struct {
	name, retention               string
	maxLogSize, maxProjections    string
	maxOpsPerSec, maxConcurrentOp string
}

// add declares the flags; sizes is the default of the two limits in bytes and
// counts that of the other two.
func (f *configFlags) add(c *cobra.Command, retention, sizes, counts string) {
	fl := c.Flags()
	fl.StringVar(&f.name, "name", "", "name, unique in the data directory")
	fl.StringVar(&f.retention, "retention", retention, "how long the log must be kept, such as 2555d; it can be made longer only")
	fl.StringVar(&f.maxLogSize, "max-log-size", sizes, "most bytes of the log, such as 10GiB, or unlimited")
	fl.StringVar(&f.maxProjections, "max-projections", sizes, "most bytes of tables and indexes, such as 10GiB, or unlimited")
	fl.StringVar(&f.maxOpsPerSec, "max-ops-per-sec", counts, "most operations per second, or unlimited")
	fl.StringVar(&f.maxConcurrentOp, "max-concurrent-ops", counts, "most operations at once, or unlimited")
}

// limitChange changes a tenant's quotas; those that are nil stay as they are.
type limitChange struct{ maxLogSize, maxProjections, maxOpsPerSec, maxConcurrentOps *int64 }

// change returns l with the changes made.
func (c *limitChange) change(l kimberlite.Limits) kimberlite.Limits {
	for _, one := range []struct{ from, to *int64 }{
		{c.maxLogSize, &l.MaxLogSize}, {c.maxProjections, &l.MaxProjections},
		{c.maxOpsPerSec, &l.MaxOpsPerSec}, {c.maxConcurrentOps, &l.MaxConcurrentOps},
	} {
		if one.from != nil {
			*one.to = *one.from
		}
	}
	return l
}

// limits reads the flags that say something.
func (f *configFlags) limits() (limitChange, error) {
	var l limitChange
	for _, flag := range []struct {
		name, text string
		to         **int64
		parse      func(string) (int64, error)
	}{
		{"--max-log-size", f.maxLogSize, &l.maxLogSize, quantity.ParseSize},
		{"--max-projections", f.maxProjections, &l.maxProjections, quantity.ParseSize},
		{"--max-ops-per-sec", f.maxOpsPerSec, &l.maxOpsPerSec, quantity.ParseCount},
		{"--max-concurrent-ops", f.maxConcurrentOp, &l.maxConcurrentOps, quantity.ParseCount},
	} {
		if flag.text == "" {
			continue
		}
		n, err := flag.parse(flag.text)
		if err != nil {
			return l, badFlag(flag.name, err)
		}
		if n == 0 && flag.text != quantity.Unlimited {
			return l, fault.New(flag.name, fault.Invalid, "a limit of 0 lets nothing through: give more, or %s", quantity.Unlimited)
		}
		*flag.to = &n
	}
	return l, nil
}

// parseRetention reads --retention; nil says that it was not given.
func (f *configFlags) parseRetention() (*time.Duration, error) {
	if f.retention == "" {
		return nil, nil
	}
	d, err := quantity.ParseDuration(f.retention)
	if err != nil {
		return nil, badFlag("--retention", err)
	}
	return &d, nil
}

// badFlag names the flag whose value was refused.
func badFlag(name string, err error) error {
	message := err.Error()
	var known *fault.Error
	if errors.As(err, &known) {
		message = known.Message
	}
	return fault.New(name, fault.Invalid, "%s", message)
}

// tenantDocument is a tenant as --json prints it. Ids are JSON numbers.
type tenantDocument struct {
	ID               uint64         `json:"id"`
	Name             string         `json:"name"`
	Region           string         `json:"region"`
	Shard            uint64         `json:"shard"`
	Retention        string         `json:"retention"`
	RetentionSeconds int64          `json:"retention_seconds"`
	Created          string         `json:"created"`
	Quota            limitsDocument `json:"quota"`
	LogRecords       uint64         `json:"log_records"`
	LogBytes         int64          `json:"log_bytes"`
	LastHash         string         `json:"last_hash"`
}

// limitsDocument are quotas as --json prints them; null is unlimited.
type limitsDocument struct {
	MaxLogSize       *int64 `json:"max_log_size"`
	MaxProjections   *int64 `json:"max_projections"`
	MaxOpsPerSec     *int64 `json:"max_ops_per_sec"`
	MaxConcurrentOps *int64 `json:"max_concurrent_ops"`
}

func documentLimits(l kimberlite.Limits) limitsDocument {
	return limitsDocument{
		MaxLogSize: orNull(l.MaxLogSize), MaxProjections: orNull(l.MaxProjections),
		MaxOpsPerSec: orNull(l.MaxOpsPerSec), MaxConcurrentOps: orNull(l.MaxConcurrentOps),
	}
}

func documentTenant(t kimberlite.TenantInfo) tenantDocument {
	return tenantDocument{
		ID: t.ID.Uint64(), Name: t.Name, Region: t.Region, Shard: t.Shard.Uint64(),
		Retention: quantity.FormatDuration(t.Retention), RetentionSeconds: int64(t.Retention / time.Second),
		Created: stamp(t.Created), Quota: documentLimits(t.Quota),
		LogRecords: t.LogRecords, LogBytes: t.LogBytes, LastHash: hexText(t.LastHash[:]),
	}
}

// tenantRows is a tenant as a table of two columns.
func tenantRows(t kimberlite.TenantInfo) []string {
	return []string{
		line("id", t.ID), line("name", t.Name), line("region", t.Region), line("shard", t.Shard),
		line("retention", quantity.FormatDuration(t.Retention)), line("created", stamp(t.Created)),
		line("max log size", limitText(t.Quota.MaxLogSize)),
		line("max projections", limitText(t.Quota.MaxProjections)),
		line("max ops per second", countText(t.Quota.MaxOpsPerSec)),
		line("max concurrent ops", countText(t.Quota.MaxConcurrentOps)),
		line("log", grouped(int64(t.LogRecords))+" records, "+quantity.DisplaySize(t.LogBytes)), //nolint:gosec // a count of records
		line("last hash", hexText(t.LastHash[:])),
	}
}
