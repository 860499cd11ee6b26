package access

import (
	"sync"
	"time"

	"kimberlite/internal/audit"
	"kimberlite/internal/credential"
	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/projection"
	"kimberlite/internal/tenant"
)

// Session is a login that succeeded. It is safe for concurrent use. Close it
// when the client is gone.
type Session struct {
	a         *Authority
	principal Principal
	key       sessionKey
	remote    string
	done      chan struct{}

	mu    sync.Mutex // guards err and the closing of done
	err   error      // why it ended; nil while it has not
	timer *time.Timer
}

// sessionKey names a credential; the zero tenant is the operators'.
type sessionKey struct {
	tenant ident.TenantID
	id     uint64
}

// ended is why a session is over.
func ended(why string) error {
	return fault.New("session", fault.Unauthenticated, "%s: log in again", why)
}

// Principal returns who the session acts for.
func (s *Session) Principal() Principal { return s.principal }

// Done is closed when the session is over: its credential was revoked or has
// expired, or it was closed. Whatever runs for it must end then.
func (s *Session) Done() <-chan struct{} { return s.done }

// Err returns why the session is over, nil while it is not.
func (s *Session) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// Close ends the session. Closing again does nothing.
func (s *Session) Close() {
	s.a.sessions.remove(s)
	s.end(fault.New("session", fault.Closed, "the session is closed"))
}

// end closes Done.
func (s *Session) end(why error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return
	}
	s.err = why
	if s.timer != nil {
		s.timer.Stop()
	}
	close(s.done)
}

var accessOf = map[credential.Role]projection.Access{
	credential.Owner: projection.AccessOwner, credential.Writer: projection.AccessWriter,
	credential.Reader: projection.AccessReader, credential.Auditor: projection.AccessAuditor,
}

// actor is the session's principal as the tenant's runtime knows it.
func (s *Session) actor() tenant.Actor {
	if s.principal.Operator {
		return tenant.Actor{Name: s.principal.Name, Access: projection.AccessOperator, Remote: s.remote, Operator: true}
	}
	access, ok := accessOf[s.principal.Role]
	if !ok {
		access = projection.AccessAuditor
	}
	return tenant.Actor{Name: s.principal.Name, Access: access, Remote: s.remote}
}

// Tenant returns a handle on the session's tenant, whose calls have the
// role's rights. An operator has no tenant of its own: see TenantFor.
func (s *Session) Tenant() (*tenant.Tenant, error) {
	if s.principal.Operator {
		return nil, fault.New("session", fault.Denied, "an operator's credential opens no tenant's data: use a credential of the tenant")
	}
	return s.TenantFor(s.principal.Tenant)
}

// TenantFor returns a handle on a tenant that the caller named. A tenant's
// credential gets its own tenant, and for any other one Denied, whether there
// is such a tenant or not. An operator gets a handle that can rotate keys and
// rebuild tables and sees nothing of what the tenant stores.
func (s *Session) TenantFor(id ident.TenantID) (*tenant.Tenant, error) {
	if err := s.Err(); err != nil {
		return nil, err
	}
	if !s.principal.Operator && id != s.principal.Tenant {
		return nil, fault.New("session", fault.Denied, "the credential is not one of tenant %s", id)
	}
	t, err := s.a.c.Node.Tenant(id)
	if err != nil {
		return nil, err
	}
	return t.As(s.actor()), nil
}

// RequireOperator refuses whoever is not an operator.
func (s *Session) RequireOperator() error {
	if err := s.Err(); err != nil {
		return err
	}
	if !s.principal.Operator {
		return fault.New("session", fault.Denied, "this takes an operator's credential")
	}
	return nil
}

// RequireOwner refuses whoever is neither an operator nor the owner of the
// tenant: those who may see to its credentials, keys and limits.
func (s *Session) RequireOwner(id ident.TenantID) error {
	if err := s.Err(); err != nil {
		return err
	}
	switch {
	case s.principal.Operator:
		return nil
	case id != s.principal.Tenant:
		return fault.New("session", fault.Denied, "the credential is not one of tenant %s", id)
	case s.principal.Role != credential.Owner:
		return fault.New("session", fault.Denied, "this takes the role owner").ForTenant(id)
	}
	return nil
}

// registry is every session that is not over.
type registry struct {
	mu   sync.Mutex // guards all below
	open map[sessionKey]map[*Session]struct{}
	// barred are credentials that open no session: their revocation is being
	// made durable.
	barred map[sessionKey]error
}

// add registers a session. It fails when its credential is barred.
func (r *registry) add(s *Session) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.barred[s.key]; err != nil {
		return err
	}
	if r.open == nil {
		r.open = map[sessionKey]map[*Session]struct{}{}
	}
	if r.open[s.key] == nil {
		r.open[s.key] = map[*Session]struct{}{}
	}
	r.open[s.key][s] = struct{}{}
	return nil
}

func (r *registry) remove(s *Session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if of := r.open[s.key]; of != nil {
		delete(of, s)
		if len(of) == 0 {
			delete(r.open, s.key)
		}
	}
}

// bar ends all sessions of a credential and lets no other one begin.
func (r *registry) bar(key sessionKey, why error) {
	r.mu.Lock()
	if r.barred == nil {
		r.barred = map[sessionKey]error{}
	}
	r.barred[key] = why
	of := r.open[key]
	delete(r.open, key)
	r.mu.Unlock()
	for s := range of { // nobody else has the map any more
		s.end(why)
	}
}

// unbar ends bar.
func (r *registry) unbar(key sessionKey) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.barred, key)
}

// Sessions returns how many sessions are open.
func (a *Authority) Sessions() int {
	a.sessions.mu.Lock()
	defer a.sessions.mu.Unlock()
	n := 0
	for _, of := range a.sessions.open {
		n += len(of)
	}
	return n
}

// begin makes and registers a session of a credential that was proven.
func (a *Authority) begin(id ident.TenantID, r *credential.Record, remote string) (*Session, error) {
	s := &Session{
		a: a, key: sessionKey{id, r.ID}, remote: remote, done: make(chan struct{}),
		principal: Principal{Operator: id.IsZero(), Tenant: id, Name: r.Name, Role: r.Role, ID: r.ID},
	}
	if !r.Expires.IsZero() {
		s.mu.Lock()
		s.timer = time.AfterFunc(r.Expires.Sub(a.c.Clock.Now()), s.expire)
		s.mu.Unlock()
	}
	if err := a.sessions.add(s); err != nil {
		s.end(err)
		return nil, err
	}
	return s, nil
}

// expire ends the session at the time that its credential names.
func (s *Session) expire() {
	s.a.sessions.remove(s)
	s.end(ended("the credential has expired"))
	if !s.key.tenant.IsZero() {
		s.a.noteExpired(s.key.tenant, s.principal.Name)
	}
}

// noteExpired says in the audit trail that a credential was met expired.
func (a *Authority) noteExpired(id ident.TenantID, name string) {
	if t, err := a.c.Node.Tenant(id); err == nil {
		t.GatherAudit(audit.Entry{Principal: "system", Action: audit.CredentialExpired, Object: name, Outcome: audit.OK})
	}
}
