package replication

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/cockroachdb/pebble/v2"
	pb "go.etcd.io/raft/v3/raftpb"

	"kimberlite/internal/disk"
	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
)

// InspectStore calls fn for every proposal that is still in the replicated
// logs of the store in dir, by shard and index, after checking it. It writes
// nothing and takes no part; a store that is in use is InUse. It reports
// Corruption for a damaged entry, a gap, and a log that is shorter than it is
// known to have been. data is valid during the call. It returns fn's error as
// it is. A store whose making a crash interrupted is empty.
func InspectStore(fsys disk.FS, dir string, fn func(shard ident.ShardID, index uint64, data []byte) error) error {
	return inspect(fsys, dir, func(db *pebble.DB, b *bounds, shards []ident.ShardID) error {
		for _, shard := range shards {
			if err := inspectLog(db, dir, b, shard, fn); err != nil {
				return err
			}
		}
		return nil
	})
}

func inspectLog(db *pebble.DB, dir string, b *bounds, shard ident.ShardID, fn func(ident.ShardID, uint64, []byte) error) error {
	l, err := loadGroupLog(db, dir, shard)
	if err != nil {
		return err
	}
	if l == nil {
		return corruptStore("inspect replicated log", dir, nil, "shard %s has no state", shard)
	}
	if known := max(b.get(shard), l.hard.commit, l.checkpoint); l.last < known {
		return l.corrupt(nil, "its log ends at index %d and had reached index %d: acknowledged entries are lost", l.last, known)
	}
	return scanEntries(db, shard, l.truncated+1, func(index uint64, _, value []byte) error {
		if len(value) < entryHeaderLen+proposerLen || pb.EntryType(value[1]) != pb.EntryNormal {
			return nil
		}
		return fn(shard, index, value[entryHeaderLen+proposerLen:])
	})
}

// InspectCheckpoint calls fn for every key that the last checkpoints of the
// store in dir saved, by shard, in order. Otherwise it is as [InspectStore].
func InspectCheckpoint(fsys disk.FS, dir string, fn func(shard ident.ShardID, key, value []byte) error) error {
	return inspect(fsys, dir, func(db *pebble.DB, _ *bounds, shards []ident.ShardID) error {
		for _, shard := range shards {
			_, err := loadCheckpoint("inspect checkpoint", db, dir, shard, func(key, value []byte) error {
				return fn(shard, key, value)
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// Made says whether there is a store in dir, or its file of lower bounds says
// that there was one. A crash in the making of a store leaves none.
func Made(fsys disk.FS, dir string) (bool, error) {
	const op = "open replicated log"
	b, err := openBounds(fsys, dir, true)
	if err != nil {
		return false, corruptStore(op, filepath.Join(dir, boundsName), err, "the lower bounds do not read")
	}
	if len(b.slots) > 0 {
		return true, nil
	}
	desc, err := pebble.Peek(dir, &guard{FS: engineFS(fsys), latch: &latch{}, dir: dir, readOnly: true})
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, diskError(op, err, "cannot read %s", dir)
	}
	return desc.Exists, nil
}

// inspect opens a store to be read only.
func inspect(fsys disk.FS, dir string, read func(*pebble.DB, *bounds, []ident.ShardID) error) (err error) {
	const op = "inspect replicated log"
	if fsys == nil {
		fsys = disk.OS{}
	}
	if _, err := fsys.Stat(dir); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return fault.New(op, fault.NotFound, "there is no replicated log in %s", dir)
		}
		return diskError(op, err, "cannot read %s", dir)
	}
	b, err := openBounds(fsys, dir, true)
	if err != nil {
		return corruptStore(op, filepath.Join(dir, boundsName), err, "the lower bounds do not read")
	}
	l := &latch{}
	g := &guard{FS: engineFS(fsys), latch: l, dir: dir, readOnly: true}
	opts := engineOptions(g, slog.New(slog.DiscardHandler), l)
	opts.ReadOnly = true
	db, err := openInspected(dir, opts, g)
	if errors.Is(err, pebble.ErrDBDoesNotExist) && len(b.slots) == 0 {
		return nil // a crash in the making of the store: nothing was ever in it
	}
	if err != nil {
		return err
	}
	defer func() {
		if r := recover(); r != nil {
			err = corruptFile(op, dir, g, fmt.Errorf("%v", r))
		} else if closeErr := db.Close(); err == nil && closeErr != nil {
			err = corruptFile(op, dir, g, closeErr)
		}
	}()
	value, shards, err := readTop(db)
	switch {
	case err != nil:
		return corruptFile(op, dir, g, err)
	case value == nil && len(shards) == 0 && len(b.slots) == 0:
		return nil // likewise: the version is written first
	case value == nil:
		return corruptFile(op, dir, g, errors.New("the format version is missing"))
	}
	if err := checkVersionValue(dir, value); err != nil {
		return err
	}
	for shard, slot := range b.slots {
		if slot.index > 0 && !slices.Contains(shards, shard) {
			return corruptStore(op, dir, nil, "the log of shard %s is gone, and it had reached index %d", shard, b.get(shard))
		}
	}
	return read(db, b, shards)
}

// readTop reads the format version, nil when there is none, and the shards.
func readTop(r pebble.Reader) (version []byte, shards []ident.ShardID, err error) {
	if version, err = getValue(r, versionKey); err != nil {
		return nil, nil, err
	}
	shards, err = listShards(r)
	return version, shards, err
}

func openInspected(dir string, opts *pebble.Options, g *guard) (*pebble.DB, error) {
	lock, err := g.Lock(filepath.Join(dir, "LOCK"))
	if err != nil {
		return nil, lockError("inspect replicated log", dir, err)
	}
	if err := lock.Close(); err != nil {
		return nil, err
	}
	return openEngine(dir, opts, g)
}

// Lock implements [vfs.FS]. One who only reads takes the lock when it is
// there to be taken, and goes on when the medium refuses to be written.
func (g *guard) Lock(name string) (io.Closer, error) {
	if g.readOnly {
		if _, err := g.FS.Stat(name); errors.Is(err, fs.ErrNotExist) {
			return io.NopCloser(nil), nil
		}
	}
	lock, err := g.FS.Lock(name)
	if g.readOnly && (errors.Is(err, syscall.EROFS) || errors.Is(err, fs.ErrPermission) && isPathError(err)) {
		return io.NopCloser(nil), nil
	}
	return lock, err
}

// isPathError tells a file that may not be written from a lock that is held.
func isPathError(err error) bool {
	var pathErr *fs.PathError
	return errors.As(err, &pathErr)
}

// listShards returns the shards that have keys, in order.
func listShards(r pebble.Reader) (shards []ident.ShardID, err error) {
	it, err := r.NewIter(&pebble.IterOptions{LowerBound: []byte{prefixShard}, UpperBound: []byte{prefixShard + 1}})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	for ok := it.First(); ok; {
		shard, _, _, valid := parseShardKey(it.Key())
		if !valid {
			return nil, fmt.Errorf("a key of %d bytes that is no shard's", len(it.Key()))
		}
		shards = append(shards, shard)
		ok = it.SeekGE(shardKey(shard, 0xff))
	}
	return shards, it.Error()
}
