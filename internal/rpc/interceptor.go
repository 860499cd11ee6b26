package rpc

import (
	"context"
	"time"

	"connectrpc.com/connect"

	"kimberlite/internal/fault"
)

// interceptor turns what handlers return into what callers are told, and
// keeps a slow or dead peer from holding a call.
type interceptor struct{ d *door }

// WrapUnary implements [connect.Interceptor].
func (i interceptor) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, request connect.AnyRequest) (response connect.AnyResponse, err error) {
		c := callOf(ctx)
		// The body is here: from now on nothing is read, and the deadline would
		// end a call that takes its time.
		c.read = true
		_ = c.control.SetReadDeadline(time.Time{})
		defer func() {
			err = i.d.outcome(ctx, c, recover(), err)
			if err != nil {
				response = nil
			}
			_ = c.control.SetWriteDeadline(time.Now().Add(i.d.limits.RequestTimeout))
		}()
		return next(ctx, request)
	}
}

// WrapStreamingHandler implements [connect.Interceptor].
func (i interceptor) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return func(ctx context.Context, conn connect.StreamingHandlerConn) (err error) {
		c := callOf(ctx)
		c.read = true // or Receive says why not
		defer func() {
			err = i.d.outcome(ctx, c, recover(), err)
			_ = c.control.SetWriteDeadline(time.Now().Add(i.d.limits.RequestTimeout))
		}()
		return next(ctx, &patientConn{conn, c, i.d.limits.RequestTimeout})
	}
}

// WrapStreamingClient implements [connect.Interceptor]; this is no client.
func (interceptor) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

// patientConn gives each message a time of its own.
type patientConn struct {
	connect.StreamingHandlerConn
	c       *call
	timeout time.Duration
}

// Receive reads a message, without a deadline after it.
func (p *patientConn) Receive(message any) error {
	err := p.StreamingHandlerConn.Receive(message)
	_ = p.c.control.SetReadDeadline(time.Time{})
	return err
}

// Send writes a message, which the caller must take in time.
func (p *patientConn) Send(message any) error {
	_ = p.c.control.SetWriteDeadline(time.Now().Add(p.timeout))
	return p.StreamingHandlerConn.Send(message)
}

// outcome returns what the caller is told of how a handler ended.
func (d *door) outcome(ctx context.Context, c *call, panicked any, err error) error {
	if panicked != nil {
		d.logPanic(ctx, c, panicked)
		err = errPanic()
	}
	if err == nil {
		return nil
	}
	// A session that ended is why, whatever it looked like below, except where
	// a write may have taken effect.
	select {
	case <-c.session.Done():
		if ended := c.session.Err(); ended != nil && !fault.Is(err, fault.OutcomeUnknown) {
			err = ended
		}
	default:
	}
	d.pause(ctx, c, err)
	return d.failure(ctx, c, err)
}

// pause holds a refusal by the tenant's limits of operations back, lest a
// caller that asks again at once keep the server busy. The end of the request
// or of its session ends it.
func (d *door) pause(ctx context.Context, c *call, err error) {
	if p := c.session.Principal(); p.Operator || p.Tenant.IsZero() {
		return
	}
	t, gone := c.session.Tenant()
	if gone != nil {
		return
	}
	wait := t.PauseBeforeRefusal(err)
	if wait <= 0 {
		return
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	case <-c.session.Done():
	}
}
