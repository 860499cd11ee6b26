// Package shard is one replicated group's state machine: which tenants it
// holds, with which configuration and keys, and their logs on disk.
//
// It guarantees that what the group's log says is applied the same way on
// every replica (a record whose offset or previous hash is not the tenant's
// next is refused), that an applied record reaches the tenant's own segment
// files, and that the replicated log is shortened only after those files are
// synced. It must not know what is inside a record, nor anything of SQL:
// records arrive sealed. Package tenant calls it to propose; package
// replication calls Apply.
package shard

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"kimberlite/internal/disk"
	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/replication"
	"kimberlite/internal/tenantlog"
)

// Options configure a shard.
type Options struct {
	FS   disk.FS
	Dir  string // the shard's directory, DATA/shards/<id>
	ID   ident.ShardID
	Node ident.NodeID
	// Store holds the group's replicated log.
	Store *replication.Store
	// SegmentBytes is the size at which tenants' segment files roll over.
	// Replicas must agree on it. 0 is the default of package tenantlog.
	SegmentBytes int64
	// MaxOpenLogs bounds the open segment files of tenants that nobody has
	// pinned. 0 is 256.
	MaxOpenLogs int
	// CheckpointBytes of replicated log, or CheckpointInterval with anything
	// changed, start a checkpoint. 0 are 64 MiB and 30 s; an interval below 0
	// starts none by itself.
	CheckpointBytes    int64
	CheckpointInterval time.Duration
	// Replica is this replica's id; zero for a shard on its own.
	Replica ident.ReplicaID
	// Members are the replicas of a new shard, the same on every one. Join says
	// that this one is added to a shard that is there already.
	Members []replication.Replica
	Join    bool
	// OnChange, if not nil, is told when the leader, the term or the members
	// change, one call at a time. It must not block.
	OnChange func(replication.Status)
	// Peer reaches the other replicas; nil for a shard on its own.
	Peer Peer
	// FetchBytesPerSecond bounds what this replica asks of another one's
	// files. 0 is no bound.
	FetchBytesPerSecond int64
	Logger              *slog.Logger
}

// HeadSigner signs and writes the head of a tenant's log at a synced
// position, if it has the tenant's keys at hand.
type HeadSigner func(ctx context.Context, id ident.TenantID, at tenantlog.Position) error

// Shard is an open shard. It is safe for concurrent use.
type Shard struct {
	o     Options
	group *replication.Group

	mu      sync.RWMutex // guards tenants and names
	tenants map[ident.TenantID]*entry
	names   map[string]ident.TenantID

	applyMu sync.Mutex // held while a batch is applied; guards applied, dirty and held
	applied uint64
	dirty   map[*entry]struct{}
	// held is the first index whose record a damaged log could not take, or 0.
	// That record exists only in the replicated log, which no checkpoint may
	// shorten beyond it.
	held uint64

	logs logCache
	// replayed says that all of the replicated log has been applied.
	replayed atomic.Bool

	checkpointMu sync.Mutex // serialises checkpoints
	signHead     HeadSigner
	wake         chan struct{} // asks the checkpoint goroutine to look
	stop         chan struct{} // closed by Close
	done         sync.WaitGroup
}

// entry is one tenant of the shard.
type entry struct {
	mu    sync.Mutex // guards all below
	state TenantState
	log   *tenantlog.Log // open handle, or nil
	pins  int            // users of log besides Apply
	// headSeen says that the signed head was held against the replicated log.
	headSeen bool
	err      error // damage that keeps the log from opening, or nil
}

// Open loads the last checkpoint, replays the replicated log after it and
// returns a shard that leads its group.
func Open(o Options) (*Shard, error) {
	if o.MaxOpenLogs == 0 {
		o.MaxOpenLogs = 256
	}
	if o.CheckpointBytes == 0 {
		o.CheckpointBytes = 64 << 20
	}
	if o.CheckpointInterval == 0 {
		o.CheckpointInterval = 30 * time.Second
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Shard{
		o: o, tenants: map[ident.TenantID]*entry{}, names: map[string]ident.TenantID{},
		dirty: map[*entry]struct{}{}, wake: make(chan struct{}, 1), stop: make(chan struct{}),
	}
	s.logs.limit = o.MaxOpenLogs
	index, err := o.Store.LoadCheckpoint(o.ID, s.load)
	if err != nil {
		return nil, err
	}
	s.applied = index
	s.group, err = o.Store.OpenGroup(replication.GroupOptions{
		Shard: o.ID, Node: o.Node, Replica: o.Replica, Members: o.Members, Join: o.Join, OnChange: o.OnChange,
	}, s)
	if err != nil {
		return nil, errors.Join(err, s.closeLogs())
	}
	s.replayed.Store(true)
	s.done.Go(s.checkpointLoop)
	return s, nil
}

// load takes one key of the checkpoint.
func (s *Shard) load(key, value []byte) error {
	if len(key) == 0 || key[0] != tenantKeyPrefix {
		return nil
	}
	st, err := DecodeState(value)
	if err != nil {
		return err
	}
	s.tenants[st.ID] = &entry{state: *st}
	s.names[st.Name] = st.ID
	return nil
}

// ID returns the shard's id.
func (s *Shard) ID() ident.ShardID { return s.o.ID }

// Dir returns the shard's directory.
func (s *Shard) Dir() string { return s.o.Dir }

// FS returns the filesystem that the shard's files are on.
func (s *Shard) FS() disk.FS { return s.o.FS }

// SetHeadSigner sets what signs heads at checkpoints. Call it before any write.
func (s *Shard) SetHeadSigner(f HeadSigner) {
	s.checkpointMu.Lock()
	defer s.checkpointMu.Unlock()
	s.signHead = f
}

// TenantDir returns the directory of a tenant's files in this shard.
func (s *Shard) TenantDir(id ident.TenantID) string {
	return filepath.Join(s.o.Dir, "tenants", id.String())
}

// LogDir returns the directory of a tenant's segment files and head.
func (s *Shard) LogDir(id ident.TenantID) string { return filepath.Join(s.TenantDir(id), "log") }

// Tenant returns a tenant's state as applied so far.
func (s *Shard) Tenant(id ident.TenantID) (TenantState, error) {
	e, err := s.entry(id)
	if err != nil {
		return TenantState{}, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.state, nil
}

// TenantByName returns the id of the tenant called name.
func (s *Shard) TenantByName(name string) (ident.TenantID, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	id, ok := s.names[name]
	if !ok {
		return id, fault.New("tenant", fault.NotFound, "there is no tenant with that name: see `kimberlite tenant list`")
	}
	return id, nil
}

// Tenants returns the state of every tenant, by id.
func (s *Shard) Tenants() []TenantState {
	s.mu.RLock()
	all := make([]*entry, 0, len(s.tenants))
	for _, e := range s.tenants {
		all = append(all, e)
	}
	s.mu.RUnlock()
	states := make([]TenantState, len(all))
	for i, e := range all {
		e.mu.Lock()
		states[i] = e.state
		e.mu.Unlock()
	}
	sort.Slice(states, func(i, j int) bool { return states[i].ID.Uint64() < states[j].ID.Uint64() })
	return states
}

func (s *Shard) entry(id ident.TenantID) (*entry, error) {
	s.mu.RLock()
	e := s.tenants[id]
	s.mu.RUnlock()
	if e == nil {
		return nil, fault.New("tenant", fault.NotFound, "tenant %s does not exist: create it first", id).ForTenant(id)
	}
	return e, nil
}

// Err returns why the shard stopped, or nil.
func (s *Shard) Err() error { return s.o.Store.Err() }

// ReadIndex returns once what was committed before the call is applied here.
func (s *Shard) ReadIndex(ctx context.Context) error { return s.group.ReadIndex(ctx) }

// outcome is what Apply hands to the proposer.
type outcome struct {
	at  tenantlog.Position
	err error
}

// propose proposes a command, given in parts.
func (s *Shard) propose(ctx context.Context, command ...[]byte) (outcome, error) {
	result, err := s.group.Propose(ctx, command...)
	if err != nil {
		return outcome{}, err
	}
	out, ok := result.(outcome)
	if !ok {
		return outcome{}, fault.New("shard", fault.Internal, "apply returned no outcome")
	}
	return out, out.err
}

// Append proposes a sealed record. When it returns nil the record is in the
// replicated log and in the tenant's log. Conflict says that the record is
// not the tenant's next; OutcomeUnknown that it may yet be applied.
func (s *Shard) Append(ctx context.Context, rec []byte) (tenantlog.Position, error) {
	out, err := s.propose(ctx, appendPrefix, rec)
	return out.at, err
}

// CreateTenant proposes a new tenant. AlreadyExists says that its id or name
// is taken.
func (s *Shard) CreateTenant(ctx context.Context, st TenantState) error {
	command, err := encodeJSON(commandCreate, st.toJSON())
	if err != nil {
		return err
	}
	_, err = s.propose(ctx, command)
	return err
}

// Change is a change of a tenant's configuration; nil fields stay.
type Change struct {
	Name      *string
	Retention *time.Duration
	Limits    *TenantLimits
}

// SetTenant proposes a change of a tenant's configuration.
func (s *Shard) SetTenant(ctx context.Context, id ident.TenantID, c Change) error {
	cmd := setCommand{Tenant: id, Name: c.Name, Retention: c.Retention}
	if c.Limits != nil {
		l := fromLimits(*c.Limits)
		cmd.Limits = &l
	}
	command, err := encodeJSON(commandSet, cmd)
	if err != nil {
		return err
	}
	_, err = s.propose(ctx, command)
	return err
}

// SetKeys proposes a new key envelope in place of the one it was made from;
// Conflict says that another one took its place meanwhile.
func (s *Shard) SetKeys(ctx context.Context, id ident.TenantID, old, envelope []byte, newDEK bool) error {
	command, err := encodeJSON(commandKeys, keysCommand{
		Tenant: id, OldEnvelope: digest(old), Envelope: envelope, NewDEK: newDEK,
	})
	if err != nil {
		return err
	}
	_, err = s.propose(ctx, command)
	return err
}
