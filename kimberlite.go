// Package kimberlite is a compliance-first, multi-tenant database that an
// application embeds.
//
// Every tenant has its own append-only, hash-chained log (the truth), its own
// projection (SQL tables derived from the log), its own keys and its own
// quotas. A [DB] is a data directory; a [Tenant] is a handle on one tenant of
// it and never sees another. A write is acknowledged when it is durable, and
// every byte of a tenant on disk is sealed under that tenant's key.
//
//	db, err := kimberlite.Open("data", kimberlite.Options{})
//	hospital, err := db.CreateTenant(ctx, kimberlite.TenantConfig{
//		ID: kimberlite.MustTenantID(1), Name: "hospital-a", Region: "us-east",
//	})
//	_, err = hospital.Exec(ctx, "CREATE TABLE patients (id INTEGER PRIMARY KEY, name TEXT NOT NULL)")
//	_, err = hospital.Exec(ctx, "INSERT INTO patients VALUES (?, ?)", 123, "Alice Smith")
//
// SQL is SQLite's dialect. Beside its tables a tenant has event streams
// ([Tenant.Append], [Tenant.Read], [Tenant.Tail]), and every table is a stream
// of its row events. [VerifyPath] checks the chains offline and needs no key.
// Package kimberlite/driver offers a tenant as a database/sql database.
//
// Which handle serves which request is for the program to decide: a handle has
// the owner's rights. Credentials ([DB.CreateCredential]) are for the clients
// of a server, and what happens to a tenant is in its audit trail
// ([Tenant.Audit]). Errors are [*Error] values;
// [KindOf] tells their kind.
package kimberlite

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"kimberlite/internal/access"
	"kimberlite/internal/ident"
	"kimberlite/internal/keyring"
	"kimberlite/internal/node"
	"kimberlite/internal/projection"
	"kimberlite/internal/quota"
	"kimberlite/internal/shard"
	"kimberlite/internal/tenant"
)

// Options configure [Open]. The zero value is a good default.
type Options struct {
	// MasterKey is the URL of the master key that wraps every tenant's KEK:
	// "file:///path/to/key" names a file of 32 random bytes, or 64 hexadecimal
	// digits, that only its owner may read or write. "" is the key that the
	// directory was made with; a new directory then gets a key file of its own
	// inside it, which suits development only: whoever takes a copy of such a
	// directory takes the key with it.
	MasterKey string
	// MustExist refuses to make a new data directory.
	MustExist bool
	// Logger receives what an operator should know. nil logs nothing. No row
	// data, key or secret is ever logged.
	Logger *slog.Logger
	// MaxOpenTenants bounds how many tenants are open at once, and so memory
	// (about 1 MiB each) and file descriptors (2 each). 0 is 1024.
	MaxOpenTenants int
	// MaxReaders bounds the concurrent readers of one tenant. 0 is 4.
	MaxReaders int
	// TransactionIdle is how long a transaction may hold a tenant's writer
	// between two statements. 0 is 30 s.
	TransactionIdle time.Duration
	// StatementTimeout bounds each statement. 0 is 30 s.
	StatementTimeout time.Duration
	// RotateDEKAfter and RotateDEKSeals replace a tenant's DEK by itself once
	// it is that old or has sealed that often. 0 is 90 days, and 3 · 2^29
	// (about 1.6 billion) seals, which is also the most.
	RotateDEKAfter time.Duration
	RotateDEKSeals uint64
	// ReserveBytes of disk are left free: below it writes are refused. 0 is
	// 64 MiB, -1 is none.
	ReserveBytes int64
	// CheckpointInterval is how often everything acknowledged is written to
	// the tenants' own files, if anything changed. 0 is 30 s, -1 is only by
	// size (64 MiB of replicated log) and at Close.
	CheckpointInterval time.Duration
}

// DB is an open data directory. It is safe for concurrent use.
type DB struct {
	node *node.Node

	accessMu sync.Mutex // guards access
	access   *access.Authority
}

// Open opens a data directory, making it when it does not exist. It fails with
// InUse when this or another process has it open; KeyUnavailable, KeyInvalid or
// Denied when the master key is missing, is another one, or can be read by
// others; Incompatible when a newer version wrote it; Invalid when dir is
// something else; and Corruption, naming the file, when it is damaged. What it
// refuses stays as it was.
func Open(dir string, o Options) (*DB, error) {
	return OpenContext(context.Background(), dir, o)
}

// OpenContext is [Open] with a context that bounds the opening.
func OpenContext(ctx context.Context, dir string, o Options) (*DB, error) {
	n, err := node.Open(ctx, o.config(dir))
	if err != nil {
		return nil, err
	}
	return &DB{node: n}, nil
}

func (o Options) config(dir string) node.Config {
	limits := projection.DefaultLimits()
	if o.StatementTimeout > 0 {
		limits.StatementTimeout = o.StatementTimeout
	}
	rotation := keyring.Policy{MaxAge: o.RotateDEKAfter, MaxSeals: o.RotateDEKSeals}
	return node.Config{
		Dir: dir, MustExist: o.MustExist, MasterKey: o.MasterKey, Logger: o.Logger,
		MaxOpenTenants: o.MaxOpenTenants, MaxReaders: o.MaxReaders, TransactionIdle: o.TransactionIdle,
		Limits: limits, Rotation: rotation, ReserveBytes: o.ReserveBytes, CheckpointInterval: o.CheckpointInterval,
	}
}

// closeTimeout is how long Close waits for what still runs.
const closeTimeout = 30 * time.Second

// Close waits for running calls, writes everything to the tenants' own files
// and lets go of the directory. Rows and transactions that were never closed
// keep it waiting for at most 30 s. Closing again does nothing.
func (db *DB) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	return db.node.Close(ctx)
}

// Checkpoint writes everything acknowledged to the tenants' own files and
// signs their heads. It happens by itself, too.
func (db *DB) Checkpoint(ctx context.Context) error { return db.node.Checkpoint(ctx) }

// Limits are a tenant's quotas; 0 is unlimited.
type Limits struct {
	// MaxLogSize bounds the bytes of the tenant's log.
	MaxLogSize int64
	// MaxProjections bounds the bytes of the tenant's tables and indexes.
	MaxProjections int64
	// MaxOpsPerSec is the rate of a token bucket that holds one second's worth.
	MaxOpsPerSec int64
	// MaxConcurrentOps bounds the calls, open rows and transactions at once.
	MaxConcurrentOps int64
}

func (l Limits) quota() quota.Limits {
	return quota.Limits{
		MaxLogBytes: l.MaxLogSize, MaxProjectionBytes: l.MaxProjections,
		MaxOpsPerSec: l.MaxOpsPerSec, MaxConcurrentOps: l.MaxConcurrentOps,
	}
}

func fromQuota(l quota.Limits) Limits {
	return Limits{
		MaxLogSize: l.MaxLogBytes, MaxProjections: l.MaxProjectionBytes,
		MaxOpsPerSec: l.MaxOpsPerSec, MaxConcurrentOps: l.MaxConcurrentOps,
	}
}

// TenantConfig is what a tenant is created with.
type TenantConfig struct {
	ID   TenantID
	Name string
	// Region is where the tenant's data must stay. "" is "local".
	Region string
	// Retention is how long the log must be kept. 0 keeps nothing back.
	Retention time.Duration
	Quota     Limits
}

// DefaultRegion is the region of tenants that name none.
const DefaultRegion = "local"

// CreateTenant makes a tenant with keys of its own. AlreadyExists says that
// the id or the name is taken.
func (db *DB) CreateTenant(ctx context.Context, c TenantConfig) (*Tenant, error) {
	name := c.Region
	if name == "" {
		name = DefaultRegion
	}
	region, err := ident.NewRegion(name)
	if err != nil {
		return nil, newError("tenant create", Invalid, err)
	}
	err = db.node.CreateTenant(ctx, tenant.Config{
		ID: c.ID, Name: c.Name, Region: region, Retention: c.Retention, Limits: c.Quota.quota(),
	})
	if err != nil {
		return nil, err
	}
	return db.Tenant(c.ID)
}

// Tenant returns a handle on a tenant, or NotFound.
func (db *DB) Tenant(id TenantID) (*Tenant, error) {
	t, err := db.node.Tenant(id)
	if err != nil {
		return nil, err
	}
	return &Tenant{db: db, t: t}, nil
}

// TenantByName returns a handle on the tenant called name, or NotFound.
func (db *DB) TenantByName(name string) (*Tenant, error) {
	id, err := db.node.TenantNamed(name)
	if err != nil {
		return nil, err
	}
	return db.Tenant(id)
}

// TenantInfo describes a tenant.
type TenantInfo struct {
	ID        TenantID
	Name      string
	Region    string
	Shard     ShardID
	Retention time.Duration
	Quota     Limits
	Created   time.Time
	// LogRecords and LogBytes are the length of the tenant's log.
	LogRecords uint64
	LogBytes   int64
	// LastHash is the hash of the last record, or of the empty chain.
	LastHash [32]byte
}

func info(s *shard.TenantState, in ShardID) TenantInfo {
	return TenantInfo{
		ID: s.ID, Name: s.Name, Region: s.Region.String(), Shard: in, Retention: s.Retention,
		Quota: fromQuota(s.Limits), Created: s.Created,
		LogRecords: s.Log.Next.Uint64(), LogBytes: s.Log.TotalBytes, LastHash: s.Log.LastHash,
	}
}

// Tenants describes every tenant, by id.
func (db *DB) Tenants() []TenantInfo {
	states := db.node.States()
	infos := make([]TenantInfo, len(states))
	for i := range states {
		infos[i] = info(&states[i].TenantState, states[i].Shard)
	}
	return infos
}

// TenantInfo describes one tenant.
func (db *DB) TenantInfo(id TenantID) (TenantInfo, error) {
	s, in, err := db.node.State(id)
	if err != nil {
		return TenantInfo{}, err
	}
	return info(&s, in), nil
}

// TenantChange changes a tenant at run time; nil fields stay as they are.
type TenantChange struct {
	Name *string
	// Retention can be made longer only.
	Retention *time.Duration
	Quota     *Limits
}

// SetTenant changes a tenant's configuration; it is in force when the call
// returns.
func (db *DB) SetTenant(ctx context.Context, id TenantID, c TenantChange) error {
	change := shard.Change{Name: c.Name, Retention: c.Retention}
	if c.Quota != nil {
		l := c.Quota.quota()
		change.Limits = &l
	}
	return db.node.SetTenant(ctx, id, change)
}

// Usage is what a tenant uses of its quotas.
type Usage struct {
	LogBytes        int64  // bytes of the tenant's segment files
	LogRecords      uint64 // records in the log
	ProjectionBytes int64  // bytes of the projection's file on disk
	InFlight        int64  // calls that run now
	Admitted        uint64 // calls since the process started
	Refused         uint64 // calls refused by a limit since the process started
}

// Usage returns what a tenant uses now.
func (db *DB) Usage(id TenantID) (Usage, error) {
	u, err := db.node.Usage(id)
	return Usage(u), err
}

// Stats describes the whole database.
type Stats struct {
	Tenants     int
	OpenTenants int
}

// Stats returns counts of the whole database.
func (db *DB) Stats() Stats {
	return Stats{Tenants: db.node.TenantCount(), OpenTenants: db.node.OpenTenants()}
}
