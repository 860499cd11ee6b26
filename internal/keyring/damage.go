package keyring

import (
	"cmp"
	"os"
	"path/filepath"
	"slices"

	"kimberlite/internal/disk"
	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
)

// Damage is one damaged place of a keyring.
type Damage struct {
	// Tenant and Generation say whose key was there; zero when that cannot be
	// told, or when the place held no key.
	Tenant     ident.TenantID
	Generation ident.KeyGeneration
	// Harmless says that no key can have been there: a free slot, which a
	// power loss during an unfinished Put or Destroy may have torn, or the
	// head of a file, whose content is known.
	Harmless bool
	// Fault is a Corruption that names file and offset.
	Fault *fault.Error
}

// Damage returns what Open found damaged and nothing has overwritten since,
// by file and offset.
func (r *Ring) Damage() []Damage {
	r.mu.RLock()
	defer r.mu.RUnlock()
	const op = "check keyring"
	var out []Damage
	for _, head := range r.heads {
		out = append(out, Damage{Harmless: true, Fault: head})
	}
	for _, at := range r.unowned {
		out = append(out, unownedDamage(op, r.path(at), at))
	}
	for tenant, entries := range r.damaged {
		for _, e := range entries {
			out = append(out, ownedDamage(op, r.path(e.at), e.at, owner{tenant, e.generation}))
		}
	}
	sortDamage(out)
	return out
}

// Inspect reads a keyring directory without changing it and returns every
// damaged place, by file and offset. Errors: as for Open.
func Inspect(fsys disk.FS, dir string) ([]Damage, error) {
	const op = "check keyring"
	highest, err := survey(fsys, dir, func(string) error { return nil })
	if fault.Is(err, fault.Corruption) {
		return nil, err
	}
	if err != nil {
		return nil, fault.Wrap(op, fault.Unavailable, err, "cannot read the keyring in %s", dir)
	}
	var out []Damage
	for number := 1; number <= highest; number++ {
		found, err := inspectFile(fsys, filepath.Join(dir, fileName(number)), number)
		if err != nil {
			return nil, err
		}
		out = append(out, found...)
	}
	sortDamage(out)
	return out, nil
}

func inspectFile(fsys disk.FS, path string, number int) ([]Damage, error) {
	const op = "check keyring"
	f, image, head, err := openFile(fsys, path, number, os.O_RDONLY)
	if fault.Is(err, fault.Incompatible) {
		return nil, err
	}
	if err != nil {
		return nil, fault.Wrap(op, fault.Unavailable, err, "cannot read %s", path)
	}
	var out []Damage
	if head != nil {
		out = append(out, Damage{Harmless: true, Fault: head})
	}
	scan(image, number, func(at place, s slot, v verdict) {
		switch v {
		case torn:
			out = append(out, Damage{Harmless: true, Fault: fault.Corrupt(op, path, at.offset(), "a free slot is damaged: no key was there")})
		case damaged:
			out = append(out, ownedDamage(op, path, at, s.owner))
		case unowned:
			out = append(out, unownedDamage(op, path, at))
		}
	})
	if f != nil {
		_ = f.Close() // read only: nothing to lose
	}
	return out, nil
}

func ownedDamage(op, path string, at place, o owner) Damage {
	err := fault.Corrupt(op, path, at.offset(), "the wrapped KEK of tenant %s, generation %s is damaged", o.tenant, o.generation)
	return Damage{Tenant: o.tenant, Generation: o.generation, Fault: err.ForTenant(o.tenant)}
}

func unownedDamage(op, path string, at place) Damage {
	return Damage{Fault: fault.Corrupt(op, path, at.offset(), "a slot is damaged, moved or missing, and whose it was cannot be told")}
}

func sortDamage(all []Damage) {
	slices.SortFunc(all, func(a, b Damage) int {
		return cmp.Or(cmp.Compare(a.Fault.File, b.Fault.File), cmp.Compare(a.Fault.Position, b.Fault.Position))
	})
}

// DestroyUnowned overwrites the damaged slots whose owner cannot be told, and
// writes damaged heads anew. If one of the slots held a tenant's key, that
// tenant is lost on this node, which it was already unless the slot can be
// restored by hand: an operator's decision. Errors: Stopped, DiskFull.
func (r *Ring) DestroyUnowned() error {
	const op = "destroy damaged keys"
	r.mu.Lock()
	if err := r.usable(op); err != nil {
		r.mu.Unlock()
		return err
	}
	err := r.renewHeads(op)
	var targets []target
	for _, at := range r.unowned {
		targets = append(targets, target{entry: entry{at: at}})
	}
	r.mu.Unlock()
	if err != nil {
		return err
	}
	return r.wipe(op, targets)
}

// renewHeads makes missing files anew and writes damaged heads, durably.
func (r *Ring) renewHeads(op string) error {
	for number := range r.heads {
		f := r.files[number-1]
		var err error
		if f == nil {
			if f, err = createFile(r.fs, r.dir, number); err != nil {
				return r.refuse(op, err)
			}
			r.files[number-1] = f
		} else {
			if _, err = f.WriteAt(encodeHead(number)[:], 0); err == nil {
				err = f.Truncate(sizeOf(number))
			}
			if err == nil {
				err = f.Sync()
			}
			if err != nil {
				return r.stop(op, err)
			}
		}
		delete(r.heads, number)
	}
	return nil
}
