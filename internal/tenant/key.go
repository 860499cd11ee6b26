package tenant

import (
	"context"
	"time"

	"kimberlite/internal/audit"
	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/keyring"
	"kimberlite/internal/projection"
)

// KeyStatus describes a tenant's keys; it holds no key.
type KeyStatus struct {
	KEK             ident.KeyGeneration
	DEK             ident.KeyGeneration // the one that seals now
	DEKs            []DEKStatus
	GenerationStart ident.Offset // log offset from which the newest DEK seals
	SignaturePublic []byte       // Ed25519 public key of the chain's heads
}

// DEKStatus describes one DEK generation.
type DEKStatus struct {
	Generation ident.KeyGeneration
	Created    time.Time
}

// KeyStatus returns the state of a tenant's keys, without opening them.
func (m *Manager) KeyStatus(id ident.TenantID) (KeyStatus, error) {
	st, err := m.o.Shard.Tenant(id)
	if err != nil {
		return KeyStatus{}, err
	}
	env, err := keyring.DecodeEnvelope(st.Envelope)
	if err != nil {
		return KeyStatus{}, tenantError(err, id)
	}
	s := KeyStatus{KEK: env.KEK, GenerationStart: st.GenerationStart, SignaturePublic: env.Signing.Public}
	for _, d := range env.DEKs {
		s.DEKs = append(s.DEKs, DEKStatus{d.Generation, d.Created})
		s.DEK = d.Generation
	}
	return s, nil
}

// RotateDEK makes a new DEK seal from the next record on. Old generations
// keep opening what they sealed; nothing is re-encrypted.
func (t *Tenant) RotateDEK(ctx context.Context) error {
	return t.rotate(ctx, "dek", func(rt *Runtime) error { return rt.rotateDEK(ctx) })
}

// rotate changes keys and notes it in the audit trail.
func (t *Tenant) rotate(ctx context.Context, level string, change func(rt *Runtime) error) error {
	if err := t.require(projection.RightManage); err != nil {
		return err
	}
	return t.withWriter(ctx, func(rt *Runtime) error {
		if err := change(rt); err != nil {
			return err
		}
		return rt.writer.note(administration, t.entry(audit.KeyRotated, level, audit.OK))
	})
}

// RotateKEK makes a new KEK wrap the tenant's DEKs and signing key, and
// destroys the old one once the shard has agreed.
func (t *Tenant) RotateKEK(ctx context.Context) error {
	return t.rotate(ctx, "kek", func(rt *Runtime) error { return rt.rotateKEK(ctx) })
}

// withWriter runs fn while no write of the tenant runs. Readers go on.
func (t *Tenant) withWriter(ctx context.Context, fn func(rt *Runtime) error) error {
	rt, err := t.slot.acquireWrite(ctx)
	if err != nil {
		return tenantError(err, t.slot.id)
	}
	defer t.slot.release()
	release, err := rt.writer.acquire(ctx)
	if err != nil {
		return err
	}
	defer release()
	if err := rt.writer.usable(); err != nil {
		return err
	}
	return tenantError(fn(rt), t.slot.id)
}

// rotateDEK adds a DEK generation. The caller holds the writer.
func (rt *Runtime) rotateDEK(ctx context.Context) error {
	return rt.changeKeys(ctx, true, func(env keyring.Envelope) (keyring.Envelope, error) {
		return keyring.RotateDEK(rt.keys, env, rt.m.o.Clock.Now())
	})
}

func (rt *Runtime) changeKeys(ctx context.Context, newDEK bool, change func(keyring.Envelope) (keyring.Envelope, error)) error {
	st, err := rt.m.o.Shard.Tenant(rt.id)
	if err != nil {
		return err
	}
	env, err := keyring.DecodeEnvelope(st.Envelope)
	if err != nil {
		return err
	}
	// A record that is sealed meanwhile would be under the old generation.
	rt.writer.logMu.Lock()
	defer rt.writer.logMu.Unlock()
	changed, err := change(env)
	if err == nil {
		err = keyring.CheckSuccessor(env, changed)
	}
	if err != nil {
		return err
	}
	if err := rt.m.o.Shard.SetKeys(ctx, rt.id, st.Envelope, changed.Encode(), newDEK); err != nil {
		if fault.Is(err, fault.OutcomeUnknown) {
			rt.broken.Store(true) // the next opening takes the keys that were agreed on
		}
		if rt.m.replicated && fault.Is(err, fault.Conflict) {
			return rt.writer.notLogged(err)
		}
		return err
	}
	rt.dueAt.Store(0)
	rt.envelope = changed.Encode()
	return rt.keys.Update(changed)
}

// rotateKEK replaces the KEK. The new one is durable in the keyring before
// the envelope that needs it is agreed on, and the old one is destroyed only
// after: a crash at any point leaves the one that the envelope names.
func (rt *Runtime) rotateKEK(ctx context.Context) error {
	rt.slot.keyMu.Lock()
	defer rt.slot.keyMu.Unlock()
	var old, fresh ident.KeyGeneration
	err := rt.changeKeys(ctx, false, func(env keyring.Envelope) (changed keyring.Envelope, err error) {
		old = env.KEK
		err = rt.m.newKEK(ctx, rt.id, func() (kek keyring.Wrapped, err error) {
			changed, kek, err = keyring.RotateKEK(ctx, rt.m.o.Provider, rt.keys, env)
			return kek, err
		})
		if err == nil {
			fresh = changed.KEK
		}
		return changed, err
	})
	if err != nil {
		if !fresh.IsZero() && !fault.Is(err, fault.OutcomeUnknown) {
			// Nothing names the new KEK; losing this clean-up to a crash is
			// mended at the next start.
			_ = rt.m.destroyKEK(ctx, rt.id, fresh)
		}
		return err
	}
	return rt.m.destroyKEK(ctx, rt.id, old)
}

// rotateWhenDue replaces the DEK by itself, by age or by number of seals. A
// rotation that fails is tried again later: the policy leaves room.
func (w *writer) rotateWhenDue(ctx context.Context) {
	rt := w.rt
	if !rt.keysDue() {
		return
	}
	err := rt.rotateDEK(ctx)
	if err == nil {
		err = w.note(administration, audit.Entry{Principal: "system", Action: audit.KeyRotated, Object: "dek", Outcome: audit.OK})
	}
	if err != nil {
		rt.m.o.Logger.Warn("automatic key rotation failed; it is tried again", "tenant", rt.id.String(), "error", err.Error())
	}
}

// dueEvery is how many writes pass between two looks at the rotation policy.
const dueEvery = 64

// keysDue asks the rotation policy, once in a while.
func (rt *Runtime) keysDue() bool {
	every := uint64(dueEvery)
	if limit := rt.m.o.Rotation.MaxSeals; limit > 0 {
		every = min(every, limit)
	}
	if (rt.dueAt.Add(1)-1)%every != 0 {
		return false
	}
	status, err := rt.m.KeyStatus(rt.id)
	if err != nil || len(status.DEKs) == 0 {
		return false
	}
	created := status.DEKs[len(status.DEKs)-1].Created
	seals := rt.log.Position().Next.Uint64() - status.GenerationStart.Uint64() + rt.store.Seals()
	return keyring.NeedsDEKRotation(created, rt.m.o.Clock.Now(), seals, rt.m.o.Rotation)
}
