// Package ident holds the identifiers of the domain as distinct struct types.
//
// It guarantees that a tenant, a stream, an offset, a shard, a node, a region
// and a key generation cannot be mixed up, and that a bare number is none of
// them: each is a struct with an unexported field of its own name, so neither
// an untyped constant nor a conversion between two of them compiles. (Structs
// whose fields have the same names and types would convert.) Every other
// package uses it; it imports nothing of Kimberlite.
//
// All types are comparable values, safe to copy and to use as map keys.
package ident

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
)

// TenantID names one tenant for the whole deployment: a full 64-bit number.
// The zero TenantID is "no tenant" and is refused by [NewTenantID].
type TenantID struct{ tenant uint64 }

// NewTenantID returns the tenant with number n. Zero is not a tenant.
func NewTenantID(n uint64) (TenantID, error) {
	if n == 0 {
		return TenantID{}, fmt.Errorf("tenant id 0 is reserved: use 1 or more")
	}
	return TenantID{n}, nil
}

// MustTenantID is [NewTenantID] for numbers known to be valid; it panics on 0.
func MustTenantID(n uint64) TenantID {
	id, err := NewTenantID(n)
	if err != nil {
		panic(err)
	}
	return id
}

// ParseTenantID reads a tenant id in decimal.
func ParseTenantID(s string) (TenantID, error) {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return TenantID{}, fmt.Errorf("tenant id %q is not a number between 1 and 18446744073709551615", clip(s))
	}
	return NewTenantID(n)
}

// Uint64 returns the number.
func (t TenantID) Uint64() uint64 { return t.tenant }

// IsZero reports whether t is "no tenant".
func (t TenantID) IsZero() bool { return t.tenant == 0 }

// String returns the number in decimal, the form of directory names.
func (t TenantID) String() string { return strconv.FormatUint(t.tenant, 10) }

// Offset is the place of a record in a tenant's log, or of an event in a
// stream. The first is 0.
type Offset struct{ offset uint64 }

// NewOffset returns offset n.
func NewOffset(n uint64) Offset { return Offset{n} }

// Uint64 returns the number.
func (o Offset) Uint64() uint64 { return o.offset }

// Next returns the offset after o. It panics at the end of the number range,
// which no log can reach.
func (o Offset) Next() Offset { return o.Add(1) }

// Add returns the offset n places after o; it panics on overflow.
func (o Offset) Add(n uint64) Offset {
	if o.offset > math.MaxUint64-n {
		panic("ident: offset overflow")
	}
	return Offset{o.offset + n}
}

// Before reports whether o stands before p.
func (o Offset) Before(p Offset) bool { return o.offset < p.offset }

// String returns the number in decimal.
func (o Offset) String() string { return strconv.FormatUint(o.offset, 10) }

// StreamID names one stream of one tenant. Numbers are given out by the
// tenant's log, from 1, and never used again.
type StreamID struct {
	tenant TenantID
	n      uint64
}

// NewStreamID returns stream n of a tenant.
func NewStreamID(tenant TenantID, n uint64) StreamID { return StreamID{tenant, n} }

// Tenant returns the tenant that the stream belongs to.
func (s StreamID) Tenant() TenantID { return s.tenant }

// Number returns the stream's number within its tenant.
func (s StreamID) Number() uint64 { return s.n }

// IsZero reports whether s is "no stream".
func (s StreamID) IsZero() bool { return s == StreamID{} }

// String returns tenant and number as "7/3".
func (s StreamID) String() string { return s.tenant.String() + "/" + strconv.FormatUint(s.n, 10) }

// ShardID names one replicated group. Those of tenants count from 1; the zero
// ShardID is the directory's.
type ShardID struct{ shard uint64 }

// NewShardID returns shard n.
func NewShardID(n uint64) ShardID { return ShardID{n} }

// Uint64 returns the number.
func (s ShardID) Uint64() uint64 { return s.shard }

// String returns the number in decimal, the form of directory names.
func (s ShardID) String() string { return strconv.FormatUint(s.shard, 10) }

// NodeID names one node, and its replicas, for ever: a wiped disk means a new
// one. Zero is no node.
type NodeID struct{ node uint64 }

// NewNodeID returns node n.
func NewNodeID(n uint64) NodeID { return NodeID{n} }

// Uint64 returns the number.
func (n NodeID) Uint64() uint64 { return n.node }

// String returns the number in decimal.
func (n NodeID) String() string { return strconv.FormatUint(n.node, 10) }

// Region names a place that data must not leave, such as "us-east".
type Region struct{ name string }

// MaxRegionLength is the longest region name, in bytes.
const MaxRegionLength = 63

// NewRegion returns the region called name: 1 to 63 lower-case letters,
// digits and hyphens, starting with a letter and not ending with a hyphen.
func NewRegion(name string) (Region, error) {
	if !validLabel(name, MaxRegionLength) {
		return Region{}, fmt.Errorf("region %q: want 1 to %d lower-case letters, digits and hyphens, starting with a letter, such as us-east", clip(name), MaxRegionLength)
	}
	return Region{name}, nil
}

// String returns the name; the zero Region is "".
func (r Region) String() string { return r.name }

// IsZero reports whether r is no region.
func (r Region) IsZero() bool { return r.name == "" }

// KeyGeneration counts a tenant's DEKs, or its KEKs, from 1. Zero is none.
type KeyGeneration struct{ n uint32 }

// NewKeyGeneration returns generation n.
func NewKeyGeneration(n uint32) KeyGeneration { return KeyGeneration{n} }

// Uint32 returns the number.
func (g KeyGeneration) Uint32() uint32 { return g.n }

// IsZero reports whether g is no generation.
func (g KeyGeneration) IsZero() bool { return g.n == 0 }

// Next returns the generation after g; it panics at the end of the range.
func (g KeyGeneration) Next() KeyGeneration {
	if g.n == math.MaxUint32 {
		panic("ident: key generation overflow")
	}
	return KeyGeneration{g.n + 1}
}

// String returns the number in decimal.
func (g KeyGeneration) String() string { return strconv.FormatUint(uint64(g.n), 10) }

// MarshalJSON writes the id as a JSON string, since JSON numbers lose
// precision above 2^53.
func (t TenantID) MarshalJSON() ([]byte, error) { return json.Marshal(t.String()) }

// UnmarshalJSON reads what MarshalJSON writes, and a plain number.
func (t *TenantID) UnmarshalJSON(b []byte) error {
	id, err := ParseTenantID(unquote(b))
	if err != nil {
		return err
	}
	*t = id
	return nil
}

// MarshalJSON writes the offset as a JSON number.
func (o Offset) MarshalJSON() ([]byte, error) { return []byte(o.String()), nil }

// UnmarshalJSON reads a JSON number.
func (o *Offset) UnmarshalJSON(b []byte) error {
	n, err := strconv.ParseUint(unquote(b), 10, 64)
	if err != nil {
		return fmt.Errorf("offset %q is not a whole number", clip(string(b)))
	}
	o.offset = n
	return nil
}

// MarshalJSON writes the generation as a JSON number.
func (g KeyGeneration) MarshalJSON() ([]byte, error) { return []byte(g.String()), nil }

// UnmarshalJSON reads a JSON number.
func (g *KeyGeneration) UnmarshalJSON(b []byte) error {
	n, err := strconv.ParseUint(unquote(b), 10, 32)
	if err != nil {
		return fmt.Errorf("key generation %q is not a whole number", clip(string(b)))
	}
	g.n = uint32(n)
	return nil
}

// MarshalJSON writes the name as a JSON string.
func (r Region) MarshalJSON() ([]byte, error) { return json.Marshal(r.name) }

// UnmarshalJSON reads a name; "" is the zero Region.
func (r *Region) UnmarshalJSON(b []byte) error {
	var name string
	if err := json.Unmarshal(b, &name); err != nil {
		return err
	}
	if name == "" {
		*r = Region{}
		return nil
	}
	region, err := NewRegion(name)
	if err != nil {
		return err
	}
	*r = region
	return nil
}

func unquote(b []byte) string {
	if len(b) >= 2 && b[0] == '"' && b[len(b)-1] == '"' {
		b = b[1 : len(b)-1]
	}
	return string(b)
}

func validLabel(s string, limit int) bool {
	if len(s) == 0 || len(s) > limit || s[0] < 'a' || s[0] > 'z' || s[len(s)-1] == '-' {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}

func clip(s string) string {
	const limit = 40
	if len(s) > limit {
		return s[:limit] + "…"
	}
	return s
}
