package demo

import (
	"context"
	"errors"
	"strings"

	"kimberlite"
	"kimberlite/internal/quantity"
)

// quotas is step 9.
func (d *demo) quotas(ctx context.Context) error {
	rows := [][]string{{"HOSPITAL", "RECORDS", "LOG", "OF", "TABLES", "OF"}}
	if err := d.db.Checkpoint(ctx); err != nil {
		return err
	}
	for _, h := range d.hospitals {
		u, err := h.t.Usage()
		if err != nil {
			return err
		}
		rows = append(rows, []string{
			h.config.Name, quantity.FormatCount(int64(u.LogRecords)), //nolint:gosec // a count of records
			quantity.DisplaySize(u.LogBytes), quantity.FormatSize(h.config.Quota.MaxLogSize),
			quantity.DisplaySize(u.ProjectionBytes), quantity.FormatSize(h.config.Quota.MaxProjections),
		})
	}
	d.out.table(rows)
	if err := d.fullLog(ctx, d.hospitals[1]); err != nil {
		return err
	}
	if err := d.flood(ctx, d.hospitals[1]); err != nil {
		return err
	}
	quota := d.hospitals[1].config.Quota
	if err := d.db.SetTenant(ctx, d.hospitals[1].t.ID(), kimberlite.TenantChange{Quota: &quota}); err != nil {
		return err
	}
	_, err := d.hospitals[1].t.Exec(ctx, "UPDATE patients SET city = 'Springfield' WHERE id = '123'")
	if err != nil {
		return err
	}
	return d.out.holds(true, "with its quotas raised again, hospital-b writes on")
}

// fullLog lowers a hospital's log limit to what it uses, and writes.
func (d *demo) fullLog(ctx context.Context, h *hospital) error {
	u, err := h.t.Usage()
	if err != nil {
		return err
	}
	limits := h.config.Quota
	limits.MaxLogSize = u.LogBytes + 1
	if err := d.db.SetTenant(ctx, h.t.ID(), kimberlite.TenantChange{Quota: &limits}); err != nil {
		return err
	}
	before, err := count(ctx, h.t, "SELECT count(*) FROM patients")
	if err != nil {
		return err
	}
	_, err = h.t.Insert(ctx, "patients", Patient{ID: "124", First: strings.Repeat("x", 4096), Last: "y", BirthDate: "2000-01-01", Gender: "F"})
	if err := d.refused(h.config.Name+" writes with its log full (max_log_size lowered to "+quantity.DisplaySize(limits.MaxLogSize)+")", err, kimberlite.QuotaExceeded); err != nil {
		return err
	}
	var e *kimberlite.Error
	if !errors.As(err, &e) || e.Quota == nil || e.Quota.Limit != "max_log_size" || e.Quota.Value != limits.MaxLogSize {
		return broken("the refusal names max_log_size and its value")
	}
	after, err := count(ctx, h.t, "SELECT count(*) FROM patients")
	if err != nil {
		return err
	}
	if err := d.out.holds(after == before, "nothing of the refused write is there, and reading goes on"); err != nil {
		return err
	}
	_, err = d.hospitals[0].t.Exec(ctx, "UPDATE patients SET state = 'Massachusetts' WHERE id = '123'")
	if err != nil {
		return err
	}
	return d.out.holds(true, "hospital-a writes meanwhile: quotas are each tenant's own")
}

// floodCalls are certainly more than floodRate allows at once.
const (
	floodRate  = 5
	floodCalls = 1000
)

// flood calls faster than a hospital's rate allows.
func (d *demo) flood(ctx context.Context, h *hospital) error {
	limits := h.config.Quota
	limits.MaxOpsPerSec = floodRate
	if err := d.db.SetTenant(ctx, h.t.ID(), kimberlite.TenantChange{Quota: &limits}); err != nil {
		return err
	}
	var err error
	for range floodCalls {
		if _, err = count(ctx, h.t, "SELECT 1"); err != nil {
			break
		}
	}
	return d.refused(h.config.Name+" calls faster than its max_ops_per_sec of 5", err, kimberlite.RateLimited)
}
