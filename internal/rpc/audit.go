package rpc

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	v1 "kimberlite/gen/kimberlite/v1"
	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/tenant"
)

type auditService struct{ *door }

// ListEntries returns entries of a tenant's audit trail.
func (s auditService) ListEntries(ctx context.Context, r *v1.ListEntriesRequest) (*v1.ListEntriesResponse, error) {
	limit, err := bounded("limit", r.GetLimit(), 1000, 10_000)
	if err != nil {
		return nil, err
	}
	since, err := sinceOf(r.GetSince())
	if err != nil {
		return nil, err
	}
	t, err := s.handle(ctx, r.GetTenant())
	if err != nil {
		return nil, err
	}
	out := &v1.ListEntriesResponse{Next: r.GetFrom()}
	next, err := t.Audit(ctx, ident.NewOffset(r.GetFrom()), 0, func(e *tenant.AuditEntry) error {
		if len(out.Entries) == limit {
			return errEnough
		}
		if !e.Time.Before(since) {
			out.Entries = append(out.Entries, toEntry(e))
		}
		out.Next = e.Offset.Next().Uint64()
		return nil
	})
	switch {
	case errors.Is(err, errEnough):
	case err != nil:
		return nil, err
	default:
		out.Next, out.End = next.Uint64(), true
	}
	callOf(ctx).rows = int64(len(out.Entries))
	return out, nil
}

// TailEntries streams the entries of a tenant's audit trail.
func (s auditService) TailEntries(ctx context.Context, r *v1.TailEntriesRequest, stream *connect.ServerStream[v1.TailEntriesResponse]) error {
	since, err := sinceOf(r.GetSince())
	if err != nil {
		return err
	}
	t, err := s.handle(ctx, r.GetTenant())
	if err != nil {
		return err
	}
	leave, err := s.tails.enter(t.ID(), "tails")
	if err != nil {
		return err
	}
	defer leave()
	// The headers go out before there is an entry to send.
	if err := stream.Send(&v1.TailEntriesResponse{}); err != nil {
		return err
	}
	c := callOf(ctx)
	return t.TailAudit(ctx, ident.NewOffset(r.GetFrom()), func(e *tenant.AuditEntry) error {
		if e.Time.Before(since) {
			return nil
		}
		c.rows++
		return stream.Send(&v1.TailEntriesResponse{Entries: []*v1.AuditEntry{toEntry(e)}})
	})
}

func sinceOf(t *timestamppb.Timestamp) (time.Time, error) {
	if t == nil {
		return time.Time{}, nil
	}
	if err := t.CheckValid(); err != nil {
		return time.Time{}, fault.New("rpc", fault.Invalid, "the time is out of range")
	}
	return t.AsTime(), nil
}

func toEntry(e *tenant.AuditEntry) *v1.AuditEntry {
	out := &v1.AuditEntry{
		Offset: e.Offset.Uint64(), LogOffset: e.LogOffset.Uint64(), Time: timestamppb.New(e.Time), Principal: clean(e.Principal), Role: clean(e.Role),
		Remote: clean(e.Remote), Action: clean(e.Action), Object: clean(e.Object), Outcome: clean(e.Outcome),
	}
	if text := e.DetailJSON(); text != "" {
		var detail map[string]any
		if json.Unmarshal([]byte(text), &detail) == nil {
			out.Detail, _ = structpb.NewStruct(detail) // JSON's types are its types
		}
	}
	return out
}
