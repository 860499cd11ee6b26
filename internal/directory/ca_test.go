package directory

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"testing"
	"time"

	"kimberlite/internal/fault"
)

func certificate(t *testing.T, authority bool) (cert, key []byte) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotBefore: time.Unix(0, 0),
		NotAfter: time.Unix(1<<33, 0), IsCA: authority, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})
}

func testCA(t *testing.T) []byte {
	cert, _ := certificate(t, true)
	return cert
}

func TestTheDirectoryTakesCertificatesAndNoKey(t *testing.T) {
	t.Parallel()
	ca, key := certificate(t, true)
	leaf, _ := certificate(t, false)
	for name, tt := range map[string]struct {
		pem  []byte
		want bool
	}{
		"an authority":          {ca, true},
		"two authorities":       {append(testCA(t), ca...), true},
		"nothing":               {nil, false},
		"a key":                 {key, false},
		"a key behind":          {append(bytes.Clone(ca), key...), false},
		"a key before":          {append(bytes.Clone(key), ca...), false},
		"a node's certificate":  {leaf, false},
		"no PEM":                {[]byte("hello"), false},
		"something behind":      {append(bytes.Clone(ca), "hello"...), false},
		"more than may be":      {bytes.Repeat(ca, maxCABytes/len(ca)+1), false},
		"something before":      {append([]byte("-----BEGIN PRIVATE KEY-----\n"), ca...), false},
		"a certificate's block": {pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("no")}), false},
	} {
		err := SetCA{PEM: tt.pem}.validate()
		if (err == nil) != tt.want {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil && !fault.Is(err, fault.Invalid) && !fault.Is(err, fault.TooLarge) {
			t.Errorf("%s: kind %s", name, err.Kind)
		}
	}
}
