package directory

import (
	"kimberlite/internal/ident"
)

// Tenant returns where a tenant is; an erased one, too.
func (d *Directory) Tenant(id ident.TenantID) (Tenant, bool) { return Tenant{}, false }

// TenantNamed returns where the tenant called name is.
func (d *Directory) TenantNamed(name string) (Tenant, bool) { return Tenant{}, false }

// Tenants returns up to limit tenants with ids of at least from, by id, but
// erased ones.
func (d *Directory) Tenants(from ident.TenantID, limit int) []Tenant { return nil }

// TenantsOf calls fn for every tenant that a shard owns until it returns
// false. Tenants that come or go meanwhile may be left out, or seen twice.
func (d *Directory) TenantsOf(shard ident.ShardID, fn func(Tenant) bool) {}

// Unsettled returns the tenants that are being created or moved, by id.
func (d *Directory) Unsettled() []Tenant { return nil }

// TenantCount returns how many tenants a shard owns.
func (d *Directory) TenantCount(shard ident.ShardID) int { return 0 }

// Counts returns how many tenants there are, and how many were erased.
func (d *Directory) Counts() (tenants, erased int) { return 0, 0 }

// Deployment returns what is one for all nodes.
func (d *Directory) Deployment() Deployment { return Deployment{} }

// CA returns the certificates that nodes trust, PEM, and their generation.
func (d *Directory) CA() (pem []byte, generation uint64) { return nil, 0 }

// Operators returns what SetOperators set, nil at first, and its generation.
func (d *Directory) Operators() (document []byte, generation uint64) { return nil, 0 }

// Setting returns a setting of the deployment, "" when it is not set.
func (d *Directory) Setting(name string) string { return "" }

// Node returns a node, also one that was removed.
func (d *Directory) Node(id ident.NodeID) (Node, bool) { return Node{}, false }

// Nodes returns all nodes, by id.
func (d *Directory) Nodes() []Node { return nil }

// Shard returns a shard. Its slices must not be changed.
func (d *Directory) Shard(id ident.ShardID) (Shard, bool) { return Shard{}, false }

// Shards returns all shards, by id.
func (d *Directory) Shards() []Shard { return nil }

// Allotted says whether a shard has ever existed: one that has, and is not
// there, was removed.
func (d *Directory) Allotted(id ident.ShardID) bool { return false }

// Regions returns the regions with nodes, by name.
func (d *Directory) Regions() []ident.Region { return nil }

// Applied returns the index of the last entry that is in this copy.
func (d *Directory) Applied() uint64 { return 0 }

// Watch returns a channel that is closed at the next change.
func (d *Directory) Watch() <-chan struct{} { return nil }
