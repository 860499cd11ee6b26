package directory

import (
	"encoding/binary"
	"time"

	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/replication"
)

// Feed applies commands to a directory that has no group, as its group would
// after they were committed: for models of deployments, which want the real
// state machine and no log. A directory with a Feed is never opened.
type Feed struct {
	d     *Directory
	index uint64
}

// NewFeed returns the feed of a directory.
func NewFeed(d *Directory) *Feed { return &Feed{d: d, index: d.Applied()} }

// Apply encodes a command, applies it, and returns what came of it and how many
// bytes it is in the log.
func (f *Feed) Apply(c Command, at time.Time) (Result, int, error) {
	if err := c.validate(); err != nil {
		return Result{}, 0, err
	}
	f.index++
	e := envelope{time: at.UnixNano(), command: c}
	binary.BigEndian.PutUint64(e.id[:], f.index)
	data, err := e.encode()
	if err != nil {
		return Result{}, 0, err
	}
	entries := []replication.Entry{{Index: f.index, Data: data}}
	if err := f.d.Apply(entries); err != nil {
		return Result{}, 0, err
	}
	o, ok := entries[0].Result.(outcome)
	if !ok {
		return Result{}, 0, fault.New("directory", fault.Internal, "a command has no outcome")
	}
	if o.Err != nil {
		return Result{}, len(data), o.Err
	}
	return o.Result, len(data), nil
}

// Checkpoint encodes what changed since the last one, as a checkpoint saves it,
// and returns how many bytes that is.
func (f *Feed) Checkpoint() (int, error) {
	f.d.applyMu.Lock()
	defer f.d.applyMu.Unlock()
	s := f.d.state
	kvs, err := s.changes(s.dirty)
	if err != nil {
		return 0, err
	}
	s.dirty = newDirty()
	n := 0
	for _, kv := range kvs {
		n += len(kv.Key) + len(kv.Value)
	}
	return n, nil
}

// SavedTenant returns how many bytes a tenant is in a checkpoint.
func (f *Feed) SavedTenant(id ident.TenantID) int {
	f.d.mu.RLock()
	defer f.d.mu.RUnlock()
	return len(tenantKey(id.Uint64())) + len(f.d.state.tenantValue(id.Uint64()))
}
