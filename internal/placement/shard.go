package placement

import (
	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
)

// PickShard returns the shard of a region with the most room for a new tenant:
// the one whose shares of the region's bytes, tenants and load, added up, are
// the least; of equals the one with the lowest id. A region without a shard
// that takes tenants is a NotFound that says so.
//
// Reports of bytes and load lag behind a burst of new tenants. Their number
// does not when it comes from the directory, which is why it counts.
func PickShard(shards []Shard, region ident.Region) (ident.ShardID, error) {
	var whole fullness
	known, open := 0, 0
	for i := range shards {
		if s := &shards[i]; s.Region == region {
			known++
			if !s.Out {
				open++
				whole.add(s)
			}
		}
	}
	if open == 0 {
		return ident.ShardID{}, noShard(region, known)
	}
	var best *Shard
	least := 0.0
	for i := range shards {
		s := &shards[i]
		if s.Region != region || s.Out {
			continue
		}
		if share := whole.share(s); best == nil || share < least || share == least && compareShards(s.ID, best.ID) < 0 {
			best, least = s, share
		}
	}
	return best.ID, nil
}

func noShard(region ident.Region, known int) error {
	if known > 0 {
		return fault.New("place tenant", fault.Unavailable,
			"none of the %d shards in region %q takes tenants now: they are being emptied or have no majority; look at `kimberlite shard list`", known, region)
	}
	return fault.New("place tenant", fault.NotFound,
		"there is no shard in region %q: make one with `kimberlite shard create --region %s`", region, region)
}

// fullness is what all shards of a region hold together. The sums of bytes and
// tenants are exact, so that they do not depend on the order of the input.
type fullness struct {
	bytes, tenants uint64
	load           float64 // the greatest, since a sum of floats depends on their order
}

func (f *fullness) add(s *Shard) {
	f.bytes += s.Bytes
	f.tenants += uint64(max(s.Tenants, 0))
	f.load = max(f.load, s.Load)
}

// share is a shard's part of the whole, added up over what is counted.
func (f *fullness) share(s *Shard) float64 {
	sum := 0.0
	if f.bytes > 0 {
		sum += float64(s.Bytes) / float64(f.bytes)
	}
	if f.tenants > 0 {
		sum += float64(max(s.Tenants, 0)) / float64(f.tenants)
	}
	if f.load > 0 {
		sum += s.Load / f.load
	}
	return sum
}
