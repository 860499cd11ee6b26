package main

import (
	"math/bits"
	"time"
)

// histogram counts durations in buckets that grow with them, so that a
// percentile is at most 1/64 too large, whatever the number of samples. It is
// for one goroutine; add puts several together.
type histogram struct {
	counts [64 * subBuckets]uint32
	n      uint64
	sum    time.Duration
	most   time.Duration
}

// subBuckets are how many buckets each doubling has.
const (
	subBits    = 6
	subBuckets = 1 << subBits
)

func bucketOf(d time.Duration) int {
	v := uint64(max(d, 0)) //nolint:gosec // not negative
	if v < subBuckets {
		return int(v) //nolint:gosec // small
	}
	shift := bits.Len64(v) - 1 - subBits
	return (shift+1)*subBuckets + int(v>>shift) - subBuckets //nolint:gosec // below 64 * subBuckets
}

// bucketEnd is the longest duration of a bucket.
func bucketEnd(i int) time.Duration {
	if i < subBuckets {
		return time.Duration(i)
	}
	shift := i/subBuckets - 1
	return time.Duration(i%subBuckets+subBuckets+1)<<shift - 1
}

// record counts one duration.
func (h *histogram) record(d time.Duration) {
	h.counts[bucketOf(d)]++
	h.n++
	h.sum += d
	h.most = max(h.most, d)
}

// add counts all of another's durations.
func (h *histogram) add(o *histogram) {
	for i, c := range o.counts {
		h.counts[i] += c
	}
	h.n += o.n
	h.sum += o.sum
	h.most = max(h.most, o.most)
}

// percentile returns the duration that a share of all is not longer than;
// 0 when there are none.
func (h *histogram) percentile(share float64) time.Duration {
	if h.n == 0 {
		return 0
	}
	want := max(1, uint64(share*float64(h.n)+0.5))
	var seen uint64
	for i, c := range h.counts {
		if seen += uint64(c); seen >= want {
			return min(bucketEnd(i), h.most)
		}
	}
	return h.most
}

func (h *histogram) mean() time.Duration {
	if h.n == 0 {
		return 0
	}
	return h.sum / time.Duration(h.n) //nolint:gosec // a count of samples
}
