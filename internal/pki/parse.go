package pki

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/pem"

	"kimberlite/internal/fault"
)

// maxCertificates bounds a chain, and a bundle.
const maxCertificates = 16

// parseCertificates reads one certificate or more, and nothing else.
func parseCertificates(op string, text []byte) ([]*x509.Certificate, error) {
	if len(text) > maxPEM {
		return nil, fault.New(op, fault.TooLarge, "the certificates take more than %d bytes", maxPEM)
	}
	var certs []*x509.Certificate
	for rest := bytes.TrimSpace(text); len(rest) > 0; rest = bytes.TrimSpace(rest) {
		var block *pem.Block
		block, rest = pem.Decode(rest)
		if block == nil || block.Type != blockCertificate || len(certs) == maxCertificates {
			return nil, fault.New(op, fault.Invalid, "not 1 to %d certificates in PEM form", maxCertificates)
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fault.Wrap(op, fault.Invalid, err, "a certificate does not parse")
		}
		certs = append(certs, c)
	}
	if len(certs) == 0 {
		return nil, fault.New(op, fault.Invalid, "there is no certificate in PEM form")
	}
	return certs, nil
}

// parseKey reads one private key. Its errors carry no cause: a parser's could
// quote the key.
func parseKey(op string, text []byte) (*ecdsa.PrivateKey, error) {
	bad := fault.New(op, fault.KeyInvalid, "the private key is not one on P-256 in PEM form (PKCS #8)")
	if len(text) > maxPEM {
		return nil, bad
	}
	block, rest := pem.Decode(text)
	if block == nil || block.Type != blockKey || len(bytes.TrimSpace(rest)) > 0 {
		return nil, bad
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, bad
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, bad
	}
	return key, nil
}

// parseRequest returns the key whose possession a request proves.
func parseRequest(op string, text []byte) (*ecdsa.PublicKey, error) {
	bad := func(err error) error {
		return fault.Wrap(op, fault.Invalid, err, "not a certificate request for a key on P-256 in PEM form")
	}
	if len(text) > maxPEM {
		return nil, bad(nil)
	}
	block, rest := pem.Decode(text)
	if block == nil || block.Type != blockRequest || len(bytes.TrimSpace(rest)) > 0 {
		return nil, bad(nil)
	}
	request, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return nil, bad(err)
	}
	key, ok := request.PublicKey.(*ecdsa.PublicKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, bad(nil)
	}
	if err := request.CheckSignature(); err != nil {
		return nil, bad(err)
	}
	return key, nil
}
