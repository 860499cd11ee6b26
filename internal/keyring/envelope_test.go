package keyring

import (
	"bytes"
	"crypto/ed25519"
	"encoding/binary"
	"encoding/hex"
	"hash/crc32"
	"reflect"
	"testing"
	"time"

	"kimberlite/internal/fault"
)

// plainEnvelope returns an envelope of n DEKs with recognisable bytes.
func plainEnvelope(n int) Envelope {
	e := Envelope{KEK: gen(3)}
	for i := range n {
		e.DEKs = append(e.DEKs, WrappedDEK{
			Generation: gen(uint32(i + 1)), Created: epoch.Add(time.Duration(i) * time.Hour),
			Wrapped: bytes.Repeat([]byte{byte(i + 1)}, wrappedSize),
		})
	}
	e.Signing = WrappedSigningKey{Public: bytes.Repeat([]byte{0xbb}, 32), Wrapped: bytes.Repeat([]byte{0xcc}, wrappedSize)}
	return e
}

func TestEnvelopeRoundTrip(t *testing.T) {
	for _, n := range []int{1, 2, 40, MaxDEKs} {
		e := plainEnvelope(n)
		b := e.Encode()
		if len(b) != 180+72*(n-1) {
			t.Errorf("%d DEKs take %d bytes", n, len(b))
		}
		got, err := DecodeEnvelope(b)
		if err != nil || !reflect.DeepEqual(got, e) {
			t.Fatalf("%d DEKs: %v", n, err)
		}
		clear(b)
		if !reflect.DeepEqual(got, e) {
			t.Error("the decoded envelope shares memory with the bytes")
		}
	}
	if got := plainEnvelope(2).Current().Generation; got != gen(2) {
		t.Errorf("current DEK %v", got)
	}
}

// goldenEnvelope is the start of plainEnvelope(1) in format 1, up to the
// wrapped DEK, and its checksum.
const (
	goldenEnvelopeHead = "4b4c455601000001000000030000000118"
	goldenEnvelopeSum  = "44048952"
)

func TestEnvelopeOfFormat1IsReadForEver(t *testing.T) {
	b := plainEnvelope(1).Encode()
	if got := hex.EncodeToString(b[:17]); got != goldenEnvelopeHead {
		t.Errorf("head %s", got)
	}
	if got := hex.EncodeToString(b[len(b)-4:]); got != goldenEnvelopeSum {
		t.Errorf("checksum %s", got)
	}
}

func TestEveryFlippedOrMissingByteOfAnEnvelopeIsDamage(t *testing.T) {
	b := plainEnvelope(2).Encode()
	for i := range b {
		for bit := range 8 {
			bad := bytes.Clone(b)
			bad[i] ^= 1 << bit
			_, err := DecodeEnvelope(bad)
			wantKind(t, err, fault.Corruption)
		}
		_, err := DecodeEnvelope(b[:i])
		wantKind(t, err, fault.Corruption)
	}
	_, err := DecodeEnvelope(append(b, 0))
	wantKind(t, err, fault.Corruption)
}

// resum makes the checksum of an envelope right.
func resum(b []byte) []byte {
	b = bytes.Clone(b)
	binary.BigEndian.PutUint32(b[len(b)-4:], crc32.Checksum(b[:len(b)-4], castagnoli))
	return b
}

func TestEnvelopeWithASoundSumAndFoolishContentIsRefused(t *testing.T) {
	whole := plainEnvelope(2).Encode()
	for name, spoil := range map[string]func(b []byte){
		"no DEK":          func(b []byte) { b[7] = 0 },
		"more than there": func(b []byte) { b[7] = 3 },
		"reserved":        func(b []byte) { b[5] = 1 },
		"KEK 0":           func(b []byte) { b[11] = 0 },
		"DEK 0":           func(b []byte) { b[15] = 0 },
		"DEKs swapped":    func(b []byte) { b[15] = 9 },
		"DEKs equal":      func(b []byte) { b[15] = 2 },
	} {
		b := bytes.Clone(whole)
		spoil(b)
		if _, err := DecodeEnvelope(resum(b)); !fault.Is(err, fault.Corruption) {
			t.Errorf("%s: %v", name, err)
		}
	}
	b := bytes.Clone(whole)
	b[4] = 2
	_, err := DecodeEnvelope(resum(b))
	wantKind(t, err, fault.Incompatible)
}

func TestEncodeRefusesWhatIsNoEnvelope(t *testing.T) {
	for name, spoil := range map[string]func(e *Envelope){
		"no DEK":     func(e *Envelope) { e.DEKs = nil },
		"too many":   func(e *Envelope) { *e = plainEnvelope(MaxDEKs + 1) },
		"no KEK":     func(e *Envelope) { e.KEK = gen(0) },
		"order":      func(e *Envelope) { e.DEKs[0].Generation = gen(9) },
		"short DEK":  func(e *Envelope) { e.DEKs[1].Wrapped = e.DEKs[1].Wrapped[1:] },
		"year 1":     func(e *Envelope) { e.DEKs[1].Created = time.Time{} },
		"no public":  func(e *Envelope) { e.Signing.Public = nil },
		"no private": func(e *Envelope) { e.Signing.Wrapped = nil },
	} {
		e := plainEnvelope(2)
		spoil(&e)
		wantKind(t, e.Validate(), fault.Invalid)
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: encoded", name)
				}
			}()
			e.Encode()
		}()
	}
}

func TestOnlyASuccessorReplacesAnEnvelope(t *testing.T) {
	prev := plainEnvelope(2)
	rekeyed := func(e Envelope, kek uint32) Envelope {
		e.KEK = gen(kek)
		e.DEKs = append([]WrappedDEK(nil), e.DEKs...)
		for i := range e.DEKs {
			e.DEKs[i].Wrapped = bytes.Repeat([]byte{0x77}, wrappedSize)
		}
		e.Signing.Wrapped = bytes.Repeat([]byte{0x78}, wrappedSize)
		return e
	}
	tests := []struct {
		name string
		next Envelope
		ok   bool
	}{
		{"one DEK more", plainEnvelope(3), true},
		{"two DEKs more", plainEnvelope(4), true},
		{"another KEK", rekeyed(prev, 4), true},
		{"a later KEK", rekeyed(prev, 6), true},
		{"another KEK and a DEK more", rekeyed(plainEnvelope(3), 4), true},
		{"the same", prev, false},
		{"a DEK less", plainEnvelope(1), false},
		{"an older KEK", rekeyed(prev, 2), false},
		{"another KEK, a DEK less", rekeyed(plainEnvelope(1), 4), false},
		{"no envelope", Envelope{}, false},
		{"the same KEK, other wraps", rekeyed(plainEnvelope(3), 3), false},
	}
	other := plainEnvelope(3)
	other.DEKs[1].Wrapped = bytes.Repeat([]byte{0x55}, wrappedSize)
	tests = append(tests, struct {
		name string
		next Envelope
		ok   bool
	}{"another DEK of the same generation", other, false})
	resigned := plainEnvelope(3)
	resigned.Signing.Public = make(ed25519.PublicKey, 32)
	redated := rekeyed(prev, 4)
	redated.DEKs[0].Created = epoch.Add(1)
	for name, next := range map[string]Envelope{"another signing key": resigned, "another date": redated} {
		tests = append(tests, struct {
			name string
			next Envelope
			ok   bool
		}{name, next, false})
	}
	for _, test := range tests {
		err := CheckSuccessor(prev, test.next)
		if test.ok != (err == nil) {
			t.Errorf("%s: %v", test.name, err)
		}
		if err != nil && !fault.Is(err, fault.Conflict) && test.name != "no envelope" {
			t.Errorf("%s: kind of %v", test.name, err)
		}
	}
}

func FuzzEnvelope(f *testing.F) {
	f.Add(plainEnvelope(1).Encode())
	f.Add(plainEnvelope(3).Encode())
	f.Add([]byte("KLEV"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) >= 4 {
			b = resum(b)
		}
		e, err := DecodeEnvelope(b)
		if err == nil && !bytes.Equal(e.Encode(), b) {
			t.Fatal("two encodings of one envelope")
		}
	})
}
