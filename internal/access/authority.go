// Package access lets clients in: it checks credentials of tenants and of
// operators, slows down who guesses, keeps track of sessions, and ends them
// when their credential is revoked or expires.
//
// It guarantees that a session acts for the tenant that its credential proves
// and with its role's rights only; that a login which succeeded is durable in
// the tenant's audit trail before the session exists; that a refused one says
// the same, with the same messages exchanged, whatever the reason; and that
// Revoke returns when no session of the credential is left. It must not know
// about protocols, beyond the messages of SCRAM and bearer tokens. The doors
// call it; the root package uses it for an embedded database's credentials.
package access

import (
	"context"
	"crypto/rand"
	"io"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"kimberlite/internal/clock"
	"kimberlite/internal/credential"
	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/node"
	"kimberlite/internal/projection"
	"kimberlite/internal/tenant"
)

// Config says what an Authority decides over.
type Config struct {
	Node *node.Node
	// Clock is what credentials expire by; nil is the machine's.
	Clock  clock.Clock
	Logger *slog.Logger
	// Random is where secrets and nonces come from; nil is crypto/rand.
	Random io.Reader
	// Floor is how long the first answer to a login and a refusal take at
	// least, so that neither tells what had to be looked up. 0 is 5 ms, -1 is
	// none.
	Floor time.Duration
	// Throttle bounds failed logins; the zero value is the default.
	Throttle credential.ThrottleLimits
}

// Authority checks credentials and keeps the sessions. It is safe for
// concurrent use. It holds no resources that need closing.
type Authority struct {
	c         Config
	operators *operators

	throttleMu sync.Mutex // guards throttle
	throttle   *credential.Throttle

	sessions registry
	recent   recentLogins
}

// New returns the authority over a node. It reads the operators' file, and
// makes it when there is none; of a cluster's node, [Authority.Follow] has to
// run too.
func New(c Config) (*Authority, error) {
	if c.Node == nil {
		return nil, fault.New("access", fault.Invalid, "an authority needs a node")
	}
	if c.Clock == nil {
		c.Clock = clock.System{}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Random == nil {
		c.Random = rand.Reader
	}
	if c.Floor == 0 {
		c.Floor = 5 * time.Millisecond
	}
	if c.Throttle == (credential.ThrottleLimits{}) {
		c.Throttle = credential.DefaultThrottleLimits()
	}
	var ops *operators
	var err error
	if member := c.Node.Cluster(); member != nil {
		ops, err = shareOperators(member.Directory(), c.Random)
	} else {
		ops, err = openOperators(c.Node.FS(), c.Node.Dir(), c.Random)
	}
	if err != nil {
		return nil, err
	}
	a := &Authority{c: c, operators: ops, throttle: credential.NewThrottle(c.Throttle)}
	ops.onRevoked = a.endOperator
	return a, nil
}

// Principal is who a session acts for.
type Principal struct {
	// Operator says that it manages the deployment; Tenant and Role are then
	// zero.
	Operator bool
	Tenant   ident.TenantID
	Name     string
	Role     credential.Role
	// ID is the credential's.
	ID uint64
}

// Info describes a credential; it holds no secret and nothing derived from one.
type Info struct {
	// Tenant is zero for an operator's, as Role is.
	Tenant ident.TenantID
	ID     uint64
	Name   string
	Role   credential.Role
	State  credential.State
	// Expires and Revoked are zero for never.
	Created, Expires, Revoked time.Time
}

func (a *Authority) info(id ident.TenantID, r *credential.Record) Info {
	return Info{
		Tenant: id, ID: r.ID, Name: r.Name, Role: r.Role, State: r.State(a.c.Clock.Now()),
		Created: r.Created, Expires: r.Expires, Revoked: r.Revoked,
	}
}

// actorKey carries who calls, for the audit trail.
type actorKey struct{}

// WithSession returns a context whose calls about credentials and about a
// tenant's configuration are noted in the audit trail as the session's. It
// gives no rights.
func WithSession(ctx context.Context, s *Session) context.Context {
	return tenant.WithActor(context.WithValue(ctx, actorKey{}, s), s.actor())
}

// handle returns a handle that may see to a tenant's credentials, acting for
// whoever the context names.
func (a *Authority) handle(ctx context.Context, id ident.TenantID) (*tenant.Tenant, error) {
	t, err := a.c.Node.Tenant(id)
	if err != nil {
		return nil, err
	}
	if s, ok := ctx.Value(actorKey{}).(*Session); ok && s != nil {
		actor := s.actor()
		actor.Access = projection.AccessOperator // what it may do was decided by the caller
		return t.As(actor), nil
	}
	return t, nil
}

// Create makes a credential of a tenant and returns its secret, which is kept
// nowhere. expires is zero for never. AlreadyExists says that the tenant has
// an active credential of that name; NotFound that there is no such tenant.
func (a *Authority) Create(ctx context.Context, id ident.TenantID, name string, role credential.Role, expires time.Time) (secret string, info Info, err error) {
	if role == 0 || role > credential.Auditor {
		return "", Info{}, fault.New("credential create", fault.Invalid, "a role is owner, writer, reader or auditor").ForTenant(id)
	}
	if !expires.IsZero() && !expires.After(a.c.Clock.Now()) {
		return "", Info{}, fault.New("credential create", fault.Invalid, "the credential would have expired already").ForTenant(id)
	}
	t, err := a.handle(ctx, id)
	if err != nil {
		return "", Info{}, err
	}
	r, err := t.CreateCredential(ctx, credential.Record{Name: name, Role: role, Expires: expires}, func(r *credential.Record) error {
		if secret, err = credential.NewSecret(id, r.ID, a.c.Random); err != nil {
			return err
		}
		return r.SetSecret(secret, a.c.Random)
	})
	if err != nil {
		return "", Info{}, err
	}
	return secret, a.info(id, r), nil
}

// List describes a tenant's credentials, revoked ones included, by id.
func (a *Authority) List(ctx context.Context, id ident.TenantID) ([]Info, error) {
	t, err := a.handle(ctx, id)
	if err != nil {
		return nil, err
	}
	records, err := t.Credentials(ctx)
	if err != nil {
		return nil, err
	}
	infos := make([]Info, len(records))
	for i, r := range records {
		infos[i] = a.info(id, r)
	}
	return infos, nil
}

// Revoke ends a credential for good, and with it every session that it
// opened: their Done is closed when Revoke returns, also when it fails, since
// sessions are ended before the revocation is made durable. NotFound says
// that there is none of the name.
func (a *Authority) Revoke(ctx context.Context, id ident.TenantID, name string) error {
	t, err := a.handle(ctx, id)
	if err != nil {
		return err
	}
	r, err := t.CredentialNamed(ctx, name)
	if err != nil {
		return err
	}
	if r == nil {
		return fault.New("credential revoke", fault.NotFound, "there is no credential of this name: see `kimberlite credential list`").ForTenant(id)
	}
	key := sessionKey{id, r.ID}
	why := ended("the credential was revoked")
	a.sessions.bar(key, why)
	defer a.sessions.unbar(key) // from then on the record itself says so
	if _, err := t.RevokeCredential(ctx, name); err != nil {
		return err
	}
	a.recent.forget(key)
	return nil
}

// CreateOperator makes an operator's credential and returns its secret.
func (a *Authority) CreateOperator(ctx context.Context, name string) (secret string, err error) {
	return a.operators.create(ctx, name, a.c.Clock.Now(), a.c.Random)
}

// ListOperators describes the operators by id, revoked ones included.
func (a *Authority) ListOperators() []Info {
	records := a.operators.all()
	infos := make([]Info, len(records))
	for i, r := range records {
		infos[i] = a.info(ident.TenantID{}, r)
	}
	return infos
}

// RevokeOperator ends an operator's credential and its sessions.
func (a *Authority) RevokeOperator(ctx context.Context, name string) error {
	r := a.operators.named(name)
	if r == nil || !r.Revoked.IsZero() {
		return fault.New("credential revoke", fault.NotFound, "there is no operator of this name that could be revoked")
	}
	key := sessionKey{ident.TenantID{}, r.ID}
	a.sessions.bar(key, ended("the credential was revoked"))
	defer a.sessions.unbar(key)
	return a.operators.revoke(ctx, r.ID, a.c.Clock.Now())
}

// blocked says whether an attempt must fail because of those before it.
func (a *Authority) blocked(whose string, remote netip.Addr) bool {
	a.throttleMu.Lock()
	defer a.throttleMu.Unlock()
	return a.throttle.Blocked(a.c.Clock.Now(), whose, remote)
}

func (a *Authority) failed(whose string, remote netip.Addr) {
	a.throttleMu.Lock()
	defer a.throttleMu.Unlock()
	a.throttle.Failed(a.c.Clock.Now(), whose, remote)
}

func (a *Authority) succeeded(whose string, remote netip.Addr) {
	a.throttleMu.Lock()
	defer a.throttleMu.Unlock()
	a.throttle.Succeeded(whose, remote)
}
