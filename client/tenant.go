package client

import (
	"context"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	v1 "kimberlite/gen/kimberlite/v1"
	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
)

// Limits are a tenant's quotas; 0 is unlimited.
type Limits struct {
	// MaxLogSize and MaxProjections bound the bytes of the tenant's log, and of
	// its tables and indexes.
	MaxLogSize, MaxProjections int64
	// MaxOpsPerSec and MaxConcurrentOps bound its operations.
	MaxOpsPerSec, MaxConcurrentOps int64
}

// TenantConfig is what a tenant is created with.
type TenantConfig struct {
	ID   TenantID
	Name string
	// Region is where the tenant's data must stay. "" is "local".
	Region string
	// Retention is how long the log must be kept. 0 keeps nothing back.
	Retention time.Duration
	Quota     Limits
}

// TenantInfo describes a tenant.
type TenantInfo struct {
	ID        TenantID
	Name      string
	Region    string
	Shard     ShardID
	Retention time.Duration
	Quota     Limits
	Created   time.Time
	// LogRecords and LogBytes are the length of the tenant's log.
	LogRecords uint64
	LogBytes   int64
	// LastHash is the hash of the last record, or of the empty chain.
	LastHash [32]byte
}

func toInfo(t *v1.Tenant) (TenantInfo, error) {
	id, err := ident.NewTenantID(t.GetId())
	if err != nil {
		return TenantInfo{}, errAnswer("a tenant without an id")
	}
	l := t.GetLimits()
	info := TenantInfo{
		ID: id, Name: t.GetName(), Region: t.GetRegion(), Shard: ident.NewShardID(t.GetShard()),
		Retention: t.GetRetention().AsDuration(), Created: t.GetCreated().AsTime(),
		Quota: Limits{
			MaxLogSize: l.GetMaxLogSize(), MaxProjections: l.GetMaxProjections(),
			MaxOpsPerSec: l.GetMaxOpsPerSec(), MaxConcurrentOps: l.GetMaxConcurrentOps(),
		},
		LogRecords: t.GetLogRecords(), LogBytes: t.GetLogBytes(),
	}
	copy(info.LastHash[:], t.GetLastHash())
	return info, nil
}

// errAnswer is for answers that no server of ours gives.
func errAnswer(what string) error {
	return fault.New("call", fault.Incompatible, "the server answered with %s: it is of another version", what)
}

// CreateTenant makes a tenant. It takes an operator.
func (c *Client) CreateTenant(ctx context.Context, config TenantConfig) (TenantInfo, error) {
	q := config.Quota
	answer, err := call(ctx, c, does(ctx), c.tenants.CreateTenant, &v1.CreateTenantRequest{
		Id: config.ID.Uint64(), Name: config.Name, Region: config.Region, Retention: durationpb.New(config.Retention),
		Limits: &v1.Limits{
			MaxLogSize: q.MaxLogSize, MaxProjections: q.MaxProjections,
			MaxOpsPerSec: q.MaxOpsPerSec, MaxConcurrentOps: q.MaxConcurrentOps,
		},
		IdempotencyKey: keyOf(ctx),
	})
	if err != nil {
		return TenantInfo{}, err
	}
	return toInfo(answer.GetTenant())
}

// TenantInfo describes one tenant, or fails with NotFound.
func (c *Client) TenantInfo(ctx context.Context, id TenantID) (TenantInfo, error) {
	return c.tenantInfo(ctx, &v1.GetTenantRequest{Id: id.Uint64()})
}

// TenantByName describes the tenant called name, or fails with NotFound.
func (c *Client) TenantByName(ctx context.Context, name string) (TenantInfo, error) {
	return c.tenantInfo(ctx, &v1.GetTenantRequest{Name: name})
}

func (c *Client) tenantInfo(ctx context.Context, r *v1.GetTenantRequest) (TenantInfo, error) {
	answer, err := call(ctx, c, reads, c.tenants.GetTenant, r)
	if err != nil {
		return TenantInfo{}, err
	}
	return toInfo(answer.GetTenant())
}

// Tenants describes the tenants that the credential may know of, by id: all
// for an operator, otherwise its own.
func (c *Client) Tenants(ctx context.Context) ([]TenantInfo, error) {
	var all []TenantInfo
	for page := ""; ; {
		answer, err := call(ctx, c, reads, c.tenants.ListTenants, &v1.ListTenantsRequest{PageSize: 1000, PageToken: page})
		if err != nil {
			return nil, err
		}
		for _, t := range answer.GetTenants() {
			info, err := toInfo(t)
			if err != nil {
				return nil, err
			}
			all = append(all, info)
		}
		if page = answer.GetNextPageToken(); page == "" {
			return all, nil
		}
	}
}

// TenantChange changes a tenant at run time; nil fields stay as they are.
type TenantChange struct {
	Name *string
	// Retention can be made longer only.
	Retention *time.Duration
	// The quotas; 0 is unlimited.
	MaxLogSize, MaxProjections, MaxOpsPerSec, MaxConcurrentOps *int64
}

// SetTenant changes a tenant's configuration; it is in force when the call
// returns. It takes an operator.
func (c *Client) SetTenant(ctx context.Context, id TenantID, change TenantChange) (TenantInfo, error) {
	r := &v1.UpdateTenantRequest{
		Id: id.Uint64(), Name: change.Name, MaxLogSize: change.MaxLogSize, MaxProjections: change.MaxProjections,
		MaxOpsPerSec: change.MaxOpsPerSec, MaxConcurrentOps: change.MaxConcurrentOps, IdempotencyKey: keyOf(ctx),
	}
	if change.Retention != nil {
		r.Retention = durationpb.New(*change.Retention)
	}
	answer, err := call(ctx, c, does(ctx), c.tenants.UpdateTenant, r)
	if err != nil {
		return TenantInfo{}, err
	}
	return toInfo(answer.GetTenant())
}

// Info describes the tenant.
func (t *Tenant) Info(ctx context.Context) (TenantInfo, error) { return t.c.TenantInfo(ctx, t.id) }

// Usage is what a tenant uses of its quotas.
type Usage struct {
	LogBytes        int64  // bytes of the tenant's segment files
	LogRecords      uint64 // records in the log
	ProjectionBytes int64  // bytes of the projection's file on disk
	InFlight        int64  // calls that run now
	Admitted        uint64 // calls since the server started
	Refused         uint64 // calls refused by a limit since the server started
}

// Usage returns what the tenant uses of its quotas.
func (t *Tenant) Usage(ctx context.Context) (Usage, error) {
	u, err := call(ctx, t.c, reads, t.c.tenants.GetUsage, &v1.GetUsageRequest{Id: t.id.Uint64()})
	if err != nil {
		return Usage{}, err
	}
	return Usage{
		LogBytes: u.GetLogBytes(), LogRecords: u.GetLogRecords(), ProjectionBytes: u.GetProjectionBytes(),
		InFlight: u.GetInFlight(), Admitted: u.GetAdmitted(), Refused: u.GetRefused(),
	}, nil
}

// VerifyReport is what was found in one tenant's log.
type VerifyReport struct {
	Tenant   TenantID
	Records  uint64
	Bytes    int64
	Segments int
	LastHash [32]byte
	// Signed says that a signed head covers HeadRecords records.
	Signed      bool
	HeadRecords uint64
	// Pending is how many records only the replicated log holds so far.
	Pending  uint64
	Problems []VerifyProblem
}

// VerifyProblem is one thing that is wrong, named by file and byte offset.
type VerifyProblem struct {
	Tenant  TenantID // zero for what is nobody's
	File    string
	Offset  int64
	Record  Offset
	Message string
}

// Verify checks the tenant's chain on the server's disk, up to the last write
// acknowledged before the call. What is wrong is in the report.
func (t *Tenant) Verify(ctx context.Context) (*VerifyReport, error) {
	r, err := call(ctx, t.c, reads, t.c.tenants.Verify, &v1.VerifyRequest{Id: t.id.Uint64()})
	if err != nil {
		return nil, err
	}
	report := &VerifyReport{
		Tenant: t.id, Records: r.GetRecords(), Bytes: r.GetBytes(), Segments: int(r.GetSegments()),
		Signed: r.GetSigned(), HeadRecords: r.GetHeadRecords(), Pending: r.GetPending(),
	}
	copy(report.LastHash[:], r.GetLastHash())
	for _, p := range r.GetProblems() {
		problem := VerifyProblem{File: p.GetFile(), Offset: p.GetByte(), Record: ident.NewOffset(p.GetRecord()), Message: p.GetMessage()}
		if id, err := ident.NewTenantID(p.GetTenant()); err == nil {
			problem.Tenant = id
		}
		report.Problems = append(report.Problems, problem)
	}
	return report, nil
}

// RebuildProjection throws the tenant's tables away and derives them from the
// log again. It takes an operator or the tenant's owner.
func (t *Tenant) RebuildProjection(ctx context.Context) error {
	_, err := call(ctx, t.c, once, t.c.tenants.RebuildProjection, &v1.RebuildProjectionRequest{Id: t.id.Uint64(), IdempotencyKey: keyOf(ctx)})
	return err
}

// Principal is who a credential is.
type Principal struct {
	// Operator says that it is an operator; the fields after Name are then not
	// set.
	Operator   bool
	Name       string
	Tenant     TenantID
	TenantName string
	Role       Role
}

// WhoAmI says who the client's credential is.
func (c *Client) WhoAmI(ctx context.Context) (Principal, error) {
	r, err := call(ctx, c, reads, c.server.WhoAmI, &v1.WhoAmIRequest{})
	if err != nil {
		return Principal{}, err
	}
	p := Principal{Operator: r.GetOperator(), Name: r.GetName(), TenantName: r.GetTenantName(), Role: fromRole(r.GetRole())}
	if id, err := ident.NewTenantID(r.GetTenant()); err == nil {
		p.Tenant = id
	}
	return p, nil
}

// Version returns the server's version.
func (c *Client) Version(ctx context.Context) (string, error) {
	r, err := call(ctx, c, reads, c.server.GetVersion, &v1.GetVersionRequest{})
	return r.GetVersion(), err
}

// Health sums up how a server is.
type Health struct {
	Serving bool
	// Problem says why it does not serve, or "".
	Problem                            string
	Uptime                             time.Duration
	Tenants, OpenTenants, Transactions int64
}

// Health sums up how the server is. It takes an operator.
func (c *Client) Health(ctx context.Context) (Health, error) {
	r, err := call(ctx, c, reads, c.server.GetHealth, &v1.GetHealthRequest{})
	if err != nil {
		return Health{}, err
	}
	return Health{
		Serving: r.GetServing(), Problem: r.GetProblem(), Uptime: r.GetUptime().AsDuration(),
		Tenants: r.GetTenants(), OpenTenants: r.GetOpenTenants(), Transactions: r.GetTransactions(),
	}, nil
}
