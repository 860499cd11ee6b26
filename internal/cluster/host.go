package cluster

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"kimberlite/internal/directory"
	"kimberlite/internal/disk"
	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/replication"
	"kimberlite/internal/shard"
	"kimberlite/internal/tenant"
)

// host is a shard's replica on this node.
type host struct {
	n       *Node
	id      ident.ShardID
	replica ident.ReplicaID
	shard   *shard.Shard
	tenants *tenant.Manager

	cancel context.CancelFunc // ends the leader's work
	wg     sync.WaitGroup
	poke   chan struct{}

	// creating keeps the creation of a tenant and the sweeper apart.
	creatingMu sync.Mutex
	creating   map[ident.TenantID]struct{}

	rate    rate
	keysAt  uint64 // the index up to which pullKeys has all; its alone
	namesAt uint64 // the directory's index that the names follow; settleTenants' alone
	sweeper sweeper

	phaseMu sync.Mutex // held while a tenant's phase goes between fenced, retired and serving
	// phases says since when tenants are seen moving, and clearedAt at which
	// index all were looked at: moveTenants' alone.
	phases    map[reservation]time.Time
	clearedAt uint64
}

// host returns this node's replica of a shard, or nil.
func (n *Node) host(id ident.ShardID) *host {
	n.hostsMu.RLock()
	defer n.hostsMu.RUnlock()
	return n.hosts[id]
}

// hosted returns all replicas on this node, by shard.
func (n *Node) hosted() []*host {
	n.hostsMu.RLock()
	all := make([]*host, 0, len(n.hosts))
	for _, h := range n.hosts {
		all = append(all, h)
	}
	n.hostsMu.RUnlock()
	slices.SortFunc(all, func(a, b *host) int { return compareShards(a.id, b.id) })
	return all
}

func compareShards(a, b ident.ShardID) int {
	switch {
	case a.Uint64() < b.Uint64():
		return -1
	case a.Uint64() > b.Uint64():
		return 1
	}
	return 0
}

// converge opens the replicas that the directory wants here and that are not
// open, and takes leave of those that it does not want any more. An error of
// one shard does not keep others from being opened.
func (n *Node) converge(ctx context.Context) error {
	self := n.identity.Node
	if _, ok := n.dir.Node(self); ok {
		n.ready.Store(true)
	}
	var errs []error
	wanted := map[ident.ShardID]bool{}
	for _, sh := range n.dir.Shards() {
		r, ok := sh.On(self)
		if !ok {
			continue
		}
		m, marked := n.marks.get(sh.ID)
		if marked && (m.Leaving || m.Replica != r.ID) {
			continue // the one before has to be gone first
		}
		wanted[sh.ID] = true
		if n.host(sh.ID) == nil {
			if err := n.openHost(&sh, r); err != nil {
				n.log.Error("a replica could not be opened", "shard", sh.ID.String(), "error", err.Error())
				errs = append(errs, err)
			}
		}
	}
	for id, m := range n.marks.list() {
		if !wanted[id] {
			n.maybeLeave(ctx, id, m)
		}
	}
	return errors.Join(errs...)
}

func (n *Node) shardDir(id ident.ShardID) string {
	return filepath.Join(n.data, "shards", id.String())
}

// openHost opens a replica and starts the work of its leader.
func (n *Node) openHost(sh *directory.Shard, r replication.Replica) error {
	dir := n.shardDir(sh.ID)
	if err := n.marks.set(sh.ID, &mark{Replica: r.ID}); err != nil {
		return err
	}
	if err := disk.MkdirAllDurable(n.fs, filepath.Join(dir, "tenants"), 0o700); err != nil {
		return fault.Wrap("open shard", fault.Unavailable, err, "cannot make %s", dir)
	}
	h := &host{
		n: n, id: sh.ID, replica: r.ID, poke: make(chan struct{}, 1), creating: map[ident.TenantID]struct{}{},
	}
	o := n.parts.Shard
	o.ID, o.Dir, o.Node, o.Replica, o.Peer = sh.ID, dir, n.identity.Node, r.ID, replicaPeer{n}
	o.Join = true
	for _, first := range sh.Initial {
		if first.ID == r.ID {
			o.Members, o.Join = sh.Initial, false
		}
	}
	o.OnChange = func(replication.Status) { h.wake() }
	o.Logger = n.log
	s, err := shard.Open(o)
	if err != nil {
		return err
	}
	h.shard = s
	t := n.parts.Tenant
	t.Shard, t.KeySpread, t.Logger = s, keySpread{n}, n.log
	h.tenants = tenant.NewManager(t)
	n.hostsMu.Lock()
	n.hosts[sh.ID] = h
	n.hostsMu.Unlock()
	ctx, cancel := context.WithCancel(n.ctx)
	h.cancel = cancel
	h.wg.Go(func() { h.run(ctx) })
	n.log.Info("a replica is open", "shard", sh.ID.String(), "replica", r.ID.String())
	return nil
}

func (h *host) wake() {
	select {
	case h.poke <- struct{}{}:
	default:
	}
	h.n.routes.changed()
}

// close closes a replica. What runs is waited for until ctx ends.
func (h *host) close(ctx context.Context) error {
	h.cancel()
	h.wg.Wait()
	return errors.Join(h.tenants.Close(ctx), h.shard.Close())
}

// maybeLeave removes a replica that the directory does not want here, once
// the group has dropped it: a member that vanished before would be missing in
// votes.
func (n *Node) maybeLeave(ctx context.Context, id ident.ShardID, m mark) {
	if !m.Leaving {
		if !n.dropped(ctx, id, m.Replica) {
			return
		}
		if err := n.marks.set(id, &mark{Replica: m.Replica, Leaving: true}); err != nil {
			n.log.Error("a replica could not be marked", "shard", id.String(), "error", err.Error())
			return
		}
	}
	if err := n.leave(ctx, id); err != nil {
		n.log.Error("a replica could not be removed", "shard", id.String(), "error", err.Error())
		return
	}
	n.log.Info("a replica is gone", "shard", id.String(), "replica", m.Replica.String())
}

// dropped says whether a group has a replica no more.
func (n *Node) dropped(ctx context.Context, id ident.ShardID, replica ident.ReplicaID) bool {
	if n.dir.Deployment().ID == "" {
		return false
	}
	sh, ok := n.dir.Shard(id)
	if !ok {
		return n.dir.Allotted(id) // the shard was removed, with no tenant on it
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	for _, w := range sh.Want {
		a, err := ask[membersAnswer](ctx, n, w.Node, "members", membersCall{id})
		if err == nil && a.Leads {
			return !slices.ContainsFunc(a.Members, func(r replication.Replica) bool { return r.ID == replica })
		}
	}
	return false
}

type membersCall struct {
	Shard ident.ShardID `json:"shard"`
}

type membersAnswer struct {
	Leads   bool                  `json:"leads"`
	Leader  ident.NodeID          `json:"leader"`
	Term    uint64                `json:"term"`
	Members []replication.Replica `json:"members"`
}

// leave closes a replica and destroys what this node has of it: keys first,
// then files, then the replicated log.
func (n *Node) leave(ctx context.Context, id ident.ShardID) error {
	if h := n.host(id); h != nil {
		n.hostsMu.Lock()
		delete(n.hosts, id)
		n.hostsMu.Unlock()
		// What fails to close is about to be removed.
		if err := h.close(ctx); err != nil {
			n.log.Warn("a replica did not close well before its removal", "shard", id.String(), "error", err.Error())
		}
	}
	if err := n.destroyKeysOf(id); err != nil {
		return err
	}
	dir := n.shardDir(id)
	err := n.fs.RemoveAll(dir)
	if err == nil {
		err = n.fs.SyncDir(filepath.Dir(dir))
	}
	if err != nil {
		return fault.Wrap("remove replica", fault.Unavailable, err, "cannot remove %s", dir)
	}
	if err := n.parts.Store.Destroy(id); err != nil {
		return err
	}
	return n.marks.set(id, nil)
}

// tenantsOn returns the tenants with files in a shard's directory.
func (n *Node) tenantsOn(id ident.ShardID) ([]ident.TenantID, error) {
	names, err := n.fs.ReadDir(filepath.Join(n.shardDir(id), "tenants"))
	if err != nil {
		if _, statErr := n.fs.Stat(n.shardDir(id)); statErr != nil {
			return nil, nil //nolint:nilerr // removed already
		}
		return nil, fault.Wrap("cluster", fault.Unavailable, err, "cannot read the directory of shard %s", id)
	}
	var all []ident.TenantID
	for _, name := range names {
		if t, err := ident.ParseTenantID(name); err == nil {
			all = append(all, t)
		}
	}
	return all, nil
}

// destroyKeysOf destroys the wrapped KEKs of a shard's tenants, but of those
// that another shard of this node has.
func (n *Node) destroyKeysOf(id ident.ShardID) error {
	all, err := n.tenantsOn(id)
	if err != nil {
		return err
	}
	// Tenants without files yet have keys all the same.
	n.dir.TenantsOf(id, func(t directory.Tenant) bool {
		all = append(all, t.ID)
		return true
	})
	for _, t := range all {
		if n.keptElsewhere(t, id) {
			continue
		}
		if err := n.parts.Ring.DestroyAll(t); err != nil && !fault.Is(err, fault.NotFound) {
			return err
		}
	}
	return nil
}

// keptElsewhere says whether another shard of this node has a tenant.
func (n *Node) keptElsewhere(t ident.TenantID, but ident.ShardID) bool {
	for _, h := range n.hosted() {
		if h.id == but {
			continue
		}
		if _, err := h.shard.Tenant(t); err == nil {
			return true
		}
		if at, ok := n.dir.Tenant(t); ok && (at.Shard == h.id || at.Target == h.id && at.State == directory.TenantMoving) {
			return true
		}
	}
	return false
}
