package keyring

import (
	"time"

	"kimberlite/internal/fault"
	"kimberlite/internal/seal"
)

// Policy says when a DEK has served long enough.
type Policy struct {
	// MaxAge is the longest that a DEK seals; 0 means [DefaultMaxAge].
	MaxAge time.Duration
	// MaxSeals is how many texts one DEK seals, over all its subkeys; 0 means
	// [DefaultMaxSeals], which is also the most.
	MaxSeals uint64
}

// The defaults.
const (
	// DefaultMaxAge bounds what one lost DEK exposes to a quarter of a year of
	// writes. It costs 72 bytes of envelope each time: four rotations a year
	// over ten years of retention stay under 3 KiB.
	DefaultMaxAge = 90 * 24 * time.Hour

	// DefaultMaxSeals is half of what one subkey may seal. The count is over
	// all subkeys of the DEK, so no single one gets near its bound even if
	// all seals fell on one file; the other half is room for seals that a
	// crash left uncounted, and for those between the decision and the
	// moment that the new DEK is in force.
	DefaultMaxSeals = seal.MaxSealsPerKey / 2
)

// Validate refuses limits that are negative or not safe: Invalid.
func (p Policy) Validate() error {
	if p.MaxAge < 0 || p.MaxSeals > DefaultMaxSeals {
		return fault.New("key policy", fault.Invalid, "a DEK's age limit is positive, and it seals at most %d times", uint64(DefaultMaxSeals))
	}
	return nil
}

// NeedsDEKRotation reports whether a DEK made at created, which has sealed so
// many texts, should be followed by another at now. A clock that went back
// behind created does not rotate.
func NeedsDEKRotation(created, now time.Time, seals uint64, p Policy) bool {
	if p.MaxAge <= 0 {
		p.MaxAge = DefaultMaxAge
	}
	if p.MaxSeals == 0 || p.MaxSeals > DefaultMaxSeals {
		p.MaxSeals = DefaultMaxSeals
	}
	return seals >= p.MaxSeals || now.Sub(created) >= p.MaxAge
}
