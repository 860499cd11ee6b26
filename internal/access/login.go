package access

import (
	"context"
	"net/netip"
	"strings"
	"sync"
	"time"

	"kimberlite/internal/audit"
	"kimberlite/internal/credential"
	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
)

// refusal is what every failed login is answered with, whatever the reason.
func refusal() error {
	return fault.New("login", fault.Unauthenticated, "authentication failed: the user, the tenant or the secret is wrong, or the credential has ended")
}

// attempt is one login under way.
type attempt struct {
	a      *Authority
	remote netip.Addr
	method string
	start  time.Time
	// tenant is zero when there is none of the name, and for operators.
	tenant ident.TenantID
	// record is nil when there is no such credential.
	record *credential.Record
	// doomed says why the attempt fails whatever is proven, or is "".
	doomed string
	// elsewhere is why the tenant's credentials cannot be asked here and now:
	// another node serves it, or its shard has no leader. It is no refusal.
	elsewhere error
}

func (a *Authority) attempt(remote netip.Addr, method string) *attempt {
	return &attempt{a: a, remote: remote.Unmap().WithZone(""), method: method, start: time.Now()}
}

// whose is what failures count under beside the address.
func (at *attempt) whose() string {
	if at.tenant.IsZero() {
		return ""
	}
	return at.tenant.String()
}

// judge decides what is known before any proof.
func (at *attempt) judge() {
	now := at.a.c.Clock.Now()
	switch {
	case at.record == nil:
		at.doomed = "unknown"
	case at.record.State(now) == credential.Revoked:
		at.doomed = "revoked"
	case at.record.State(now) == credential.Expired:
		at.doomed = "expired"
		if !at.tenant.IsZero() {
			at.a.noteExpired(at.tenant, at.record.Name)
		}
	}
	if at.a.blocked(at.whose(), at.remote) {
		at.doomed = "throttled"
	}
}

// floor waits until the attempt has taken the least time.
func (at *attempt) floor(ctx context.Context) error {
	left := at.a.c.Floor - time.Since(at.start)
	if left > 0 {
		timer := time.NewTimer(left)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
	}
	if ctx.Err() != nil {
		return fault.OfContext("login", ctx)
	}
	return nil
}

// away keeps err if it says that the tenant is not served here now.
func (at *attempt) away(err error) bool {
	if fault.Is(err, fault.Misrouted) || fault.Is(err, fault.Unavailable) {
		at.elsewhere = err
	}
	return at.elsewhere != nil
}

// refuse counts a failure, notes it, and returns what the client is told.
func (at *attempt) refuse(reason string) error {
	if at.doomed != "" {
		reason = at.doomed
	}
	if reason != "throttled" {
		at.a.failed(at.whose(), at.remote)
	}
	name := ""
	if at.record != nil {
		name = at.record.Name
	}
	if at.tenant.IsZero() {
		at.a.c.Logger.Info("login refused", "remote", at.remote.String(), "method", at.method)
		return refusal()
	}
	if t, err := at.a.c.Node.Tenant(at.tenant); err == nil {
		// What the client typed for a name stays out: it may be a password.
		t.GatherAudit(audit.Entry{
			Action: audit.Login, Object: name, Remote: at.remote.String(), Outcome: audit.Refused,
			Detail: map[string]any{"method": at.method, "reason": reason},
		})
	}
	return refusal()
}

// admit makes the session of an attempt that has proven its secret: it exists
// once the login is durable in the audit trail.
func (at *attempt) admit(ctx context.Context, once bool) (*Session, error) {
	a := at.a
	if at.doomed != "" {
		return nil, at.refuse(at.doomed)
	}
	s, err := a.begin(at.tenant, at.record, at.remote.String())
	if err != nil {
		return nil, at.refuse("revoked")
	}
	// Registered first and looked at again then: a revocation either finds
	// the session or is found here.
	if reason, err := at.recheck(ctx); err != nil || reason != "" {
		s.Close()
		if err != nil {
			return nil, err
		}
		return nil, at.refuse(reason)
	}
	if err := at.note(ctx, s, once); err != nil {
		s.Close()
		return nil, err
	}
	a.succeeded(at.whose(), at.remote)
	return s, nil
}

// recheck looks at the credential once more.
func (at *attempt) recheck(ctx context.Context) (reason string, err error) {
	r := at.record
	if at.tenant.IsZero() {
		r = at.a.operators.numbered(r.ID)
	} else {
		t, err := at.a.c.Node.Tenant(at.tenant)
		if err != nil {
			return "", err
		}
		if r, err = t.CredentialNumbered(ctx, r.ID); err != nil {
			return "", err
		}
	}
	if r == nil {
		return "unknown", nil
	}
	if state := r.State(at.a.c.Clock.Now()); state != credential.Active {
		return state.String(), nil
	}
	return "", nil
}

// note writes the login into the audit trail. With once set, one by the same
// credential from the same address in the last minutes stands for it.
func (at *attempt) note(ctx context.Context, s *Session, once bool) error {
	if at.tenant.IsZero() {
		at.a.c.Logger.Info("operator logged in", "name", at.record.Name, "remote", at.remote.String())
		return nil
	}
	now := at.a.c.Clock.Now()
	if once && at.a.recent.has(now, s.key, at.remote) {
		return nil
	}
	t, err := s.Tenant()
	if err != nil {
		return err
	}
	err = t.NoteAudit(ctx, audit.Entry{Action: audit.Login, Outcome: audit.OK, Detail: map[string]any{"method": at.method}})
	if err != nil {
		return err
	}
	if once {
		at.a.recent.add(now, s.key, at.remote)
	}
	return nil
}

// Token logs in by a bearer token. The session is for one request or many:
// that a token was used is in the audit trail once in ten minutes for each
// address. Every refusal is the same Unauthenticated error; Misrouted and
// Unavailable say that the tenant's credentials cannot be asked here now.
func (a *Authority) Token(ctx context.Context, token string, remote netip.Addr) (*Session, error) {
	at := a.attempt(remote, "token")
	t, err := credential.ParseToken(token)
	if err == nil {
		at.findToken(ctx, t)
	}
	if at.elsewhere != nil {
		return nil, at.elsewhere
	}
	at.judge()
	if at.record == nil {
		credential.MatchNothing(t)
	} else if at.record.Matches(t) {
		s, err := at.admit(ctx, true)
		if !fault.Is(err, fault.Unauthenticated) {
			return s, err
		}
		return nil, at.slow(ctx)
	}
	_ = at.refuse("secret") // said below
	return nil, at.slow(ctx)
}

// slow returns the refusal after the least time.
func (at *attempt) slow(ctx context.Context) error {
	if err := at.floor(ctx); err != nil {
		return err
	}
	return refusal()
}

// findToken finds the credential that a token names.
func (at *attempt) findToken(ctx context.Context, t credential.Token) {
	if t.Operator() {
		at.record = at.a.operators.numbered(t.ID)
		return
	}
	h, err := at.a.c.Node.Tenant(t.Tenant)
	if err != nil {
		at.away(err)
		return
	}
	at.tenant = t.Tenant
	if at.record, err = h.CredentialNumbered(ctx, t.ID); err != nil {
		at.unreadable(err)
	}
}

// unreadable notes that a tenant's credentials cannot be had: to the client
// that is one more refusal.
func (at *attempt) unreadable(err error) {
	at.record = nil
	if at.away(err) {
		return
	}
	at.a.c.Logger.Warn("credentials cannot be read", "tenant", at.tenant.String(), "error", err.Error())
}

// findUser finds the credential of a user name: principal@tenant, where the
// tenant is its id or its name.
func (at *attempt) findUser(ctx context.Context, user string) {
	name, id, err := at.a.splitUser(user)
	if err != nil {
		return
	}
	h, err := at.a.c.Node.Tenant(id)
	if err != nil {
		at.away(err)
		return
	}
	at.tenant = id
	if at.record, err = h.CredentialNamed(ctx, name); err != nil {
		at.unreadable(err)
	}
}

// TenantOf returns the tenant of a user name such as app@1 or app@hospital-a,
// without asking whether it has such a user. The zero id says that the name
// is nobody's.
func (a *Authority) TenantOf(user string) ident.TenantID {
	_, id, err := a.splitUser(user)
	if err != nil {
		return ident.TenantID{}
	}
	return id
}

// splitUser returns the parts of principal@tenant.
func (a *Authority) splitUser(user string) (name string, id ident.TenantID, err error) {
	cut := strings.LastIndexByte(user, '@')
	if cut < 0 || len(user) > maxUser || user[cut+1:] == "" {
		return "", id, refusal()
	}
	if err := credential.CheckName(user[:cut]); err != nil {
		return "", id, err
	}
	id, err = a.tenantNamed(user[cut+1:])
	return user[:cut], id, err
}

// maxUser is longer than any user name that names somebody.
const maxUser = credential.MaxName + 1 + 128

// tenantNamed finds a tenant by id, when the text is digits only, or by name.
func (a *Authority) tenantNamed(text string) (ident.TenantID, error) {
	if strings.Trim(text, "0123456789") == "" {
		return ident.ParseTenantID(text)
	}
	return a.c.Node.TenantNamed(text)
}

// recentLogins remembers by which credentials and from where tokens were used
// lately.
type recentLogins struct {
	mu sync.Mutex // guards at
	at map[recentKey]time.Time
}

type recentKey struct {
	sessionKey
	remote netip.Addr
}

// recentWindow is how long one entry of the audit trail stands for the use of
// a token, and maxRecent how many are remembered.
const (
	recentWindow = 10 * time.Minute
	maxRecent    = 1 << 16
)

func (r *recentLogins) has(now time.Time, key sessionKey, remote netip.Addr) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	at, ok := r.at[recentKey{key, remote}]
	return ok && now.Sub(at) < recentWindow
}

func (r *recentLogins) add(now time.Time, key sessionKey, remote netip.Addr) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.at == nil || len(r.at) >= maxRecent {
		r.at = map[recentKey]time.Time{} // each is noted once more, no more than that
	}
	r.at[recentKey{key, remote}] = now
}

func (r *recentLogins) forget(key sessionKey) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for k := range r.at {
		if k.sessionKey == key {
			delete(r.at, k)
		}
	}
}
