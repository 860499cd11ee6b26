package kimberlite

import (
	"context"
	"time"

	"kimberlite/internal/ident"
	"kimberlite/internal/projection"
	"kimberlite/internal/record"
	"kimberlite/internal/tenant"
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

func (t *Tenant) streamInfo(s projection.StreamInfo) StreamInfo {
	info := StreamInfo{
		ID: ident.NewStreamID(t.ID(), s.Number), Name: s.Name, Table: s.Kind == record.TableStream, Next: s.Next,
	}
	for _, c := range s.Columns {
		info.Columns = append(info.Columns, c.Name)
	}
	return info
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

// CreateStream makes an event stream. Its name must be free among tables and
// streams.
func (t *Tenant) CreateStream(ctx context.Context, name string) (StreamInfo, error) {
	info, err := t.t.CreateStream(ctx, request(ctx), name)
	if err != nil {
		return StreamInfo{}, err
	}
	return t.streamInfo(info), nil
}

// Streams describes the tenant's streams, tables' and event streams, by name.
func (t *Tenant) Streams(ctx context.Context) ([]StreamInfo, error) {
	list, err := t.t.Streams(ctx)
	if err != nil {
		return nil, err
	}
	infos := make([]StreamInfo, len(list))
	for i, s := range list {
		infos[i] = t.streamInfo(s)
	}
	return infos, nil
}

// Append appends messages to an event stream, all or none, and returns the
// offset of the first once they are durable.
func (t *Tenant) Append(ctx context.Context, stream string, messages ...Message) (Offset, error) {
	return t.t.Append(ctx, request(ctx), stream, toMessages(messages))
}

func toMessages(messages []Message) []projection.Message {
	out := make([]projection.Message, len(messages))
	for i, m := range messages {
		out[i] = projection.Message{ContentType: m.ContentType, Data: m.Data}
	}
	return out
}

// Read returns up to limit events of a stream from an offset on (0 = all that
// are there now), and the offset to read on from. Every table is a stream of
// its row events.
func (t *Tenant) Read(ctx context.Context, stream string, from Offset, limit int) ([]Event, Offset, error) {
	var events []Event
	next, err := t.t.ReadStream(ctx, stream, from, limit, func(e *tenant.StreamEvent) error {
		events = append(events, toEvent(e))
		return nil
	})
	return events, next, err
}

// Tail gives fn the events of a stream from an offset on, and each new one
// once it is durable, until ctx ends or fn returns an error, which it returns.
func (t *Tenant) Tail(ctx context.Context, stream string, from Offset, fn func(Event) error) error {
	return t.t.Tail(ctx, stream, from, func(e *tenant.StreamEvent) error { return fn(toEvent(e)) })
}

func toEvent(e *tenant.StreamEvent) Event {
	out := Event{
		Stream: e.Stream.Name, Offset: e.Offset, LogOffset: e.LogOffset, Time: e.Time,
		Before: fields(e.Columns, e.Event.Before), After: fields(e.Columns, e.Event.After),
	}
	switch e.Event.Kind {
	case record.RowInserted:
		out.Kind = EventInsert
	case record.RowUpdated:
		out.Kind = EventUpdate
	case record.RowDeleted:
		out.Kind = EventDelete
	default:
		out.Kind = EventMessage
		out.ContentType = e.Event.ContentType
		out.Data = append([]byte(nil), e.Event.Data...)
	}
	return out
}

func fields(columns []record.Column, values []record.Value) []Field {
	if values == nil {
		return nil
	}
	out := make([]Field, len(values))
	for i, v := range values {
		if b, ok := v.([]byte); ok {
			v = append([]byte{}, b...)
		}
		out[i].Value = v
		if i < len(columns) {
			out[i].Name = columns[i].Name
		}
	}
	return out
}
