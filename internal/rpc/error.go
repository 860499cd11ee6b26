package rpc

import (
	"context"
	"errors"
	"math"
	"strconv"
	"strings"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	v1 "kimberlite/gen/kimberlite/v1"
	"kimberlite/internal/fault"
)

// failure notes how a call failed and returns what its caller is told.
func (d *door) failure(ctx context.Context, c *call, err error) error {
	var already *connect.Error
	var known *fault.Error
	switch {
	case errors.As(err, &known):
	case errors.As(err, &already):
		// Of the protocol itself: a message that is too long or does not parse.
		err = fault.New("rpc", kindOfCode(already.Code()), "%s", already.Message())
	case ctx.Err() != nil:
		err = fault.OfContext("rpc", ctx)
	}
	if fault.KindOf(err) == fault.Internal {
		d.log.ErrorContext(ctx, "rpc: internal error", "request", c.id, "method", c.method, "tenant", c.tenant().String(), "error", err)
		err = fault.New("rpc", fault.Internal, "an internal error: the server's log says more under request %s", c.id).ForTenant(c.tenant())
	}
	c.err = err
	return toConnect(err, c.id)
}

// kindOfCode is for the errors that the protocol makes before a handler runs.
func kindOfCode(code connect.Code) fault.Kind {
	switch code {
	case connect.CodeResourceExhausted:
		return fault.TooLarge
	case connect.CodeUnimplemented:
		return fault.Unsupported
	case connect.CodeCanceled:
		return fault.Canceled
	case connect.CodeDeadlineExceeded:
		return fault.Timeout
	case connect.CodeUnavailable:
		return fault.Unavailable
	case connect.CodeInternal, connect.CodeUnknown:
		return fault.Internal
	}
	return fault.Invalid
}

// toConnect makes an error of the protocol, with the detail that a client
// rebuilds it from, and with those that other clients know.
func toConnect(err error, requestID string) *connect.Error {
	kind := fault.KindOf(err)
	var code connect.Code
	if code.UnmarshalText([]byte(kind.RPCCode())) != nil {
		code = connect.CodeInternal
	}
	out := connect.NewError(code, errors.New(clean(err.Error())))
	detail := describe(err, requestID)
	attach(out, detail)
	if q := detail.Quota; q != nil {
		attach(out, &errdetails.QuotaFailure{Violations: []*errdetails.QuotaFailure_Violation{{
			Subject: "tenant:" + strconv.FormatUint(detail.Tenant, 10), Description: q.Limit,
			QuotaMetric: q.Limit, QuotaValue: q.Value,
		}}})
	}
	if kind == fault.Unauthenticated {
		out.Meta().Set("WWW-Authenticate", "Bearer")
	}
	if wait := retryAfter(err); wait > 0 {
		attach(out, &errdetails.RetryInfo{RetryDelay: durationpb.New(wait)})
		out.Meta().Set("Retry-After", strconv.Itoa(int(math.Ceil(wait.Seconds()))))
	}
	return out
}

// retryAfter says when trying again can succeed; 0 is unknown.
func retryAfter(err error) time.Duration {
	var e *fault.Error
	if errors.As(err, &e) && e.Quota != nil {
		return e.Quota.RetryAfter
	}
	return 0
}

func attach(to *connect.Error, message proto.Message) {
	if detail, err := connect.NewErrorDetail(message); err == nil {
		to.AddDetail(detail)
	}
}

// describe writes an error as a message.
func describe(err error, requestID string) *v1.ErrorDetail {
	kind := fault.KindOf(err)
	detail := &v1.ErrorDetail{
		Kind: kind.String(), Code: kind.Code(), Message: clean(err.Error()), Sqlstate: fault.StateOf(err), RequestId: requestID,
	}
	var e *fault.Error
	if !errors.As(err, &e) {
		return detail
	}
	detail.Tenant = e.Tenant.Uint64()
	detail.Hint, detail.Table, detail.Column, detail.Constraint = clean(e.Hint), clean(e.Table), clean(e.Column), clean(e.Constraint)
	if outer, ok := err.(*fault.Error); ok && outer == e { //nolint:errorlint // of a wrapped one the text is not all there is to say
		detail.Op, detail.Message = clean(e.Op), clean(e.Message)
		if e.Err != nil {
			detail.Cause = clean(e.Err.Error())
		}
	}
	if e.File != "" {
		detail.File, detail.Byte = clean(e.File), e.Position
	} else {
		detail.Position = e.Position
	}
	if q := e.Quota; q != nil {
		detail.Quota = &v1.QuotaDetail{Limit: q.Limit, Value: q.Value, Usage: q.Usage}
		if q.RetryAfter > 0 {
			detail.Quota.RetryAfter = durationpb.New(q.RetryAfter)
		}
	}
	return detail
}

// clean makes a text fit for a message, which holds valid UTF-8 alone.
func clean(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }
