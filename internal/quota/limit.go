// Package quota decides what a tenant may still do under its four limits: log
// bytes, projection bytes, operations per second, concurrent operations.
//
// It guarantees that no limit is exceeded by however many goroutines ask, that
// a refusal takes nothing, and that each refusal names the limit, its value,
// the usage and when to try again. It must not know where usage is counted,
// what an operation is, nor what time it is: all that is passed in. The
// tenant's runtime on the leader of its shard is its one caller; that there is
// one [Admission] a tenant, there and nowhere else, is what keeps more
// connections or nodes from multiplying the limits.
//
// Errors do not name the tenant: the caller adds it.
package quota

import (
	"fmt"

	"kimberlite/internal/fault"
	"kimberlite/internal/quantity"
)

// The names of the limits, as flags, errors and tables spell them.
const (
	LogSize       = "max_log_size"
	Projections   = "max_projections"
	OpsPerSec     = "max_ops_per_sec"
	ConcurrentOps = "max_concurrent_ops"
)

// MaxRate is the highest limit of operations per second: one a nanosecond.
const MaxRate = 1_000_000_000

const op = "quota"

// Limits are what one tenant may use. 0 is unlimited.
type Limits struct {
	MaxLogBytes        int64 // ciphertext in the log's segments
	MaxProjectionBytes int64 // the projection's file
	MaxOpsPerSec       int64
	MaxConcurrentOps   int64
}

// Validate returns an Invalid error that names the first limit out of range.
func (l Limits) Validate() error {
	for _, limit := range []struct {
		name       string
		value, max int64
	}{
		{LogSize, l.MaxLogBytes, 1<<63 - 1},
		{Projections, l.MaxProjectionBytes, 1<<63 - 1},
		{OpsPerSec, l.MaxOpsPerSec, MaxRate},
		{ConcurrentOps, l.MaxConcurrentOps, 1<<63 - 1},
	} {
		switch {
		case limit.value < 0:
			return fault.New(op, fault.Invalid, "%s is %d: use 1 or more, or 0 for unlimited", limit.name, limit.value)
		case limit.value > limit.max:
			return fault.New(op, fault.Invalid, "%s is %d: use at most %d, or 0 for unlimited", limit.name, limit.value, limit.max)
		}
	}
	return nil
}

// CheckLog returns QuotaExceeded when add more bytes do not fit behind the
// used ones. It panics when either is negative.
func CheckLog(l Limits, used, add int64) error {
	if used < 0 || add < 0 {
		panic(fmt.Sprintf("quota: CheckLog of %d used and %d added bytes", used, add))
	}
	if l.MaxLogBytes <= 0 || used <= l.MaxLogBytes && add <= l.MaxLogBytes-used {
		return nil
	}
	return exceeded(LogSize, l.MaxLogBytes, used,
		"the log is full: %s is %s, %s are used and this write needs %s; raise %s to write more",
		LogSize, exact(l.MaxLogBytes), exact(used), exact(add), LogSize)
}

// CheckProjection returns QuotaExceeded when used bytes, counted after the
// write that is asked about, are more than the limit. It panics when used is
// negative.
func CheckProjection(l Limits, used int64) error {
	if used < 0 {
		panic(fmt.Sprintf("quota: CheckProjection of %d bytes", used))
	}
	if l.MaxProjectionBytes <= 0 || used <= l.MaxProjectionBytes {
		return nil
	}
	return exceeded(Projections, l.MaxProjectionBytes, used,
		"the tables are full: %s is %s and this write would make it %s; delete rows before you insert, or raise %s",
		Projections, exact(l.MaxProjectionBytes), exact(used), Projections)
}

func exceeded(limit string, value, usage int64, format string, args ...any) error {
	err := fault.New(op, fault.QuotaExceeded, format, args...)
	err.Quota = &fault.Quota{Limit: limit, Value: value, Usage: usage}
	return err
}

// exact writes bytes for people, with the exact number when that is rounded.
func exact(bytes int64) string {
	display := quantity.DisplaySize(bytes)
	if n, err := quantity.ParseSize(display); err == nil && n == bytes {
		return display
	}
	return fmt.Sprintf("%s (%d bytes)", display, bytes)
}
