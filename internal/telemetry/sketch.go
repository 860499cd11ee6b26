package telemetry

import (
	"container/heap"

	"kimberlite/internal/ident"
)

// sketch finds the tenants that do most, in bounded memory, by the
// space-saving algorithm: it counts at most size tenants; one more takes the
// place, and the count, of the one with the smallest. A count is therefore
// never too small, and too large by at most the smallest; every tenant with
// more than 1/size of all use is in it.
//
// It is not safe for concurrent use.
type sketch struct {
	size  int
	by    map[ident.TenantID]*counted
	order smallestFirst
}

// counted is one tenant of a sketch.
type counted struct {
	tenant ident.TenantID
	count  uint64
	index  int // in the heap
}

func newSketch(size int) *sketch {
	return &sketch{size: size, by: make(map[ident.TenantID]*counted, size)}
}

// add counts n of a tenant's use.
func (s *sketch) add(tenant ident.TenantID, n uint64) {
	c, ok := s.by[tenant]
	switch {
	case s.size == 0:
		return
	case ok:
		c.count += n
		heap.Fix(&s.order, c.index)
	case len(s.order) < s.size:
		c = &counted{tenant: tenant, count: n}
		s.by[tenant] = c
		heap.Push(&s.order, c)
	default:
		c = s.order[0]
		delete(s.by, c.tenant)
		c.tenant = tenant
		c.count += n
		s.by[tenant] = c
		heap.Fix(&s.order, 0)
	}
}

// count returns a tenant's count, 0 when it has none.
func (s *sketch) count(tenant ident.TenantID) uint64 {
	if c, ok := s.by[tenant]; ok {
		return c.count
	}
	return 0
}

// halve lets what is past weigh less. It keeps the order.
func (s *sketch) halve() {
	for _, c := range s.order {
		c.count /= 2
	}
}

// smallestFirst is a heap of tenants.
type smallestFirst []*counted

func (h smallestFirst) Len() int           { return len(h) }
func (h smallestFirst) Less(i, j int) bool { return h[i].count < h[j].count }
func (h smallestFirst) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

// Push adds a tenant at the end; package heap calls it.
func (h *smallestFirst) Push(x any) {
	c := x.(*counted)
	c.index = len(*h)
	*h = append(*h, c)
}

// Pop removes the last; package heap calls it.
func (h *smallestFirst) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}
