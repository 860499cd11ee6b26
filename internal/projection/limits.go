package projection

import (
	"context"
	"time"

	"github.com/ncruces/go-sqlite3"
)

// Limits bound what one statement may use. A zero field means the default,
// but for MaxProjectionBytes, where it means no limit.
type Limits struct {
	// StatementTimeout is how long one statement may run.
	StatementTimeout time.Duration
	// MaxStatementBytes is the longest SQL text.
	MaxStatementBytes int
	// MaxValueBytes is the longest string, blob or row.
	MaxValueBytes int
	// MaxColumns bounds the columns of a table or result.
	MaxColumns int
	// MaxExprDepth bounds how deep expressions nest.
	MaxExprDepth int
	// MaxCompoundSelects bounds the SELECTs joined by UNION and the like.
	MaxCompoundSelects int
	// MaxVariables bounds the parameters of a statement.
	MaxVariables int
	// MaxPatternBytes is the longest LIKE or GLOB pattern.
	MaxPatternBytes int
	// MaxTriggerDepth bounds how deep triggers and cascades nest.
	MaxTriggerDepth int
	// MaxResultRows and MaxResultBytes bound the result of one statement.
	MaxResultRows  int64
	MaxResultBytes int64
	// MaxTransactionBytes bounds the events of one transaction, as an
	// estimate of their encoded size.
	MaxTransactionBytes int
	// MaxMemoryBytes is the memory of one connection, sorts included.
	MaxMemoryBytes int64
	// MaxProjectionBytes is the size of the tenant's tables; 0 is no limit.
	MaxProjectionBytes int64
}

// DefaultLimits returns the limits in force where none are given.
func DefaultLimits() Limits {
	return Limits{
		StatementTimeout:    30 * time.Second,
		MaxStatementBytes:   4 << 20,
		MaxValueBytes:       16 << 20,
		MaxColumns:          1000,
		MaxExprDepth:        200,
		MaxCompoundSelects:  100,
		MaxVariables:        32766,
		MaxPatternBytes:     4096,
		MaxTriggerDepth:     50,
		MaxResultRows:       10_000_000,
		MaxResultBytes:      1 << 30,
		MaxTransactionBytes: 48 << 20,
		MaxMemoryBytes:      128 << 20,
	}
}

// withDefaults fills the zero fields.
func (l Limits) withDefaults() Limits {
	d := DefaultLimits()
	fill(&l.StatementTimeout, d.StatementTimeout)
	fill(&l.MaxStatementBytes, d.MaxStatementBytes)
	fill(&l.MaxValueBytes, d.MaxValueBytes)
	fill(&l.MaxColumns, d.MaxColumns)
	fill(&l.MaxExprDepth, d.MaxExprDepth)
	fill(&l.MaxCompoundSelects, d.MaxCompoundSelects)
	fill(&l.MaxVariables, d.MaxVariables)
	fill(&l.MaxPatternBytes, d.MaxPatternBytes)
	fill(&l.MaxTriggerDepth, d.MaxTriggerDepth)
	fill(&l.MaxResultRows, d.MaxResultRows)
	fill(&l.MaxResultBytes, d.MaxResultBytes)
	fill(&l.MaxTransactionBytes, d.MaxTransactionBytes)
	fill(&l.MaxMemoryBytes, d.MaxMemoryBytes)
	return l
}

func fill[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// apply sets SQLite's own limits on a connection.
func (l Limits) apply(db *sqlite3.Conn) {
	db.Limit(sqlite3.LIMIT_LENGTH, l.MaxValueBytes)
	db.Limit(sqlite3.LIMIT_SQL_LENGTH, l.MaxStatementBytes+1) // SQLite counts the final NUL
	db.Limit(sqlite3.LIMIT_COLUMN, l.MaxColumns)
	db.Limit(sqlite3.LIMIT_EXPR_DEPTH, l.MaxExprDepth)
	db.Limit(sqlite3.LIMIT_COMPOUND_SELECT, l.MaxCompoundSelects)
	db.Limit(sqlite3.LIMIT_VARIABLE_NUMBER, l.MaxVariables)
	db.Limit(sqlite3.LIMIT_LIKE_PATTERN_LENGTH, l.MaxPatternBytes)
	db.Limit(sqlite3.LIMIT_TRIGGER_DEPTH, l.MaxTriggerDepth)
	db.Limit(sqlite3.LIMIT_FUNCTION_ARG, 127)
	db.Limit(sqlite3.LIMIT_ATTACHED, 0)
	db.Limit(sqlite3.LIMIT_WORKER_THREADS, 0)
}

// guard ends a statement when its caller's context ends or its time is up.
// It is a context for the driver, which asks Err at every step and every
// thousand instructions of SQLite. Asking the clock costs as much as a step of
// a small read, so that a read of one row never does; from then on the clock
// is asked at each call as long as calls are far apart, and seldom when they
// are not. The time runs from when it is asked first.
type guard struct {
	parent   context.Context
	timeout  time.Duration
	deadline time.Time
	// calls counts the calls, look is the one that asks the clock next, seen
	// is what it said last, stride how many calls lie between.
	calls, look, stride uint32
	seen                time.Time
	started             time.Time // what SQL functions are told, see now
	err                 error
}

const (
	firstLook  = 3
	longStride = 16
	// farApart is when calls are so far apart that asking costs nothing.
	farApart = 50 * time.Microsecond
)

func (g *guard) start(ctx context.Context, timeout time.Duration) {
	*g = guard{parent: ctx, timeout: timeout, look: firstLook}
}

// Err implements [context.Context].
func (g *guard) Err() error {
	if g.err != nil {
		return g.err
	}
	if g.err = g.parent.Err(); g.err != nil {
		return g.err
	}
	if g.calls++; g.calls >= g.look {
		g.ask(time.Now())
	}
	return g.err
}

// ask compares the clock with the deadline and says when to do so next.
func (g *guard) ask(now time.Time) {
	switch {
	case g.deadline.IsZero():
		g.deadline = now.Add(g.timeout)
	case now.After(g.deadline):
		g.err = context.DeadlineExceeded
	}
	if g.stride = min(2*g.stride, longStride); now.Sub(g.seen) > farApart*time.Duration(max(1, g.stride)) {
		g.stride = 1
	}
	g.seen, g.look = now, g.calls+g.stride
}

// Deadline implements [context.Context].
func (g *guard) Deadline() (time.Time, bool) { return g.parent.Deadline() }

// Done implements [context.Context].
func (g *guard) Done() <-chan struct{} { return g.parent.Done() }

// Value implements [context.Context].
func (g *guard) Value(key any) any { return g.parent.Value(key) }
