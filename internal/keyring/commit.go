package keyring

import (
	"slices"

	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
)

// batch is the writes that one round of fsync makes durable. Its files are
// guarded by Ring.mu until the round begins, done and err by Ring.syncing.
type batch struct {
	files []int // numbers of the files written to
	done  bool
	err   error
}

// join adds a write at a place to the batch that is being collected.
func (r *Ring) join(at place) *batch {
	if r.batch == nil {
		r.batch = &batch{}
	}
	if !slices.Contains(r.batch.files, at.file()) {
		r.batch.files = append(r.batch.files, at.file())
	}
	return r.batch
}

// commit returns when the batch is durable. Whoever gets the lock first syncs
// for all that joined meanwhile; the others find it done.
func (r *Ring) commit(b *batch) error {
	r.syncing.Lock()
	defer r.syncing.Unlock()
	if b.done {
		return b.err
	}
	r.mu.Lock()
	if r.batch == b {
		r.batch = nil // later writes go into the next round
	}
	files := r.files
	err := r.usable("sync keyring")
	r.mu.Unlock()
	for _, number := range b.files {
		if err == nil {
			err = files[number-1].Sync()
		}
	}
	b.done = true
	switch {
	case fault.Is(err, fault.Closed):
		b.err = err
	case err != nil:
		r.mu.Lock()
		b.err = r.stop("sync keyring", err)
		r.mu.Unlock()
	}
	return b.err
}

// target is a slot to wipe; the tenant is zero when the owner is not known.
type target struct {
	tenant ident.TenantID
	entry
}

// wipe overwrites slots, forgets them, and returns when that is durable; only
// then may they be used again. Targets that another call wiped meanwhile are
// passed over.
func (r *Ring) wipe(op string, targets []target) error {
	r.mu.Lock()
	if err := r.usable(op); err != nil {
		r.mu.Unlock()
		return err
	}
	targets = slices.DeleteFunc(targets, func(t target) bool { return !r.forget(t) })
	if len(targets) == 0 {
		r.mu.Unlock()
		return nil
	}
	var b *batch
	for _, t := range targets {
		if err := r.write(t.at, encodeFree(t.at)); err != nil {
			// Forgotten and perhaps still there: no later call may say "gone".
			err = r.stop(op, err)
			r.mu.Unlock()
			return err
		}
		b = r.join(t.at)
	}
	r.mu.Unlock()
	if err := r.commit(b); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, t := range targets {
		r.free = append(r.free, t.at)
	}
	return nil
}

// forget removes a slot from the list that it is in, so that no Get finds it,
// and reports whether it was in one.
func (r *Ring) forget(t target) bool {
	if at, ok := r.index.find(owner{t.tenant, t.generation}); ok && at == t.at {
		r.index.remove(owner{t.tenant, t.generation})
		return true
	}
	before := len(r.unowned)
	r.unowned = slices.DeleteFunc(r.unowned, func(at place) bool { return at == t.at })
	return len(r.unowned) < before || drop(r.stale, t) || drop(r.damaged, t)
}

// drop removes a target from one of the lists by tenant.
func drop(m map[ident.TenantID][]entry, t target) bool {
	before := len(m[t.tenant])
	rest := slices.DeleteFunc(m[t.tenant], func(e entry) bool { return e.at == t.at })
	if len(rest) == 0 {
		delete(m, t.tenant)
	} else {
		m[t.tenant] = rest
	}
	return len(rest) < before
}

// write puts a slot's bytes into the file, not yet durable.
func (r *Ring) write(at place, b *[slotSize]byte) error {
	_, err := r.files[at.file()-1].WriteAt(b[:], at.offset())
	return err
}

// take returns a free slot, from a new file when all are used.
func (r *Ring) take(op string) (place, error) {
	if len(r.free) == 0 {
		if err := r.grow(op); err != nil {
			return 0, err
		}
	}
	at := r.free[len(r.free)-1]
	r.free = r.free[:len(r.free)-1]
	return at, nil
}

// grow adds a file of free slots. All other calls wait: some tens of
// milliseconds, once per doubling.
func (r *Ring) grow(op string) error {
	number := len(r.files) + 1
	if number > maxFiles {
		return fault.New(op, fault.TooLarge, "the keyring is full: it has %d files", maxFiles)
	}
	f, err := createFile(r.fs, r.dir, number)
	if err != nil {
		return r.refuse(op, err)
	}
	r.files = append(r.files, f)
	for i := slotsOf(number); i > 0; i-- { // the lowest on top
		r.free = append(r.free, newPlace(number, i))
	}
	return nil
}

// usable returns why no change is possible, or nil.
func (r *Ring) usable(op string) error {
	if r.closed {
		return closed(op)
	}
	return r.failed
}

// stop ends all changes: after a failed write or fsync, what the disk holds is
// in doubt, and syncing again would prove nothing.
func (r *Ring) stop(op string, err error) error {
	if r.failed == nil {
		r.failed = fault.Wrap(op, fault.Stopped, err, "the keyring in %s stopped, since its disk failed: repair the disk and restart", r.dir)
	}
	return r.failed
}
