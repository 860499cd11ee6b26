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
// there; a group of several keeps a part, see needed. index must be applied already and not before the last checkpoint's;
// of a new group it may be 0, which counts as the index before its first entry.
// All that the entries up to index did to other files must be durable before
// the call. kvs is not kept. Errors: Invalid, Unavailable on a replica that
// waits for its first copy, Closed, Stopped, DiskFull; after
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
	if g.team != nil && g.Applied() == 0 {
		return fault.New(op, fault.Unavailable, "shard %s waits for its first copy and has nothing to save yet", g.opts.Shard)
	}
	if applied := g.Applied(); index > applied {
		return fault.New(op, fault.Invalid, "shard %s: index %d is not applied; the last is %d", g.opts.Shard, index, applied)
	}
	return g.log.saveCheckpoint(op, g.store, index, kvs, g.needed(index))
}

// cut says where a checkpoint stands and what of the log it drops.
type cut struct {
	index, term      uint64 // of the checkpoint
	from             uint64 // first entry there is
	trunc, truncTerm uint64 // of the last entry that is dropped
	members          membership
	several          bool
}

// saveCheckpoint saves a checkpoint and drops the log up to it, but for the
// entries after needed.
func (l *groupLog) saveCheckpoint(op string, s *Store, index uint64, kvs []KV, needed uint64) error {
	index = max(index, initialIndex)
	c, err := l.cutAt(op, index, needed)
	if err != nil {
		return err
	}
	b := s.db.NewBatch()
	defer b.Close()
	if err := l.stageCheckpoint(b, c, kvs); err != nil {
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
	l.truncated, l.truncTerm, l.checkpoint = c.trunc, c.truncTerm, index
	l.sizes.cutAt(index)
	l.kept.cutAt(c.trunc)
	n := 0
	for n+1 < len(l.confs) && l.confs[n+1].index <= index {
		n++
	}
	l.confs = l.confs[n:]
	l.confs[0].index = index
	return nil
}

// keeping returns the last index after which at least so many bytes of log
// stand, 0 when there are not as many.
func (l *groupLog) keeping(bytes int64) uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.kept.keeping(bytes)
}

// cutAt returns what a checkpoint at index drops. In a group of several raft
// reads the log meanwhile, so what will be dropped is gone for it at once.
func (l *groupLog) cutAt(op string, index, needed uint64) (c cut, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if index < l.truncated || index < l.checkpoint {
		return c, fault.New(op, fault.Invalid, "shard %s: index %d is before the checkpoint at index %d", l.shard, index, max(l.truncated, l.checkpoint))
	}
	c = cut{index: index, from: l.truncated + 1, trunc: max(l.truncated, min(index, needed)), several: l.several}
	if c.term, err = l.term(c.index); err != nil {
		return c, err
	}
	if c.truncTerm, err = l.term(c.trunc); err != nil {
		return c, err
	}
	if l.several {
		l.truncated, l.truncTerm = c.trunc, c.truncTerm
	}
	c.members = l.membersAt(index)
	return c, nil
}

// membersAt returns the members as an entry left them. l.mu is held.
func (l *groupLog) membersAt(index uint64) membership {
	n := len(l.confs) - 1
	for n > 0 && l.confs[n].index > index {
		n--
	}
	return l.confs[n].membership
}

// stageCheckpoint fills the batch. One range tombstone a checkpoint drops the
// entries: a point tombstone each would cost as many keys again, and a range
// tombstone per append costs memory without bound.
func (l *groupLog) stageCheckpoint(b *pebble.Batch, c cut, kvs []KV) error {
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
		b.Set(point, encodeWords(point, c.index), nil),
		b.Set(trunc, encodeWords(trunc, c.trunc, c.truncTerm), nil))
	if err == nil && c.several {
		members := shardKey(l.shard, kindMembers)
		err = b.Set(members, encodeConf(members, c.index, c.term, c.members), nil)
	}
	if err == nil && c.from <= c.trunc {
		err = b.DeleteRange(entryKey(l.shard, c.from), entryKey(l.shard, c.trunc+1), nil)
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
