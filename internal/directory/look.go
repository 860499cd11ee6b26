package directory

import (
	"cmp"
	"slices"

	"kimberlite/internal/ident"
)

// lookPage is how many tenants a listing takes at a time, so that it holds no
// change up for long.
const lookPage = 256

// Tenant returns where a tenant is; an erased one, too. It allocates nothing.
func (d *Directory) Tenant(id ident.TenantID) (Tenant, bool) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	s := d.state
	if r := s.tenants.get(id.Uint64()); r != nil {
		return s.tenants.tenant(r, s.regions), true
	}
	if shard, region, ok := s.tenants.erasedAt(id.Uint64()); ok {
		return Tenant{ID: id, Region: s.regions[region], Shard: shardID(shard), State: TenantErased}, true
	}
	return Tenant{}, false
}

// TenantNamed returns where the tenant called name is. It allocates nothing.
func (d *Directory) TenantNamed(name string) (Tenant, bool) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	s := d.state
	if r := s.tenants.named(name); r != nil {
		return s.tenants.tenant(r, s.regions), true
	}
	return Tenant{}, false
}

// Tenants returns up to limit tenants with ids of at least from, by id, but
// erased ones.
func (d *Directory) Tenants(from ident.TenantID, limit int) []Tenant {
	var all []Tenant
	for next := from.Uint64(); len(all) < limit; {
		n := len(all)
		all = d.page(all, next, min(limit, n+lookPage))
		if len(all) < min(limit, n+lookPage) {
			break
		}
		if next = all[len(all)-1].ID.Uint64() + 1; next == 0 {
			break
		}
	}
	return all
}

// page appends tenants from an id on, until there are limit.
func (d *Directory) page(all []Tenant, from uint64, limit int) []Tenant {
	d.mu.RLock()
	defer d.mu.RUnlock()
	s := d.state
	s.tenants.ids.from(from, func(id uint64) bool {
		if len(all) >= limit {
			return false
		}
		all = append(all, s.tenants.tenant(s.tenants.get(id), s.regions))
		return true
	})
	return all
}

// TenantsOf calls fn for every tenant that a shard owns until it returns
// false. Tenants that come or go meanwhile may be left out, or seen twice. fn
// may call the directory.
func (d *Directory) TenantsOf(shard ident.ShardID, fn func(Tenant) bool) {
	// From the end, since one that leaves is replaced by the last: so nobody
	// who stays gets into the part that is still to come unseen.
	page := make([]Tenant, 0, lookPage)
	for end := d.TenantCount(shard); end > 0; {
		page, end = d.membersBefore(page[:0], shard, end)
		for _, t := range page {
			if !fn(t) {
				return
			}
		}
	}
}

// membersBefore appends up to lookPage of a shard's tenants at places below
// end, and returns the lowest place that it took.
func (d *Directory) membersBefore(page []Tenant, shard ident.ShardID, end int) ([]Tenant, int) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	s := d.state
	number, ok := shardNumber(shard)
	m := s.tenants.members[number]
	if !ok || m == nil {
		return page, 0
	}
	end = min(end, int(m.n))
	begin := max(0, end-lookPage)
	for i := end - 1; i >= begin; i-- {
		page = append(page, s.tenants.tenant(s.tenants.at(*m.at(uint32(i))), s.regions))
	}
	return page, begin
}

// shardNumber returns a shard as tenants' records name it.
func shardNumber(id ident.ShardID) (uint32, bool) {
	return uint32(id.Uint64()), id.Uint64() <= maxShards
}

// Unsettled returns the tenants that are being created or moved, by id.
func (d *Directory) Unsettled() []Tenant {
	d.mu.RLock()
	defer d.mu.RUnlock()
	s := d.state
	all := make([]Tenant, 0, len(s.tenants.unsettled))
	for slot := range s.tenants.unsettled {
		all = append(all, s.tenants.tenant(s.tenants.at(slot), s.regions))
	}
	slices.SortFunc(all, func(a, b Tenant) int { return cmp.Compare(a.ID.Uint64(), b.ID.Uint64()) })
	return all
}

// TenantCount returns how many tenants a shard owns.
func (d *Directory) TenantCount(shard ident.ShardID) int {
	d.mu.RLock()
	defer d.mu.RUnlock()
	number, ok := shardNumber(shard)
	if !ok {
		return 0
	}
	return d.state.tenants.owned(number)
}

// Counts returns how many tenants there are, and how many were erased.
func (d *Directory) Counts() (tenants, erased int) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.state.tenants.count, len(d.state.tenants.erased)
}

// Deployment returns what is one for all nodes.
func (d *Directory) Deployment() Deployment {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.state.deployment
}

// CA returns the certificates that nodes trust, PEM, and their generation. The
// bytes must not be changed.
func (d *Directory) CA() (pem []byte, generation uint64) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.state.ca.Data, d.state.ca.Generation
}

// Operators returns what SetOperators set, nil at first, and its generation.
// The bytes must not be changed.
func (d *Directory) Operators() (document []byte, generation uint64) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.state.operators.Data, d.state.operators.Generation
}

// Setting returns a setting of the deployment, "" when it is not set.
func (d *Directory) Setting(name string) string {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.state.settings[name]
}

// Node returns a node, also one that was removed.
func (d *Directory) Node(id ident.NodeID) (Node, bool) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if n := d.state.nodes[id]; n != nil {
		return *n, true
	}
	return Node{}, false
}

// Nodes returns all nodes, also those that were removed, by id.
func (d *Directory) Nodes() []Node {
	d.mu.RLock()
	all := make([]Node, 0, len(d.state.nodes))
	for _, n := range d.state.nodes {
		all = append(all, *n)
	}
	d.mu.RUnlock()
	slices.SortFunc(all, func(a, b Node) int { return cmp.Compare(a.ID.Uint64(), b.ID.Uint64()) })
	return all
}

// Shard returns a shard. Its slices must not be changed.
func (d *Directory) Shard(id ident.ShardID) (Shard, bool) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if h := d.state.shards[id]; h != nil {
		return *h, true
	}
	return Shard{}, false
}

// Shards returns all shards, by id. Their slices must not be changed.
func (d *Directory) Shards() []Shard {
	d.mu.RLock()
	all := make([]Shard, 0, len(d.state.shards))
	for _, h := range d.state.shards {
		all = append(all, *h)
	}
	d.mu.RUnlock()
	slices.SortFunc(all, func(a, b Shard) int { return compareShards(a.ID, b.ID) })
	return all
}

// Allotted says whether a shard has ever existed: one that has, and is not
// there, was removed.
func (d *Directory) Allotted(id ident.ShardID) bool {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return !id.IsDirectory() && id.Uint64() <= d.state.nextShard
}

// Regions returns the regions that have had a node, by name.
func (d *Directory) Regions() []ident.Region {
	d.mu.RLock()
	all := slices.Clone(d.state.regions)
	d.mu.RUnlock()
	slices.SortFunc(all, func(a, b ident.Region) int { return cmp.Compare(a.String(), b.String()) })
	return all
}
