package tenantlog

import (
	"errors"
	"io"
	"slices"

	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/record"
)

const (
	// defaultReadBytes is what a Read without a limit returns.
	defaultReadBytes = 1 << 20
	// minReadBytes is the least that is asked of a file at once.
	minReadBytes = 4 << 10
)

// Read returns whole records from a cursor on, buffered ones included, and the
// cursor after them. It returns at least one record when there is one, and
// otherwise stops before maxBytes (0 or less: 1 MiB) are exceeded; no records
// and no error mean the end of the log. The records share one block of memory,
// which is the caller's.
//
// Each record is checked against its hash, the log's tenant, the offset that
// must stand there, and the hash of the record before it in this call (or the
// segment's header). Damage is a Corruption that names file and byte; records
// before it are lost to this call only, since none are returned beside an
// error. A cursor beyond the end is NotFound.
func (l *Log) Read(from Cursor, maxBytes int) ([]Raw, Cursor, error) {
	if maxBytes <= 0 {
		maxBytes = defaultReadBytes
	}
	r := reading{log: l, at: from, left: maxBytes, end: l.Position()}
	if r.end.Next.Before(from.Offset) {
		return nil, from, fault.New("tenant log", fault.NotFound, "there is no record %s: the next will be %s", from.Offset, r.end.Next).ForTenant(l.o.Tenant)
	}
	for !r.full && r.at.Offset.Before(r.end.Next) {
		if err := r.step(); err != nil {
			return nil, from, err
		}
	}
	return r.records, r.at, nil
}

// reading is one Read under way.
type reading struct {
	log     *Log
	at      Cursor
	end     Position // as of the call's start
	left    int      // how many bytes may still be returned
	full    bool
	records []Raw

	linked bool // whether last is known
	last   record.Hash
}

// step reads one block of the segment at the cursor, or moves to the next
// segment.
func (r *reading) step() error {
	start := r.at.Byte
	first := start <= record.SegmentHeaderBytes
	if first {
		if r.at.Offset != r.at.Segment {
			return r.foreign()
		}
		start = 0 // takes the header along
		r.at.Byte = record.SegmentHeaderBytes
	}
	block, end, err := r.log.read(nil, r.at.Segment, start, max(r.left+record.SegmentHeaderBytes, minReadBytes))
	if err != nil {
		return err
	}
	if first {
		if err := r.header(block); err != nil {
			return err
		}
		block = block[record.SegmentHeaderBytes:]
	}
	if r.at.Byte >= end {
		return r.nextSegment(end)
	}
	return r.parse(block, end)
}

// header checks the header that a segment's first block starts with.
func (r *reading) header(block []byte) error {
	l, name := r.log, r.file()
	if err := checkSegmentHeader(l.o.Tenant, r.at.Segment, name, block); err != nil {
		return err
	}
	h, err := record.DecodeSegmentHeader(block)
	if err != nil {
		return inFile(err, name, 0, l.o.Tenant)
	}
	if r.linked && h.PrevHash != r.last {
		return r.corrupt(24, "the segment does not follow the one before it")
	}
	r.linked, r.last = true, h.PrevHash
	return nil
}

// nextSegment moves from the end of a segment to the one that must follow.
func (r *reading) nextSegment(end int64) error {
	if r.at.Byte > end || r.at.Segment == r.at.Offset {
		return r.corrupt(end, "the segment is cut short: record %s must be there", r.at.Offset)
	}
	if r.at.Segment == r.end.Segment {
		return r.foreign()
	}
	if !r.log.hasSegment(r.at.Offset) {
		return r.corrupt(end, "the segment is cut short, or the one after it is gone: record %s must come next", r.at.Offset)
	}
	r.at.Segment, r.at.Byte = r.at.Offset, 0
	return nil
}

// hasSegment reports whether a segment with a base was there at the opening or
// was made since.
func (l *Log) hasSegment(base ident.Offset) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, found := slices.BinarySearchFunc(l.bases, base, compareOffsets)
	return found
}

// parse takes whole records from block, which starts at the cursor; end is
// where the segment does.
func (r *reading) parse(block []byte, end int64) error {
	whole, err := r.whole(block, end)
	if err != nil {
		return err
	}
	if len(r.records) > 0 && whole > r.left {
		r.full = true
		return nil
	}
	if whole > len(block) { // the first record is longer than what was asked for
		if block, _, err = r.log.read(nil, r.at.Segment, r.at.Byte, whole); err != nil {
			return err
		}
	}
	for whole > 0 && whole <= len(block) && r.at.Offset.Before(r.end.Next) {
		if len(r.records) > 0 && whole > r.left {
			r.full = true
			return nil
		}
		if err := r.take(block[:whole:whole]); err != nil {
			return err
		}
		block = block[whole:]
		if len(block) < record.HeaderBytes {
			break
		}
		if whole, err = r.whole(block, end); err != nil {
			return err
		}
	}
	r.full = r.left <= 0
	return nil
}

// whole returns the length of the record that block starts with.
func (r *reading) whole(block []byte, end int64) (int, error) {
	_, n, err := record.ParseHeader(block)
	if err != nil {
		return 0, inFile(err, r.file(), r.at.Byte, r.log.o.Tenant)
	}
	n += record.HeaderBytes + record.TrailerBytes
	if r.at.Byte+int64(n) > end {
		return 0, r.corrupt(r.at.Byte, "record %s is cut short", r.at.Offset)
	}
	return n, nil
}

// take checks one record at the cursor, keeps it, and moves on.
func (r *reading) take(b []byte) error {
	h, _, sum, err := record.CheckRecord(b)
	if err != nil {
		return inFile(err, r.file(), r.at.Byte, r.log.o.Tenant)
	}
	switch {
	case h.Tenant != r.log.o.Tenant:
		return r.corrupt(r.at.Byte, "a record of tenant %s", h.Tenant)
	case h.Offset != r.at.Offset:
		return r.corrupt(r.at.Byte, "record %s stands where record %s should", h.Offset, r.at.Offset)
	case r.linked && h.PrevHash != r.last:
		return r.corrupt(r.at.Byte, "record %s does not follow the one before it", h.Offset)
	}
	r.records = append(r.records, Raw{Cursor: r.at, Bytes: b})
	r.linked, r.last = true, sum
	r.left -= len(b)
	r.at.Offset = h.Offset.Next()
	r.at.Byte += int64(len(b))
	return nil
}

// foreign refuses a cursor that cannot be this log's.
func (r *reading) foreign() error {
	return fault.New("tenant log", fault.Invalid, "the cursor of record %s is not one of this log's", r.at.Offset).ForTenant(r.log.o.Tenant)
}

func (r *reading) file() string { return segmentPath(r.log.o.Dir, r.at.Segment) }

func (r *reading) corrupt(position int64, format string, args ...any) error {
	return fault.Corrupt("tenant log", r.file(), position, format, args...).ForTenant(r.log.o.Tenant)
}

// read returns up to limit bytes of a segment from byte at on, written or
// still buffered, and where the segment ends. It uses scratch when that is
// large enough.
func (l *Log) read(scratch []byte, base ident.Offset, at int64, limit int) (b []byte, end int64, err error) {
	h, onFile, end, b, err := l.plan(scratch, base, at, limit)
	if err != nil || h == nil {
		return b, end, err
	}
	defer func() {
		l.mu.Lock()
		l.release(h)
		l.mu.Unlock()
	}()
	n, err := h.file.ReadAt(b[:onFile], at)
	if n == onFile {
		return b, end, nil
	}
	name := segmentPath(l.o.Dir, base)
	if err == nil || errors.Is(err, io.EOF) {
		return nil, 0, fault.Corrupt("tenant log", name, at+int64(n), "the segment is cut short: it must reach byte %d", end).ForTenant(l.o.Tenant)
	}
	return nil, 0, ioFault(err, "read", name)
}

// plan makes the block for a read, fills what is still buffered, and returns
// how much of it is to be read from which file; no file when nothing is. Files
// only grow, so the rest is read without the lock.
func (l *Log) plan(scratch []byte, base ident.Offset, at int64, limit int) (h *handle, onFile int, end int64, b []byte, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.usable(); err != nil {
		return nil, 0, 0, nil, err
	}
	current := base == l.pos.Segment && !l.pos.isEmpty()
	end, written := l.pos.SegmentBytes, l.onFile
	if !current {
		if h, err = l.acquire(base); err != nil {
			return nil, 0, 0, nil, err
		}
		if end, err = h.file.Size(); err != nil {
			l.release(h)
			return nil, 0, 0, nil, ioFault(err, "read", segmentPath(l.o.Dir, base))
		}
		written = end
	}
	n := int(min(int64(limit), max(end-at, 0)))
	if cap(scratch) < n {
		scratch = make([]byte, n)
	}
	b = scratch[:n]
	onFile = int(min(int64(n), max(written-at, 0)))
	if onFile < n { // only the current segment has buffered bytes
		copy(b[onFile:], l.buf[at+int64(onFile)-written:])
	}
	if current && onFile > 0 {
		if h, err = l.acquire(base); err != nil {
			return nil, 0, 0, nil, err
		}
	}
	return h, onFile, end, b, nil
}
