package pgwire

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"net"

	"kimberlite/internal/fault"
)

// protocolALPN is what a client names when it begins with TLS at once.
const protocolALPN = "postgresql"

// serverTLS returns the door's configuration of TLS: PostgreSQL's protocol in
// ALPN, and no tickets, so that each handshake shows the certificate that
// channel binding is about.
func serverTLS(c *tls.Config) *tls.Config {
	if c == nil {
		return nil
	}
	c = c.Clone()
	c.NextProtos = []string{protocolALPN}
	c.SessionTicketsDisabled = true
	if c.MinVersion == 0 {
		c.MinVersion = tls.VersionTLS12
	}
	return c
}

// secure does the handshake over conn. served is the certificate that the
// client was shown.
func (s *Server) secure(conn net.Conn) (secured *tls.Conn, served *tls.Certificate, err error) {
	c := s.tls.Clone()
	if choose := c.GetConfigForClient; choose != nil {
		c.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			chosen, err := choose(hello)
			if err != nil || chosen == nil {
				return nil, err
			}
			chosen = serverTLS(chosen)
			noteCertificate(chosen, &served)
			return chosen, nil
		}
	}
	noteCertificate(c, &served)
	t := tls.Server(conn, c)
	// The connection's deadline bounds it.
	if err := t.Handshake(); err != nil { //nolint:noctx // the connection has a deadline
		return nil, nil, fault.Wrap("tls", fault.Invalid, err, "the TLS handshake failed")
	}
	return t, served, nil
}

// noteCertificate makes c store the certificate that it serves in served.
func noteCertificate(c *tls.Config, served **tls.Certificate) {
	choose, fixed := c.GetCertificate, c.Certificates
	c.GetCertificate = func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		cert, err := pickCertificate(hello, choose, fixed)
		*served = cert
		return cert, err
	}
	c.Certificates = nil
}

func pickCertificate(hello *tls.ClientHelloInfo, choose func(*tls.ClientHelloInfo) (*tls.Certificate, error), fixed []tls.Certificate) (*tls.Certificate, error) {
	if choose != nil {
		if cert, err := choose(hello); cert != nil || err != nil {
			return cert, err
		}
	}
	for i := range fixed {
		if hello.SupportsCertificate(&fixed[i]) == nil {
			return &fixed[i], nil
		}
	}
	if len(fixed) == 0 {
		return nil, fault.New("tls", fault.Invalid, "there is no certificate")
	}
	return &fixed[0], nil
}

// endPoint returns the tls-server-end-point data of RFC 5929 for a
// certificate: its hash, by the hash of its own signature, at least SHA-256.
// nil says that there is none, as for Ed25519, for which it is not defined.
func endPoint(cert *tls.Certificate) []byte {
	if cert == nil || len(cert.Certificate) == 0 {
		return nil
	}
	leaf := cert.Leaf
	if leaf == nil {
		var err error
		if leaf, err = x509.ParseCertificate(cert.Certificate[0]); err != nil {
			return nil
		}
	}
	var hash crypto.Hash
	switch leaf.SignatureAlgorithm {
	case x509.SHA256WithRSA, x509.ECDSAWithSHA256, x509.SHA256WithRSAPSS, x509.SHA1WithRSA, x509.ECDSAWithSHA1:
		hash = crypto.SHA256
	case x509.SHA384WithRSA, x509.ECDSAWithSHA384, x509.SHA384WithRSAPSS:
		hash = crypto.SHA384
	case x509.SHA512WithRSA, x509.ECDSAWithSHA512, x509.SHA512WithRSAPSS:
		hash = crypto.SHA512
	default:
		return nil
	}
	h := hash.New()
	h.Write(cert.Certificate[0])
	return h.Sum(nil)
}
