package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/url"
	"time"

	"kimberlite/internal/fault"
)

const (
	// AuthorityValid is how long an authority is valid unless the caller says
	// otherwise.
	AuthorityValid = 10 * 365 * 24 * time.Hour
	// NodeValid is the same of a node's certificate.
	NodeValid = 90 * 24 * time.Hour
	// leeway is how far the clocks of nodes may differ when a certificate is
	// new.
	leeway = 10 * time.Minute

	blockCertificate = "CERTIFICATE"
	blockRequest     = "CERTIFICATE REQUEST"
	blockKey         = "PRIVATE KEY"
	// maxPEM bounds everything that is parsed here.
	maxPEM = 256 << 10
)

// Authority signs the certificates of one deployment's nodes. It is immutable
// and safe for concurrent use.
type Authority struct {
	cert       *x509.Certificate
	key        *ecdsa.PrivateKey
	deployment string
}

// NewAuthority makes an authority with a new key for a deployment, in force
// from now for as long as valid says.
func NewAuthority(deployment string, now time.Time, valid time.Duration) (*Authority, error) {
	if err := CheckDeployment(deployment); err != nil {
		return nil, err
	}
	key, err := newKey()
	if err != nil {
		return nil, err
	}
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: "kimberlite deployment " + deployment},
		NotBefore:    now.Add(-leeway), NotAfter: now.Add(valid),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
		KeyUsage:                    x509.KeyUsageCertSign,
		PermittedDNSDomainsCritical: true, // of all name constraints, in spite of its name
		PermittedURIDomains:         []string{deployment},
		URIs:                        []*url.URL{{Scheme: scheme, Host: deployment}},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fault.Wrap("new authority", fault.Internal, err, "cannot sign")
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fault.Wrap("new authority", fault.Internal, err, "the new certificate does not parse")
	}
	return &Authority{cert: cert, key: key, deployment: deployment}, nil
}

// OpenAuthority returns the authority that [Authority.CertificatePEM] and
// [Authority.KeyPEM] were taken from.
func OpenAuthority(certPEM, keyPEM []byte) (*Authority, error) {
	const op = "open authority"
	certs, err := parseCertificates(op, certPEM)
	if err != nil {
		return nil, err
	}
	if len(certs) != 1 {
		return nil, fault.New(op, fault.Invalid, "there are %d certificates where the authority's alone belongs", len(certs))
	}
	deployment, err := deploymentOf(certs[0])
	if err != nil {
		return nil, err
	}
	key, err := parseKey(op, keyPEM)
	if err != nil {
		return nil, err
	}
	if !key.PublicKey.Equal(certs[0].PublicKey) {
		return nil, fault.New(op, fault.KeyInvalid, "the key is not that of the authority's certificate")
	}
	return &Authority{cert: certs[0], key: key, deployment: deployment}, nil
}

// deploymentOf returns whose authority a certificate is.
func deploymentOf(c *x509.Certificate) (string, error) {
	if !c.IsCA || len(c.URIs) != 1 || c.URIs[0].Scheme != scheme || c.URIs[0].Path != "" || CheckDeployment(c.URIs[0].Host) != nil {
		return "", fault.New("certificate", fault.Invalid, "the certificate is no deployment's authority")
	}
	return c.URIs[0].Host, nil
}

// Deployment returns whose authority it is.
func (a *Authority) Deployment() string { return a.deployment }

// CertificatePEM returns the public certificate.
func (a *Authority) CertificatePEM() []byte { return encode(blockCertificate, a.cert.Raw) }

// KeyPEM returns the private key. It is the deployment's identity: store it
// where only this node's user can read it.
func (a *Authority) KeyPEM() ([]byte, error) { return encodeKey(a.key) }

// Fingerprint returns what join tokens pin.
func (a *Authority) Fingerprint() Fingerprint { return FingerprintOf(a.cert) }

// NotAfter returns when the authority ends.
func (a *Authority) NotAfter() time.Time { return a.cert.NotAfter }

// Sign returns a certificate for id, with the authority's own behind it, for
// the key whose possession request (of [NewRequest]) proves. Whatever else the
// request says is ignored. It is in force from now for as long as valid says,
// but never longer than the authority. hosts are names and IP addresses that
// clients reach the node by: to them it is a server's certificate like any
// other. Peers ask for the identity alone.
func (a *Authority) Sign(request []byte, id Identity, now time.Time, valid time.Duration, hosts ...string) (chainPEM []byte, err error) {
	const op = "sign certificate"
	if err := id.Validate(); err != nil {
		return nil, err
	}
	if id.Deployment != a.deployment {
		return nil, fault.New(op, fault.Denied, "the authority is another deployment's")
	}
	public, err := parseRequest(op, request)
	if err != nil {
		return nil, err
	}
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	end := now.Add(valid)
	if end.After(a.cert.NotAfter) {
		end = a.cert.NotAfter
	}
	if !now.Before(end) {
		return nil, fault.New(op, fault.Invalid, "the deployment's authority has expired: rotate it")
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: "kimberlite node " + id.Node.String()},
		NotBefore:    now.Add(-leeway), NotAfter: end,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
		URIs:                  []*url.URL{id.URI()},
	}
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else if host != "" {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, public, a.key)
	if err != nil {
		return nil, fault.Wrap(op, fault.Internal, err, "cannot sign")
	}
	return append(encode(blockCertificate, der), a.CertificatePEM()...), nil
}

// NewRequest makes a key, and the request that proves its possession to an
// authority. The key never leaves the node.
func NewRequest() (keyPEM, requestPEM []byte, err error) {
	key, err := newKey()
	if err != nil {
		return nil, nil, err
	}
	if keyPEM, err = encodeKey(key); err != nil {
		return nil, nil, err
	}
	requestPEM, err = requestFor(key)
	return keyPEM, requestPEM, err
}

func requestFor(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		return nil, fault.Wrap("certificate request", fault.Internal, err, "cannot sign")
	}
	return encode(blockRequest, der), nil
}

// Pair joins a chain that [Authority.Sign] returned to its key.
func Pair(chainPEM, keyPEM []byte) (*tls.Certificate, error) {
	const op = "node certificate"
	certs, err := parseCertificates(op, chainPEM)
	if err != nil {
		return nil, err
	}
	if _, err := identityOf(certs[0]); err != nil {
		return nil, err
	}
	key, err := parseKey(op, keyPEM)
	if err != nil {
		return nil, err
	}
	if !key.PublicKey.Equal(certs[0].PublicKey) {
		return nil, fault.New(op, fault.KeyInvalid, "the key is not that of the node's certificate")
	}
	pair := &tls.Certificate{PrivateKey: key, Leaf: certs[0]}
	for _, c := range certs {
		pair.Certificate = append(pair.Certificate, c.Raw)
	}
	return pair, nil
}

// Due reports whether a certificate should be renewed: a third of its time or
// less is left.
func Due(c *x509.Certificate, now time.Time) bool {
	return now.After(c.NotAfter.Add(-c.NotAfter.Sub(c.NotBefore) / 3))
}

func newKey() (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fault.Wrap("new key", fault.Internal, err, "cannot make a key")
	}
	return key, nil
}

func newSerial() (*big.Int, error) {
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, fault.Wrap("new certificate", fault.Internal, err, "cannot draw a serial number")
	}
	return n, nil
}

func encode(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func encodeKey(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fault.Wrap("encode key", fault.Internal, err, "cannot encode the key")
	}
	return encode(blockKey, der), nil
}
