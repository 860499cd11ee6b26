package tenant

import (
	"context"

	"kimberlite/internal/fault"
	"kimberlite/internal/record"
)

// TookEffect says whether a transaction or write under an idempotency key took
// effect before, as far as is remembered. It knows once the transaction has
// begun to write.
func (x *Tx) TookEffect(key string) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.ended != nil || x.group == nil {
		return false
	}
	_, _, found, err := x.group.LookupIdempotent(key)
	return err == nil && found
}

// CommitOnce is Commit of a transaction that the client named, so that a retry
// takes effect once: when a transaction of that name took effect before, this
// one is rolled back and answered with that one's outcome. fingerprint is of
// what the transaction did: with another one the key is refused as
// IdempotencyMismatch. A transaction that changes nothing remembers nothing.
func (x *Tx) CommitOnce(ctx context.Context, rq Request, fingerprint [16]byte) (record.Result, error) {
	if rq.IdempotencyKey == "" {
		return x.Commit(ctx)
	}
	if err := rq.check(); err != nil {
		return record.Result{}, tenantError(err, x.t.slot.id)
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.ended != nil {
		return record.Result{}, x.ended
	}
	if ctx.Err() != nil {
		return record.Result{}, fault.OfContext("commit", ctx).ForTenant(x.rt.id)
	}
	res := x.total
	var err error
	if g := x.group; g != nil {
		var before [16]byte
		var first record.Result
		var found bool
		before, first, found, err = g.LookupIdempotent(rq.IdempotencyKey)
		switch {
		case err != nil:
		case found && before != fingerprint:
			err = fault.New("commit", fault.IdempotencyMismatch, "this idempotency key was used for another request: use a new key").ForTenant(x.rt.id)
		case found:
			res = first // finish rolls back
		default:
			if err = g.EndTxn(rq.IdempotencyKey, fingerprint, res); err == nil {
				x.group = nil // commit ends the group, whatever comes of it
				err = x.rt.writer.commit(g)
			}
		}
	}
	x.closed = true
	x.finish(errTxDone())
	return res, err
}
