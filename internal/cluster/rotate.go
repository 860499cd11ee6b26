package cluster

import (
	"context"
	"time"

	"kimberlite/internal/directory"
	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/peer"
	"kimberlite/internal/pki"
)

// A rotation of the authority goes by steps, of which each can be repeated:
// the holder makes the next one and has the directory name both; when every
// node believes it, it begins to sign; nodes get new certificates; when all
// have one, the directory names the new one alone.

const (
	nextAuthority     = authorityFile + ".next"
	nextAuthorityKey  = authorityKey + ".next"
	authorityDecision = authorityFile + ".decided"
)

func (n *Node) holdsCA() bool {
	key, err := newFiles(n.fs, n.data).read(authorityKey)
	return err == nil && key != nil
}

// RotateAuthority makes a new certificate authority, which signs as soon as
// all nodes believe it.
func (n *Node) RotateAuthority(ctx context.Context) (Authority, error) {
	for _, o := range n.dir.Nodes() {
		if o.HoldsCA && o.State != directory.NodeRemoved {
			return ask[Authority](ctx, n, o.ID, "rotate", none{})
		}
	}
	return Authority{}, fault.New("authority rotate", fault.Unavailable, "no node holds the deployment's authority")
}

func (n *Node) serveRotate(ctx context.Context, _ peer.Peer, _ none) (Authority, error) {
	n.rotateMu.Lock()
	defer n.rotateMu.Unlock()
	if !n.holdsCA() {
		return Authority{}, fault.New("authority rotate", fault.Unavailable, "node %s does not hold the deployment's authority", n.identity.Node)
	}
	f := newFiles(n.fs, n.data)
	text, generation := n.dir.CA()
	bundle, err := pki.ParseBundle(text)
	if err != nil {
		return Authority{}, err
	}
	next, err := f.nextAuthority(n.identity.Deployment)
	if err != nil {
		return Authority{}, err
	}
	if !bundle.Has(next.Fingerprint()) {
		if len(bundle.Fingerprints()) > 1 {
			return Authority{}, fault.New("authority rotate", fault.InUse, "the last rotation is not finished: every node has to be up for that, see `kimberlite cluster status`")
		}
		if bundle, err = bundle.With(next.CertificatePEM()); err != nil {
			return Authority{}, err
		}
		if _, err := n.dir.Propose(ctx, directory.SetCA{Generation: generation, PEM: bundle.PEM()}); err != nil {
			return Authority{}, err
		}
	}
	return Authority{Fingerprint: next.Fingerprint().String(), Expires: next.NotAfter()}, nil
}

// nextAuthority returns the authority that waits to sign, making one when
// there is none.
func (f files) nextAuthority(deployment string) (*pki.Authority, error) {
	next, err := f.authority(nextAuthority, nextAuthorityKey)
	if err != nil || next != nil {
		return next, err
	}
	if next, err = pki.NewAuthority(deployment, time.Now(), pki.AuthorityValid); err != nil {
		return nil, err
	}
	key, err := next.KeyPEM()
	if err != nil {
		return nil, err
	}
	if err := f.write(nextAuthorityKey, key); err != nil {
		return nil, err
	}
	return next, f.write(nextAuthority, next.CertificatePEM())
}

// authority returns an authority in two files, nil when there is none.
func (f files) authority(certName, keyName string) (*pki.Authority, error) {
	cert, err := f.read(certName)
	if err != nil || cert == nil {
		return nil, err
	}
	key, err := f.read(keyName)
	if err != nil || key == nil {
		return nil, err
	}
	return pki.OpenAuthority(cert, key)
}

// goOnRotating takes the next step of a rotation, on the authority's holder.
func (n *Node) goOnRotating(ctx context.Context) error {
	n.rotateMu.Lock()
	defer n.rotateMu.Unlock()
	f := newFiles(n.fs, n.data)
	if err := f.finishAuthority(); err != nil || !n.holdsCA() {
		return err
	}
	text, generation := n.dir.CA()
	if len(text) == 0 {
		return nil
	}
	bundle, err := pki.ParseBundle(text)
	if err != nil || len(bundle.Fingerprints()) < 2 {
		return err
	}
	prints := bundle.Fingerprints()
	newest := prints[len(prints)-1]
	next, err := f.authority(nextAuthority, nextAuthorityKey)
	if err != nil {
		return err
	}
	if next != nil && next.Fingerprint() == newest {
		if !n.all(ctx, func(r report) bool { return contains(r.Authorities, newest.String()) }) {
			return nil
		}
		if err := f.write(authorityDecision, []byte(newest.String()+"\n")); err != nil {
			return err
		}
		n.log.Info("a new authority signs from now on", "fingerprint", newest.String())
		return f.finishAuthority()
	}
	if !n.all(ctx, func(r report) bool { return r.Authority == newest.String() }) {
		return nil
	}
	for _, old := range prints[:len(prints)-1] {
		if bundle, err = bundle.Without(old); err != nil {
			return err
		}
	}
	_, err = n.dir.Propose(ctx, directory.SetCA{Generation: generation, PEM: bundle.PEM()})
	return err
}

func contains(all []string, one string) bool {
	for _, a := range all {
		if a == one {
			return true
		}
	}
	return false
}

// all says whether every node answers and is as f wants it.
func (n *Node) all(ctx context.Context, f func(report) bool) bool {
	nodes := n.dir.Nodes()
	said := n.hear(ctx, nodes, true)
	for _, o := range nodes {
		if o.State == directory.NodeRemoved {
			continue
		}
		if r, ok := said[o.ID]; !ok || !f(r) {
			return false
		}
	}
	return true
}

// finishAuthority puts the next authority in the place of the one that signs,
// once that is decided.
func (f files) finishAuthority() error {
	decided, err := f.read(authorityDecision)
	if err != nil || decided == nil {
		return err
	}
	next, err := f.authority(nextAuthority, nextAuthorityKey)
	if err != nil {
		return err
	}
	if next != nil {
		if err := f.writeAuthority(next); err != nil {
			return err
		}
	}
	for _, name := range []string{authorityDecision, nextAuthority, nextAuthorityKey} {
		if err := f.remove(name); err != nil {
			return err
		}
	}
	return nil
}

// RenewCertificates has a node, or all for zero, get a new certificate.
func (n *Node) RenewCertificates(ctx context.Context, node ident.NodeID) ([]Renewal, error) {
	var all []Renewal
	for _, o := range n.dir.Nodes() {
		if o.State == directory.NodeRemoved || !node.IsZero() && o.ID != node {
			continue
		}
		r, err := ask[Renewal](ctx, n, o.ID, "renew", none{})
		if err != nil {
			r = Renewal{Problem: err.Error()}
		}
		r.Node = o.ID
		all = append(all, r)
	}
	if len(all) == 0 {
		return nil, fault.New("certificate renew", fault.NotFound, "there is no node %s", node)
	}
	return all, nil
}

func (n *Node) serveRenew(ctx context.Context, _ peer.Peer, _ none) (Renewal, error) {
	expires, err := n.renew(ctx)
	return Renewal{Expires: expires}, err
}
