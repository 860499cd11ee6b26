package kimberlite

import "kimberlite/internal/ident"

// Identifiers are distinct struct types: a stream where a tenant is wanted, a
// bare number, or one kind converted to another does not compile.
type (
	// TenantID names one tenant: any 64-bit number but 0.
	TenantID = ident.TenantID
	// StreamID names one stream of one tenant.
	StreamID = ident.StreamID
	// Offset is a place in a log or in a stream, from 0.
	Offset = ident.Offset
	// ShardID names one replicated group.
	ShardID = ident.ShardID
	// KeyGeneration counts a tenant's DEKs, or its KEKs, from 1.
	KeyGeneration = ident.KeyGeneration
)

// NewTenantID returns the tenant id n; 0 is refused.
func NewTenantID(n uint64) (TenantID, error) {
	id, err := ident.NewTenantID(n)
	if err != nil {
		return id, newError("tenant", Invalid, err)
	}
	return id, nil
}

// MustTenantID is [NewTenantID] for constants; it panics on 0.
func MustTenantID(n uint64) TenantID { return ident.MustTenantID(n) }

// ParseTenantID reads a tenant id in decimal.
func ParseTenantID(s string) (TenantID, error) {
	id, err := ident.ParseTenantID(s)
	if err != nil {
		return id, newError("tenant", Invalid, err)
	}
	return id, nil
}

// NewOffset returns offset n.
func NewOffset(n uint64) Offset { return ident.NewOffset(n) }
