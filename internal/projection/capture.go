package projection

import (
	"slices"
	"strings"

	"github.com/ncruces/go-sqlite3"

	"kimberlite/internal/fault"
	"kimberlite/internal/record"
)

// capture collects the events of one transaction while it runs.
type capture struct {
	events []record.Event
	// bytes estimates what the events take once encoded.
	bytes int
	limit int
	// err says why the events are not complete.
	err error
	// refused says why the statement under way must be undone. It is left to
	// run to its end: to interrupt it would undo the whole transaction.
	refused error
	// values and texts are what is left of the slabs that rows are cut from.
	values []record.Value
	texts  *strings.Builder
}

// Estimates of encoded sizes.
const (
	eventBytes = 24
	valueBytes = 9
)

func (k *capture) add(e record.Event, size int) {
	if n := len(k.events); n == cap(k.events) && k.bulk() {
		k.events = slices.Grow(k.events, n) // append would grow, and copy, by a quarter
	}
	k.events = append(k.events, e)
	k.bytes += eventBytes + size
}

// Sizes of what events of a large transaction are cut from, and from how many
// events on one is large.
const (
	bulkEvents = 256
	slabValues = 1024
	slabText   = 32 << 10
)

// bulk says whether values are cut from slabs: in a large transaction the
// events live and go together, and their parts are many and small.
func (k *capture) bulk() bool { return len(k.events) >= bulkEvents }

// row returns room for the values of a row.
func (k *capture) row(n int) []record.Value {
	if !k.bulk() || n > slabValues/8 {
		return make([]record.Value, n)
	}
	if len(k.values) < n {
		k.values = make([]record.Value, slabValues)
	}
	values := k.values[:n:n]
	k.values = k.values[n:]
	return values
}

// text copies a text.
func (k *capture) text(raw []byte) string {
	if !k.bulk() || len(raw) > slabText/16 {
		return string(raw)
	}
	if k.texts == nil || k.texts.Cap()-k.texts.Len() < len(raw) {
		k.texts = new(strings.Builder)
		k.texts.Grow(slabText)
	}
	from := k.texts.Len()
	k.texts.Write(raw)
	return k.texts.String()[from:]
}

// full says whether the transaction is larger than one may be, and notes it.
func (k *capture) full() bool {
	if k.bytes <= k.limit {
		return false
	}
	if k.err == nil {
		k.err = fault.New("sql", fault.TooLarge, "the transaction changes more than %d bytes of rows: split it", k.limit)
	}
	return true
}

// captured estimates the size of the events of the transaction under way.
func (w *writer) captured() int {
	if w.capture == nil {
		return 0
	}
	return w.capture.bytes
}

// onPreUpdate is SQLite's preupdate hook: it is called for every row that a
// statement, its triggers and its foreign keys are about to change.
func (w *writer) onPreUpdate(p sqlite3.PreUpdateData) {
	k := w.capture
	if k == nil || p.Schema != "main" || hasPrefixFold(p.Table, internalPrefix) {
		return
	}
	if k.refused != nil {
		return // it will all be undone
	}
	if k.err != nil || k.full() {
		w.guard.err = k.err
		return
	}
	t := w.tables[p.Table]
	if t == nil {
		k.err = fault.New("sql", fault.Internal, "a change to table %q was not foreseen", clip(p.Table)).ForTenant(w.c.tenant)
		w.guard.err = k.err
		return
	}
	e := record.Event{Stream: t.stream, SchemaVersion: t.version}
	size := 0
	switch p.Op {
	case sqlite3.AUTH_INSERT:
		e.Kind = record.RowInserted
		e.RowID = p.NewRowID
		e.After, size, k.err = k.rowValues(t, p.New)
	case sqlite3.AUTH_UPDATE:
		e.Kind = record.RowUpdated
		e.RowID, e.OldRowID = p.NewRowID, p.OldRowID
		var more int
		if e.Before, size, k.err = k.rowValues(t, p.Old); k.err == nil {
			e.After, more, k.err = k.rowValues(t, p.New)
			size += more
		}
	case sqlite3.AUTH_DELETE:
		e.Kind = record.RowDeleted
		e.OldRowID = p.OldRowID
		e.Before, size, k.err = k.rowValues(t, p.Old)
	default:
		k.err = fault.New("sql", fault.Internal, "a row change of an unknown kind")
	}
	if k.err != nil {
		w.guard.err = k.err
		return
	}
	if t.enforced != nil && e.After != nil {
		if k.refused = t.check(e.After); k.refused != nil {
			return
		}
	}
	if t.withoutRowID() {
		e.RowID, e.OldRowID = 0, 0
	}
	e.StreamOffset = w.takeOffset(t.stream)
	k.add(e, size)
}

// takeOffset gives out a stream's next offset.
func (w *writer) takeOffset(stream uint64) uint64 {
	next := w.st.offset(stream)
	w.st.next[stream] = next + 1
	return next
}

// rowValues copies one image of a row.
func (k *capture) rowValues(t *table, value func(column int) (sqlite3.Value, error)) ([]record.Value, int, error) {
	values := k.row(len(t.columns))
	size := len(values) * valueBytes
	for i, at := range t.source {
		v, err := value(at)
		if err != nil {
			return nil, 0, fault.Wrap("sql", fault.Internal, err, "cannot read a changed row of table %q", clip(t.name))
		}
		switch v.Type() {
		case sqlite3.INTEGER:
			if t.real[i] {
				values[i] = v.Float()
			} else {
				values[i] = v.Int64()
			}
		case sqlite3.FLOAT:
			values[i] = v.Float()
		case sqlite3.TEXT:
			text := k.text(v.RawText())
			values[i] = text
			size += len(text)
		case sqlite3.BLOB:
			blob := v.Blob([]byte{})
			values[i] = blob
			size += len(blob)
		case sqlite3.NULL:
		}
	}
	return values, size, nil
}

// mark is a place in a transaction to which it can go back.
type mark struct {
	events, bytes int
	streams       *streamSet
	changes       int
}

func (w *writer) mark() mark {
	return mark{len(w.capture.events), w.capture.bytes, w.st.streams, w.changes}
}

// forget takes back in memory what happened since a mark; SQLite has gone
// back already.
func (w *writer) forget(m mark) {
	k := w.capture
	for i := len(k.events) - 1; i >= m.events; i-- {
		if e := &k.events[i]; e.StreamOffset == unnumbered {
			continue
		} else if counted(e.Kind) {
			w.st.next[e.Stream] = e.StreamOffset
		} else if e.Kind == record.StreamCreated {
			delete(w.st.next, e.Stream)
		}
	}
	clear(k.events[m.events:])
	k.events = k.events[:m.events]
	k.bytes = m.bytes
	k.err, k.refused = nil, nil
	w.st.streams = m.streams
	if w.changes != m.changes {
		w.schemaChanged()
	}
}
