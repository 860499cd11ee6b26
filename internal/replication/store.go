package replication

import (
	"errors"
	"io/fs"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"kimberlite/internal/disk"
	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
)

// StoreOptions says where a store is.
type StoreOptions struct {
	// FS is the filesystem; nil means [disk.OS].
	FS disk.FS
	// Dir is the store's own directory; it is made when missing.
	Dir string
	// Logger hears of trouble; nil discards it.
	Logger *slog.Logger
	// MemTableBytes is how much of the log the engine collects in memory
	// before it writes a table; up to four of that size can be in memory. 0 means
	// 8 MiB; the engine starts with 256 KiB and doubles as it is used.
	MemTableBytes int
	// Transport carries messages to the other nodes; nil on a node whose
	// groups have one member.
	Transport Transport
	// Tick is the time between two ticks of the groups' clock, of which an
	// election takes ten; 0 means 50 ms.
	Tick time.Duration
	// Misfit hears of messages for groups and replicas that are not open here;
	// nil ignores them. It must not block.
	Misfit func(from ident.NodeID, m Message)
}

const (
	defaultMemTableBytes = 8 << 20
	blockCacheBytes      = 8 << 20
	maxOpenTables        = 128
)

// Store is the log of all groups on one node: one engine, one write-ahead
// log, so that one sync makes the entries of many groups durable. All methods
// are safe for concurrent use.
type Store struct {
	dir    string
	logger *slog.Logger
	latch  *latch
	db     *pebble.DB
	lock   *pebble.Lock
	bounds *bounds

	transport Transport
	tick      time.Duration
	misfit    func(from ident.NodeID, m Message)

	mu         sync.Mutex // guards groups, destroying, ticking, closing, users
	groups     map[ident.ShardID]*Group
	destroying map[ident.ShardID]bool
	ticking    bool // the clock runs
	closing    bool
	users      sync.WaitGroup // calls and group loops that use db; none begins once closing
	// stuck is set when the engine panicked: its locks may be held for ever.
	stuck bool

	down     sync.Once // closes db
	downErr  error
	closed   sync.Once // releases the rest
	closeErr error
}

// OpenStore opens the store in o.Dir and takes it for this process. Errors:
// InUse when another holder has it, Corruption naming the file when it is
// damaged, Incompatible when another version wrote it, DiskFull or Stopped
// when the disk refuses a write.
func OpenStore(o StoreOptions) (*Store, error) {
	const op = "open replicated log"
	if o.FS == nil {
		o.FS = disk.OS{}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.MemTableBytes <= 0 {
		o.MemTableBytes = defaultMemTableBytes
	}
	if err := makeDir(o.FS, o.Dir); err != nil {
		return nil, diskError(op, err, "cannot make %s", o.Dir)
	}
	if o.Tick <= 0 {
		o.Tick = defaultTick
	}
	s := &Store{
		dir: o.Dir, logger: o.Logger, transport: o.Transport, tick: o.Tick, misfit: o.Misfit,
		groups: map[ident.ShardID]*Group{}, destroying: map[ident.ShardID]bool{},
	}
	s.latch = &latch{}
	g := &guard{FS: engineFS(o.FS), latch: s.latch, dir: o.Dir, walLimit: 2*int64(o.MemTableBytes) + walStep}
	var err error
	if s.lock, err = pebble.LockDirectory(o.Dir, g.FS); err != nil {
		return nil, lockError(op, o.Dir, err)
	}
	if err := s.open(o, g); err != nil {
		return nil, errors.Join(err, s.lock.Close())
	}
	s.latch.arm(func() { go s.abandon() })
	return s, nil
}

// makeDir makes dir and the directories above it, durably.
func makeDir(fsys disk.FS, dir string) error {
	var made []string
	for d := filepath.Clean(dir); ; d = filepath.Dir(d) {
		if _, err := fsys.Stat(d); err == nil {
			break
		} else if !errors.Is(err, fs.ErrNotExist) || d == filepath.Dir(d) {
			return err
		}
		made = append(made, d)
	}
	if err := fsys.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for _, d := range made {
		if err := fsys.SyncDir(filepath.Dir(d)); err != nil {
			return err
		}
	}
	return nil
}

// open opens what lies below the lock.
func (s *Store) open(o StoreOptions, g *guard) error {
	const op = "open replicated log"
	var err error
	if s.bounds, err = openBounds(o.FS, o.Dir, false); err != nil {
		if fault.Is(err, fault.Corruption) {
			return err
		}
		return diskError(op, err, "cannot open %s", filepath.Join(o.Dir, boundsName))
	}
	opts := engineOptions(g, s.logger, s.latch)
	opts.MemTableSize = uint64(o.MemTableBytes)
	opts.Lock = s.lock
	if s.db, err = openEngine(o.Dir, opts, g); err == nil {
		err = s.checkVersion()
	}
	if cause := s.latch.cause(); cause != nil {
		err = diskError(op, cause, "the disk under %s refused a write", o.Dir)
	}
	if err != nil {
		return errors.Join(err, s.closeEngine(), s.bounds.close(false))
	}
	return nil
}

// checkVersion compares the store's format with ours, or writes it into a new
// store.
func (s *Store) checkVersion() error {
	const op = "open replicated log"
	value, err := getValue(s.db, versionKey)
	if err != nil {
		return corruptStore(op, s.dir, err, "cannot read the format version")
	}
	if value == nil {
		if err := s.db.Set(versionKey, encodeWords(versionKey, formatStandalone), pebble.Sync); err != nil {
			return diskError(op, err, "cannot write the format version")
		}
		return nil
	}
	return checkVersionValue(s.dir, value)
}

func checkVersionValue(dir string, value []byte) error {
	const op = "open replicated log"
	words, err := decodeWords(versionKey, value, 1)
	if err != nil {
		return corruptStore(op, dir, err, "the format version does not read")
	}
	if words[0] < formatStandalone || words[0] > formatVersion {
		return fault.New(op, fault.Incompatible, "%s has format version %d and this program knows up to %d: use the version of Kimberlite that wrote it", dir, words[0], formatVersion)
	}
	return nil
}

// getValue returns a copy of a value, nil when there is none.
func getValue(r pebble.Reader, key []byte) ([]byte, error) {
	value, closer, err := r.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return append([]byte{}, value...), closer.Close()
}

// getWords returns the words of a small record, nil when there is none.
func getWords(r pebble.Reader, key []byte, n int) ([]uint64, error) {
	value, err := getValue(r, key)
	if err != nil || value == nil {
		return nil, err
	}
	return decodeWords(key, value, n)
}

// Err returns why the store failed, nil while it works: DiskFull when the
// disk was full, Stopped otherwise. A store that failed stays failed; close
// it and open it again.
func (s *Store) Err() error {
	if cause := s.latch.cause(); cause != nil {
		return diskError("replicated log", cause, "the store in %s failed and stopped", s.dir)
	}
	return nil
}

// stopped returns what calls on a failed store return.
func (s *Store) stopped(op string) error {
	return fault.Wrap(op, fault.Stopped, s.latch.cause(), "the replicated log in %s stopped when its disk failed; see to the disk, then open it again", s.dir)
}

// use enters a call that uses the engine; leave it by s.users.Done.
func (s *Store) use(op string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.latch.cause() != nil {
		return s.stopped(op)
	}
	if s.closing {
		return fault.New(op, fault.Closed, "the replicated log in %s is closed", s.dir)
	}
	s.users.Add(1)
	return nil
}

// abandon lets go of the engine after a failure: every group stops, and the
// engine closes, since it would go on trying. It runs on a goroutine of its
// own, which ends with the groups' loops.
func (s *Store) abandon() {
	s.logger.Error("replicated log stopped", "dir", s.dir, "error", s.latch.cause())
	for _, g := range s.openGroups() {
		g.wake()
	}
	_ = s.closeEngine()
}

func (s *Store) openGroups() []*Group {
	s.mu.Lock()
	defer s.mu.Unlock()
	groups := make([]*Group, 0, len(s.groups))
	for _, g := range s.groups {
		groups = append(groups, g)
	}
	return groups
}

// closeEngine closes the engine once nobody uses it.
func (s *Store) closeEngine() error {
	s.mu.Lock()
	s.closing = true
	s.mu.Unlock()
	s.down.Do(func() {
		s.users.Wait()
		if s.db == nil || s.isStuck() {
			return
		}
		s.downErr = s.db.Close()
	})
	return s.downErr
}

func (s *Store) isStuck() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stuck
}

// Close closes the groups that are open, as [Group.Close] does, then the
// store, and lets other holders open it. It returns the failure of a store
// that failed. It is idempotent.
func (s *Store) Close() error {
	s.closed.Do(func() {
		s.mu.Lock()
		s.closing = true
		s.mu.Unlock()
		for _, g := range s.openGroups() {
			_ = g.Close() // it repeats what Err says
		}
		err := s.closeEngine()
		failed := s.Err()
		if err != nil && failed == nil {
			failed = diskError("close replicated log", err, "closing the store in %s failed", s.dir)
		}
		if err := s.bounds.close(failed == nil); err != nil && failed == nil {
			failed = diskError("close replicated log", err, "closing the store in %s failed", s.dir)
		}
		if err := s.lock.Close(); err != nil && failed == nil {
			failed = diskError("close replicated log", err, "closing the store in %s failed", s.dir)
		}
		s.closeErr = failed
	})
	return s.closeErr
}
