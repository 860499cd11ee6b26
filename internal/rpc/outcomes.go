package rpc

import (
	"context"
	"crypto/sha256"
	"maps"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
)

// How long outcomes of administration are remembered, and how many of one
// credential.
const (
	outcomeAge  = 10 * time.Minute
	maxOutcomes = 1000
	// maxKey is the longest idempotency key, as of the log's.
	maxKey = 255
)

// outcomes remembers what requests of administration came to, so that a retry
// takes effect once. (Writes of rows and messages are remembered in the
// tenant's log instead.) It is kept in memory: after a restart a retry runs
// again, and a tenant or credential that is there already says so.
type outcomes struct {
	mu    sync.Mutex // guards all below
	all   map[credentialKey]map[outcomeKey]*remembered
	swept time.Time
}

// credentialKey keeps callers apart, so that none uses up another's room.
type credentialKey struct {
	operator bool
	tenant   ident.TenantID
	id       uint64
}

// outcomeKey keeps the methods of one caller apart.
type outcomeKey struct{ procedure, key string }

type remembered struct {
	request [sha256.Size]byte
	began   time.Time
	done    chan struct{} // closed when the two below are set
	answer  proto.Message
	err     error
}

func newOutcomes() *outcomes { return &outcomes{all: map[credentialKey]map[outcomeKey]*remembered{}} }

// keyed is a request that can carry a key.
type keyed interface {
	proto.Message
	GetIdempotencyKey() string
}

// once runs do, unless a request with the same key has run: then it returns
// what that one came to.
func once[A proto.Message](ctx context.Context, d *door, request keyed, do func() (A, error)) (A, error) {
	var none A
	key, err := idempotencyKey(ctx, request)
	if err != nil || key == "" {
		if err != nil {
			return none, err
		}
		return do()
	}
	c := callOf(ctx)
	p := c.session.Principal()
	whose, of := credentialKey{p.Operator, p.Tenant, p.ID}, outcomeKey{c.method, key}
	sum, err := fingerprint(request)
	if err != nil {
		return none, err
	}
	r, first, err := d.outcomes.begin(whose, of, sum, time.Now())
	if err != nil {
		return none, err
	}
	if !first {
		select {
		case <-r.done:
		case <-ctx.Done():
			return none, fault.OfContext("rpc", ctx)
		}
		answer, _ := r.answer.(A)
		return answer, r.err
	}
	// A panic must not leave others waiting.
	finished := false
	defer func() {
		if !finished {
			d.outcomes.end(whose, of, r, nil, errPanic())
		}
	}()
	answer, err := do()
	finished = true
	d.outcomes.end(whose, of, r, answer, err)
	return answer, err
}

// fingerprint tells requests apart that come under one key.
func fingerprint(request keyed) ([sha256.Size]byte, error) {
	text, err := proto.MarshalOptions{Deterministic: true}.Marshal(request)
	if err != nil {
		return [sha256.Size]byte{}, fault.Wrap("rpc", fault.Internal, err, "the request cannot be fingerprinted")
	}
	return sha256.Sum256(text), nil
}

// begin returns what a key stands for; first says that its caller runs it.
func (o *outcomes) begin(whose credentialKey, of outcomeKey, request [sha256.Size]byte, now time.Time) (r *remembered, first bool, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if r := o.all[whose][of]; r != nil && now.Sub(r.began) < outcomeAge {
		if r.request != request {
			return nil, false, fault.New("rpc", fault.IdempotencyMismatch, "the idempotency key was used for another request: give each request its own")
		}
		return r, false, nil
	}
	if now.Sub(o.swept) >= outcomeAge/10 || len(o.all[whose]) >= maxOutcomes {
		o.forget(now)
	}
	if len(o.all[whose]) >= maxOutcomes {
		return nil, false, fault.New("rpc", fault.Unavailable, "the credential has used too many idempotency keys: try again in some minutes, or without a key")
	}
	r = &remembered{request: request, began: now, done: make(chan struct{})}
	if o.all[whose] == nil {
		o.all[whose] = map[outcomeKey]*remembered{}
	}
	o.all[whose][of] = r
	return r, true, nil
}

// forget drops what is old.
func (o *outcomes) forget(now time.Time) {
	o.swept = now
	for whose, all := range o.all {
		maps.DeleteFunc(all, func(_ outcomeKey, r *remembered) bool { return now.Sub(r.began) >= outcomeAge })
		if len(all) == 0 {
			delete(o.all, whose)
		}
	}
}

// end keeps an outcome. One after which a retry may fare better is told to
// those who wait and forgotten.
func (o *outcomes) end(whose credentialKey, of outcomeKey, r *remembered, answer proto.Message, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	r.answer, r.err = answer, err
	close(r.done)
	if err == nil {
		return
	}
	switch fault.KindOf(err) {
	case fault.Unavailable, fault.Timeout, fault.Canceled, fault.RateLimited, fault.TooManyOps,
		fault.Conflict, fault.KeyUnavailable, fault.DiskFull, fault.Internal, fault.Misrouted:
		if o.all[whose][of] == r {
			delete(o.all[whose], of)
		}
	}
}
