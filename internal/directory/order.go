package directory

import "slices"

// pageIDs is how many ids a page of an order holds at most.
const pageIDs = 512

// order is a sorted set of numbers in pages, for listing by id: 8 bytes and a
// little each, and no long pause when it grows.
type order struct {
	pages [][]uint64 // none empty, each sorted, one after the other
}

// page returns the page that id is in, or would be put in.
func (o *order) page(id uint64) int {
	i, found := slices.BinarySearchFunc(o.pages, id, func(p []uint64, id uint64) int {
		switch {
		case p[0] < id:
			return -1
		case p[0] > id:
			return 1
		}
		return 0
	})
	if !found && i > 0 {
		i--
	}
	return i
}

// add puts in an id that is not there.
func (o *order) add(id uint64) {
	if len(o.pages) == 0 {
		o.pages = append(o.pages, append(make([]uint64, 0, pageIDs), id))
		return
	}
	i := o.page(id)
	p := o.pages[i]
	at, _ := slices.BinarySearch(p, id)
	if len(p) < pageIDs {
		o.pages[i] = slices.Insert(p, at, id)
		return
	}
	half := pageIDs / 2
	if i == len(o.pages)-1 && at == pageIDs {
		half = pageIDs // ids that rise fill their pages
	}
	upper := append(make([]uint64, 0, pageIDs), p[half:]...)
	lower := p[:half]
	if at > half || half == pageIDs {
		upper = slices.Insert(upper, at-half, id)
	} else {
		lower = slices.Insert(lower, at, id)
	}
	o.pages[i] = lower
	o.pages = slices.Insert(o.pages, i+1, upper)
}

// remove takes out an id that is there.
func (o *order) remove(id uint64) {
	i := o.page(id)
	at, ok := slices.BinarySearch(o.pages[i], id)
	if !ok {
		return
	}
	p := slices.Delete(o.pages[i], at, at+1)
	o.pages[i] = p
	switch {
	case len(p) == 0:
		o.pages = slices.Delete(o.pages, i, i+1)
	case i+1 < len(o.pages) && len(p)+len(o.pages[i+1]) <= pageIDs/2:
		o.pages[i] = append(p, o.pages[i+1]...)
		o.pages = slices.Delete(o.pages, i+1, i+2)
	}
}

// from calls fn for the ids of at least id, in order, until it returns false.
func (o *order) from(id uint64, fn func(uint64) bool) {
	if len(o.pages) == 0 {
		return
	}
	i := o.page(id)
	at, _ := slices.BinarySearch(o.pages[i], id)
	for ; i < len(o.pages); i, at = i+1, 0 {
		for _, id := range o.pages[i][at:] {
			if !fn(id) {
				return
			}
		}
	}
}
