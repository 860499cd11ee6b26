package pki

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
)

var (
	start = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	east  = region("us-east")
	one   = Identity{Deployment: "d1", Node: ident.NewNodeID(1), Region: east}
)

func region(name string) ident.Region {
	r, err := ident.NewRegion(name)
	if err != nil {
		panic(err)
	}
	return r
}

func authority(t testing.TB, deployment string, valid time.Duration) *Authority {
	t.Helper()
	a, err := NewAuthority(deployment, start, valid)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// chain returns the certificates that a signs for id, parsed, and their key.
func chain(t testing.TB, a *Authority, id Identity, now time.Time, valid time.Duration) []*x509.Certificate {
	t.Helper()
	key, request, err := NewRequest()
	if err != nil {
		t.Fatal(err)
	}
	text, err := a.Sign(request, id, now, valid)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Pair(text, key); err != nil {
		t.Fatal(err)
	}
	certs, err := parseCertificates("test", text)
	if err != nil {
		t.Fatal(err)
	}
	return certs
}

func bundle(t testing.TB, as ...*Authority) *Bundle {
	t.Helper()
	var text []byte
	for _, a := range as {
		text = append(text, a.CertificatePEM()...)
	}
	b, err := ParseBundle(text)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestCertificateProvesTheNodeThatWasSigned(t *testing.T) {
	a := authority(t, "d1", AuthorityValid)
	certs := chain(t, a, one, start, NodeValid)
	got, err := bundle(t, a).Verify(certs, start)
	if err != nil || got != one {
		t.Fatalf("got %v, %v", got, err)
	}
	if len(certs) != 2 || FingerprintOf(certs[1]) != a.Fingerprint() {
		t.Fatal("the chain does not end in the authority, which joiners pin")
	}
	if got := certs[0].URIs[0].String(); got != "kimberlite://d1/node/1?region=us-east" {
		t.Fatalf("its name is %s", got)
	}
}

func TestCertificatesThatAreNotBelieved(t *testing.T) {
	a, other, foreign := authority(t, "d1", AuthorityValid), authority(t, "d1", AuthorityValid), authority(t, "d2", AuthorityValid)
	b := bundle(t, a)
	good := chain(t, a, one, start, NodeValid)
	// sign makes a leaf that Authority.Sign would not.
	sign := func(change func(*x509.Certificate)) []*x509.Certificate {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		template := &x509.Certificate{
			SerialNumber: big.NewInt(7), NotBefore: start, NotAfter: start.Add(NodeValid), BasicConstraintsValid: true,
			KeyUsage:    x509.KeyUsageDigitalSignature,
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}, URIs: []*url.URL{one.URI()},
		}
		change(template)
		der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
		if err != nil {
			t.Fatal(err)
		}
		c, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		return []*x509.Certificate{c, a.cert}
	}
	if _, err := b.Verify(sign(func(*x509.Certificate) {}), start); err != nil {
		t.Fatalf("the unchanged one is refused too: %v", err)
	}
	hosts := sign(func(c *x509.Certificate) { c.DNSNames = []string{"db.example.com"} })
	if id, err := b.Verify(hosts, start); err != nil || id != one {
		t.Fatalf("one with a host's name, for clients: %v, %v", id, err)
	}
	parse := func(s string) *url.URL {
		u, err := url.Parse(s)
		if err != nil {
			t.Fatal(err)
		}
		return u
	}
	for _, c := range []struct {
		name  string
		chain []*x509.Certificate
		at    time.Time
	}{
		{"none", nil, start},
		{"another authority of the same name", chain(t, other, one, start, NodeValid), start},
		{"another deployment's", chain(t, foreign, Identity{"d2", one.Node, east}, start, NodeValid), start},
		{"expired", good, start.Add(NodeValid + time.Second)},
		{"not in force yet", good, start.Add(-time.Hour)},
		{"the authority itself", []*x509.Certificate{a.cert}, start},
		{"signed for another deployment by this one's authority", sign(func(c *x509.Certificate) { c.URIs = []*url.URL{parse("kimberlite://d2/node/1?region=us-east")} }), start},
		{"for a server only", sign(func(c *x509.Certificate) { c.ExtKeyUsage = c.ExtKeyUsage[:1] }), start},
		{"for a client only", sign(func(c *x509.Certificate) { c.ExtKeyUsage = c.ExtKeyUsage[1:] }), start},
		{"no name", sign(func(c *x509.Certificate) { c.URIs = nil }), start},
		{"two names", sign(func(c *x509.Certificate) {
			c.URIs = append(c.URIs, parse("kimberlite://d1/node/2?region=us-east"))
		}), start},
		{"an address for mail beside it", sign(func(c *x509.Certificate) { c.EmailAddresses = []string{"a@example.com"} }), start},
		{"node 0", sign(func(c *x509.Certificate) { c.URIs = []*url.URL{parse("kimberlite://d1/node/0?region=us-east")} }), start},
		{"no region", sign(func(c *x509.Certificate) { c.URIs = []*url.URL{parse("kimberlite://d1/node/1")} }), start},
		{"two regions", sign(func(c *x509.Certificate) {
			c.URIs = []*url.URL{parse("kimberlite://d1/node/1?region=us-east&region=eu-west")}
		}), start},
		{"another path", sign(func(c *x509.Certificate) { c.URIs = []*url.URL{parse("kimberlite://d1/operator/1?region=us-east")} }), start},
		{"another scheme", sign(func(c *x509.Certificate) { c.URIs = []*url.URL{parse("spiffe://d1/node/1?region=us-east")} }), start},
		{"a number written otherwise", sign(func(c *x509.Certificate) { c.URIs = []*url.URL{parse("kimberlite://d1/node/01?region=us-east")} }), start},
		{"an authority of its own", sign(func(c *x509.Certificate) { c.IsCA = true; c.KeyUsage |= x509.KeyUsageCertSign }), start},
	} {
		t.Run(c.name, func(t *testing.T) {
			if id, err := b.Verify(c.chain, c.at); !fault.Is(err, fault.Unauthenticated) {
				t.Fatalf("believed as %v, or failed otherwise: %v", id, err)
			}
		})
	}
	if _, err := Verify(nil, good, start); !fault.Is(err, fault.Unauthenticated) {
		t.Fatalf("without authorities, the system's are believed: %v", err)
	}
}

func TestSignRefusesWhatItMustNotSign(t *testing.T) {
	a := authority(t, "d1", 24*time.Hour)
	_, request, err := NewRequest()
	if err != nil {
		t.Fatal(err)
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	rsaDER, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, rsaKey)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(request)
	tampered := bytes.Clone(block.Bytes)
	tampered[len(tampered)-1] ^= 1
	for _, c := range []struct {
		name    string
		request []byte
		id      Identity
		now     time.Time
		kind    fault.Kind
	}{
		{"another deployment", request, Identity{"d2", one.Node, east}, start, fault.Denied},
		{"no node", request, Identity{"d1", ident.NodeID{}, east}, start, fault.Invalid},
		{"no region", request, Identity{"d1", one.Node, ident.Region{}}, start, fault.Invalid},
		{"a bad deployment", request, Identity{"D 1", one.Node, east}, start, fault.Invalid},
		{"no request", nil, one, start, fault.Invalid},
		{"a certificate instead", a.CertificatePEM(), one, start, fault.Invalid},
		{"rubbish behind it", append(bytes.Clone(request), "x"...), one, start, fault.Invalid},
		{"an RSA key", encode(blockRequest, rsaDER), one, start, fault.Invalid},
		{"possession not proven", encode(blockRequest, tampered), one, start, fault.Invalid},
		{"much too long", bytes.Repeat([]byte("x"), maxPEM+1), one, start, fault.Invalid},
		{"after the authority's end", request, one, start.Add(25 * time.Hour), fault.Invalid},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := a.Sign(c.request, c.id, c.now, time.Hour); !fault.Is(err, c.kind) {
				t.Fatalf("got %v, want %v", err, c.kind)
			}
		})
	}
	if end := chain(t, a, one, start, NodeValid)[0].NotAfter; end.After(a.NotAfter()) {
		t.Fatalf("a certificate outlives its authority: %v", end)
	}
}

func TestAuthorityComesBackFromItsFiles(t *testing.T) {
	a, other := authority(t, "d1", AuthorityValid), authority(t, "d1", AuthorityValid)
	key, err := a.KeyPEM()
	if err != nil {
		t.Fatal(err)
	}
	again, err := OpenAuthority(a.CertificatePEM(), key)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bundle(t, a).Verify(chain(t, again, one, start, NodeValid), start); err != nil {
		t.Fatal(err)
	}
	if again.Deployment() != "d1" || again.Fingerprint() != a.Fingerprint() {
		t.Fatal("it is another one")
	}
	nodeChain := chain(t, a, one, start, NodeValid)
	for name, c := range map[string]struct {
		cert, key []byte
		kind      fault.Kind
	}{
		"another's key":        {other.CertificatePEM(), key, fault.KeyInvalid},
		"a node's certificate": {encode(blockCertificate, nodeChain[0].Raw), key, fault.Invalid},
		"two certificates":     {append(a.CertificatePEM(), other.CertificatePEM()...), key, fault.Invalid},
		"no key":               {a.CertificatePEM(), nil, fault.KeyInvalid},
		"no certificate":       {nil, key, fault.Invalid},
	} {
		if _, err := OpenAuthority(c.cert, c.key); !fault.Is(err, c.kind) {
			t.Errorf("%s: got %v, want %v", name, err, c.kind)
		} else if strings.Contains(err.Error(), string(key[40:60])) {
			t.Errorf("%s: the error quotes the key", name)
		}
	}
	if _, err := Pair(encode(blockCertificate, nodeChain[0].Raw), key); !fault.Is(err, fault.KeyInvalid) {
		t.Fatalf("a pair of a certificate and another's key: %v", err)
	}
}

func TestBundleChangesOneAuthorityForTheNext(t *testing.T) {
	old, next := authority(t, "d1", AuthorityValid), authority(t, "d1", AuthorityValid)
	byOld, byNext := chain(t, old, one, start, NodeValid), chain(t, next, one, start, NodeValid)
	believes := func(b *Bundle, certs []*x509.Certificate) bool {
		_, err := b.Verify(certs, start)
		return err == nil
	}
	b := bundle(t, old)
	if !believes(b, byOld) || believes(b, byNext) {
		t.Fatal("before: not the old one alone")
	}
	both, err := b.With(next.CertificatePEM())
	if err != nil || !believes(both, byOld) || !believes(both, byNext) {
		t.Fatalf("between: not both (%v)", err)
	}
	if again, err := both.With(next.CertificatePEM()); err != nil || len(again.Fingerprints()) != 2 {
		t.Fatalf("added twice it counts twice (%v)", err)
	}
	after, err := both.Without(old.Fingerprint())
	if err != nil || believes(after, byOld) || !believes(after, byNext) || after.Has(old.Fingerprint()) {
		t.Fatalf("after: not the new one alone (%v)", err)
	}
	if _, err := after.Without(next.Fingerprint()); !fault.Is(err, fault.Invalid) {
		t.Fatalf("the last one was taken away: %v", err)
	}
	if _, err := b.With(authority(t, "d2", AuthorityValid).CertificatePEM()); !fault.Is(err, fault.Invalid) {
		t.Fatalf("another deployment's was added: %v", err)
	}
	if f, err := ParseFingerprint(next.Fingerprint().String()); err != nil || f != next.Fingerprint() {
		t.Fatalf("a fingerprint does not come back: %v", err)
	}
	if _, err := ParseFingerprint("abcd"); !fault.Is(err, fault.Invalid) {
		t.Fatalf("half a fingerprint: %v", err)
	}
}

func TestRenewalIsDueInTheLastThird(t *testing.T) {
	c := chain(t, authority(t, "d1", AuthorityValid), one, start, 90*24*time.Hour)[0]
	if Due(c, start.Add(59*24*time.Hour)) || !Due(c, start.Add(61*24*time.Hour)) {
		t.Fatal("not in the last third")
	}
}

func TestCertificatesWorkInFIPSOnlyMode(t *testing.T) {
	const mark = "KIMBERLITE_TEST_FIPS_CHILD"
	if os.Getenv(mark) != "" {
		t.Skip("this is the child")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	child := exec.CommandContext(t.Context(), self, "-test.v", "-test.run",
		"^(TestCertificateProvesTheNodeThatWasSigned|TestAuthorityComesBackFromItsFiles|TestBundleChangesOneAuthorityForTheNext)$")
	child.Env = append(os.Environ(), "GODEBUG=fips140=only", mark+"=1")
	out, err := child.CombinedOutput()
	if err != nil || strings.Count(string(out), "--- PASS") != 3 {
		t.Fatalf("%v\n%s", err, out)
	}
}

func FuzzParse(f *testing.F) {
	a := authority(f, "d1", AuthorityValid)
	key, request, err := NewRequest()
	if err != nil {
		f.Fatal(err)
	}
	text, err := a.Sign(request, one, start, NodeValid)
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range [][]byte{a.CertificatePEM(), key, request, text, nil, []byte("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n")} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		_, _ = Pair(text, key)
		_, _ = a.Sign(text, one, start, NodeValid)
		if b, err := ParseBundle(text); err == nil {
			if again, err := ParseBundle(b.PEM()); err != nil || len(again.certs) != len(b.certs) {
				t.Fatalf("a bundle does not come back: %v", err)
			}
		}
	})
}

func FuzzParseURI(f *testing.F) {
	f.Add(one.URI().String())
	f.Add("kimberlite://d1/node/18446744073709551616?region=x")
	f.Add("kimberlite://a@d1:7/node/1?region=us-east#x")
	f.Fuzz(func(t *testing.T, s string) {
		u, err := url.Parse(s)
		if err != nil {
			return
		}
		if id, err := ParseURI(u); err == nil && id.URI().String() != u.String() {
			t.Fatalf("%q is read as %v, which is written %q", s, id, id.URI())
		}
	})
}
