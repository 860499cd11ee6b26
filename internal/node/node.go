// Package node is the composition root: it turns a data directory and a
// configuration into running parts, in the right order, and back.
//
// It guarantees that one process at a time uses a data directory, that a
// directory of another version or under another master key is refused before
// anything is touched, and that Close leaves nothing running. It must not
// decide anything of its own about tenants. The root package calls it.
package node

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"kimberlite/internal/clock"
	"kimberlite/internal/cluster"
	"kimberlite/internal/disk"
	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/keyring"
	"kimberlite/internal/kms"
	"kimberlite/internal/projection"
	"kimberlite/internal/replication"
	"kimberlite/internal/seal"
	"kimberlite/internal/shard"
	"kimberlite/internal/tenant"
)

// Config configures an embedded node. The zero value of a field is its
// default.
type Config struct {
	// Dir is the data directory; it is made when it is missing.
	Dir string
	// MustExist refuses to make a data directory.
	MustExist bool
	// MasterKey is the URL of the master key. "" is what the directory was
	// made with, and for a new directory a key file inside it.
	MasterKey string
	FS        disk.FS
	Clock     clock.Clock
	Logger    *slog.Logger
	// Tenant bounds.
	MaxOpenTenants  int
	MaxReaders      int
	MaxDirtyPages   int
	TransactionIdle time.Duration
	Limits          projection.Limits
	Rotation        keyring.Policy
	// ReserveBytes of free disk are left alone; -1 is none.
	ReserveBytes int64
	// Log shape and checkpoints; see package shard.
	SegmentBytes       int64
	CheckpointBytes    int64
	CheckpointInterval time.Duration
	// KeySource is for benchmarks only; see tenant.Options.
	KeySource func(seal.KeySource) seal.KeySource
	// Cluster is about a directory that is a node of a cluster; FS, Dir and
	// Logger are those above.
	Cluster cluster.Config
	// FetchBytesPerSecond bounds what each of its shards receives of what it
	// lacks; 0 is no bound.
	FetchBytesPerSecond int64
	// Tick is the time between two ticks of the replication's clock. 0 is 50 ms.
	Tick time.Duration
}

// defaultReserve is the free disk that writes leave alone.
const defaultReserve = 64 << 20

// spareKeys is room in the key cache beyond the open tenants: for those that
// open while others close, and for signing heads.
const spareKeys = 64

// embeddedShard is the one shard of an embedded node.
var embeddedShard = ident.NewShardID(1)

// Node is a running node. It is safe for concurrent use.
type Node struct {
	c        Config
	settings Settings
	lock     *dirLock
	provider kms.Provider
	ring     *keyring.Ring
	keys     *keyring.Cache
	store    *replication.Store
	shard    *shard.Shard
	tenants  *tenant.Manager
	cluster  *cluster.Node // nil when the node is on its own; then shard and tenants are not

	closing  sync.Once
	closeErr error // of the one closing
}

func (c *Config) defaults() {
	if c.FS == nil {
		c.FS = disk.OS{}
	}
	if c.Clock == nil {
		c.Clock = clock.System{}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.MaxOpenTenants == 0 {
		c.MaxOpenTenants = 1024
	}
	if c.Limits == (projection.Limits{}) {
		c.Limits = projection.DefaultLimits()
	}
	switch {
	case c.ReserveBytes == 0:
		c.ReserveBytes = defaultReserve
	case c.ReserveBytes < 0:
		c.ReserveBytes = 0
	}
}

// validate refuses bounds that mean nothing, before anything is touched.
func (c *Config) validate() error {
	switch {
	case c.MaxOpenTenants < 0 || c.MaxReaders < 0 || c.MaxDirtyPages < 0:
		return fault.New("open", fault.Invalid, "the bounds on open tenants, readers and pages must not be negative: 0 is the default")
	case c.TransactionIdle < 0:
		return fault.New("open", fault.Invalid, "the limit for idle transactions must not be negative: 0 is the default")
	}
	return c.Rotation.Validate()
}

// Open opens a data directory, making it when there is none.
func Open(ctx context.Context, c Config) (*Node, error) {
	if c.Dir == "" {
		return nil, fault.New("open", fault.Invalid, "no data directory was given")
	}
	abs, err := filepath.Abs(c.Dir)
	if err != nil {
		return nil, fault.Wrap("open", fault.Invalid, err, "the data directory has no absolute path")
	}
	c.Dir = abs
	c.defaults()
	if err := c.validate(); err != nil {
		return nil, err
	}
	n := &Node{c: c}
	if err := n.open(ctx); err != nil {
		return nil, errors.Join(err, n.closeParts(ctx))
	}
	return n, nil
}

func (n *Node) open(ctx context.Context) error {
	steps := []func(context.Context) error{n.openDir, n.openKeys, n.openStore, n.openShard, n.reconcileKeys}
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return fault.OfContext("open", ctx)
		}
	}
	if n.cluster != nil {
		return n.startCluster(ctx)
	}
	o := n.tenantOptions()
	o.Shard = n.shard
	n.tenants = tenant.NewManager(o)
	return nil
}

// tenantOptions are the options of every shard's tenants.
func (n *Node) tenantOptions() tenant.Options {
	return tenant.Options{
		FS: n.c.FS, Ring: n.ring, Keys: n.keys, Provider: n.provider, Clock: n.c.Clock,
		Limits: n.c.Limits, Rotation: n.c.Rotation, MaxOpen: n.c.MaxOpenTenants, MaxReaders: n.c.MaxReaders,
		MaxDirtyPages: n.c.MaxDirtyPages, TransactionIdle: n.c.TransactionIdle, KeySource: n.c.KeySource,
		ReserveBytes: uint64(n.c.ReserveBytes), Logger: n.c.Logger, //nolint:gosec // not negative, see defaults
	}
}

// shardOptions are the options of every shard.
func (n *Node) shardOptions() shard.Options {
	return shard.Options{
		FS: n.c.FS, Store: n.store, SegmentBytes: n.c.SegmentBytes,
		CheckpointBytes: n.c.CheckpointBytes, CheckpointInterval: n.c.CheckpointInterval, Logger: n.c.Logger,
		FetchBytesPerSecond: n.c.FetchBytesPerSecond,
	}
}

// openCluster reads who the node is in its cluster, if it is in one.
func (n *Node) openCluster() error {
	if _, ok, err := cluster.LoadIdentity(n.c.FS, n.c.Dir); err != nil || !ok {
		return err
	}
	c := n.c.Cluster
	c.FS, c.Dir, c.Logger = n.c.FS, n.c.Dir, n.c.Logger
	var err error
	n.cluster, err = cluster.Open(c)
	return err
}

// startCluster has the node take its part in the cluster.
func (n *Node) startCluster(ctx context.Context) error {
	return n.cluster.Start(ctx, cluster.Parts{
		Store: n.store, Ring: n.ring, Shard: n.shardOptions(), Tenant: n.tenantOptions(), MasterKey: n.settings.MasterKeyVersion,
	})
}

func (n *Node) openKeys(ctx context.Context) error {
	if err := n.openProvider(ctx); err != nil {
		return err
	}
	var err error
	n.ring, err = keyring.Open(keyring.Options{FS: n.c.FS, Dir: filepath.Join(n.c.Dir, "keyring")})
	if err != nil {
		return err
	}
	n.keys, err = keyring.NewCache(keyring.CacheOptions{MaxTenants: n.c.MaxOpenTenants + spareKeys})
	return err
}

func (n *Node) openStore(context.Context) error {
	dir := filepath.Join(n.c.Dir, "replication")
	made, err := replication.Made(n.c.FS, dir)
	if err != nil {
		return err
	}
	if !made && n.cluster != nil && n.cluster.Hosted() {
		return fault.Corrupt("open", dir, 0, "the replicated log is missing from a node that has replicas of shards: wipe the node, remove it from the deployment, and join it anew")
	}
	if left := len(n.ring.Tenants()); !made && left > 0 {
		return fault.Corrupt("open", dir, 0, "the replicated log is missing, and the keyring holds keys of %d tenants: restore it, nothing was changed", left)
	}
	o := replication.StoreOptions{FS: n.c.FS, Dir: dir, Logger: n.c.Logger, Tick: n.c.Tick}
	if n.cluster != nil {
		o.Transport = n.cluster.Network()
	}
	n.store, err = replication.OpenStore(o)
	return err
}

func (n *Node) openShard(context.Context) error {
	if n.cluster != nil {
		return nil
	}
	o := n.shardOptions()
	o.Dir, o.ID, o.Node = filepath.Join(n.c.Dir, "shards", embeddedShard.String()), embeddedShard, n.settings.node()
	sh, err := shard.Open(o)
	n.shard = sh
	return err
}

// reconcileKeys finishes what a crash interrupted: KEKs that no tenant's
// envelope names are destroyed. What else is wrong with a tenant's KEK is that
// tenant's own matter, said when it is opened.
func (n *Node) reconcileKeys(context.Context) error {
	if n.cluster != nil {
		return nil // each shard's leader does
	}
	named := make(map[ident.TenantID]ident.KeyGeneration)
	for _, st := range n.shard.Tenants() {
		env, err := keyring.DecodeEnvelope(st.Envelope)
		if err != nil {
			return err
		}
		named[st.ID] = env.KEK
	}
	for _, id := range n.ring.Tenants() {
		kek, ok := named[id]
		var err error
		if ok {
			err = n.ring.Reconcile(id, kek)
		} else {
			err = n.destroyUnknown(id)
		}
		switch {
		case fault.Is(err, fault.Corruption), fault.Is(err, fault.NotFound):
			n.c.Logger.Error("a tenant's KEK is damaged or missing", "tenant", id.String(), "error", err.Error())
		case err != nil:
			return err
		}
	}
	return nil
}

// destroyUnknown destroys the KEKs of a tenant that the shard does not know:
// its creation was interrupted. One that has files was a tenant all the same,
// so that the replicated log must be an older copy: nothing is destroyed.
func (n *Node) destroyUnknown(id ident.TenantID) error {
	dir := n.shard.TenantDir(id)
	_, err := n.c.FS.Stat(dir)
	switch {
	case err == nil:
		return fault.Corrupt("open", dir, 0, "there are files of a tenant that the shard does not know: is the replicated log an older copy?").ForTenant(id)
	case !errors.Is(err, fs.ErrNotExist):
		return fault.Wrap("open", fault.Unavailable, err, "cannot see the directory of tenant %s", id)
	}
	return n.ring.DestroyAll(id)
}

// Tenants returns the tenants of a node that is on its own, for tests that look
// below the doors.
func (n *Node) Tenants() *tenant.Manager { return n.tenants }

// Shard returns the shard of a node that is on its own, for the same.
func (n *Node) Shard() *shard.Shard { return n.shard }

// Dir returns the data directory.
func (n *Node) Dir() string { return n.c.Dir }

// FS returns the filesystem that the data directory is on.
func (n *Node) FS() disk.FS { return n.c.FS }

// Close closes the tenants, makes a checkpoint and lets go of the directory.
// What still runs is waited for until ctx ends. Closing again does nothing and
// returns what the first Close returned.
func (n *Node) Close(ctx context.Context) error {
	n.closing.Do(func() { n.closeErr = n.closeParts(ctx) })
	return n.closeErr
}

func (n *Node) closeParts(ctx context.Context) error {
	var err error
	if n.cluster != nil {
		err = n.cluster.Close(ctx)
	}
	if n.tenants != nil {
		err = errors.Join(err, n.tenants.Close(ctx))
	}
	if n.shard != nil {
		err = errors.Join(err, n.shard.Close())
	}
	if n.store != nil {
		err = errors.Join(err, n.store.Close())
	}
	if n.keys != nil {
		n.keys.Close()
	}
	if n.ring != nil {
		err = errors.Join(err, n.ring.Close())
	}
	if n.provider != nil {
		err = errors.Join(err, n.provider.Close())
	}
	if n.lock != nil {
		err = errors.Join(err, n.lock.release())
	}
	return err
}
