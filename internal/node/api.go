package node

import (
	"context"

	"kimberlite/internal/cluster"
	"kimberlite/internal/ident"
	"kimberlite/internal/shard"
	"kimberlite/internal/tenant"
)

// The doors call what stands here and nothing else of a node, so that it is
// one to them whether the node is on its own or one of a cluster.

// Listed is a tenant as a list of all of them has it.
type Listed = cluster.Listed

// Where says which node serves a tenant.
type Where = cluster.Route

// Tenant returns a handle on a tenant. Misrouted names the node that serves
// it when that is another one.
func (n *Node) Tenant(id ident.TenantID) (*tenant.Tenant, error) {
	if n.cluster != nil {
		return n.cluster.Tenant(id)
	}
	return n.tenants.Tenant(id)
}

// TenantNamed returns the id of the tenant called name, or NotFound.
func (n *Node) TenantNamed(name string) (ident.TenantID, error) {
	if n.cluster != nil {
		return n.cluster.TenantNamed(name)
	}
	return n.shard.TenantByName(name)
}

// State returns a tenant's state and its shard. Misrouted names the node that
// knows them when that is another one.
func (n *Node) State(id ident.TenantID) (shard.TenantState, ident.ShardID, error) {
	if n.cluster != nil {
		return n.cluster.State(id)
	}
	st, err := n.shard.Tenant(id)
	return st, n.shard.ID(), err
}

// States lists every tenant there is, by id.
func (n *Node) States() []Listed {
	if n.cluster != nil {
		return n.cluster.States()
	}
	states := n.shard.Tenants()
	all := make([]Listed, len(states))
	for i := range states {
		all[i] = Listed{TenantState: states[i], Shard: n.shard.ID()}
	}
	return all
}

// TenantCount returns how many tenants there are.
func (n *Node) TenantCount() int {
	if n.cluster != nil {
		return n.cluster.TenantCount()
	}
	return len(n.shard.Tenants())
}

// OpenTenants returns how many tenants are open on this node.
func (n *Node) OpenTenants() int {
	if n.cluster != nil {
		return n.cluster.OpenTenants()
	}
	return n.tenants.OpenTenants()
}

// CreateTenant makes a tenant. AlreadyExists says that its id or name is
// taken.
func (n *Node) CreateTenant(ctx context.Context, c tenant.Config) error {
	if n.cluster != nil {
		return n.cluster.CreateTenant(ctx, c)
	}
	return n.tenants.Create(ctx, c)
}

// SetTenant changes a tenant's configuration at run time.
func (n *Node) SetTenant(ctx context.Context, id ident.TenantID, c shard.Change) error {
	if n.cluster != nil {
		return n.cluster.SetTenant(ctx, id, c)
	}
	return n.tenants.Set(ctx, id, c)
}

// Usage returns what a tenant uses now.
func (n *Node) Usage(id ident.TenantID) (tenant.Usage, error) {
	if n.cluster != nil {
		return n.cluster.Usage(id)
	}
	return n.tenants.Usage(id)
}

// KeyStatus returns the state of a tenant's keys, without opening them.
func (n *Node) KeyStatus(id ident.TenantID) (tenant.KeyStatus, error) {
	if n.cluster != nil {
		return n.cluster.KeyStatus(id)
	}
	return n.tenants.KeyStatus(id)
}

// Holder returns the shard of this node that holds a tenant, for who reads
// the tenant's files.
func (n *Node) Holder(id ident.TenantID) (*shard.Shard, error) {
	if n.cluster != nil {
		return n.cluster.Holder(id)
	}
	_, err := n.shard.Tenant(id)
	return n.shard, err
}

// Where says which node serves a tenant. While its shard has no leader it
// waits until ctx ends, five seconds at most.
func (n *Node) Where(ctx context.Context, id ident.TenantID) (Where, error) {
	if n.cluster != nil {
		return n.cluster.Where(ctx, id)
	}
	st, err := n.shard.Tenant(id)
	if err != nil {
		return Where{}, err
	}
	return Where{Here: true, Leader: n.settings.node(), Region: st.Region}, nil
}

// Err returns why the node takes no writes any more, or nil.
func (n *Node) Err() error {
	if n.cluster != nil {
		return n.cluster.Err()
	}
	return n.shard.Err()
}

// Checkpoint makes everything acknowledged durable in the tenants' own files.
func (n *Node) Checkpoint(ctx context.Context) error {
	if n.cluster != nil {
		return n.cluster.Checkpoint(ctx)
	}
	return n.shard.Checkpoint(ctx)
}

// Cluster returns the parts of a node that is one of a cluster, or nil.
func (n *Node) Cluster() *cluster.Node { return n.cluster }
