package projection

import (
	"github.com/ncruces/go-sqlite3"

	"kimberlite/internal/fault"
	"kimberlite/internal/record"
)

// internalVersion is the version of the tables below and of what is in them.
// A projection of another version is refused; it is rebuilt from the log.
const internalVersion = 4

// internalSchema makes our own tables.
//
//   - meta: k=N holds the next offset of stream N, but for the streams that
//     moved last: see position.
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
