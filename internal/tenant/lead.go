package tenant

import (
	"bytes"
	"context"
	"sync"
	"time"

	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/keyring"
	"kimberlite/internal/shard"
)

// In a shard with several replicas an open tenant belongs to one term of the
// lead: what it executes is right only as long as no other leader writes. When
// the term is over, its open transactions end without effect, and it starts
// anew from the log: for the next term that this replica leads, or as a
// follower of what another one writes.

// following is the term of a tenant that follows its log.
const following = ^uint64(0)

// term returns the term in which this replica leads.
func (m *Manager) term() (uint64, error) {
	term, ok := m.o.Shard.Lead()
	if !ok {
		return 0, m.o.Shard.ErrMisrouted("tenant")
	}
	return term, nil
}

func (m *Manager) errMisrouted(op string, id ident.TenantID) error {
	return tenantError(m.o.Shard.ErrMisrouted(op), id)
}

// inTerm says whether the tenant is open in a term.
func (rt *Runtime) inTerm(term uint64) bool { return rt.term.Load() == term }

// leads says whether this replica still leads in the term of the open tenant.
func (rt *Runtime) leads() bool {
	term, ok := rt.m.o.Shard.Lead()
	return ok && rt.inTerm(term)
}

// openable says whether a tenant in a state may be open in a term.
func (m *Manager) openable(st *shard.TenantState, term uint64) error {
	switch {
	case !m.replicated:
		return nil
	case term != following:
		return st.Readable("open")
	case st.Phase == shard.Retired:
		return st.Readable("open")
	case !m.o.Shard.Replayed():
		return fault.New("open", fault.Unavailable, "this replica of shard %s is still reading its log: try again", m.o.Shard.ID()).ForTenant(st.ID)
	}
	return nil
}

// headable says whether a head may be written into a tenant's files.
func (m *Manager) headable(id ident.TenantID) bool {
	st, err := m.o.Shard.Tenant(id)
	return err == nil && st.Readable("head") == nil
}

// has says whether the tenant is still the shard's.
func (m *Manager) has(id ident.TenantID) bool {
	_, err := m.o.Shard.Tenant(id)
	return err == nil
}

// acquireRead returns the open tenant for a read that sees all that was
// acknowledged before, or, with maxLag, all up to that long ago.
func (s *slot) acquireRead(ctx context.Context, maxLag time.Duration) (*Runtime, error) {
	if !s.m.replicated {
		return s.acquire(ctx)
	}
	if maxLag > 0 {
		return s.acquireStale(ctx, maxLag)
	}
	for {
		rt, err := s.acquire(ctx)
		if err != nil {
			return nil, err
		}
		err = s.m.o.Shard.ReadIndex(ctx)
		if err == nil && rt.usable() {
			if err = s.readable(); err == nil {
				return rt, nil
			}
		}
		s.release()
		if err != nil {
			return nil, err
		}
		// It leads, in another term than before: once more.
	}
}

// gone is the error for a tenant that was here and that the shard knows no
// more: in a shard of several it has moved away.
func (m *Manager) gone(id ident.TenantID, err error) error {
	if !m.replicated || !fault.Is(err, fault.NotFound) {
		return err
	}
	return fault.Wrap("open", fault.Misrouted, err, "tenant %s has moved away; nothing was done: try again", id).ForTenant(id)
}

// readable says whether the shard serves reads of the tenant.
func (s *slot) readable() error {
	st, err := s.m.o.Shard.Tenant(s.id)
	if err != nil {
		return fault.Wrap("read", fault.Misrouted, err, "tenant %s has moved away", s.id).ForTenant(s.id)
	}
	return st.Readable("read")
}

// acquireCatalog returns the open tenant for a call that reads no rows: it
// need not be the latest.
func (s *slot) acquireCatalog(ctx context.Context, maxLag time.Duration) (*Runtime, error) {
	if maxLag > 0 {
		return s.acquireStale(ctx, maxLag)
	}
	return s.acquire(ctx)
}

// acquireWrite returns the open tenant for a write, once the shard takes
// writes of it.
func (s *slot) acquireWrite(ctx context.Context) (*Runtime, error) {
	if err := s.awaitServing(ctx); err != nil {
		return nil, err
	}
	return s.acquire(ctx)
}

// A write of a fenced tenant waits for fenceWait, looking every fencePoll: the
// tail of a move takes less, and then the other shard is to be asked.
const (
	fenceWait = time.Second
	fencePoll = 2 * time.Millisecond
)

// awaitServing waits while the tenant is fenced.
func (s *slot) awaitServing(ctx context.Context) error {
	if !s.m.replicated {
		return nil
	}
	var deadline time.Time
	for {
		st, err := s.m.o.Shard.Tenant(s.id)
		switch {
		case err != nil:
			return fault.Wrap("write", fault.Misrouted, err, "tenant %s has moved away", s.id).ForTenant(s.id)
		case st.Phase == shard.Serving:
			return nil
		case st.Phase != shard.Fenced || !deadline.IsZero() && time.Now().After(deadline):
			return fault.New("write", fault.Misrouted, "tenant %s is moving to another shard; nothing was done: try again", s.id).ForTenant(s.id)
		}
		if deadline.IsZero() {
			deadline = time.Now().Add(fenceWait)
		}
		select {
		case <-ctx.Done():
			return fault.OfContext("write", ctx).ForTenant(s.id)
		case <-time.After(fencePoll):
		}
	}
}

// confirm returns nil when this replica leads in the tenant's term after all
// that was answered before the call, so that what the tenant's projection says
// is the latest.
func (rt *Runtime) confirm(ctx context.Context) error {
	if !rt.m.replicated {
		return nil
	}
	if err := rt.m.o.Shard.ReadIndex(ctx); err != nil {
		return tenantError(err, rt.id)
	}
	if !rt.usable() {
		return rt.m.errMisrouted("read", rt.id)
	}
	return rt.slot.readable()
}

// confirmWait bounds how long an answer that needs no record waits for the
// other replicas.
const confirmWait = 5 * time.Second

// confirm is for what a group found out without logging anything: that a
// statement changes nothing, or cannot be carried out.
func (w *writer) confirm() error {
	if !w.rt.m.replicated {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), confirmWait)
	defer cancel()
	return w.rt.confirm(ctx)
}

// refusedAs returns what a statement is told that was refused with own, when
// the group that it was in ended with err: its own error may be of a state that
// another leader has left behind.
func (w *writer) refusedAs(own, err error) error {
	if err == nil {
		return own
	}
	switch fault.KindOf(err) {
	case fault.Misrouted:
		return err
	case fault.OutcomeUnknown, fault.Conflict, fault.Timeout:
		return w.rt.m.errMisrouted("write", w.rt.id)
	}
	return own
}

// notLogged decides what a record that was not logged means: whether the
// projection may be used further, and what the caller is told.
func (w *writer) notLogged(err error) error {
	switch {
	case fault.Is(err, fault.Unavailable), fault.Is(err, fault.TooLarge), fault.Is(err, fault.Misrouted):
		return err // nothing happened
	}
	// With the outcome unknown the record may yet be applied: whoever opens the
	// tenant next follows the log.
	w.rt.broken.Store(true)
	if w.rt.m.replicated && fault.Is(err, fault.Conflict) {
		return fault.Wrap("write", fault.Misrouted, err, "another leader wrote meanwhile; nothing was done: try again").ForTenant(w.rt.id).WithLeader(w.rt.m.o.Shard.Leader())
	}
	return err
}

// restart makes an open tenant that nobody uses start anew from its log, for a
// term. On error it must be closed.
func (rt *Runtime) restart(ctx context.Context, term uint64) error {
	st, err := rt.m.o.Shard.Tenant(rt.id)
	if err == nil {
		err = rt.m.openable(&st, term)
	} else {
		err = rt.m.gone(rt.id, err)
	}
	if err != nil {
		return err
	}
	rt.flushes.Wait()
	w := &rt.writer
	w.side = nil
	w.sideLen.Store(0)
	rt.credentials.known.Store(nil)
	if err := rt.catchUpTo(ctx, &st); err != nil {
		return err
	}
	w.begin()
	rt.slot.admission.SetLimits(st.Limits)
	rt.maxLog.Store(st.Limits.MaxLogBytes)
	rt.db.SetProjectionLimit(st.Limits.MaxProjectionBytes)
	rt.term.Store(term)
	rt.watch.kick()
	return nil
}

// catchUpTo brings keys and projection up to the log.
func (rt *Runtime) catchUpTo(ctx context.Context, st *shard.TenantState) error {
	if err := rt.refreshKeys(ctx, st); err != nil {
		return err
	}
	before := rt.db.Applied().Next
	err := rt.catchUp(ctx)
	if rt.db.Applied().Next != before {
		rt.watch.notify()
	}
	return err
}

// refreshKeys takes up an envelope that another leader has changed.
func (rt *Runtime) refreshKeys(ctx context.Context, st *shard.TenantState) error {
	if bytes.Equal(rt.envelope, st.Envelope) {
		return nil
	}
	env, err := keyring.DecodeEnvelope(st.Envelope)
	if err != nil {
		return err
	}
	lease, err := rt.m.acquireKeys(ctx, rt.id, env)
	if err != nil {
		return err
	}
	if lease.Keys() != rt.keys {
		lease.Release()
		return fault.New("open", fault.Unavailable, "the keys of tenant %s were closed meanwhile: try again", rt.id).ForTenant(rt.id)
	}
	rt.lease.Release()
	rt.lease, rt.envelope = lease, st.Envelope
	return nil
}

// interrupt ends the interactive transactions of a term that is over. One that
// runs a statement ends with its next one.
func (rt *Runtime) interrupt() {
	err := rt.m.errMisrouted("transaction", rt.id)
	for _, x := range rt.txs.all() {
		x.interrupt(err)
	}
}

// interrupt rolls the transaction back unless a call runs.
func (x *Tx) interrupt(why error) {
	if !x.mu.TryLock() {
		return
	}
	defer x.mu.Unlock()
	if x.ended == nil {
		x.finish(why)
	}
}

// transactions are a tenant's interactive ones.
type transactions struct {
	mu   sync.Mutex // guards open
	open map[*Tx]struct{}
}

func (t *transactions) add(x *Tx) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.open == nil {
		t.open = map[*Tx]struct{}{}
	}
	t.open[x] = struct{}{}
}

func (t *transactions) remove(x *Tx) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.open, x)
}

func (t *transactions) all() []*Tx {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := make([]*Tx, 0, len(t.open))
	for x := range t.open {
		all = append(all, x)
	}
	return all
}
