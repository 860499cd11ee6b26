package cluster

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io/fs"
	"path/filepath"
	"sync/atomic"

	"kimberlite/internal/disk"
	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/pki"
)

// DirName is the directory of a cluster node's identity in its data directory.
const DirName = "cluster"

// The files in it.
const (
	identityFile    = "identity.json"
	certificateFile = "node.crt"
	keyFile         = "node.key"
	bundleFile      = "ca.pem"
	authorityFile   = "ca.crt"
	authorityKey    = "ca.key"
	requestFile     = "join.csr"
)

const identityFormat = 1

// Identity is who a node is, for ever. It stands in DATA/cluster:
//
//	identity.json  this, as JSON; it is written last and makes the node one
//	node.crt       the node's certificate and its authority's
//	node.key       its private key, 0600
//	ca.pem         the authorities that the deployment believes
//	ca.crt ca.key  on holders of the authority: its certificate and key, 0600
type Identity struct {
	Format     int          `json:"format"`
	Deployment string       `json:"deployment"`
	Node       ident.NodeID `json:"node"`
	Region     ident.Region `json:"region"`
	// Founder says that the node begins the deployment's directory; others
	// join it.
	Founder bool `json:"founder,omitempty"`
	// Seeds are where nodes were when this one joined, to begin with.
	Seeds []Seed `json:"seeds,omitempty"`
	// Addresses are those in force where the configuration names none.
	Addresses Addresses `json:"addresses"`
}

// Seed is where a node was when another one joined.
type Seed struct {
	Node   ident.NodeID `json:"node"`
	Region ident.Region `json:"region"`
	Addr   string       `json:"addr"`
}

// LoadIdentity reads the identity in a data directory; ok says that there is
// one, so that the node is one of a cluster.
func LoadIdentity(fsys disk.FS, dir string) (id Identity, ok bool, err error) {
	path := filepath.Join(dir, DirName, identityFile)
	data, err := disk.ReadFile(fsys, path)
	if errors.Is(err, fs.ErrNotExist) {
		return Identity{}, false, nil
	}
	if err != nil {
		return Identity{}, false, fault.Wrap("open", fault.Unavailable, err, "cannot read %s", path)
	}
	id, err = decodeIdentity(data)
	var e *fault.Error
	if errors.As(err, &e) && e.Kind == fault.Corruption {
		e.File = path
	}
	return id, err == nil, err
}

func decodeIdentity(data []byte) (Identity, error) {
	var version struct {
		Format int `json:"format"`
	}
	bad := func() error {
		return fault.Corrupt("open", identityFile, 0, "the node's identity is damaged: put it back from a copy, or wipe the node and join it anew")
	}
	if json.Unmarshal(data, &version) != nil {
		return Identity{}, bad()
	}
	if version.Format != identityFormat {
		return Identity{}, fault.New("open", fault.Incompatible, "the node's identity has format %d: this program reads format %d, use a newer one", version.Format, identityFormat)
	}
	var id Identity
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if dec.Decode(&id) != nil || dec.More() || id.Node.IsZero() || id.Region.IsZero() || pki.CheckDeployment(id.Deployment) != nil {
		return Identity{}, bad()
	}
	return id, nil
}

// files is a node's DATA/cluster.
type files struct {
	fs  disk.FS
	dir string
}

func newFiles(fsys disk.FS, data string) files {
	return files{fsys, filepath.Join(data, DirName)}
}

// make makes the directory. It is repeatable.
func (f files) make() error {
	err := disk.MkdirAllDurable(f.fs, f.dir, 0o700)
	if err == nil {
		err = f.fs.SyncDir(filepath.Dir(f.dir))
	}
	if err != nil {
		return fault.Wrap("cluster", fault.Unavailable, err, "cannot make %s", f.dir)
	}
	return nil
}

// read returns a file, nil when there is none.
func (f files) read(name string) ([]byte, error) {
	data, err := disk.ReadFile(f.fs, filepath.Join(f.dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fault.Wrap("cluster", fault.Unavailable, err, "cannot read %s", name)
	}
	return data, nil
}

func (f files) write(name string, data []byte) error {
	if err := disk.WriteFileDurable(f.fs, filepath.Join(f.dir, name), data, 0o600); err != nil {
		return fault.Wrap("cluster", fault.Unavailable, err, "cannot write %s", filepath.Join(f.dir, name))
	}
	return nil
}

func (f files) remove(name string) error {
	err := f.fs.Remove(filepath.Join(f.dir, name))
	if err == nil {
		err = f.fs.SyncDir(f.dir)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fault.Wrap("cluster", fault.Unavailable, err, "cannot remove %s", name)
	}
	return nil
}

func (f files) writeIdentity(id Identity) error {
	id.Format = identityFormat
	data, err := json.MarshalIndent(id, "", "  ")
	if err != nil {
		return fault.Wrap("cluster", fault.Internal, err, "cannot encode the identity")
	}
	return f.write(identityFile, append(data, '\n'))
}

// request returns the node's private key and the request for a certificate,
// made at the first call and kept: a join that was interrupted goes on with
// the same key.
func (f files) request() (key, request []byte, err error) {
	if key, err = f.read(keyFile); err != nil {
		return nil, nil, err
	}
	if request, err = f.read(requestFile); err != nil {
		return nil, nil, err
	}
	if key != nil && request != nil {
		return key, request, nil
	}
	if key, request, err = pki.NewRequest(); err != nil {
		return nil, nil, err
	}
	if err := f.write(keyFile, key); err != nil {
		return nil, nil, err
	}
	return key, request, f.write(requestFile, request)
}

// credentials are what a node proves itself with and whom it believes, as
// they are now. Handshakes read them without waiting.
type credentials struct {
	pair   atomic.Pointer[tls.Certificate]
	bundle atomic.Pointer[pki.Bundle]
}

func (f files) loadCredentials() (*credentials, error) {
	var c credentials
	texts := map[string][]byte{}
	for _, name := range []string{certificateFile, keyFile, bundleFile} {
		data, err := f.read(name)
		if err != nil {
			return nil, err
		}
		if data == nil {
			return nil, fault.Corrupt("open", filepath.Join(f.dir, name), 0, "the file is missing: put it back from a copy")
		}
		texts[name] = data
	}
	pair, err := pki.Pair(texts[certificateFile], texts[keyFile])
	if err != nil {
		return nil, err
	}
	bundle, err := pki.ParseBundle(texts[bundleFile])
	if err != nil {
		return nil, err
	}
	c.pair.Store(pair)
	c.bundle.Store(bundle)
	return &c, nil
}

// Certificate implements peer.Options.
func (c *credentials) certificate() (*tls.Certificate, error) { return c.pair.Load(), nil }

// roots implements peer.Options.
func (c *credentials) roots() *x509.CertPool { return c.bundle.Load().Pool() }
