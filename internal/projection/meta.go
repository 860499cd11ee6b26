package projection

import (
	"encoding/binary"
	"time"

	"github.com/ncruces/go-sqlite3"

	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/record"
)

// internalVersion is the version of the tables below and of what is in them.
// A projection of another version is refused; it is rebuilt from the log.
const internalVersion = 3

// internalSchema makes our own tables.
//
//   - meta: k=0 holds the position in the log; k=N the next offset of stream
//     N. What changes with every commit stands together on one page.
//   - stream: every stream that ever was.
//   - version: the columns of every version of every table.
//   - idempotency: the answers to requests that carried a key, in the order
//     of their records.
//   - credential: the tenant's credentials, as their last event has them.
//   - sequence: the sequences of SQL and the numbers that they gave last.
//   - index: sparse, where in the log a stream's offsets stand.
const internalSchema = `
CREATE TABLE _kimberlite_meta(k INTEGER PRIMARY KEY, v);
CREATE TABLE _kimberlite_stream(number INTEGER PRIMARY KEY, kind INTEGER, name TEXT, version INTEGER, live INTEGER);
CREATE TABLE _kimberlite_version(stream INTEGER, version INTEGER, columns BLOB, PRIMARY KEY(stream, version)) WITHOUT ROWID;
CREATE TABLE _kimberlite_idempotency(id INTEGER PRIMARY KEY, key TEXT UNIQUE, fingerprint BLOB, rows INTEGER, last INTEGER, first INTEGER, at INTEGER);
CREATE TABLE _kimberlite_credential(id INTEGER PRIMARY KEY, data BLOB);
CREATE TABLE _kimberlite_sequence(name TEXT PRIMARY KEY COLLATE NOCASE, owner TEXT, owned TEXT, start INTEGER, increment INTEGER, value INTEGER, called INTEGER) WITHOUT ROWID;
CREATE TABLE _kimberlite_index(stream INTEGER, first INTEGER, log INTEGER, segment INTEGER, byte INTEGER, PRIMARY KEY(stream, first)) WITHOUT ROWID;
`

// internalTables are the tables of internalSchema.
var internalTables = map[string]bool{
	"_kimberlite_meta": true, "_kimberlite_stream": true, "_kimberlite_version": true,
	"_kimberlite_idempotency": true, "_kimberlite_index": true, "_kimberlite_credential": true,
	"_kimberlite_sequence": true,
}

// Applied says how far a projection has followed its log.
type Applied struct {
	// Next is how many records have been applied: the offset of the next one.
	Next ident.Offset
	// LastHash is the hash of the last applied record; zero before the first.
	LastHash record.Hash
	// Segment and Byte are where in the log's files the last applied record
	// starts. They are handed back as they were given.
	Segment uint64
	Byte    int64
	// Time is the last applied record's. Group.Prepare needs it when the
	// group holds idempotency keys: their age is counted from it.
	Time time.Time
}

// The row of the position, a blob, big-endian:
//
//	offset size
//	     0    8  next: how many records have been applied
//	     8   32  hash of the last applied record
//	    40    8  segment of the last applied record
//	    48    8  byte in the segment where it starts
//	    56    8  its time, nanoseconds since 1970, 0 for none
const appliedBytes = 64

func (a Applied) encode() []byte {
	b := make([]byte, 0, appliedBytes)
	b = binary.BigEndian.AppendUint64(b, a.Next.Uint64())
	b = append(b, a.LastHash[:]...)
	b = binary.BigEndian.AppendUint64(b, a.Segment)
	b = binary.BigEndian.AppendUint64(b, uint64(a.Byte)) //nolint:gosec // read back the same way
	var at int64
	if !a.Time.IsZero() {
		at = a.Time.UnixNano()
	}
	return binary.BigEndian.AppendUint64(b, uint64(at)) //nolint:gosec // likewise
}

func decodeApplied(b []byte) (Applied, error) {
	if len(b) != appliedBytes {
		return Applied{}, fault.New("projection", fault.Corruption, "the projection's position has %d bytes, not %d: remove its file, it is rebuilt from the log", len(b), appliedBytes)
	}
	a := Applied{
		Next:    ident.NewOffset(binary.BigEndian.Uint64(b)),
		Segment: binary.BigEndian.Uint64(b[40:]),
		Byte:    int64(binary.BigEndian.Uint64(b[48:])), //nolint:gosec // written from one
	}
	copy(a.LastHash[:], b[8:])
	if at := int64(binary.BigEndian.Uint64(b[56:])); at != 0 { //nolint:gosec // likewise
		a.Time = time.Unix(0, at).UTC()
	}
	return a, nil
}

// loadApplied reads the position; a projection without one has applied
// nothing.
func loadApplied(c *conn) (Applied, error) {
	var a Applied
	err := c.each(`SELECT v FROM _kimberlite_meta WHERE k=0`, func(s *sqlite3.Stmt) (err error) {
		a, err = decodeApplied(s.ColumnRawBlob(0))
		return err
	})
	return a, err
}

const upsertMeta = `INSERT INTO _kimberlite_meta(k, v) VALUES(?1,?2) ON CONFLICT(k) DO UPDATE SET v=?2`

// settle finishes a record inside the writer's transaction: position, stream
// counters, sparse index and idempotency keys. The leader and those who
// follow call it with the same arguments, so that it leaves the same rows.
func (w *writer) settle(p *record.Payload, at Applied) error {
	if at.Next != w.st.applied.Next.Next() {
		return fault.New("projection", fault.Invalid, "record %s does not follow position %s", at.Next, w.st.applied.Next).ForTenant(w.c.tenant)
	}
	for _, s := range spans(p) {
		next := int64(s.next)                                               //nolint:gosec // read back the same way
		if err := w.c.exec(upsertMeta, int64(s.stream), next); err != nil { //nolint:gosec // likewise
			return err
		}
		if isInternal(s.stream) {
			w.st.next[s.stream] = s.next // capture gives their offsets out later
		}
		if err := w.indexSpan(s, at); err != nil {
			return err
		}
	}
	if err := w.keepKeys(p, at); err != nil {
		return err
	}
	w.st.applied = at
	return w.c.exec(upsertMeta, int64(0), at.encode())
}

// span is what one record holds of one stream.
type span struct{ stream, first, next uint64 }

// spans returns the streams that a record has row events or messages of, in
// the order of their first.
func spans(p *record.Payload) []span {
	var all []span
	last := -1
	for i := range p.Txns {
		for j := range p.Txns[i].Events {
			e := &p.Txns[i].Events[j]
			if !counted(e.Kind) {
				continue
			}
			if last < 0 || all[last].stream != e.Stream {
				last = findSpan(all, e.Stream)
			}
			if last < 0 {
				last = len(all)
				all = append(all, span{stream: e.Stream, first: e.StreamOffset})
			}
			all[last].next = e.StreamOffset + 1
		}
	}
	return all
}

func findSpan(all []span, stream uint64) int {
	for i := range all {
		if all[i].stream == stream {
			return i
		}
	}
	return -1
}

// counted says whether events of a kind take an offset in their stream.
func counted(k record.EventKind) bool {
	switch k {
	case record.RowInserted, record.RowUpdated, record.RowDeleted, record.Message:
		return true
	}
	return false
}

// checkVersion refuses a projection of another internal version.
func checkVersion(c *conn) error {
	var version int64
	err := c.each(`PRAGMA user_version`, func(s *sqlite3.Stmt) error {
		version = s.ColumnInt64(0)
		return nil
	})
	c.dropInternal(`PRAGMA user_version`)
	if err == nil && version != internalVersion {
		err = fault.New("projection open", fault.Incompatible, "the projection has internal version %d, this program wants %d: remove its file, it is rebuilt from the log", version, internalVersion).ForTenant(c.tenant)
	}
	return err
}

// diverged is a record that does not fit the tables: they are not what the
// log says, and are in doubt from now on.
func (w *writer) diverged(format string, args ...any) error {
	e := fault.New("apply", fault.Corruption, "the projection does not fit its log: "+format+"; remove its file, it is rebuilt from the log", args...).ForTenant(w.c.tenant)
	w.c.file.src.suspect(e)
	return e
}
