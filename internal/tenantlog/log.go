// Package tenantlog keeps one tenant's log in that tenant's own segment files
// and checks such files offline.
//
// It guarantees that a record is accepted only when tenant, offset and
// previous hash are the log's next; that what was synced is there after any
// crash; that bytes that are damaged, moved, dropped or cut away are named by
// file and byte and never returned as records; and that opening costs the same
// however long the log is. It must not know keys, payloads, SQL or the
// replicated log: records are opaque beyond their header and hash. The shard
// appends and syncs, projections and streams read, and the verifier is called
// by commands that have no more than the files.
//
// An append is buffered and not synced: the replicated log covers it until the
// shard's checkpoint calls [Log.Sync] and remembers [Log.Position].
package tenantlog

import (
	"sync"

	"kimberlite/internal/disk"
	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/record"
)

// Defaults of [Options].
const (
	DefaultSegmentBytes = 16 << 20
	DefaultBufferBytes  = 64 << 10
)

// Position says how far a log reaches.
type Position struct {
	// Next is the offset of the record to come: how many there are.
	Next ident.Offset
	// LastHash is the hash of record Next-1, or the tenant's genesis hash.
	LastHash record.Hash
	// Segment is the base of the current segment, and SegmentBytes the size
	// of its file; both are zero in an empty log.
	Segment      ident.Offset
	SegmentBytes int64
	// TotalBytes is the size of all segment files together. It is the same
	// on every replica.
	TotalBytes int64
}

// Start returns the position of a tenant's empty log.
func Start(tenant ident.TenantID) Position {
	return Position{LastHash: record.GenesisHash(tenant)}
}

// Cursor is where a record starts. The zero Cursor is the log's start. It
// stays valid for as long as the log holds the record.
type Cursor struct {
	// Offset is the record's.
	Offset ident.Offset
	// Segment is the base of the segment it is in, Byte its place in the
	// file. A cursor at the end of a segment means the next segment's start
	// once that exists.
	Segment ident.Offset
	Byte    int64
}

// Raw is one whole encoded record, as [record.OpenRecord] takes it.
type Raw struct {
	Cursor Cursor
	Bytes  []byte
}

// Options say where a log is and how it is kept.
type Options struct {
	// FS holds the files.
	FS disk.FS
	// Dir is the directory of the log's files and of nothing else. It is
	// made, parents included, by the first append.
	Dir string
	// Tenant is whose log it is.
	Tenant ident.TenantID
	// SegmentBytes is the size beyond which a segment is closed and the next
	// one begun; 0 is [DefaultSegmentBytes]. It must be the same on all
	// replicas, since it decides TotalBytes.
	SegmentBytes int64
	// BufferBytes is how many appended bytes are kept in memory before they
	// are written out; 0 is [DefaultBufferBytes].
	BufferBytes int
}

// Log is one tenant's log, open for appending. All methods are safe for
// concurrent use; there must be only one Log for a directory at a time.
type Log struct {
	o Options

	syncing sync.Mutex // lets one Sync, Park or Close run at a time; taken before mu
	index   index      // has its own mutex, taken before mu

	mu     sync.Mutex // guards everything below, and handle.refs
	pos    Position
	bases  []ident.Offset // of all segments, ascending
	tail   *handle        // the current segment's file, or nil when not open
	onFile int64          // how much of the current segment is written to its file
	buf    []byte         // the bytes of the current segment after those
	dirty  bool           // the current segment has bytes that no Sync has taken up
	rolled []*handle      // earlier segments that no Sync has taken up
	made   []string       // directories with names in them that no Sync has taken up
	reader *handle        // the segment read last, if it is not the current one
	failed error          // why the log stopped, or nil
	closed bool
}

// Position returns how far the log reaches, buffered records included.
func (l *Log) Position() Position {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.pos
}

// NextCursor returns where the next record will start; a record that begins a
// new segment starts there instead, and reading from this cursor finds it.
func (l *Log) NextCursor() Cursor {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.pos.cursor()
}

// SegmentFor returns the base of the segment that a record of recordLen
// encoded bytes would land in if it were appended next: whoever seals it needs
// the segment's key.
func (l *Log) SegmentFor(recordLen int) ident.Offset {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.pos.segmentFor(recordLen, l.o.SegmentBytes)
}

// segmentFor is a function of position and limit alone, so that all replicas
// roll over at the same record.
func (p Position) segmentFor(recordLen int, limit int64) ident.Offset {
	if p.isEmpty() || p.SegmentBytes+int64(recordLen) > limit {
		return p.Next
	}
	return p.Segment
}

func (p Position) cursor() Cursor {
	return Cursor{Offset: p.Next, Segment: p.Segment, Byte: p.SegmentBytes}
}

func (p Position) isEmpty() bool { return p.Next == ident.Offset{} }

// usable returns why the log cannot be used, or nil. l.mu is held.
func (l *Log) usable() error {
	if l.closed {
		return fault.New("tenant log", fault.Closed, "the log is closed").ForTenant(l.o.Tenant)
	}
	return nil
}

// writable returns why the log cannot be appended to, or nil. l.mu is held.
func (l *Log) writable() error {
	if err := l.usable(); err != nil {
		return err
	}
	return l.failed
}

// stop makes every later append and sync fail: after a failed write or fsync
// what the disk holds is in doubt, and only a new Open at a synced position
// settles it. l.mu is held.
func (l *Log) stop(err error, what string) error {
	if l.failed == nil {
		l.failed = fault.Wrap("tenant log", fault.Stopped, err,
			"cannot %s; the log stopped: restart once the disk works again, nothing acknowledged is lost", what).ForTenant(l.o.Tenant)
	}
	return l.failed
}

// Close writes buffered records out, without fsync, and closes the files. The
// log cannot be used afterwards. Closing twice is no error.
func (l *Log) Close() error {
	l.syncing.Lock()
	defer l.syncing.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil
	}
	err := l.failed
	if err == nil {
		err = l.flush()
	}
	l.closed = true
	l.closeFiles()
	l.buf, l.bases = nil, nil
	return err
}

// Park closes the log's files when everything in it is synced, and does
// nothing otherwise; it reports which. The next use opens them again, so that
// a shard can keep the logs of many idle tenants without their descriptors.
func (l *Log) Park() bool {
	l.syncing.Lock()
	defer l.syncing.Unlock()
	l.index.drop()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || l.failed != nil || l.dirty || len(l.rolled) > 0 || len(l.made) > 0 {
		return false
	}
	l.closeFiles()
	l.buf = nil
	return true
}
