package keyring

import (
	"bytes"
	"cmp"
	"errors"
	"path/filepath"
	"slices"
	"sync"

	"kimberlite/internal/disk"
	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
)

// Options says where a ring lives.
type Options struct {
	// FS is the filesystem.
	FS disk.FS
	// Dir is the directory of the keyring files; made when missing. The
	// directory that holds it is the caller's, and durable already.
	Dir string
}

// Ring is the wrapped KEKs of all tenants of a node, in files of their own.
// It is safe for concurrent use. Only one Ring may have a directory open: the
// caller holds the data directory's lock.
//
// What Get returns was durable before. After a write or sync of Put, Replace
// or Destroy failed for anything but a full disk, the ring refuses all
// further changes with Stopped, since what the disk holds is in doubt.
type Ring struct {
	fs  disk.FS
	dir string

	syncing sync.Mutex // held during fsync, and by Close; taken before mu

	mu       sync.RWMutex // guards all below, and the bytes of every slot
	files    []disk.File  // file number n at n-1; nil when it is missing
	index    index
	stale    map[ident.TenantID][]entry // older slots of an owner that has a newer one
	damaged  map[ident.TenantID][]entry // unreadable slots whose owner is known
	unowned  []place                    // unreadable slots that may be anyone's
	heads    map[int]*fault.Error       // damaged heads, by file number
	free     []place                    // a stack
	inflight map[owner]struct{}         // being put, and not durable yet
	sequence uint64                     // highest in use
	batch    *batch                     // collects writes until the next fsync
	failed   error                      // why no further change is possible
	closed   bool
}

// Get returns the wrapped KEK of a tenant and generation, in fresh memory.
// Errors: NotFound; Corruption, naming file and offset, when the slot is
// damaged, or when it is not there and a damaged slot may have been it.
func (r *Ring) Get(tenant ident.TenantID, generation ident.KeyGeneration) ([]byte, error) {
	const op = "read keyring"
	r.mu.RLock()
	defer r.mu.RUnlock()
	if r.closed {
		return nil, closed(op)
	}
	o := owner{tenant, generation}
	at, ok := r.index.find(o)
	if !ok {
		return nil, r.absent(op, o)
	}
	s, err := r.read(op, at)
	if err != nil {
		return nil, err
	}
	if s.owner != o {
		return nil, r.corrupt(op, at, "the slot of tenant %s holds another's key", tenant).ForTenant(tenant)
	}
	return s.wrapped, nil
}

// absent returns the error for an owner that the index does not know: damage
// must never look like a key that was destroyed.
func (r *Ring) absent(op string, o owner) error {
	for _, e := range r.damaged[o.tenant] {
		if e.generation == o.generation {
			return r.corrupt(op, e.at, "the wrapped KEK of tenant %s, generation %s is damaged", o.tenant, o.generation).ForTenant(o.tenant)
		}
	}
	if len(r.unowned) > 0 {
		return r.corrupt(op, r.unowned[0], "no KEK of tenant %s, generation %s is found, and a slot whose owner cannot be told is damaged", o.tenant, o.generation).ForTenant(o.tenant)
	}
	return fault.New(op, fault.NotFound, "the keyring holds no KEK of tenant %s, generation %s", o.tenant, o.generation).ForTenant(o.tenant)
}

// read returns a live slot; its wrapped bytes are fresh memory.
func (r *Ring) read(op string, at place) (slot, error) {
	f := r.files[at.file()-1]
	if f == nil {
		return slot{}, r.corrupt(op, at, "the keyring file is missing")
	}
	var b [slotSize]byte
	if _, err := f.ReadAt(b[:], at.offset()); err != nil {
		return slot{}, fault.Wrap(op, fault.Unavailable, err, "cannot read the keyring file %s", r.path(at))
	}
	s, v := decodeSlot(b[:], at)
	if v != live {
		return slot{}, r.corrupt(op, at, "a wrapped KEK is damaged")
	}
	s.wrapped = bytes.Clone(s.wrapped)
	return s, nil
}

// Generations returns the generations that the tenant has a readable slot of,
// ascending.
func (r *Ring) Generations(tenant ident.TenantID) []ident.KeyGeneration {
	r.mu.RLock()
	defer r.mu.RUnlock()
	entries := r.index.all(tenant)
	out := make([]ident.KeyGeneration, len(entries))
	for i, e := range entries {
		out[i] = e.generation
	}
	slices.SortFunc(out, func(a, b ident.KeyGeneration) int { return cmp.Compare(a.Uint32(), b.Uint32()) })
	return out
}

// Tenants returns every tenant that has a slot, readable or not, ascending.
// The shard compares it at start with the tenants that its state knows.
func (r *Ring) Tenants() []ident.TenantID {
	r.mu.RLock()
	defer r.mu.RUnlock()
	all := r.index.tenants()
	for tenant := range r.damaged {
		if _, ok := r.index.first[tenant]; !ok {
			all = append(all, tenant)
		}
	}
	slices.SortFunc(all, func(a, b ident.TenantID) int { return cmp.Compare(a.Uint64(), b.Uint64()) })
	return all
}

// Close waits for what is being made durable and closes the files. Further
// calls fail with Closed. Closing twice is allowed.
func (r *Ring) Close() error {
	r.syncing.Lock()
	defer r.syncing.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil
	}
	r.closed = true
	var errs []error
	for _, f := range r.files {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fault.Wrap("close keyring", fault.Unavailable, err, "cannot close the keyring files")
	}
	return nil
}

func (r *Ring) path(at place) string { return filepath.Join(r.dir, fileName(at.file())) }

func (r *Ring) corrupt(op string, at place, format string, args ...any) *fault.Error {
	return fault.Corrupt(op, r.path(at), at.offset(), format, args...)
}

func closed(op string) error { return fault.New(op, fault.Closed, "the keyring is closed") }
