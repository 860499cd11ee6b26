package cluster

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"net"
	"slices"
	"time"

	"kimberlite/internal/disk"
	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/pki"
)

// Addresses are where a node is reached, host and port.
type Addresses struct {
	// Listen is where the node listens for its peers; Peer is what it tells
	// them, Listen when it is "".
	Listen string `json:"listen,omitempty"`
	Peer   string `json:"peer,omitempty"`
	// PG and RPC are where clients reach it.
	PG      string `json:"pg,omitempty"`
	RPC     string `json:"rpc,omitempty"`
	Zone    string `json:"zone,omitempty"`
	Version string `json:"-"`
}

// over returns a with what other names in its place.
func (a Addresses) over(other Addresses) Addresses {
	for _, one := range []struct{ to, from *string }{
		{&a.Listen, &other.Listen}, {&a.Peer, &other.Peer}, {&a.PG, &other.PG}, {&a.RPC, &other.RPC},
		{&a.Zone, &other.Zone}, {&a.Version, &other.Version},
	} {
		if *one.from != "" {
			*one.to = *one.from
		}
	}
	return a
}

// peer is what other nodes are told.
func (a Addresses) peer() string {
	if a.Peer != "" {
		return a.Peer
	}
	return a.Listen
}

// InitConfig says how a deployment begins.
type InitConfig struct {
	FS     disk.FS
	Dir    string // the data directory, which holds no data yet
	Region ident.Region
	// Deployment is made up when it is "".
	Deployment string
	Addresses
}

// founder is the id of a deployment's first node.
var founder = ident.NewNodeID(1)

// Init makes a deployment with a certificate authority, and in Dir the
// identity of its first node, which has to be started then. Repeated after a
// crash it does what is left; once it is done it is refused.
func Init(_ context.Context, c InitConfig) (Identity, error) {
	if c.Region.IsZero() {
		return Identity{}, fault.New("cluster init", fault.Invalid, "the first node needs a region")
	}
	if c.Addresses.peer() == "" {
		return Identity{}, fault.New("cluster init", fault.Invalid, "the node needs an address for its peers, host and port")
	}
	if err := fresh("cluster init", c.FS, c.Dir); err != nil {
		return Identity{}, err
	}
	f := newFiles(c.FS, c.Dir)
	if err := f.make(); err != nil {
		return Identity{}, err
	}
	if c.Deployment == "" {
		var b [8]byte
		if _, err := rand.Read(b[:]); err != nil {
			return Identity{}, fault.Wrap("cluster init", fault.Unavailable, err, "no random bytes")
		}
		c.Deployment = "d-" + hex.EncodeToString(b[:])
	}
	id := Identity{Deployment: c.Deployment, Node: founder, Region: c.Region, Founder: true, Addresses: c.Addresses}
	// What an interrupted Init left is made anew: nothing hangs on it before
	// the identity is there.
	authority, err := pki.NewAuthority(id.Deployment, time.Now(), pki.AuthorityValid)
	if err != nil {
		return Identity{}, err
	}
	if err := f.writeAuthority(authority); err != nil {
		return Identity{}, err
	}
	key, request, err := f.request()
	if err != nil {
		return Identity{}, err
	}
	chain, err := authority.Sign(request, id.pki(), time.Now(), pki.NodeValid, hosts(c.Addresses.peer(), c.PG, c.RPC)...)
	if err != nil {
		return Identity{}, err
	}
	return id, f.settle(id, chain, key, authority.CertificatePEM())
}

// hosts returns the host of each address, once.
func hosts(addrs ...string) []string {
	var all []string
	for _, a := range addrs {
		host, _, err := net.SplitHostPort(a)
		if err == nil && host != "" && !slices.Contains(all, host) {
			all = append(all, host)
		}
	}
	return all
}

func (id Identity) pki() pki.Identity {
	return pki.Identity{Deployment: id.Deployment, Node: id.Node, Region: id.Region}
}

func (f files) writeAuthority(a *pki.Authority) error {
	key, err := a.KeyPEM()
	if err != nil {
		return err
	}
	if err := f.write(authorityKey, key); err != nil {
		return err
	}
	return f.write(authorityFile, a.CertificatePEM())
}

// settle writes what makes the directory a node's, the identity last.
func (f files) settle(id Identity, chain, key, bundle []byte) error {
	if _, err := pki.Pair(chain, key); err != nil {
		return err
	}
	if err := f.write(bundleFile, bundle); err != nil {
		return err
	}
	if err := f.write(certificateFile, chain); err != nil {
		return err
	}
	if err := f.writeIdentity(id); err != nil {
		return err
	}
	return f.remove(requestFile)
}

// fresh refuses a data directory that holds data, or a node's identity.
func fresh(op string, fsys disk.FS, dir string) error {
	if id, ok, err := LoadIdentity(fsys, dir); ok || err != nil {
		if err != nil {
			return err
		}
		return fault.New(op, fault.AlreadyExists, "%s is node %s of deployment %s already", dir, id.Node, id.Deployment)
	}
	names, err := fsys.ReadDir(dir)
	if err != nil {
		return nil //nolint:nilerr // what cannot be read cannot be written either, and is made if it is missing
	}
	for _, name := range names {
		switch name {
		case DirName, "LOCK", "master.key", "lost+found":
		default:
			return fault.New(op, fault.AlreadyExists, "%s holds data already (%s): a node of a cluster begins with an empty directory", dir, name)
		}
	}
	return nil
}
