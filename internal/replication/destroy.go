package replication

import (
	"github.com/cockroachdb/pebble/v2"

	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
)

// Destroy removes the log, the saved state and the lower bound of a group that
// is not open. It is idempotent. Errors: InUse when the group is open, Closed,
// Stopped, DiskFull.
func (s *Store) Destroy(shard ident.ShardID) error {
	const op = "destroy shard"
	if err := s.use(op); err != nil {
		return err
	}
	defer s.users.Done()
	s.mu.Lock()
	if s.groups[shard] != nil {
		s.mu.Unlock()
		return fault.New(op, fault.InUse, "shard %s is open; close it first", shard)
	}
	if s.destroying[shard] {
		s.mu.Unlock()
		return fault.New(op, fault.InUse, "shard %s is being destroyed already", shard)
	}
	s.destroying[shard] = true // nobody opens it meanwhile
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.destroying, shard)
	}()
	// The bound goes first: without its log it would be taken for damage.
	if err := s.bounds.clear(shard); err != nil {
		s.latch.trip(err)
		return s.Err()
	}
	b := s.db.NewBatch()
	defer b.Close()
	if err := b.DeleteRange(shardKey(shard, 0), shardKey(shard, 0xff), nil); err != nil {
		return fault.Wrap(op, fault.Internal, err, "shard %s", shard)
	}
	if err := b.Commit(pebble.Sync); err != nil {
		s.latch.trip(err)
	}
	return s.Err()
}
