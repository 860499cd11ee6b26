package directory

import (
	"bytes"
	"crypto/hmac"
	"slices"

	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
)

func (c Bootstrap) apply(s *state, _ uint64) (Result, *fault.Error) {
	const op = "cluster init"
	first := ident.NewNodeID(1)
	switch s.deployment.ID {
	case "":
	case c.Deployment:
		return Result{Node: first, Generation: s.ca.Generation}, nil
	default:
		return Result{}, fault.New(op, fault.AlreadyExists, "the deployment is made already: join it with `kimberlite node join`")
	}
	if err := s.addRegion(c.Region); err != nil {
		return Result{}, err
	}
	s.deployment = Deployment{ID: c.Deployment, Created: s.now()}
	s.ca = document{Generation: 1, Data: c.CA}
	s.touch(keyCA)
	s.nextNode = first.Uint64()
	s.putNode(c.node(first, c.Region, s))
	return Result{Node: first, Generation: 1}, nil
}

// node returns a node that joins now.
func (a NodeAddresses) node(id ident.NodeID, region ident.Region, s *state) *Node {
	n := &Node{ID: id, Region: region, Joined: s.now()}
	a.into(n)
	return n
}

func (a NodeAddresses) into(n *Node) {
	n.Zone, n.PeerAddr, n.PGAddr, n.RPCAddr = a.Zone, a.PeerAddr, a.PGAddr, a.RPCAddr
	n.Version, n.HoldsCA = a.Version, a.HoldsCA
}

func (c AddNode) apply(s *state, _ uint64) (Result, *fault.Error) {
	const op = "node join"
	t := s.tokens[c.Proof.ID]
	if t == nil || !hmac.Equal(t.Hash, c.Proof.Hash) {
		return Result{}, invalidToken()
	}
	switch {
	case !t.Used.IsZero() && len(c.Request) > 0 && bytes.Equal(t.Request, c.Request):
		return Result{Node: t.Used}, nil
	case !t.Used.IsZero():
		return Result{}, fault.New(op, fault.Unauthenticated, "the join token was used already, by node %s: make a new one with `kimberlite node token create`", t.Used)
	case t.Region != c.Region:
		return Result{}, fault.New(op, fault.Denied, "the join token is for a node in region %s, and this node says that it is in %s: a node joins the region that its token was made for", t.Region, c.Region)
	}
	if err := s.addRegion(c.Region); err != nil {
		return Result{}, err
	}
	s.nextNode++
	id := ident.NewNodeID(s.nextNode)
	s.putNode(c.node(id, c.Region, s))
	used := *t
	used.Used, used.Request = id, c.Request
	s.putToken(&used)
	return Result{Node: id}, nil
}

func invalidToken() *fault.Error {
	return fault.New("node join", fault.Unauthenticated, "the join token is not valid, has expired or was revoked: make a new one with `kimberlite node token create`")
}

func (c UpdateNode) apply(s *state, _ uint64) (Result, *fault.Error) {
	const op = "node update"
	n, err := s.node(op, c.Node)
	switch {
	case err != nil:
		return Result{}, err
	case n.State == NodeRemoved:
		return Result{}, wasRemoved(op, n.ID)
	case n.Region != c.Region:
		return Result{}, fault.New(op, fault.Denied, "node %s belongs to region %s and says now that it is in %s: a node never changes its region, since the data on its disk would change it too; wipe it and join it as a new node", n.ID, n.Region, c.Region)
	}
	changed := *n
	c.into(&changed)
	s.putNode(&changed)
	return Result{Node: n.ID}, nil
}

func (s *state) node(op string, id ident.NodeID) (*Node, *fault.Error) {
	n := s.nodes[id]
	if n == nil {
		return nil, fault.New(op, fault.NotFound, "there is no node %s: see `kimberlite node list`", id)
	}
	return n, nil
}

func wasRemoved(op string, id ident.NodeID) *fault.Error {
	return fault.New(op, fault.Denied, "node %s was removed from the deployment, for good: wipe it and join it as a new node", id)
}

func (c SetNodeState) apply(s *state, _ uint64) (Result, *fault.Error) {
	const op = "node state"
	n, err := s.node(op, c.Node)
	switch {
	case err != nil:
		return Result{}, err
	case c.State > NodeRemoved:
		return Result{}, fault.New(op, fault.Invalid, "a node is active, draining or removed")
	case n.State == c.State:
		return Result{Node: n.ID}, nil
	case n.State == NodeRemoved:
		return Result{}, wasRemoved(op, n.ID)
	}
	if c.State == NodeRemoved {
		if err := s.mayRemove(op, n.ID); err != nil {
			return Result{}, err
		}
	}
	changed := *n
	changed.State = c.State
	s.putNode(&changed)
	return Result{Node: n.ID}, nil
}

// mayRemove refuses to remove a node that is needed.
func (s *state) mayRemove(op string, id ident.NodeID) *fault.Error {
	var on []ident.ShardID
	for _, h := range s.shards {
		if _, ok := h.On(id); ok {
			on = append(on, h.ID)
		}
	}
	if len(on) > 0 {
		first := slices.MinFunc(on, compareShards)
		return fault.New(op, fault.Conflict, "node %s has replicas of %d shards, the first is shard %s: drain it with `kimberlite node drain %s` and wait until they stand elsewhere", id, len(on), first, id)
	}
	for _, n := range s.nodes {
		if n.ID != id && n.State != NodeRemoved {
			return nil
		}
	}
	return fault.New(op, fault.Conflict, "node %s is the last one of the deployment", id)
}

func (c CreateToken) apply(s *state, _ uint64) (Result, *fault.Error) {
	const op = "token create"
	if !s.now().Before(c.Token.Expires) {
		return Result{}, fault.New(op, fault.Invalid, "the token has expired before it was made: check the node's clock, or let it live longer")
	}
	if s.tokens[c.Token.ID] != nil {
		return Result{}, fault.New(op, fault.AlreadyExists, "there is a token %s already", c.Token.ID)
	}
	if len(s.tokens) >= maxTokens {
		return Result{}, fault.New(op, fault.TooLarge, "there are %d tokens that have not expired, which is the most: revoke some", len(s.tokens))
	}
	t := c.Token
	t.Created, t.Used, t.Request = s.now(), ident.NodeID{}, nil
	s.putToken(&t)
	return Result{}, nil
}

func (c RevokeToken) apply(s *state, _ uint64) (Result, *fault.Error) {
	const op = "token revoke"
	t := s.tokens[c.ID]
	if t == nil {
		return Result{}, fault.New(op, fault.NotFound, "there is no token %q: it was revoked, or has expired", clip(c.ID))
	}
	if !t.Used.IsZero() {
		return Result{}, fault.New(op, fault.Conflict, "node %s has joined with the token already: remove the node instead", t.Used)
	}
	s.dropToken(c.ID)
	return Result{}, nil
}

func (c SetOperators) apply(s *state, _ uint64) (Result, *fault.Error) {
	if s.operators.Generation != c.Generation {
		return Result{}, changedMeanwhile("operators", "the operators", s.operators.Generation, c.Generation)
	}
	s.operators = document{Generation: c.Generation + 1, Data: c.Document}
	s.touch(keyOperators)
	return Result{Generation: s.operators.Generation}, nil
}

func (c SetCA) apply(s *state, _ uint64) (Result, *fault.Error) {
	if s.ca.Generation != c.Generation {
		return Result{}, changedMeanwhile("certificates", "the deployment's certificates", s.ca.Generation, c.Generation)
	}
	s.ca = document{Generation: c.Generation + 1, Data: c.PEM}
	s.touch(keyCA)
	return Result{Generation: s.ca.Generation}, nil
}

func changedMeanwhile(op, what string, have, want uint64) *fault.Error {
	return fault.New(op, fault.Conflict, "%s have changed meanwhile (generation %d, and not %d): look again, then repeat it", what, have, want)
}

func (c SetSetting) apply(s *state, _ uint64) (Result, *fault.Error) {
	if _, ok := s.settings[c.Name]; !ok && c.Value != "" && len(s.settings) >= maxSettings {
		return Result{}, fault.New("setting", fault.TooLarge, "there are %d settings, which is the most", maxSettings)
	}
	if c.Value == "" {
		delete(s.settings, c.Name)
	} else {
		s.settings[c.Name] = c.Value
	}
	s.touch(settingKey(c.Name))
	return Result{}, nil
}

func (Barrier) apply(*state, uint64) (Result, *fault.Error) { return Result{}, nil }
