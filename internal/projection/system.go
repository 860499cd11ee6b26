package projection

import (
	"context"
	"time"

	"kimberlite/internal/record"
)

// SystemTables gives the rows of the system tables that are not in the
// projection. The tenant's runtime implements it, by reading its log. It is
// called by readers, concurrently, and by the writer inside a group; it must
// not call back into the same DB's writer.
type SystemTables interface {
	// Events returns the events of the log that match, in the order of the
	// log.
	Events(ctx context.Context, q EventQuery) (EventCursor, error)
	// Usage returns the tenant's counters and limits.
	Usage(ctx context.Context) ([]UsageRow, error)
}

// EventQuery narrows down a reading of kimberlite.events.
type EventQuery struct {
	// Stream is a stream's number, or 0 for all streams.
	Stream uint64
	// From is the first stream offset wanted; it means something only with a
	// Stream.
	From uint64
}

// EventCursor walks over events.
type EventCursor interface {
	// Next returns the next event, or nil at the end. It is valid until the
	// next call.
	Next() (*LoggedEvent, error)
	// Close ends the walk.
	Close() error
}

// LoggedEvent is an event with its place in the log.
type LoggedEvent struct {
	// LogOffset is the offset of the record that holds it.
	LogOffset uint64
	// Time is the record's.
	Time  time.Time
	Event record.Event
}

// UsageRow is a row of kimberlite.usage.
type UsageRow struct {
	// Name says what is counted, such as "log_bytes".
	Name string
	// Value is the count, Limit what it may be at most, 0 for no limit.
	Value, Limit int64
}
