package cluster

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"slices"
	"time"

	"kimberlite/internal/directory"
	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/peer"
	"kimberlite/internal/pki"
)

// authorityOf returns the certificate that a node's chain ends in.
func authorityOf(pair *tls.Certificate) *x509.Certificate {
	last, err := x509.ParseCertificate(pair.Certificate[len(pair.Certificate)-1])
	if err != nil {
		return pair.Leaf // it was parsed when the pair was made
	}
	return last
}

type signRequest struct {
	Node    ident.NodeID `json:"node"`
	Request []byte       `json:"request"`
}

type signAnswer struct {
	Chain []byte `json:"chain"`
}

// sign gets a certificate for a node from a holder of the authority.
func (n *Node) sign(ctx context.Context, node ident.NodeID, request []byte) (signAnswer, error) {
	err := error(fault.New("certificate", fault.Unavailable, "no node with the deployment's authority is known: it is on the node that began the deployment"))
	holders := n.dir.Nodes()
	slices.SortStableFunc(holders, func(a, b directory.Node) int { // this one first
		return boolInt(b.ID == n.identity.Node) - boolInt(a.ID == n.identity.Node)
	})
	for _, h := range holders {
		if !h.HoldsCA || h.State == directory.NodeRemoved {
			continue
		}
		var a signAnswer
		if a, err = ask[signAnswer](ctx, n, h.ID, "sign", signRequest{node, request}); err == nil {
			return a, nil
		}
	}
	return signAnswer{}, err
}

// maxJoining is how long after a node got its id others may ask for its
// certificate.
const maxJoining = time.Hour

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// serveSign signs what a node asks for. The node that asks vouches for who
// proved a token; the directory says which nodes there are, and where.
func (n *Node) serveSign(ctx context.Context, from peer.Peer, rq signRequest) (signAnswer, error) {
	n.rotateMu.Lock()
	authority, err := newFiles(n.fs, n.data).authority(authorityFile, authorityKey)
	n.rotateMu.Unlock()
	if err != nil {
		return signAnswer{}, err
	}
	if authority == nil {
		return signAnswer{}, fault.New("certificate", fault.Unavailable, "node %s does not hold the deployment's authority", n.identity.Node)
	}
	if !n.creds.bundle.Load().Has(authority.Fingerprint()) {
		return signAnswer{}, fault.New("certificate", fault.Unavailable, "the authority that node %s holds was replaced: take its ca.crt and ca.key away", n.identity.Node)
	}
	node, ok := n.dir.Node(rq.Node)
	if !ok {
		// It joined a moment ago.
		if _, err := n.dir.Propose(ctx, directory.Barrier{}); err != nil {
			return signAnswer{}, err
		}
		node, ok = n.dir.Node(rq.Node)
	}
	if !ok || node.State == directory.NodeRemoved {
		return signAnswer{}, fault.New("certificate", fault.Denied, "node %s is none of this deployment", rq.Node)
	}
	if from.Node != rq.Node && time.Since(node.Joined) > maxJoining {
		return signAnswer{}, fault.New("certificate", fault.Denied, "node %s asks for a certificate of node %s, which joined long ago", from.Node, rq.Node)
	}
	id := pki.Identity{Deployment: n.identity.Deployment, Node: node.ID, Region: node.Region}
	chain, err := authority.Sign(rq.Request, id, time.Now(), n.certificateValid, hosts(node.PeerAddr, node.PGAddr, node.RPCAddr)...)
	if err != nil {
		return signAnswer{}, err
	}
	n.log.Info("a certificate was signed", "node", node.ID.String(), "asked", from.Node.String())
	return signAnswer{chain}, nil
}

// renew gets the node a new certificate, under a new key.
func (n *Node) renew(ctx context.Context) (time.Time, error) {
	key, request, err := pki.NewRequest()
	if err != nil {
		return time.Time{}, err
	}
	a, err := n.sign(ctx, n.identity.Node, request)
	if err != nil {
		return time.Time{}, err
	}
	pair, err := pki.Pair(a.Chain, key)
	if err != nil {
		return time.Time{}, err
	}
	if !n.creds.bundle.Load().Has(pki.FingerprintOf(authorityOf(pair))) {
		return time.Time{}, fault.New("certificate", fault.Unavailable, "the new certificate's authority is not known here yet: it will be tried again")
	}
	if err := newFiles(n.fs, n.data).replacePair(a.Chain, key); err != nil {
		return time.Time{}, err
	}
	n.creds.pair.Store(pair)
	n.log.Info("the node has a new certificate", "expires", pair.Leaf.NotAfter)
	return pair.Leaf.NotAfter, nil
}

// The names under which a new certificate waits for its key's rename.
const (
	nextCertificate = certificateFile + ".next"
	nextKey         = keyFile + ".next"
)

// replacePair puts certificate and key in place of the old ones, so that
// after a crash finishPair finds either both or neither.
func (f files) replacePair(chain, key []byte) error {
	if err := f.write(nextKey, key); err != nil {
		return err
	}
	if err := f.write(nextCertificate, chain); err != nil { // the decision
		return err
	}
	return f.finishPair()
}

// finishPair ends a replacement that was begun.
func (f files) finishPair() error {
	chain, err := f.read(nextCertificate)
	if err != nil || chain == nil {
		return err
	}
	key, err := f.read(nextKey)
	if err != nil {
		return err
	}
	if key != nil {
		if err := f.write(keyFile, key); err != nil {
			return err
		}
	}
	if err := f.write(certificateFile, chain); err != nil {
		return err
	}
	if err := f.remove(nextCertificate); err != nil {
		return err
	}
	return f.remove(nextKey)
}

// followCA takes over which authorities the directory says to believe.
func (n *Node) followCA(context.Context) error {
	text, _ := n.dir.CA()
	if len(text) == 0 || string(text) == string(n.creds.bundle.Load().PEM()) {
		return nil
	}
	bundle, err := pki.ParseBundle(text)
	if err == nil {
		err = newFiles(n.fs, n.data).write(bundleFile, text)
	}
	if err != nil {
		return err
	}
	n.creds.bundle.Store(bundle)
	n.net.Recheck()
	return nil
}

// renewalDue says whether the certificate should be replaced: a third of its
// time is left, or its authority is not the newest any more.
func (n *Node) renewalDue(now time.Time) bool {
	pair := n.creds.pair.Load()
	prints := n.creds.bundle.Load().Fingerprints()
	return pki.Due(pair.Leaf, now) || prints[len(prints)-1] != pki.FingerprintOf(authorityOf(pair))
}
