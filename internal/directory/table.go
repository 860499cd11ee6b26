package directory

import (
	"hash/maphash"
	"math"

	"kimberlite/internal/ident"
)

// slabRecords is how many records share one allocation.
const slabRecords = 4096

// record is a tenant in memory, without a pointer. 48 bytes; to it come about
// 15 each in byID and byName, 8 to 16 in ids, 4 in members, and the name.
type record struct {
	id, epoch uint64
	chunk     uint32 // of the name
	shard     uint32
	other     uint32 // target or source of a move, or 0
	pos       uint32 // place in the shard's members
	off       uint16 // of the name
	region    uint16 // index in state.regions
	size      uint8  // of the name
	state     TenantState
}

func (r *record) name() nameRef { return nameRef{r.chunk, r.off, r.size} }

// placement is a tenant's state but for id and name.
type placement struct {
	epoch        uint64
	shard, other uint32
	region       uint16
	state        TenantState
}

// table is all tenants. It finds them by id and by name, lists them by id and
// by shard, and never stands still for long when it grows: no part of it is
// copied as a whole.
type table struct {
	seed    maphash.Seed
	slabs   []*[slabRecords]record
	used    uint32   // slots that were ever used
	free    []uint32 // of these, those that are not
	names   arena
	byID    index
	byName  index
	count   int
	ids     order
	members map[uint32]*members // by shard
	// unsettled are the slots of tenants that are being created or moved.
	unsettled map[uint32]struct{}
	// erased keeps ids that are not used again: region and last shard.
	erased map[uint64]uint64
}

func newTable() *table {
	return &table{
		seed: maphash.MakeSeed(), members: map[uint32]*members{}, unsettled: map[uint32]struct{}{}, erased: map[uint64]uint64{},
	}
}

func (t *table) at(slot uint32) *record { return &t.slabs[slot/slabRecords][slot%slabRecords] }

func (t *table) hashID(id uint64) uint64     { return maphash.Comparable(t.seed, id) }
func (t *table) hashName(name string) uint64 { return maphash.String(t.seed, name) }

// find returns a tenant's slot.
func (t *table) find(id uint64) (slot uint32, ok bool) {
	for s := t.byID.seek(t.hashID(id)); ; {
		if slot, ok = s.next(); !ok || t.at(slot).id == id {
			return slot, ok
		}
	}
}

// get returns a tenant's record, nil when there is none.
func (t *table) get(id uint64) *record {
	if slot, ok := t.find(id); ok {
		return t.at(slot)
	}
	return nil
}

// named returns the record of the tenant called name, or nil.
func (t *table) named(name string) *record {
	for s := t.byName.seek(t.hashName(name)); ; {
		slot, ok := s.next()
		if !ok {
			return nil
		}
		if r := t.at(slot); t.names.get(r.name()) == name {
			return r
		}
	}
}

// add puts in a tenant whose id and name are free.
func (t *table) add(id uint64, name string, p placement) {
	slot := t.slot()
	r := t.at(slot)
	*r = record{id: id}
	t.byID.add(t.hashID(id), slot)
	t.count++
	t.ids.add(id)
	t.setName(slot, name)
	r.shard = p.shard
	t.join(slot)
	t.set(r, p)
}

func (t *table) slot() uint32 {
	if n := len(t.free); n > 0 {
		slot := t.free[n-1]
		t.free = t.free[:n-1]
		return slot
	}
	if t.used == math.MaxUint32-1 {
		panic("directory: more tenants than slots") // 200 GB before
	}
	if int(t.used/slabRecords) == len(t.slabs) {
		t.slabs = append(t.slabs, new([slabRecords]record))
	}
	t.used++
	return t.used - 1
}

// set changes where a tenant is.
func (t *table) set(r *record, p placement) {
	slot, _ := t.find(r.id)
	if r.shard != p.shard {
		t.leave(slot)
		r.shard = p.shard
		t.join(slot)
	}
	r.epoch, r.other, r.region, r.state = p.epoch, p.other, p.region, p.state
	if p.state == TenantActive {
		delete(t.unsettled, slot)
	} else {
		t.unsettled[slot] = struct{}{}
	}
}

func (r *record) placement() placement {
	return placement{epoch: r.epoch, shard: r.shard, other: r.other, region: r.region, state: r.state}
}

// remove forgets a tenant altogether.
func (t *table) remove(r *record) {
	slot, _ := t.find(r.id)
	t.dropName(slot)
	t.leave(slot)
	t.ids.remove(r.id)
	t.byID.remove(t.hashID(r.id), slot)
	t.count--
	delete(t.unsettled, slot)
	*r = record{}
	t.free = append(t.free, slot)
}

// erase keeps a tenant's id, and where it was.
func (t *table) erase(r *record) {
	id, shard, region := r.id, r.shard, r.region
	t.remove(r)
	t.putErased(id, shard, region)
}

func (t *table) putErased(id uint64, shard uint32, region uint16) {
	t.erased[id] = uint64(region)<<32 | uint64(shard)
}

// erasedAt returns where an erased tenant was.
func (t *table) erasedAt(id uint64) (shard uint32, region uint16, ok bool) {
	v, ok := t.erased[id]
	return uint32(v), uint16(v >> 32), ok
}

// rename gives a tenant a name that is free.
func (t *table) rename(r *record, name string) {
	slot, _ := t.find(r.id)
	t.dropName(slot)
	t.setName(slot, name)
}

func (t *table) setName(slot uint32, name string) {
	r, ref := t.at(slot), t.names.put(name)
	r.chunk, r.off, r.size = ref.chunk, ref.off, ref.size
	t.byName.add(t.hashName(name), slot)
}

func (t *table) dropName(slot uint32) {
	ref := t.at(slot).name()
	t.byName.remove(t.hashName(t.names.get(ref)), slot)
	t.names.drop(ref)
}

// join lists a tenant under its shard.
func (t *table) join(slot uint32) {
	r := t.at(slot)
	m := t.members[r.shard]
	if m == nil {
		m = &members{}
		t.members[r.shard] = m
	}
	r.pos = m.n
	m.push(slot)
}

// leave takes a tenant out of its shard's list. The last one takes its place.
func (t *table) leave(slot uint32) {
	r := t.at(slot)
	m := t.members[r.shard]
	last := m.pop()
	if last != slot {
		*m.at(r.pos) = last
		t.at(last).pos = r.pos
	}
	if m.n == 0 {
		delete(t.members, r.shard)
	}
}

// owned returns how many tenants a shard owns.
func (t *table) owned(shard uint32) int {
	if m := t.members[shard]; m != nil {
		return int(m.n)
	}
	return 0
}

// tenant returns a record as the outside knows it.
func (t *table) tenant(r *record, regions []ident.Region) Tenant {
	id, _ := ident.NewTenantID(r.id)
	out := Tenant{
		ID: id, Name: t.names.get(r.name()), Region: regions[r.region],
		Shard: shardID(r.shard), Epoch: r.epoch, State: r.state,
	}
	switch r.state {
	case TenantMoving:
		out.Target = shardID(r.other)
	case TenantReleasing:
		out.Source = shardID(r.other)
	}
	return out
}

func shardID(n uint32) ident.ShardID { return ident.NewShardID(uint64(n)) }

// members are the slots of a shard's tenants, in pages.
type members struct {
	pages []*[memberPage]uint32
	n     uint32
}

const memberPage = 256

func (m *members) at(i uint32) *uint32 { return &m.pages[i/memberPage][i%memberPage] }

func (m *members) push(slot uint32) {
	if int(m.n/memberPage) == len(m.pages) {
		m.pages = append(m.pages, new([memberPage]uint32))
	}
	*m.at(m.n) = slot
	m.n++
}

func (m *members) pop() uint32 {
	m.n--
	slot := *m.at(m.n)
	if m.n%memberPage == 0 {
		m.pages = m.pages[:m.n/memberPage]
	}
	return slot
}
