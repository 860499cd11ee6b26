package server

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"

	"kimberlite/internal/clock"
	"kimberlite/internal/fault"
)

// Names of the development certificate's files.
const (
	devCA   = "ca.pem"
	devCert = "server.pem"
	devKey  = "server.key"
)

const (
	// devValid is how long a development certificate is valid, and devRenew
	// how long before its end it is made anew.
	devValid = 365 * 24 * time.Hour
	devRenew = 30 * 24 * time.Hour
)

// ensureDevCertificate makes a certificate for this machine's loopback names in
// dir, and a certificate authority that vouches for it, unless those that are
// there will do for a while. The authority's key is thrown away at once: it
// signs one certificate, so that whoever trusts ca.pem trusts nothing else.
func ensureDevCertificate(dir string, c clock.Clock) error {
	if devCertificateServes(dir, c.Now()) {
		return nil
	}
	ca, cert, key, err := newDevCertificate(c.Now())
	if err != nil {
		return fault.Wrap("dev", fault.Internal, err, "cannot make a certificate")
	}
	// The key first: an interrupted making leaves a pair that does not match,
	// which is made anew.
	for _, f := range []struct {
		name string
		mode os.FileMode
		text []byte
	}{{devKey, 0o600, key}, {devCert, 0o644, cert}, {devCA, 0o644, ca}} {
		if err := writeFile(filepath.Join(dir, f.name), f.text, f.mode); err != nil {
			return err
		}
	}
	return nil
}

// devCertificateServes says whether what is in dir can be used.
func devCertificateServes(dir string, now time.Time) bool {
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, devCert), filepath.Join(dir, devKey))
	if err != nil {
		return false
	}
	ca, err := os.ReadFile(filepath.Join(dir, devCA))
	if err != nil {
		return false
	}
	leaf, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		return false
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	for _, name := range []string{"localhost", "127.0.0.1", "::1"} {
		_, err = leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: name, CurrentTime: now.Add(devRenew)})
		if err != nil {
			return false
		}
	}
	return true
}

// newDevCertificate returns an authority's certificate, one for loopback that
// it has signed, and the latter's key, in PEM form.
func newDevCertificate(now time.Time) (ca, cert, key []byte, err error) {
	authority := &x509.Certificate{
		Subject:   pkix.Name{CommonName: "kimberlite dev CA"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(devValid),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true, KeyUsage: x509.KeyUsageCertSign,
		// Whoever trusts it trusts it for this machine alone.
		PermittedDNSDomainsCritical: true, PermittedDNSDomains: []string{"localhost"},
		PermittedIPRanges: []*net.IPNet{
			{IP: net.IPv4(127, 0, 0, 0).To4(), Mask: net.CIDRMask(8, 32)}, {IP: net.IPv6loopback, Mask: net.CIDRMask(128, 128)},
		},
	}
	leaf := &x509.Certificate{
		Subject:   pkix.Name{CommonName: "localhost"},
		NotBefore: authority.NotBefore, NotAfter: authority.NotAfter,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, BasicConstraintsValid: true,
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1).To4(), net.IPv6loopback},
	}
	var keys [2]*ecdsa.PrivateKey
	for i, c := range []*x509.Certificate{authority, leaf} {
		if keys[i], err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
			return nil, nil, nil, err
		}
		if c.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120)); err != nil {
			return nil, nil, nil, err
		}
	}
	caDER, err := x509.CreateCertificate(rand.Reader, authority, authority, keys[0].Public(), keys[0])
	if err != nil {
		return nil, nil, nil, err
	}
	certDER, err := x509.CreateCertificate(rand.Reader, leaf, authority, keys[1].Public(), keys[0])
	if err != nil {
		return nil, nil, nil, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(keys[1])
	if err != nil {
		return nil, nil, nil, err
	}
	encode := func(kind string, der []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}) }
	return encode("CERTIFICATE", caDER), encode("CERTIFICATE", certDER), encode("PRIVATE KEY", keyDER), nil
}

// writeFile puts a file in the place of what has its name, whole or not at all.
func writeFile(path string, text []byte, mode os.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*") // 0600
	if err != nil {
		return fault.Wrap("dev", fault.Unavailable, err, "cannot write %s", path)
	}
	_, err = f.Write(text)
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fault.Wrap("dev", fault.Unavailable, errors.Join(err, os.Remove(f.Name())), "cannot write %s", path)
	}
	return nil
}
