package rpc

import (
	"context"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	v1 "kimberlite/gen/kimberlite/v1"
	"kimberlite/internal/access"
	"kimberlite/internal/credential"
	"kimberlite/internal/fault"
)

type credentialService struct{ *door }

var roles = map[v1.Role]credential.Role{
	v1.Role_ROLE_OWNER:   credential.Owner,
	v1.Role_ROLE_WRITER:  credential.Writer,
	v1.Role_ROLE_READER:  credential.Reader,
	v1.Role_ROLE_AUDITOR: credential.Auditor,
}

func toRole(r credential.Role) v1.Role {
	for message, role := range roles {
		if role == r {
			return message
		}
	}
	return v1.Role_ROLE_UNSPECIFIED
}

func toCredential(i *access.Info) *v1.Credential {
	out := &v1.Credential{
		Tenant: i.Tenant.Uint64(), Id: i.ID, Name: i.Name, Role: toRole(i.Role), State: i.State.String(), Created: timestamppb.New(i.Created),
	}
	if !i.Expires.IsZero() {
		out.Expires = timestamppb.New(i.Expires)
	}
	if !i.Revoked.IsZero() {
		out.Revoked = timestamppb.New(i.Revoked)
	}
	return out
}

// asCaller makes what is done to credentials be noted as the caller's.
func asCaller(ctx context.Context) context.Context {
	return access.WithSession(ctx, callOf(ctx).session)
}

// CreateCredential makes a credential of a tenant.
func (s credentialService) CreateCredential(ctx context.Context, r *v1.CreateCredentialRequest) (*v1.CreateCredentialResponse, error) {
	id, err := s.administered(ctx, r.GetTenant())
	if err != nil {
		return nil, err
	}
	role, ok := roles[r.GetRole()]
	if !ok {
		return nil, fault.New("credential create", fault.Invalid, "want the role ROLE_OWNER, ROLE_WRITER, ROLE_READER or ROLE_AUDITOR").ForTenant(id)
	}
	var expires time.Time
	if e := r.GetExpires(); e != nil {
		if err := e.CheckValid(); err != nil {
			return nil, fault.New("credential create", fault.Invalid, "the time of expiry is out of range").ForTenant(id)
		}
		expires = e.AsTime()
	}
	return once(ctx, s.door, r, func() (*v1.CreateCredentialResponse, error) {
		secret, info, err := s.authority.Create(asCaller(ctx), id, r.GetName(), role, expires)
		if err != nil {
			return nil, err
		}
		return &v1.CreateCredentialResponse{Credential: toCredential(&info), Secret: secret}, nil
	})
}

// ListCredentials describes a tenant's credentials.
func (s credentialService) ListCredentials(ctx context.Context, r *v1.ListCredentialsRequest) (*v1.ListCredentialsResponse, error) {
	id, err := s.administered(ctx, r.GetTenant())
	if err != nil {
		return nil, err
	}
	all, err := s.authority.List(asCaller(ctx), id)
	if err != nil {
		return nil, err
	}
	out := &v1.ListCredentialsResponse{}
	for i := range all {
		out.Credentials = append(out.Credentials, toCredential(&all[i]))
	}
	return out, nil
}

// RevokeCredential ends a credential and its sessions. Who revokes its own is
// told so, as its session ends with it.
func (s credentialService) RevokeCredential(ctx context.Context, r *v1.RevokeCredentialRequest) (*v1.RevokeCredentialResponse, error) {
	id, err := s.administered(ctx, r.GetTenant())
	if err != nil {
		return nil, err
	}
	return once(ctx, s.door, r, func() (*v1.RevokeCredentialResponse, error) {
		// The caller's own session may be one of those that end.
		return &v1.RevokeCredentialResponse{}, s.authority.Revoke(context.WithoutCancel(asCaller(ctx)), id, r.GetName())
	})
}

// CreateOperator makes an operator's credential.
func (s credentialService) CreateOperator(ctx context.Context, r *v1.CreateOperatorRequest) (*v1.CreateOperatorResponse, error) {
	return once(ctx, s.door, r, func() (*v1.CreateOperatorResponse, error) {
		secret, err := s.authority.CreateOperator(asCaller(ctx), r.GetName())
		if err != nil {
			return nil, err
		}
		out := &v1.CreateOperatorResponse{Secret: secret}
		all := s.authority.ListOperators()
		for i := range all { // the newest of the name comes last
			if all[i].Name == r.GetName() {
				out.Credential = toCredential(&all[i])
			}
		}
		return out, nil
	})
}

// ListOperators describes the operators.
func (s credentialService) ListOperators(context.Context, *v1.ListOperatorsRequest) (*v1.ListOperatorsResponse, error) {
	out := &v1.ListOperatorsResponse{}
	all := s.authority.ListOperators()
	for i := range all {
		out.Operators = append(out.Operators, toCredential(&all[i]))
	}
	return out, nil
}

// RevokeOperator ends an operator's credential and its sessions.
func (s credentialService) RevokeOperator(ctx context.Context, r *v1.RevokeOperatorRequest) (*v1.RevokeOperatorResponse, error) {
	return once(ctx, s.door, r, func() (*v1.RevokeOperatorResponse, error) {
		return &v1.RevokeOperatorResponse{}, s.authority.RevokeOperator(asCaller(ctx), r.GetName())
	})
}
