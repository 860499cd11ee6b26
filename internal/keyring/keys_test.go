package keyring

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"fmt"
	"sync"
	"testing"
	"time"

	"kimberlite/internal/fault"
	"kimberlite/internal/kms"
	"kimberlite/internal/seal"
)

// made is a tenant's keys, as Create returns them.
type made struct {
	env  Envelope
	kek  Wrapped
	keys *Keys
}

func create(t testing.TB, p kms.Provider, n uint64) made {
	t.Helper()
	env, kek, keys, err := Create(t.Context(), p, tenant(n), epoch)
	wantNil(t, err)
	t.Cleanup(keys.Zero)
	return made{env, kek, keys}
}

// sealWith seals a text under a generation's subkey.
func sealWith(t testing.TB, k *Keys, g uint32, text string) []byte {
	t.Helper()
	d, err := k.DEK(gen(g))
	wantNil(t, err)
	key, err := d.Derive(seal.LogSegment, nil)
	wantNil(t, err)
	return key.Seal(nil, []byte(text), nil)
}

func wantOpens(t testing.TB, k *Keys, g uint32, sealed []byte, text string) {
	t.Helper()
	d, err := k.DEK(gen(g))
	wantNil(t, err)
	key, err := d.Derive(seal.LogSegment, nil)
	wantNil(t, err)
	if got, err := key.Open(nil, sealed, nil); err != nil || string(got) != text {
		t.Fatalf("generation %d: %q, %v", g, got, err)
	}
}

func TestCreatedKeysOpenAgainFromEnvelopeAndBlob(t *testing.T) {
	p := openMaster(t)
	m := create(t, p, 7)
	if m.env.KEK != gen(1) || m.kek.Gen != gen(1) || m.keys.Current() != gen(1) || m.keys.Tenant() != tenant(7) {
		t.Errorf("generations %v, %v, %v", m.env.KEK, m.kek.Gen, m.keys.Current())
	}
	if !m.env.Current().Created.Equal(epoch) {
		t.Errorf("made at %v", m.env.Current().Created)
	}
	sealed := sealWith(t, m.keys, 1, "row")
	env, err := DecodeEnvelope(m.env.Encode())
	wantNil(t, err)
	again, err := Unwrap(t.Context(), p, tenant(7), env, m.kek.Blob)
	wantNil(t, err)
	defer again.Zero()
	wantOpens(t, again, 1, sealed, "row")
	sig, err := again.Sign([]byte("head"))
	wantNil(t, err)
	if !ed25519.Verify(m.keys.Public(), []byte("head"), sig) || !m.env.Signing.Public.Equal(again.Public()) {
		t.Error("the signature does not verify")
	}
	_, err = again.DEK(gen(2))
	wantKind(t, err, fault.NotFound)
	other := create(t, p, 8)
	if bytes.Equal(other.keys.Public(), m.keys.Public()) {
		t.Error("two tenants sign with one key")
	}
}

// goldenKeys is an envelope of format 1 with real keys: tenant 7, KEK
// generation 3 of 32 bytes 0x42, DEKs 1 and 2. It must open for ever.
const goldenKeys = "4b4c45560100000200000003000000011828ac068d8f4d15f950d017157d13a0b36ce65724f94ea0fbb1fadd9c76cba5e14b8e90a8963921b6620970f67cf068d9342442bfcca94cba2fb7eb87f9801413b4f535000000021828af4cbe47ed15ce1dfacadc00d7bfb07154a928a8e397b492bbc3d7b96fb262ebff036ff42826ade413dc5021b92afb1dabffeddb78918fecfe2c2460ac61681df354a0f84fc7e2be622f1568c22dba7cf3c568fae88699f668666547782610f7993856c5b62b2115fc3ddaba1d6fecb2f5f7bcfb7ce982663cff33915b82c997f78d9b9be8d4688ac8fa837ed49d9b59f6f8df201687919bfa90c5a3ddb7889a239a"

func TestEnvelopeWithKeysOfFormat1OpensForEver(t *testing.T) {
	b, err := hex.DecodeString(goldenKeys)
	wantNil(t, err)
	env, err := DecodeEnvelope(b)
	wantNil(t, err)
	k, err := newKeys(tenant(7), env, bytes.Repeat([]byte{0x42}, 32))
	wantNil(t, err)
	defer k.Zero()
	for g := uint32(1); g <= 2; g++ {
		_, err := k.DEK(gen(g))
		wantNil(t, err)
	}
	if !env.DEKs[0].Created.Equal(epoch) {
		t.Errorf("made at %v", env.DEKs[0].Created)
	}
}

func TestKeysMovedBetweenTenantsGenerationsOrKindsDoNotOpen(t *testing.T) {
	p := openMaster(t)
	a, b := create(t, p, 1), create(t, p, 2)
	two, err := RotateDEK(a.keys, a.env, epoch.Add(time.Hour))
	wantNil(t, err)
	other := openMaster(t)

	open := func(p kms.Provider, n uint64, env Envelope, blob []byte) error {
		k, err := Unwrap(t.Context(), p, tenant(n), env, blob)
		if err != nil {
			return err
		}
		defer k.Zero()
		for _, d := range env.DEKs {
			if _, err := k.DEK(d.Generation); err != nil {
				return err
			}
		}
		return nil
	}
	wantNil(t, open(p, 1, two, a.kek.Blob))
	edit := func(change func(e *Envelope)) Envelope {
		e, err := DecodeEnvelope(two.Encode())
		wantNil(t, err)
		change(&e)
		return e
	}
	attacks := map[string]error{
		"tenant 2's envelope with tenant 1's KEK": open(p, 1, b.env, a.kek.Blob),
		"tenant 1's envelope with tenant 2's KEK": open(p, 1, a.env, b.kek.Blob),
		"all of tenant 2's as tenant 1":           open(p, 1, b.env, b.kek.Blob),
		"all of tenant 1's as tenant 2":           open(p, 2, two, a.kek.Blob),
		"another master key":                      open(other, 1, two, a.kek.Blob),
		"KEK generation 2":                        open(p, 1, edit(func(e *Envelope) { e.KEK = gen(2) }), a.kek.Blob),
		"tenant 2's DEK":                          open(p, 1, edit(func(e *Envelope) { e.DEKs[1].Wrapped = b.env.DEKs[0].Wrapped }), a.kek.Blob),
		"DEK 1 as DEK 2":                          open(p, 1, edit(func(e *Envelope) { e.DEKs[1].Wrapped = e.DEKs[0].Wrapped }), a.kek.Blob),
		"DEK 2 as DEK 3":                          open(p, 1, edit(func(e *Envelope) { e.DEKs[1].Generation = gen(3) }), a.kek.Blob),
		"DEK made younger":                        open(p, 1, edit(func(e *Envelope) { e.DEKs[1].Created = epoch }), a.kek.Blob),
		"signing key as DEK":                      open(p, 1, edit(func(e *Envelope) { e.DEKs[1].Wrapped = e.Signing.Wrapped }), a.kek.Blob),
		"DEK as signing key":                      open(p, 1, edit(func(e *Envelope) { e.Signing.Wrapped = e.DEKs[0].Wrapped }), a.kek.Blob),
		"another public key":                      open(p, 1, edit(func(e *Envelope) { e.Signing.Public = b.env.Signing.Public }), a.kek.Blob),
		"tenant 2's signing key":                  open(p, 1, edit(func(e *Envelope) { e.Signing = b.env.Signing }), a.kek.Blob),
	}
	for name, err := range attacks {
		if !fault.Is(err, fault.KeyInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for i := range wrappedSize { // a wrapped DEK's every byte
		env := edit(func(e *Envelope) { e.DEKs[0].Wrapped[i] ^= 1 })
		wantKind(t, open(p, 1, env, a.kek.Blob), fault.KeyInvalid)
	}
}

func TestRotatedDEKSealsAndOldOnesStillOpen(t *testing.T) {
	p := openMaster(t)
	m := create(t, p, 1)
	env := m.env
	var sealed [][]byte
	for g := uint32(1); g <= 5; g++ {
		if m.keys.Current() != gen(g) {
			t.Fatalf("current is %v, want %d", m.keys.Current(), g)
		}
		sealed = append(sealed, sealWith(t, m.keys, g, fmt.Sprint("row ", g)))
		next, err := RotateDEK(m.keys, env, epoch.Add(time.Duration(g)*time.Hour))
		wantNil(t, err)
		wantNil(t, CheckSuccessor(env, next))
		if m.keys.Current() != gen(g) {
			t.Fatal("a rotation that is not committed took effect")
		}
		before := env.Encode()
		wantNil(t, m.keys.Update(next))
		if !bytes.Equal(before, env.Encode()) {
			t.Fatal("the old envelope changed")
		}
		env = next
	}
	fresh, err := Unwrap(t.Context(), p, tenant(1), env, m.kek.Blob)
	wantNil(t, err)
	defer fresh.Zero()
	for i, s := range sealed {
		wantOpens(t, m.keys, uint32(i+1), s, fmt.Sprint("row ", i+1))
		wantOpens(t, fresh, uint32(i+1), s, fmt.Sprint("row ", i+1))
	}
}

func TestRotatedKEKOpensAllAndTheOldOneNothingNew(t *testing.T) {
	p := openMaster(t)
	m := create(t, p, 1)
	two, err := RotateDEK(m.keys, m.env, epoch)
	wantNil(t, err, m.keys.Update(two))
	s1, s2 := sealWith(t, m.keys, 1, "one"), sealWith(t, m.keys, 2, "two")
	next, kek, err := RotateKEK(t.Context(), p, m.keys, two)
	wantNil(t, err, CheckSuccessor(two, next))
	if kek.Gen != gen(2) || next.KEK != gen(2) || !next.Signing.Public.Equal(two.Signing.Public) {
		t.Fatalf("KEK generation %v, %v", kek.Gen, next.KEK)
	}
	wantOpens(t, m.keys, 1, s1, "one") // not committed yet: nothing changed
	wantNil(t, m.keys.Update(next), m.keys.Update(next), m.keys.Update(two))
	if m.keys.Envelope().KEK != gen(2) {
		t.Fatal("the new envelope is not in force")
	}
	fresh, err := Unwrap(t.Context(), p, tenant(1), next, kek.Blob)
	wantNil(t, err)
	defer fresh.Zero()
	for _, k := range []*Keys{m.keys, fresh} {
		wantOpens(t, k, 1, s1, "one")
		wantOpens(t, k, 2, s2, "two")
	}
	_, err = Unwrap(t.Context(), p, tenant(1), next, m.kek.Blob)
	wantKind(t, err, fault.KeyInvalid)
	// And on from there: both kinds of rotation under the new KEK.
	three, err := RotateDEK(m.keys, next, epoch)
	wantNil(t, err, m.keys.Update(three))
	_, err = RotateDEK(m.keys, two, epoch)
	wantKind(t, err, fault.Conflict)
	_, _, err = RotateKEK(t.Context(), p, m.keys, two)
	wantKind(t, err, fault.Conflict)
}

func TestUndecidedKEKRotationsAreNeverMixed(t *testing.T) {
	// An attempt's outcome is unknown and a second one starts: whichever
	// envelope is committed, its KEK is one of its own.
	p := openMaster(t)
	for _, committed := range []int{0, 1} {
		m := create(t, p, 1)
		r, _ := newRing(t)
		wantNil(t, r.Put(tenant(1), gen(1), m.kek.Blob))
		var envs []Envelope
		for range 2 {
			env, kek, err := RotateKEK(t.Context(), p, m.keys, m.env)
			wantNil(t, err, r.Put(tenant(1), kek.Gen, kek.Blob))
			envs = append(envs, env)
		}
		if envs[0].KEK == envs[1].KEK {
			t.Fatal("two attempts have one generation")
		}
		env := envs[committed]
		wantNil(t, m.keys.Update(env), r.Reconcile(tenant(1), env.KEK))
		blob, err := r.Get(tenant(1), env.KEK)
		wantNil(t, err)
		k, err := Unwrap(t.Context(), p, tenant(1), env, blob)
		wantNil(t, err)
		k.Zero()
		if got := r.Generations(tenant(1)); len(got) != 1 {
			t.Errorf("generations %v", got)
		}
	}
	m := create(t, p, 2)
	for range maxExpected {
		_, _, err := RotateKEK(t.Context(), p, m.keys, m.env)
		wantNil(t, err)
	}
	_, _, err := RotateKEK(t.Context(), p, m.keys, m.env)
	wantKind(t, err, fault.Conflict)
}

func TestSecondRotationFromTheSameEnvelopeIsRefused(t *testing.T) {
	m := create(t, openMaster(t), 1)
	a, err := RotateDEK(m.keys, m.env, epoch)
	wantNil(t, err)
	b, err := RotateDEK(m.keys, m.env, epoch)
	wantNil(t, err)
	wantNil(t, CheckSuccessor(m.env, a), m.keys.Update(a))
	wantKind(t, CheckSuccessor(a, b), fault.Conflict)
	wantKind(t, m.keys.Update(b), fault.Conflict)
}

func TestMasterRotationKeepsTheKEK(t *testing.T) {
	from, to := openMaster(t), openMaster(t)
	m := create(t, from, 1)
	sealed := sealWith(t, m.keys, 1, "row")
	blob, err := RewrapKEK(t.Context(), from, to, tenant(1), gen(1), m.kek.Blob)
	wantNil(t, err)
	k, err := Unwrap(t.Context(), to, tenant(1), m.env, blob)
	wantNil(t, err)
	defer k.Zero()
	wantOpens(t, k, 1, sealed, "row")
	_, err = Unwrap(t.Context(), from, tenant(1), m.env, blob)
	wantKind(t, err, fault.KeyInvalid)
	_, err = RewrapKEK(t.Context(), from, to, tenant(2), gen(1), m.kek.Blob)
	wantKind(t, err, fault.KeyInvalid)
}

func TestZeroWipesEverythingAndLaterUseFails(t *testing.T) {
	p := openMaster(t)
	m := create(t, p, 1)
	_, _, err := RotateKEK(t.Context(), p, m.keys, m.env)
	wantNil(t, err)
	dek, err := m.keys.DEK(gen(1))
	wantNil(t, err)
	kek, private, expected := m.keys.kek, m.keys.private, m.keys.expected[gen(2)]
	for _, secret := range [][]byte{kek, private, expected} {
		if len(secret) < 32 || isZero(secret) {
			t.Fatal("no secret to wipe")
		}
	}
	select {
	case <-m.keys.Done():
		t.Fatal("done before Zero")
	default:
	}
	m.keys.Zero()
	m.keys.Zero()
	<-m.keys.Done()
	for _, secret := range [][]byte{kek, private, expected} {
		if !isZero(secret) {
			t.Error("a secret is still in memory")
		}
	}
	_, err = m.keys.DEK(gen(1))
	wantKind(t, err, fault.KeyUnavailable)
	_, err = dek.Derive(seal.LogSegment, nil)
	wantKind(t, err, fault.KeyUnavailable)
	_, err = m.keys.Sign([]byte("x"))
	wantKind(t, err, fault.KeyUnavailable)
	wantKind(t, m.keys.Update(m.env), fault.KeyUnavailable)
	_, err = RotateDEK(m.keys, m.env, epoch)
	wantKind(t, err, fault.KeyUnavailable)
	_, _, err = RotateKEK(t.Context(), p, m.keys, m.env)
	wantKind(t, err, fault.KeyUnavailable)
}

func isZero(b []byte) bool { return len(bytes.Trim(b, "\x00")) == 0 }

func TestOldKEKIsWipedWhenTheNewOneIsInForce(t *testing.T) {
	p := openMaster(t)
	m := create(t, p, 1)
	old := m.keys.kek
	lost, _, err := RotateKEK(t.Context(), p, m.keys, m.env)
	wantNil(t, err)
	undecided := m.keys.expected[lost.KEK]
	next, _, err := RotateKEK(t.Context(), p, m.keys, m.env)
	wantNil(t, err, m.keys.Update(next))
	if !isZero(old) || !isZero(undecided) || isZero(m.keys.kek) {
		t.Error("an old KEK is still in memory, or the new one is not")
	}
}

func TestReadersGoOnDuringRotation(t *testing.T) {
	p := openMaster(t)
	m := create(t, p, 1)
	sealed := sealWith(t, m.keys, 1, "row")
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				d, err := m.keys.DEK(gen(1))
				if err != nil {
					t.Error(err)
					return
				}
				key, err := d.Derive(seal.LogSegment, nil)
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := key.Open(nil, sealed, nil); err != nil {
					t.Error(err)
				}
				if _, err := m.keys.DEK(m.keys.Current()); err != nil {
					t.Error(err)
				}
				if _, err := m.keys.Sign(sealed); err != nil {
					t.Error(err)
				}
			}
		})
	}
	env := m.env
	for range 20 {
		next, err := RotateDEK(m.keys, env, epoch)
		wantNil(t, err, m.keys.Update(next))
		env, _, err = RotateKEK(t.Context(), p, m.keys, next)
		wantNil(t, err, m.keys.Update(env))
	}
	close(stop)
	readers.Wait()
}

func TestRotationStopsAtTheLastDEK(t *testing.T) {
	m := create(t, openMaster(t), 1)
	env := plainEnvelope(MaxDEKs)
	_, err := RotateDEK(m.keys, env, epoch)
	wantKind(t, err, fault.TooLarge)
}

func TestTimeThatNoEnvelopeHoldsIsRefused(t *testing.T) {
	p := openMaster(t)
	_, _, _, err := Create(t.Context(), p, tenant(1), time.Time{})
	wantKind(t, err, fault.Invalid)
	m := create(t, p, 1)
	_, err = RotateDEK(m.keys, m.env, time.Time{})
	wantKind(t, err, fault.Invalid)
}

func BenchmarkCreate(b *testing.B) {
	p := openMaster(b)
	for b.Loop() {
		_, _, k, err := Create(b.Context(), p, tenant(1), epoch)
		wantNil(b, err)
		k.Zero()
	}
}

func BenchmarkUnwrap(b *testing.B) {
	p := openMaster(b)
	env, kek, keys, err := Create(b.Context(), p, tenant(1), epoch)
	wantNil(b, err)
	keys.Zero()
	for b.Loop() {
		k, err := Unwrap(b.Context(), p, tenant(1), env, kek.Blob)
		wantNil(b, err)
		k.Zero()
	}
}

func BenchmarkDEK(b *testing.B) {
	m := create(b, openMaster(b), 1)
	for b.Loop() {
		if _, err := m.keys.DEK(m.keys.Current()); err != nil {
			b.Fatal(err)
		}
	}
}
