package record

import (
	"time"

	"kimberlite/internal/ident"
)

// Payload is what one log record says once it is opened: the transactions of
// one group, in the order in which they ran.
type Payload struct {
	Txns []Txn
}

// Txn is one transaction that took effect.
type Txn struct {
	// IdempotencyKey is what the client called the request, or "". At most
	// [MaxIdempotencyKey] bytes.
	IdempotencyKey string
	// Fingerprint is a hash of the request, to tell a retry from a key used
	// twice. It is meaningless when IdempotencyKey is "".
	Fingerprint [16]byte
	// Result is what the client was, or is to be, told.
	Result Result
	// Events are the changes, in the order in which they happened.
	Events []Event
}

// Result is the outcome of a transaction as the client sees it.
type Result struct {
	RowsAffected int64
	LastInsertID int64
	// FirstOffset is the stream offset of the first appended message, if any.
	FirstOffset uint64
}

// EventKind says what an event is. The list is append-only.
type EventKind uint8

// The kinds of events.
const (
	// StreamCreated begins a stream: a table's or an event stream.
	StreamCreated EventKind = 1
	// StreamDropped ends a stream; its number is never used again.
	StreamDropped EventKind = 2
	// StreamAltered gives a table's stream a new name or new columns.
	StreamAltered EventKind = 3
	// Schema is a DDL statement, as its text.
	Schema EventKind = 4
	// RowInserted, RowUpdated and RowDeleted are row changes of a table.
	RowInserted EventKind = 5
	RowUpdated  EventKind = 6
	RowDeleted  EventKind = 7
	// Message is bytes or JSON appended to an event stream.
	Message EventKind = 8
)

// StreamKind says what a stream holds. The list is append-only.
type StreamKind uint8

// The kinds of streams.
const (
	// TableStream holds the row events of one table.
	TableStream StreamKind = 1
	// EventStream holds appended messages.
	EventStream StreamKind = 2
)

// Event is one change. Which fields mean something depends on Kind.
type Event struct {
	Kind EventKind
	// Stream is the stream's number within the tenant; 0 for Schema.
	Stream uint64
	// StreamOffset is the event's place in its stream, from 0: set for row
	// events and messages only.
	StreamOffset uint64

	// Name, StreamKind, SchemaVersion and Columns belong to StreamCreated and
	// StreamAltered. SchemaVersion also stands on row events: it says which
	// version of Columns names the values.
	Name          string
	StreamKind    StreamKind
	SchemaVersion uint64
	Columns       []Column

	// SQL is the statement of a Schema event.
	SQL string

	// RowID and OldRowID are SQLite's rowids after and before a row event;
	// both are 0 for a table WITHOUT ROWID.
	RowID, OldRowID int64
	// Before and After are the row's values in column order, generated
	// columns left out: Before is nil on insert, After is nil on delete.
	Before, After []Value

	// ContentType and Data belong to Message.
	ContentType string
	Data        []byte
}

// Column describes a column of a table's stream.
type Column struct {
	Name string
	// Type is the declared type as written, or "".
	Type string
	// Key is the column's place in the primary key from 1, or 0.
	Key uint32
}

// Value is a value as SQLite stores it: nil, int64, float64, string or []byte.
type Value any

// Limits of the format.
const (
	// MaxIdempotencyKey is the longest idempotency key, in bytes.
	MaxIdempotencyKey = 255
	// MaxRecordBytes is the longest encoded record, header and trailer
	// included.
	MaxRecordBytes = 64 << 20
)

// Header is the clear part of a record. See docs/format.md.
type Header struct {
	Kind       RecordKind
	Tenant     ident.TenantID
	Offset     ident.Offset
	Time       time.Time // UTC, nanoseconds; never goes back within a log
	Generation ident.KeyGeneration
	Events     uint32 // how many events the payload holds
	PrevHash   Hash
}

// RecordKind says what a record's payload is. The list is append-only.
type RecordKind uint8

// DataRecord is a record whose payload is a [Payload].
const DataRecord RecordKind = 1

// Hash is a SHA-256 hash.
type Hash [32]byte
