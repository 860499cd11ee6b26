package cluster

import (
	"bufio"
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"kimberlite/internal/directory"
	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/keyring"
	"kimberlite/internal/record"
	"kimberlite/internal/shard"
)

// A move is driven by the leader of the target shard, from what the directory
// says, so that whoever leads next goes on with it:
//
//	directory   source              target
//	moving                          the key, then the log, while the source serves
//	            fence: no writes    the log's tail
//	            retire: no reads
//	flip                            activate: the owner from here on
//	releasing   release, keys gone
//	active
//
// The source's log stands still from Retire on, which only the end of the
// move in the directory undoes: so the flip is decided for a copy that is
// whole. A fence without it is a hint: the source lifts it after a while.

const (
	// fenceAt is how little of the log may be missing when writes are fenced.
	fenceAt = 256 << 10
	// fenceFor is how long the tail may take before the fence is lifted.
	fenceFor = 700 * time.Millisecond
	// fencePause is how long writes go on before the next try.
	fencePause = 500 * time.Millisecond
	// fenceTries is how often the tail is tried for before the move is given up.
	fenceTries = 20
	// unfenceAfter is when the source lifts a fence that nobody cared for, and
	// abortAfter when it ends the move of a retired tenant.
	unfenceAfter = 1500 * time.Millisecond
	abortAfter   = 10 * time.Second
	// importBytes is how much is imported at a time.
	importBytes = 512 << 10
	copyRounds  = 1000
	moveCall    = 10 * time.Second // bounds one call of the other shard
)

// moves remembers the moves that this node drives, or drove last.
type moves struct {
	mu  sync.Mutex // guards the fields below
	all map[ident.TenantID]*Move
	// crash, if not nil, is asked at each step, and what it returns ends the
	// attempt: for tests.
	crash func(step string, t directory.Tenant) error
}

// maxMoves bounds the moves that are remembered.
const maxMoves = 10_000

func (m *moves) get(id ident.TenantID) (Move, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if one, ok := m.all[id]; ok {
		return *one, true
	}
	return Move{}, false
}

// set changes what is remembered of a move.
func (m *moves) set(t directory.Tenant, change func(*Move)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.all == nil || len(m.all) > maxMoves {
		m.all = map[ident.TenantID]*Move{}
	}
	one := m.all[t.ID]
	if one == nil || !one.Ended.IsZero() && t.State == directory.TenantMoving {
		one = &Move{Tenant: t.ID, From: t.Shard, To: t.Target, Began: time.Now()}
		if t.State == directory.TenantReleasing {
			one.From, one.To = t.Source, t.Shard
		}
		m.all[t.ID] = one
	}
	change(one)
}

func (m *moves) at(step string, t directory.Tenant) error {
	m.mu.Lock()
	crash := m.crash
	m.mu.Unlock()
	if crash == nil {
		return nil
	}
	return crash(step, t)
}

// moveTenants drives the moves to this shard, one after another, and clears
// away what moves have left in it.
func (h *host) moveTenants(ctx context.Context) error {
	var errs []error
	for _, t := range h.n.dir.Unsettled() {
		switch {
		case t.State == directory.TenantMoving && t.Target == h.id:
			errs = append(errs, h.drive(ctx, t))
		case t.State == directory.TenantReleasing && t.Shard == h.id:
			errs = append(errs, h.finish(ctx, t))
		}
	}
	errs = append(errs, h.clear(ctx))
	return errors.Join(errs...)
}

// drive brings a tenant here and makes this shard its owner.
func (h *host) drive(ctx context.Context, t directory.Tenant) error {
	m := &mover{h: h, t: t, epoch: t.Epoch}
	err := m.run(ctx)
	if err == nil {
		return nil
	}
	h.n.moves.set(t, func(s *Move) { s.Problem = err.Error() })
	if !m.giveUp {
		return err
	}
	h.n.log.Error("a move was given up", "tenant", t.ID.String(), "error", err.Error())
	if _, abortErr := h.n.dir.Propose(ctx, directory.AbortMove{Tenant: t.ID, Epoch: t.Epoch}); abortErr != nil {
		return errors.Join(err, abortErr)
	}
	h.n.counts.movesAborted.Add(1)
	h.n.moves.set(t, func(s *Move) { s.Phase, s.Ended = MoveAborted, time.Now() })
	return nil // clear sees to the rest
}

// mover is one attempt at a move.
type mover struct {
	h      *host
	t      directory.Tenant
	epoch  uint64 // of the move, for the shards
	giveUp bool
	fenced time.Time // zero while the source takes writes
}

func (m *mover) run(ctx context.Context) error {
	n := m.h.n
	n.moves.set(m.t, func(s *Move) { s.Phase = MoveCopying; s.Attempts++; s.Problem = "" })
	state, err := m.source(ctx, "move-state")
	if err != nil {
		return err
	}
	if err := n.moves.at("begun", m.t); err != nil {
		return err
	}
	if err := m.bringKey(ctx, state); err != nil {
		return err
	}
	for range fenceTries {
		if err := m.copy(ctx, state, fenceAt); err != nil {
			return err
		}
		if err := n.moves.at("copied", m.t); err != nil {
			return err
		}
		final, err := m.tail(ctx)
		if err == nil {
			return m.flip(ctx, final)
		}
		if !fault.Is(err, fault.Timeout) {
			m.lift(ctx)
			return err
		}
		m.lift(ctx)
		select {
		case <-ctx.Done():
			return fault.OfContext("tenant move", ctx)
		case <-time.After(fencePause):
		}
		if state, err = m.source(ctx, "move-state"); err != nil {
			return err
		}
	}
	m.giveUp = true
	return fault.New("tenant move", fault.Timeout, "the log's tail was longer than could be copied in %s, %d times: try again when the tenant writes less", fenceFor, fenceTries).ForTenant(m.t.ID)
}

type tenantCall struct {
	Tenant ident.TenantID `json:"tenant"`
	Shard  ident.ShardID  `json:"shard"`
	Epoch  uint64         `json:"epoch"`
	// Index is how far the caller's copy of the directory is.
	Index uint64 `json:"index,omitempty"`
}

// source asks the leader of the shard that the tenant comes from.
func (m *mover) source(ctx context.Context, name string) (shard.TenantState, error) {
	id := m.t.Shard
	if m.t.State == directory.TenantReleasing {
		id = m.t.Source
	}
	ctx, cancel := context.WithTimeout(ctx, moveCall)
	defer cancel()
	leader, err := m.h.n.leaderOf(ctx, id)
	if err != nil {
		return shard.TenantState{}, err
	}
	return ask[shard.TenantState](ctx, m.h.n, leader, name, tenantCall{Tenant: m.t.ID, Shard: id, Epoch: m.epoch})
}

// bringKey has a majority of this shard's replicas hold the tenant's wrapped
// KEK before anything is there that it opens.
func (m *mover) bringKey(ctx context.Context, state shard.TenantState) error {
	n := m.h.n
	env, err := keyring.DecodeEnvelope(state.Envelope)
	if err != nil {
		return err
	}
	leader, err := n.leaderOf(ctx, m.t.Shard)
	if err != nil {
		return err
	}
	a, err := ask[keyAnswer](ctx, n, leader, "key-get", keyCall{Shard: m.t.Shard, Tenant: m.t.ID, Generation: env.KEK})
	if err != nil {
		return err
	}
	return n.putKey(ctx, m.h.id, m.h.shard.Status().Members, keyCall{m.h.id, m.t.ID, env.KEK, a.Wrapped})
}

// copy imports the source's log until less than enough is missing.
func (m *mover) copy(ctx context.Context, state shard.TenantState, enough int64) error {
	for range copyRounds {
		at, err := m.h.shard.Import(ctx, shard.Import{State: state, Epoch: m.epoch})
		if err != nil {
			return err
		}
		missing := state.Log.TotalBytes - at.TotalBytes
		m.h.n.moves.set(m.t, func(s *Move) { s.Copied, s.Total = at.TotalBytes, state.Log.TotalBytes })
		if at.Next == state.Log.Next || missing <= enough && enough > 0 {
			return nil
		}
		if err := m.copyRange(ctx, state, at.Next); err != nil {
			return err
		}
		if enough == 0 {
			return nil // the log stands still
		}
		if state, err = m.source(ctx, "move-state"); err != nil {
			return err
		}
	}
	return fault.New("tenant move", fault.Timeout, "the log grows faster than it is copied").ForTenant(m.t.ID)
}

// copyRange imports the records from one on up to where state's log ends.
func (m *mover) copyRange(ctx context.Context, state shard.TenantState, from ident.Offset) error {
	n := m.h.n
	leader, err := n.leaderOf(ctx, m.t.Shard)
	if err != nil {
		return err
	}
	stream, err := n.open(ctx, leader, "log", logCall{Shard: m.t.Shard, Tenant: m.t.ID, From: from, To: state.Log.Next})
	if err != nil {
		return err
	}
	defer stream.Close() //nolint:errcheck // read to its end or given up
	in := bufio.NewReaderSize(stream, 256<<10)
	began, copied := time.Now(), int64(0)
	var batch []byte
	flush := func() error {
		if len(batch) == 0 {
			return nil
		}
		at, err := m.h.shard.Import(ctx, shard.Import{State: state, Epoch: m.epoch, Records: batch})
		if err != nil {
			return err
		}
		copied += int64(len(batch))
		n.counts.moveBytes.Add(int64(len(batch)))
		batch = batch[:0]
		n.moves.set(m.t, func(s *Move) { s.Copied = at.TotalBytes })
		return m.pace(ctx, began, copied)
	}
	for {
		batch, err = nextRecord(in, batch)
		if errors.Is(err, io.EOF) {
			return flush()
		}
		if err != nil {
			return err
		}
		if len(batch) >= importBytes {
			if err := flush(); err != nil {
				return err
			}
		}
	}
}

// nextRecord appends the next whole record of a stream. io.EOF says that there
// is no more.
func nextRecord(in *bufio.Reader, batch []byte) ([]byte, error) {
	start := len(batch)
	batch = append(batch, make([]byte, record.HeaderBytes)...)
	if _, err := io.ReadFull(in, batch[start:]); err != nil {
		if errors.Is(err, io.EOF) {
			return batch[:start], io.EOF
		}
		return batch[:start], fault.Wrap("tenant move", fault.Unavailable, err, "the stream of the source was cut")
	}
	_, length, err := record.ParseHeader(batch[start:])
	if err != nil {
		return batch[:start], err
	}
	rest := length + record.TrailerBytes
	batch = append(batch, make([]byte, rest)...)
	if _, err := io.ReadFull(in, batch[len(batch)-rest:]); err != nil {
		return batch[:start], fault.Wrap("tenant move", fault.Unavailable, err, "the stream of the source was cut")
	}
	return batch, nil
}

// pace waits while more was copied than the limit lets. Nobody waits under a
// fence.
func (m *mover) pace(ctx context.Context, began time.Time, copied int64) error {
	if !m.fenced.IsZero() {
		return nil
	}
	due := time.Duration(float64(copied) / float64(m.h.n.c.MoveBytesPerSecond) * float64(time.Second))
	left := due - time.Since(began)
	if left <= 0 {
		return nil
	}
	select {
	case <-ctx.Done():
		return fault.OfContext("tenant move", ctx)
	case <-time.After(left):
		return nil
	}
}

// tail fences the source's writes, copies what is left, and retires the
// source's copy. Timeout says that it took too long.
func (m *mover) tail(ctx context.Context) (shard.TenantState, error) {
	n := m.h.n
	m.fenced = time.Now()
	defer func() {
		took := time.Since(m.fenced)
		m.fenced = time.Time{}
		n.moves.set(m.t, func(s *Move) { s.Fenced = max(s.Fenced, took) })
	}()
	n.moves.set(m.t, func(s *Move) { s.Phase = MoveFencing })
	hurry, cancel := context.WithTimeout(ctx, fenceFor)
	defer cancel()
	late := func(err error) error {
		if hurry.Err() != nil && ctx.Err() == nil {
			return fault.New("tenant move", fault.Timeout, "the log's tail took longer than %s", fenceFor).ForTenant(m.t.ID)
		}
		return err
	}
	final, err := m.source(hurry, "move-state")
	if err == nil && final.Phase == shard.Retired && final.Epoch == m.epoch {
		return final, m.whole(ctx, final) // an earlier attempt got as far as that
	}
	if err == nil {
		final, err = m.source(hurry, "move-fence")
	}
	if err != nil {
		return final, late(err)
	}
	if err := n.moves.at("fenced", m.t); err != nil {
		return final, err
	}
	if err := m.whole(hurry, final); err != nil {
		return final, late(err)
	}
	retired, err := m.source(hurry, "move-retire")
	if err != nil {
		return final, late(err)
	}
	if retired.Log != final.Log {
		// The fence was lifted in between: what was written since is copied
		// now, since the log stands still for good.
		if err := m.whole(hurry, retired); err != nil {
			return retired, late(err)
		}
	}
	return retired, n.moves.at("retired", m.t)
}

// whole copies what is missing of a log that stands still, and the key of its
// last state: it may have been changed while the log was copied.
func (m *mover) whole(ctx context.Context, final shard.TenantState) error {
	if err := m.bringKey(ctx, final); err != nil {
		return err
	}
	return m.copy(ctx, final, 0)
}

// lift has the source take writes again. It does so by itself after a while.
func (m *mover) lift(ctx context.Context) {
	if _, err := m.source(ctx, "move-lift"); err != nil {
		m.h.n.log.Warn("a fence could not be lifted, and will be by its shard", "tenant", m.t.ID.String(), "error", err.Error())
	}
	m.h.n.moves.set(m.t, func(s *Move) { s.Phase = MoveCopying })
}

// flip makes this shard the owner. When that is not known to have failed the
// directory says what is to be done next.
func (m *mover) flip(ctx context.Context, final shard.TenantState) error {
	n := m.h.n
	n.moves.set(m.t, func(s *Move) { s.Phase = MoveFlipping })
	began := time.Now()
	if _, err := n.dir.Propose(ctx, directory.FlipMove{Tenant: m.t.ID, Epoch: m.epoch}); err != nil {
		return err
	}
	if err := n.moves.at("flipped", m.t); err != nil {
		return err
	}
	err := m.h.shard.Activate(ctx, final, m.epoch)
	n.moves.set(m.t, func(s *Move) { s.Fenced += time.Since(began) })
	if err != nil {
		return err
	}
	if err := n.moves.at("activated", m.t); err != nil {
		return err
	}
	t, ok := n.dir.Tenant(m.t.ID)
	if !ok || t.State != directory.TenantReleasing {
		return nil // somebody else was faster
	}
	return m.h.finish(ctx, t)
}

// finish does what is left of a move after the flip. Every step may have been
// done before.
func (h *host) finish(ctx context.Context, t directory.Tenant) error {
	m := &mover{h: h, t: t, epoch: t.Epoch - 1}
	n := h.n
	n.moves.set(t, func(s *Move) { s.Phase = MoveReleasing })
	if st, err := h.shard.Tenant(t.ID); err == nil && st.Phase == shard.Incoming {
		final, err := m.source(ctx, "move-state")
		if err != nil {
			return err
		}
		if err := h.shard.Activate(ctx, final, m.epoch); err != nil {
			return err
		}
	}
	if _, err := m.source(ctx, "move-release"); err != nil && !fault.Is(err, fault.NotFound) {
		return err
	}
	if err := n.moves.at("released", t); err != nil {
		return err
	}
	if err := n.dropKeys(ctx, t.Source, t.ID); err != nil {
		return err
	}
	if _, err := n.dir.Propose(ctx, directory.EndMove{Tenant: t.ID, Epoch: t.Epoch}); err != nil {
		return err
	}
	n.counts.movesDone.Add(1)
	n.moves.set(t, func(s *Move) { s.Phase, s.Ended, s.Problem = MoveDone, time.Now(), "" })
	n.log.Info("a tenant was moved", "tenant", t.ID.String(), "from", t.Source.String(), "to", h.id.String())
	return nil
}

// dropKeys has the nodes of a shard destroy a tenant's keys, but those that
// have it for another shard.
func (n *Node) dropKeys(ctx context.Context, id ident.ShardID, t ident.TenantID) error {
	sh, ok := n.dir.Shard(id)
	if !ok {
		return nil
	}
	var errs []error
	for _, r := range sh.Want {
		if _, err := ask[none](ctx, n, r.Node, "key-drop", tenantCall{Tenant: t, Shard: id, Index: n.dir.Applied()}); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// CrashMoves has f asked at each step of the moves that this node drives: what
// it returns ends the attempt there, as a crash would. It is for tests.
func (n *Node) CrashMoves(f func(step string, t directory.Tenant) error) {
	n.moves.mu.Lock()
	defer n.moves.mu.Unlock()
	n.moves.crash = f
}
