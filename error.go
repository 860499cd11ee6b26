package kimberlite

import "kimberlite/internal/fault"

// Error is the one type of Kimberlite's errors: operation, kind, tenant,
// message and cause. errors.Is and errors.As see through it.
type Error = fault.Error

// Kind says what sort of failure an error is. The list only grows.
type Kind = fault.Kind

// QuotaError holds the numbers of a refused quota; see [Error].Quota.
type QuotaError = fault.Quota

// The kinds of errors.
const (
	Internal            = fault.Internal
	Invalid             = fault.Invalid
	NotFound            = fault.NotFound
	AlreadyExists       = fault.AlreadyExists
	Denied              = fault.Denied
	QuotaExceeded       = fault.QuotaExceeded
	RateLimited         = fault.RateLimited
	TooManyOps          = fault.TooManyOps
	Corruption          = fault.Corruption
	Unavailable         = fault.Unavailable
	Timeout             = fault.Timeout
	Canceled            = fault.Canceled
	OutcomeUnknown      = fault.OutcomeUnknown
	Retained            = fault.Retained
	Conflict            = fault.Conflict
	Constraint          = fault.Constraint
	SQL                 = fault.SQL
	Unsupported         = fault.Unsupported
	TooLarge            = fault.TooLarge
	DiskFull            = fault.DiskFull
	InUse               = fault.InUse
	KeyUnavailable      = fault.KeyUnavailable
	KeyInvalid          = fault.KeyInvalid
	Incompatible        = fault.Incompatible
	IdempotencyMismatch = fault.IdempotencyMismatch
	Closed              = fault.Closed
	Stopped             = fault.Stopped
)

// KindOf returns the kind of an error; err must not be nil.
func KindOf(err error) Kind { return fault.KindOf(err) }

// IsKind reports whether err is, or wraps, an [*Error] of a kind.
func IsKind(err error, kind Kind) bool { return fault.Is(err, kind) }

func newError(op string, kind Kind, err error) error {
	return fault.New(op, kind, "%s", err.Error())
}
