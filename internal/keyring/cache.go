package keyring

import (
	"container/list"
	"context"
	"sync"
	"sync/atomic"
	"time"

	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/kms"
)

// CacheOptions bounds a [Cache]. Zero fields take the defaults.
type CacheOptions struct {
	// MaxTenants is how many tenants' keys are unwrapped at once; default 1024.
	MaxTenants int
	// MaxCalls is how many calls to the provider run at once; default 16.
	MaxCalls int
	// CallTimeout ends a call to the provider; default 30 s.
	CallTimeout time.Duration
}

func (o CacheOptions) withDefaults() CacheOptions {
	if o.MaxTenants == 0 {
		o.MaxTenants = 1024
	}
	if o.MaxCalls == 0 {
		o.MaxCalls = 16
	}
	if o.CallTimeout == 0 {
		o.CallTimeout = 30 * time.Second
	}
	return o
}

// Cache holds the unwrapped keys of a bounded number of tenants. The least
// recently used one that nobody holds is wiped to make room. It is safe for
// concurrent use.
type Cache struct {
	options CacheOptions
	calls   chan struct{} // one token for each provider call that runs
	ctx     context.Context
	cancel  context.CancelFunc // ends the calls that run, by Close
	flights sync.WaitGroup     // goroutines of open; each ends by CallTimeout

	mu      sync.Mutex // guards all below, and the fields of holders
	holders map[ident.TenantID]*holder
	idle    *list.List // of *holder without lease, the most recent in front
	locked  map[ident.TenantID]struct{}
	closed  bool
}

// holder is one tenant's place in the cache.
type holder struct {
	tenant  ident.TenantID
	ready   chan struct{} // closed when keys or err is set, for good
	keys    *Keys
	err     error
	refresh chan struct{} // one token: who takes over a new KEK

	leases int           // users, and those that wait for ready
	place  *list.Element // in idle, else nil
	gone   bool          // evicted: no longer in holders
}

// NewCache returns an empty cache. Errors: Invalid for negative bounds.
func NewCache(o CacheOptions) (*Cache, error) {
	if o.MaxTenants < 0 || o.MaxCalls < 0 || o.CallTimeout < 0 {
		return nil, fault.New("key cache", fault.Invalid, "the bounds of the key cache must not be negative")
	}
	o = o.withDefaults()
	c := &Cache{
		options: o, calls: make(chan struct{}, o.MaxCalls),
		holders: map[ident.TenantID]*holder{}, idle: list.New(), locked: map[ident.TenantID]struct{}{},
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	return c, nil
}

// Lease is the use of a tenant's keys by one holder; safe for concurrent use.
type Lease struct {
	cache    *Cache
	holder   *holder
	released atomic.Bool
}

// Keys returns the keys, which work until Release, and fail with
// KeyUnavailable from the moment that the tenant is evicted or locked.
func (l *Lease) Keys() *Keys { return l.holder.keys }

// Release ends the use. Releasing twice is allowed.
func (l *Lease) Release() {
	if l.released.Swap(true) {
		return
	}
	l.cache.leave(l.holder)
}

// Acquire returns the tenant's keys, unwrapping them if they are not in the
// cache: concurrent callers share one call of the provider. env is the
// committed envelope; keys in the cache that know only an earlier one are
// brought up to it. Errors: KeyUnavailable when the tenant is locked or its
// KEK is not in the keyring; Unavailable when every place is in use; Canceled,
// Timeout; what the ring and the provider say. A failure is not remembered.
func (c *Cache) Acquire(ctx context.Context, tenant ident.TenantID, env Envelope, ring *Ring, p kms.Provider) (*Lease, error) {
	h, err := c.enter(ctx, tenant, env, ring, p)
	if err != nil {
		return nil, err
	}
	select {
	case <-h.ready:
		err = h.err
	case <-ctx.Done():
		err = fault.OfContext("open keys", ctx).ForTenant(tenant)
	}
	if err == nil {
		err = c.bringUp(ctx, h, env, ring, p)
	}
	if err != nil {
		c.leave(h)
		return nil, err
	}
	return &Lease{cache: c, holder: h}, nil
}

// AtHand returns the tenant's keys when they are unwrapped already, and false
// otherwise: it never asks the provider. They may know an earlier envelope
// only; the signing key never changes.
func (c *Cache) AtHand(tenant ident.TenantID) (*Lease, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	h := c.holders[tenant]
	if h == nil || h.keys == nil || c.closed {
		return nil, false
	}
	h.leases++
	if h.place != nil {
		c.idle.Remove(h.place)
		h.place = nil
	}
	return &Lease{cache: c, holder: h}, true
}

// enter returns the tenant's holder with one lease more, and starts the
// opening when it is new.
func (c *Cache) enter(ctx context.Context, tenant ident.TenantID, env Envelope, ring *Ring, p kms.Provider) (*holder, error) {
	const op = "open keys"
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, fault.New(op, fault.Closed, "the key cache is closed")
	}
	if _, no := c.locked[tenant]; no {
		return nil, fault.New(op, fault.KeyUnavailable, "the tenant's keys are locked: its master key was revoked, or it is being erased").ForTenant(tenant)
	}
	if h, ok := c.holders[tenant]; ok {
		h.leases++
		if h.place != nil {
			c.idle.Remove(h.place)
			h.place = nil
		}
		return h, nil
	}
	if len(c.holders) >= c.options.MaxTenants {
		last := c.idle.Back()
		if last == nil {
			return nil, fault.New(op, fault.Unavailable, "the keys of %d tenants are in use, the most that the key cache holds: try again, or raise the limit", c.options.MaxTenants).ForTenant(tenant)
		}
		c.evict(last.Value.(*holder))
	}
	h := &holder{tenant: tenant, ready: make(chan struct{}), refresh: make(chan struct{}, 1), leases: 1}
	c.holders[tenant] = h
	c.flights.Add(1)
	go c.open(context.WithoutCancel(ctx), h, env, ring, p)
	return h, nil
}

// open unwraps the keys of a new holder. It outlives its first caller, since
// others may wait for the same; it ends by CallTimeout or Close.
func (c *Cache) open(ctx context.Context, h *holder, env Envelope, ring *Ring, p kms.Provider) {
	defer c.flights.Done()
	var keys *Keys
	err := c.call(ctx, h.tenant, env.KEK, ring, func(ctx context.Context, blob []byte) (err error) {
		keys, err = Unwrap(ctx, p, h.tenant, env, blob)
		return err
	})
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil && h.gone { // evicted or locked meanwhile
		keys.Zero()
		err = wiped("open keys", h.tenant)
	}
	h.keys, h.err = keys, err
	close(h.ready)
	switch {
	case err != nil:
		c.evict(h) // the next Acquire tries anew
	case h.leases == 0:
		h.place = c.idle.PushFront(h)
	}
}

// call reads a wrapped KEK and gives it to fn, as one of at most MaxCalls at
// once and within CallTimeout.
func (c *Cache) call(ctx context.Context, tenant ident.TenantID, generation ident.KeyGeneration, ring *Ring, fn func(context.Context, []byte) error) error {
	caller := ctx
	ctx, cancel := context.WithTimeout(ctx, c.options.CallTimeout)
	defer cancel()
	defer context.AfterFunc(c.ctx, cancel)()
	select {
	case c.calls <- struct{}{}:
		defer func() { <-c.calls }()
	case <-ctx.Done():
		if caller.Err() != nil {
			return fault.OfContext("open keys", caller).ForTenant(tenant)
		}
		return fault.New("open keys", fault.KeyUnavailable, "the key service did not answer in time: it serves %d calls already", c.options.MaxCalls).ForTenant(tenant)
	}
	blob, err := ring.Get(tenant, generation)
	if fault.Is(err, fault.NotFound) {
		return fault.Wrap("open keys", fault.KeyUnavailable, err, "the tenant's KEK is gone: it was erased, or the keyring was lost").ForTenant(tenant)
	}
	if err == nil {
		err = fn(ctx, blob)
	}
	return ofTenant(err, tenant)
}

// ofTenant names the tenant in an error that does not name one.
func ofTenant(err error, tenant ident.TenantID) error {
	e, ok := err.(*fault.Error) //nolint:errorlint // what wraps an error may not be dropped to name the tenant in it
	if ok && e.Tenant.IsZero() {
		return e.ForTenant(tenant)
	}
	return err
}

// bringUp makes keys that are in the cache know the envelope.
func (c *Cache) bringUp(ctx context.Context, h *holder, env Envelope, ring *Ring, p kms.Provider) error {
	if err := h.keys.Update(env); !needsKEK(h.keys, err) {
		return err
	}
	select { // one caller asks for the new KEK, the others find it there
	case h.refresh <- struct{}{}:
		defer func() { <-h.refresh }()
	case <-ctx.Done():
		return fault.OfContext("open keys", ctx).ForTenant(h.tenant)
	}
	if err := h.keys.Update(env); !needsKEK(h.keys, err) {
		return err
	}
	return c.call(ctx, h.tenant, env.KEK, ring, func(ctx context.Context, blob []byte) error {
		kek, err := p.Unwrap(ctx, blob, kms.Context{Tenant: h.tenant, Generation: env.KEK})
		if err != nil {
			return err
		}
		defer clear(kek)
		return h.keys.adopt(env, kek)
	})
}

// needsKEK reports whether Update failed for want of a KEK.
func needsKEK(k *Keys, err error) bool {
	select {
	case <-k.Done():
		return false
	default:
		return fault.Is(err, fault.KeyUnavailable)
	}
}

// leave takes one lease from a holder.
func (c *Cache) leave(h *holder) {
	c.mu.Lock()
	defer c.mu.Unlock()
	h.leases--
	if h.leases == 0 && !h.gone && h.keys != nil {
		h.place = c.idle.PushFront(h)
	}
}

// evict wipes a holder's keys and forgets it.
func (c *Cache) evict(h *holder) {
	if h.gone {
		return
	}
	h.gone = true
	delete(c.holders, h.tenant)
	if h.place != nil {
		c.idle.Remove(h.place)
		h.place = nil
	}
	if h.keys != nil {
		h.keys.Zero()
	}
}

// Evict wipes the tenant's keys now, even while leased: users get
// KeyUnavailable. The next Acquire unwraps them again.
func (c *Cache) Evict(tenant ident.TenantID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if h, ok := c.holders[tenant]; ok {
		c.evict(h)
	}
}

// Lock is Evict, and Acquire fails with KeyUnavailable until Unlock. An
// opening that is under way fails too.
func (c *Cache) Lock(tenant ident.TenantID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.locked[tenant] = struct{}{}
	if h, ok := c.holders[tenant]; ok {
		c.evict(h)
	}
}

// Unlock ends Lock: by a master key that works again, or, to forget about it,
// when the tenant's keys are destroyed.
func (c *Cache) Unlock(tenant ident.TenantID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.locked, tenant)
}

// Len returns how many tenants' keys are unwrapped or being so.
func (c *Cache) Len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.holders)
}

// Close wipes all keys, ends the calls that run and waits for them. Acquire
// fails with Closed from then on.
func (c *Cache) Close() {
	c.mu.Lock()
	c.closed = true
	for _, h := range c.holders {
		c.evict(h)
	}
	c.mu.Unlock()
	c.cancel()
	c.flights.Wait()
}
