package main

import (
	"context"
	"errors"
	"strings"

	"kimberlite"
	"kimberlite/internal/fault"
	"kimberlite/internal/server"
)

// backend is what verbs act on: a data directory, or a server. Each verb takes
// no more of it than the small interface beside it says.
type backend interface {
	tenantAdmin
	operatorAdmin
	// byID and byName find a tenant, or fail with NotFound.
	byID(ctx context.Context, id kimberlite.TenantID) (tenantHandle, error)
	byName(ctx context.Context, name string) (tenantHandle, error)
}

// tenantHandle is one tenant of a backend.
type tenantHandle interface {
	ID() kimberlite.TenantID
	tenantStatus
	sqlTenant
	streamTenant
	keyTenant
	credentialTenant
	auditTenant
}

// withBackend opens what the flags name for fn, and closes it whatever
// happens. mustExist refuses to make a data directory.
func (a *app) withBackend(ctx context.Context, mustExist bool, fn func(b backend) error) error {
	on, err := a.target()
	if err != nil {
		return err
	}
	if on.server != "" {
		return withServer(on, fn)
	}
	if server.IsMember(on.data) {
		return fault.New("open", fault.Unsupported, "%s is the data directory of a cluster's node, and its tenants are the cluster's: start it with serve, and name a node with --server", on.data)
	}
	db, err := kimberlite.OpenContext(ctx, on.data, a.options(mustExist))
	if err != nil {
		return err
	}
	err = fn(embedded{db})
	return errors.Join(err, db.Close())
}

// onTenant opens what the flags name and finds a tenant in it by id or name.
// Digits alone are always an id, so that nobody's name can stand in for
// another's id.
func (a *app) onTenant(ctx context.Context, ref string, fn func(b backend, t tenantHandle) error) error {
	if ref == "" {
		return fault.New("", fault.Invalid, "no tenant was named: give its id or its name")
	}
	find := func(b backend) (tenantHandle, error) { return b.byName(ctx, ref) }
	if strings.Trim(ref, "0123456789") == "" {
		id, err := kimberlite.ParseTenantID(ref)
		if err != nil {
			return err
		}
		find = func(b backend) (tenantHandle, error) { return b.byID(ctx, id) }
	}
	return a.withBackend(ctx, true, func(b backend) error {
		t, err := find(b)
		if err != nil {
			return err
		}
		return fn(b, t)
	})
}
