package replication

import (
	"errors"

	"github.com/cockroachdb/pebble/v2"

	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
)

// KV is one change to the state machine's saved keys.
type KV struct {
	Key []byte
	// Value is the new value; nil deletes the key.
	Value []byte
}

// SaveCheckpoint saves, in one synced write, changes to the state machine's
// keys and that they cover the log up to index, and drops the log up to
// there. index must be applied already and not before the last checkpoint's;
// of a new group it may be 0, which counts as the index before its first entry.
// All that the entries up to index did to other files must be durable before
// the call. kvs is not kept. Errors: Invalid, Closed, Stopped, DiskFull; after
// the last two the checkpoint is there or it is not, as a whole.
func (g *Group) SaveCheckpoint(index uint64, kvs []KV) error {
	const op = "save checkpoint"
	if err := g.store.use(op); err != nil {
		return err
	}
	defer g.store.users.Done()
	g.checkMu.Lock()
	defer g.checkMu.Unlock()
	g.mu.Lock()
	err := g.refusal(op)
	g.mu.Unlock()
	if err != nil {
		return err
	}
	if applied := g.Applied(); index > applied {
		return fault.New(op, fault.Invalid, "shard %s: index %d is not applied; the last is %d", g.opts.Shard, index, applied)
	}
	return g.log.saveCheckpoint(op, g.store, index, kvs)
}

func (l *groupLog) saveCheckpoint(op string, s *Store, index uint64, kvs []KV) error {
	index = max(index, initialIndex)
	term, from, err := l.checkpointAt(op, index)
	if err != nil {
		return err
	}
	b := s.db.NewBatch()
	defer b.Close()
	if err := l.stageCheckpoint(b, index, term, from, kvs); err != nil {
		return fault.Wrap(op, fault.Internal, err, "shard %s", l.shard)
	}
	if err := b.Commit(pebble.Sync); err != nil {
		s.latch.trip(err)
	}
	if err := s.Err(); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.truncated, l.truncTerm, l.checkpoint = index, term, index
	l.sizes.cutAt(index)
	return nil
}

// checkpointAt returns the term of the entry at index and the first entry
// that a checkpoint there drops.
func (l *groupLog) checkpointAt(op string, index uint64) (term, from uint64, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if index < l.truncated {
		return 0, 0, fault.New(op, fault.Invalid, "shard %s: index %d is before the checkpoint at index %d", l.shard, index, l.truncated)
	}
	term, err = l.term(index)
	return term, l.truncated + 1, err
}

// stageCheckpoint fills the batch. One range tombstone a checkpoint drops the
// entries: a point tombstone each would cost as many keys again, and a range
// tombstone per append costs memory without bound.
func (l *groupLog) stageCheckpoint(b *pebble.Batch, index, term, from uint64, kvs []KV) error {
	prefix := shardKey(l.shard, kindState)
	for _, kv := range kvs {
		key := append(prefix[:shardKeyLen:shardKeyLen], kv.Key...)
		var err error
		if kv.Value == nil {
			err = b.Delete(key, nil)
		} else {
			err = b.Set(key, kv.Value, nil)
		}
		if err != nil {
			return err
		}
	}
	point, trunc := shardKey(l.shard, kindCheckpoint), shardKey(l.shard, kindTruncated)
	err := errors.Join(
		b.Set(point, encodeWords(point, index), nil),
		b.Set(trunc, encodeWords(trunc, index, term), nil))
	if err == nil && from <= index {
		err = b.DeleteRange(entryKey(l.shard, from), entryKey(l.shard, index+1), nil)
	}
	return err
}

// LoadCheckpoint calls fn for each key that the last checkpoint of a shard
// saved, in order, and returns the index that it covers; 0, and no call, when
// there is none. key and value are valid during the call. It returns fn's
// error as it is.
func (s *Store) LoadCheckpoint(shard ident.ShardID, fn func(key, value []byte) error) (index uint64, err error) {
	const op = "load checkpoint"
	if err := s.use(op); err != nil {
		return 0, err
	}
	defer s.users.Done()
	snap := s.db.NewSnapshot()
	defer func() { err = errors.Join(err, snap.Close()) }()
	return loadCheckpoint(op, snap, s.dir, shard, fn)
}

func loadCheckpoint(op string, r pebble.Reader, dir string, shard ident.ShardID, fn func(key, value []byte) error) (index uint64, err error) {
	words, err := getWords(r, shardKey(shard, kindCheckpoint), 1)
	if err != nil {
		return 0, corruptStore(op, dir, err, "the checkpoint of shard %s does not read", shard)
	}
	if words == nil {
		return 0, nil
	}
	it, err := r.NewIter(&pebble.IterOptions{LowerBound: shardKey(shard, kindState), UpperBound: shardEnd(shard, kindState)})
	if err != nil {
		return 0, corruptStore(op, dir, err, "the checkpoint of shard %s does not read", shard)
	}
	defer it.Close() //nolint:errcheck // it.Error is looked at below
	for ok := it.First(); ok; ok = it.Next() {
		value, err := it.ValueAndErr()
		if err != nil {
			return 0, corruptStore(op, dir, err, "the checkpoint of shard %s does not read", shard)
		}
		if err := fn(it.Key()[shardKeyLen:], value); err != nil {
			return 0, err
		}
	}
	if err := it.Error(); err != nil {
		return 0, corruptStore(op, dir, err, "the checkpoint of shard %s does not read", shard)
	}
	return words[0], nil
}
