package tenant

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"kimberlite/internal/audit"
	"kimberlite/internal/credential"
	"kimberlite/internal/fault"
	"kimberlite/internal/projection"
	"kimberlite/internal/record"
)

// MaxCredentials is how many credentials a tenant may have, revoked ones
// included.
const MaxCredentials = 10_000

// credentials are an open tenant's, decoded, so that a login runs no SQL.
type credentials struct {
	// changing is held while one is changed; known is then replaced.
	changing sync.Mutex
	// known is nil until it is needed.
	known atomic.Pointer[credentialSet]
}

// credentialSet is never changed.
type credentialSet struct {
	byID map[uint64]*credential.Record
	// byName has the newest of each name.
	byName map[string]*credential.Record
	top    uint64
}

func newCredentialSet(all []*credential.Record) *credentialSet {
	s := &credentialSet{byID: map[uint64]*credential.Record{}, byName: map[string]*credential.Record{}}
	for _, r := range all {
		s.byID[r.ID] = r
		if old := s.byName[r.Name]; old == nil || old.ID < r.ID {
			s.byName[r.Name] = r
		}
		s.top = max(s.top, r.ID)
	}
	return s
}

func (s *credentialSet) all() []*credential.Record {
	all := make([]*credential.Record, 0, len(s.byID))
	for _, r := range s.byID {
		all = append(all, r)
	}
	slices.SortFunc(all, func(a, b *credential.Record) int {
		if a.ID < b.ID {
			return -1
		}
		return 1
	})
	return all
}

func (s *credentialSet) with(r *credential.Record) *credentialSet {
	all := s.all()
	for i := range all {
		if all[i].ID == r.ID {
			all[i] = r
			return newCredentialSet(all)
		}
	}
	return newCredentialSet(append(all, r))
}

// credentialSet returns the tenant's credentials, from memory in all but the
// first case.
func (rt *Runtime) credentialSet() (*credentialSet, error) {
	if s := rt.credentials.known.Load(); s != nil {
		return s, nil
	}
	rt.credentials.changing.Lock()
	defer rt.credentials.changing.Unlock()
	return rt.loadCredentials()
}

// loadCredentials reads them when that was not done. The caller holds changing.
func (rt *Runtime) loadCredentials() (*credentialSet, error) {
	if s := rt.credentials.known.Load(); s != nil {
		return s, nil
	}
	stored, err := rt.db.Credentials()
	if err != nil {
		rt.suspect(err)
		return nil, err
	}
	all := make([]*credential.Record, len(stored))
	for i, c := range stored {
		if all[i], err = credential.Decode(c.Data); err != nil {
			return nil, err
		}
	}
	s := newCredentialSet(all)
	rt.credentials.known.Store(s)
	return s, nil
}

// Credentials returns the tenant's credentials by id, without their secrets,
// which nobody has. Like all calls about credentials it is the owner's, and
// counts against no limit of operations.
func (t *Tenant) Credentials(ctx context.Context) (all []*credential.Record, err error) {
	err = t.manage(ctx, func(rt *Runtime) error {
		s, err := rt.credentialSet()
		if err == nil {
			all = s.all()
		}
		return err
	})
	return all, err
}

// CredentialNamed returns the newest credential of a name, nil when there is
// none. It is not to be changed.
func (t *Tenant) CredentialNamed(ctx context.Context, name string) (r *credential.Record, err error) {
	err = t.manage(ctx, func(rt *Runtime) error {
		s, err := rt.credentialSet()
		if err == nil {
			r = s.byName[name]
		}
		return err
	})
	return r, err
}

// CredentialNumbered returns the credential of an id, nil when there is none.
// It is not to be changed.
func (t *Tenant) CredentialNumbered(ctx context.Context, id uint64) (r *credential.Record, err error) {
	err = t.manage(ctx, func(rt *Runtime) error {
		s, err := rt.credentialSet()
		if err == nil {
			r = s.byID[id]
		}
		return err
	})
	return r, err
}

func (t *Tenant) manage(ctx context.Context, fn func(rt *Runtime) error) error {
	if err := t.require(projection.RightManage); err != nil {
		return err
	}
	return t.withoutQuota(ctx, fn)
}

// CreateCredential keeps a credential that fill makes of a record with ID,
// name, role and times: it adds what checks the secret. AlreadyExists says
// that one of the name can be used. It is durable, and in the audit trail by
// the same record of the log, when the call returns.
func (t *Tenant) CreateCredential(ctx context.Context, c credential.Record, fill func(*credential.Record) error) (*credential.Record, error) {
	if err := credential.CheckName(c.Name); err != nil {
		return nil, tenantError(err, t.slot.id)
	}
	made := c
	err := t.manage(ctx, func(rt *Runtime) error {
		rt.credentials.changing.Lock()
		defer rt.credentials.changing.Unlock()
		s, err := rt.loadCredentials()
		if err != nil {
			return err
		}
		now := t.m.o.Clock.Now()
		if old := s.byName[c.Name]; old != nil && old.State(now) == credential.Active {
			return fault.New("credential create", fault.AlreadyExists, "there is a credential %q already: revoke it, or choose another name", c.Name)
		}
		if len(s.byID) >= MaxCredentials {
			return fault.New("credential create", fault.TooLarge, "the tenant has %d credentials, which is the most", MaxCredentials)
		}
		made.ID, made.Created = s.top+1, now
		if err := fill(&made); err != nil {
			return err
		}
		e := t.entry(audit.CredentialCreated, made.Name, audit.OK)
		e.Detail = map[string]any{"role": made.Role.String(), "id": made.ID}
		if !made.Expires.IsZero() {
			e.Detail["expires"] = made.Expires.UTC().Format(time.RFC3339)
		}
		return rt.putCredential(s, &made, e)
	})
	if err != nil {
		return nil, err
	}
	return &made, nil
}

// putCredential logs a credential and its entry of the audit trail together.
// The caller holds changing.
func (rt *Runtime) putCredential(s *credentialSet, r *credential.Record, e audit.Entry) error {
	data, err := r.Encode()
	if err != nil {
		return err
	}
	err = rt.writer.log(&note{urgency: administration, events: []record.Event{
		projection.CredentialEvent(projection.Credential{ID: r.ID, Data: data}, 0), auditEvent(e),
	}})
	if err != nil {
		if fault.Is(err, fault.OutcomeUnknown) {
			rt.credentials.known.Store(nil)
		}
		return err
	}
	rt.credentials.known.Store(s.with(r))
	return nil
}

// RevokeCredential ends the newest credential of a name for good. NotFound
// says that there is none, or that it was revoked already.
func (t *Tenant) RevokeCredential(ctx context.Context, name string) (*credential.Record, error) {
	var revoked credential.Record
	err := t.manage(ctx, func(rt *Runtime) error {
		rt.credentials.changing.Lock()
		defer rt.credentials.changing.Unlock()
		s, err := rt.loadCredentials()
		if err != nil {
			return err
		}
		old := s.byName[name]
		if old == nil || !old.Revoked.IsZero() {
			return fault.New("credential revoke", fault.NotFound, "there is no credential of this name that could be revoked: see `kimberlite credential list`")
		}
		revoked = *old
		revoked.Revoked = t.m.o.Clock.Now()
		e := t.entry(audit.CredentialRevoked, name, audit.OK)
		e.Detail = map[string]any{"role": old.Role.String(), "id": old.ID}
		return rt.putCredential(s, &revoked, e)
	})
	if err != nil {
		return nil, err
	}
	return &revoked, nil
}
