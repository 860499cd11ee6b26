package credential

import (
	"bytes"
	"crypto/rand"
	"fmt"
	mathrand "math/rand/v2"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
)

var (
	start = time.Unix(1_800_000_000, 0).UTC()
	seven = ident.MustTenantID(7)
)

func made(t testing.TB, role Role) (*Record, string) {
	t.Helper()
	tenant := seven
	if role == 0 {
		tenant = ident.TenantID{}
	}
	secret, err := NewSecret(tenant, 3, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	r := &Record{ID: 3, Name: "app", Role: role, Created: start, Expires: start.Add(time.Hour)}
	if err := r.SetSecret(secret, rand.Reader); err != nil {
		t.Fatal(err)
	}
	return r, secret
}

func TestASecretIsOneOfItsKind(t *testing.T) {
	seen := map[string]bool{}
	for range 1000 {
		s, err := NewSecret(seven, 3, rand.Reader)
		if err != nil || seen[s] || len(s) != len("kmb_7_3_")+secretDigits {
			t.Fatal(s, err)
		}
		seen[s] = true
		token, err := ParseToken(s)
		if err != nil || token.Tenant != seven || token.ID != 3 || token.Operator() {
			t.Fatal(token, err)
		}
		if shown := fmt.Sprintf("%v %+v %#v %s", token, token, token, token); strings.Contains(shown, s[8:]) {
			t.Fatal("a token shows its secret when it is printed")
		}
	}
	for raw, want := range map[byte]string{0: strings.Repeat("0", secretDigits), 1: strings.Repeat("0", secretDigits-1) + "1"} {
		if got := digits(append(make([]byte, secretBytes-1), raw)); got != want {
			t.Errorf("%d: %s", raw, got)
		}
	}
	if got := digits(bytes.Repeat([]byte{0xff}, secretBytes)); len(got) != secretDigits {
		t.Errorf("the largest secret does not fit: %s", got)
	}
	if _, err := NewSecret(seven, 1, strings.NewReader("short")); !fault.Is(err, fault.Unavailable) {
		t.Errorf("too few random bytes: %v", err)
	}
}

func TestWhatIsStoredChecksTheSecretAndDoesNotHoldIt(t *testing.T) {
	for _, role := range []Role{0, Owner, Writer, Reader, Auditor} {
		r, secret := made(t, role)
		encoded, err := r.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if digits := secret[strings.LastIndex(secret, "_")+1:]; bytes.Contains(encoded, []byte(digits)) {
			t.Fatal("the secret is stored")
		}
		back, err := Decode(encoded)
		if err != nil || !reflect.DeepEqual(back, r) {
			t.Fatalf("%+v, want %+v: %v", back, r, err)
		}
		token, _ := ParseToken(secret)
		if !back.Matches(token) {
			t.Error("the secret is refused")
		}
		for i := range secret {
			b := []byte(secret)
			b[i] ^= 1
			if wrong, err := ParseToken(string(b)); err == nil && back.Matches(wrong) {
				t.Errorf("another secret is accepted: byte %d", i)
			}
		}
	}
}

func TestARecordEndsInTheInstantItNames(t *testing.T) {
	r, _ := made(t, Owner)
	for at, want := range map[time.Duration]State{0: Active, time.Hour - 1: Active, time.Hour: Expired, 2 * time.Hour: Expired} {
		if got := r.State(start.Add(at)); got != want {
			t.Errorf("after %s: %s", at, got)
		}
	}
	r.Revoked = start
	if r.State(start) != Revoked {
		t.Error("revoked and usable")
	}
}

func TestMalformedRecordsAreRefused(t *testing.T) {
	r, _ := made(t, Owner)
	good, err := r.Encode()
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		text string
		kind fault.Kind
	}{
		"empty":         {"", fault.Corruption},
		"cut":           {string(good[:len(good)-1]), fault.Corruption},
		"more":          {string(good) + "{}", fault.Corruption},
		"unknown field": {strings.Replace(string(good), `"id"`, `"admin":true,"id"`, 1), fault.Corruption},
		"newer":         {strings.Replace(string(good), `"v":1`, `"v":2`, 1), fault.Incompatible},
		"unknown role":  {strings.Replace(string(good), `"owner"`, `"god"`, 1), fault.Incompatible},
		"no id":         {strings.Replace(string(good), `"id":3`, `"id":0`, 1), fault.Corruption},
		"bad name":      {strings.Replace(string(good), `"app"`, `"a@b"`, 1), fault.Corruption},
		"few rounds":    {strings.Replace(string(good), `4096`, `1`, 1), fault.Corruption},
		"many rounds":   {strings.Replace(string(good), `4096`, `99999999`, 1), fault.Corruption},
		"huge":          {strings.Repeat(" ", maxRecord) + string(good), fault.Corruption},
	} {
		if _, err := Decode([]byte(c.text)); !fault.Is(err, c.kind) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestNamesThatAUserNameCannotCarryAreRefused(t *testing.T) {
	for _, good := range []string{"a", "app", "App-1", "0", "a.b_c-d", strings.Repeat("x", MaxName)} {
		if err := CheckName(good); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{"", "-a", ".a", "_a", "a@b", "a b", "a\x00", "ä", "a,b", "a=b", "a/b", "a'", strings.Repeat("x", MaxName+1)} {
		if err := CheckName(bad); !fault.Is(err, fault.Invalid) || bad != "" && strings.Contains(err.Error(), "\""+bad) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// slowThrottle is Throttle without cleverness: a list of all failures.
type slowThrottle struct {
	limits ThrottleLimits
	log    []slowEntry // in the order of their last failure
}

type slowEntry struct {
	key      throttleKey
	failures int
	last     time.Time
}

func (s *slowThrottle) find(k throttleKey) int {
	for i := range s.log {
		if s.log[i].key == k {
			return i
		}
	}
	return -1
}

func (s *slowThrottle) blocked(now time.Time, k throttleKey, free int) bool {
	i := s.find(k)
	if i < 0 || s.log[i].failures <= free {
		return false
	}
	d := s.limits.Delay
	for range s.log[i].failures - free - 1 {
		if d = 2 * d; d > s.limits.MaxDelay {
			d = s.limits.MaxDelay
		}
	}
	return now.Sub(s.log[i].last) < min(d, s.limits.MaxDelay)
}

func (s *slowThrottle) fail(now time.Time, k throttleKey) {
	e := slowEntry{key: k}
	if i := s.find(k); i >= 0 {
		e = s.log[i]
		s.log = append(s.log[:i:i], s.log[i+1:]...)
	} else if len(s.log) == s.limits.MaxEntries {
		s.log = s.log[1:]
	}
	if now.Sub(e.last) > s.limits.Forget {
		e.failures = 0
	}
	e.failures, e.last = e.failures+1, now
	s.log = append(s.log, e)
}

func TestThrottleAgreesWithItsNaiveTwin(t *testing.T) {
	for seed := range uint64(50) {
		random := mathrand.New(mathrand.NewPCG(seed, 1))
		limits := ThrottleLimits{FreePair: 2, FreeAddress: 5, Delay: time.Second, MaxDelay: 20 * time.Second, Forget: time.Minute, MaxEntries: 12}
		fast, slow := NewThrottle(limits), &slowThrottle{limits: limits}
		now := start
		for step := range 2000 {
			now = now.Add(time.Duration(random.IntN(3000)) * time.Millisecond)
			if random.IntN(200) == 0 {
				now = now.Add(2 * time.Minute)
			}
			tenant := string(rune('a' + random.IntN(3)))
			address := netip.AddrFrom4([4]byte{192, 0, 2, byte(random.IntN(6))})
			pair, alone := keys(tenant, address)
			want := slow.blocked(now, pair, limits.FreePair) || slow.blocked(now, alone, limits.FreeAddress)
			if got := fast.Blocked(now, tenant, address); got != want {
				t.Fatalf("seed %d, step %d: blocked %v, want %v", seed, step, got, want)
			}
			switch {
			case want:
			case random.IntN(10) == 0:
				fast.Succeeded(tenant, address)
				if i := slow.find(pair); i >= 0 {
					slow.log = append(slow.log[:i:i], slow.log[i+1:]...)
				}
			default:
				fast.Failed(now, tenant, address)
				slow.fail(now, pair)
				slow.fail(now, alone)
			}
			if fast.Len() != len(slow.log) || fast.Len() > limits.MaxEntries {
				t.Fatalf("seed %d, step %d: %d memories, want %d", seed, step, fast.Len(), len(slow.log))
			}
		}
	}
}

func TestOneCustomersIPv6AddressesCountAsOne(t *testing.T) {
	th := NewThrottle(ThrottleLimits{FreePair: 3, FreeAddress: 3, Delay: time.Second, MaxDelay: time.Minute, Forget: time.Minute, MaxEntries: 100})
	for i := range 5 {
		th.Failed(start, "1", netip.MustParseAddr(fmt.Sprintf("2001:db8::%x", i+1)))
	}
	if !th.Blocked(start, "1", netip.MustParseAddr("2001:db8::ffff")) {
		t.Error("another address of the same network is free")
	}
	if th.Blocked(start, "1", netip.MustParseAddr("2001:db8:0:1::1")) {
		t.Error("another network is blocked")
	}
	if !th.Blocked(start, "2", netip.MustParseAddr("2001:db8::1")) {
		t.Error("the address is free at another tenant")
	}
}

func FuzzDecode(f *testing.F) {
	for _, role := range []Role{0, Owner, Auditor} {
		r, _ := made(f, role)
		b, _ := r.Encode()
		f.Add(b)
	}
	f.Add([]byte(`{"v":1}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := Decode(b)
		if err != nil {
			return
		}
		again, err := r.Encode()
		if err != nil {
			t.Fatal(err)
		}
		back, err := Decode(again)
		if err != nil || !reflect.DeepEqual(r, back) {
			t.Fatalf("%+v became %+v: %v", r, back, err)
		}
	})
}

func FuzzParseToken(f *testing.F) {
	_, secret := made(f, Owner)
	for _, s := range []string{secret, "kmb_op_1_" + strings.Repeat("0", secretDigits), "kmb_0_1_", "", "kmb____"} {
		f.Add(s)
	}
	r, _ := made(f, Owner)
	f.Fuzz(func(t *testing.T, s string) {
		token, err := ParseToken(s)
		if err == nil && r.Matches(token) {
			t.Fatal("a guess is right")
		}
		if err != nil && s != "" && len(s) > 3 && strings.Contains(err.Error(), s) {
			t.Fatal("the error repeats the token")
		}
	})
}

func FuzzConversation(f *testing.F) {
	f.Add("n,,n=,r=abcdefgh", "c=biws,r=abcdefgh,p=AAAA", true)
	f.Add("y,,n=,r=", "", false)
	f.Add("p=tls-server-end-point,,n=a=2Cb,r=x", "c=,r=,p=", true)
	r, _ := made(f, Owner)
	f.Fuzz(func(t *testing.T, first, second string, bound bool) {
		var binding []byte
		mechanism := SCRAM
		if bound {
			binding, mechanism = bytes.Repeat([]byte{1}, 32), SCRAMPlus
		}
		c, err := NewConversation(r.Verifier, mechanism, binding, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range []string{first, second, second} {
			_, ok, err := c.Step([]byte(m))
			if ok {
				t.Fatal("nothing was proven")
			}
			if err != nil && !fault.Is(err, fault.Unauthenticated) {
				t.Fatal(err)
			}
		}
	})
}

func TestFakeVerifiersAreStableAndLookReal(t *testing.T) {
	key := bytes.Repeat([]byte{7}, 32)
	a, b := FakeVerifier(key, "nobody@1"), FakeVerifier(key, "nobody@1")
	if !reflect.DeepEqual(a, b) || !a.valid() {
		t.Fatal("not stable, or not like a real one")
	}
	if c := FakeVerifier(key, "nobody@2"); bytes.Equal(a.Salt, c.Salt) {
		t.Fatal("users share a salt")
	}
	if c := FakeVerifier(bytes.Repeat([]byte{8}, 32), "nobody@1"); bytes.Equal(a.Salt, c.Salt) {
		t.Fatal("nodes share salts")
	}
}
