package keyring

import (
	"context"
	"crypto/ed25519"
	"time"

	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/kms"
	"kimberlite/internal/seal"
)

// Wrapped is a KEK wrapped by a master key, as [Ring.Put] takes it.
type Wrapped struct {
	// Gen is the KEK's generation.
	Gen ident.KeyGeneration
	// Blob is what the provider's Wrap returned.
	Blob []byte
}

// Create makes all keys of a new tenant, each first generation and of random
// bytes: the envelope to commit, the wrapped KEK to put into the keyring
// before that, and the keys unwrapped, whose Zero the caller owes. Errors:
// what the provider says; Invalid for a zero tenant.
func Create(ctx context.Context, p kms.Provider, tenant ident.TenantID, now time.Time) (Envelope, Wrapped, *Keys, error) {
	return CreateAt(ctx, p, tenant, ident.NewKeyGeneration(1), now)
}

// CreateAt is Create with a KEK of a generation of its own, for when an earlier
// attempt has left one of the first somewhere: a KEK is never overwritten.
func CreateAt(ctx context.Context, p kms.Provider, tenant ident.TenantID, generation ident.KeyGeneration, now time.Time) (Envelope, Wrapped, *Keys, error) {
	o := owner{tenant, generation}
	kek, wrapped, err := newKEK(ctx, p, o)
	if err != nil {
		return Envelope{}, Wrapped{}, nil, err
	}
	defer clear(kek)
	wrap, err := wrapKey(tenant, generation, kek)
	if err != nil {
		return Envelope{}, Wrapped{}, nil, err
	}
	env := Envelope{KEK: generation, DEKs: []WrappedDEK{newDEK(wrap, o, ident.NewKeyGeneration(1), now)}}
	env.Signing = newSigningKey(wrap, o)
	if err := env.Validate(); err != nil { // a time that the format cannot hold
		return Envelope{}, Wrapped{}, nil, err
	}
	keys, err := newKeys(tenant, env, kek)
	if err != nil {
		return Envelope{}, Wrapped{}, nil, err
	}
	return env, wrapped, keys, nil
}

// newKEK returns a random KEK, unwrapped and wrapped.
func newKEK(ctx context.Context, p kms.Provider, o owner) ([]byte, Wrapped, error) {
	kek := seal.RandomKey()
	blob, err := p.Wrap(ctx, kek, kms.Context{Tenant: o.tenant, Generation: o.generation})
	if err != nil {
		clear(kek)
		return nil, Wrapped{}, err
	}
	return kek, Wrapped{Gen: o.generation, Blob: blob}, nil
}

// newDEK returns a random DEK, wrapped.
func newDEK(wrap *seal.Key, o owner, generation ident.KeyGeneration, now time.Time) WrappedDEK {
	secret := seal.RandomKey()
	defer clear(secret)
	d := WrappedDEK{Generation: generation, Created: now.UTC().Round(0)}
	d.Wrapped = wrap.Seal(nil, secret, dekPlace(o, d))
	return d
}

// newSigningKey returns a random Ed25519 key, its seed wrapped.
func newSigningKey(wrap *seal.Key, o owner) WrappedSigningKey {
	seed := seal.RandomKey()
	defer clear(seed)
	private := ed25519.NewKeyFromSeed(seed)
	defer clear(private)
	s := WrappedSigningKey{Public: append(ed25519.PublicKey(nil), private[ed25519.SeedSize:]...)}
	s.Wrapped = wrap.Seal(nil, seed, signingPlace(o, s))
	return s
}

// RotateDEK returns env with one more DEK, which seals once the envelope is
// committed and given to [Keys.Update]; the old ones stay. Nothing is sealed
// anew. Errors: KeyUnavailable when keys are wiped, Conflict when env is under
// another KEK than keys, TooLarge at [MaxDEKs].
func RotateDEK(keys *Keys, env Envelope, now time.Time) (Envelope, error) {
	if len(env.DEKs) >= MaxDEKs {
		return Envelope{}, fault.New("rotate DEK", fault.TooLarge, "the tenant has %d DEKs, the most there can be", len(env.DEKs)).ForTenant(keys.tenant)
	}
	wrap, err := keys.wrapFor("rotate DEK", env)
	if err != nil {
		return Envelope{}, err
	}
	d := newDEK(wrap, owner{keys.tenant, env.KEK}, env.Current().Generation.Next(), now)
	next := env
	next.DEKs = append(append(make([]WrappedDEK, 0, len(env.DEKs)+1), env.DEKs...), d)
	return next, next.Validate()
}

// RotateKEK returns env under a new KEK: the same DEKs and signing key,
// wrapped anew. The caller puts the new KEK into the keyring, commits the
// envelope, gives it to [Keys.Update], and then destroys the old KEK. Keys
// keep working throughout. Each call takes a generation of its own, so that an
// attempt whose outcome is unknown is never mixed with the next. Errors: what
// the provider says; KeyUnavailable, Conflict as for RotateDEK; KeyInvalid
// when a key of env does not open.
func RotateKEK(ctx context.Context, p kms.Provider, keys *Keys, env Envelope) (Envelope, Wrapped, error) {
	generation, err := keys.nextKEK(env)
	if err != nil {
		return Envelope{}, Wrapped{}, err
	}
	from, to := owner{keys.tenant, env.KEK}, owner{keys.tenant, generation}
	kek, wrapped, err := newKEK(ctx, p, to)
	if err != nil {
		return Envelope{}, Wrapped{}, err
	}
	defer clear(kek)
	oldWrap, err := keys.wrapFor("rotate KEK", env)
	if err != nil {
		return Envelope{}, Wrapped{}, err
	}
	newWrap, err := wrapKey(keys.tenant, generation, kek)
	if err != nil {
		return Envelope{}, Wrapped{}, err
	}
	next, err := rewrap(env, oldWrap, from, newWrap, to)
	if err != nil {
		return Envelope{}, Wrapped{}, err
	}
	return next, wrapped, keys.expect(generation, kek)
}

// rewrap returns env with every key wrapped under another KEK.
func rewrap(env Envelope, oldWrap *seal.Key, from owner, newWrap *seal.Key, to owner) (Envelope, error) {
	next := Envelope{KEK: to.generation, DEKs: make([]WrappedDEK, len(env.DEKs))}
	for i, d := range env.DEKs {
		secret, err := openWrapped(oldWrap, d.Wrapped, dekPlace(from, d), from, "DEK of generation "+d.Generation.String())
		if err != nil {
			return Envelope{}, err
		}
		next.DEKs[i] = WrappedDEK{Generation: d.Generation, Created: d.Created}
		next.DEKs[i].Wrapped = newWrap.Seal(nil, secret, dekPlace(to, next.DEKs[i]))
		clear(secret)
	}
	seed, err := openWrapped(oldWrap, env.Signing.Wrapped, signingPlace(from, env.Signing), from, "signing key")
	if err != nil {
		return Envelope{}, err
	}
	defer clear(seed)
	next.Signing.Public = env.Signing.Public
	next.Signing.Wrapped = newWrap.Seal(nil, seed, signingPlace(to, next.Signing))
	return next, nil
}

// RewrapKEK returns a wrapped KEK under another master key; the KEK and all
// that it wraps stay. The caller gives the result to [Ring.Replace]. Errors:
// what either provider says.
func RewrapKEK(ctx context.Context, from, to kms.Provider, tenant ident.TenantID, generation ident.KeyGeneration, blob []byte) ([]byte, error) {
	c := kms.Context{Tenant: tenant, Generation: generation}
	kek, err := from.Unwrap(ctx, blob, c)
	if err != nil {
		return nil, err
	}
	defer clear(kek)
	return to.Wrap(ctx, kek, c)
}
