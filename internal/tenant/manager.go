// Package tenant is one tenant's life on the shard leader: admission, the
// single writer with its transaction groups, concurrent readers, streams and
// key rotation, over the tenant's own log, projection and keys.
//
// It guarantees that a write is acknowledged only when its record is in the
// shard's replicated log, that a failed statement leaves no trace, that
// writes of a tenant are serialisable and its reads see every write
// acknowledged before them, and that open tenants (memory, file descriptors)
// are bounded by a limit and not by how many tenants exist. It must not know
// about doors, processes or configuration files. Package node composes it;
// the root package calls it.
package tenant

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"kimberlite/internal/clock"
	"kimberlite/internal/disk"
	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/keyring"
	"kimberlite/internal/kms"
	"kimberlite/internal/projection"
	"kimberlite/internal/quota"
	"kimberlite/internal/seal"
	"kimberlite/internal/shard"
)

// Options configure a Manager.
type Options struct {
	FS       disk.FS
	Shard    *shard.Shard
	Ring     *keyring.Ring
	Keys     *keyring.Cache
	Provider kms.Provider
	Clock    clock.Clock
	// Limits bound each statement; see projection.Limits.
	Limits projection.Limits
	// Rotation says when a DEK is replaced by itself.
	Rotation keyring.Policy
	// MaxOpen bounds the tenants that are open at once. 0 is 1024.
	MaxOpen int
	// MaxReaders bounds the concurrent readers of one tenant. 0 is 4.
	MaxReaders int
	// MaxDirtyPages is how many committed pages of 4 KiB a tenant keeps in
	// memory before they are spilled. 0 is the page store's default.
	MaxDirtyPages int
	// TransactionIdle is how long an interactive transaction may hold the
	// writer without a statement. 0 is 30 s.
	TransactionIdle time.Duration
	// ReserveBytes of free disk are left alone: below it writes are refused.
	ReserveBytes uint64
	// KeySource, if not nil, stands between a tenant's keys and what they
	// seal. Only benchmarks set it, to measure what sealing costs.
	KeySource func(seal.KeySource) seal.KeySource
	// KeySpread keeps the wrapped KEKs on the shard's other replicas; nil for a
	// shard on its own.
	KeySpread KeySpread
	Logger    *slog.Logger
}

// Manager holds the tenants of one shard. It is safe for concurrent use.
type Manager struct {
	o       Options
	reserve reserve

	mu       sync.RWMutex // guards slots, creating and closed
	slots    map[ident.TenantID]*slot
	creating map[ident.TenantID]struct{}
	// closed says that Close began.
	closed bool

	openMu sync.Mutex // guards open and hand
	open   []*slot    // open tenants, for the second-chance eviction
	hand   int

	// Of a shard with several replicas:
	replicated bool
	changed    chan struct{} // asks the tending goroutine to look
	ctx        context.Context
	stop       context.CancelFunc // by Close: ends the goroutines
	done       sync.WaitGroup
}

// NewManager returns the manager of a shard's tenants and makes it the signer
// of the shard's heads.
func NewManager(o Options) *Manager {
	if o.MaxOpen == 0 {
		o.MaxOpen = 1024
	}
	if o.MaxReaders == 0 {
		o.MaxReaders = 4
	}
	if o.TransactionIdle == 0 {
		o.TransactionIdle = 30 * time.Second
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	m := &Manager{o: o, slots: map[ident.TenantID]*slot{}, creating: map[ident.TenantID]struct{}{}}
	m.reserve = reserve{fs: o.FS, dir: o.Shard.Dir(), min: o.ReserveBytes}
	o.Shard.SetHeadSigner(m.signHead)
	m.ctx, m.stop = context.WithCancel(context.Background())
	if m.replicated = o.Shard.Replicated(); m.replicated {
		m.changed = make(chan struct{}, 1)
		o.Shard.SetHooks(shard.Hooks{Lead: m.tellChanged, Reset: m.reset})
		m.done.Go(m.tend)
		m.done.Go(m.follow)
	}
	return m
}

// slot returns the tenant's slot, making it when the tenant exists.
func (m *Manager) slot(id ident.TenantID) (*slot, error) {
	m.mu.RLock()
	s, closed := m.slots[id], m.closed
	m.mu.RUnlock()
	if closed {
		return nil, errClosed()
	}
	if s != nil {
		return s, nil
	}
	return m.newSlot(id)
}

// slotEvenClosing is slot for the work that closing itself does.
func (m *Manager) slotEvenClosing(id ident.TenantID) (*slot, error) {
	m.mu.RLock()
	s := m.slots[id]
	m.mu.RUnlock()
	if s != nil {
		return s, nil
	}
	return m.newSlot(id)
}

func (m *Manager) newSlot(id ident.TenantID) (*slot, error) {
	st, err := m.o.Shard.Tenant(id)
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if s := m.slots[id]; s != nil {
		return s, nil
	}
	s := &slot{id: id, m: m, admission: quota.NewAdmission(st.Limits)}
	m.slots[id] = s
	return s, nil
}

func errClosed() error {
	return fault.New("tenant", fault.Closed, "the database is closed: open it again")
}

// opened notes that a slot opened its tenant and closes others over the limit.
func (m *Manager) opened(s *slot) {
	m.openMu.Lock()
	m.open = append(m.open, s)
	var victims []*slot
	for over := len(m.open) - m.o.MaxOpen; over > 0; over-- {
		v := m.victim(s)
		if v == nil {
			break
		}
		victims = append(victims, v)
	}
	m.openMu.Unlock()
	for _, v := range victims {
		m.evict(v)
	}
}

// victim takes a slot that was not used since the hand last passed out of the
// list. The caller holds openMu.
func (m *Manager) victim(keep *slot) *slot {
	for range 2 * len(m.open) {
		if m.hand >= len(m.open) {
			m.hand = 0
		}
		s := m.open[m.hand]
		if s == keep || s.used.Swap(false) || s.refs.Load() != 0 {
			m.hand++
			continue
		}
		last := len(m.open) - 1
		m.open[m.hand] = m.open[last]
		m.open = m.open[:last]
		return s
	}
	return nil
}

// evict closes an idle tenant, or puts it back when it is in use again.
func (m *Manager) evict(s *slot) {
	closed, err := s.tryClose()
	if err != nil {
		m.o.Logger.Warn("closing an idle tenant failed; it recovers from its log", "tenant", s.id.String(), "error", err.Error())
	}
	if !closed {
		m.openMu.Lock()
		m.open = append(m.open, s)
		m.openMu.Unlock()
	}
}

// forget drops a slot whose tenant closed for another reason than eviction.
func (m *Manager) forget(s *slot) {
	m.openMu.Lock()
	defer m.openMu.Unlock()
	for i, o := range m.open {
		if o == s {
			m.open[i] = m.open[len(m.open)-1]
			m.open = m.open[:len(m.open)-1]
			return
		}
	}
}

// OpenTenants returns how many tenants are open now.
func (m *Manager) OpenTenants() int {
	m.openMu.Lock()
	defer m.openMu.Unlock()
	return len(m.open)
}

// CloseTenant closes a tenant that nobody uses, as the LRU would. It reports
// whether the tenant is closed now.
func (m *Manager) CloseTenant(id ident.TenantID) (bool, error) {
	s, err := m.slot(id)
	if err != nil {
		return false, err
	}
	closed, err := s.tryClose()
	if closed {
		m.forget(s)
	}
	return closed, err
}

// Close closes every tenant: new calls fail with Closed, running ones are
// waited for until ctx ends. Several tenants close at once.
func (m *Manager) Close(ctx context.Context) error {
	m.stop()
	m.done.Wait()
	m.mu.Lock()
	slots := make([]*slot, 0, len(m.slots))
	for _, s := range m.slots {
		slots = append(slots, s)
	}
	m.mu.Unlock()
	for _, s := range slots {
		s.flushGathered(true)
	}
	m.mu.Lock()
	m.closed = true
	slots = slots[:0]
	for _, s := range m.slots {
		slots = append(slots, s)
	}
	m.mu.Unlock()
	var (
		wg   sync.WaitGroup
		mu   sync.Mutex // guards errs
		errs []error
		next = make(chan *slot)
	)
	for range min(closeWorkers, len(slots)) {
		wg.Go(func() {
			for s := range next {
				if err := s.drain(ctx); err != nil {
					mu.Lock()
					errs = append(errs, err)
					mu.Unlock()
				}
			}
		})
	}
	for _, s := range slots {
		next <- s
	}
	close(next)
	wg.Wait()
	return errors.Join(errs...)
}

// closeWorkers is how many tenants close at once: closing waits for the disk.
const closeWorkers = 8
