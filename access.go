package kimberlite

import (
	"context"
	"time"

	"kimberlite/internal/access"
	"kimberlite/internal/credential"
	"kimberlite/internal/fault"
	"kimberlite/internal/tenant"
)

// Role says what a credential may do.
type Role string

// The roles. An owner does everything within its tenant; a writer reads and
// changes rows and appends events; a reader reads; an auditor reads the audit
// trail and the catalogs, and no row.
const (
	RoleOwner   Role = "owner"
	RoleWriter  Role = "writer"
	RoleReader  Role = "reader"
	RoleAuditor Role = "auditor"
)

// CredentialConfig is what a credential is created with.
type CredentialConfig struct {
	Tenant TenantID
	// Name is the principal's: 1 to 63 letters, digits, dots, dashes and
	// underscores. With the tenant it is the user name app@hospital-a.
	Name string
	Role Role
	// Expires is when the credential ends by itself; zero is never.
	Expires time.Time
}

// CredentialInfo describes a credential. Nobody can get its secret back.
type CredentialInfo struct {
	// Tenant and Role are zero for an operator's credential.
	Tenant TenantID
	ID     uint64
	Name   string
	Role   Role
	// State is "active", "expired" or "revoked".
	State string
	// Expires and Revoked are zero for never.
	Created, Expires, Revoked time.Time
}

func credentialInfo(i access.Info) CredentialInfo {
	return CredentialInfo{
		Tenant: i.Tenant, ID: i.ID, Name: i.Name, Role: Role(i.Role.String()), State: i.State.String(),
		Created: i.Created, Expires: i.Expires, Revoked: i.Revoked,
	}
}

// authority returns what sees to credentials, made when it is first needed.
func (db *DB) authority() (*access.Authority, error) {
	db.accessMu.Lock()
	defer db.accessMu.Unlock()
	if db.access == nil {
		a, err := access.New(access.Config{Node: db.node})
		if err != nil {
			return nil, err
		}
		db.access = a
	}
	return db.access, nil
}

// CreateCredential makes a credential that clients of a server log in with,
// and returns its secret: the password of the PostgreSQL protocol and the
// bearer token of the RPC door. It is shown this once and kept nowhere.
// AlreadyExists says that the tenant has an active credential of the name.
func (db *DB) CreateCredential(ctx context.Context, c CredentialConfig) (secret string, info CredentialInfo, err error) {
	role, err := credential.ParseRole(string(c.Role))
	if err != nil {
		return "", CredentialInfo{}, err
	}
	a, err := db.authority()
	if err != nil {
		return "", CredentialInfo{}, err
	}
	secret, made, err := a.Create(ctx, c.Tenant, c.Name, role, c.Expires)
	if err != nil {
		return "", CredentialInfo{}, err
	}
	return secret, credentialInfo(made), nil
}

// Credentials describes a tenant's credentials by id, revoked ones included.
func (db *DB) Credentials(ctx context.Context, id TenantID) ([]CredentialInfo, error) {
	a, err := db.authority()
	if err != nil {
		return nil, err
	}
	infos, err := a.List(ctx, id)
	return credentialInfos(infos), err
}

func credentialInfos(infos []access.Info) []CredentialInfo {
	all := make([]CredentialInfo, len(infos))
	for i := range infos {
		all[i] = credentialInfo(infos[i])
	}
	return all
}

// RevokeCredential ends a tenant's credential for good. NotFound says that
// there is none of the name, or that it was revoked already.
func (db *DB) RevokeCredential(ctx context.Context, id TenantID, name string) error {
	a, err := db.authority()
	if err != nil {
		return err
	}
	return a.Revoke(ctx, id, name)
}

// CreateOperator makes the credential of an operator, who manages the
// deployment and opens no tenant's data, and returns its secret: the bearer
// token of the RPC door. It is shown this once and kept nowhere.
func (db *DB) CreateOperator(ctx context.Context, name string) (secret string, info CredentialInfo, err error) {
	a, err := db.authority()
	if err != nil {
		return "", CredentialInfo{}, err
	}
	if secret, err = a.CreateOperator(ctx, name); err != nil {
		return "", CredentialInfo{}, err
	}
	operators := a.ListOperators()
	return secret, credentialInfo(operators[len(operators)-1]), nil
}

// Operators describes the operators' credentials by id, revoked ones included.
func (db *DB) Operators() ([]CredentialInfo, error) {
	a, err := db.authority()
	if err != nil {
		return nil, err
	}
	return credentialInfos(a.ListOperators()), nil
}

// RevokeOperator ends an operator's credential for good.
func (db *DB) RevokeOperator(ctx context.Context, name string) error {
	a, err := db.authority()
	if err != nil {
		return err
	}
	return a.RevokeOperator(ctx, name)
}

// AuditEntry is an entry of a tenant's audit trail: who did what, when, from
// where, and what came of it. It holds no row and no text of a statement.
type AuditEntry struct {
	// Offset is the entry's place in the trail, LogOffset the place in the
	// tenant's log of the record that holds it.
	Offset, LogOffset Offset
	Time              time.Time
	// Principal is a credential's or an operator's name, "embedded" for the
	// program that embeds the database, "system" for the database itself, and
	// "" for one who proved nothing.
	Principal string
	// Role is the principal's, Remote the address that it came from.
	Role, Remote string
	// Action is what was done, such as "login" or "schema.change", Object to
	// what, and Outcome "ok" or "refused".
	Action, Object, Outcome string
	// Detail has more, by fixed names.
	Detail map[string]any
}

func auditEntry(e *tenant.AuditEntry) AuditEntry {
	return AuditEntry{
		Offset: e.Offset, LogOffset: e.LogOffset, Time: e.Time, Principal: e.Principal, Role: e.Role, Remote: e.Remote,
		Action: e.Action, Object: e.Object, Outcome: e.Outcome, Detail: e.Detail,
	}
}

// Audit returns entries of the tenant's audit trail from an offset on, at most
// limit of them (0 = all there are), and the offset after the last one. The
// trail is part of the tenant's own chain. In SQL it is kimberlite.audit.
func (t *Tenant) Audit(ctx context.Context, from Offset, limit int) ([]AuditEntry, Offset, error) {
	if limit < 0 {
		return nil, from, fault.New("audit", Invalid, "a limit is not negative: 0 is all").ForTenant(t.ID())
	}
	var all []AuditEntry
	next, err := t.t.Audit(ctx, from, limit, func(e *tenant.AuditEntry) error {
		all = append(all, auditEntry(e))
		return nil
	})
	return all, next, err
}

// TailAudit gives fn the entries from an offset on, and then each new one once
// it is durable, until ctx ends or fn returns an error, which it returns.
func (t *Tenant) TailAudit(ctx context.Context, from Offset, fn func(AuditEntry) error) error {
	return t.t.TailAudit(ctx, from, func(e *tenant.AuditEntry) error { return fn(auditEntry(e)) })
}
