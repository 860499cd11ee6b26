package tenantlog

import (
	"bytes"
	"fmt"
	"os"

	"kimberlite/internal/disk"
	"kimberlite/internal/ident"
	"kimberlite/internal/record"
)

// walk is one verification under way: the state of the chain up to the record
// that comes next.
type walk struct {
	fs       disk.FS
	dir      string
	tenant   ident.TenantID
	expect   Expect
	progress func(int64)
	told     int64
	report   Report

	required   ident.Offset // records before it must be there
	milestones []milestone
	noHead     bool

	next ident.Offset // the record that must come next
	last record.Hash  // the hash that it must name; several are possible
	also record.Hash  // after a damaged record: what its trailer says
	free bool         // after a gap: any hash will do
	torn bool         // after a torn end: what follows is not looked at
	lost bool         // after a file or its end that could not be read: which records it held is not known

	total   int64  // the bytes of the segments before this one
	file    string // the current segment
	fileEnd int64
	win     window
}

// milestone is a position that somebody vouches for.
type milestone struct {
	who      string
	position Position
	binding  bool // whether the log must reach it
}

func newWalk(fsys disk.FS, dir string, tenant ident.TenantID, e Expect, progress func(int64)) *walk {
	return &walk{
		fs: fsys, dir: dir, tenant: tenant, expect: e, progress: progress,
		report: Report{Tenant: tenant},
		last:   record.GenesisHash(tenant),
		file:   segmentPath(dir, ident.Offset{}),
	}
}

func (w *walk) problem(file string, at int64, rec ident.Offset, format string, args ...any) {
	if len(w.report.Problems) == MaxProblems {
		w.report.MoreProblems++
		return
	}
	w.report.Problems = append(w.report.Problems, Problem{File: file, Offset: at, Record: rec, Message: fmt.Sprintf(format, args...)})
}

// here reports a problem in the current segment.
func (w *walk) here(at int64, rec ident.Offset, format string, args ...any) {
	w.problem(w.file, at, rec, format, args...)
}

// segment walks one segment file.
func (w *walk) segment(base ident.Offset, last bool) error {
	name := segmentPath(w.dir, base)
	f, err := w.fs.OpenFile(name, os.O_RDONLY, 0)
	if err != nil {
		return ioFault(err, "open", name)
	}
	defer func() { _ = f.Close() }() // only read from
	size, err := f.Size()
	if err != nil {
		return ioFault(err, "read", name)
	}
	w.report.Bytes += size
	if w.torn {
		w.report.TornBytes += size
		return nil
	}
	if w.gap(name, base); w.torn {
		w.report.TornBytes += size
		return nil
	}
	w.file, w.fileEnd, w.lost = name, size, false
	w.win.open(f, name, size)
	mine, err := w.segmentHeader(base, last)
	if err == nil && mine {
		err = w.records(last)
	}
	w.lost = w.lost || !mine
	w.total += size
	w.win.reached = 0
	w.tell(false)
	return err
}

// gap compares a segment's name with where the chain stands. w.file is still
// the segment before.
func (w *walk) gap(name string, base ident.Offset) {
	switch {
	case base == w.next:
		return
	case w.lost && w.next.Before(base):
		// The records in between were reported as damage.
	case w.beyond():
		w.tear(w.fileEnd)
		return
	case base.Before(w.next):
		w.problem(name, 0, base, "the segment repeats or replaces records: record %s should come next", w.next)
	default:
		w.problem(w.file, w.fileEnd, w.next, "records %s to %s are missing: the segment is cut short, or the one after it is gone", w.next, ident.NewOffset(base.Uint64()-1))
	}
	w.next, w.free = base, true
}

// segmentHeader checks the header of the current segment and reports whether
// the records in it are worth reading: not those of another tenant's file.
func (w *walk) segmentHeader(base ident.Offset, last bool) (bool, error) {
	b, err := w.win.at(0, record.SegmentHeaderBytes)
	if err != nil {
		return false, err
	}
	if len(b) < record.SegmentHeaderBytes {
		w.cut(0, last, "the segment's header is cut short")
		return true, nil
	}
	h, err := record.DecodeSegmentHeader(b)
	switch {
	case err != nil:
		w.damage(0, base, message(err))
	case h.Tenant != w.tenant:
		w.damage(8, base, fmt.Sprintf("the segment belongs to tenant %s", h.Tenant))
		return false, nil
	case h.Base != base:
		w.damage(16, base, fmt.Sprintf("the segment begins with record %s, not with the one that its name says", h.Base))
	case !w.follows(h.PrevHash):
		w.damage(24, base, "the segment does not follow the one before it")
	default:
		w.headerTime(h)
	}
	return true, nil
}

// headerTime checks the one field of a segment's header that the chain does
// not: it must be the first record's.
func (w *walk) headerTime(h record.SegmentHeader) {
	b, err := w.win.at(record.SegmentHeaderBytes, record.HeaderBytes)
	if err != nil {
		return // the walk meets the same error
	}
	first, _, err := record.ParseHeader(b)
	if err == nil && first.Offset == h.Base && !first.Time.Equal(h.Time) {
		w.damage(56, h.Base, "the segment's header does not hold its first record's time")
	}
}

// records walks the records of the current segment.
func (w *walk) records(last bool) error {
	at := int64(record.SegmentHeaderBytes)
	for at < w.fileEnd && !w.torn {
		next, err := w.record(at, last)
		if err != nil {
			return err
		}
		at = next
		w.tell(false)
	}
	return nil
}

// record checks the record at a byte of the current segment and returns where
// the next one starts.
func (w *walk) record(at int64, last bool) (int64, error) {
	b, err := w.win.at(at, record.HeaderBytes)
	if err != nil {
		return 0, err
	}
	if len(b) < record.HeaderBytes {
		w.cut(at, last, "the file ends inside of a record")
		return w.fileEnd, nil
	}
	h, n, err := record.ParseHeader(b)
	if err != nil {
		w.damage(at, w.next, message(err))
		return w.resync(at)
	}
	size := int64(record.HeaderBytes + n + record.TrailerBytes)
	if at+size > w.fileEnd {
		w.cut(at, last, "the file ends inside of a record")
		return w.resync(at)
	}
	computed, stored, err := w.win.hash(at, size)
	if err != nil {
		return 0, err
	}
	if computed != stored {
		w.damage(at, h.Offset, "the record does not match its hash")
		if w.torn {
			return w.fileEnd, nil
		}
	}
	w.link(at, h, computed == stored)
	if w.torn {
		return w.fileEnd, nil
	}
	w.next = h.Offset.Next() // no overflow: ParseHeader refuses the last offset
	w.last, w.also, w.free = computed, stored, false
	for i := range w.milestones {
		w.meet(&w.milestones[i], w.file, at)
	}
	return at + size, nil
}

// link checks that a record is the one that must come next. sound says that
// nothing was reported of it so far; one problem a record is enough.
func (w *walk) link(at int64, h record.Header, sound bool) {
	what := ""
	switch {
	case h.Tenant != w.tenant:
		what = fmt.Sprintf("a record of tenant %s", h.Tenant)
	case w.next.Before(h.Offset):
		what = fmt.Sprintf("record %s stands where record %s should: records were dropped or moved", h.Offset, w.next)
	case h.Offset.Before(w.next):
		what = fmt.Sprintf("record %s stands where record %s should: it was repeated or moved", h.Offset, w.next)
	case !w.follows(h.PrevHash):
		what = "the record does not follow the one before it"
	}
	switch {
	case what == "" && sound:
		w.report.Records++
	case what != "" && sound:
		w.damage(at, h.Offset, what)
	}
}

// follows reports whether a previous hash fits what was read before.
func (w *walk) follows(prev record.Hash) bool {
	return w.free || prev == w.last || w.also != record.Hash{} && prev == w.also
}

// meet compares a milestone with the state after a record. file and at name
// that record; file is "" before the first one.
func (w *walk) meet(m *milestone, file string, at int64) {
	p := m.position
	if p.Next != w.next || file == "" && !p.isEmpty() {
		return
	}
	if p.isEmpty() {
		if p.LastHash != w.last {
			w.problem(w.file, 0, w.next, "%s was made for another log", m.who)
		}
		return
	}
	end := w.win.reached
	switch {
	case p.LastHash != w.last && p.LastHash != w.also: // the latter was reported
		w.problem(file, at, lastOf(p), "the record's hash is not the one that %s holds", m.who)
	case len(w.report.Problems) > 0: // damage before it moves what follows
	case segmentPath(w.dir, p.Segment) != file || p.SegmentBytes != end || p.TotalBytes != w.total+end:
		w.problem(file, at, lastOf(p), "the record is not at the place that %s holds", m.who)
	}
}

// damage reports something wrong at a byte of the current segment. Beyond
// what a checkpoint vouches for it is no problem but a torn end, since a crash
// may leave anything there.
func (w *walk) damage(at int64, rec ident.Offset, what string) {
	if w.beyond() {
		w.tear(at)
		return
	}
	w.here(at, rec, "%s", what)
}

// beyond reports whether the walk is past what the checkpoint vouches for.
func (w *walk) beyond() bool {
	return w.expect.Position != nil && !w.next.Before(w.required)
}

// cut reports a file that ends inside of a record or header. At the end of
// the log that is how a crash leaves it, unless the record must be there.
func (w *walk) cut(at int64, last bool, what string) {
	if last && !w.next.Before(w.required) {
		w.tear(at)
		return
	}
	w.damage(at, w.next, what)
	w.lost = true
}

// tear ends the walk at a torn end.
func (w *walk) tear(at int64) {
	w.torn = true
	w.report.Tail, w.report.TornFile, w.report.TornAt = TailTorn, w.file, at
	w.report.TornBytes = w.fileEnd - at
}

// resync returns where the next record starts after one whose header cannot
// be believed: at the next bytes that are a whole header of this tenant.
func (w *walk) resync(at int64) (int64, error) {
	if w.torn {
		return w.fileEnd, nil
	}
	from := at + 1
	for {
		b, err := w.win.at(from, record.HeaderBytes)
		if err != nil {
			return 0, err
		}
		if len(b) < record.HeaderBytes {
			w.lost = true
			return w.fileEnd, nil
		}
		b = w.win.rest(from)
		i := bytes.Index(b, []byte(record.Magic))
		if i < 0 {
			from += int64(len(b) - len(record.Magic) + 1)
			continue
		}
		from += int64(i)
		if b, err = w.win.at(from, record.HeaderBytes); err != nil {
			return 0, err
		}
		if h, _, err := record.ParseHeader(b); err == nil && h.Tenant == w.tenant {
			return from, w.skipTo(from, h)
		}
		from++
	}
}

// skipTo takes up the chain at a record found by resync. Before it stands the
// hash of the record that could not be read, which it should name.
func (w *walk) skipTo(at int64, h record.Header) error {
	b, err := w.win.at(at-record.TrailerBytes, record.TrailerBytes)
	if err != nil {
		return err
	}
	copy(w.last[:], b)
	w.also, w.free = w.last, false
	if w.next.Before(h.Offset) {
		w.next = w.next.Next()
	}
	return nil
}

// tell reports progress: each window, and at the end.
func (w *walk) tell(end bool) {
	if w.progress == nil {
		return
	}
	done := min(w.total+w.win.reached, w.report.Bytes)
	if end {
		done = w.report.Bytes
	}
	if end || done-w.told >= windowBytes {
		w.told = done
		w.progress(done)
	}
}
