package keyring

import (
	"bytes"
	"errors"
	"syscall"

	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
)

// Put stores a wrapped KEK and returns when it is durable; concurrent calls
// share one fsync. Putting the same bytes again does nothing. Errors: Invalid
// for a zero tenant or generation or for more than [MaxWrapped] bytes;
// AlreadyExists when the generation is there with other bytes (a KEK that a
// committed envelope may name is never overwritten: see Replace); Conflict
// when the same generation is being put; DiskFull; Stopped.
func (r *Ring) Put(tenant ident.TenantID, generation ident.KeyGeneration, wrapped []byte) error {
	const op = "put key"
	o := owner{tenant, generation}
	at, b, err := r.stage(op, o, wrapped, false)
	if err != nil || b == nil {
		return err
	}
	_, err = r.publish(o, at, r.commit(b))
	return err
}

// Replace stores a KEK that was wrapped anew (see [RewrapKEK]) in place of the
// one of the same tenant and generation: the new slot is durable before the
// old one is destroyed, and both are done when it returns. A crash between
// leaves both; the newer one counts, and Reconcile destroys the older. Errors
// as for Put, and NotFound when there is nothing to replace.
func (r *Ring) Replace(tenant ident.TenantID, generation ident.KeyGeneration, wrapped []byte) error {
	const op = "replace key"
	o := owner{tenant, generation}
	at, b, err := r.stage(op, o, wrapped, true)
	if err != nil {
		return err
	}
	if b == nil { // there already; a crash may have kept the old form beside it
		r.mu.RLock()
		old := r.slots(tenant, func(e entry, old bool) bool { return old && e.generation == generation })
		r.mu.RUnlock()
		return r.wipe(op, old)
	}
	old, err := r.publish(o, at, r.commit(b))
	if err != nil {
		return err
	}
	return r.wipe(op, old)
}

// stage writes a new slot and returns the batch that makes it durable; a nil
// batch with a nil error says that the same bytes are there already.
func (r *Ring) stage(op string, o owner, wrapped []byte, replace bool) (place, *batch, error) {
	if o.tenant.IsZero() || o.generation.IsZero() || len(wrapped) == 0 || len(wrapped) > MaxWrapped {
		return 0, nil, fault.New(op, fault.Invalid, "a keyring slot needs a tenant, a generation and 1 to %d bytes, not %d", MaxWrapped, len(wrapped)).ForTenant(o.tenant)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.usable(op); err != nil {
		return 0, nil, err
	}
	if same, err := r.compare(op, o, wrapped, replace); same || err != nil {
		return 0, nil, err
	}
	at, err := r.take(op)
	if err != nil {
		return 0, nil, err
	}
	r.sequence++
	s := slot{owner: o, sequence: r.sequence, wrapped: wrapped}
	if err := r.write(at, encodeLive(s, at)); err != nil {
		// The slot may hold a part of it: remember it as damage, so that
		// Reconcile and DestroyAll overwrite it.
		r.damaged[o.tenant] = append(r.damaged[o.tenant], entry{o.generation, at})
		return 0, nil, r.refuse(op, err)
	}
	r.inflight[o] = struct{}{}
	return at, r.join(at), nil
}

// compare decides whether a slot may be written for an owner.
func (r *Ring) compare(op string, o owner, wrapped []byte, replace bool) (same bool, err error) {
	if _, busy := r.inflight[o]; busy {
		return false, fault.New(op, fault.Conflict, "generation %s of this tenant's KEK is being stored by another call", o.generation).ForTenant(o.tenant)
	}
	at, ok := r.index.find(o)
	switch {
	case !ok && replace:
		return false, r.absent(op, o)
	case !ok:
		return false, nil
	}
	s, err := r.read(op, at)
	switch {
	case err != nil && !replace:
		return false, err
	case err == nil && bytes.Equal(s.wrapped, wrapped):
		return true, nil
	case !replace:
		return false, fault.New(op, fault.AlreadyExists, "the keyring holds another KEK of generation %s: use the next generation", o.generation).ForTenant(o.tenant)
	}
	return false, nil
}

// publish makes a durable slot the one that Get finds, and returns the places
// of older slots of the same owner. err is what commit returned.
func (r *Ring) publish(o owner, at place, err error) ([]target, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.inflight, o)
	if err != nil {
		return nil, err
	}
	var old []target
	if before, ok := r.index.find(o); ok {
		e := entry{o.generation, before}
		old = append(old, target{o.tenant, e})
		// Until wipe is done it is a slot of the tenant's like any other.
		r.stale[o.tenant] = append(r.stale[o.tenant], e)
	}
	r.index.set(o, at)
	return old, nil
}

// Destroy overwrites every slot of the tenant's KEK of a generation, older and
// damaged copies included, with random bytes, and returns when that is
// durable. A generation that is not there is no error. Errors: Stopped, and
// then the key may still be on the disk.
func (r *Ring) Destroy(tenant ident.TenantID, generation ident.KeyGeneration) error {
	const op = "destroy key"
	r.mu.RLock()
	targets := r.slots(tenant, func(e entry, _ bool) bool { return e.generation == generation })
	r.mu.RUnlock()
	return r.wipe(op, targets)
}

// DestroyAll overwrites every slot of the tenant, damaged ones included, and
// returns when that is durable. Puts of the tenant must have ended. It then
// fails with Corruption, naming the place, when a damaged slot is left whose
// owner cannot be told, since that slot may hold a key of the tenant: an
// erasure is complete only when it returned nil. See [Ring.DestroyUnowned].
func (r *Ring) DestroyAll(tenant ident.TenantID) error {
	const op = "destroy keys"
	r.mu.RLock()
	targets := r.slots(tenant, func(entry, bool) bool { return true })
	r.mu.RUnlock()
	if err := r.wipe(op, targets); err != nil {
		return err
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	if len(r.unowned) > 0 {
		return r.corrupt(op, r.unowned[0], "the tenant's keys are destroyed, but a damaged slot is left that may hold one of anybody: destroy the damaged slots to complete the erasure").ForTenant(tenant)
	}
	return nil
}

// slots returns the tenant's slots that want chooses: each in force, each older
// copy (old), each damaged one.
func (r *Ring) slots(tenant ident.TenantID, want func(e entry, old bool) bool) []target {
	var out []target
	add := func(list []entry, old bool) {
		for _, e := range list {
			if want(e, old) {
				out = append(out, target{tenant, e})
			}
		}
	}
	add(r.index.all(tenant), false)
	add(r.stale[tenant], true)
	add(r.damaged[tenant], true)
	return out
}

// Reconcile settles at start what a crash left half done: it destroys every
// slot of the tenant but the one of the KEK that the committed envelope names.
// It destroys nothing unless that one is there and readable; else it returns
// what Get returns. Call it only when no later envelope of the tenant can
// still be committed: a KEK that was put for an envelope on its way would be
// destroyed.
func (r *Ring) Reconcile(tenant ident.TenantID, envelopeKEK ident.KeyGeneration) error {
	r.mu.RLock()
	targets := r.slots(tenant, func(e entry, old bool) bool { return old || e.generation != envelopeKEK })
	_, there := r.index.find(owner{tenant, envelopeKEK})
	r.mu.RUnlock()
	if there && len(targets) == 0 {
		return nil // the usual case costs no read: Open has read the slot
	}
	if _, err := r.Get(tenant, envelopeKEK); err != nil {
		return err
	}
	return r.wipe("reconcile keyring", targets)
}

// refuse turns a write's error into what the caller is told, and stops the
// ring unless the disk was only full.
func (r *Ring) refuse(op string, err error) error {
	if errors.Is(err, syscall.ENOSPC) {
		return fault.Wrap(op, fault.DiskFull, err, "the disk has no room for the keyring: free some")
	}
	return r.stop(op, err)
}
