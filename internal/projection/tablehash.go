package projection

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/ncruces/go-sqlite3"

	"kimberlite/internal/fault"
)

// TableHash returns a hash over the schema and all rows of all tables, the
// tenant's and our own, the counters of AUTOINCREMENT, and how long each stream
// of the tenant is. Two projections with the same content have the same hash,
// however their pages lie. How far the log has been followed does not count,
// nor how long the internal streams are: a login is in the log and changes no
// table. It reads everything, from one snapshot.
func (d *DB) TableHash(ctx context.Context) (sum [32]byte, err error) {
	r, err := d.Read(ctx)
	if err != nil {
		return sum, err
	}
	defer r.Release()
	if err := r.BeginSnapshot(ctx); err != nil {
		return sum, err
	}
	defer r.c.protect("table hash", &err)
	h := contentHash{h: sha256.New()}
	tables, err := h.schema(r.c)
	if err != nil {
		return sum, err
	}
	for _, name := range tables {
		if ctx.Err() != nil {
			return sum, fault.OfContext("table hash", ctx).ForTenant(d.tenant)
		}
		if err := h.table(r.c, name); err != nil {
			return sum, err
		}
	}
	if err := h.lengths(r.c, r.c.file.snapshot.Meta()); err != nil {
		return sum, err
	}
	copy(sum[:], h.h.Sum(nil))
	return sum, nil
}

// contentHash hashes values so that no two sequences of them look the same.
type contentHash struct {
	h   hash.Hash
	buf [9]byte
}

func (h *contentHash) number(kind byte, n uint64) {
	h.buf[0] = kind
	binary.BigEndian.PutUint64(h.buf[1:], n)
	_, _ = h.h.Write(h.buf[:]) // a hash never fails
}

func (h *contentHash) bytes(kind byte, b []byte) {
	h.number(kind, uint64(len(b)))
	_, _ = h.h.Write(b) // likewise
}

// schema hashes all objects but for the pages they begin at, and returns the
// tables to hash.
func (h *contentHash) schema(c *conn) ([]string, error) {
	var tables []string
	err := c.each(`SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY type, name`, func(s *sqlite3.Stmt) error {
		h.row(s, 0)
		if s.ColumnText(0) == "table" {
			tables = append(tables, s.ColumnText(1))
		}
		return nil
	})
	return tables, err
}

// lengths hashes how long the tenant's streams are, wherever that is kept:
// beside the position or in a row.
func (h *contentHash) lengths(c *conn, meta []byte) error {
	next := map[uint64]uint64{}
	err := c.each(`SELECT k, v FROM _kimberlite_meta`, func(s *sqlite3.Stmt) error {
		next[uint64(s.ColumnInt64(0))] = uint64(s.ColumnInt64(1)) //nolint:gosec // written from these types
		return nil
	})
	if err != nil {
		return err
	}
	pos, err := decodePosition(meta)
	if err != nil {
		return err
	}
	for _, recent := range pos.recent {
		next[recent.stream] = recent.next
	}
	for _, stream := range slices.Sorted(maps.Keys(next)) {
		if !isInternal(stream) {
			h.number('l', stream)
			h.number('l', next[stream])
		}
	}
	return nil
}

func (h *contentHash) table(c *conn, name string) error {
	h.bytes('t', []byte(name))
	var query string
	switch {
	case name == "_kimberlite_meta":
		return nil // see lengths
	case name == "_kimberlite_index":
		query = `SELECT * FROM _kimberlite_index WHERE stream>=0 AND stream<1<<62 ORDER BY stream, first`
	case strings.HasPrefix(name, "sqlite_"):
		query = `SELECT name, seq FROM sqlite_sequence ORDER BY name, seq`
	default:
		t, err := describe(c, name)
		if err != nil {
			return err
		}
		query = t.selectOrdered()
	}
	defer c.dropInternal(query)
	return c.each(query, func(s *sqlite3.Stmt) error {
		h.row(s, 'r')
		return nil
	})
}

// selectOrdered reads a table, generated columns included, in the order of
// its key.
func (t *table) selectOrdered() string {
	from := ` FROM main.` + quoteName(t.name) + ` ORDER BY `
	if !t.withoutRowID() {
		return `SELECT ` + t.rowid + `, *` + from + t.rowid
	}
	keys := make([]string, len(t.key))
	for i, at := range t.key {
		keys[i] = quoteName(t.columns[at].Name)
	}
	return `SELECT *` + from + strings.Join(keys, ",")
}

func (h *contentHash) row(s *sqlite3.Stmt, kind byte) {
	n := s.ColumnCount()
	h.number(kind, uint64(n)) //nolint:gosec // a count
	for i := range n {
		switch s.ColumnType(i) {
		case sqlite3.INTEGER:
			h.number('i', uint64(s.ColumnInt64(i))) //nolint:gosec // all values stay apart
		case sqlite3.FLOAT:
			h.number('f', math.Float64bits(s.ColumnFloat(i)))
		case sqlite3.TEXT:
			h.bytes('s', s.ColumnRawText(i))
		case sqlite3.BLOB:
			h.bytes('b', s.ColumnRawBlob(i))
		case sqlite3.NULL:
			h.number('n', 0)
		}
	}
}
