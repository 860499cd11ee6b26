package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"kimberlite"
	"kimberlite/client"
	"kimberlite/internal/fault"
)

// remote is a server that is called over its RPC door.
type remote struct{ c *client.Client }

// dial makes a client of a server. It repeats nothing, as a data directory's
// verbs do not either: who runs a verb decides what to do about a refusal.
func dial(on target) (*client.Client, error) {
	if on.token == "" {
		return nil, fault.New("", fault.Unauthenticated, "a credential is missing for %s: give --token, set %s, or save it with context add", on.server, envToken)
	}
	return client.New(client.Config{URL: on.server, Token: on.token, CAFile: on.ca, Retries: -1})
}

// withServer gives a server to fn. An error of the connection says which
// context named the server, for those who did not name one.
func withServer(on target, fn func(b backend) error) error {
	c, err := dial(on)
	if err == nil {
		defer c.Close()
		err = fn(remote{c})
	}
	var e *fault.Error
	if on.from != "" && errors.As(err, &e) && e.Op == "connect" {
		return alsoSay(err, fmt.Sprintf("the server is %s, of the context %s; --data DIR acts on a directory", on.server, on.from))
	}
	return err
}

func (r remote) byID(ctx context.Context, id kimberlite.TenantID) (tenantHandle, error) {
	// As in a data directory, a tenant that is not there is said so at once.
	if _, err := r.c.TenantInfo(ctx, id); err != nil {
		return nil, err
	}
	return remoteTenant{r.c.Tenant(id)}, nil
}

func (r remote) byName(ctx context.Context, name string) (tenantHandle, error) {
	info, err := r.c.TenantByName(ctx, name)
	if err != nil {
		return nil, err
	}
	return remoteTenant{r.c.Tenant(info.ID)}, nil
}

func (r remote) createTenant(ctx context.Context, c kimberlite.TenantConfig) (kimberlite.TenantInfo, error) {
	info, err := r.c.CreateTenant(ctx, client.TenantConfig{
		ID: c.ID, Name: c.Name, Region: c.Region, Retention: c.Retention, Quota: client.Limits(c.Quota),
	})
	return localInfo(info), err
}

func localInfo(i client.TenantInfo) kimberlite.TenantInfo {
	return kimberlite.TenantInfo{
		ID: i.ID, Name: i.Name, Region: i.Region, Shard: i.Shard, Retention: i.Retention, Quota: kimberlite.Limits(i.Quota),
		Created: i.Created, LogRecords: i.LogRecords, LogBytes: i.LogBytes, LastHash: i.LastHash,
	}
}

func (r remote) tenants(ctx context.Context) ([]kimberlite.TenantInfo, error) {
	all, err := r.c.Tenants(ctx)
	infos := make([]kimberlite.TenantInfo, len(all))
	for i, t := range all {
		infos[i] = localInfo(t)
	}
	return infos, err
}

func (r remote) setTenant(ctx context.Context, id kimberlite.TenantID, c tenantChange) (kimberlite.TenantInfo, error) {
	l := c.limits
	info, err := r.c.SetTenant(ctx, id, client.TenantChange{
		Name: c.name, Retention: c.retention, MaxLogSize: l.maxLogSize, MaxProjections: l.maxProjections,
		MaxOpsPerSec: l.maxOpsPerSec, MaxConcurrentOps: l.maxConcurrentOps,
	})
	return localInfo(info), err
}

func (r remote) createOperator(ctx context.Context, name string) (string, kimberlite.CredentialInfo, error) {
	secret, info, err := r.c.CreateOperator(ctx, name)
	return secret, localCredential(info), err
}

func (r remote) operators(ctx context.Context) ([]kimberlite.CredentialInfo, error) {
	all, err := r.c.Operators(ctx)
	return localCredentials(all), err
}

func (r remote) revokeOperator(ctx context.Context, name string) error {
	return r.c.RevokeOperator(ctx, name)
}

func localCredential(c client.Credential) kimberlite.CredentialInfo {
	return kimberlite.CredentialInfo{
		Tenant: c.Tenant, ID: c.ID, Name: c.Name, Role: kimberlite.Role(c.Role), State: c.State,
		Created: c.Created, Expires: c.Expires, Revoked: c.Revoked,
	}
}

func localCredentials(all []client.Credential) []kimberlite.CredentialInfo {
	out := make([]kimberlite.CredentialInfo, len(all))
	for i, c := range all {
		out[i] = localCredential(c)
	}
	return out
}

// remoteTenant is a tenant of a server.
type remoteTenant struct{ t *client.Tenant }

// ID returns the tenant's id.
func (r remoteTenant) ID() kimberlite.TenantID { return r.t.ID() }

func (r remoteTenant) info(ctx context.Context) (kimberlite.TenantInfo, error) {
	info, err := r.t.Info(ctx)
	return localInfo(info), err
}

func (r remoteTenant) usage(ctx context.Context) (kimberlite.Usage, error) {
	u, err := r.t.Usage(ctx)
	return kimberlite.Usage(u), err
}

// Verify checks the tenant's chain on the server.
func (r remoteTenant) Verify(ctx context.Context) (*kimberlite.VerifyTenantReport, error) {
	v, err := r.t.Verify(ctx)
	if err != nil {
		return nil, err
	}
	report := &kimberlite.VerifyTenantReport{
		Tenant: v.Tenant, Records: v.Records, Bytes: v.Bytes, Segments: v.Segments, LastHash: v.LastHash,
		Signed: v.Signed, HeadRecords: v.HeadRecords, Pending: v.Pending,
	}
	for _, p := range v.Problems {
		report.Problems = append(report.Problems, kimberlite.VerifyProblem(p))
	}
	return report, nil
}

func (r remoteTenant) keyStatus(ctx context.Context) (kimberlite.KeyStatus, error) {
	k, err := r.t.KeyStatus(ctx)
	status := kimberlite.KeyStatus{KEK: k.KEK, DEK: k.DEK, PublicKey: k.PublicKey}
	for _, d := range k.DEKs {
		status.DEKs = append(status.DEKs, kimberlite.DEKStatus(d))
	}
	return status, err
}

// RotateKey makes a new key at a level.
func (r remoteTenant) RotateKey(ctx context.Context, level kimberlite.KeyLevel) error {
	return r.t.RotateKey(ctx, client.KeyLevel(level))
}

// CreateStream makes an event stream.
func (r remoteTenant) CreateStream(ctx context.Context, name string) (kimberlite.StreamInfo, error) {
	info, err := r.t.CreateStream(ctx, name)
	return kimberlite.StreamInfo(info), err
}

// Streams describes the tenant's streams.
func (r remoteTenant) Streams(ctx context.Context) ([]kimberlite.StreamInfo, error) {
	all, err := r.t.Streams(ctx)
	infos := make([]kimberlite.StreamInfo, len(all))
	for i, s := range all {
		infos[i] = kimberlite.StreamInfo(s)
	}
	return infos, err
}

// Append appends messages to an event stream.
func (r remoteTenant) Append(ctx context.Context, stream string, messages ...kimberlite.Message) (kimberlite.Offset, error) {
	sent := make([]client.Message, len(messages))
	for i, m := range messages {
		sent[i] = client.Message(m)
	}
	return r.t.Append(ctx, stream, sent...)
}

// Read returns events of a stream.
func (r remoteTenant) Read(ctx context.Context, stream string, from kimberlite.Offset, limit int) ([]kimberlite.Event, kimberlite.Offset, error) {
	read, next, err := r.t.Read(ctx, stream, from, limit)
	events := make([]kimberlite.Event, len(read))
	for i := range read {
		events[i] = localEvent(&read[i])
	}
	return events, next, err
}

func localEvent(e *client.Event) kimberlite.Event {
	return kimberlite.Event{
		Stream: e.Stream, Offset: e.Offset, LogOffset: e.LogOffset, Time: e.Time, Kind: e.Kind,
		Before: localFields(e.Before), After: localFields(e.After), ContentType: e.ContentType, Data: e.Data,
	}
}

// localFields keeps nil apart from a row without columns.
func localFields(fields []client.Field) []kimberlite.Field {
	if fields == nil {
		return nil
	}
	out := make([]kimberlite.Field, len(fields))
	for i, f := range fields {
		out[i] = kimberlite.Field(f)
	}
	return out
}

// Tail follows a stream.
func (r remoteTenant) Tail(ctx context.Context, stream string, from kimberlite.Offset, fn func(kimberlite.Event) error) error {
	return r.t.Tail(ctx, stream, from, func(e client.Event) error { return fn(localEvent(&e)) })
}

func (r remoteTenant) createCredential(ctx context.Context, name string, role kimberlite.Role, expires time.Time) (string, kimberlite.CredentialInfo, error) {
	secret, info, err := r.t.CreateCredential(ctx, name, client.Role(role), expires)
	return secret, localCredential(info), err
}

func (r remoteTenant) credentials(ctx context.Context) ([]kimberlite.CredentialInfo, error) {
	all, err := r.t.Credentials(ctx)
	return localCredentials(all), err
}

func (r remoteTenant) revokeCredential(ctx context.Context, name string) error {
	return r.t.RevokeCredential(ctx, name)
}

func localEntry(e *client.AuditEntry) kimberlite.AuditEntry {
	return kimberlite.AuditEntry{
		Offset: e.Offset, LogOffset: e.LogOffset, Time: e.Time, Principal: e.Principal, Role: e.Role, Remote: e.Remote,
		Action: e.Action, Object: e.Object, Outcome: e.Outcome, Detail: e.Detail,
	}
}

func (r remoteTenant) readAudit(ctx context.Context, from kimberlite.Offset, limit int) ([]kimberlite.AuditEntry, kimberlite.Offset, error) {
	read, next, err := r.t.Audit(ctx, from, limit)
	entries := make([]kimberlite.AuditEntry, len(read))
	for i := range read {
		entries[i] = localEntry(&read[i])
	}
	return entries, next, err
}

func (r remoteTenant) tailAudit(ctx context.Context, from kimberlite.Offset, fn func(kimberlite.AuditEntry) error) error {
	return r.t.TailAudit(ctx, from, func(e client.AuditEntry) error { return fn(localEntry(&e)) })
}

// Exec runs SQL.
func (r remoteTenant) Exec(ctx context.Context, sql string, args ...any) (kimberlite.Result, error) {
	result, err := r.t.Exec(ctx, sql, args...)
	return kimberlite.Result(result), err
}

// ExecBatch runs one statement with many sets of arguments.
func (r remoteTenant) ExecBatch(ctx context.Context, sql string, rows [][]any) (kimberlite.Result, error) {
	result, err := r.t.ExecBatch(ctx, sql, rows)
	return kimberlite.Result(result), err
}

func (r remoteTenant) query(ctx context.Context, sql string, args ...any) (resultRows, error) {
	return asResult(r.t.Query(ctx, sql, args...))
}

// asResult keeps rows that are nil from becoming an interface that is not.
func asResult(rows *client.Rows, err error) (resultRows, error) {
	if err != nil {
		return nil, err
	}
	return rows, nil
}

func (r remoteTenant) begin(ctx context.Context) (sqlTransaction, error) {
	x, err := r.t.Begin(ctx)
	if err != nil {
		return nil, err
	}
	return remoteTx{x}, nil
}

// remoteTx is a transaction on a server.
type remoteTx struct{ x *client.Tx }

// Exec runs SQL in the transaction.
func (r remoteTx) Exec(ctx context.Context, sql string, args ...any) (kimberlite.Result, error) {
	result, err := r.x.Exec(ctx, sql, args...)
	return kimberlite.Result(result), err
}

func (r remoteTx) query(ctx context.Context, sql string, args ...any) (resultRows, error) {
	return asResult(r.x.Query(ctx, sql, args...))
}

// Commit makes the transaction durable.
func (r remoteTx) Commit(ctx context.Context) (kimberlite.Result, error) {
	result, err := r.x.Commit(ctx)
	return kimberlite.Result(result), err
}

// Rollback undoes the transaction.
func (r remoteTx) Rollback() error { return r.x.Rollback() }
