package keyring

import (
	"cmp"
	"maps"
	"slices"

	"kimberlite/internal/ident"
)

// entry is one slot of a tenant, in 8 bytes.
type entry struct {
	generation ident.KeyGeneration
	at         place
}

// index finds slots by owner. Nearly every tenant has one slot, which costs a
// map entry of 16 bytes and no allocation of its own; the few that are between
// two KEKs have the others in more. The zero index is not ready: use newIndex.
type index struct {
	first map[ident.TenantID]entry
	more  map[ident.TenantID][]entry // only of tenants that are in first
}

func newIndex() index {
	return index{first: map[ident.TenantID]entry{}, more: map[ident.TenantID][]entry{}}
}

// all returns the tenant's slots in no order; the caller may keep it.
func (x *index) all(tenant ident.TenantID) []entry {
	e, ok := x.first[tenant]
	if !ok {
		return nil
	}
	return append([]entry{e}, x.more[tenant]...)
}

// find returns the slot of a generation.
func (x *index) find(o owner) (place, bool) {
	if e, ok := x.first[o.tenant]; ok && e.generation == o.generation {
		return e.at, true
	}
	for _, e := range x.more[o.tenant] {
		if e.generation == o.generation {
			return e.at, true
		}
	}
	return 0, false
}

// set makes at the slot of an owner, instead of any other.
func (x *index) set(o owner, at place) {
	x.remove(o)
	e := entry{o.generation, at}
	if _, ok := x.first[o.tenant]; ok {
		x.more[o.tenant] = append(x.more[o.tenant], e)
		return
	}
	x.first[o.tenant] = e
}

// remove forgets the slot of an owner.
func (x *index) remove(o owner) {
	rest := slices.DeleteFunc(x.all(o.tenant), func(e entry) bool { return e.generation == o.generation })
	delete(x.first, o.tenant)
	delete(x.more, o.tenant)
	if len(rest) > 0 {
		x.first[o.tenant] = rest[0]
	}
	if len(rest) > 1 {
		x.more[o.tenant] = rest[1:]
	}
}

// tenants returns every tenant that has a slot, in ascending order.
func (x *index) tenants() []ident.TenantID {
	return slices.SortedFunc(maps.Keys(x.first), func(a, b ident.TenantID) int {
		return cmp.Compare(a.Uint64(), b.Uint64())
	})
}
