package cluster

import (
	"context"
	"errors"
	"time"

	"kimberlite/internal/directory"
	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/peer"
	"kimberlite/internal/shard"
)

// What a move asks of the shard that a tenant comes from, and what each shard
// puts right by itself.

func (n *Node) handleMoves() {
	answer(n, "move-state", n.serveMoveState)
	answer(n, "move-fence", n.serveMoveFence)
	answer(n, "move-retire", n.serveMoveRetire)
	answer(n, "move-lift", n.serveMoveLift)
	answer(n, "move-release", n.serveMoveRelease)
	answer(n, "key-drop", n.serveKeyDrop)
	answer(n, "move-status", n.serveMoveStatus)
}

// sourceOf returns the replica here that leads the shard a tenant comes from.
func (n *Node) sourceOf(from peer.Peer, c tenantCall) (*host, error) {
	h, err := n.replicaFor(from, c.Shard)
	if err != nil {
		return nil, err
	}
	if _, leads := h.shard.Lead(); !leads {
		return nil, h.shard.ErrMisrouted("tenant move")
	}
	return h, nil
}

func (n *Node) serveMoveState(ctx context.Context, from peer.Peer, c tenantCall) (shard.TenantState, error) {
	h, err := n.sourceOf(from, c)
	if err != nil {
		return shard.TenantState{}, err
	}
	if err := h.shard.ReadIndex(ctx); err != nil {
		return shard.TenantState{}, err
	}
	return h.shard.Tenant(c.Tenant)
}

func (n *Node) serveMoveFence(ctx context.Context, from peer.Peer, c tenantCall) (shard.TenantState, error) {
	h, err := n.sourceOf(from, c)
	if err != nil {
		return shard.TenantState{}, err
	}
	return h.shard.Fence(ctx, c.Tenant, c.Epoch)
}

func (n *Node) serveMoveRetire(ctx context.Context, from peer.Peer, c tenantCall) (shard.TenantState, error) {
	h, err := n.sourceOf(from, c)
	if err != nil {
		return shard.TenantState{}, err
	}
	h.phaseMu.Lock()
	err = h.shard.Retire(ctx, c.Tenant, c.Epoch)
	h.phaseMu.Unlock()
	if err != nil {
		return shard.TenantState{}, err
	}
	return h.shard.Tenant(c.Tenant)
}

// serveMoveLift lifts a fence; a retired tenant stays so.
func (n *Node) serveMoveLift(ctx context.Context, from peer.Peer, c tenantCall) (shard.TenantState, error) {
	h, err := n.sourceOf(from, c)
	if err != nil {
		return shard.TenantState{}, err
	}
	st, err := h.shard.Tenant(c.Tenant)
	if err == nil && st.Phase == shard.Fenced && st.Epoch == c.Epoch {
		err = h.unfence(ctx, c.Tenant, c.Epoch)
	}
	return st, err
}

func (n *Node) serveMoveRelease(ctx context.Context, from peer.Peer, c tenantCall) (none, error) {
	h, err := n.sourceOf(from, c)
	if err != nil {
		return none{}, err
	}
	return none{}, h.shard.Release(ctx, c.Tenant, c.Epoch)
}

func (n *Node) serveKeyDrop(ctx context.Context, from peer.Peer, c tenantCall) (none, error) {
	if from.Region != n.identity.Region {
		return none{}, fault.New("keys", fault.Denied, "node %s is in another region", from.Node)
	}
	wait, cancel := context.WithTimeout(ctx, copyWait)
	defer cancel()
	if err := n.dir.WaitApplied(wait, c.Index); err != nil {
		return none{}, err
	}
	t, ok := n.dir.Tenant(c.Tenant)
	if ok && t.Shard == c.Shard {
		return none{}, fault.New("keys", fault.Conflict, "tenant %s is in shard %s, as far as node %s knows", c.Tenant, c.Shard, n.identity.Node)
	}
	if !ok || n.keptElsewhere(c.Tenant, c.Shard) {
		return none{}, nil
	}
	err := n.parts.Ring.DestroyAll(c.Tenant)
	if fault.Is(err, fault.NotFound) {
		err = nil
	}
	return none{}, err
}

// unfence has a fenced tenant serve again. One that is retired stays so: the
// lock keeps Retire from coming between the look and the command. (A Retire
// that nobody heard succeed may be undone: then nobody flips.)
func (h *host) unfence(ctx context.Context, id ident.TenantID, epoch uint64) error {
	h.phaseMu.Lock()
	defer h.phaseMu.Unlock()
	st, err := h.shard.Tenant(id)
	if err != nil || st.Phase != shard.Fenced || st.Epoch != epoch {
		return err
	}
	return h.shard.Unfence(ctx, id, epoch)
}

// clear puts right what moves have left in this shard: fences that nobody
// lifts, copies of moves that were given up, and tenants that went elsewhere.
func (h *host) clear(ctx context.Context) error {
	applied := h.shard.Status().Applied
	if applied == h.clearedAt && len(h.phases) == 0 {
		return nil // a quiet shard costs nothing
	}
	now := time.Now()
	var errs []error
	seen := map[reservation]time.Time{}
	for _, st := range h.shard.Tenants() {
		if st.Phase == shard.Serving {
			continue
		}
		key := reservation{st.ID, st.Epoch}
		since, ok := h.phases[key]
		if !ok {
			since = now
		}
		seen[key] = since
		errs = append(errs, h.clearOne(ctx, st, now.Sub(since)))
	}
	h.phases, h.clearedAt = seen, applied
	return errors.Join(errs...)
}

// clearOne is clear for one tenant that has been in its phase for a while.
func (h *host) clearOne(ctx context.Context, st shard.TenantState, age time.Duration) error {
	n := h.n
	t, ok := n.dir.Tenant(st.ID)
	switch {
	case !ok:
		return nil // this node's copy of the directory may be older than the tenant
	case st.Phase == shard.Incoming:
		if t.State == directory.TenantMoving && t.Target == h.id || t.State == directory.TenantReleasing && t.Shard == h.id || t.Shard == h.id {
			return nil // under way
		}
		if _, err := n.dir.Propose(ctx, directory.Barrier{}); err != nil {
			return err
		}
		if again, _ := n.dir.Tenant(st.ID); again.Epoch != t.Epoch || again.State != t.State {
			return nil
		}
		if err := h.shard.Release(ctx, st.ID, st.Epoch); err != nil {
			return err
		}
		return n.dropKeys(ctx, h.id, st.ID)
	case t.Shard != h.id:
		return nil // the owner's shard asks for the release
	case t.State == directory.TenantMoving && st.Epoch == t.Epoch:
		return h.clearMoving(ctx, t, st, age)
	case st.Epoch < t.Epoch:
		// The move was given up: nobody flips it any more.
		return h.shard.Unfence(ctx, st.ID, st.Epoch)
	}
	return nil
}

// clearMoving lifts a fence that nobody cares for any more, and ends a move
// whose driver is gone.
func (h *host) clearMoving(ctx context.Context, t directory.Tenant, st shard.TenantState, age time.Duration) error {
	switch {
	case st.Phase == shard.Fenced && age >= unfenceAfter:
		return h.unfence(ctx, st.ID, st.Epoch)
	case st.Phase == shard.Retired && age >= abortAfter:
		_, err := h.n.dir.Propose(ctx, directory.AbortMove{Tenant: t.ID, Epoch: t.Epoch})
		return err
	}
	return nil
}
