package cluster

import (
	"bytes"
	"context"
	"slices"
	"sync"
	"time"

	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/keyring"
	"kimberlite/internal/peer"
	"kimberlite/internal/replication"
)

// Wrapped KEKs go from node to node beside the replicated log; see
// tenant.KeySpread. Receivers are nodes of the shard's region only.

const keyTimeout = 5 * time.Second

type keyCall struct {
	Shard      ident.ShardID       `json:"shard"`
	Tenant     ident.TenantID      `json:"tenant"`
	Generation ident.KeyGeneration `json:"generation"`
	Wrapped    []byte              `json:"wrapped,omitempty"`
}

type keyAnswer struct {
	Wrapped []byte `json:"wrapped"`
}

func (n *Node) handleKeys() {
	answer(n, "key-put", n.serveKeyPut)
	answer(n, "key-get", n.serveKeyGet)
	answer(n, "key-destroy", n.serveKeyDestroy)
}

// keySpread implements tenant.KeySpread.
type keySpread struct{ n *Node }

// members returns the members of a shard that is on this node.
func (s keySpread) members(id ident.ShardID) ([]replication.Replica, error) {
	h := s.n.host(id)
	if h == nil {
		return nil, fault.New("keys", fault.Unavailable, "shard %s is not on this node any more", id)
	}
	return h.shard.Status().Members, nil
}

// Put implements tenant.KeySpread.
func (s keySpread) Put(ctx context.Context, id ident.ShardID, t ident.TenantID, g ident.KeyGeneration, wrapped []byte) error {
	members, err := s.members(id)
	if err != nil {
		return err
	}
	return s.n.putKey(ctx, id, members, keyCall{id, t, g, wrapped})
}

// putKey has members hold a key; it returns once a majority of the voters
// does. The others are asked, too, and pull it themselves if they do not hear.
func (n *Node) putKey(ctx context.Context, id ident.ShardID, members []replication.Replica, c keyCall) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), keyTimeout)
	type outcome struct {
		voter bool
		err   error
	}
	outcomes := make(chan outcome, len(members))
	var wg sync.WaitGroup
	voters := 0
	for _, m := range members {
		if !m.Learner {
			voters++
		}
		wg.Go(func() {
			_, err := ask[none](ctx, n, m.Node, "key-put", c)
			outcomes <- outcome{!m.Learner, err}
		})
	}
	go func() {
		wg.Wait()
		cancel()
	}()
	need, have := voters/2+1, 0
	var last error
	for range members {
		o := <-outcomes
		switch {
		case fault.Is(o.err, fault.AlreadyExists):
			return o.err
		case o.err != nil:
			last = o.err
		case o.voter:
			have++
		}
		if have >= need {
			return nil
		}
	}
	return fault.Wrap("keys", fault.Unavailable, last, "only %d of %d replicas of shard %s hold the tenant's key, which is no majority: try again", have, voters, id).ForTenant(c.Tenant)
}

func (n *Node) serveKeyPut(_ context.Context, from peer.Peer, c keyCall) (none, error) {
	if err := n.mayHold(from, c.Shard); err != nil {
		return none{}, err
	}
	err := n.parts.Ring.Put(c.Tenant, c.Generation, c.Wrapped)
	if fault.Is(err, fault.AlreadyExists) {
		if have, getErr := n.parts.Ring.Get(c.Tenant, c.Generation); getErr == nil && bytes.Equal(have, c.Wrapped) {
			err = nil
		}
	}
	return none{}, err
}

// mayHold refuses keys of a shard that is not on this node, and from outside
// of the region.
func (n *Node) mayHold(from peer.Peer, id ident.ShardID) error {
	if from.Region != n.identity.Region {
		return fault.New("keys", fault.Denied, "node %s is in region %s: no key of a tenant in region %s goes there or comes from there", from.Node, from.Region, n.identity.Region)
	}
	sh, ok := n.dir.Shard(id)
	if ok {
		if _, ok = sh.On(n.identity.Node); ok {
			return nil
		}
	}
	if n.host(id) != nil {
		return nil
	}
	return fault.New("keys", fault.Unavailable, "shard %s is not on node %s", id, n.identity.Node)
}

// Destroy implements tenant.KeySpread. A replica that does not answer destroys
// the key when it has applied what made it one too many: see destroyOld.
func (s keySpread) Destroy(ctx context.Context, id ident.ShardID, t ident.TenantID, g ident.KeyGeneration) error {
	members, err := s.members(id)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, keyTimeout)
	defer cancel()
	errs := make(chan error, len(members))
	for _, m := range members {
		go func() {
			_, err := ask[none](ctx, s.n, m.Node, "key-destroy", keyCall{Shard: id, Tenant: t, Generation: g})
			if err != nil && m.Node != s.n.identity.Node {
				s.n.log.Warn("a replica has not destroyed a key yet, and will by itself", "shard", id.String(), "tenant", t.String(), "node", m.Node.String(), "error", err.Error())
				err = nil
			}
			errs <- err
		}()
	}
	for range members {
		if e := <-errs; e != nil {
			err = e
		}
	}
	return err
}

func (n *Node) serveKeyDestroy(_ context.Context, from peer.Peer, c keyCall) (none, error) {
	if err := n.mayHold(from, c.Shard); err != nil {
		return none{}, err
	}
	err := n.parts.Ring.Destroy(c.Tenant, c.Generation)
	if fault.Is(err, fault.NotFound) {
		err = nil
	}
	return none{}, err
}

// Pull implements tenant.KeySpread.
func (s keySpread) Pull(ctx context.Context, id ident.ShardID, t ident.TenantID, g ident.KeyGeneration) ([]byte, error) {
	members, err := s.members(id)
	if err != nil {
		return nil, err
	}
	err = fault.New("keys", fault.NotFound, "no replica of shard %s has the key of tenant %s", id, t).ForTenant(t)
	for _, m := range members {
		if m.Node == s.n.identity.Node {
			continue
		}
		a, askErr := ask[keyAnswer](ctx, s.n, m.Node, "key-get", keyCall{Shard: id, Tenant: t, Generation: g})
		if askErr == nil {
			return a.Wrapped, nil
		}
		if !fault.Is(askErr, fault.NotFound) {
			err = askErr
		}
	}
	return nil, err
}

func (n *Node) serveKeyGet(_ context.Context, from peer.Peer, c keyCall) (keyAnswer, error) {
	if from.Region != n.identity.Region {
		return keyAnswer{}, fault.New("keys", fault.Denied, "node %s is in region %s: no key of a tenant in region %s goes there", from.Node, from.Region, n.identity.Region)
	}
	wrapped, err := n.parts.Ring.Get(c.Tenant, c.Generation)
	return keyAnswer{wrapped}, err
}

// pullKeys has a replica hold the keys of its tenants, and no older ones,
// whatever it missed while it was away.
func (h *host) pullKeys(ctx context.Context) error {
	applied := h.shard.Status().Applied
	if applied == h.keysAt {
		return nil // a quiet shard costs nothing
	}
	var last error
	for _, st := range h.shard.Tenants() {
		if ctx.Err() != nil {
			return fault.OfContext("keys", ctx)
		}
		env, err := keyring.DecodeEnvelope(st.Envelope)
		if err != nil {
			return err
		}
		have := h.n.parts.Ring.Generations(st.ID)
		if !slices.Contains(have, env.KEK) {
			wrapped, err := (keySpread{h.n}).Pull(ctx, h.id, st.ID, env.KEK)
			if err == nil {
				err = h.n.parts.Ring.Put(st.ID, env.KEK, wrapped)
			}
			if err != nil {
				last = err
				continue
			}
			have = append(have, env.KEK)
		}
		if err := h.destroyOld(st.ID, env.KEK, have); err != nil {
			last = err
		}
	}
	if last == nil {
		h.keysAt = applied
	}
	return last
}

// destroyOld destroys the generations before the one that the replicated
// state names: who replaced it has asked for that, maybe while this node was
// away. A later one may be that of a change under way.
func (h *host) destroyOld(t ident.TenantID, named ident.KeyGeneration, have []ident.KeyGeneration) error {
	for _, g := range have {
		if g.Uint32() >= named.Uint32() {
			continue
		}
		if err := h.n.parts.Ring.Destroy(t, g); err != nil && !fault.Is(err, fault.NotFound) {
			return err
		}
	}
	return nil
}

// KeysHeld returns the generations of a tenant's KEK that this node holds,
// wrapped.
func (n *Node) KeysHeld(t ident.TenantID) []ident.KeyGeneration {
	return n.parts.Ring.Generations(t)
}
