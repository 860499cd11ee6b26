package rpc

import (
	"context"

	"connectrpc.com/connect"

	"kimberlite/internal/fault"
	"kimberlite/internal/tenant"
)

// headerIdempotencyKey carries a key for those who would rather not put it
// into the message.
const headerIdempotencyKey = "Idempotency-Key"

// idempotencyKey returns the key of a request, from its message or its header.
func idempotencyKey(ctx context.Context, request keyed) (string, error) {
	key, header := request.GetIdempotencyKey(), ""
	if info, ok := connect.CallInfoForHandlerContext(ctx); ok {
		header = info.RequestHeader().Get(headerIdempotencyKey)
	}
	switch {
	case key != "" && header != "" && key != header:
		return "", fault.New("rpc", fault.Invalid, "the message and the header %s have different idempotency keys", headerIdempotencyKey)
	case key == "":
		key = header
	}
	if len(key) > maxKey {
		return "", fault.New("rpc", fault.Invalid, "an idempotency key has at most %d bytes", maxKey)
	}
	return key, nil
}

// writeRequest names a write to the tenant's log.
func writeRequest(ctx context.Context, request keyed) (tenant.Request, error) {
	key, err := idempotencyKey(ctx, request)
	return tenant.Request{IdempotencyKey: key}, err
}
