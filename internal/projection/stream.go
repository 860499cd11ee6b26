package projection

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/ncruces/go-sqlite3"

	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/record"
)

// StreamInfo describes a stream as of the last commit.
type StreamInfo struct {
	// Number is the stream's number within the tenant; it is never used
	// again.
	Number uint64
	// Name is the table's name, or the name that the stream was created with.
	Name string
	Kind record.StreamKind
	// Next is the offset that the stream's next event gets: how many it has.
	Next ident.Offset
	// SchemaVersion counts the shapes that a table has had, from 1; it is 0
	// for an event stream.
	SchemaVersion uint64
	// Columns are those of the current version, generated ones left out. Not
	// to be changed.
	Columns []record.Column
	// Dropped says that the table is gone. Its events are still in the log.
	Dropped bool
}

// stream is a stream in memory. All but next is fixed: a changed stream is
// another stream value that shares next.
type stream struct {
	StreamInfo
	// next is the committed next offset.
	next *atomic.Uint64
}

func (s *stream) info() StreamInfo {
	i := s.StreamInfo
	i.Next = ident.NewOffset(s.next.Load())
	return i
}

// streamSet is every stream of a tenant. It is never changed: with makes
// another one, so that going back to a savepoint is going back to a pointer.
type streamSet struct {
	byNumber map[uint64]*stream
	byName   map[string]*stream // live ones, by folded name
	top      uint64             // the highest number given out
}

// with returns the set with a stream added or replaced.
func (s *streamSet) with(n *stream) *streamSet {
	next := &streamSet{byNumber: maps.Clone(s.byNumber), byName: maps.Clone(s.byName), top: max(s.top, n.Number)}
	if next.byNumber == nil {
		next.byNumber, next.byName = map[uint64]*stream{}, map[string]*stream{}
	}
	if old := next.byNumber[n.Number]; old != nil && !old.Dropped {
		delete(next.byName, lower(old.Name))
	}
	next.byNumber[n.Number] = n
	if !n.Dropped {
		next.byName[lower(n.Name)] = n
	}
	return next
}

// named returns the live stream of a name.
func (s *streamSet) named(name string) *stream { return s.byName[lower(name)] }

// Streams returns the live streams, by number.
func (d *DB) Streams() []StreamInfo {
	set := d.streams.Load()
	all := make([]StreamInfo, 0, len(set.byName))
	for _, s := range set.byName {
		all = append(all, s.info())
	}
	slices.SortFunc(all, func(a, b StreamInfo) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// Stream returns the live stream of a name, in any case of its letters.
func (d *DB) Stream(name string) (StreamInfo, bool) {
	s := d.streams.Load().named(name)
	if s == nil {
		return StreamInfo{}, false
	}
	return s.info(), true
}

// StreamNumbered returns a stream by its number, dropped ones included.
func (d *DB) StreamNumbered(number uint64) (StreamInfo, bool) {
	s := d.streams.Load().byNumber[number]
	if s == nil || isInternal(number) {
		return StreamInfo{}, false
	}
	return s.info(), true
}

// StreamColumns returns the columns of a version of a stream, also of one
// that was dropped. NotFound says that there is no such version.
func (d *DB) StreamColumns(number, version uint64) ([]record.Column, error) {
	if s := d.streams.Load().byNumber[number]; s != nil && s.SchemaVersion == version {
		return s.Columns, nil
	}
	if columns, ok := d.versions.Load(versionKey{number, version}); ok {
		return columns.([]record.Column), nil //nolint:forcetypeassert // only that is stored
	}
	var columns []record.Column
	found := false
	err := d.ownRead(func(c *conn) error {
		return c.each(`SELECT columns FROM _kimberlite_version WHERE stream=?1 AND version=?2`, func(s *sqlite3.Stmt) (err error) {
			found = true
			columns, err = decodeColumns(s.ColumnRawBlob(0))
			return err
		}, int64(number), int64(version)) //nolint:gosec // stored the same way
	})
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, fault.New("stream columns", fault.NotFound, "stream %d has no version %d", number, version).ForTenant(d.tenant)
	}
	d.versions.Store(versionKey{number, version}, columns)
	return columns, nil
}

// versionKey names one shape of one table; what it names never changes.
type versionKey struct{ stream, version uint64 }

func encodeColumns(columns []record.Column) ([]byte, error) {
	b, err := json.Marshal(columns)
	if err != nil {
		return nil, fault.Wrap("projection", fault.Internal, err, "cannot write a table's columns")
	}
	return b, nil
}

func decodeColumns(b []byte) ([]record.Column, error) {
	var columns []record.Column
	if err := json.Unmarshal(b, &columns); err != nil {
		return nil, fault.Wrap("projection", fault.Internal, err, "cannot read a table's columns")
	}
	return columns, nil
}

// loadStreams reads all streams of a projection.
func loadStreams(c *conn) (*streamSet, error) {
	set := newStreamSet()
	if err := loadInternalStreams(c, set); err != nil {
		return nil, err
	}
	err := c.each(`SELECT s.number, s.kind, s.name, s.version, s.live, v.columns, m.v
		FROM _kimberlite_stream s
		LEFT JOIN _kimberlite_version v ON v.stream=s.number AND v.version=s.version
		LEFT JOIN _kimberlite_meta m ON m.k=s.number`,
		func(s *sqlite3.Stmt) error {
			n := &stream{next: new(atomic.Uint64), StreamInfo: StreamInfo{
				Number:        uint64(s.ColumnInt64(0)), //nolint:gosec // written from one
				Kind:          record.StreamKind(s.ColumnInt64(1)),
				Name:          s.ColumnText(2),
				SchemaVersion: uint64(s.ColumnInt64(3)), //nolint:gosec // likewise
				Dropped:       s.ColumnInt64(4) == 0,
			}}
			if raw := s.ColumnRawBlob(5); raw != nil {
				var err error
				if n.Columns, err = decodeColumns(raw); err != nil {
					return err
				}
			}
			n.next.Store(uint64(s.ColumnInt64(6))) //nolint:gosec // likewise
			set.byNumber[n.Number] = n
			set.top = max(set.top, n.Number)
			if !n.Dropped {
				set.byName[lower(n.Name)] = n
			}
			return nil
		})
	return set, err
}

// changeStream carries out an event that creates, alters or drops a stream:
// in the internal tables and in memory.
func (w *writer) changeStream(e *record.Event) error {
	old := w.st.streams.byNumber[e.Stream]
	n := &stream{StreamInfo: StreamInfo{
		Number: e.Stream, Name: e.Name, Kind: e.StreamKind, SchemaVersion: e.SchemaVersion, Columns: e.Columns,
	}}
	if e.Kind == record.StreamCreated {
		if old != nil || e.Stream == 0 || w.st.streams.named(e.Name) != nil {
			return w.diverged("stream %d is created twice", e.Stream)
		}
		n.next = new(atomic.Uint64)
		w.st.streams = w.st.streams.with(n)
		return w.storeStream(n)
	}
	if old == nil || old.Dropped {
		return w.diverged("there is no stream %d", e.Stream)
	}
	n.next, n.Kind = old.next, old.Kind
	if e.Kind == record.StreamDropped {
		n.StreamInfo = old.StreamInfo
		n.Dropped = true
		w.st.streams = w.st.streams.with(n)
		return w.c.exec(`UPDATE _kimberlite_stream SET live=0 WHERE number=?1`, int64(n.Number)) //nolint:gosec // read back the same way
	}
	w.st.streams = w.st.streams.with(n)
	return w.storeStream(n)
}

// storeStream writes a stream's row and the columns of its version.
func (w *writer) storeStream(n *stream) error {
	number, version := int64(n.Number), int64(n.SchemaVersion) //nolint:gosec // read back the same way
	err := w.c.exec(`INSERT INTO _kimberlite_stream(number, kind, name, version, live) VALUES(?1,?2,?3,?4,1)
		ON CONFLICT(number) DO UPDATE SET name=?3, version=?4`, number, int64(n.Kind), n.Name, version)
	if err != nil || n.Kind != record.TableStream {
		return err
	}
	columns, err := encodeColumns(n.Columns)
	if err != nil {
		return err
	}
	return w.c.exec(`INSERT INTO _kimberlite_version(stream, version, columns) VALUES(?1,?2,?3)`, number, version, columns)
}
