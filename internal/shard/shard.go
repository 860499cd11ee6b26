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
//
// Of a replicated shard's tenants, state.Log is a function of the replicated
// log alone and the same on every replica. The files of a tenant's log may
// hold more, when they were copied or when the last checkpoint is older than
// they are, and less, when they are damaged.
type Shard struct {
	o          Options
	group      *replication.Group // set before Open returns, under applyMu
	replicated bool               // has a replica id, and may have other replicas

	mu      sync.RWMutex // guards tenants, names and arriving
	tenants map[ident.TenantID]*entry
	names   map[string]ident.TenantID
	// arriving are tenants that a copy from another replica brings.
	arriving map[ident.TenantID]*entry

	applyMu sync.Mutex // held while a batch is applied; guards all below
	applied uint64
	leads   bool // when the batch began
	dirty   map[*entry]struct{}
	// damagedAt has, for each tenant whose log could not take it, the first
	// index whose record exists only in the replicated log. No checkpoint may
	// shorten that beyond.
	damagedAt map[*entry]uint64
	// gone are tenants released since the last checkpoint.
	gone map[ident.TenantID]struct{}

	logs logCache
	// replayed says that all that this replica had applied before it was
	// opened is applied again; lastAtOpen is where its log ended then.
	replayed   atomic.Bool
	lastAtOpen uint64

	checkpointMu sync.Mutex // serialises checkpoints; guards swept
	swept        bool       // what crashes left of other tenants is removed
	signHead     HeadSigner
	wake         chan struct{} // asks the checkpoint goroutine to look
	mendWake     chan struct{} // asks the mending goroutine to look
	stop         chan struct{} // closed by Close
	ctx          context.Context
	cancel       context.CancelFunc // by Close: ends mending
	done         sync.WaitGroup

	copying copying
	hooks   atomic.Pointer[Hooks]
	grown   grown
	fresh   fresh
}

// entry is one tenant of the shard.
type entry struct {
	id ident.TenantID
	// mending is held by who replaces the files of the log. It is taken before
	// applyMu and mu.
	mending sync.Mutex

	mu    sync.Mutex // guards all below
	state TenantState
	log   *tenantlog.Log // open handle, or nil
	pins  int            // users of log besides Apply
	// headSeen says that the signed head was held against the replicated log.
	headSeen bool
	err      error // damage that keeps the log from opening, or nil
	released bool  // the tenant is not the shard's any more
}

// Open loads the last checkpoint and opens the group. A shard of one replica
// leads when it returns, and has replayed its log; with several, entries are
// applied as the leader says that they are committed.
func Open(o Options) (*Shard, error) {
	o.setDefaults()
	s := &Shard{
		o: o, replicated: !o.Replica.IsZero(),
		tenants: map[ident.TenantID]*entry{}, names: map[string]ident.TenantID{}, arriving: map[ident.TenantID]*entry{},
		dirty: map[*entry]struct{}{}, damagedAt: map[*entry]uint64{}, gone: map[ident.TenantID]struct{}{},
		wake: make(chan struct{}, 1), mendWake: make(chan struct{}, 1), stop: make(chan struct{}),
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.logs.limit = o.MaxOpenLogs
	s.grown.init()
	s.fresh.asking = make(chan struct{}, 1)
	s.copying.bytesPerSecond = o.FetchBytesPerSecond
	if err := s.removeReleased(); err != nil {
		return nil, err
	}
	index, err := o.Store.LoadCheckpoint(o.ID, s.load)
	if err != nil {
		return nil, err
	}
	s.applied = index
	group, err := o.Store.OpenGroup(replication.GroupOptions{
		Shard: o.ID, Node: o.Node, Replica: o.Replica, Members: o.Members, Join: o.Join, OnChange: s.changed,
	}, s)
	if err != nil {
		return nil, errors.Join(err, s.closeLogs())
	}
	s.applyMu.Lock()
	s.group = group
	s.lastAtOpen = group.Status().Last
	s.applyMu.Unlock()
	s.replayed.Store(!s.replicated)
	s.done.Go(s.checkpointLoop)
	if s.replicated && o.Peer != nil {
		s.done.Go(s.mendLoop)
	}
	return s, nil
}

func (o *Options) setDefaults() {
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
	s.tenants[st.ID] = &entry{id: st.ID, state: *st}
	s.named(st)
	return nil
}

// named lists a tenant's name, once it is the shard's own. The caller holds mu
// or is alone.
func (s *Shard) named(st *TenantState) {
	if st.Phase != Incoming {
		s.names[st.Name] = st.ID
	}
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
	at    tenantlog.Position
	state *TenantState // of a change of phase
	err   error
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
// Conflict says that another one took its place meanwhile. With newDEK the
// caller makes sure that no record of the tenant is under way: the newest DEK
// seals from the log's present end on.
func (s *Shard) SetKeys(ctx context.Context, id ident.TenantID, old, envelope []byte, newDEK bool) error {
	st, err := s.Tenant(id)
	if err != nil {
		return err
	}
	start := st.Log.Next.Uint64()
	command, err := encodeJSON(commandKeys, keysCommand{
		Tenant: id, OldEnvelope: digest(old), Envelope: envelope, NewDEK: newDEK, Start: &start,
	})
	if err != nil {
		return err
	}
	_, err = s.propose(ctx, command)
	return err
}
