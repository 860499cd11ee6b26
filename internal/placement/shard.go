package placement

import (
	"slices"

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
	var open []Shard
	known := 0
	for _, s := range shards {
		if s.Region != region {
			continue
		}
		known++
		if !s.Out {
			open = append(open, s)
		}
	}
	if len(open) == 0 {
		if known > 0 {
			return ident.ShardID{}, fault.New("place tenant", fault.Unavailable,
				"none of the %d shards in region %q takes tenants now: they are being emptied or have no majority; look at `kimberlite shard list`", known, region)
		}
		return ident.ShardID{}, fault.New("place tenant", fault.NotFound,
			"there is no shard in region %q: make one with `kimberlite shard create --region %s`", region, region)
	}
	var whole fullness
	for _, s := range open {
		whole.add(s)
	}
	best := slices.MinFunc(open, func(a, b Shard) int {
		switch x, y := whole.share(a), whole.share(b); {
		case x < y:
			return -1
		case x > y:
			return 1
		}
		return compareShards(a.ID, b.ID)
	})
	return best.ID, nil
}

// fullness is what all shards of a region hold together. The sums of bytes and
// tenants are exact, so that they do not depend on the order of the input.
type fullness struct {
	bytes, tenants uint64
	load           float64 // the greatest, since a sum of floats depends on their order
}

func (f *fullness) add(s Shard) {
	f.bytes += s.Bytes
	f.tenants += uint64(max(s.Tenants, 0))
	f.load = max(f.load, s.Load)
}

// share is a shard's part of the whole, added up over what is counted.
func (f *fullness) share(s Shard) float64 {
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
