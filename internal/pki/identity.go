package pki

import (
	"crypto/x509"
	"net/url"
	"strings"

	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
)

const (
	scheme        = "kimberlite"
	nodePath      = "/node/"
	maxDeployment = 63
)

// Identity is what a node's certificate says.
type Identity struct {
	Deployment string
	Node       ident.NodeID
	Region     ident.Region
}

// Validate refuses what no certificate can say.
func (i Identity) Validate() error {
	if err := CheckDeployment(i.Deployment); err != nil {
		return err
	}
	if i.Node.IsZero() {
		return fault.New("certificate", fault.Invalid, "node 0 is no node")
	}
	if i.Region.IsZero() {
		return fault.New("certificate", fault.Invalid, "the node has no region")
	}
	return nil
}

// CheckDeployment refuses what is no deployment's id: small letters, digits
// and hyphens, at most 63 of them, none of the hyphens at an end.
func CheckDeployment(id string) error {
	ok := id != "" && len(id) <= maxDeployment && !strings.HasPrefix(id, "-") && !strings.HasSuffix(id, "-")
	for _, c := range []byte(id) {
		ok = ok && (c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-')
	}
	if !ok {
		return fault.New("certificate", fault.Invalid, "the deployment's id is not 1 to %d small letters, digits and hyphens", maxDeployment)
	}
	return nil
}

// URI returns the name that stands in the certificate.
func (i Identity) URI() *url.URL {
	return &url.URL{
		Scheme: scheme, Host: i.Deployment, Path: nodePath + i.Node.String(),
		RawQuery: url.Values{"region": {i.Region.String()}}.Encode(),
	}
}

// ParseURI reads what [Identity.URI] returns, and that form alone.
func ParseURI(u *url.URL) (Identity, error) {
	bad := fault.New("certificate", fault.Unauthenticated, "the certificate names no node of a deployment")
	number, found := strings.CutPrefix(u.Path, nodePath)
	if !found {
		return Identity{}, bad
	}
	node, err := ident.ParseNodeID(number)
	if err != nil {
		return Identity{}, bad
	}
	region, err := ident.NewRegion(u.Query().Get("region"))
	if err != nil {
		return Identity{}, bad
	}
	id := Identity{Deployment: u.Host, Node: node, Region: region}
	if id.Validate() != nil || id.URI().String() != u.String() {
		return Identity{}, bad
	}
	return id, nil
}

// identityOf reads whom a certificate names. Names and addresses beside it are
// for clients.
func identityOf(c *x509.Certificate) (Identity, error) {
	if len(c.URIs) != 1 || len(c.EmailAddresses) > 0 {
		return Identity{}, fault.New("certificate", fault.Unauthenticated, "the certificate does not name exactly one node of a deployment")
	}
	return ParseURI(c.URIs[0])
}
