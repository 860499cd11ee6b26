package tenantlog

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"kimberlite/internal/disk"
	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
)

const (
	segmentSuffix = ".segment"
	segmentDigits = 20 // as many as the largest offset has

	dirMode  = 0o700
	fileMode = 0o600
)

// SegmentName returns the file name of the segment with a base offset.
func SegmentName(base ident.Offset) string {
	return fmt.Sprintf("%0*d%s", segmentDigits, base.Uint64(), segmentSuffix)
}

// parseSegmentName returns the base that a file name says.
func parseSegmentName(name string) (ident.Offset, bool) {
	digits, ok := strings.CutSuffix(name, segmentSuffix)
	if !ok || len(digits) != segmentDigits {
		return ident.Offset{}, false
	}
	n, err := strconv.ParseUint(digits, 10, 64)
	if err != nil {
		return ident.Offset{}, false
	}
	base := ident.NewOffset(n)
	return base, SegmentName(base) == name // a sign would parse too
}

func segmentPath(dir string, base ident.Offset) string {
	return filepath.Join(dir, SegmentName(base))
}

// listSegments returns the bases of a directory's segment files, ascending; a
// missing directory has none.
func listSegments(fsys disk.FS, dir string) ([]ident.Offset, error) {
	names, err := fsys.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, ioFault(err, "list", dir)
	}
	var bases []ident.Offset
	for _, name := range names { // sorted, and so are numbers of equal length
		if base, ok := parseSegmentName(name); ok {
			bases = append(bases, base)
		}
	}
	return bases, nil
}

// ioFault is the error of a failed file operation after which the state is
// still known.
func ioFault(err error, what, file string) error {
	kind := fault.Unavailable
	if errors.Is(err, syscall.ENOSPC) {
		kind = fault.DiskFull
	}
	return fault.Wrap("tenant log", kind, err, "cannot %s %s", what, file)
}

// handle is an open segment file with a count of who uses it.
type handle struct {
	file disk.File
	base ident.Offset
	refs int // guarded by Log.mu; closed when it reaches 0
}

// acquire returns the file of a segment for reading; the caller gives it back
// to release. l.mu is held.
func (l *Log) acquire(base ident.Offset) (*handle, error) {
	if h := l.opened(base); h != nil {
		h.refs++
		return h, nil
	}
	name := segmentPath(l.o.Dir, base)
	f, err := l.o.FS.OpenFile(name, os.O_RDONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fault.Corrupt("tenant log", name, 0, "the segment is missing").ForTenant(l.o.Tenant)
	}
	if err != nil {
		return nil, ioFault(err, "open", name)
	}
	if l.reader != nil {
		l.release(l.reader)
	}
	l.reader = &handle{file: f, base: base, refs: 2} // ours and the caller's
	return l.reader, nil
}

func (l *Log) opened(base ident.Offset) *handle {
	if l.tail != nil && l.tail.base == base {
		return l.tail
	}
	if l.reader != nil && l.reader.base == base {
		return l.reader
	}
	for _, h := range l.rolled {
		if h.base == base {
			return h
		}
	}
	return nil
}

// release gives a handle back. l.mu is held. A failed close of a file loses
// nothing: bytes that matter were synced before, or are still to be applied
// again.
func (l *Log) release(h *handle) {
	h.refs--
	if h.refs == 0 {
		_ = h.file.Close()
	}
}

// closeFiles gives up every file that the log holds open. l.mu is held.
func (l *Log) closeFiles() {
	for _, h := range append(l.rolled, l.tail, l.reader) {
		if h != nil {
			l.release(h)
		}
	}
	l.rolled, l.tail, l.reader = nil, nil, nil
}

// openTail opens the current segment for writing. l.mu is held.
func (l *Log) openTail() error {
	if l.tail != nil {
		return nil
	}
	name := segmentPath(l.o.Dir, l.pos.Segment)
	f, err := l.o.FS.OpenFile(name, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return fault.Corrupt("tenant log", name, 0, "the segment is missing").ForTenant(l.o.Tenant)
	}
	if err != nil {
		return ioFault(err, "open", name)
	}
	l.tail = &handle{file: f, base: l.pos.Segment, refs: 1}
	return nil
}

// makeDir makes dir and its missing parents, one by one, and tells made each
// directory that got a new name in it: those must be synced before the names
// are durable.
func makeDir(fsys disk.FS, dir string, made func(string)) error {
	_, err := fsys.Stat(dir)
	if err == nil {
		return nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	parent := filepath.Dir(dir)
	if parent != dir {
		if err := makeDir(fsys, parent, made); err != nil {
			return err
		}
	}
	if err := fsys.MkdirAll(dir, dirMode); err != nil {
		return err
	}
	made(parent)
	return nil
}

// compareOffsets orders offsets, for searches.
func compareOffsets(a, b ident.Offset) int {
	switch {
	case a.Before(b):
		return -1
	case b.Before(a):
		return 1
	}
	return 0
}
