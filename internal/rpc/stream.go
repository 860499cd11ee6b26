package rpc

import (
	"context"
	"errors"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	v1 "kimberlite/gen/kimberlite/v1"
	"kimberlite/internal/ident"
	"kimberlite/internal/projection"
	"kimberlite/internal/record"
	"kimberlite/internal/tenant"
)

type streamService struct{ *door }

// CreateStream makes an event stream.
func (s streamService) CreateStream(ctx context.Context, r *v1.CreateStreamRequest) (*v1.CreateStreamResponse, error) {
	t, err := s.own(ctx, r.GetTenant())
	if err != nil {
		return nil, err
	}
	rq, err := writeRequest(ctx, r)
	if err != nil {
		return nil, err
	}
	info, err := t.CreateStream(ctx, rq, r.GetName())
	if err != nil {
		return nil, err
	}
	return &v1.CreateStreamResponse{Stream: toStream(&info)}, nil
}

func toStream(s *projection.StreamInfo) *v1.StreamInfo {
	out := &v1.StreamInfo{Number: s.Number, Name: clean(s.Name), Table: s.Kind == record.TableStream, Next: s.Next.Uint64()}
	for _, c := range s.Columns {
		out.Columns = append(out.Columns, clean(c.Name))
	}
	return out
}

// ListStreams describes the tenant's streams and tables.
func (s streamService) ListStreams(ctx context.Context, r *v1.ListStreamsRequest) (*v1.ListStreamsResponse, error) {
	t, err := s.own(ctx, r.GetTenant())
	if err != nil {
		return nil, err
	}
	streams, err := t.Streams(ctx)
	if err != nil {
		return nil, err
	}
	out := &v1.ListStreamsResponse{}
	for i := range streams {
		out.Streams = append(out.Streams, toStream(&streams[i]))
	}
	return out, nil
}

// Append appends messages to an event stream.
func (s streamService) Append(ctx context.Context, r *v1.AppendRequest) (*v1.AppendResponse, error) {
	messages := make([]projection.Message, len(r.GetMessages()))
	for i, m := range r.GetMessages() {
		messages[i] = projection.Message{ContentType: m.GetContentType(), Data: m.GetData()}
	}
	var first ident.Offset
	if r.GetTransaction() != "" {
		err := s.inTransaction(ctx, r.GetTenant(), r.GetTransaction(), func(x *tenant.Tx) (err error) {
			first, err = x.Append(ctx, r.GetStream(), messages)
			return err
		})
		return &v1.AppendResponse{Offset: first.Uint64()}, err
	}
	t, err := s.own(ctx, r.GetTenant())
	if err != nil {
		return nil, err
	}
	rq, err := writeRequest(ctx, r)
	if err != nil {
		return nil, err
	}
	first, err = t.Append(ctx, rq, r.GetStream(), messages)
	return &v1.AppendResponse{Offset: first.Uint64()}, err
}

// What one message of events holds at most: so many, of about so many bytes.
const (
	tailEvents = 256
	tailBytes  = 1 << 20
	readBytes  = 8 << 20
)

// errEnough ends a read that has filled its answer.
var errEnough = errors.New("enough")

// gathered is events that were read.
type gathered struct {
	events []*v1.Event
	size   int
	next   ident.Offset
}

func (g *gathered) add(e *tenant.StreamEvent) {
	event, size := toEvent(e)
	g.events = append(g.events, event)
	g.size += size
	g.next = e.Offset.Next()
}

// read reads events from an offset on, up to a number and about a size; end
// says that there was nothing after them.
func read(ctx context.Context, t *tenant.Tenant, stream string, from ident.Offset, limit, size int) (g *gathered, end bool, err error) {
	g = &gathered{next: from}
	next, err := t.ReadStream(ctx, stream, from, limit, func(e *tenant.StreamEvent) error {
		if g.size >= size {
			return errEnough
		}
		g.add(e)
		return nil
	})
	switch {
	case errors.Is(err, errEnough):
		return g, false, nil
	case err != nil:
		return nil, false, err
	}
	g.next = next
	return g, len(g.events) < limit, nil
}

// Read returns events from an offset on.
func (s streamService) Read(ctx context.Context, r *v1.ReadRequest) (*v1.ReadResponse, error) {
	limit, err := bounded("limit", r.GetLimit(), 1000, 10_000)
	if err != nil {
		return nil, err
	}
	t, err := s.own(ctx, r.GetTenant())
	if err != nil {
		return nil, err
	}
	g, end, err := read(ctx, t, r.GetStream(), ident.NewOffset(r.GetFrom()), limit, readBytes)
	if err != nil {
		return nil, err
	}
	callOf(ctx).rows = int64(len(g.events))
	return &v1.ReadResponse{Events: g.events, Next: g.next.Uint64(), End: end}, nil
}

// Tail streams events, and each new one.
func (s streamService) Tail(ctx context.Context, r *v1.TailRequest, stream *connect.ServerStream[v1.TailResponse]) error {
	t, err := s.own(ctx, r.GetTenant())
	if err != nil {
		return err
	}
	leave, err := s.tails.enter(t.ID(), "tails")
	if err != nil {
		return err
	}
	defer leave()
	c := callOf(ctx)
	send := func(events []*v1.Event) error {
		c.rows += int64(len(events))
		return stream.Send(&v1.TailResponse{Events: events})
	}
	// The headers go out before there is an event to send.
	if err := stream.Send(&v1.TailResponse{}); err != nil {
		return err
	}
	from := ident.NewOffset(r.GetFrom())
	for end := false; !end; {
		g, last, err := read(ctx, t, r.GetStream(), from, tailEvents, tailBytes)
		if err != nil {
			return err
		}
		if len(g.events) > 0 {
			if err := send(g.events); err != nil {
				return err
			}
		}
		from, end = g.next, last
	}
	return t.Tail(ctx, r.GetStream(), from, func(e *tenant.StreamEvent) error {
		event, _ := toEvent(e)
		return send([]*v1.Event{event})
	})
}

var eventKinds = map[record.EventKind]v1.EventKind{
	record.RowInserted: v1.EventKind_EVENT_KIND_INSERT,
	record.RowUpdated:  v1.EventKind_EVENT_KIND_UPDATE,
	record.RowDeleted:  v1.EventKind_EVENT_KIND_DELETE,
}

// toEvent makes a message of an event, and says about how long it is. It keeps
// nothing of the event's bytes.
func toEvent(e *tenant.StreamEvent) (event *v1.Event, size int) {
	out := &v1.Event{
		Stream: clean(e.Stream.Name), Offset: e.Offset.Uint64(), LogOffset: e.LogOffset.Uint64(), Time: timestamppb.New(e.Time),
	}
	kind, ofRow := eventKinds[e.Event.Kind]
	if !ofRow {
		out.Kind, out.ContentType, out.Data = v1.EventKind_EVENT_KIND_MESSAGE, clean(e.Event.ContentType), append([]byte(nil), e.Event.Data...)
		return out, 64 + len(out.Data)
	}
	out.Kind = kind
	var before, after int
	out.Before, before = toFields(e.Columns, e.Event.Before)
	out.After, after = toFields(e.Columns, e.Event.After)
	return out, 64 + before + after
}

// toFields makes a message of a row of an event, and says about how long it
// is.
func toFields(columns []record.Column, values []record.Value) (fields []*v1.Field, size int) {
	fields = make([]*v1.Field, len(values))
	for i, v := range values {
		if b, ok := v.([]byte); ok {
			v = append([]byte{}, b...)
		}
		fields[i] = &v1.Field{Value: toValue(v)}
		if i < len(columns) {
			fields[i].Name = clean(columns[i].Name)
		}
		size += len(fields[i].Name) + sizeOf(v)
	}
	return fields, size
}
