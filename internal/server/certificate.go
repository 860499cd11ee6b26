package server

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"os"
	"sync"
	"time"

	"kimberlite/internal/clock"
	"kimberlite/internal/fault"
)

// suites are what TLS 1.2 may use: forward secrecy and AES-GCM. (TLS 1.3 has
// a choice of its own, all of them good.)
var suites = []uint16{
	tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
	tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
}

// certificate is a certificate and its key from two files, read again when
// they change. A pair that cannot be used is logged and the last good one kept:
// a slip in a renewal ends no service. It is safe for concurrent use.
type certificate struct {
	certFile, keyFile string
	clock             clock.Clock
	log               *slog.Logger
	// member, if not nil, has the certificate, and the files are its own.
	member func() (*tls.Certificate, error)

	mu      sync.Mutex // guards all below
	current *tls.Certificate
	seen    [sha256.Size]byte // of the files' contents when they were last read
}

// openCertificate reads a pair for the first time: here a failure is final.
func openCertificate(certFile, keyFile string, c clock.Clock, log *slog.Logger) (*certificate, error) {
	p := &certificate{certFile: certFile, keyFile: keyFile, clock: c, log: log}
	if _, err := p.read(); err != nil {
		return nil, err
	}
	return p, nil
}

// config returns the server's side of TLS with this certificate.
func (p *certificate) config(protocols ...string) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12, CipherSuites: suites, NextProtos: protocols, GetCertificate: p.get,
	}
}

func (p *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	if p.member != nil {
		return p.member()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.current, nil
}

// reload reads the files again, if they have changed.
func (p *certificate) reload() {
	if p.member != nil {
		return
	}
	changed, err := p.read()
	switch {
	case err != nil:
		p.log.Error("tls: the certificate was not loaded, the last one goes on", "cert", p.certFile, "error", err)
	case changed:
		p.mu.Lock()
		leaf := p.current.Leaf
		p.mu.Unlock()
		p.log.Info("tls: a new certificate is in force", "cert", p.certFile, "expires", leaf.NotAfter.UTC().Format(time.RFC3339))
	}
}

// read takes the files in, unless they are what was read last: then it says
// nothing of them again, good or bad.
func (p *certificate) read() (changed bool, err error) {
	cert, err := os.ReadFile(p.certFile)
	if err != nil {
		return false, fault.Wrap("tls", fault.Invalid, err, "cannot read the certificate; the server's user must be able to")
	}
	key, err := readPrivate(p.keyFile)
	if err != nil {
		return false, err
	}
	sum := sha256.Sum256(append(append([]byte{}, cert...), key...))
	p.mu.Lock()
	defer p.mu.Unlock()
	if sum == p.seen {
		return false, nil
	}
	p.seen = sum
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return false, fault.Wrap("tls", fault.Invalid, err, "%s and %s are not a certificate and its key in PEM form", p.certFile, p.keyFile)
	}
	if pair.Leaf == nil {
		if pair.Leaf, err = x509.ParseCertificate(pair.Certificate[0]); err != nil {
			return false, fault.Wrap("tls", fault.Invalid, err, "the certificate in %s does not parse", p.certFile)
		}
	}
	if now := p.clock.Now(); now.After(pair.Leaf.NotAfter) {
		return false, fault.New("tls", fault.Invalid, "the certificate in %s expired on %s: renew it", p.certFile, pair.Leaf.NotAfter.UTC().Format(time.RFC3339))
	}
	p.current = &pair
	return true, nil
}

// readPrivate reads a file that others must not be able to read.
func readPrivate(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fault.Wrap("tls", fault.Invalid, err, "cannot read the private key; the server's user must be able to")
	}
	defer f.Close() //nolint:errcheck // it was only read
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, fault.Wrap("tls", fault.Invalid, err, "cannot look at the private key")
	case !info.Mode().IsRegular() || info.Size() > maxConfigBytes:
		return nil, fault.New("tls", fault.Invalid, "%s is no file of a private key", file)
	case info.Mode().Perm()&0o007 != 0:
		return nil, fault.New("tls", fault.Invalid, "everybody on this machine can use the private key %s (mode %04o): chmod 0600 %s, or 0640 for a group", file, info.Mode().Perm(), file)
	}
	key := make([]byte, info.Size())
	if _, err := f.ReadAt(key, 0); err != nil {
		return nil, fault.Wrap("tls", fault.Invalid, err, "cannot read the private key")
	}
	return key, nil
}
