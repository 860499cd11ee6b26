package tenant

import (
	"context"
	"errors"
	"time"

	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/keyring"
	"kimberlite/internal/shard"
)

// KeySpread takes wrapped KEKs to the other replicas of a tenant's shard,
// outside the replicated log. A receiver stores with [keyring.Ring.Put], which
// never overwrites: AlreadyExists says that it holds other bytes under that
// generation, and Put returns that error, so that the caller takes the next
// generation.
type KeySpread interface {
	// Put returns once a majority of the shard's voters holds the wrapped KEK
	// durably, this node included.
	Put(ctx context.Context, shard ident.ShardID, tenant ident.TenantID, generation ident.KeyGeneration, wrapped []byte) error
	// Destroy returns once every replica has destroyed it, or those that have
	// not are written down and are asked until they have.
	Destroy(ctx context.Context, shard ident.ShardID, tenant ident.TenantID, generation ident.KeyGeneration) error
	// Pull returns the wrapped KEK from a replica that has it. NotFound says
	// that none has.
	Pull(ctx context.Context, shard ident.ShardID, tenant ident.TenantID, generation ident.KeyGeneration) ([]byte, error)
}

// maxPutTries is how many generations are tried for a new KEK before somebody
// is told: each that is taken was left by an attempt that was interrupted.
const maxPutTries = 16

// newKEK calls next for a new wrapped KEK until one of a generation that no
// replica holds is durable on a majority of them.
func (m *Manager) newKEK(ctx context.Context, id ident.TenantID, next func() (keyring.Wrapped, error)) error {
	for attempt := 1; ; attempt++ {
		kek, err := next()
		if err != nil {
			return err
		}
		err = m.putKEK(ctx, id, kek)
		if !fault.Is(err, fault.AlreadyExists) || attempt == maxPutTries {
			return err
		}
	}
}

// putKEK makes a wrapped KEK durable here and on a majority of the replicas.
// When it fails, whoever has it is asked to destroy it.
func (m *Manager) putKEK(ctx context.Context, id ident.TenantID, kek keyring.Wrapped) error {
	if err := m.o.Ring.Put(id, kek.Gen, kek.Blob); err != nil || m.o.KeySpread == nil {
		return err
	}
	err := m.o.KeySpread.Put(ctx, m.o.Shard.ID(), id, kek.Gen, kek.Blob)
	if err == nil {
		return nil
	}
	// Only ours goes: the others' of this generation may be another's, and
	// nothing will ever name this one.
	if destroyErr := m.o.Ring.Destroy(id, kek.Gen); destroyErr != nil {
		return errors.Join(err, destroyErr)
	}
	return err
}

// destroyWait bounds how long the destruction of a KEK waits for the others,
// whatever becomes of the caller.
const destroyWait = 10 * time.Second

// destroyKEK destroys a wrapped KEK here and on every replica.
func (m *Manager) destroyKEK(ctx context.Context, id ident.TenantID, generation ident.KeyGeneration) error {
	err := m.o.Ring.Destroy(id, generation)
	if m.o.KeySpread == nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), destroyWait)
	defer cancel()
	return errors.Join(err, m.o.KeySpread.Destroy(ctx, m.o.Shard.ID(), id, generation))
}

// acquireKeys returns a tenant's keys. A wrapped KEK that this node lacks is
// pulled from another replica first.
func (m *Manager) acquireKeys(ctx context.Context, id ident.TenantID, env keyring.Envelope) (*keyring.Lease, error) {
	lease, err := m.o.Keys.Acquire(ctx, id, env, m.o.Ring, m.o.Provider)
	if err == nil || m.o.KeySpread == nil {
		return lease, err
	}
	_, missing := m.o.Ring.Get(id, env.KEK)
	if !fault.Is(missing, fault.NotFound) && !fault.Is(missing, fault.Corruption) {
		return nil, err
	}
	blob, pullErr := m.o.KeySpread.Pull(ctx, m.o.Shard.ID(), id, env.KEK)
	if pullErr != nil {
		if fault.Is(pullErr, fault.NotFound) {
			return nil, err
		}
		return nil, errors.Join(err, pullErr)
	}
	if err := m.o.Ring.Put(id, env.KEK, blob); err != nil {
		return nil, err
	}
	return m.o.Keys.Acquire(ctx, id, env, m.o.Ring, m.o.Provider)
}

// headKeys returns the keys to sign a head with. Every replica signs its own
// files, so that each can be verified by itself; but a follower only when it
// has the keys open anyway: it must not ask the key service for every tenant.
// It returns nil and no error then.
func (m *Manager) headKeys(ctx context.Context, id ident.TenantID, env keyring.Envelope) (*keyring.Lease, error) {
	if _, leads := m.o.Shard.Lead(); leads {
		return m.acquireKeys(ctx, id, env)
	}
	if lease, ok := m.o.Keys.AtHand(id); ok {
		return lease, nil
	}
	return nil, nil
}

// SettleKeys destroys what interrupted changes of keys have left of this
// shard's tenants: wrapped KEKs that no envelope names. The leader does it once
// in a term, and knows that no envelope is on its way; elsewhere, and of a tenant
// that moves, only those older than the envelope's are destroyed.
func (m *Manager) SettleKeys(ctx context.Context) error {
	_, leads := m.o.Shard.Lead()
	var errs []error
	for _, st := range m.o.Shard.Tenants() {
		if ctx.Err() != nil {
			return fault.OfContext("settle keys", ctx)
		}
		if err := m.settleKeys(ctx, st.ID, leads); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (m *Manager) settleKeys(ctx context.Context, id ident.TenantID, leads bool) error {
	if len(m.o.Ring.Generations(id)) < 2 {
		return nil
	}
	s, err := m.slotEvenClosing(id)
	if err != nil {
		return err
	}
	s.keyMu.Lock() // no rotation is under way here
	defer s.keyMu.Unlock()
	// What is there is listed first, and only then is it made sure that this
	// shard serves the tenant: the ring is the whole node's, and a KEK that
	// another shard's envelope names must not look like one that nothing names
	// while the tenant moves.
	have := m.o.Ring.Generations(id)
	if leads {
		if err := m.o.Shard.ReadIndex(ctx); err != nil {
			return err
		}
	}
	st, err := m.o.Shard.Tenant(id)
	if err != nil {
		return err
	}
	env, err := keyring.DecodeEnvelope(st.Envelope)
	if err != nil {
		return err
	}
	if _, err := m.o.Ring.Get(id, env.KEK); err != nil {
		return err // nothing is destroyed while the one that counts is not there
	}
	leads = leads && st.Phase == shard.Serving
	var errs []error
	for _, g := range have {
		switch {
		case g != env.KEK && leads:
			errs = append(errs, m.destroyKEK(ctx, id, g))
		case g.Uint32() < env.KEK.Uint32():
			errs = append(errs, m.o.Ring.Destroy(id, g))
		}
	}
	return errors.Join(errs...)
}
