package rpc

import (
	"context"
	"net/http"
	"strings"

	"connectrpc.com/connect"

	"kimberlite/internal/access"
	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/projection"
	"kimberlite/internal/tenant"
)

// gate proves the caller before anything of the request's body is read.
func (d *door) gate(ctx context.Context, spec connect.Spec, _ connect.Peer, header http.Header) (context.Context, error) {
	c := callOf(ctx)
	c.method, c.free = spec.Procedure, spec.IdempotencyLevel == connect.IdempotencyNoSideEffects
	session, err := d.login(ctx, c, header.Get("Authorization"))
	if err != nil {
		return nil, d.failure(ctx, c, err)
	}
	c.session = session
	if err := mayCall(session.Principal(), spec.Procedure); err != nil {
		return nil, d.failure(ctx, c, err)
	}
	ctx, c.cancel = context.WithCancelCause(ctx)
	// It ends with the call, which withCall cancels in any case.
	go func() {
		select {
		case <-session.Done():
			c.cancel(session.Err())
		case <-ctx.Done():
		}
	}()
	return ctx, nil
}

func (d *door) login(ctx context.Context, c *call, header string) (*access.Session, error) {
	scheme, token, _ := strings.Cut(header, " ")
	token = strings.TrimSpace(token)
	if !strings.EqualFold(scheme, "Bearer") || token == "" {
		return nil, fault.New("login", fault.Unauthenticated, "a credential is missing: send the header Authorization: Bearer with its secret")
	}
	session, err := d.authority.Token(ctx, token, c.remote)
	if d.observer != nil && !fault.Is(err, fault.Misrouted) { // that is no refusal
		whose := ident.TenantID{}
		if err == nil {
			whose = session.Principal().Tenant
		}
		d.observer.Login(whose, err)
	}
	return session, err
}

// errOther is the one answer to who names another tenant than its own, be it
// there or not.
func errOther(p access.Principal) error {
	return fault.New("rpc", fault.Denied, "the credential is of tenant %s and acts for no other", p.Tenant).ForTenant(p.Tenant)
}

// own returns the caller's tenant, as a handle with the rights of its role.
// requested is the tenant that the request names, or 0.
func (d *door) own(ctx context.Context, requested uint64) (*tenant.Tenant, error) {
	s := callOf(ctx).session
	p := s.Principal()
	if p.Operator || p.Tenant.IsZero() {
		return nil, mayNotRead()
	}
	if requested != 0 && requested != p.Tenant.Uint64() {
		return nil, errOther(p)
	}
	return s.Tenant()
}

func mayNotRead() error {
	return fault.New("rpc", fault.Denied, "an operator neither reads nor writes tenants' data")
}

// administered returns the tenant that a request of administration is about:
// any for an operator, its own for a tenant's principal.
func (d *door) administered(ctx context.Context, requested uint64) (ident.TenantID, error) {
	p := callOf(ctx).session.Principal()
	switch {
	case !p.Operator && requested != 0 && requested != p.Tenant.Uint64():
		return ident.TenantID{}, errOther(p)
	case !p.Operator:
		return p.Tenant, nil
	case requested == 0:
		return ident.TenantID{}, fault.New("rpc", fault.Invalid, "the request names no tenant, and an operator has none of its own")
	}
	return ident.NewTenantID(requested)
}

// managed is what administration does with one tenant; it reads no row.
type managed interface {
	ID() ident.TenantID
	Rebuild(ctx context.Context) error
	RotateDEK(ctx context.Context) error
	RotateKEK(ctx context.Context) error
	Audit(ctx context.Context, from ident.Offset, limit int, fn func(*tenant.AuditEntry) error) (ident.Offset, error)
	TailAudit(ctx context.Context, from ident.Offset, fn func(*tenant.AuditEntry) error) error
}

// handle returns the tenant that a request of administration is about, so
// that what is done with it is noted as the caller's.
func (d *door) handle(ctx context.Context, requested uint64) (managed, error) {
	id, err := d.administered(ctx, requested)
	if err != nil {
		return nil, err
	}
	c := callOf(ctx)
	if p := c.session.Principal(); p.Operator {
		t, err := d.node.Tenant(id)
		if err != nil {
			return nil, err
		}
		return t.As(operator(p, c)), nil
	}
	return c.session.Tenant()
}

// operator is an operator as the audit trail has it.
func operator(p access.Principal, c *call) tenant.Actor {
	return tenant.Actor{Name: p.Name, Operator: true, Access: projection.AccessOwner, Remote: c.remote.String()}
}
