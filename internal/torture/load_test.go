package torture

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/node"
	"kimberlite/internal/quota"
	"kimberlite/internal/shard"
	"kimberlite/internal/tenant"
)

// load is writers of several tenants at once, and one administrator.
type load struct {
	n    *node.Node
	l    *ledger
	seed uint64
	// tenants have the ids from 1 on; each has so many writers.
	tenants, writers int
	// admin says that the administrator works too.
	admin bool
	// opTimeout bounds each call: one that takes longer counts as hanging.
	opTimeout time.Duration
	// tolerate says which errors are part of the test, besides those that
	// always are. An operation that fails so ends its writer.
	tolerate func(error) bool

	done atomic.Int64 // operations acknowledged in this run
}

const (
	// setupWriter does what makes a tenant ready.
	setupWriter = 1000
	// adminTenant is whom the administrator's operations are noted under.
	adminTenant = 0
	// firstExtra is the id of the first tenant that the administrator makes.
	firstExtra = 100
)

// The steps of setting a tenant up.
const (
	setupCreate = iota
	setupSchema
	setupStream
	setupSteps
)

func setupID(tenant uint64, step int) opID {
	return opID{writerID{tenant, setupWriter}, step}
}

// setup makes the tenants that are not there yet.
func (ld *load) setup() error {
	for t := 1; t <= ld.tenants; t++ {
		for step := range setupSteps {
			id := setupID(uint64(t), step)
			if ld.l.acked(id) {
				continue
			}
			if err := ld.l.begin(id); err != nil {
				return err
			}
			err := ld.setupStep(uint64(t), step)
			if fault.Is(err, fault.AlreadyExists) {
				err = nil // made before the kill
			}
			if err != nil {
				return fmt.Errorf("setting up tenant %d, step %d: %w", t, step, err)
			}
			if err := ld.l.end(id, 0, nil); err != nil {
				return err
			}
		}
	}
	return nil
}

func (ld *load) setupStep(t uint64, step int) error {
	ctx := context.Background()
	id := ident.MustTenantID(t)
	if step == setupCreate {
		return createTenant(ctx, ld.n, t, fmt.Sprintf("tenant-%d", t))
	}
	h, err := ld.n.Tenants().Tenant(id)
	if err != nil {
		return err
	}
	if step == setupSchema {
		_, err = h.Exec(ctx, tenant.Request{IdempotencyKey: "schema"}, schema, nil)
		return err
	}
	_, err = h.CreateStream(ctx, tenant.Request{}, stream)
	return err
}

func createTenant(ctx context.Context, n *node.Node, id uint64, name string) error {
	region, err := ident.NewRegion("us-east")
	if err != nil {
		return err
	}
	return n.Tenants().Create(ctx, tenant.Config{ID: ident.MustTenantID(id), Name: name, Region: region})
}

// run lets every writer do up to each operations, until stop ends.
func (ld *load) run(stop context.Context, each int) error {
	var (
		wg   sync.WaitGroup
		mu   sync.Mutex // guards errs
		errs []error
	)
	start := func(work func() error) {
		wg.Go(func() {
			if err := work(); err != nil {
				mu.Lock()
				defer mu.Unlock()
				errs = append(errs, err)
			}
		})
	}
	for t := 1; t <= ld.tenants; t++ {
		for w := range ld.writers {
			start(func() error { return ld.writer(stop, writerID{uint64(t), w}, each) })
		}
	}
	if ld.admin {
		start(func() error { return ld.administrator(stop, each) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

func (ld *load) writer(stop context.Context, w writerID, each int) error {
	for range each {
		if stop.Err() != nil {
			return nil //nolint:nilerr // it was told to stop
		}
		n, open := ld.l.next(w)
		o := derive(ld.seed, opID{w, n})
		if open {
			// The process died under this one. With a key it is repeated.
			if o = derive(ld.seed, opID{w, n - 1}); o.key == "" {
				return fmt.Errorf("operation %v has no outcome and no key", o.id)
			}
		}
		ended, err := ld.one(o)
		if err != nil || ended {
			return err
		}
	}
	return nil
}

// one does one operation and, at times, repeats it.
func (ld *load) one(o op) (ended bool, err error) {
	if err := ld.l.begin(o.id); err != nil {
		return true, err
	}
	first, err := ld.bounded(o)
	if noteErr := ld.l.end(o.id, first, err); noteErr != nil {
		return true, noteErr
	}
	switch {
	case err == nil && o.fails():
		return true, fmt.Errorf("operation %v of kind %d succeeded and must not", o.id, o.kind)
	case err == nil:
		ld.done.Add(1)
	case expected(o, err):
		return false, nil
	case ld.tolerate != nil && ld.tolerate(err):
		return true, nil
	default:
		return true, fmt.Errorf("operation %v of kind %d: %w", o.id, o.kind, err)
	}
	if o.key == "" || o.id.n%8 != 0 {
		return false, nil
	}
	again, err := ld.bounded(o)
	if err == nil && again != first {
		err = fmt.Errorf("was told offset %d at first and %d at the retry", first, again)
	}
	if err != nil && (ld.tolerate == nil || !ld.tolerate(err)) && !expected(o, err) {
		return true, fmt.Errorf("repeating operation %v: %w", o.id, err)
	}
	return err != nil, nil
}

// bounded fails loudly when a call does not return in time.
func (ld *load) bounded(o op) (first uint64, err error) {
	limit := ld.opTimeout
	if limit == 0 {
		limit = time.Minute
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	start := time.Now()
	first, err = o.do(ctx, ld.n)
	if took := time.Since(start); took > limit {
		return first, fmt.Errorf("a call took %s: %w", took, err)
	}
	return first, err
}

// expected says whether an error is part of every load.
func expected(o op, err error) bool {
	switch fault.KindOf(err) {
	case fault.Constraint:
		return o.kind == opBreak
	case fault.Canceled:
		return errors.Is(err, errRolledBack)
	case fault.Unavailable: // the administrator rebuilds the projection
		return true
	case fault.Conflict:
		return o.kind == opTransfer || o.kind == opTxAppend
	}
	return false
}

type adminKind int

// What the administrator does.
const (
	adminCheckpoint adminKind = iota
	adminRotateDEK
	adminRotateKEK
	adminCloseTenant
	adminCreate
	adminLimits
	adminRebuild
	adminKinds
)

type adminOp struct {
	kind   adminKind
	tenant uint64 // whom it is about
	n      int
}

func (ld *load) deriveAdmin(n int) adminOp { return deriveAdmin(ld.seed, ld.tenants, n) }

func deriveAdmin(seed uint64, tenants, n int) adminOp {
	rng := rand.New(rand.NewPCG(seed^0xad, uint64(n)))
	return adminOp{kind: adminKind(rng.IntN(int(adminKinds))), tenant: uint64(1 + rng.IntN(tenants)), n: n}
}

// extra is the id of the tenant that an adminCreate makes.
func (o adminOp) extra() uint64 { return uint64(firstExtra + o.n) }

// logLimit is what an adminLimits sets as the tenant's largest log, far away.
func (o adminOp) logLimit() int64 { return 1<<40 + int64(o.n) }

func adminID(n int) opID { return opID{writerID{adminTenant, 0}, n} }

func (ld *load) administrator(stop context.Context, each int) error {
	for range each {
		if stop.Err() != nil {
			return nil //nolint:nilerr // it was told to stop
		}
		n, _ := ld.l.next(adminID(0).writerID)
		o := ld.deriveAdmin(n)
		if err := ld.l.begin(adminID(n)); err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		err := ld.administer(ctx, o)
		cancel()
		if err := ld.l.end(adminID(n), 0, err); err != nil {
			return err
		}
		switch {
		case err == nil, fault.Is(err, fault.Unavailable), fault.Is(err, fault.Conflict):
		case ld.tolerate != nil && ld.tolerate(err):
			return nil
		default:
			return fmt.Errorf("administrator's operation %d of kind %d: %w", n, o.kind, err)
		}
	}
	return nil
}

func (ld *load) administer(ctx context.Context, o adminOp) error {
	if o.kind == adminCheckpoint {
		return ld.n.Checkpoint(ctx)
	}
	if o.kind == adminCreate {
		return ld.createExtra(ctx, o)
	}
	id := ident.MustTenantID(o.tenant)
	if o.kind == adminLimits {
		limits := quota.Limits{MaxLogBytes: o.logLimit()}
		return ld.n.Tenants().Set(ctx, id, shard.Change{Limits: &limits})
	}
	h, err := ld.n.Tenants().Tenant(id)
	if err != nil {
		return err
	}
	switch o.kind {
	case adminRotateDEK:
		return h.RotateDEK(ctx)
	case adminRotateKEK:
		return h.RotateKEK(ctx)
	case adminRebuild:
		return h.Rebuild(ctx)
	}
	_, err = ld.n.Tenants().CloseTenant(id)
	return err
}

func (ld *load) createExtra(ctx context.Context, o adminOp) error {
	if err := createTenant(ctx, ld.n, o.extra(), fmt.Sprintf("extra-%d", o.extra())); err != nil {
		return err
	}
	h, err := ld.n.Tenants().Tenant(ident.MustTenantID(o.extra()))
	if err != nil {
		return err
	}
	_, err = h.Exec(ctx, tenant.Request{}, "CREATE TABLE t (x INT); INSERT INTO t VALUES (1)", nil)
	return err
}
