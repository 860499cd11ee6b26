package rpc

import (
	"context"
	"math"
	"strconv"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	v1 "kimberlite/gen/kimberlite/v1"
	"kimberlite/internal/audit"
	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/quota"
	"kimberlite/internal/shard"
	"kimberlite/internal/tenant"
	"kimberlite/internal/verify"
)

// defaultRegion is the region of tenants that name none, as in the embedded
// API.
const defaultRegion = "local"

type tenantService struct{ *door }

// CreateTenant makes a tenant.
func (s tenantService) CreateTenant(ctx context.Context, r *v1.CreateTenantRequest) (*v1.CreateTenantResponse, error) {
	config, err := tenantConfig(r)
	if err != nil {
		return nil, err
	}
	return once(ctx, s.door, r, func() (*v1.CreateTenantResponse, error) {
		if err := s.node.CreateTenant(ctx, config); err != nil {
			return nil, err
		}
		t, err := s.describe(config.ID)
		return &v1.CreateTenantResponse{Tenant: t}, err
	})
}

func tenantConfig(r *v1.CreateTenantRequest) (tenant.Config, error) {
	id, err := ident.NewTenantID(r.GetId())
	if err != nil {
		return tenant.Config{}, fault.New("tenant create", fault.Invalid, "a tenant needs an id: a number from 1 on")
	}
	name := r.GetRegion()
	if name == "" {
		name = defaultRegion
	}
	region, err := ident.NewRegion(name)
	if err != nil {
		return tenant.Config{}, fault.New("tenant create", fault.Invalid, "%s", err.Error())
	}
	retention, err := duration(r.GetRetention())
	if err != nil {
		return tenant.Config{}, err
	}
	l := r.GetLimits()
	config := tenant.Config{ID: id, Name: r.GetName(), Region: region, Retention: retention, Limits: quota.Limits{
		MaxLogBytes: l.GetMaxLogSize(), MaxProjectionBytes: l.GetMaxProjections(),
		MaxOpsPerSec: l.GetMaxOpsPerSec(), MaxConcurrentOps: l.GetMaxConcurrentOps(),
	}}
	return config, config.Validate()
}

// duration reads a retention; one that time.Duration cannot hold would wrap.
func duration(d *durationpb.Duration) (time.Duration, error) {
	if d == nil {
		return 0, nil
	}
	if err := d.CheckValid(); err != nil || d.AsDuration() == math.MaxInt64 || d.AsDuration() < 0 {
		return 0, fault.New("rpc", fault.Invalid, "the retention is out of range: want 0 to 292 years")
	}
	return d.AsDuration(), nil
}

// describe describes a tenant, or fails with NotFound.
func (d *door) describe(id ident.TenantID) (*v1.Tenant, error) {
	st, in, err := d.node.State(id)
	if err != nil {
		return nil, err
	}
	return toTenant(&st, in), nil
}

func toTenant(st *shard.TenantState, in ident.ShardID) *v1.Tenant {
	return &v1.Tenant{
		Id: st.ID.Uint64(), Name: st.Name, Region: st.Region.String(), Shard: in.Uint64(),
		Retention: durationpb.New(st.Retention), Created: timestamppb.New(st.Created),
		Limits: &v1.Limits{
			MaxLogSize: st.Limits.MaxLogBytes, MaxProjections: st.Limits.MaxProjectionBytes,
			MaxOpsPerSec: st.Limits.MaxOpsPerSec, MaxConcurrentOps: st.Limits.MaxConcurrentOps,
		},
		LogRecords: st.Log.Next.Uint64(), LogBytes: st.Log.TotalBytes, LastHash: st.Log.LastHash[:],
	}
}

// GetTenant describes one tenant.
func (s tenantService) GetTenant(ctx context.Context, r *v1.GetTenantRequest) (*v1.GetTenantResponse, error) {
	id, err := s.named(ctx, r.GetId(), r.GetName())
	if err != nil {
		return nil, err
	}
	t, err := s.describe(id)
	return &v1.GetTenantResponse{Tenant: t}, err
}

// named finds the tenant that an id or a name says. A tenant's principal
// learns of no name but its own.
func (d *door) named(ctx context.Context, id uint64, name string) (ident.TenantID, error) {
	p := callOf(ctx).session.Principal()
	switch {
	case id != 0 && name != "":
		return ident.TenantID{}, fault.New("rpc", fault.Invalid, "the request has both an id and a name: give one")
	case name == "":
		return d.administered(ctx, id)
	case p.Operator:
		return d.node.TenantNamed(name)
	}
	st, _, err := d.node.State(p.Tenant)
	if err != nil {
		return ident.TenantID{}, err
	}
	if st.Name != name {
		return ident.TenantID{}, errOther(p)
	}
	return p.Tenant, nil
}

// ListTenants describes tenants, page by page.
func (s tenantService) ListTenants(ctx context.Context, r *v1.ListTenantsRequest) (*v1.ListTenantsResponse, error) {
	p := callOf(ctx).session.Principal()
	if !p.Operator {
		t, err := s.describe(p.Tenant)
		return &v1.ListTenantsResponse{Tenants: []*v1.Tenant{t}}, err
	}
	size, err := bounded("page_size", r.GetPageSize(), 100, 1000)
	if err != nil {
		return nil, err
	}
	var after uint64
	if token := r.GetPageToken(); token != "" {
		if after, err = strconv.ParseUint(token, 10, 64); err != nil {
			return nil, fault.New("rpc", fault.Invalid, "the page_token is not one of this server's")
		}
	}
	out := &v1.ListTenantsResponse{}
	states := s.node.States() // by id
	for i := range states {
		if states[i].ID.Uint64() <= after {
			continue
		}
		if len(out.Tenants) == size {
			out.NextPageToken = strconv.FormatUint(out.Tenants[size-1].GetId(), 10)
			break
		}
		out.Tenants = append(out.Tenants, toTenant(&states[i].TenantState, states[i].Shard))
	}
	return out, nil
}

// UpdateTenant changes a tenant.
func (s tenantService) UpdateTenant(ctx context.Context, r *v1.UpdateTenantRequest) (*v1.UpdateTenantResponse, error) {
	id, err := s.administered(ctx, r.GetId())
	if err != nil {
		return nil, err
	}
	change := shard.Change{Name: r.Name}
	if r.GetRetention() != nil {
		d, err := duration(r.GetRetention())
		if err != nil {
			return nil, err
		}
		change.Retention = &d
	}
	return once(ctx, s.door, r, func() (*v1.UpdateTenantResponse, error) {
		st, _, err := s.node.State(id)
		if err != nil {
			return nil, err
		}
		change.Limits = changedLimits(st.Limits, r)
		if err := s.node.SetTenant(ctx, id, change); err != nil {
			return nil, err
		}
		if err := s.noteChange(ctx, id, change); err != nil {
			return nil, err
		}
		t, err := s.describe(id)
		return &v1.UpdateTenantResponse{Tenant: t}, err
	})
}

// noteChange writes into the tenant's audit trail what was changed of it. The
// name is left out: it is the tenant's own.
func (d *door) noteChange(ctx context.Context, id ident.TenantID, change shard.Change) error {
	t, err := d.node.Tenant(id)
	if err != nil {
		return err
	}
	detail := map[string]any{"renamed": change.Name != nil}
	if change.Retention != nil {
		detail["retention_seconds"] = int64(*change.Retention / time.Second)
	}
	if l := change.Limits; l != nil {
		detail["max_log_size"], detail["max_projections"] = l.MaxLogBytes, l.MaxProjectionBytes
		detail["max_ops_per_sec"], detail["max_concurrent_ops"] = l.MaxOpsPerSec, l.MaxConcurrentOps
	}
	c := callOf(ctx)
	return t.As(operator(c.session.Principal(), c)).NoteAudit(ctx, audit.Entry{
		Action: audit.QuotaChanged, Object: id.String(), Outcome: audit.OK, Detail: detail,
	})
}

// changedLimits returns the limits with what a request changes, or nil.
func changedLimits(l quota.Limits, r *v1.UpdateTenantRequest) *quota.Limits {
	changed := false
	for _, one := range []struct{ from, to *int64 }{
		{r.MaxLogSize, &l.MaxLogBytes}, {r.MaxProjections, &l.MaxProjectionBytes},
		{r.MaxOpsPerSec, &l.MaxOpsPerSec}, {r.MaxConcurrentOps, &l.MaxConcurrentOps},
	} {
		if one.from != nil {
			*one.to, changed = *one.from, true
		}
	}
	if !changed {
		return nil
	}
	return &l
}

// GetUsage says what a tenant uses.
func (s tenantService) GetUsage(ctx context.Context, r *v1.GetUsageRequest) (*v1.GetUsageResponse, error) {
	id, err := s.administered(ctx, r.GetId())
	if err != nil {
		return nil, err
	}
	u, err := s.node.Usage(id)
	if err != nil {
		return nil, err
	}
	return &v1.GetUsageResponse{
		LogBytes: u.LogBytes, LogRecords: u.LogRecords, ProjectionBytes: u.ProjectionBytes,
		InFlight: u.InFlight, Admitted: u.Admitted, Refused: u.Refused,
	}, nil
}

// Verify checks a tenant's chain on disk.
func (s tenantService) Verify(ctx context.Context, r *v1.VerifyRequest) (*v1.VerifyResponse, error) {
	id, err := s.administered(ctx, r.GetId())
	if err != nil {
		return nil, err
	}
	holder, err := s.node.Holder(id)
	if err != nil {
		return nil, err
	}
	if err := s.node.Checkpoint(ctx); err != nil {
		return nil, err
	}
	report, err := verify.Running(ctx, holder, id)
	if err != nil {
		return nil, err
	}
	return toReport(report), nil
}

func toReport(r *verify.TenantReport) *v1.VerifyResponse {
	out := &v1.VerifyResponse{
		Id: r.Tenant.Uint64(), Records: r.Records, Bytes: r.Bytes, Segments: int32(min(r.Segments, math.MaxInt32)), //nolint:gosec // bounded
		LastHash: r.LastHash[:], Signed: r.Signed, HeadRecords: r.HeadRecords, Pending: r.Pending,
	}
	for i := range r.Problems {
		p := &r.Problems[i]
		out.Problems = append(out.Problems, &v1.Problem{
			Tenant: p.Tenant.Uint64(), File: clean(p.File), Byte: p.Offset, Record: p.Record.Uint64(), Message: clean(p.Message),
		})
	}
	return out
}

// RebuildProjection derives a tenant's tables from its log again.
func (s tenantService) RebuildProjection(ctx context.Context, r *v1.RebuildProjectionRequest) (*v1.RebuildProjectionResponse, error) {
	t, err := s.handle(ctx, r.GetId())
	if err != nil {
		return nil, err
	}
	return once(ctx, s.door, r, func() (*v1.RebuildProjectionResponse, error) {
		return &v1.RebuildProjectionResponse{}, t.Rebuild(ctx)
	})
}
