package tenant

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/projection"
	"kimberlite/internal/record"
)

// Limits of a tenant's write queue.
const (
	// maxGroup is how many requests share one transaction group: one record,
	// one fsync.
	maxGroup = 128
	// maxQueue is how many requests may wait for one tenant's writer.
	maxQueue = 8192
	// unknownGrace is how long a caller whose context ended still waits for
	// the outcome of a write that is already under way.
	unknownGrace = 5 * time.Second
)

// writer is a tenant's single writer. There is no goroutine of its own: of
// the requests that wait, one leads. It runs all that wait in one transaction
// group, answers them, and hands the lead to the next one that came meanwhile.
type writer struct {
	rt *Runtime

	mu    sync.Mutex // guards queue and busy
	queue []*request
	busy  bool // somebody leads

	// The fields below belong to whoever leads, but for lastTime and buf,
	// which logMu guards.
	lastTime   time.Time // of the last record
	openedAt   ident.Offset
	sinceFlush int
	buf        []byte // reused for payloads

	notes

	idle atomic.Pointer[Tx] // the interactive transaction that holds the writer
}

func (w *writer) init(rt *Runtime) { w.rt = rt }

// request is one write that waits for the writer.
type request struct {
	ctx context.Context
	// run executes the request inside a group. It may run twice, when a group
	// has to be split, and must start afresh each time.
	run         func(ctx context.Context, g *projection.Group) (record.Result, error)
	key         string
	fingerprint [16]byte
	// exclusive asks for the writer itself: run is nil.
	exclusive bool

	state atomic.Int32
	ready chan struct{} // one signal: finished, or lead is set
	lead  bool
	res   record.Result
	err   error
}

const (
	stateQueued int32 = iota
	stateTaken
	stateAbandoned
)

func (r *request) take() bool { return r.state.CompareAndSwap(stateQueued, stateTaken) }

func (r *request) finish(res record.Result, err error) {
	r.res, r.err = res, err
	r.ready <- struct{}{}
}

// do runs a request and returns its outcome once that is durable or refused.
func (w *writer) do(r *request) (record.Result, error) {
	lead, err := w.enqueue(r)
	if err != nil {
		return record.Result{}, err
	}
	if !lead {
		if err := w.wait(r); err != nil {
			return record.Result{}, err
		}
		lead = r.lead
	}
	if lead {
		w.leadGroup(r)
		<-r.ready
	}
	return r.res, r.err
}

// acquire takes the writer over until the returned function is called.
func (w *writer) acquire(ctx context.Context) (release func(), err error) {
	r := &request{ctx: ctx, exclusive: true}
	lead, err := w.enqueue(r)
	if err != nil {
		return nil, err
	}
	if !lead {
		if err := w.wait(r); err != nil {
			return nil, err
		}
	}
	return w.handOff, nil
}

// enqueue makes r the leader when nobody leads, and lets it wait otherwise.
func (w *writer) enqueue(r *request) (lead bool, err error) {
	r.ready = make(chan struct{}, 1)
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.busy {
		w.busy = true
		r.state.Store(stateTaken)
		return true, nil
	}
	if len(w.queue) >= maxQueue {
		return false, fault.New("write", fault.Unavailable, "%d requests wait for the writer of tenant %s already: try again later", maxQueue, w.rt.id).ForTenant(w.rt.id)
	}
	w.queue = append(w.queue, r)
	return false, nil
}

// wait returns once r is finished or leads, or its caller gave up.
func (w *writer) wait(r *request) error {
	select {
	case <-r.ready:
		return nil
	case <-r.ctx.Done():
	}
	if r.state.CompareAndSwap(stateQueued, stateAbandoned) {
		return fault.OfContext("write", r.ctx).ForTenant(w.rt.id)
	}
	grace := time.NewTimer(unknownGrace)
	defer grace.Stop()
	select {
	case <-r.ready:
		return nil
	case <-grace.C:
		// The leader, not this caller, finishes the request; a lead that
		// arrives now must not be lost.
		go func() {
			<-r.ready
			if r.lead {
				w.handOff()
			}
		}()
		return fault.Wrap("write", fault.OutcomeUnknown, r.ctx.Err(),
			"the deadline passed while the write was under way: use the idempotency key to find out").ForTenant(w.rt.id)
	}
}

// handOff gives the lead to the next request that waits, or to nobody. The
// caller leads, and no group is open.
func (w *writer) handOff() {
	for {
		w.settleNotes()
		w.passOn()
		// A note that came in between found the lead taken.
		if w.rt.broken.Load() || !w.tryLead() {
			return
		}
	}
}

func (w *writer) passOn() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.queue) > 0 {
		r := w.pop()
		if r.take() {
			r.lead = true
			r.ready <- struct{}{}
			return
		}
	}
	w.busy = false
}

// pop removes the head of the queue. The caller holds mu.
func (w *writer) pop() *request {
	r := w.queue[0]
	w.queue[0] = nil
	w.queue = w.queue[1:]
	if len(w.queue) == 0 {
		w.queue = nil
	}
	return r
}

// takeGroup returns r and the requests behind it that can share its group.
func (w *writer) takeGroup(r *request) []*request {
	batch := []*request{r}
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.queue) > 0 && len(batch) < maxGroup && !w.queue[0].exclusive {
		if next := w.pop(); next.take() {
			batch = append(batch, next)
		}
	}
	return batch
}

// leadGroup runs a group with r in it and hands the lead on.
func (w *writer) leadGroup(r *request) {
	defer w.handOff()
	w.rotateWhenDue(r.ctx)
	w.runGroup(w.takeGroup(r))
	w.rt.maybeFlush()
}

// runGroup runs the requests in one transaction, logs it and answers them.
func (w *writer) runGroup(batch []*request) {
	if err := w.usable(); err != nil {
		failAll(batch, err)
		return
	}
	g, err := w.rt.db.BeginGroup(context.Background())
	if err != nil {
		w.suspect(err)
		failAll(batch, err)
		return
	}
	accepted := make([]*request, 0, len(batch))
	var refused []*request // with several replicas: told once it is sure that this one leads
	for i, r := range batch {
		err := w.runOne(g, r)
		switch {
		case g.Broken() != nil:
			// The connection is gone and with it the whole group: those who
			// did not cause it run again, alone.
			w.abort(g)
			r.finish(record.Result{}, err)
			w.runAlone(refused, accepted, batch[i+1:])
			return
		case err != nil && w.rt.m.replicated:
			r.err = err
			refused = append(refused, r)
		case err != nil:
			r.finish(record.Result{}, err)
		default:
			accepted = append(accepted, r)
		}
	}
	err = w.commit(g)
	for _, r := range refused {
		r.finish(record.Result{}, w.refusedAs(r.err, err))
	}
	if err != nil && len(accepted) > 1 && (fault.Is(err, fault.TooLarge) || fault.Is(err, fault.QuotaExceeded)) {
		w.runAlone(accepted)
		return
	}
	for _, r := range accepted {
		r.finish(r.res, err)
	}
}

func (w *writer) runAlone(batches ...[]*request) {
	for _, batch := range batches {
		for _, r := range batch {
			w.runGroup([]*request{r})
		}
	}
}

// usable says whether the writer may start a group at all.
func (w *writer) usable() error {
	if w.rt.broken.Load() {
		return fault.New("write", fault.Unavailable, "tenant %s is being recovered: try again", w.rt.id).ForTenant(w.rt.id)
	}
	if w.rt.m.replicated && !w.rt.leads() {
		return w.rt.m.errMisrouted("write", w.rt.id)
	}
	if err := w.rt.m.o.Shard.Err(); err != nil {
		return err
	}
	return w.rt.m.reserve.check()
}

// runOne runs one request as a transaction of the group: on error it leaves
// no trace in the group.
func (w *writer) runOne(g *projection.Group, r *request) error {
	if r.ctx.Err() != nil {
		return fault.OfContext("write", r.ctx).ForTenant(w.rt.id)
	}
	if r.key != "" {
		fp, res, found, err := g.LookupIdempotent(r.key)
		if err != nil {
			return err
		}
		if found && fp != r.fingerprint {
			return fault.New("write", fault.IdempotencyMismatch, "this idempotency key was used for another request: use a new key").ForTenant(w.rt.id)
		}
		if found {
			r.res = res
			return nil
		}
	}
	if err := g.BeginTxn(); err != nil {
		return err
	}
	res, err := r.run(r.ctx, g)
	if err == nil {
		r.res = res
		err = g.EndTxn(r.key, r.fingerprint, res)
		if err == nil {
			return nil
		}
	}
	w.suspect(err)
	if g.Broken() == nil {
		if abortErr := g.AbortTxn(); abortErr != nil {
			w.rt.broken.Store(true)
		}
	}
	return err
}

// abort rolls a group back; when even that fails the projection is in doubt.
func (w *writer) abort(g *projection.Group) {
	if err := g.Rollback(); err != nil {
		w.rt.broken.Store(true)
	}
}

// suspect marks the projection as in doubt when an error says that its file
// is damaged.
func (w *writer) suspect(err error) { w.rt.suspect(err) }

// suspect looks at an error of the projection. Damage of its file means that
// the file goes and is derived anew; damage of the log is another matter.
func (rt *Runtime) suspect(err error) {
	if !fault.Is(err, fault.Corruption) {
		return
	}
	var e *fault.Error
	if errors.As(err, &e) && strings.HasPrefix(e.File, rt.m.o.Shard.LogDir(rt.id)) {
		return
	}
	rt.discard.Store(true)
	rt.broken.Store(true)
}

func failAll(batch []*request, err error) {
	for _, r := range batch {
		r.finish(record.Result{}, err)
	}
}

// expireIdle rolls back an interactive transaction that holds the writer.
func (w *writer) expireIdle() {
	if tx := w.idle.Load(); tx != nil {
		tx.expire()
	}
}
