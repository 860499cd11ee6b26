package client

import (
	"context"
	"errors"
	"time"

	"connectrpc.com/connect"

	v1 "kimberlite/gen/kimberlite/v1"
	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
)

// Message is what is appended to an event stream.
type Message struct {
	// ContentType says what Data is, such as "application/json"; "" is
	// "application/octet-stream".
	ContentType string
	Data        []byte
}

// StreamInfo describes a stream.
type StreamInfo struct {
	ID   StreamID
	Name string
	// Table says that the stream holds the row events of the table of its
	// name; otherwise it holds appended messages.
	Table bool
	// Next is the offset that the next event will have: how many there are.
	Next Offset
	// Columns are the table's columns, in order.
	Columns []string
}

func (t *Tenant) streamInfo(s *v1.StreamInfo) StreamInfo {
	return StreamInfo{
		ID: ident.NewStreamID(t.id, s.GetNumber()), Name: s.GetName(), Table: s.GetTable(),
		Next: ident.NewOffset(s.GetNext()), Columns: s.GetColumns(),
	}
}

// The kinds of events.
const (
	EventInsert  = "insert"
	EventUpdate  = "update"
	EventDelete  = "delete"
	EventMessage = "message"
)

// Field is one column of a row event: its value is nil, int64, float64,
// string or []byte.
type Field struct {
	Name  string
	Value any
}

// Event is one event of a stream.
type Event struct {
	Stream string
	// Offset is the event's place in its stream, LogOffset that of its record
	// in the tenant's log.
	Offset    Offset
	LogOffset Offset
	Time      time.Time
	// Kind is EventInsert, EventUpdate, EventDelete or EventMessage.
	Kind string
	// Before and After are the row, in column order: Before is nil on insert,
	// After on delete, both on a message.
	Before, After []Field
	// ContentType and Data are a message's.
	ContentType string
	Data        []byte
}

func toEvent(e *v1.Event) Event {
	out := Event{
		Stream: e.GetStream(), Offset: ident.NewOffset(e.GetOffset()), LogOffset: ident.NewOffset(e.GetLogOffset()),
		Time: e.GetTime().AsTime(),
	}
	switch e.GetKind() {
	case v1.EventKind_EVENT_KIND_INSERT:
		out.Kind, out.After = EventInsert, toFields(e.GetAfter())
	case v1.EventKind_EVENT_KIND_UPDATE:
		out.Kind, out.Before, out.After = EventUpdate, toFields(e.GetBefore()), toFields(e.GetAfter())
	case v1.EventKind_EVENT_KIND_DELETE:
		out.Kind, out.Before = EventDelete, toFields(e.GetBefore())
	default:
		out.Kind, out.ContentType, out.Data = EventMessage, e.GetContentType(), e.GetData()
	}
	return out
}

func toFields(fields []*v1.Field) []Field {
	out := make([]Field, len(fields))
	for i, f := range fields {
		out[i] = Field{f.GetName(), fromValue(f.GetValue())}
	}
	return out
}

// CreateStream makes an event stream. Its name must be free among tables and
// streams.
func (t *Tenant) CreateStream(ctx context.Context, name string) (StreamInfo, error) {
	answer, err := call(ctx, t.c, does(ctx), t.c.streams.CreateStream, &v1.CreateStreamRequest{
		Tenant: t.id.Uint64(), Name: name, IdempotencyKey: keyOf(ctx),
	})
	if err != nil {
		return StreamInfo{}, err
	}
	return t.streamInfo(answer.GetStream()), nil
}

// Streams describes the tenant's streams, tables' and event streams, by name.
func (t *Tenant) Streams(ctx context.Context) ([]StreamInfo, error) {
	answer, err := call(ctx, t.c, reads, t.c.streams.ListStreams, &v1.ListStreamsRequest{Tenant: t.id.Uint64()})
	if err != nil {
		return nil, err
	}
	infos := make([]StreamInfo, len(answer.GetStreams()))
	for i, s := range answer.GetStreams() {
		infos[i] = t.streamInfo(s)
	}
	return infos, nil
}

// Append appends messages to an event stream, all or none, and returns the
// offset of the first once they are durable.
func (t *Tenant) Append(ctx context.Context, stream string, messages ...Message) (Offset, error) {
	return t.append(ctx, does(ctx), "", stream, messages)
}

func (t *Tenant) append(ctx context.Context, e effect, tx, stream string, messages []Message) (Offset, error) {
	r := &v1.AppendRequest{Tenant: t.id.Uint64(), Stream: stream, Transaction: tx, Messages: make([]*v1.Message, len(messages))}
	for i, m := range messages {
		r.Messages[i] = &v1.Message{ContentType: m.ContentType, Data: m.Data}
	}
	if tx == "" {
		r.IdempotencyKey = keyOf(ctx)
	}
	answer, err := call(ctx, t.c, e, t.c.streams.Append, r)
	return ident.NewOffset(answer.GetOffset()), err
}

// readStep is how many events one call asks for.
const readStep = 10_000

// Read returns up to limit events of a stream from an offset on (0 = all that
// are there now), and the offset to read on from. Every table is a stream of
// its row events.
func (t *Tenant) Read(ctx context.Context, stream string, from Offset, limit int) ([]Event, Offset, error) {
	var events []Event
	for {
		step := readStep
		if limit > 0 {
			step = min(step, limit-len(events))
		}
		answer, err := call(ctx, t.c, reads, t.c.streams.Read, &v1.ReadRequest{
			Tenant: t.id.Uint64(), Stream: stream, From: from.Uint64(), Limit: int32(step), //nolint:gosec // at most readStep
		})
		if err != nil {
			return events, from, err
		}
		for _, e := range answer.GetEvents() {
			events = append(events, toEvent(e))
		}
		from = ident.NewOffset(answer.GetNext())
		if answer.GetEnd() || (limit > 0 && len(events) >= limit) {
			return events, from, nil
		}
	}
}

// Tail gives fn the events of a stream from an offset on, and each new one
// once it is durable, until ctx ends, the credential is revoked, or fn returns
// an error, which it returns. A lost connection is made anew, and goes on after
// the last event that fn was given.
func (t *Tenant) Tail(ctx context.Context, stream string, from Offset, fn func(Event) error) error {
	return t.c.follow(ctx, func(streaming context.Context) (progress bool, err error) {
		s, err := t.c.streams.Tail(streaming, &v1.TailRequest{Tenant: t.id.Uint64(), Stream: stream, From: from.Uint64()})
		if err != nil {
			return false, err
		}
		defer s.Close() //nolint:errcheck // it says that it was canceled
		for s.Receive() {
			for _, e := range s.Msg().GetEvents() {
				event := toEvent(e)
				if err := fn(event); err != nil {
					return progress, &stopped{err}
				}
				from, progress = event.Offset.Next(), true
			}
		}
		return progress, s.Err()
	})
}

// stopped is the error of a function that was given events.
type stopped struct{ err error }

// Error returns the function's own.
func (s *stopped) Error() string { return s.err.Error() }

// follow runs a stream, and again where it left off when the connection is
// lost.
func (c *Client) follow(ctx context.Context, run func(context.Context) (progress bool, err error)) error {
	for lost := 0; ; lost++ {
		streaming, cancel := context.WithCancel(ctx)
		progress, raw := run(streaming)
		cancel()
		if own, ok := raw.(*stopped); ok { //nolint:errorlint // it is made just above and never wrapped
			return own.err
		}
		if ctx.Err() != nil {
			return fault.OfContext("tail", ctx)
		}
		if raw == nil { // the server ended it: it shuts down
			raw = connect.NewError(connect.CodeUnavailable, errors.New("the server ended the stream"))
		}
		err, again := fromConnect(raw, reads)
		if err.Kind == fault.Canceled { // by the server, which shuts down: ctx has not ended
			err, again = fault.Wrap("tail", fault.Unavailable, err, "the server ended the stream"), true
		}
		if progress {
			lost = 0
		}
		if !again || lost >= c.config.Retries {
			return err
		}
		timer := time.NewTimer(backoff(lost))
		select {
		case <-ctx.Done():
			timer.Stop()
			return fault.OfContext("tail", ctx)
		case <-timer.C:
		}
	}
}
