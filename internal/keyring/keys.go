package keyring

import (
	"context"
	"crypto/ed25519"
	"sync"

	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/kms"
	"kimberlite/internal/seal"
)

// maxExpected is how many KEKs of rotations that are not decided yet are kept.
const maxExpected = 8

// Keys is one tenant's keys, unwrapped. It implements [seal.KeySource] and is
// safe for concurrent use. DEKs are unwrapped when first asked for. Zero wipes
// everything at once; whatever was derived from a DEK before is in other
// hands, which must drop it when Done is closed.
type Keys struct {
	tenant ident.TenantID
	public ed25519.PublicKey // never changes
	done   chan struct{}     // closed by Zero

	mu       sync.RWMutex // guards all below
	env      Envelope
	kek      []byte
	wrap     *seal.Key // derived from kek; nil once wiped
	deks     map[ident.KeyGeneration]*seal.DEK
	private  ed25519.PrivateKey
	expected map[ident.KeyGeneration][]byte // KEKs of rotations under way
	highest  ident.KeyGeneration            // highest KEK generation ever handed out
}

var _ seal.KeySource = (*Keys)(nil)

// Unwrap opens a tenant's keys: one call of the provider for the KEK, nothing
// per key. blob is what the keyring holds for env.KEK. The signing key and the
// current DEK are opened at once, so that a wrong KEK shows here. Errors: what
// the provider says; KeyInvalid when envelope and KEK do not belong together.
func Unwrap(ctx context.Context, p kms.Provider, tenant ident.TenantID, env Envelope, blob []byte) (*Keys, error) {
	if err := env.Validate(); err != nil {
		return nil, err
	}
	kek, err := p.Unwrap(ctx, blob, kms.Context{Tenant: tenant, Generation: env.KEK})
	if err != nil {
		return nil, err
	}
	defer clear(kek)
	return newKeys(tenant, env, kek)
}

// newKeys returns the keys of an envelope; it copies kek.
func newKeys(tenant ident.TenantID, env Envelope, kek []byte) (*Keys, error) {
	wrap, err := wrapKey(tenant, env.KEK, kek)
	if err != nil {
		return nil, err
	}
	o := owner{tenant, env.KEK}
	seed, err := openWrapped(wrap, env.Signing.Wrapped, signingPlace(o, env.Signing), o, "signing key")
	if err != nil {
		return nil, err
	}
	defer clear(seed)
	k := &Keys{
		tenant: tenant, public: env.Signing.Public, done: make(chan struct{}),
		env: env, kek: append([]byte(nil), kek...), wrap: wrap,
		deks: map[ident.KeyGeneration]*seal.DEK{}, expected: map[ident.KeyGeneration][]byte{},
		private: ed25519.NewKeyFromSeed(seed), highest: env.KEK,
	}
	if !k.public.Equal(k.private.Public()) {
		k.Zero()
		return nil, fault.New("unwrap key", fault.KeyInvalid, "the signing key's halves do not belong together").ForTenant(tenant)
	}
	if _, err := k.DEK(k.Current()); err != nil {
		k.Zero()
		return nil, err
	}
	return k, nil
}

// Tenant returns whose keys they are.
func (k *Keys) Tenant() ident.TenantID { return k.tenant }

// Public returns the public half of the signing key; it works after Zero.
func (k *Keys) Public() ed25519.PublicKey { return k.public }

// Done is closed once Zero has wiped the keys. Whoever holds subkeys derived
// from a DEK drops them then.
func (k *Keys) Done() <-chan struct{} { return k.done }

// Envelope returns the envelope in force.
func (k *Keys) Envelope() Envelope {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.env
}

// Current implements [seal.KeySource].
func (k *Keys) Current() ident.KeyGeneration {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.env.Current().Generation
}

// DEK implements [seal.KeySource]. Errors: NotFound, KeyUnavailable once
// wiped, KeyInvalid for a generation that does not open.
func (k *Keys) DEK(generation ident.KeyGeneration) (*seal.DEK, error) {
	k.mu.RLock()
	d, ok := k.deks[generation]
	k.mu.RUnlock()
	if ok {
		return d, nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.wrap == nil {
		return nil, wiped("open key", k.tenant)
	}
	if d, ok := k.deks[generation]; ok {
		return d, nil
	}
	w, ok := k.env.find(generation)
	if !ok {
		return nil, fault.New("open key", fault.NotFound, "the tenant has no DEK of generation %s", generation).ForTenant(k.tenant)
	}
	o := owner{k.tenant, k.env.KEK}
	secret, err := openWrapped(k.wrap, w.Wrapped, dekPlace(o, w), o, "DEK of generation "+generation.String())
	if err != nil {
		return nil, err
	}
	defer clear(secret)
	d, err = seal.NewDEK(k.tenant, generation, secret)
	if err != nil {
		return nil, err
	}
	k.deks[generation] = d
	return d, nil
}

// Sign returns the Ed25519 signature of msg. Errors: KeyUnavailable once wiped.
func (k *Keys) Sign(msg []byte) ([]byte, error) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	if k.wrap == nil {
		return nil, wiped("sign", k.tenant)
	}
	return ed25519.Sign(k.private, msg), nil
}

// Update takes over a later envelope, once it is committed; users of the keys
// go on undisturbed. An earlier or equal one is ignored. Errors:
// KeyUnavailable when wiped, or when the envelope is under a KEK that this
// process did not make: then [Cache.Acquire] with it unwraps that KEK;
// Conflict when it does not follow from the one in force.
func (k *Keys) Update(env Envelope) error {
	const op = "update keys"
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.wrap == nil {
		return wiped(op, k.tenant)
	}
	if older(env, k.env) {
		return nil
	}
	if err := CheckSuccessor(k.env, env); err != nil {
		return err
	}
	if env.KEK == k.env.KEK {
		k.env = env
		return nil
	}
	kek, ok := k.expected[env.KEK]
	if !ok {
		return fault.New(op, fault.KeyUnavailable, "KEK generation %s is not unwrapped here: open the tenant's keys again", env.KEK).ForTenant(k.tenant)
	}
	return k.switchKEK(env, kek)
}

// adopt is Update with the KEK of the envelope at hand, which it copies.
func (k *Keys) adopt(env Envelope, kek []byte) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.wrap == nil {
		return wiped("update keys", k.tenant)
	}
	if older(env, k.env) {
		return nil
	}
	if err := CheckSuccessor(k.env, env); err != nil {
		return err
	}
	own := append([]byte(nil), kek...)
	err := k.switchKEK(env, own)
	if err != nil {
		clear(own)
	}
	return err
}

// older reports whether env is e, or what e came from.
func older(env, e Envelope) bool {
	if env.KEK != e.KEK {
		return env.KEK.Uint32() < e.KEK.Uint32()
	}
	if len(env.DEKs) == len(e.DEKs) {
		return string(env.Encode()) == string(e.Encode())
	}
	return len(env.DEKs) < len(e.DEKs)
}

// switchKEK takes over an envelope under another KEK, which becomes k's.
func (k *Keys) switchKEK(env Envelope, kek []byte) error {
	wrap, err := wrapKey(k.tenant, env.KEK, kek)
	if err != nil {
		return err
	}
	o := owner{k.tenant, env.KEK}
	seed, err := openWrapped(wrap, env.Signing.Wrapped, signingPlace(o, env.Signing), o, "signing key")
	if err != nil {
		return err
	}
	clear(seed)
	delete(k.expected, env.KEK) // kek may be its memory
	for generation, secret := range k.expected {
		clear(secret)
		delete(k.expected, generation)
	}
	clear(k.kek)
	k.kek, k.wrap, k.env = kek, wrap, env
	if k.highest.Uint32() < env.KEK.Uint32() {
		k.highest = env.KEK
	}
	return nil
}

// wrapFor returns the key that wraps env's keys.
func (k *Keys) wrapFor(op string, env Envelope) (*seal.Key, error) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	if k.wrap == nil {
		return nil, wiped(op, k.tenant)
	}
	if env.KEK != k.env.KEK {
		return nil, fault.New(op, fault.Conflict, "the envelope is under KEK generation %s, in force is %s: rotate again", env.KEK, k.env.KEK).ForTenant(k.tenant)
	}
	return k.wrap, nil
}

// nextKEK returns a KEK generation that was never handed out.
func (k *Keys) nextKEK(env Envelope) (ident.KeyGeneration, error) {
	if _, err := k.wrapFor("rotate KEK", env); err != nil {
		return ident.KeyGeneration{}, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.expected) >= maxExpected {
		return ident.KeyGeneration{}, fault.New("rotate KEK", fault.Conflict, "%d rotations of this tenant's KEK are undecided: wait for one", len(k.expected)).ForTenant(k.tenant)
	}
	k.highest = k.highest.Next()
	return k.highest, nil
}

// expect keeps the KEK of a rotation until its envelope is committed.
func (k *Keys) expect(generation ident.KeyGeneration, kek []byte) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.wrap == nil {
		return wiped("rotate KEK", k.tenant)
	}
	k.expected[generation] = append([]byte(nil), kek...)
	return nil
}

// Zero wipes every key. From then on DEK, Sign, Update and rotation fail with
// KeyUnavailable, and so does Derive of DEKs handed out. It may be called at
// any time, more than once. (The expanded forms inside crypto/aes and
// crypto/ed25519 cannot be overwritten from outside; they are dropped.)
func (k *Keys) Zero() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.wrap == nil {
		return
	}
	k.wrap = nil
	clear(k.kek)
	clear(k.private)
	for _, d := range k.deks {
		d.Zero()
	}
	for _, secret := range k.expected {
		clear(secret)
	}
	k.deks, k.expected = nil, nil
	close(k.done)
}

func wiped(op string, tenant ident.TenantID) error {
	return fault.New(op, fault.KeyUnavailable, "the tenant's keys were wiped from memory: it is locked, closed or erased").ForTenant(tenant)
}
