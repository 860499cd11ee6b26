package tenant

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"time"

	"kimberlite/internal/audit"
	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/keyring"
	"kimberlite/internal/quota"
	"kimberlite/internal/record"
	"kimberlite/internal/shard"
)

// Config is what a tenant is created with.
type Config struct {
	ID        ident.TenantID
	Name      string
	Region    ident.Region
	Retention time.Duration
	Limits    quota.Limits
	// Epoch is the directory's of the tenant's placement; 0 without one.
	Epoch uint64
}

// Validate says what is wrong with a configuration.
func (c Config) Validate() error {
	if c.ID.IsZero() {
		return fault.New("tenant create", fault.Invalid, "a tenant needs an id: a number from 1 on")
	}
	if err := validName(c.Name); err != nil {
		return err
	}
	if c.Region.IsZero() {
		return fault.New("tenant create", fault.Invalid, "a tenant needs a region, such as us-east")
	}
	if c.Retention < 0 {
		return fault.New("tenant create", fault.Invalid, "a retention cannot be negative")
	}
	return c.Limits.Validate()
}

func validName(name string) error {
	if err := ident.CheckTenantName(name); err != nil {
		return fault.New("tenant", fault.Invalid, "%s", err.Error())
	}
	return nil
}

// Create makes a tenant: its keys first, its wrapped KEK in the keyring,
// then, by consensus, the tenant itself. A crash in between leaves a KEK that
// nothing names, which the next start destroys.
func (m *Manager) Create(ctx context.Context, c Config) error {
	if err := c.Validate(); err != nil {
		return tenantError(err, c.ID)
	}
	// The claim comes before the look: a KEK is put only for a tenant that
	// certainly has none.
	if !m.claim(c.ID) {
		return fault.New("tenant create", fault.Conflict, "tenant %s is being created by somebody else", c.ID).ForTenant(c.ID)
	}
	defer m.unclaim(c.ID)
	if m.replicated {
		if _, err := m.term(); err != nil {
			return tenantError(err, c.ID)
		}
	}
	if _, err := m.o.Shard.Tenant(c.ID); err == nil {
		return fault.New("tenant create", fault.AlreadyExists, "tenant %s exists already", c.ID).ForTenant(c.ID)
	}
	if _, err := m.o.Shard.TenantByName(c.Name); err == nil {
		return fault.New("tenant create", fault.AlreadyExists, "another tenant is called %q already", c.Name).ForTenant(c.ID)
	}
	if err := m.reserve.check(); err != nil {
		return err
	}
	now := m.o.Clock.Now()
	env, err := m.firstKeys(ctx, c.ID, now)
	if err != nil {
		return err
	}
	err = m.o.Shard.CreateTenant(ctx, shard.TenantState{
		ID: c.ID, Name: c.Name, Region: c.Region, Retention: c.Retention, Limits: c.Limits,
		Created: now, Envelope: env.Encode(), Epoch: c.Epoch,
	})
	if err != nil && !fault.Is(err, fault.OutcomeUnknown) && !fault.Is(err, fault.Stopped) {
		err = errors.Join(err, m.destroyKEK(ctx, c.ID, env.KEK))
	}
	if err == nil {
		m.noteCreated(ctx, c.ID)
	}
	return err
}

// noteCreated begins the tenant's audit trail when somebody else than the
// program itself made it. Otherwise the trail begins with whatever happens
// first, and says then when the tenant was made.
func (m *Manager) noteCreated(ctx context.Context, id ident.TenantID) {
	if actorOf(ctx) == embedded {
		return
	}
	if err := m.note(ctx, id, audit.TenantCreated, nil); err != nil {
		m.o.Logger.Warn("the making of a tenant is not in the audit trail", "tenant", id.String(), "error", err.Error())
	}
}

// firstKeys makes the keys of a tenant that does not exist yet, and stores the
// wrapped KEK.
func (m *Manager) firstKeys(ctx context.Context, id ident.TenantID, now time.Time) (env keyring.Envelope, err error) {
	generation := ident.NewKeyGeneration(1)
	next := func() (keyring.Wrapped, error) {
		made, kek, keys, err := keyring.CreateAt(ctx, m.o.Provider, id, generation, now)
		if err == nil {
			keys.Zero()
			env, generation = made, generation.Next()
		}
		return kek, err
	}
	if m.o.KeySpread != nil {
		err := m.newKEK(ctx, id, next)
		return env, err
	}
	kek, err := next()
	if err != nil {
		return env, err
	}
	return env, m.putFirstKEK(id, kek)
}

// putFirstKEK stores the KEK of a tenant that does not exist yet. One that an
// earlier attempt left is nobody's and makes room.
func (m *Manager) putFirstKEK(id ident.TenantID, kek keyring.Wrapped) error {
	err := m.o.Ring.Put(id, kek.Gen, kek.Blob)
	if !fault.Is(err, fault.AlreadyExists) {
		return err
	}
	if err := m.o.Ring.Destroy(id, kek.Gen); err != nil {
		return err
	}
	return m.o.Ring.Put(id, kek.Gen, kek.Blob)
}

// claim makes sure that one goroutine at a time creates a tenant.
func (m *Manager) claim(id ident.TenantID) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, taken := m.creating[id]; taken {
		return false
	}
	m.creating[id] = struct{}{}
	return true
}

func (m *Manager) unclaim(id ident.TenantID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.creating, id)
}

// Set changes a tenant's configuration at run time.
func (m *Manager) Set(ctx context.Context, id ident.TenantID, c shard.Change) error {
	if c.Name != nil {
		if err := validName(*c.Name); err != nil {
			return tenantError(err, id)
		}
	}
	if c.Limits != nil {
		if err := c.Limits.Validate(); err != nil {
			return tenantError(err, id)
		}
	}
	st, err := m.o.Shard.Tenant(id)
	if err != nil {
		return err
	}
	if c.Retention != nil && *c.Retention < st.Retention {
		return fault.New("tenant set", fault.Retained, "a retention can be made longer, not shorter").ForTenant(id)
	}
	if err := m.o.Shard.SetTenant(ctx, id, c); err != nil {
		return tenantError(err, id)
	}
	if c.Limits != nil {
		m.applyLimits(id, *c.Limits)
	}
	m.noteSet(ctx, id, c)
	return nil
}

// noteSet writes a change of configuration into the tenant's audit trail. The
// change stands without it: a tenant whose keys are gone can still be changed.
func (m *Manager) noteSet(ctx context.Context, id ident.TenantID, c shard.Change) {
	detail := map[string]any{}
	if c.Name != nil {
		detail["name"] = *c.Name
	}
	if c.Retention != nil {
		detail["retention_seconds"] = int64(*c.Retention / time.Second)
	}
	if l := c.Limits; l != nil {
		detail[quota.LogSize], detail[quota.Projections] = l.MaxLogBytes, l.MaxProjectionBytes
		detail[quota.OpsPerSec], detail[quota.ConcurrentOps] = l.MaxOpsPerSec, l.MaxConcurrentOps
	}
	if err := m.note(ctx, id, audit.QuotaChanged, detail); err != nil {
		m.o.Logger.Warn("a change of configuration is not in the audit trail", "tenant", id.String(), "error", err.Error())
	}
}

// note writes what was done to a tenant into its audit trail, as the context's
// actor's.
func (m *Manager) note(ctx context.Context, id ident.TenantID, action string, detail map[string]any) error {
	t, err := m.Tenant(id)
	if err != nil {
		return err
	}
	e := entryBy(actorOf(ctx), action, id.String(), audit.OK)
	e.Detail = detail
	return t.withoutQuota(ctx, func(rt *Runtime) error {
		return rt.writer.log(&note{events: []record.Event{auditEvent(e)}, urgency: administration, origin: action == audit.TenantCreated})
	})
}

// applyLimits puts new limits in force where the tenant is in use.
func (m *Manager) applyLimits(id ident.TenantID, l quota.Limits) {
	m.mu.RLock()
	s := m.slots[id]
	m.mu.RUnlock()
	if s == nil {
		return
	}
	s.admission.SetLimits(l)
	s.mu.Lock()
	defer s.mu.Unlock()
	if rt := s.rt.Load(); rt != nil {
		rt.maxLog.Store(l.MaxLogBytes)
		rt.db.SetProjectionLimit(l.MaxProjectionBytes)
	}
}

// Usage is what a tenant uses of its quotas.
type Usage struct {
	LogBytes        int64  // bytes of segment files
	LogRecords      uint64 // records in the log
	ProjectionBytes int64  // bytes of projection files on disk
	InFlight        int64  // operations running now
	Admitted        uint64 // operations since the process started
	Refused         uint64 // operations refused since the process started
}

// Usage returns what the tenant uses now. Log and projection bytes are those
// that the disk holds once everything applied is written out.
func (m *Manager) Usage(id ident.TenantID) (Usage, error) {
	st, err := m.o.Shard.Tenant(id)
	if err != nil {
		return Usage{}, err
	}
	u := Usage{LogBytes: st.Log.TotalBytes, LogRecords: st.Log.Next.Uint64()}
	info, err := m.o.FS.Stat(filepath.Join(m.o.Shard.TenantDir(id), projectionFile))
	switch {
	case err == nil:
		u.ProjectionBytes = info.Size()
	case !errors.Is(err, fs.ErrNotExist):
		return u, fault.Wrap("usage", fault.Unavailable, err, "cannot see the projection of tenant %s", id)
	}
	m.mu.RLock()
	s := m.slots[id]
	m.mu.RUnlock()
	if s != nil {
		u.InFlight, u.Admitted, u.Refused = s.admission.InFlight(), s.admission.Admitted(), s.admission.Refused()
	}
	return u, nil
}
