package pki

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"slices"
	"time"

	"kimberlite/internal/fault"
)

// Fingerprint is the SHA-256 of an authority's certificate.
type Fingerprint [sha256.Size]byte

// FingerprintOf returns a certificate's fingerprint.
func FingerprintOf(c *x509.Certificate) Fingerprint { return sha256.Sum256(c.Raw) }

// String returns it in hexadecimal, the form in join tokens.
func (f Fingerprint) String() string { return hex.EncodeToString(f[:]) }

// ParseFingerprint reads what String returns.
func ParseFingerprint(s string) (Fingerprint, error) {
	var f Fingerprint
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(f) {
		return f, fault.New("fingerprint", fault.Invalid, "the authority's fingerprint is not %d hexadecimal digits", 2*len(f))
	}
	copy(f[:], b)
	return f, nil
}

// Bundle is the authorities that a deployment believes: one, or while it
// changes its authority the old and the new. It is immutable and safe for
// concurrent use.
type Bundle struct {
	certs []*x509.Certificate
	pool  *x509.CertPool
}

// ParseBundle reads the certificates of authorities of one deployment.
func ParseBundle(text []byte) (*Bundle, error) {
	const op = "trust bundle"
	certs, err := parseCertificates(op, text)
	if err != nil {
		return nil, err
	}
	return newBundle(op, certs)
}

func newBundle(op string, certs []*x509.Certificate) (*Bundle, error) {
	b := &Bundle{pool: x509.NewCertPool()}
	var deployment string
	for _, c := range certs {
		d, err := deploymentOf(c)
		if err != nil {
			return nil, err
		}
		if deployment != "" && d != deployment {
			return nil, fault.New(op, fault.Invalid, "the bundle has authorities of two deployments")
		}
		deployment = d
		if !b.Has(FingerprintOf(c)) {
			b.certs = append(b.certs, c)
			b.pool.AddCert(c)
		}
	}
	return b, nil
}

// With returns the bundle and another authority: the first step of a
// rotation. The next are to have every node know it, to renew all
// certificates by it, and to end the old by [Bundle.Without].
func (b *Bundle) With(authorityPEM []byte) (*Bundle, error) {
	return ParseBundle(append(b.PEM(), authorityPEM...))
}

// Without returns the bundle less one authority. The last cannot be taken.
func (b *Bundle) Without(f Fingerprint) (*Bundle, error) {
	var rest []*x509.Certificate
	for _, c := range b.certs {
		if FingerprintOf(c) != f {
			rest = append(rest, c)
		}
	}
	if len(rest) == 0 {
		return nil, fault.New("trust bundle", fault.Invalid, "the last authority cannot be taken away: add the next one first")
	}
	return newBundle("trust bundle", rest)
}

// Has reports whether the bundle has an authority.
func (b *Bundle) Has(f Fingerprint) bool {
	for _, c := range b.certs {
		if FingerprintOf(c) == f {
			return true
		}
	}
	return false
}

// Fingerprints returns those of all authorities, in the bundle's order.
func (b *Bundle) Fingerprints() []Fingerprint {
	list := make([]Fingerprint, len(b.certs))
	for i, c := range b.certs {
		list[i] = FingerprintOf(c)
	}
	return list
}

// Pool returns the authorities for a TLS configuration. It is shared: do not
// change it.
func (b *Bundle) Pool() *x509.CertPool { return b.pool }

// PEM returns what ParseBundle reads.
func (b *Bundle) PEM() []byte {
	var text []byte
	for _, c := range b.certs {
		text = append(text, encode(blockCertificate, c.Raw)...)
	}
	return text
}

// Verify is [Verify] with the bundle's authorities.
func (b *Bundle) Verify(chain []*x509.Certificate, now time.Time) (Identity, error) {
	return Verify(b.pool, chain, now)
}

// Verify returns whom a peer has proven to be by its chain, the leaf first:
// signed by one of roots, in force at now, for a node. Whether the node is one
// of this deployment, and still welcome, is the caller's to ask. Errors:
// Unauthenticated.
func Verify(roots *x509.CertPool, chain []*x509.Certificate, now time.Time) (Identity, error) {
	const op = "verify certificate"
	if roots == nil { // the library would take the system's
		return Identity{}, fault.New(op, fault.Unauthenticated, "this node has no authorities to believe")
	}
	if len(chain) == 0 {
		return Identity{}, fault.New(op, fault.Unauthenticated, "the peer showed no certificate")
	}
	intermediates := x509.NewCertPool()
	for _, c := range chain[1:] {
		intermediates.AddCert(c)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: intermediates, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	if err != nil {
		return Identity{}, fault.Wrap(op, fault.Unauthenticated, err, "no authority of this deployment vouches for the certificate")
	}
	if chain[0].IsCA || !slices.Contains(chain[0].ExtKeyUsage, x509.ExtKeyUsageClientAuth) {
		return Identity{}, fault.New(op, fault.Unauthenticated, "the certificate is none of a node")
	}
	return identityOf(chain[0])
}
