package tenantlog

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"

	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/record"
)

// Append adds one whole encoded record and returns the position after it. The
// record is buffered, not durable: see [Log.Sync]. rec is not kept.
//
// A record whose tenant, offset or previous hash is not the log's next is
// refused with a Conflict, the same way on every replica; a damaged one with a
// Corruption; DiskFull and Unavailable leave the log as it was. After a failed
// write the log is Stopped.
func (l *Log) Append(rec []byte) (Position, error) {
	h, _, sum, err := record.CheckRecord(rec)
	if err != nil {
		return Position{}, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.writable(); err != nil {
		return Position{}, err
	}
	if err := l.pos.checkNext(l.o.Tenant, h); err != nil {
		return Position{}, err
	}
	// Everything that can fail comes first, so that a refused record leaves
	// no trace.
	if len(l.buf) > 0 && len(l.buf)+len(rec) > l.o.BufferBytes {
		if err := l.flush(); err != nil {
			return Position{}, err
		}
	}
	if l.pos.segmentFor(len(rec), l.o.SegmentBytes) == h.Offset {
		if err := l.roll(h); err != nil {
			return Position{}, err
		}
	}
	l.buf = append(l.buf, rec...)
	l.dirty = true
	l.pos.Next = h.Offset.Next()
	l.pos.LastHash = sum
	l.pos.SegmentBytes += int64(len(rec))
	l.pos.TotalBytes += int64(len(rec))
	if len(l.buf) >= l.o.BufferBytes {
		// The record is accepted; should this fail, the bytes stay in the
		// buffer and the next Append or Sync says so.
		_ = l.flush()
	}
	return l.pos, nil
}

// checkNext refuses a record that does not follow the position.
func (p Position) checkNext(tenant ident.TenantID, h record.Header) error {
	switch {
	case h.Tenant != tenant:
		return fault.New("tenant log", fault.Conflict, "a record of tenant %s does not go into this log", h.Tenant).ForTenant(tenant)
	case h.Offset != p.Next:
		return fault.New("tenant log", fault.Conflict, "base offset: the record is for offset %s, the log's next is %s", h.Offset, p.Next).ForTenant(tenant)
	case h.PrevHash != p.LastHash:
		return fault.New("tenant log", fault.Conflict, "base offset: record %s does not follow the log's last record", h.Offset).ForTenant(tenant)
	}
	return nil
}

// roll begins the segment of the record with header h. When it fails nothing
// has changed. l.mu is held.
func (l *Log) roll(h record.Header) error {
	if err := l.flush(); err != nil {
		return err
	}
	if l.pos.isEmpty() {
		err := makeDir(l.o.FS, l.o.Dir, func(dir string) { l.made = append(l.made, dir) })
		if err != nil {
			return ioFault(err, "make", l.o.Dir)
		}
		// A process that died may have made the directory and the tenant's
		// above it without syncing their names: sync them whoever made them.
		parent := filepath.Dir(l.o.Dir)
		l.made = append(l.made, filepath.Dir(parent), parent)
	}
	name := segmentPath(l.o.Dir, h.Offset)
	// O_EXCL: Open removed what was beyond the position, so a file of this
	// name is another writer's, and must not be overwritten.
	f, err := l.o.FS.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, fileMode)
	if err != nil {
		return ioFault(err, "make", name)
	}
	switch {
	case l.tail != nil && l.dirty:
		l.rolled = append(l.rolled, l.tail)
	case l.tail != nil:
		l.release(l.tail)
	}
	header := record.SegmentHeader{Tenant: l.o.Tenant, Base: h.Offset, PrevHash: h.PrevHash, Time: h.Time}
	l.tail = &handle{file: f, base: h.Offset, refs: 1}
	l.made = append(l.made, l.o.Dir)
	l.bases = append(l.bases, h.Offset)
	l.onFile = 0
	l.buf = append(l.buf[:0], header.Encode()...)
	l.pos.Segment = h.Offset
	l.pos.SegmentBytes = record.SegmentHeaderBytes
	l.pos.TotalBytes += record.SegmentHeaderBytes
	return nil
}

// flush writes the buffer to the current segment's file. A full disk leaves
// the buffer as it was, and may be tried again; any other failed write stops
// the log. l.mu is held.
func (l *Log) flush() error {
	if len(l.buf) == 0 {
		return nil
	}
	if err := l.openTail(); err != nil {
		return err
	}
	name := segmentPath(l.o.Dir, l.pos.Segment)
	if _, err := l.tail.file.WriteAt(l.buf, l.onFile); err != nil {
		if errors.Is(err, syscall.ENOSPC) {
			return ioFault(err, "write", name)
		}
		return l.stop(err, "write "+name)
	}
	l.onFile += int64(len(l.buf))
	l.buf = l.buf[:0]
	if cap(l.buf) > 2*l.o.BufferBytes {
		l.buf = nil // one large record must not cost its memory for ever
	}
	return nil
}

// Sync writes buffered records out and makes everything appended so far
// durable: once it returned nil, the Position from before the call is safe to
// be opened at. Appends and reads go on meanwhile. A failed fsync stops the
// log: it and every later Append and Sync fail with Stopped. A full disk while
// writing out is DiskFull, and may be tried again.
func (l *Log) Sync() error {
	l.syncing.Lock()
	defer l.syncing.Unlock()
	files, dirs, err := l.takeDirty()
	if err != nil {
		return err
	}
	name, err := syncAll(l.o, files, dirs)
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, h := range files {
		l.release(h)
	}
	if err != nil {
		return l.stop(err, "sync "+name)
	}
	return nil
}

// takeDirty flushes and hands over what must be synced. From then on the log
// counts it as synced: if that fails, it stops.
func (l *Log) takeDirty() (files []*handle, dirs []string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.writable(); err != nil {
		return nil, nil, err
	}
	if err := l.flush(); err != nil {
		return nil, nil, err
	}
	l.buf = nil // logs between bursts hold no memory
	files, dirs = l.rolled, l.made
	if l.dirty {
		l.tail.refs++
		files = append(files, l.tail)
	}
	l.rolled, l.made, l.dirty = nil, nil, false
	return files, dirs, nil
}

// syncAll syncs files, then directories, and names what failed.
func syncAll(o Options, files []*handle, dirs []string) (string, error) {
	for _, h := range files {
		if err := h.file.Sync(); err != nil {
			return segmentPath(o.Dir, h.base), err
		}
	}
	last := ""
	for _, dir := range dirs {
		if dir == last {
			continue // several segments made one after the other
		}
		if err := o.FS.SyncDir(dir); err != nil {
			return dir, err
		}
		last = dir
	}
	return "", nil
}
