package rpc

import (
	"context"
	"crypto/rand"
	"errors"
	"maps"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	v1 "kimberlite/gen/kimberlite/v1"
	"kimberlite/internal/access"
	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/record"
	"kimberlite/internal/tenant"
)

// transaction is one that was begun over the door. Only calls of the
// credential that began it find it.
type transaction struct {
	owner   access.Principal
	session *access.Session
	// stop ends the goroutine that watches the session.
	stop context.CancelFunc
	idle *time.Timer

	mu sync.Mutex // held for the length of a call; guards all below
	x  *tenant.Tx
	// ended says that it was committed, rolled back or given up; result and
	// err are what a retry of its end is told.
	ended  bool
	result record.Result
	err    error
	// at is when it ended; once it is kept for retries it does not change.
	at time.Time
}

// transactions are those of all tenants.
type transactions struct {
	idle  time.Duration
	count *tally
	mu    sync.Mutex // guards all below
	// closed says that no more are begun.
	closed bool
	all    map[string]*transaction
	// ended are the ids of each tenant's that are kept for retries, oldest
	// first; keptIDs is how many there are in all.
	ended   map[ident.TenantID][]string
	keptIDs int
	swept   time.Time
}

// maxEnded bounds the ended transactions of one tenant that are kept for
// retries.
const maxEnded = 256

func newTransactions(l Limits) *transactions {
	return &transactions{
		idle: l.TransactionIdle, count: newTally(l.TenantTransactions),
		all: map[string]*transaction{}, ended: map[ident.TenantID][]string{},
	}
}

// open returns how many transactions have not ended.
func (ts *transactions) open() int {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	return len(ts.all) - ts.keptIDs
}

// find returns a transaction that this credential began.
func (ts *transactions) find(p access.Principal, id string) (*transaction, error) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	x := ts.all[id]
	if x == nil || x.owner.Tenant != p.Tenant || x.owner.ID != p.ID || x.owner.Operator != p.Operator {
		return nil, errNoTransaction(p)
	}
	return x, nil
}

// add enters one that was begun, unless no more are.
func (ts *transactions) add(id string, tx *transaction) bool {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	ts.all[id] = tx // also one that is refused: to end it is to remember it
	return !ts.closed
}

// closeTransactions rolls back what is open, for good.
func (d *door) closeTransactions() {
	ts := d.transactions
	ts.mu.Lock()
	ts.closed = true
	all := maps.Clone(ts.all)
	ts.mu.Unlock()
	for id, tx := range all {
		d.end(id, tx, fault.New("transaction", fault.Unavailable, "the server shut down, and the transaction was rolled back").ForTenant(tx.owner.Tenant))
	}
}

func errNoTransaction(p access.Principal) error {
	return fault.New("transaction", fault.Closed, "there is no such transaction: it ended, stood idle for too long, or was never begun by this credential").ForTenant(p.Tenant)
}

// keep remembers that a transaction ended, for retries, and drops those that
// are too many or too old.
func (ts *transactions) keep(whose ident.TenantID, id string, now time.Time) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	ts.ended[whose] = append(ts.ended[whose], id)
	ts.keptIDs++
	ts.drop(whose, now)
	if now.Sub(ts.swept) < outcomeAge/10 {
		return
	}
	ts.swept = now
	for whose := range ts.ended {
		ts.drop(whose, now)
	}
}

func (ts *transactions) drop(whose ident.TenantID, now time.Time) {
	ids := ts.ended[whose]
	for len(ids) > 0 {
		if len(ids) <= maxEnded && now.Sub(ts.all[ids[0]].at) < outcomeAge {
			break
		}
		delete(ts.all, ids[0])
		ids = ids[1:]
		ts.keptIDs--
	}
	if ts.ended[whose] = ids; len(ids) == 0 {
		delete(ts.ended, whose)
	}
}

type transactionService struct{ *door }

// Begin starts a transaction.
func (s transactionService) Begin(ctx context.Context, r *v1.BeginRequest) (*v1.BeginResponse, error) {
	t, err := s.own(ctx, r.GetTenant())
	if err != nil {
		return nil, err
	}
	c := callOf(ctx)
	ts := s.transactions
	leave, err := ts.count.enter(t.ID(), "transactions")
	if err != nil {
		return nil, err
	}
	x, err := t.Begin(ctx)
	if err != nil {
		leave()
		return nil, err
	}
	id := rand.Text()
	watched, stop := context.WithCancel(context.Background())
	tx := &transaction{owner: c.session.Principal(), session: c.session, x: x}
	tx.stop = sync.OnceFunc(func() {
		stop()
		c.session.Close()
		leave()
	})
	c.keep = true // the transaction closes the session
	tx.mu.Lock()  // until the timer is in its place
	giveUp := func(why error) func() { return func() { s.end(id, tx, why) } }
	tx.idle = time.AfterFunc(ts.idle, giveUp(fault.New("transaction", fault.Timeout, "the transaction stood idle for %s and was rolled back", ts.idle).ForTenant(t.ID())))
	tx.mu.Unlock()
	if !ts.add(id, tx) {
		why := fault.New("transaction", fault.Unavailable, "the server shuts down: try again").ForTenant(t.ID())
		giveUp(why)()
		return nil, why
	}
	go func() {
		select {
		case <-tx.session.Done():
			giveUp(tx.session.Err())()
		case <-watched.Done():
		}
	}()
	return &v1.BeginResponse{Transaction: id, Idle: durationpb.New(ts.idle)}, nil
}

// end rolls a transaction back that its caller did not end. It waits for the
// call that runs, if any.
func (d *door) end(id string, tx *transaction, why error) {
	tx.mu.Lock()
	defer tx.mu.Unlock()
	if tx.ended {
		return
	}
	if err := ignoreEnded(tx.x.Rollback()); err != nil {
		why = errors.Join(why, err)
	}
	d.finishTransaction(id, tx, record.Result{}, why)
}

// finishTransaction notes what a transaction came to; tx.mu is held.
func (d *door) finishTransaction(id string, tx *transaction, result record.Result, err error) {
	tx.ended, tx.result, tx.err, tx.at, tx.x = true, result, err, time.Now(), nil
	tx.idle.Stop()
	tx.stop()
	d.transactions.keep(tx.owner.Tenant, id, tx.at)
}

// ignoreEnded is for a rollback of what has been rolled back already.
func ignoreEnded(err error) error {
	if err == nil || fault.Is(err, fault.Closed) || fault.Is(err, fault.Timeout) {
		return nil
	}
	return err
}

// inTransaction runs fn in a transaction of the caller's.
func (d *door) inTransaction(ctx context.Context, requested uint64, id string, fn func(x *tenant.Tx) error) error {
	if _, err := d.own(ctx, requested); err != nil {
		return err
	}
	tx, err := d.transactions.find(callOf(ctx).session.Principal(), id)
	if err != nil {
		return err
	}
	tx.mu.Lock()
	defer tx.mu.Unlock()
	if tx.ended {
		if tx.err != nil {
			return tx.err
		}
		return errNoTransaction(tx.owner)
	}
	tx.idle.Stop()
	defer tx.idle.Reset(d.transactions.idle)
	return fn(tx.x)
}

// commitTimeout bounds a commit, which goes on when its caller has left: who
// asks again is told what it came to.
const commitTimeout = 30 * time.Second

// Commit makes a transaction durable.
func (s transactionService) Commit(ctx context.Context, r *v1.CommitRequest) (*v1.CommitResponse, error) {
	tx, err := s.transactions.find(callOf(ctx).session.Principal(), r.GetTransaction())
	if err != nil {
		return nil, err
	}
	tx.mu.Lock()
	defer tx.mu.Unlock()
	if !tx.ended {
		bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitTimeout)
		defer cancel()
		result, err := tx.x.Commit(bounded)
		s.finishTransaction(r.GetTransaction(), tx, result, err)
	}
	return &v1.CommitResponse{Result: toResult(tx.result)}, tx.err
}

// Rollback undoes a transaction.
func (s transactionService) Rollback(ctx context.Context, r *v1.RollbackRequest) (*v1.RollbackResponse, error) {
	p := callOf(ctx).session.Principal()
	tx, err := s.transactions.find(p, r.GetTransaction())
	if err != nil {
		return &v1.RollbackResponse{}, nil
	}
	tx.mu.Lock()
	defer tx.mu.Unlock()
	if tx.ended {
		return &v1.RollbackResponse{}, nil
	}
	err = ignoreEnded(tx.x.Rollback())
	s.finishTransaction(r.GetTransaction(), tx, record.Result{}, errNoTransaction(p))
	return &v1.RollbackResponse{}, err
}
