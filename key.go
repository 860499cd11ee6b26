package kimberlite

import (
	"context"
	"time"

	"kimberlite/internal/fault"
)

// KeyLevel is a level of a tenant's key hierarchy.
type KeyLevel string

// The levels. The master key wraps the KEK, which wraps the DEKs.
const (
	LevelDEK KeyLevel = "dek"
	LevelKEK KeyLevel = "kek"
)

// KeyStatus describes a tenant's keys; it holds no key.
type KeyStatus struct {
	// KEK and DEK are the generations in force.
	KEK, DEK KeyGeneration
	// DEKs are all generations, oldest first; the last seals.
	DEKs []DEKStatus
	// PublicKey is the Ed25519 key that the heads of the tenant's chain are
	// signed with. Keep it elsewhere to check heads against.
	PublicKey []byte
}

// DEKStatus describes one DEK generation.
type DEKStatus struct {
	Generation KeyGeneration
	Created    time.Time
}

// KeyStatus describes the tenant's keys.
func (t *Tenant) KeyStatus() (KeyStatus, error) {
	s, err := t.db.node.KeyStatus(t.ID())
	if err != nil {
		return KeyStatus{}, err
	}
	out := KeyStatus{KEK: s.KEK, DEK: s.DEK, PublicKey: s.SignaturePublic}
	for _, d := range s.DEKs {
		out.DEKs = append(out.DEKs, DEKStatus(d))
	}
	return out, nil
}

// RotateKey makes a new key at a level, without downtime. A new DEK seals
// from the next record on; a new KEK re-wraps the DEKs, and the old KEK is
// destroyed. Nothing is re-encrypted and everything stays readable.
func (t *Tenant) RotateKey(ctx context.Context, level KeyLevel) error {
	switch level {
	case LevelDEK:
		return t.t.RotateDEK(ctx)
	case LevelKEK:
		return t.t.RotateKEK(ctx)
	}
	return fault.New("key rotate", fault.Invalid, "level %q: want %q or %q", string(level), LevelDEK, LevelKEK)
}
