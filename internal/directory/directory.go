package directory

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/replication"
)

// Forwarder carries a command to the node that leads the directory.
type Forwarder interface {
	// Forward calls Serve on another node. An error says nothing of whether
	// the command arrived.
	Forward(ctx context.Context, to ident.NodeID, command []byte) (result []byte, err error)
}

// Fetcher brings another node's last checkpoint of a group, as
// Group.LastCheckpoint has it there.
type Fetcher interface {
	FetchCheckpoint(ctx context.Context, from ident.NodeID, shard ident.ShardID) (replication.Checkpoint, error)
}

// Options configure a directory.
type Options struct {
	// Node is this node.
	Node ident.NodeID
	// Forward and Fetch reach other nodes. Nil on a node that is alone.
	Forward Forwarder
	Fetch   Fetcher
	// OnChange hears of changes of the group; see replication.GroupOptions.
	OnChange func(replication.Status)
	// CheckpointBytes of replicated log, or CheckpointInterval with anything
	// changed, start a checkpoint. 0 are 4 MiB and 30 s; an interval below 0
	// starts none by itself.
	CheckpointBytes    int64
	CheckpointInterval time.Duration
	// Now stamps commands that this node proposes as leader; nil is time.Now.
	Now    func() time.Time
	Logger *slog.Logger
}

// OpenOptions say how the group begins.
type OpenOptions struct {
	Store *replication.Store
	// Members are those of a new directory, the same on each of them.
	Members []replication.Replica
	// Join says that the directory exists elsewhere.
	Join bool
}

// Directory is one node's copy. It is safe for concurrent use. Of the mutexes,
// checkpointMu is taken before applyMu, and that before mu.
type Directory struct {
	o     Options
	group atomic.Pointer[replication.Group] // nil before Open

	mu    sync.RWMutex // guards state and all in it; held for one command at a time
	state *state

	applyMu sync.Mutex // held while entries are applied; guards state.dirty, too
	applied atomic.Uint64

	watchMu sync.Mutex // guards watch
	watch   chan struct{}

	checkpointMu sync.Mutex    // lets one checkpoint run at a time
	wake         chan struct{} // asks the checkpoint goroutine to look
	stop         chan struct{} // closed by Close
	stopped      sync.Once
	done         sync.WaitGroup // the checkpoint goroutine
}

// New returns a directory that is empty until Open.
func New(o Options) *Directory {
	if o.CheckpointBytes == 0 {
		o.CheckpointBytes = 4 << 20
	}
	if o.CheckpointInterval == 0 {
		o.CheckpointInterval = 30 * time.Second
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Directory{o: o, state: newState(), wake: make(chan struct{}, 1), stop: make(chan struct{})}
}

// ReplicaOf returns a node's member of the directory's group.
func ReplicaOf(node ident.NodeID) ident.ReplicaID { return ident.NewReplicaID(node.Uint64()) }

// Open loads the last checkpoint and opens the group. It is called once.
func (d *Directory) Open(o OpenOptions) error {
	s := newState()
	index, err := o.Store.LoadCheckpoint(ident.DirectoryShard, s.load)
	if err == nil && index > 0 {
		err = s.check()
	}
	if err != nil {
		return err
	}
	d.become(s, index)
	group, err := o.Store.OpenGroup(replication.GroupOptions{
		Shard: ident.DirectoryShard, Node: d.o.Node, Replica: ReplicaOf(d.o.Node),
		Members: o.Members, Join: o.Join, OnChange: d.o.OnChange, MaxEntryBytes: maxCommandBytes,
	}, d)
	if err != nil {
		return err
	}
	d.group.Store(group)
	d.done.Go(d.checkpointLoop)
	return nil
}

// become puts another state in the place of the one there is.
func (d *Directory) become(s *state, index uint64) {
	d.applyMu.Lock()
	defer d.applyMu.Unlock()
	d.mu.Lock()
	d.state = s
	d.mu.Unlock()
	d.applied.Store(index)
	d.changed()
}

// Close makes a last checkpoint and closes the group. It is idempotent.
func (d *Directory) Close() error {
	d.stopped.Do(func() { close(d.stop) })
	d.done.Wait()
	g := d.group.Load()
	if g == nil {
		return nil
	}
	if err := d.Checkpoint(); err != nil {
		d.o.Logger.Error("the directory's last checkpoint failed; its log is kept", "error", err.Error())
	}
	return g.Close()
}

// Group returns the group, nil before Open: for its status, its members and
// its lead.
func (d *Directory) Group() *replication.Group { return d.group.Load() }

// Apply implements replication.StateMachine.
func (d *Directory) Apply(entries []replication.Entry) error {
	d.applyMu.Lock()
	defer d.applyMu.Unlock()
	for i := range entries {
		e := &entries[i]
		env, err := decodeEnvelope(e.Data)
		if err != nil {
			return err
		}
		d.mu.Lock()
		e.Result = d.state.apply(e.Index, env)
		d.mu.Unlock()
		d.applied.Store(e.Index)
	}
	d.changed()
	if g := d.group.Load(); g != nil && g.LogBytes() > d.o.CheckpointBytes {
		select {
		case d.wake <- struct{}{}:
		default:
		}
	}
	return nil
}

// changed tells those who watch.
func (d *Directory) changed() {
	d.watchMu.Lock()
	defer d.watchMu.Unlock()
	if d.watch != nil {
		close(d.watch)
		d.watch = nil
	}
}

// Watch returns a channel that is closed when more was applied.
func (d *Directory) Watch() <-chan struct{} {
	d.watchMu.Lock()
	defer d.watchMu.Unlock()
	if d.watch == nil {
		d.watch = make(chan struct{})
	}
	return d.watch
}

// Applied returns the index of the last entry that is in this copy.
func (d *Directory) Applied() uint64 { return d.applied.Load() }

// WaitApplied returns once this copy has the entry at index. Errors: Timeout,
// Canceled.
func (d *Directory) WaitApplied(ctx context.Context, index uint64) error {
	for {
		changed := d.Watch()
		if d.Applied() >= index {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fault.OfContext("directory", ctx)
		}
	}
}

// Checkpoint saves what changed since the last one, and shortens the log.
func (d *Directory) Checkpoint() error {
	d.checkpointMu.Lock()
	defer d.checkpointMu.Unlock()
	d.applyMu.Lock()
	s, index, taken := d.state, d.Applied(), d.state.dirty
	if taken.empty() {
		d.applyMu.Unlock()
		return nil
	}
	kvs, err := s.changes(taken)
	s.dirty = newDirty()
	d.applyMu.Unlock()
	if err == nil {
		err = d.save(index, kvs)
	}
	if err != nil {
		d.applyMu.Lock()
		defer d.applyMu.Unlock()
		s.dirty.merge(taken) // of no use, and no harm, when s was replaced meanwhile
	}
	return err
}

// save hands a checkpoint to the group, which notes that it has applied an
// entry a moment after Apply did it.
func (d *Directory) save(index uint64, kvs []replication.KV) error {
	g := d.group.Load()
	for range 1000 {
		if g.Applied() >= index {
			break
		}
		time.Sleep(time.Millisecond)
	}
	return g.SaveCheckpoint(index, kvs)
}

// checkpointLoop makes checkpoints by log size and by time until Close.
func (d *Directory) checkpointLoop() {
	var tick <-chan time.Time
	if d.o.CheckpointInterval > 0 {
		t := time.NewTicker(d.o.CheckpointInterval)
		defer t.Stop()
		tick = t.C
	}
	for {
		select {
		case <-d.stop:
			return
		case <-d.wake:
		case <-tick:
		}
		if err := d.Checkpoint(); err != nil {
			d.o.Logger.Error("the directory's checkpoint failed; its log is kept", "error", err.Error())
		}
	}
}

// Fetch implements replication.Follower. The directory has no files of its
// own: the copy is all there is to bring.
func (d *Directory) Fetch(ctx context.Context, from ident.NodeID, atLeast uint64) (replication.Checkpoint, error) {
	const op = "directory copy"
	if d.o.Fetch == nil {
		return replication.Checkpoint{}, fault.New(op, fault.Internal, "a directory that is alone has nowhere to get a copy from")
	}
	c, err := d.o.Fetch.FetchCheckpoint(ctx, from, ident.DirectoryShard)
	if err != nil {
		return replication.Checkpoint{}, err
	}
	if c.Index < atLeast {
		return replication.Checkpoint{}, fault.New(op, fault.Unavailable, "node %s has a copy of index %d, and index %d is wanted: it is asked again", from, c.Index, atLeast)
	}
	if _, err := loadState(c); err != nil {
		return replication.Checkpoint{}, err // before it takes the place of anything
	}
	return c, nil
}

// Restored implements replication.Follower.
func (d *Directory) Restored(c replication.Checkpoint) error {
	s, err := loadState(c)
	if err != nil {
		return err
	}
	d.become(s, c.Index)
	return nil
}

// loadState reads a copy that another node made.
func loadState(c replication.Checkpoint) (*state, error) {
	s := newState()
	for _, kv := range c.KVs {
		if err := s.load(kv.Key, kv.Value); err != nil {
			return nil, err
		}
	}
	if err := s.check(); err != nil {
		return nil, err
	}
	return s, nil
}
