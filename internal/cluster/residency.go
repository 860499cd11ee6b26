package cluster

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"kimberlite/internal/directory"
	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/peer"
)

// holding is what a node has of one tenant.
type holding struct {
	Tenant ident.TenantID `json:"tenant"`
	Shard  ident.ShardID  `json:"shard"`
	// Bytes are those of all the tenant's files, Log those of its log.
	Bytes int64 `json:"bytes"`
	Log   int64 `json:"log"`
	// Key says that its wrapped KEK is there, State that the shard's
	// replicated state on this node has the tenant.
	Key   bool `json:"key"`
	State bool `json:"state"`
}

type holdingsCall struct {
	// After is the last tenant of the page before.
	After uint64 `json:"after"`
}

type holdingsAnswer struct {
	Holdings []holding `json:"holdings"`
	More     bool      `json:"more"`
}

const holdingsPage = 20_000

// serveHoldings says what this node has, a page at a time by tenant.
func (n *Node) serveHoldings(_ context.Context, _ peer.Peer, c holdingsCall) (holdingsAnswer, error) {
	all, err := n.scan()
	if err != nil {
		return holdingsAnswer{}, err
	}
	first, _ := slices.BinarySearchFunc(all, c.After+1, func(h holding, after uint64) int { return cmp.Compare(h.Tenant.Uint64(), after) })
	all = all[first:]
	// Whole tenants only: one may be in two shards.
	end := min(holdingsPage, len(all))
	for end < len(all) && all[end].Tenant == all[end-1].Tenant {
		end++
	}
	return holdingsAnswer{Holdings: all[:end], More: end < len(all)}, nil
}

// holdings asks a node for all that it has.
func (n *Node) holdings(ctx context.Context, node ident.NodeID) ([]holding, error) {
	var all []holding
	var c holdingsCall
	for {
		a, err := ask[holdingsAnswer](ctx, n, node, "holdings", c)
		if err != nil {
			return nil, err
		}
		all = append(all, a.Holdings...)
		if !a.More || len(a.Holdings) == 0 {
			return all, nil
		}
		c.After = a.Holdings[len(a.Holdings)-1].Tenant.Uint64()
	}
}

// scan looks at this node's disk, and not at what should be on it: every
// directory of every shard, also of those that it hosts no more, the keyring,
// and the shards' replicated state. The result is sorted by tenant.
func (n *Node) scan() ([]holding, error) {
	type place struct {
		tenant ident.TenantID
		shard  ident.ShardID
	}
	found := map[place]*holding{}
	at := func(t ident.TenantID, s ident.ShardID) *holding {
		h := found[place{t, s}]
		if h == nil {
			h = &holding{Tenant: t, Shard: s}
			found[place{t, s}] = h
		}
		return h
	}
	shards, err := n.names(filepath.Join(n.data, "shards"))
	if err != nil {
		return nil, err
	}
	for _, name := range shards {
		s, err := ident.ParseShardID(name)
		if err != nil {
			continue
		}
		for _, kind := range []string{"tenants", "released"} {
			root := filepath.Join(n.shardDir(s), kind)
			names, err := n.names(root)
			if err != nil {
				return nil, err
			}
			for _, name := range names {
				t, ok := tenantOf(name)
				if !ok {
					continue
				}
				total, log, err := n.sizeOf(filepath.Join(root, name), false)
				if err != nil {
					return nil, err
				}
				h := at(t, s)
				h.Bytes += total
				h.Log += log
			}
		}
	}
	for _, h := range n.hosted() {
		for _, st := range h.shard.Tenants() {
			at(st.ID, h.id).State = true
		}
	}
	keys := n.parts.Ring.Tenants()
	for _, t := range keys {
		known := false
		for p, h := range found {
			if p.tenant == t {
				h.Key, known = true, true
			}
		}
		if !known {
			at(t, ident.ShardID{}).Key = true
		}
	}
	all := make([]holding, 0, len(found))
	for _, h := range found {
		all = append(all, *h)
	}
	slices.SortFunc(all, func(a, b holding) int {
		return cmp.Or(cmp.Compare(a.Tenant.Uint64(), b.Tenant.Uint64()), compareShards(a.Shard, b.Shard))
	})
	return all, nil
}

// tenantOf reads the name of a tenant's directory, which may have a suffix
// when it was put aside.
func tenantOf(name string) (ident.TenantID, bool) {
	for i, c := range name {
		if c < '0' || c > '9' {
			name = name[:i]
			break
		}
	}
	t, err := ident.ParseTenantID(name)
	return t, err == nil
}

// names returns what is in a directory, nothing when it is not there. What
// cannot be read is an error: it could hold anything.
func (n *Node) names(dir string) ([]string, error) {
	names, err := n.fs.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fault.Wrap("residency", fault.Unavailable, err, "cannot read %s", dir)
	}
	return names, nil
}

// sizeOf returns the bytes of all files below a directory, and of those below
// one called log.
func (n *Node) sizeOf(dir string, inLog bool) (total, log int64, err error) {
	names, err := n.names(dir)
	if err != nil {
		return 0, 0, err
	}
	for _, name := range names {
		path := filepath.Join(dir, name)
		info, err := n.fs.Stat(path)
		switch {
		case errors.Is(err, fs.ErrNotExist): // gone meanwhile
		case err != nil:
			return 0, 0, fault.Wrap("residency", fault.Unavailable, err, "cannot see %s", path)
		case info.IsDir():
			t, l, err := n.sizeOf(path, inLog || name == "log")
			if err != nil {
				return 0, 0, err
			}
			total, log = total+t, log+l
		default:
			total += info.Size()
			if inLog {
				log += info.Size()
			}
		}
	}
	return total, log, nil
}

// Residency asks every node which tenants' bytes it holds. No ids are all
// tenants. Tenants that the directory does not know have no name and no
// region.
func (n *Node) Residency(ctx context.Context, ids []ident.TenantID) (Residency, error) {
	if err := n.Ready(); err != nil {
		return Residency{}, err
	}
	var (
		mu     sync.Mutex // guards places and out
		places = map[ident.TenantID][]Place{}
		out    Residency
		wg     sync.WaitGroup
	)
	for _, o := range n.dir.Nodes() {
		if o.State == directory.NodeRemoved {
			continue
		}
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
			defer cancel()
			held, err := n.holdings(ctx, o.ID)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				out.Unreached = append(out.Unreached, o.ID)
				return
			}
			for _, h := range held {
				if len(ids) > 0 && !slices.Contains(ids, h.Tenant) {
					continue
				}
				places[h.Tenant] = append(places[h.Tenant], Place{Node: o.ID, Region: o.Region, Shard: h.Shard, Bytes: h.Bytes, Key: h.Key})
			}
		})
	}
	wg.Wait()
	for _, id := range ids {
		if _, ok := places[id]; !ok {
			places[id] = nil
		}
	}
	for id, in := range places {
		t, _ := n.dir.Tenant(id)
		one := TenantPlaces{ID: id, Name: t.Name, Region: t.Region, Places: in}
		for i := range in {
			if in[i].Outside = !t.Region.IsZero() && in[i].Region != t.Region; in[i].Outside {
				out.Outside++
			}
		}
		slices.SortFunc(in, func(a, b Place) int {
			return cmp.Or(cmp.Compare(a.Node.Uint64(), b.Node.Uint64()), compareShards(a.Shard, b.Shard))
		})
		out.Tenants = append(out.Tenants, one)
	}
	slices.SortFunc(out.Tenants, func(a, b TenantPlaces) int { return cmp.Compare(a.ID.Uint64(), b.ID.Uint64()) })
	slices.SortFunc(out.Unreached, func(a, b ident.NodeID) int { return cmp.Compare(a.Uint64(), b.Uint64()) })
	return out, nil
}

// checkResidency counts the tenants on this node's disk that belong to other
// regions, which there must be none of.
func (n *Node) checkResidency(context.Context) error {
	held, err := n.scan()
	if err != nil {
		return err
	}
	outside := int64(0)
	for _, h := range held {
		if t, ok := n.dir.Tenant(h.Tenant); ok && !t.Region.IsZero() && t.Region != n.identity.Region {
			outside++
			n.log.Error("this node holds bytes of a tenant of another region", "tenant", h.Tenant.String(), "shard", h.Shard.String(), "region", t.Region.String())
		}
	}
	n.counts.outside.Store(outside)
	return nil
}
