package replication

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/cockroachdb/pebble/v2"
	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"

	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
)

// groupLog is one group's part of the store, as raft reads it: it implements
// raft.Storage. Entries that are not applied yet stay in memory too, so that
// raft never reads the engine while a group is running.
//
// The loop of the group alone appends and reads; a checkpoint on another
// goroutine moves the log's beginning.
type groupLog struct {
	db    *pebble.DB
	shard ident.ShardID
	dir   string

	// self is this node's replica. several says that the group can have more.
	self    uint64
	several bool

	mu   sync.Mutex // guards all below
	hard hardState
	// confs are the members as the state machine applied them: at the
	// checkpoint, and after each change since.
	confs      []conf
	truncated  uint64 // index of the last entry dropped
	truncTerm  uint64
	checkpoint uint64 // index that the saved state covers, 0 when none is saved
	last       uint64 // index of the last entry
	// recent holds the last entries up to index last: at least all that are
	// not applied, but for those that were too many to keep at a start.
	recent []*pb.Entry
	sizes  sizeMarks
	// kept knows the sizes of all entries of a group of several, those before
	// the checkpoint included.
	kept sizeMarks
	// failed is why a read failed. Raft panics at that, and puts the error
	// into words.
	failed error
}

type hardState struct{ term, vote, commit uint64 }

const (
	// initialIndex is the index before the first entry of a new group: raft
	// wants a log that begins after something.
	initialIndex = 1
	initialTerm  = 1
	// recentLimit is how many bytes of entries are kept in memory from the
	// scan at a start; a longer log is read again, page by page.
	recentLimit = 8 << 20

	// The second word of a group's meta record.
	metaSole    = 0
	metaSeveral = 1
)

var _ raft.Storage = (*groupLog)(nil)

// loadGroupLog reads what the store has of a group and checks all of it that
// is not behind the checkpoint; nil when it has nothing.
func loadGroupLog(db *pebble.DB, dir string, shard ident.ShardID) (*groupLog, error) {
	l := &groupLog{db: db, shard: shard, dir: dir}
	meta, err := l.words(db, kindMeta, 2)
	if err != nil || meta == nil {
		return nil, err
	}
	l.self, l.several = meta[0], meta[1] == metaSeveral
	hard, err := l.words(db, kindHardState, 3)
	if err != nil {
		return nil, err
	}
	trunc, err := l.words(db, kindTruncated, 2)
	if err != nil {
		return nil, err
	}
	if hard == nil || trunc == nil {
		return nil, l.corrupt(nil, "its state is missing")
	}
	point, err := l.words(db, kindCheckpoint, 1)
	if err != nil {
		return nil, err
	}
	if point != nil {
		l.checkpoint = point[0]
	}
	l.hard = hardState{hard[0], hard[1], hard[2]}
	l.truncated, l.truncTerm = trunc[0], trunc[1]
	if err := l.loadMembers(db); err != nil {
		return nil, err
	}
	return l, l.scan(db)
}

// loadMembers reads who the members were at the checkpoint.
func (l *groupLog) loadMembers(r pebble.Reader) error {
	if !l.several {
		l.confs = []conf{{membership: soleMember(l.self)}}
		return nil
	}
	key := shardKey(l.shard, kindMembers)
	value, err := getValue(r, key)
	if err != nil || value == nil {
		return l.corrupt(err, "the record of its members is missing")
	}
	index, _, m, err := decodeConf(key, value)
	if err != nil {
		return l.corrupt(err, "the record of its members does not read")
	}
	if l.checkpoint != 0 && l.checkpoint != index {
		return l.corrupt(nil, "its checkpoint is at index %d and its members are those at index %d", l.checkpoint, index)
	}
	l.confs = []conf{{index: index, membership: m}}
	return nil
}

// bootstrap writes a new one-member group.
func bootstrap(db *pebble.DB, shard ident.ShardID, node ident.NodeID) error {
	b := db.NewBatch()
	defer b.Close()
	put := func(kind byte, words ...uint64) error {
		key := shardKey(shard, kind)
		return b.Set(key, encodeWords(key, words...), nil)
	}
	err := errors.Join(
		put(kindMeta, node.Uint64(), metaSole),
		put(kindHardState, initialTerm, 0, initialIndex),
		put(kindTruncated, initialIndex, initialTerm))
	if err != nil {
		return err
	}
	return b.Commit(pebble.Sync)
}

// words reads a small record of the group, nil when there is none.
func (l *groupLog) words(r pebble.Reader, kind byte, n int) ([]uint64, error) {
	words, err := getWords(r, shardKey(l.shard, kind), n)
	if err != nil {
		return nil, l.corrupt(err, "a record of kind %d does not read", kind)
	}
	return words, nil
}

// corrupt is damage to this group's log.
func (l *groupLog) corrupt(err error, format string, args ...any) error {
	return corruptStore("replicated log", l.dir, err, "shard %s: %s; restore the shard from a backup or a replica", l.shard, fmt.Sprintf(format, args...))
}

// scan reads all entries, checks them, and finds the last.
func (l *groupLog) scan(r pebble.Reader) error {
	l.last = l.truncated
	total := int64(0)
	keep := true
	l.kept.reset()
	err := scanEntries(r, l.shard, l.truncated+1, func(index uint64, key, value []byte) error {
		if index != l.last+1 {
			return l.corrupt(nil, "entry %d follows entry %d", index, l.last)
		}
		if err := checkEntry(key, value); err != nil {
			return l.corrupt(err, "entry %d is damaged", index)
		}
		l.last = index
		if l.several {
			l.kept.add(index, len(value))
		}
		if index <= l.checkpoint {
			return nil
		}
		total += int64(len(value))
		l.sizes.add(index, len(value))
		if keep = keep && total <= recentLimit; !keep {
			l.recent = nil
			return nil
		}
		e, err := decodeEntry(key, value)
		l.recent = append(l.recent, e)
		return err
	})
	if err != nil && !fault.Is(err, fault.Corruption) {
		return l.corrupt(err, "entries after %d do not read", l.last)
	}
	return err
}

// scanEntries calls fn for every stored entry of a shard from index on. key
// and value are valid during the call only.
func scanEntries(r pebble.Reader, shard ident.ShardID, from uint64, fn func(index uint64, key, value []byte) error) (err error) {
	it, err := r.NewIter(&pebble.IterOptions{LowerBound: entryKey(shard, from), UpperBound: shardEnd(shard, kindEntry)})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	for ok := it.First(); ok; ok = it.Next() {
		value, err := it.ValueAndErr()
		if err != nil {
			return err
		}
		if len(it.Key()) != entryKeyLen {
			return fmt.Errorf("a key of %d bytes among the entries", len(it.Key()))
		}
		if err := fn(binary.BigEndian.Uint64(it.Key()[shardKeyLen:]), it.Key(), value); err != nil {
			return err
		}
	}
	return it.Error()
}

// InitialState implements raft.Storage. What is behind the checkpoint is
// committed even when the hard state on disk is older.
func (l *groupLog) InitialState() (*pb.HardState, *pb.ConfState, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	commit := max(l.hard.commit, l.truncated, l.checkpoint)
	hard := l.hard
	return &pb.HardState{Term: &hard.term, Vote: &hard.vote, Commit: &commit}, l.confs[0].confState(), nil
}

// FirstIndex implements raft.Storage.
func (l *groupLog) FirstIndex() (uint64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.truncated + 1, nil
}

// LastIndex implements raft.Storage.
func (l *groupLog) LastIndex() (uint64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last, nil
}

// Term implements raft.Storage.
func (l *groupLog) Term(index uint64) (uint64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.term(index)
}

func (l *groupLog) term(index uint64) (uint64, error) {
	switch {
	case index == l.truncated:
		return l.truncTerm, nil
	case index < l.truncated:
		return 0, raft.ErrCompacted
	case index > l.last:
		return 0, raft.ErrUnavailable
	}
	if i, ok := l.inRecent(index); ok {
		return l.recent[i].GetTerm(), nil
	}
	key := entryKey(l.shard, index)
	value, err := getValue(l.db, key)
	if err == nil && value == nil {
		err = errors.New("it is missing")
	}
	if err == nil {
		err = checkEntry(key, value)
	}
	if err != nil {
		l.failed = l.corrupt(err, "entry %d is damaged", index)
		return 0, l.failed
	}
	return binary.LittleEndian.Uint64(value[2:]), nil
}

// inRecent returns where an entry stands in l.recent.
func (l *groupLog) inRecent(index uint64) (int, bool) {
	if len(l.recent) == 0 || index < l.recent[0].GetIndex() {
		return 0, false
	}
	return int(index - l.recent[0].GetIndex()), true
}

// Entries implements raft.Storage.
func (l *groupLog) Entries(lo, hi, maxSize uint64) ([]*pb.Entry, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case lo <= l.truncated:
		return nil, raft.ErrCompacted
	case hi > l.last+1:
		return nil, raft.ErrUnavailable
	}
	if i, ok := l.inRecent(lo); ok {
		return limitEntries(l.recent[i:i+int(hi-lo)], maxSize), nil
	}
	entries, err := l.read(lo, hi, maxSize)
	if err != nil {
		l.failed = err
	}
	return entries, err
}

// failure returns why a read failed, or nil.
func (l *groupLog) failure() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.failed
}

// limitEntries returns the longest beginning of entries of at most maxSize
// bytes, but one entry at least. Nothing can be appended to it in place.
func limitEntries(entries []*pb.Entry, maxSize uint64) []*pb.Entry {
	size := uint64(0)
	for i, e := range entries {
		size += uint64(len(e.Data)) + entryHeaderLen
		if size > maxSize && i > 0 {
			return entries[:i:i]
		}
	}
	return entries[:len(entries):len(entries)]
}

// errEnough ends a scan.
var errEnough = errors.New("enough")

// read reads entries from the engine.
func (l *groupLog) read(lo, hi, maxSize uint64) ([]*pb.Entry, error) {
	var entries []*pb.Entry
	size := uint64(0)
	next := lo
	err := scanEntries(l.db, l.shard, lo, func(index uint64, key, value []byte) error {
		if index >= hi {
			return errEnough
		}
		if size += uint64(len(value)); size > maxSize && len(entries) > 0 {
			return errEnough
		}
		e, err := decodeEntry(key, value)
		if err == nil && index != next {
			err = fmt.Errorf("entry %d is missing", next)
		}
		if err != nil {
			return l.corrupt(err, "entry %d is damaged", index)
		}
		entries = append(entries, e)
		next++
		return nil
	})
	if err != nil && !errors.Is(err, errEnough) {
		return nil, err
	}
	if len(entries) == 0 {
		return nil, l.corrupt(nil, "entry %d is missing", lo)
	}
	return entries, nil
}

// Snapshot implements raft.Storage. It says where the last checkpoint is, and
// nothing of what it holds: see Follower.
func (l *groupLog) Snapshot() (*pb.Snapshot, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	index := max(l.checkpoint, initialIndex)
	term, err := l.term(index)
	if err != nil {
		return nil, err
	}
	return &pb.Snapshot{Metadata: &pb.SnapshotMetadata{Index: &index, Term: &term, ConfState: l.confs[0].confState()}}, nil
}

// stage puts entries and the hard state, unless it is nil, into a batch.
// Entries that they replace, which only a follower has, leave with it.
func (l *groupLog) stage(b *pebble.Batch, entries []*pb.Entry, hard *hardState) error {
	for _, e := range entries {
		op := b.SetDeferred(entryKeyLen, entryHeaderLen+len(e.Data))
		putEntryKey(op.Key, l.shard, e.GetIndex())
		putEntry(op.Key, op.Value, e)
		if err := op.Finish(); err != nil {
			return err
		}
	}
	if n := len(entries); n > 0 {
		last, _ := l.LastIndex()
		for i := entries[n-1].GetIndex() + 1; i <= last; i++ {
			if err := b.Delete(entryKey(l.shard, i), nil); err != nil {
				return err
			}
		}
	}
	if hard == nil {
		return nil
	}
	key := shardKey(l.shard, kindHardState)
	return b.Set(key, encodeWords(key, hard.term, hard.vote, hard.commit), nil)
}

// staged makes entries that are in the engine visible to raft.
func (l *groupLog) staged(entries []*pb.Entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(entries) == 0 {
		return
	}
	first := entries[0].GetIndex()
	switch i, ok := l.inRecent(first); {
	case ok && i < len(l.recent):
		l.recent = append(l.recent[:i:i], entries...) // raft may hold what was there
	case ok || first > l.last:
		l.recent = append(l.recent, entries...)
	default:
		l.recent = slices.Clone(entries) // the array is raft's
	}
	l.last = entries[len(entries)-1].GetIndex()
	for _, e := range entries {
		l.sizes.add(e.GetIndex(), entryHeaderLen+len(e.Data))
		if l.several {
			l.kept.add(e.GetIndex(), entryHeaderLen+len(e.Data))
		}
	}
}

// forget drops applied entries from memory. Raft holds on to the entries of a
// Ready until it is advanced; call it after that.
func (l *groupLog) forget(applied uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for n < len(l.recent) && l.recent[n].GetIndex() <= applied {
		l.recent[n] = nil // the array lives on
		n++
	}
	l.recent = l.recent[n:]
}

// bytes returns the bytes of entries after the checkpoint.
func (l *groupLog) bytes() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.sizes.after()
}
