package client

import (
	"context"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	v1 "kimberlite/gen/kimberlite/v1"
	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
)

// KeyLevel is a level of a tenant's key hierarchy.
type KeyLevel string

// The levels. The master key wraps the KEK, which wraps the DEKs.
const (
	LevelDEK KeyLevel = "dek"
	LevelKEK KeyLevel = "kek"
)

// KeyStatus describes a tenant's keys; it holds no key.
type KeyStatus struct {
	// KEK and DEK are the generations in force.
	KEK, DEK KeyGeneration
	// DEKs are all generations, oldest first; the last seals.
	DEKs []DEKStatus
	// PublicKey is the Ed25519 key that the heads of the tenant's chain are
	// signed with.
	PublicKey []byte
}

// DEKStatus describes one DEK generation.
type DEKStatus struct {
	Generation KeyGeneration
	Created    time.Time
}

// KeyStatus describes the tenant's keys. It takes an operator or the owner.
func (t *Tenant) KeyStatus(ctx context.Context) (KeyStatus, error) {
	answer, err := call(ctx, t.c, reads, t.c.keys.GetKeyStatus, &v1.GetKeyStatusRequest{Tenant: t.id.Uint64()})
	if err != nil {
		return KeyStatus{}, err
	}
	k := answer.GetKeys()
	status := KeyStatus{
		KEK: ident.NewKeyGeneration(k.GetKekGeneration()), DEK: ident.NewKeyGeneration(k.GetDekGeneration()), PublicKey: k.GetPublicKey(),
	}
	for _, d := range k.GetDeks() {
		status.DEKs = append(status.DEKs, DEKStatus{ident.NewKeyGeneration(d.GetGeneration()), d.GetCreated().AsTime()})
	}
	return status, nil
}

// RotateKey makes a new key at a level, without downtime. It takes an operator
// or the owner.
func (t *Tenant) RotateKey(ctx context.Context, level KeyLevel) error {
	r := &v1.RotateKeyRequest{Tenant: t.id.Uint64(), IdempotencyKey: keyOf(ctx)}
	switch level {
	case LevelDEK:
		r.Level = v1.KeyLevel_KEY_LEVEL_DEK
	case LevelKEK:
		r.Level = v1.KeyLevel_KEY_LEVEL_KEK
	default:
		return fault.New("key rotate", fault.Invalid, "level %q: want dek or kek", level)
	}
	_, err := call(ctx, t.c, does(ctx), t.c.keys.RotateKey, r)
	return err
}

// Role says what a tenant's credential may do.
type Role string

// The roles.
const (
	Owner   Role = "owner"   // all of the tenant
	Writer  Role = "writer"  // rows and messages, read and written
	Reader  Role = "reader"  // rows and events, read
	Auditor Role = "auditor" // the audit trail, and no row
)

var roles = map[Role]v1.Role{
	Owner: v1.Role_ROLE_OWNER, Writer: v1.Role_ROLE_WRITER, Reader: v1.Role_ROLE_READER, Auditor: v1.Role_ROLE_AUDITOR,
}

func fromRole(r v1.Role) Role {
	for role, message := range roles {
		if message == r {
			return role
		}
	}
	return ""
}

// Credential describes a credential; it holds no secret.
type Credential struct {
	// Tenant is zero for an operator's, which has no role.
	Tenant TenantID
	ID     uint64
	Name   string
	Role   Role
	// State is active, expired or revoked.
	State   string
	Created time.Time
	// Expires and Revoked are zero for never.
	Expires, Revoked time.Time
}

func toCredential(c *v1.Credential) Credential {
	out := Credential{
		ID: c.GetId(), Name: c.GetName(), Role: fromRole(c.GetRole()), State: c.GetState(),
		Created: c.GetCreated().AsTime(), Expires: timeOf(c.GetExpires()), Revoked: timeOf(c.GetRevoked()),
	}
	if id, err := ident.NewTenantID(c.GetTenant()); err == nil {
		out.Tenant = id
	}
	return out
}

func timeOf(t *timestamppb.Timestamp) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.AsTime()
}

func ofTime(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

// CreateCredential makes a credential and returns its secret, which cannot be
// had again. expires is zero for never. It takes an operator or the owner.
func (t *Tenant) CreateCredential(ctx context.Context, name string, role Role, expires time.Time) (secret string, c Credential, err error) {
	message, ok := roles[role]
	if !ok {
		return "", Credential{}, fault.New("credential create", fault.Invalid, "a role is owner, writer, reader or auditor")
	}
	answer, err := call(ctx, t.c, does(ctx), t.c.credentials.CreateCredential, &v1.CreateCredentialRequest{
		Tenant: t.id.Uint64(), Name: name, Role: message, Expires: ofTime(expires), IdempotencyKey: keyOf(ctx),
	})
	if err != nil {
		return "", Credential{}, err
	}
	return answer.GetSecret(), toCredential(answer.GetCredential()), nil
}

// Credentials describes the tenant's credentials, by id.
func (t *Tenant) Credentials(ctx context.Context) ([]Credential, error) {
	answer, err := call(ctx, t.c, reads, t.c.credentials.ListCredentials, &v1.ListCredentialsRequest{Tenant: t.id.Uint64()})
	if err != nil {
		return nil, err
	}
	return toCredentials(answer.GetCredentials()), nil
}

func toCredentials(all []*v1.Credential) []Credential {
	out := make([]Credential, len(all))
	for i, c := range all {
		out[i] = toCredential(c)
	}
	return out
}

// RevokeCredential ends a credential and every session of it at once.
func (t *Tenant) RevokeCredential(ctx context.Context, name string) error {
	_, err := call(ctx, t.c, does(ctx), t.c.credentials.RevokeCredential, &v1.RevokeCredentialRequest{
		Tenant: t.id.Uint64(), Name: name, IdempotencyKey: keyOf(ctx),
	})
	return err
}

// CreateOperator makes an operator's credential and returns its secret, which
// cannot be had again. It takes an operator, as the next two do.
func (c *Client) CreateOperator(ctx context.Context, name string) (secret string, op Credential, err error) {
	answer, err := call(ctx, c, does(ctx), c.credentials.CreateOperator, &v1.CreateOperatorRequest{Name: name, IdempotencyKey: keyOf(ctx)})
	if err != nil {
		return "", Credential{}, err
	}
	return answer.GetSecret(), toCredential(answer.GetCredential()), nil
}

// Operators describes the operators, by id.
func (c *Client) Operators(ctx context.Context) ([]Credential, error) {
	answer, err := call(ctx, c, reads, c.credentials.ListOperators, &v1.ListOperatorsRequest{})
	if err != nil {
		return nil, err
	}
	return toCredentials(answer.GetOperators()), nil
}

// RevokeOperator ends an operator's credential and its sessions.
func (c *Client) RevokeOperator(ctx context.Context, name string) error {
	_, err := call(ctx, c, does(ctx), c.credentials.RevokeOperator, &v1.RevokeOperatorRequest{Name: name, IdempotencyKey: keyOf(ctx)})
	return err
}

// AuditEntry is one thing that happened, of a tenant's audit trail.
type AuditEntry struct {
	// Offset is the entry's place in the trail, LogOffset that of its record in
	// the tenant's log.
	Offset, LogOffset Offset
	Time              time.Time
	// Principal is who acted, with its role and the address that it came from.
	Principal, Role, Remote string
	// Action is what was done, to Object; Outcome is ok or refused.
	Action, Object, Outcome string
	Detail                  map[string]any
}

func toEntry(e *v1.AuditEntry) AuditEntry {
	return AuditEntry{
		Offset: ident.NewOffset(e.GetOffset()), LogOffset: ident.NewOffset(e.GetLogOffset()), Time: e.GetTime().AsTime(),
		Principal: e.GetPrincipal(), Role: e.GetRole(), Remote: e.GetRemote(),
		Action: e.GetAction(), Object: e.GetObject(), Outcome: e.GetOutcome(), Detail: e.GetDetail().AsMap(),
	}
}

// Audit returns up to limit entries of the tenant's audit trail from an offset
// on (0 = all that are there now), and the offset to read on from. It takes an
// operator, the owner or an auditor.
func (t *Tenant) Audit(ctx context.Context, from Offset, limit int) ([]AuditEntry, Offset, error) {
	var entries []AuditEntry
	for {
		step := readStep
		if limit > 0 {
			step = min(step, limit-len(entries))
		}
		answer, err := call(ctx, t.c, reads, t.c.audit.ListEntries, &v1.ListEntriesRequest{
			Tenant: t.id.Uint64(), From: from.Uint64(), Limit: int32(step), //nolint:gosec // at most readStep
		})
		if err != nil {
			return entries, from, err
		}
		for _, e := range answer.GetEntries() {
			entries = append(entries, toEntry(e))
		}
		from = ident.NewOffset(answer.GetNext())
		if answer.GetEnd() || (limit > 0 && len(entries) >= limit) {
			return entries, from, nil
		}
	}
}

// TailAudit gives fn the entries from an offset on, and each new one, until
// ctx ends, the credential is revoked, or fn returns an error, which it
// returns.
func (t *Tenant) TailAudit(ctx context.Context, from Offset, fn func(AuditEntry) error) error {
	return t.c.follow(ctx, func(streaming context.Context) (progress bool, err error) {
		s, err := t.c.audit.TailEntries(streaming, &v1.TailEntriesRequest{Tenant: t.id.Uint64(), From: from.Uint64()})
		if err != nil {
			return false, err
		}
		defer s.Close() //nolint:errcheck // it says that it was canceled
		for s.Receive() {
			for _, e := range s.Msg().GetEntries() {
				entry := toEntry(e)
				if err := fn(entry); err != nil {
					return progress, &stopped{err}
				}
				from, progress = entry.Offset.Next(), true
			}
		}
		return progress, s.Err()
	})
}
