package directory

import (
	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
)

func (c ReserveTenant) apply(s *state, index uint64) (Result, *fault.Error) {
	const op = "tenant create"
	id := c.Tenant.Uint64()
	if id == 0 || badName(c.Name) {
		return Result{}, fault.New(op, fault.Invalid, "a tenant needs an id and a name")
	}
	if _, _, gone := s.tenants.erasedAt(id); gone {
		return Result{}, fault.New(op, fault.AlreadyExists, "tenant %s was erased, and ids are not used again: choose another", c.Tenant).ForTenant(c.Tenant)
	}
	if s.tenants.get(id) != nil {
		return Result{}, fault.New(op, fault.AlreadyExists, "tenant %s exists already", c.Tenant).ForTenant(c.Tenant)
	}
	if s.tenants.named(c.Name) != nil {
		return Result{}, nameTaken(op, c.Tenant, c.Name)
	}
	h, err := s.placeable(op, c.Region, c.Shard)
	if err != nil {
		return Result{}, err.ForTenant(c.Tenant)
	}
	region, _ := s.region(c.Region)
	// The index makes an epoch that no earlier reservation of the id had.
	s.tenants.add(id, c.Name, placement{epoch: index, shard: uint32(h.ID.Uint64()), region: region, state: TenantCreating})
	s.dirty.tenants[id] = struct{}{}
	return Result{Shard: h.ID, Epoch: index}, nil
}

// badName bounds names whatever they are made of, which is for validate to say.
func badName(name string) bool { return name == "" || len(name) > ident.MaxTenantName }

func nameTaken(op string, id ident.TenantID, name string) *fault.Error {
	return fault.New(op, fault.AlreadyExists, "another tenant is called %q already", name).ForTenant(id)
}

// placeable returns the shard if a tenant of a region may be put on it.
func (s *state) placeable(op string, region ident.Region, id ident.ShardID) (*Shard, *fault.Error) {
	h := s.shards[id]
	if h == nil && !s.hasShard(region) {
		return nil, fault.New(op, fault.NotFound, "region %s has no shard, so nothing in it can hold the tenant: create one with `kimberlite shard create --region %s`", region, region)
	}
	switch {
	case h == nil:
		return nil, noShard(op, id)
	case h.Region != region:
		return nil, fault.New(op, fault.Denied, "shard %s is in region %s and the tenant belongs to %s: a tenant's data never leaves its region", id, h.Region, region)
	case h.State != ShardActive:
		return nil, fault.New(op, fault.Conflict, "shard %s is closed for new tenants: choose another", id)
	}
	return h, nil
}

func (s *state) hasShard(region ident.Region) bool {
	for _, h := range s.shards {
		if h.Region == region {
			return true
		}
	}
	return false
}

// tenant returns a tenant's record.
func (s *state) tenant(op string, id ident.TenantID) (*record, *fault.Error) {
	if r := s.tenants.get(id.Uint64()); r != nil {
		return r, nil
	}
	if _, _, gone := s.tenants.erasedAt(id.Uint64()); gone {
		return nil, fault.New(op, fault.NotFound, "tenant %s was erased", id).ForTenant(id)
	}
	return nil, fault.New(op, fault.NotFound, "tenant %s does not exist: create it first", id).ForTenant(id)
}

// step returns the record of a tenant that a step is about, if it is in the
// state and the epoch that the step needs.
func (s *state) step(op string, id ident.TenantID, need TenantState, epoch uint64) (*record, *fault.Error) {
	r, err := s.tenant(op, id)
	if err != nil {
		return nil, err
	}
	if r.state != need {
		return nil, fault.New(op, fault.Conflict, "tenant %s is %s, and not %s: look again where it is", id, r.state, need).ForTenant(id)
	}
	if r.epoch != epoch {
		return nil, fault.New(op, fault.Conflict, "tenant %s has changed meanwhile (epoch %d, and not %d): look again where it is", id, r.epoch, epoch).ForTenant(id)
	}
	return r, nil
}

func (c ActivateTenant) apply(s *state, _ uint64) (Result, *fault.Error) {
	const op = "tenant create"
	if r := s.tenants.get(c.Tenant.Uint64()); r != nil && r.state == TenantActive && r.epoch == c.Epoch {
		return r.result(), nil
	}
	r, err := s.step(op, c.Tenant, TenantCreating, c.Epoch)
	if err != nil {
		return Result{}, err
	}
	p := r.placement()
	p.state = TenantActive
	s.putTenant(r, p)
	return r.result(), nil
}

func (r *record) result() Result { return Result{Shard: shardID(r.shard), Epoch: r.epoch} }

func (c AbandonTenant) apply(s *state, _ uint64) (Result, *fault.Error) {
	r, err := s.step("tenant create", c.Tenant, TenantCreating, c.Epoch)
	if err != nil {
		return Result{}, err
	}
	s.dirty.tenants[r.id] = struct{}{}
	s.tenants.remove(r)
	return Result{}, nil
}

func (c RenameTenant) apply(s *state, _ uint64) (Result, *fault.Error) {
	const op = "tenant rename"
	r, err := s.tenant(op, c.Tenant)
	if err != nil {
		return Result{}, err
	}
	if badName(c.Name) {
		return Result{}, fault.New(op, fault.Invalid, "a tenant needs a name").ForTenant(c.Tenant)
	}
	if r.state == TenantCreating {
		return Result{}, fault.New(op, fault.Conflict, "tenant %s is still being created: try again", c.Tenant).ForTenant(c.Tenant)
	}
	switch other := s.tenants.named(c.Name); {
	case other == r:
		return r.result(), nil
	case other != nil:
		return Result{}, nameTaken(op, c.Tenant, c.Name)
	}
	s.tenants.rename(r, c.Name)
	s.dirty.tenants[r.id] = struct{}{}
	return r.result(), nil
}

func (c BeginMove) apply(s *state, _ uint64) (Result, *fault.Error) {
	const op = "tenant move"
	if r := s.tenants.get(c.Tenant.Uint64()); r != nil && r.state == TenantMoving && r.epoch == c.Epoch && shardID(r.other) == c.Target {
		return r.result(), nil
	}
	r, err := s.step(op, c.Tenant, TenantActive, c.Epoch)
	if err != nil {
		return Result{}, err
	}
	h, err := s.placeable(op, s.regions[r.region], c.Target)
	if err != nil {
		return Result{}, err.ForTenant(c.Tenant)
	}
	p := r.placement()
	p.state, p.other = TenantMoving, uint32(h.ID.Uint64())
	if p.other == p.shard {
		return Result{}, fault.New(op, fault.Invalid, "tenant %s is on shard %s already", c.Tenant, h.ID).ForTenant(c.Tenant)
	}
	s.putTenant(r, p)
	return r.result(), nil
}

func (c FlipMove) apply(s *state, _ uint64) (Result, *fault.Error) {
	const op = "tenant move"
	if r := s.tenants.get(c.Tenant.Uint64()); r != nil && r.state == TenantReleasing && r.epoch == c.Epoch+1 {
		return r.result(), nil
	}
	r, err := s.step(op, c.Tenant, TenantMoving, c.Epoch)
	if err != nil {
		return Result{}, err
	}
	p := r.placement()
	p.shard, p.other = p.other, p.shard
	p.state = TenantReleasing
	p.epoch++
	s.putTenant(r, p)
	return r.result(), nil
}

func (c AbortMove) apply(s *state, _ uint64) (Result, *fault.Error) {
	r, err := s.step("tenant move", c.Tenant, TenantMoving, c.Epoch)
	if err != nil {
		return Result{}, err
	}
	p := r.placement()
	p.state, p.other = TenantActive, 0
	p.epoch++
	s.putTenant(r, p)
	return r.result(), nil
}

func (c EndMove) apply(s *state, _ uint64) (Result, *fault.Error) {
	if r := s.tenants.get(c.Tenant.Uint64()); r != nil && r.state == TenantActive && r.epoch == c.Epoch {
		return r.result(), nil
	}
	r, err := s.step("tenant move", c.Tenant, TenantReleasing, c.Epoch)
	if err != nil {
		return Result{}, err
	}
	p := r.placement()
	p.state, p.other = TenantActive, 0
	s.putTenant(r, p)
	return r.result(), nil
}

func (c EraseTenant) apply(s *state, _ uint64) (Result, *fault.Error) {
	if _, _, gone := s.tenants.erasedAt(c.Tenant.Uint64()); gone {
		return Result{}, nil
	}
	r, err := s.step("tenant erase", c.Tenant, TenantActive, c.Epoch)
	if err != nil {
		return Result{}, err
	}
	s.dirty.tenants[r.id] = struct{}{}
	s.tenants.erase(r)
	return Result{}, nil
}
