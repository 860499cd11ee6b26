package client

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"net"
	"strconv"
	"time"

	"connectrpc.com/connect"

	v1 "kimberlite/gen/kimberlite/v1"
	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
)

// bearer puts the token into every request.
type bearer struct{ token string }

// WrapUnary implements [connect.Interceptor].
func (b bearer) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, r connect.AnyRequest) (connect.AnyResponse, error) {
		r.Header().Set("Authorization", "Bearer "+b.token)
		return next(ctx, r)
	}
}

// WrapStreamingClient implements [connect.Interceptor].
func (b bearer) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return func(ctx context.Context, spec connect.Spec) connect.StreamingClientConn {
		conn := next(ctx, spec)
		conn.RequestHeader().Set("Authorization", "Bearer "+b.token)
		return conn
	}
}

// WrapStreamingHandler implements [connect.Interceptor]; this is no server.
func (bearer) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return next
}

type idempotencyKey struct{}

// WithIdempotencyKey returns a context under which a call that changes
// something takes effect once: a repetition with the same key is answered with
// the first outcome, and another call under that key fails with
// IdempotencyMismatch. So the client repeats it, too, when a connection is
// lost. A key has at most 255 bytes. It is remembered for 24 hours for writes
// of rows and messages, and for ten minutes for all else. It has no meaning
// inside a [Tx].
func WithIdempotencyKey(ctx context.Context, key string) context.Context {
	return context.WithValue(ctx, idempotencyKey{}, key)
}

func keyOf(ctx context.Context) string {
	key, _ := ctx.Value(idempotencyKey{}).(string)
	return key
}

// effect says what a call that was lost on the way may have done.
type effect uint8

const (
	// reads is for calls that change nothing, or nothing that matters twice.
	reads effect = iota
	// once is for those that take effect once, however often they are made.
	once
	// writes is for those that must not be repeated.
	writes
)

// does is writes, unless a key makes the call take effect once.
func does(ctx context.Context) effect {
	if keyOf(ctx) != "" {
		return once
	}
	return writes
}

// call makes a unary call, repeating it where that is safe.
func call[Q, A any](ctx context.Context, c *Client, e effect, do func(context.Context, *Q) (*A, error), request *Q) (*A, error) {
	var answer *A
	err := c.patiently(ctx, e, func() (err error) {
		answer, err = do(ctx, request)
		return err
	})
	return answer, err
}

// patiently tries until it works, or until trying again is unsafe or in vain.
func (c *Client) patiently(ctx context.Context, e effect, try func() error) error {
	unknown := false // an attempt was lost, and may have taken effect
	for attempt := 0; ; attempt++ {
		raw := try()
		if raw == nil {
			return nil
		}
		err, again := fromConnect(raw, e)
		switch {
		case err.Kind == fault.OutcomeUnknown:
			unknown = true
		case unknown && saysNothing[err.Kind]:
			err = errLost(err)
		}
		wait := backoff(attempt)
		if asked := retryAfter(raw, err); asked > 0 {
			wait = asked
		}
		if !again || attempt >= c.config.Retries || wait > c.config.MaxWait {
			return err
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return err
		case <-timer.C:
		}
	}
}

// saysNothing are the kinds of errors that do not tell what became of an
// earlier attempt at the same call.
var saysNothing = map[fault.Kind]bool{
	fault.Unavailable: true, fault.RateLimited: true, fault.TooManyOps: true, fault.Timeout: true, fault.Canceled: true,
	fault.Closed: true, fault.Unauthenticated: true, fault.Denied: true, fault.Internal: true,
	fault.KeyUnavailable: true, fault.Stopped: true, fault.InUse: true,
}

func errLost(err error) *fault.Error {
	return fault.Wrap("call", fault.OutcomeUnknown, err, "the connection was lost, and whether the call took effect is not known")
}

// backoff is how long to wait when nobody says: from 0.1 s on twice as long
// each time, of which the last half is drawn.
func backoff(attempt int) time.Duration {
	half := 50 * time.Millisecond << min(attempt, 8)
	var b [8]byte
	_, _ = rand.Read(b[:])                                                     // it never fails
	return half + time.Duration(binary.LittleEndian.Uint64(b[:])%uint64(half)) //nolint:gosec // below half
}

// retryAfter is how long the server asks to wait, or 0.
func retryAfter(raw error, err *fault.Error) time.Duration {
	if err.Quota != nil && err.Quota.RetryAfter > 0 {
		return err.Quota.RetryAfter
	}
	var wire *connect.Error
	if !errors.As(raw, &wire) {
		return 0
	}
	seconds, parseErr := strconv.Atoi(wire.Meta().Get("Retry-After"))
	if parseErr != nil || seconds < 0 || seconds > 1<<20 {
		return 0
	}
	return time.Duration(seconds) * time.Second
}

// fromConnect rebuilds the server's error; again says that the call can be
// repeated. Without the server's own word it says what is known of the
// connection.
func fromConnect(raw error, e effect) (err *fault.Error, again bool) {
	var known *fault.Error
	if errors.As(raw, &known) {
		return known, false
	}
	var wire *connect.Error
	if errors.As(raw, &wire) {
		for _, d := range wire.Details() {
			if message, valueErr := d.Value(); valueErr == nil {
				if detail, ok := message.(*v1.ErrorDetail); ok {
					err = fromDetail(detail)
					return err, refusedEarly(err.Kind)
				}
			}
		}
	}
	return lost(raw, wire, e)
}

// refusedEarly says that a kind means that nothing was done, and that it may
// go better soon.
func refusedEarly(k fault.Kind) bool {
	return k == fault.Unavailable || k == fault.RateLimited || k == fault.TooManyOps
}

// lost is for errors that the server said nothing about.
func lost(raw error, wire *connect.Error, e effect) (*fault.Error, bool) {
	var dial *net.OpError
	var untrusted *tls.CertificateVerificationError
	var unknown x509.UnknownAuthorityError
	switch {
	case errors.As(raw, &untrusted) || errors.As(raw, &unknown):
		return fault.Wrap("connect", fault.Denied, cause(raw), "the server's certificate is not trusted: name the file of its CA"), false
	case errors.As(raw, &dial) && dial.Op == "dial":
		return fault.Wrap("connect", fault.Unavailable, dial, "the server cannot be reached"), true
	}
	code := connect.CodeUnknown
	if wire != nil {
		code = wire.Code()
	}
	if wire != nil && connect.IsWireError(raw) && code != connect.CodeUnavailable {
		// An answer, but not of ours: a proxy's, or of another server.
		return fault.New("call", kindOfCode(code), "the server answered: %s", wire.Message()), false
	}
	if e != reads {
		return errLost(cause(raw)), e == once
	}
	switch code {
	case connect.CodeCanceled:
		return fault.New("call", fault.Canceled, "canceled"), false
	case connect.CodeDeadlineExceeded:
		return fault.New("call", fault.Timeout, "the deadline passed before the server answered"), false
	case connect.CodeResourceExhausted:
		return fault.New("call", fault.TooLarge, "the server's answer is longer than %d MiB", maxMessage>>20), false
	}
	return fault.Wrap("call", fault.Unavailable, cause(raw), "the connection was lost"), true
}

// cause takes the protocol's own words off an error.
func cause(raw error) error {
	var wire *connect.Error
	if errors.As(raw, &wire) && wire.Unwrap() != nil {
		return wire.Unwrap()
	}
	return raw
}

// kindOfCode is the kind that says most of what a code does.
func kindOfCode(code connect.Code) fault.Kind {
	for _, k := range []fault.Kind{
		fault.Invalid, fault.NotFound, fault.AlreadyExists, fault.Denied, fault.Unauthenticated,
		fault.Timeout, fault.Canceled, fault.Unsupported, fault.Unavailable, fault.TooLarge,
	} {
		if k.RPCCode() == code.String() {
			return k
		}
	}
	return fault.Internal
}

// kinds are the kinds by name.
var kinds = func() map[string]fault.Kind {
	all := map[string]fault.Kind{}
	for _, k := range fault.Kinds() {
		all[k.String()] = k
	}
	return all
}()

// fromDetail rebuilds an error.
func fromDetail(d *v1.ErrorDetail) *fault.Error {
	kind, ok := kinds[d.GetKind()]
	if !ok {
		kind = fault.Internal // of a newer server
	}
	err := &fault.Error{
		Op: d.GetOp(), Kind: kind, Message: d.GetMessage(), State: d.GetSqlstate(), Hint: d.GetHint(),
		Table: d.GetTable(), Column: d.GetColumn(), Constraint: d.GetConstraint(), Position: d.GetPosition(),
	}
	if d.GetCause() != "" {
		err.Err = errors.New(d.GetCause())
	}
	if id, idErr := ident.NewTenantID(d.GetTenant()); idErr == nil {
		err.Tenant = id
	}
	if d.GetFile() != "" {
		err.File, err.Position = d.GetFile(), d.GetByte()
	}
	if q := d.GetQuota(); q != nil {
		err.Quota = &fault.Quota{Limit: q.GetLimit(), Value: q.GetValue(), Usage: q.GetUsage(), RetryAfter: q.GetRetryAfter().AsDuration()}
	}
	return err
}
