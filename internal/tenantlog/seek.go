package tenantlog

import (
	"slices"
	"sort"
	"sync"

	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/record"
)

const (
	// indexSpacing is how far apart in a segment the indexed records are.
	indexSpacing = 64 << 10
	// maxIndexed is how many segments' indexes are kept: at 4 KiB for 16 MiB
	// of log, memory stays small however long the log is.
	maxIndexed = 32
	// scanBytes is how much is read at once to find records; past large
	// payloads it skips.
	scanBytes = 32 << 10
)

// index is a log's sparse index, built as far as searches need it.
type index struct {
	log      *Log
	mu       sync.Mutex // guards segments; held while a segment is scanned
	segments map[ident.Offset]*segmentIndex
}

// segmentIndex knows some records of one segment.
type segmentIndex struct {
	entries []Cursor // one for each indexSpacing bytes, ascending
	reached Cursor   // how far the segment was scanned
}

// Seek returns where the record at an offset starts, and [Log.NextCursor] for
// the offset of the record to come. Beyond that it is NotFound. It looks at
// headers only, at most one segment's once and 64 KiB of records after that;
// records are checked when they are read.
func (l *Log) Seek(offset ident.Offset) (Cursor, error) {
	l.mu.Lock()
	pos, err := l.pos, l.usable()
	var base ident.Offset
	if err == nil && offset.Before(pos.Next) {
		i, found := slices.BinarySearchFunc(l.bases, offset, compareOffsets)
		if !found {
			i-- // the segment before; bases[0] is 0
		}
		base = l.bases[i]
	}
	l.mu.Unlock()
	switch {
	case err != nil:
		return Cursor{}, err
	case offset == pos.Next:
		return pos.cursor(), nil
	case pos.Next.Before(offset):
		return Cursor{}, fault.New("tenant log", fault.NotFound, "there is no record %s: the next will be %s", offset, pos.Next).ForTenant(l.o.Tenant)
	}
	return l.index.find(base, offset)
}

// find returns the cursor of a record that the segment at base must hold.
func (x *index) find(base, offset ident.Offset) (Cursor, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	s, err := x.of(base)
	if err != nil {
		return Cursor{}, err
	}
	from := s.reached
	if offset.Before(from.Offset) {
		i := sort.Search(len(s.entries), func(i int) bool { return offset.Before(s.entries[i].Offset) })
		from = s.entries[i-1] // the first entry is the segment's first record
	}
	return x.scan(s, from, offset)
}

// of returns the index of a segment, begun if need be. x.mu is held.
func (x *index) of(base ident.Offset) (*segmentIndex, error) {
	if s := x.segments[base]; s != nil {
		return s, nil
	}
	l, name := x.log, segmentPath(x.log.o.Dir, base)
	b, _, err := l.read(nil, base, 0, record.SegmentHeaderBytes)
	if err != nil {
		return nil, err
	}
	if err := checkSegmentHeader(l.o.Tenant, base, name, b); err != nil {
		return nil, err
	}
	if x.segments == nil {
		x.segments = make(map[ident.Offset]*segmentIndex)
	}
	for old := range x.segments {
		if len(x.segments) < maxIndexed {
			break
		}
		delete(x.segments, old) // any one: it is cheap to build again
	}
	first := Cursor{Offset: base, Segment: base, Byte: record.SegmentHeaderBytes}
	s := &segmentIndex{entries: []Cursor{first}, reached: first}
	x.segments[base] = s
	return s, nil
}

// scan walks headers from a known record to the one at offset, and notes what
// it learns. x.mu is held.
func (x *index) scan(s *segmentIndex, at Cursor, offset ident.Offset) (Cursor, error) {
	l, name := x.log, segmentPath(x.log.o.Dir, at.Segment)
	var scratch, block []byte
	var blockAt, end int64
	for at.Offset != offset {
		skip := at.Byte - blockAt
		if skip+record.HeaderBytes > int64(len(block)) {
			var err error
			if block, end, err = l.read(scratch, at.Segment, at.Byte, scanBytes); err != nil {
				return Cursor{}, err
			}
			scratch, blockAt, skip = block, at.Byte, 0
		}
		h, n, err := record.ParseHeader(block[skip:])
		if err != nil {
			return Cursor{}, inFile(err, name, at.Byte, l.o.Tenant)
		}
		if h.Tenant != l.o.Tenant || h.Offset != at.Offset {
			return Cursor{}, fault.Corrupt("tenant log", name, at.Byte, "record %s of tenant %s stands where record %s should", h.Offset, h.Tenant, at.Offset).ForTenant(l.o.Tenant)
		}
		next := at.Byte + int64(record.HeaderBytes+n+record.TrailerBytes)
		if next > end {
			return Cursor{}, fault.Corrupt("tenant log", name, at.Byte, "record %s is cut short", at.Offset).ForTenant(l.o.Tenant)
		}
		at.Offset, at.Byte = at.Offset.Next(), next
		s.note(at)
	}
	return at, nil
}

// note takes up a record that a scan found.
func (s *segmentIndex) note(at Cursor) {
	if !s.reached.Offset.Before(at.Offset) {
		return
	}
	s.reached = at
	if at.Byte-s.entries[len(s.entries)-1].Byte >= indexSpacing {
		s.entries = append(s.entries, at)
	}
}

// drop forgets everything.
func (x *index) drop() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.segments = nil
}
