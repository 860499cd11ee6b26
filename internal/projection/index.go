package projection

import (
	"github.com/ncruces/go-sqlite3"
)

// The sparse index has a row for a record that holds events of a stream when
// at least indexEvents events of the stream or [IndexStride] records have
// passed since the stream's last row, and for the first one.
const indexEvents = 64

// IndexStride is how many records of the log a reader passes over at most,
// from an index entry or an event of the stream on, before there is another
// index entry of the stream, if the stream goes on.
const IndexStride = 256

// IndexEntry is a place in the log where a stream's events stand.
type IndexEntry struct {
	// StreamOffset is the first offset of the stream in the record.
	StreamOffset uint64
	// LogOffset is the record's offset, Segment and Byte where it starts, as
	// [Applied] gave them.
	LogOffset uint64
	Segment   uint64
	Byte      int64
}

// IndexFloor returns the last entry of a stream at or before a stream offset:
// from there the stream is read forward. It is false when the stream has no
// events.
func (d *DB) IndexFloor(stream, offset uint64) (entry IndexEntry, ok bool, err error) {
	err = d.ownRead(func(c *conn) error {
		return c.each(`SELECT first, log, segment, byte FROM _kimberlite_index WHERE stream=?1 AND first<=?2 ORDER BY first DESC LIMIT 1`,
			func(s *sqlite3.Stmt) error {
				entry, ok = indexRow(s), true
				return nil
			}, int64(stream), int64(min(offset, 1<<62))) //nolint:gosec // stored the same way
	})
	return entry, ok, err
}

//nolint:gosec // the numbers were written from these types
func indexRow(s *sqlite3.Stmt) IndexEntry {
	return IndexEntry{
		StreamOffset: uint64(s.ColumnInt64(0)), LogOffset: uint64(s.ColumnInt64(1)),
		Segment: uint64(s.ColumnInt64(2)), Byte: s.ColumnInt64(3),
	}
}

// lastIndex returns a stream's last entry, from memory if it is there.
func (w *writer) lastIndex(stream uint64) (IndexEntry, bool, error) {
	if e, ok := w.st.index[stream]; ok {
		return e, true, nil
	}
	var last IndexEntry
	found := false
	err := w.c.each(`SELECT first, log, segment, byte FROM _kimberlite_index WHERE stream=?1 ORDER BY first DESC LIMIT 1`,
		func(s *sqlite3.Stmt) error {
			last, found = indexRow(s), true
			return nil
		}, int64(stream)) //nolint:gosec // stored the same way
	if found {
		w.st.remember(stream, last)
	}
	return last, found, err
}

// indexSpan adds an entry for a record when one is due.
func (w *writer) indexSpan(s span, at Applied) error {
	last, found, err := w.lastIndex(s.stream)
	if err != nil {
		return err
	}
	log := at.Next.Uint64() - 1
	if found && s.first-last.StreamOffset < indexEvents && log-last.LogOffset < IndexStride {
		return nil
	}
	e := IndexEntry{StreamOffset: s.first, LogOffset: log, Segment: at.Segment, Byte: at.Byte}
	w.st.remember(s.stream, e)
	//nolint:gosec // read back the same way
	return w.c.exec(`INSERT INTO _kimberlite_index(stream, first, log, segment, byte) VALUES(?1,?2,?3,?4,?5)`,
		int64(s.stream), int64(e.StreamOffset), int64(e.LogOffset), int64(e.Segment), e.Byte)
}
