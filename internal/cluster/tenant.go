package cluster

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"kimberlite/internal/directory"
	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/placement"
	"kimberlite/internal/shard"
	"kimberlite/internal/tenant"
)

// What the doors ask of a node about tenants.

// Tenant returns a handle on a tenant. Misrouted names the node that serves
// it when that is another one.
func (n *Node) Tenant(id ident.TenantID) (*tenant.Tenant, error) {
	h, _, err := n.here("tenant", id)
	if err != nil {
		return nil, err
	}
	return h.tenants.Tenant(id)
}

// Replica returns a handle on a tenant that has a replica on this node, leader
// or not: for reads that may be stale. Misrouted says that there is none.
func (n *Node) Replica(id ident.TenantID) (*tenant.Tenant, error) {
	t, err := n.placed("tenant", id)
	if err != nil {
		return nil, err
	}
	h := n.host(t.Shard)
	if h == nil {
		return nil, fault.New("tenant", fault.Misrouted, "tenant %s has no replica here", id).ForTenant(id)
	}
	return h.tenants.Tenant(id)
}

// TenantNamed returns the id of the tenant called name, or NotFound.
func (n *Node) TenantNamed(name string) (ident.TenantID, error) {
	t, ok := n.dir.TenantNamed(name)
	if !ok || t.State == directory.TenantCreating {
		if err := n.Ready(); err != nil {
			return ident.TenantID{}, err
		}
		return ident.TenantID{}, fault.New("tenant", fault.NotFound, "there is no tenant of this name")
	}
	return t.ID, nil
}

// State returns a tenant's state and its shard. Misrouted names the node that
// knows them when that is another one.
func (n *Node) State(id ident.TenantID) (shard.TenantState, ident.ShardID, error) {
	h, _, err := n.here("tenant", id)
	if err != nil {
		return shard.TenantState{}, ident.ShardID{}, err
	}
	st, err := h.shard.Tenant(id)
	return st, h.id, err
}

// Listed is a tenant as a list of all of them has it.
type Listed struct {
	// TenantState is the whole state of a tenant that has a replica on this
	// node, as far as that has come. Of another one only ID, Name and Region
	// are set.
	shard.TenantState
	// Shard holds the tenant.
	Shard ident.ShardID
}

// States lists every tenant of the deployment, by id.
func (n *Node) States() []Listed {
	const page = 4096
	var all []Listed
	from := ident.MustTenantID(1)
	for {
		some := n.dir.Tenants(from, page)
		for _, t := range some {
			if t.State == directory.TenantCreating {
				continue
			}
			l := Listed{Shard: t.Shard}
			if h := n.host(t.Shard); h != nil {
				l.TenantState, _ = h.shard.Tenant(t.ID) // zero when it is not there yet
			}
			l.ID, l.Name, l.Region = t.ID, t.Name, t.Region
			all = append(all, l)
		}
		if len(some) < page {
			return all
		}
		next, err := ident.NewTenantID(some[len(some)-1].ID.Uint64() + 1)
		if err != nil {
			return all
		}
		from = next
	}
}

// TenantCount returns how many tenants the deployment has.
func (n *Node) TenantCount() int {
	tenants, _ := n.dir.Counts()
	return tenants
}

// OpenTenants returns how many tenants are open on this node.
func (n *Node) OpenTenants() int {
	open := 0
	for _, h := range n.hosted() {
		open += h.tenants.OpenTenants()
	}
	return open
}

// Usage returns what a tenant uses now.
func (n *Node) Usage(id ident.TenantID) (tenant.Usage, error) {
	h, _, err := n.here("usage", id)
	if err != nil {
		return tenant.Usage{}, err
	}
	return h.tenants.Usage(id)
}

// KeyStatus returns the state of a tenant's keys.
func (n *Node) KeyStatus(id ident.TenantID) (tenant.KeyStatus, error) {
	h, _, err := n.here("key status", id)
	if err != nil {
		return tenant.KeyStatus{}, err
	}
	return h.tenants.KeyStatus(id)
}

// Holder returns the shard of this node that serves a tenant.
func (n *Node) Holder(id ident.TenantID) (*shard.Shard, error) {
	h, _, err := n.here("tenant", id)
	if err != nil {
		return nil, err
	}
	return h.shard, nil
}

// Err returns why the node takes no writes, or nil.
func (n *Node) Err() error {
	if err := n.Ready(); err != nil {
		return err
	}
	for _, h := range n.hosted() {
		if err := h.shard.Err(); err != nil {
			return err
		}
	}
	return nil
}

// Checkpoint makes what this node has of every shard durable in the tenants'
// own files.
func (n *Node) Checkpoint(ctx context.Context) error {
	var errs []error
	for _, h := range n.hosted() {
		errs = append(errs, h.shard.Checkpoint(ctx))
	}
	return errors.Join(errs...)
}

// CreateTenant makes a tenant in the shard of its region with the most room.
// Its id and name are reserved in the directory first, then its keys are
// spread and its shard makes it, then it is there for all. Misrouted names the
// leader of the shard that was picked: asked there again it goes on.
// AlreadyExists says that its id or name is taken.
func (n *Node) CreateTenant(ctx context.Context, c tenant.Config) error {
	if err := c.Validate(); err != nil {
		return err
	}
	t, err := n.reserve(ctx, c)
	if err != nil {
		return err
	}
	leader, err := n.leaderOf(ctx, t.Shard)
	if err != nil {
		return err
	}
	h := n.host(t.Shard)
	if leader != n.identity.Node || h == nil {
		return fault.New("tenant create", fault.Misrouted, "another node leads the shard that the tenant goes to").WithLeader(n.other(leader)).ForTenant(c.ID)
	}
	c.Epoch = t.Epoch
	return h.create(ctx, c)
}

// reserve returns the tenant's reservation, making it when there is none.
func (n *Node) reserve(ctx context.Context, c tenant.Config) (directory.Tenant, error) {
	taken := func(what string) error {
		return fault.New("tenant create", fault.AlreadyExists, "there is a tenant with this %s already", what).ForTenant(c.ID)
	}
	for range 2 {
		t, ok := n.dir.Tenant(c.ID)
		if ok && t.State == directory.TenantCreating && t.Name == c.Name && t.Region == c.Region {
			return t, nil
		}
		if ok {
			return t, taken("id")
		}
		if _, ok := n.dir.TenantNamed(c.Name); ok {
			return t, taken("name")
		}
		id, err := placement.PickShard(n.shardLoads(ctx, c.Region, false), c.Region)
		if err != nil {
			return t, err
		}
		_, err = n.dir.Propose(ctx, directory.ReserveTenant{Tenant: c.ID, Name: c.Name, Region: c.Region, Shard: id})
		if fault.Is(err, fault.AlreadyExists) {
			// This node's copy may be older than what is there.
			_, err = n.dir.Propose(ctx, directory.Barrier{})
		}
		if err != nil {
			return t, err
		}
	}
	t, ok := n.dir.Tenant(c.ID)
	if !ok || t.Name != c.Name || t.Region != c.Region || t.State != directory.TenantCreating {
		return t, taken("id or name")
	}
	return t, nil
}

// shardLoads returns the shards of a region as placement sees them; the zero
// region is all of them. What a shard's leader says lags by seconds.
func (n *Node) shardLoads(ctx context.Context, region ident.Region, fresh bool) []placement.Shard {
	lead := leaders(n.hear(ctx, n.nodesOf(region), fresh))
	var all []placement.Shard
	for _, sh := range n.dir.Shards() {
		if !region.IsZero() && sh.Region != region {
			continue
		}
		one := placement.Shard{ID: sh.ID, Region: sh.Region, Out: sh.State != directory.ShardActive, Tenants: n.dir.TenantCount(sh.ID)}
		if r, ok := lead[sh.ID]; ok {
			one.Bytes, one.Load = uint64(max(r.Bytes, 0)), r.Load
		} else if len(lead) > 0 {
			one.Out = true // it has no leader, as far as can be seen
		}
		all = append(all, one)
	}
	return all
}

// create makes a reserved tenant in its shard, which this node leads, and
// tells the directory.
func (h *host) create(ctx context.Context, c tenant.Config) error {
	if !h.beginCreating(c.ID) {
		return fault.New("tenant create", fault.Unavailable, "the tenant is being created already: look whether it is there, then try again").ForTenant(c.ID)
	}
	defer h.endCreating(c.ID)
	t, ok := h.n.dir.Tenant(c.ID)
	if !ok || t.State != directory.TenantCreating || t.Epoch != c.Epoch || t.Shard != h.id {
		return fault.New("tenant create", fault.Conflict, "the tenant's reservation was given up meanwhile: try again").ForTenant(c.ID)
	}
	err := h.tenants.Create(ctx, c)
	if fault.Is(err, fault.AlreadyExists) && h.made(t) {
		err = nil // an earlier try got as far as that
	}
	if err != nil {
		h.abandonFailed(ctx, t, err)
		return err
	}
	return h.activate(ctx, t)
}

// made says whether the shard has the tenant of a reservation.
func (h *host) made(t directory.Tenant) bool {
	st, err := h.shard.Tenant(t.ID)
	return err == nil && st.Epoch == t.Epoch
}

func (h *host) activate(ctx context.Context, t directory.Tenant) error {
	r, err := h.n.dir.Propose(ctx, directory.ActivateTenant{Tenant: t.ID, Epoch: t.Epoch})
	if err != nil {
		return err
	}
	h.n.log.Info("a tenant was created", "tenant", t.ID.String(), "shard", h.id.String())
	h.n.awaitCopies(ctx, r.Index)
	return nil
}

// abandonFailed gives id and name back when the creation failed for good and
// the shard is known not to have the tenant.
func (h *host) abandonFailed(ctx context.Context, t directory.Tenant, err error) {
	switch fault.KindOf(err) {
	case fault.OutcomeUnknown, fault.Misrouted, fault.Canceled, fault.Timeout:
		return // a retry or the sweeper goes on
	}
	if h.made(t) {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if _, err := h.n.dir.Propose(ctx, directory.AbandonTenant{Tenant: t.ID, Epoch: t.Epoch}); err != nil {
		h.n.log.Warn("a tenant's reservation could not be given back, and will be later", "tenant", t.ID.String(), "error", err.Error())
	}
}

func (h *host) beginCreating(id ident.TenantID) bool {
	h.creatingMu.Lock()
	defer h.creatingMu.Unlock()
	if _, busy := h.creating[id]; busy {
		return false
	}
	h.creating[id] = struct{}{}
	return true
}

func (h *host) endCreating(id ident.TenantID) {
	h.creatingMu.Lock()
	defer h.creatingMu.Unlock()
	delete(h.creating, id)
}

const (
	// finishAfter is how old a reservation is before its shard's leader
	// finishes a creation that nobody works on.
	finishAfter = 5 * time.Second
)

// sweeper remembers since when this leader has seen reservations.
type sweeper struct {
	mu   sync.Mutex // guards seen
	seen map[reservation]time.Time
}

type reservation struct {
	tenant ident.TenantID
	epoch  uint64
}

// age returns since when a reservation has been seen.
func (s *sweeper) age(t directory.Tenant, now time.Time) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := reservation{t.ID, t.Epoch}
	if s.seen == nil {
		s.seen = map[reservation]time.Time{}
	}
	since, ok := s.seen[key]
	if !ok {
		s.seen[key] = now
		return 0
	}
	return now.Sub(since)
}

// keep forgets all but these.
func (s *sweeper) keep(current []directory.Tenant) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key := range s.seen {
		if !slices.ContainsFunc(current, func(t directory.Tenant) bool { return t.ID == key.tenant && t.Epoch == key.epoch }) {
			delete(s.seen, key)
		}
	}
}

// settleTenants finishes or gives up what was left half done, and has names
// in the shard follow those in the directory.
func (h *host) settleTenants(ctx context.Context) error {
	unsettled := h.n.dir.Unsettled()
	h.sweeper.keep(unsettled)
	var errs []error
	for _, t := range unsettled {
		if t.State == directory.TenantCreating && t.Shard == h.id {
			errs = append(errs, h.sweep(ctx, t))
		}
	}
	if applied := h.n.dir.Applied(); applied != h.namesAt {
		err := h.followNames(ctx)
		if err == nil {
			h.namesAt = applied
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func (h *host) sweep(ctx context.Context, t directory.Tenant) error {
	age := h.sweeper.age(t, time.Now())
	if age < finishAfter || !h.beginCreating(t.ID) {
		return nil
	}
	defer h.endCreating(t.ID)
	if err := h.shard.ReadIndex(ctx); err != nil { // all that could have been created is visible
		return err
	}
	if h.made(t) {
		return h.activate(ctx, t)
	}
	if age < h.n.c.AbandonAfter {
		return nil
	}
	_, err := h.n.dir.Propose(ctx, directory.AbandonTenant{Tenant: t.ID, Epoch: t.Epoch})
	if err == nil {
		h.n.log.Warn("the creation of a tenant was given up: it was not finished in time", "tenant", t.ID.String())
	}
	return err
}

// followNames has the shard's tenants be called what the directory says.
func (h *host) followNames(ctx context.Context) error {
	var renamed []directory.Tenant
	h.n.dir.TenantsOf(h.id, func(t directory.Tenant) bool {
		st, err := h.shard.Tenant(t.ID)
		if err == nil && t.State == directory.TenantActive && st.Name != t.Name {
			renamed = append(renamed, t)
		}
		return true
	})
	var errs []error
	for _, t := range renamed {
		errs = append(errs, h.tenants.Set(ctx, t.ID, shard.Change{Name: &t.Name}))
	}
	return errors.Join(errs...)
}

// SetTenant changes a tenant's configuration. A name is taken in the directory
// first; should this node die in between the shard's leader does the rest.
func (n *Node) SetTenant(ctx context.Context, id ident.TenantID, c shard.Change) error {
	h, t, err := n.here("tenant set", id)
	if err != nil {
		return err
	}
	if c.Name == nil || *c.Name == t.Name {
		return h.tenants.Set(ctx, id, c)
	}
	if _, err := n.dir.Propose(ctx, directory.RenameTenant{Tenant: id, Name: *c.Name}); err != nil {
		return err
	}
	err = h.tenants.Set(ctx, id, c)
	if fault.Is(err, fault.Invalid) || fault.Is(err, fault.Denied) || fault.Is(err, fault.Unsupported) {
		// The rest of the change is refused: so is the name.
		_, back := n.dir.Propose(ctx, directory.RenameTenant{Tenant: id, Name: t.Name})
		return errors.Join(err, back)
	}
	return err
}
