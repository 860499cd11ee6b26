package tenantlog

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"kimberlite/internal/disk"
	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/record"
)

// After returns the position after one whole record of a log whose segments
// roll over at segmentBytes (0: the default), or Conflict when the record is
// not the log's next. It is what [Log.Append] comes to, without a file: every
// replica comes to the same.
func (p Position) After(tenant ident.TenantID, rec []byte, segmentBytes int64) (Position, error) {
	h, _, sum, err := record.CheckRecord(rec)
	if err != nil {
		return p, err
	}
	if err := p.checkNext(tenant, h); err != nil {
		return p, err
	}
	if segmentBytes <= 0 {
		segmentBytes = DefaultSegmentBytes
	}
	if p.segmentFor(len(rec), segmentBytes) == h.Offset {
		p.Segment = h.Offset
		p.SegmentBytes = record.SegmentHeaderBytes
		p.TotalBytes += record.SegmentHeaderBytes
	}
	p.Next, p.LastHash = h.Offset.Next(), sum
	p.SegmentBytes += int64(len(rec))
	p.TotalBytes += int64(len(rec))
	return p, nil
}

// OpenAhead is [Open] for a log whose files may hold more than the position
// says: records that follow it unbroken are kept, synced and counted, and only
// what comes after them is cut away. A replica that copied a log, or applied
// records after its last checkpoint, finds them so. It reads every byte beyond
// the position.
func OpenAhead(o Options, at Position) (*Log, error) {
	if o.SegmentBytes <= 0 {
		o.SegmentBytes = DefaultSegmentBytes
	}
	at, err := checkPosition(o.Tenant, at)
	if err != nil {
		return nil, err
	}
	s, err := surveyFrom(o, at)
	if err != nil {
		return nil, err
	}
	if err := s.sync(at); err != nil {
		return nil, err
	}
	return Open(o, s.pos)
}

// OpenPrefix opens whatever a log's files hold of it, from the first record on,
// and makes that durable: a copy that was broken off goes on from there. whole
// is false, and nothing is opened or changed, when the files hold anything else
// than a sound chain and at most a last record that was cut short while it was
// written: they are damaged. It reads every byte.
func OpenPrefix(o Options) (l *Log, whole bool, err error) {
	if o.SegmentBytes <= 0 {
		o.SegmentBytes = DefaultSegmentBytes
	}
	start, err := checkPosition(o.Tenant, Start(o.Tenant))
	if err != nil {
		return nil, false, err
	}
	s, err := surveyFrom(o, start)
	if err != nil || !s.whole {
		return nil, false, err
	}
	if err := s.sync(start); err != nil {
		return nil, false, err
	}
	l, err = Open(o, s.pos)
	return l, true, err
}

// survey walks a log's files from a position on, as far as they are sound.
type survey struct {
	o     Options
	pos   Position
	whole bool
	read  []ident.Offset // segments with records that were counted
	buf   []byte
}

func surveyFrom(o Options, at Position) (*survey, error) {
	s := &survey{o: o, pos: at, whole: true}
	if !at.isEmpty() {
		end, err := s.segment(at.Segment, at.SegmentBytes)
		if err != nil || !end {
			return s, err
		}
	}
	for {
		base := s.pos.Next
		if _, err := o.FS.Stat(segmentPath(o.Dir, base)); errors.Is(err, fs.ErrNotExist) {
			return s, s.beyond()
		} else if err != nil {
			return s, ioFault(err, "read", segmentPath(o.Dir, base))
		}
		end, err := s.segment(base, 0)
		if err != nil || !end || s.pos.Next == base {
			return s, err
		}
	}
}

// beyond looks for segments after the end of the chain: something is missing
// before them.
func (s *survey) beyond() error {
	bases, err := listSegments(s.o.FS, s.o.Dir)
	if err == nil && len(bases) > 0 && !bases[len(bases)-1].Before(s.pos.Next) {
		s.whole = false
	}
	return err
}

// segment walks one segment from a byte on; end says that its last record ends
// with the file.
func (s *survey) segment(base ident.Offset, from int64) (end bool, err error) {
	name := segmentPath(s.o.Dir, base)
	f, err := s.o.FS.OpenFile(name, os.O_RDONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil // Open says what is missing
	}
	if err != nil {
		return false, ioFault(err, "open", name)
	}
	defer func() { _ = f.Close() }() // only read from
	size, err := f.Size()
	if err != nil {
		return false, ioFault(err, "read", name)
	}
	if from == 0 {
		sound, err := s.header(f, base, size)
		if err != nil || !sound {
			return false, err
		}
		from = record.SegmentHeaderBytes
	}
	at := from
	for at < size {
		n, err := s.record(f, base, at, size)
		if err != nil || n == 0 {
			return false, err
		}
		if at == from {
			s.read = append(s.read, base)
		}
		at += n
	}
	return true, nil
}

// header checks the header of a segment that a record beyond the position
// begins. One that is cut short is the trace of a crash.
func (s *survey) header(f disk.File, base ident.Offset, size int64) (sound bool, err error) {
	name := segmentPath(s.o.Dir, base)
	if size < record.SegmentHeaderBytes {
		return false, nil
	}
	b, err := s.bytes(f, 0, record.SegmentHeaderBytes)
	if err != nil {
		return false, ioFault(err, "read", name)
	}
	h, err := record.DecodeSegmentHeader(b)
	if err != nil || checkSegmentHeader(s.o.Tenant, base, name, b) != nil || h.PrevHash != s.pos.LastHash {
		s.whole = false
		return false, nil //nolint:nilerr // not this log's: the walk ends before it
	}
	return true, nil
}

// record takes the record at a byte and returns its length, 0 when there is no
// sound one that follows.
func (s *survey) record(f disk.File, base ident.Offset, at, size int64) (int64, error) {
	name := segmentPath(s.o.Dir, base)
	if size-at < record.HeaderBytes {
		return 0, nil
	}
	b, err := s.bytes(f, at, record.HeaderBytes)
	if err != nil {
		return 0, ioFault(err, "read", name)
	}
	_, n, err := record.ParseHeader(b)
	if err != nil {
		s.whole = false
		return 0, nil //nolint:nilerr // damage: the walk ends before it
	}
	whole := int64(record.HeaderBytes + n + record.TrailerBytes)
	if size-at < whole {
		return 0, nil
	}
	if b, err = s.bytes(f, at, int(whole)); err != nil {
		return 0, ioFault(err, "read", name)
	}
	next, err := s.pos.After(s.o.Tenant, b, s.o.SegmentBytes)
	if err != nil || next.Segment != base {
		s.whole = false
		return 0, nil //nolint:nilerr // as above
	}
	s.pos = next
	return whole, nil
}

func (s *survey) bytes(f disk.File, at int64, n int) ([]byte, error) {
	if cap(s.buf) < n {
		s.buf = make([]byte, n)
	}
	b := s.buf[:n]
	return b, readFull(f, b, at)
}

// sync makes what was found beyond a position durable: nobody knows whether it
// was.
func (s *survey) sync(at Position) error {
	if s.pos == at {
		return nil
	}
	for _, base := range s.read {
		name := segmentPath(s.o.Dir, base)
		f, err := s.o.FS.OpenFile(name, os.O_RDWR, 0)
		if err != nil {
			return ioFault(err, "open", name)
		}
		err = errors.Join(f.Sync(), f.Close())
		if err != nil {
			return fault.Wrap("tenant log", fault.Stopped, err, "cannot sync %s", name).ForTenant(s.o.Tenant)
		}
	}
	parent := filepath.Dir(s.o.Dir)
	for _, dir := range []string{s.o.Dir, parent, filepath.Dir(parent)} {
		if err := s.o.FS.SyncDir(dir); err != nil {
			return ioFault(err, "sync", dir)
		}
	}
	return nil
}
