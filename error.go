package kimberlite

import "kimberlite/internal/fault"

// Error is the one type of Kimberlite's errors: operation, kind, tenant,
// message and cause. errors.Is and errors.As see through it.
type Error = fault.Error

// Kind says what sort of failure an error is. The list only grows.
type Kind = fault.Kind

// QuotaError holds the numbers of a refused quota; see [Error].Quota.
type QuotaError = fault.Quota

// The kinds of errors. Their names, from [Kind.String], and their codes are
// stable.
const (
	Internal            = fault.Internal            // a bug, or a failure with no better name
	Invalid             = fault.Invalid             // an argument, name or configuration that is malformed
	NotFound            = fault.NotFound            // a tenant, stream or file that does not exist
	AlreadyExists       = fault.AlreadyExists       // a tenant, stream or name that is taken
	Denied              = fault.Denied              // an act that this statement or this file's mode does not allow
	QuotaExceeded       = fault.QuotaExceeded       // a tenant's limit on bytes; see [Error].Quota
	RateLimited         = fault.RateLimited         // a tenant's limit on operations per second
	TooManyOps          = fault.TooManyOps          // a tenant's limit on operations at once
	Corruption          = fault.Corruption          // damage on disk, named by file and byte offset
	Unavailable         = fault.Unavailable         // something cannot act now; nothing was done
	Timeout             = fault.Timeout             // a deadline passed before anything took effect
	Canceled            = fault.Canceled            // the caller gave up before anything took effect
	OutcomeUnknown      = fault.OutcomeUnknown      // a write that may or may not have taken effect
	Retained            = fault.Retained            // an act that the tenant's retention forbids
	Conflict            = fault.Conflict            // a transaction that cannot be serialised: try it again
	Constraint          = fault.Constraint          // a violated NOT NULL, UNIQUE, CHECK or foreign key
	SQL                 = fault.SQL                 // a statement that does not parse or names what is not there
	Unsupported         = fault.Unsupported         // SQL or an option that Kimberlite does not offer
	TooLarge            = fault.TooLarge            // a statement, value, row, result or transaction over a limit
	DiskFull            = fault.DiskFull            // a disk at or below its reserve; nothing was done
	InUse               = fault.InUse               // a data directory that is open already
	KeyUnavailable      = fault.KeyUnavailable      // a master key or KEK that is missing or out of reach
	KeyInvalid          = fault.KeyInvalid          // a key of the wrong form, or one that does not open
	Incompatible        = fault.Incompatible        // a directory or file of another version
	IdempotencyMismatch = fault.IdempotencyMismatch // an idempotency key that was used for another call
	Closed              = fault.Closed              // a handle or transaction that has ended
	Stopped             = fault.Stopped             // the disk failed, and nothing is written until the next Open
)

// KindOf returns the kind of an error; err must not be nil.
func KindOf(err error) Kind { return fault.KindOf(err) }

// IsKind reports whether err is, or wraps, an [*Error] of a kind.
func IsKind(err error, kind Kind) bool { return fault.Is(err, kind) }

func newError(op string, kind Kind, err error) error {
	return fault.New(op, kind, "%s", err.Error())
}
