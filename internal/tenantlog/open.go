package tenantlog

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"slices"

	"kimberlite/internal/disk"
	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/record"
)

// Open returns the log at a position that an earlier [Log.Sync] made durable,
// or at [Start]. Whatever the files hold beyond it is cut away for good: the
// replicated log brings it again. Anything that is missing before it, as far
// as the current segment and the names of the others show, is a Corruption
// that names file and byte, and then nothing is cut. Its cost does not depend
// on how many records there are. It makes no file or directory and leaves none
// open.
func Open(o Options, at Position) (*Log, error) {
	if o.SegmentBytes <= 0 {
		o.SegmentBytes = DefaultSegmentBytes
	}
	if o.BufferBytes <= 0 {
		o.BufferBytes = DefaultBufferBytes
	}
	at, err := checkPosition(o.Tenant, at)
	if err != nil {
		return nil, err
	}
	bases, err := listSegments(o.FS, o.Dir)
	if err != nil {
		return nil, err
	}
	kept, beyond, err := splitSegments(o, bases, at)
	if err != nil {
		return nil, err
	}
	if !at.isEmpty() {
		if err := checkTail(o, at); err != nil {
			return nil, err
		}
	}
	if err := removeSegments(o, beyond); err != nil {
		return nil, err
	}
	if !at.isEmpty() {
		if err := cutTail(o, at); err != nil {
			return nil, err
		}
	}
	l := &Log{o: o, pos: at, bases: kept, onFile: at.SegmentBytes}
	l.index.log = l
	return l, nil
}

// checkPosition refuses a position that no log can have.
func checkPosition(tenant ident.TenantID, at Position) (Position, error) {
	if tenant.IsZero() {
		return at, fault.New("tenant log", fault.Invalid, "a log needs a tenant")
	}
	if at.isEmpty() {
		at.LastHash = record.GenesisHash(tenant)
		if at != Start(tenant) {
			return at, fault.New("tenant log", fault.Invalid, "a position with no records but with bytes").ForTenant(tenant)
		}
		return at, nil
	}
	if !at.Segment.Before(at.Next) || at.TotalBytes < at.SegmentBytes ||
		at.SegmentBytes < record.SegmentHeaderBytes+record.MinRecordBytes {
		return at, fault.New("tenant log", fault.Invalid, "an impossible position at offset %s", at.Next).ForTenant(tenant)
	}
	return at, nil
}

// splitSegments parts the segments that the position needs from those beyond
// it, by their names alone.
func splitSegments(o Options, bases []ident.Offset, at Position) (kept, beyond []ident.Offset, err error) {
	if at.isEmpty() {
		return nil, bases, nil
	}
	i, found := slices.BinarySearchFunc(bases, at.Segment, compareOffsets)
	if !found {
		return nil, nil, missing(o, at.Segment)
	}
	if (bases[0] != ident.Offset{}) {
		return nil, nil, missing(o, ident.Offset{})
	}
	kept, beyond = slices.Clone(bases[:i+1]), bases[i+1:]
	if len(beyond) > 0 && beyond[0].Before(at.Next) {
		return nil, nil, fault.Corrupt("tenant log", segmentPath(o.Dir, beyond[0]), 0,
			"a segment that does not belong to this log: record %s is in segment %s", beyond[0], at.Segment).ForTenant(o.Tenant)
	}
	return kept, beyond, nil
}

func missing(o Options, base ident.Offset) error {
	return fault.Corrupt("tenant log", segmentPath(o.Dir, base), 0, "the segment is missing: restore it from a backup").ForTenant(o.Tenant)
}

// checkTail checks that the current segment is this log's and holds its last
// record where the position says. The record itself is checked when it is
// read.
func checkTail(o Options, at Position) error {
	name := segmentPath(o.Dir, at.Segment)
	f, err := o.FS.OpenFile(name, os.O_RDONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return missing(o, at.Segment)
	}
	if err != nil {
		return ioFault(err, "open", name)
	}
	defer func() { _ = f.Close() }() // only read from
	size, err := f.Size()
	if err != nil {
		return ioFault(err, "read", name)
	}
	if size < at.SegmentBytes {
		return fault.Corrupt("tenant log", name, size, "the segment is cut short: it must reach byte %d", at.SegmentBytes).ForTenant(o.Tenant)
	}
	head := make([]byte, record.SegmentHeaderBytes)
	if err := readFull(f, head, 0); err != nil {
		return ioFault(err, "read", name)
	}
	if err := checkSegmentHeader(o.Tenant, at.Segment, name, head); err != nil {
		return err
	}
	var last record.Hash
	trailer := at.SegmentBytes - int64(len(last))
	if err := readFull(f, last[:], trailer); err != nil {
		return ioFault(err, "read", name)
	}
	if !bytes.Equal(last[:], at.LastHash[:]) {
		return fault.Corrupt("tenant log", name, trailer, "the hash of the last synced record, %s, is not the one that the checkpoint holds", lastOf(at)).ForTenant(o.Tenant)
	}
	return nil
}

// checkSegmentHeader checks the header of the segment file called name.
func checkSegmentHeader(tenant ident.TenantID, base ident.Offset, name string, b []byte) error {
	h, err := record.DecodeSegmentHeader(b)
	if err != nil {
		return inFile(err, name, 0, tenant)
	}
	switch {
	case h.Tenant != tenant:
		return fault.Corrupt("tenant log", name, 8, "the segment belongs to tenant %s", h.Tenant).ForTenant(tenant)
	case h.Base != base:
		return fault.Corrupt("tenant log", name, 16, "the segment begins with record %s, not with the one that its name says", h.Base).ForTenant(tenant)
	case base == ident.Offset{} && h.PrevHash != record.GenesisHash(tenant):
		return fault.Corrupt("tenant log", name, 24, "the segment does not begin this tenant's log").ForTenant(tenant)
	}
	return nil
}

// inFile adds the place to an error of package record.
func inFile(err error, name string, position int64, tenant ident.TenantID) error {
	var e *fault.Error
	if !errors.As(err, &e) || e.Kind != fault.Corruption {
		return fault.Wrap("tenant log", fault.KindOf(err), err, "file %s, offset %d", name, position).ForTenant(tenant)
	}
	return fault.Corrupt("tenant log", name, position, "%s", e.Message).ForTenant(tenant)
}

func lastOf(at Position) ident.Offset { return ident.NewOffset(at.Next.Uint64() - 1) }

// removeSegments removes segments from the last to the first, so that a crash
// in between leaves no hole.
func removeSegments(o Options, bases []ident.Offset) error {
	if len(bases) == 0 {
		return nil
	}
	for _, base := range slices.Backward(bases) {
		name := segmentPath(o.Dir, base)
		if err := o.FS.Remove(name); err != nil {
			return ioFault(err, "remove", name)
		}
	}
	if err := o.FS.SyncDir(o.Dir); err != nil {
		return ioFault(err, "sync", o.Dir)
	}
	return nil
}

// cutTail cuts the current segment back to the position.
func cutTail(o Options, at Position) error {
	name := segmentPath(o.Dir, at.Segment)
	f, err := o.FS.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return ioFault(err, "open", name)
	}
	size, err := f.Size()
	if err == nil && size > at.SegmentBytes {
		if err = f.Truncate(at.SegmentBytes); err == nil {
			err = f.Sync()
		}
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return ioFault(err, "cut", name)
	}
	return nil
}

// readFull fills p from byte at of f, and fails when the file ends before.
func readFull(f disk.File, p []byte, at int64) error {
	n, err := f.ReadAt(p, at)
	if n == len(p) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
