package cluster

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"time"

	"kimberlite/internal/directory"
	"kimberlite/internal/disk"
	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/peer"
	"kimberlite/internal/pki"
)

// JoinConfig says how a node joins a deployment.
type JoinConfig struct {
	FS  disk.FS
	Dir string // the data directory, which holds no data yet
	// Secret is what CreateToken returned.
	Secret string
	// Contact, if not "", is asked in place of the nodes that the secret names.
	Contact string
	Addresses
}

// secretPrefix marks the secrets that nodes join with:
//
//	kbjoin_<base64url of {"a": [addresses], "f": fingerprint, "s": secret}>
const secretPrefix = "kbjoin_"

type joinSecret struct {
	Addrs       []string `json:"a"`
	Fingerprint string   `json:"f"`
	Secret      string   `json:"s"`
}

func (s joinSecret) String() string {
	text, _ := json.Marshal(s) //nolint:errchkjson // strings
	return secretPrefix + base64.RawURLEncoding.EncodeToString(text)
}

func parseSecret(text string) (joinSecret, pki.Fingerprint, error) {
	bad := fault.New("node join", fault.Invalid, "the join token is not one: want %s… as `kimberlite node token create` printed it", secretPrefix)
	var s joinSecret
	body, found := strings.CutPrefix(strings.TrimSpace(text), secretPrefix)
	raw, err := base64.RawURLEncoding.DecodeString(body)
	if !found || err != nil || json.Unmarshal(raw, &s) != nil || s.Secret == "" {
		return s, pki.Fingerprint{}, bad
	}
	authority, err := pki.ParseFingerprint(s.Fingerprint)
	if err != nil {
		return s, authority, bad
	}
	return s, authority, nil
}

// joinRequest is what a node says that wants to join.
type joinRequest struct {
	Secret  string `json:"secret"`
	Request []byte `json:"request"`
	directory.NodeAddresses
}

// joinAnswer is what it is told.
type joinAnswer struct {
	Deployment string       `json:"deployment"`
	Node       ident.NodeID `json:"node"`
	Region     ident.Region `json:"region"`
	Chain      []byte       `json:"chain"`
	Bundle     []byte       `json:"bundle"`
	Seeds      []Seed       `json:"seeds"`
}

// joinTimeout bounds asking one node.
const joinTimeout = 30 * time.Second

// Join makes a node of a deployment, and in Dir its identity; it has to be
// started then. Repeated after a crash it does what is left: it asks with the
// same key, and gets the same id.
func Join(ctx context.Context, c JoinConfig) (Identity, error) {
	if c.Addresses.peer() == "" {
		return Identity{}, fault.New("node join", fault.Invalid, "the node needs an address for its peers, host and port")
	}
	secret, authority, err := parseSecret(c.Secret)
	if err != nil {
		return Identity{}, err
	}
	if err := fresh("node join", c.FS, c.Dir); err != nil {
		return Identity{}, err
	}
	f := newFiles(c.FS, c.Dir)
	if err := f.make(); err != nil {
		return Identity{}, err
	}
	key, request, err := f.request()
	if err != nil {
		return Identity{}, err
	}
	contacts := secret.Addrs
	if c.Contact != "" {
		contacts = []string{c.Contact}
	}
	a, err := askToJoin(ctx, contacts, authority, joinRequest{
		Secret: secret.Secret, Request: request, NodeAddresses: c.Addresses.directory(false),
	})
	if err != nil {
		return Identity{}, err
	}
	id := Identity{Deployment: a.Deployment, Node: a.Node, Region: a.Region, Seeds: a.Seeds, Addresses: c.Addresses}
	return id, f.settle(id, a.Chain, key, a.Bundle)
}

func (a Addresses) directory(holdsCA bool) directory.NodeAddresses {
	return directory.NodeAddresses{
		Zone: a.Zone, PeerAddr: a.peer(), PGAddr: a.PG, RPCAddr: a.RPC, Version: a.Version, HoldsCA: holdsCA,
	}
}

// askToJoin asks one node after the other until one answers.
func askToJoin(ctx context.Context, contacts []string, authority pki.Fingerprint, rq joinRequest) (a joinAnswer, err error) {
	err = fault.New("node join", fault.Invalid, "the join token names no node to ask: name one")
	for _, addr := range contacts {
		if a, err = askNodeToJoin(ctx, addr, authority, rq); err == nil || ctx.Err() != nil {
			break
		}
		if !fault.Is(err, fault.Unavailable) && !fault.Is(err, fault.Timeout) {
			break
		}
	}
	return a, err
}

func askNodeToJoin(ctx context.Context, addr string, authority pki.Fingerprint, rq joinRequest) (a joinAnswer, err error) {
	ctx, cancel := context.WithTimeout(ctx, joinTimeout)
	defer cancel()
	body, err := json.Marshal(rq)
	if err != nil {
		return a, fault.Wrap("node join", fault.Internal, err, "the request cannot be encoded")
	}
	call, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://node/join", bytes.NewReader(body))
	if err != nil {
		return a, fault.Wrap("node join", fault.Internal, err, "no request")
	}
	client := peer.JoinClient(addr, authority)
	defer client.CloseIdleConnections()
	rs, err := client.Do(call)
	if err != nil {
		return a, fault.Wrap("node join", fault.Unavailable, err, "the node at %s does not answer, or is not of the deployment that the token is for", addr)
	}
	defer rs.Body.Close() //nolint:errcheck // read to its end or given up
	text, err := io.ReadAll(io.LimitReader(rs.Body, maxCall))
	if err != nil {
		return a, fault.Wrap("node join", fault.Unavailable, err, "the node at %s did not finish its answer", addr)
	}
	if rs.StatusCode != http.StatusOK {
		var f failure
		if json.Unmarshal(text, &f) != nil {
			return a, fault.New("node join", fault.Unavailable, "the node at %s answered with HTTP status %d", addr, rs.StatusCode)
		}
		return a, f.err("node join")
	}
	if json.Unmarshal(text, &a) != nil || a.Node.IsZero() {
		return a, fault.New("node join", fault.Incompatible, "the node at %s answered with something else", addr)
	}
	return a, nil
}

// maxJoin bounds a request of somebody who has proven nothing yet.
const maxJoin = 64 << 10

// serveJoin answers nodes that want to join.
func (n *Node) serveJoin(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	var rq joinRequest
	var a joinAnswer
	err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxJoin)).Decode(&rq)
	if err != nil {
		err = fault.New("node join", fault.Invalid, "the request is malformed")
	} else {
		a, err = n.admit(r.Context(), rq)
	}
	var text []byte
	if err == nil {
		text, err = json.Marshal(a)
	}
	if err != nil {
		n.log.Warn("a node was not let in", "remote", r.RemoteAddr, "error", err.Error())
		w.WriteHeader(http.StatusConflict)
		text, _ = json.Marshal(toFailure(err)) //nolint:errchkjson // strings and numbers
	}
	_, _ = w.Write(text) // who asked is gone when it fails
}

// admit lets a node in that has a token.
func (n *Node) admit(ctx context.Context, rq joinRequest) (joinAnswer, error) {
	proof, token, err := n.dir.ProveToken(rq.Secret, time.Now())
	if fault.Is(err, fault.Unauthenticated) {
		// It may be younger than this node's copy.
		if _, err := n.dir.Propose(ctx, directory.Barrier{}); err != nil {
			return joinAnswer{}, err
		}
		proof, token, err = n.dir.ProveToken(rq.Secret, time.Now())
	}
	if err != nil {
		return joinAnswer{}, err
	}
	request := sha256.Sum256(rq.Request) // a node that asks again sends the same
	result, err := n.dir.Propose(ctx, directory.AddNode{
		Proof: proof, Region: token.Region, NodeAddresses: rq.NodeAddresses, Request: request[:],
	})
	if err != nil {
		return joinAnswer{}, err
	}
	id := pki.Identity{Deployment: n.identity.Deployment, Node: result.Node, Region: token.Region}
	signed, err := n.sign(ctx, id.Node, rq.Request)
	if err != nil {
		return joinAnswer{}, err
	}
	bundle, _ := n.dir.CA()
	a := joinAnswer{Deployment: id.Deployment, Node: id.Node, Region: id.Region, Chain: signed.Chain, Bundle: bundle}
	for _, o := range n.dir.Nodes() {
		if o.State == directory.NodeActive && o.ID != id.Node {
			a.Seeds = append(a.Seeds, Seed{Node: o.ID, Region: o.Region, Addr: o.PeerAddr})
		}
	}
	n.log.Info("a node joined", "node", id.Node.String(), "region", id.Region.String())
	return a, nil
}

// maxTokenValid bounds how long a token can be used.
const maxTokenValid = 7 * 24 * time.Hour

// CreateToken makes a token that one node joins with, in a region. The secret
// names where to join and whom to trust, and cannot be had again. valid is an
// hour when it is 0.
func (n *Node) CreateToken(ctx context.Context, region ident.Region, valid time.Duration) (secret string, t directory.Token, err error) {
	if valid == 0 {
		valid = time.Hour
	}
	if valid < 0 || valid > maxTokenValid {
		return "", t, fault.New("token create", fault.Invalid, "a token is valid for at most %d hours", int(maxTokenValid.Hours()))
	}
	now := time.Now()
	inner, t, err := directory.NewToken(region, now, now.Add(valid), rand.Reader)
	if err != nil {
		return "", t, err
	}
	if _, err := n.dir.Propose(ctx, directory.CreateToken{Token: t}); err != nil {
		return "", t, err
	}
	pair, err := n.creds.certificate()
	if err != nil {
		return "", t, err
	}
	s := joinSecret{Secret: inner, Fingerprint: pki.FingerprintOf(authorityOf(pair)).String()}
	s.Addrs = append(s.Addrs, n.addresses.peer())
	for _, o := range n.dir.Nodes() {
		if o.State == directory.NodeActive && o.ID != n.identity.Node && len(s.Addrs) < 4 {
			s.Addrs = append(s.Addrs, o.PeerAddr)
		}
	}
	return s.String(), t, nil
}

// Tokens returns the tokens that are kept.
func (n *Node) Tokens() []directory.Token { return n.dir.Tokens() }

// RevokeToken ends a token.
func (n *Node) RevokeToken(ctx context.Context, id string) error {
	_, err := n.dir.Propose(ctx, directory.RevokeToken{ID: id})
	return err
}
