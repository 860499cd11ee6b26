package main

import (
	"context"
	"time"

	"kimberlite"
)

// embedded is a data directory that this process has open.
type embedded struct{ db *kimberlite.DB }

func (e embedded) handle(t *kimberlite.Tenant, err error) (tenantHandle, error) {
	if err != nil {
		return nil, err
	}
	return embeddedTenant{t, e.db}, nil
}

func (e embedded) byID(_ context.Context, id kimberlite.TenantID) (tenantHandle, error) {
	return e.handle(e.db.Tenant(id))
}

func (e embedded) byName(_ context.Context, name string) (tenantHandle, error) {
	return e.handle(e.db.TenantByName(name))
}

func (e embedded) createTenant(ctx context.Context, c kimberlite.TenantConfig) (kimberlite.TenantInfo, error) {
	t, err := e.db.CreateTenant(ctx, c)
	if err != nil {
		return kimberlite.TenantInfo{}, err
	}
	return t.Info()
}

func (e embedded) tenants(context.Context) ([]kimberlite.TenantInfo, error) {
	return e.db.Tenants(), nil
}

func (e embedded) setTenant(ctx context.Context, id kimberlite.TenantID, c tenantChange) (kimberlite.TenantInfo, error) {
	info, err := e.db.TenantInfo(id)
	if err != nil {
		return info, err
	}
	limits := c.limits.change(info.Quota)
	err = e.db.SetTenant(ctx, id, kimberlite.TenantChange{Name: c.name, Retention: c.retention, Quota: &limits})
	if err != nil {
		return info, err
	}
	return e.db.TenantInfo(id)
}

// embeddedTenant is a tenant of a data directory.
type embeddedTenant struct {
	*kimberlite.Tenant
	db *kimberlite.DB
}

func (t embeddedTenant) info(context.Context) (kimberlite.TenantInfo, error) { return t.Info() }

func (t embeddedTenant) usage(context.Context) (kimberlite.Usage, error) { return t.Usage() }

func (t embeddedTenant) keyStatus(context.Context) (kimberlite.KeyStatus, error) {
	return t.KeyStatus()
}

func (t embeddedTenant) query(ctx context.Context, sql string, args ...any) (resultRows, error) {
	return asRows(t.Query(ctx, sql, args...))
}

func (t embeddedTenant) begin(ctx context.Context) (sqlTransaction, error) {
	x, err := t.Begin(ctx)
	if err != nil {
		return nil, err
	}
	return embeddedTx{x}, nil
}

// embeddedTx is a transaction in a data directory.
type embeddedTx struct{ *kimberlite.Tx }

func (x embeddedTx) query(ctx context.Context, sql string, args ...any) (resultRows, error) {
	return asRows(x.Query(ctx, sql, args...))
}

// asRows keeps rows that are nil from becoming an interface that is not.
func asRows(rows *kimberlite.Rows, err error) (resultRows, error) {
	if err != nil {
		return nil, err
	}
	return rows, nil
}

func (e embedded) createOperator(ctx context.Context, name string) (string, kimberlite.CredentialInfo, error) {
	return e.db.CreateOperator(ctx, name)
}

func (e embedded) operators(context.Context) ([]kimberlite.CredentialInfo, error) {
	return e.db.Operators()
}

func (e embedded) revokeOperator(ctx context.Context, name string) error {
	return e.db.RevokeOperator(ctx, name)
}

func (t embeddedTenant) createCredential(ctx context.Context, name string, role kimberlite.Role, expires time.Time) (string, kimberlite.CredentialInfo, error) {
	return t.db.CreateCredential(ctx, kimberlite.CredentialConfig{Tenant: t.ID(), Name: name, Role: role, Expires: expires})
}

func (t embeddedTenant) credentials(ctx context.Context) ([]kimberlite.CredentialInfo, error) {
	return t.db.Credentials(ctx, t.ID())
}

func (t embeddedTenant) revokeCredential(ctx context.Context, name string) error {
	return t.db.RevokeCredential(ctx, t.ID(), name)
}

func (t embeddedTenant) readAudit(ctx context.Context, from kimberlite.Offset, limit int) ([]kimberlite.AuditEntry, kimberlite.Offset, error) {
	return t.Audit(ctx, from, limit)
}

func (t embeddedTenant) tailAudit(ctx context.Context, from kimberlite.Offset, fn func(kimberlite.AuditEntry) error) error {
	return t.TailAudit(ctx, from, fn)
}
