package projection

import (
	"errors"
	"strconv"

	"github.com/ncruces/go-sqlite3"

	"kimberlite/internal/fault"
	"kimberlite/internal/record"
)

// writer is the one writing connection of a projection and what goes with it.
// It belongs to whoever holds the open group.
type writer struct {
	c *conn
	// st is the state inside the open transaction.
	st state
	// following says that triggers and foreign keys are off: events are
	// applied, not statements.
	following bool
	tables    map[string]*table
	// openReplays counts the replay statements that tables hold.
	openReplays int
	// changes counts changes of the schema, undone ones too.
	changes int
	// defined says that the schema was touched since the last BEGIN, be it in
	// vain.
	defined bool
	capture *capture
	guard   guard
	// sequences has the counters of AUTOINCREMENT tables as of the last ended
	// transaction of the group; nil when they are not known.
	sequences map[string]counter
	counters  counterTable
	// drawn has the sequences of SQL by folded name, as of drawnAt changes of
	// the schema; nil when they are not known.
	drawn   map[string]*sequenceRow
	drawnAt int
	schemas *schemaCache // the DB's
	// pages is the page limit that is set on the connection, 0 for none, and
	// limit the statement that set the last one.
	pages int64
	limit string
}

// state is what a transaction changes in memory besides rows: it is dropped
// on ROLLBACK and published on COMMIT.
type state struct {
	streams *streamSet
	// next has the offsets of the streams that have moved.
	next map[uint64]uint64
	// index has the last index entries of streams, as far as known.
	index    map[uint64]IndexEntry
	position position
	// settled says that the position has moved.
	settled bool
}

// maxIndexMemory bounds how many last index entries are remembered.
const maxIndexMemory = 4096

func (st *state) offset(number uint64) uint64 {
	if n, ok := st.next[number]; ok {
		return n
	}
	if s := st.streams.byNumber[number]; s != nil {
		return s.next.Load()
	}
	return 0
}

func (st *state) remember(stream uint64, e IndexEntry) {
	if st.index == nil || len(st.index) >= maxIndexMemory {
		st.index = map[uint64]IndexEntry{}
	}
	st.index[stream] = e
}

// lead lets statements run as clients expect: triggers and foreign keys on.
func (w *writer) lead() error { return w.setFollowing(false) }

// follow turns off what events contain already.
func (w *writer) follow() error { return w.setFollowing(true) }

func (w *writer) setFollowing(on bool) error {
	if w.following == on {
		return nil
	}
	for _, setting := range []sqlite3.DBConfig{sqlite3.DBCONFIG_ENABLE_TRIGGER, sqlite3.DBCONFIG_ENABLE_FKEY} {
		if _, err := w.c.db.Config(setting, !on); err != nil {
			return w.c.fail("projection", "", err)
		}
	}
	hook := w.onPreUpdate
	if on {
		hook = nil
	}
	w.c.db.PreUpdateHook(hook)
	w.following = on
	w.c.cache.clear()
	return nil
}

// reset goes back in memory to what is committed.
func (w *writer) reset(d *DB) {
	if w.changes != 0 {
		w.schemaChanged()
	}
	w.changes, w.defined = 0, false
	w.capture = nil
	w.c.file.discard()
	w.st.position.copyFrom(&d.position)
	w.st = state{streams: d.streams.Load(), next: map[uint64]uint64{}, position: w.st.position}
	w.sequences, w.drawn, w.c.env = nil, nil, nil
}

// verifySchema makes SQLite compare the schema that it has in memory with the
// file's. After some failed changes of the schema it goes back in the file and
// not in memory, and then says of what is gone that it is there already.
func (w *writer) verifySchema() error {
	if !w.defined {
		return nil
	}
	return w.c.exec(`SELECT 1 FROM _kimberlite_meta WHERE k=0`)
}

// publish makes what was committed visible to everybody.
func (w *writer) publish(d *DB) {
	for number, next := range w.st.next {
		if s := w.st.streams.byNumber[number]; s != nil {
			s.next.Store(next)
		}
		delete(w.st.next, number)
	}
	if d.streams.Swap(w.st.streams) != w.st.streams || w.changes != 0 {
		d.schemaVersion.Add(1)
	}
	w.changes, w.c.env = 0, nil
	d.position.copyFrom(&w.st.position)
	w.st.settled = false
	at := d.position.applied // the pointer's target must not change any more
	d.applied.Store(&at)
}

// limitPages sets the most pages that the projection may have; 0 lifts it.
func (w *writer) limitPages(pages int64) error {
	if w.pages == pages {
		return nil
	}
	text := pragmaMaxPages(pages)
	if err := w.c.exec(text); err != nil {
		return err
	}
	if pages != 0 && w.limit != text {
		w.c.dropInternal(w.limit)
		w.limit = text
	}
	w.pages = pages
	return nil
}

// mostPages is SQLite's own limit.
const mostPages = 1<<32 - 2

func pragmaMaxPages(pages int64) string {
	if pages == 0 {
		pages = mostPages
	}
	return "PRAGMA max_page_count=" + strconv.FormatInt(pages, 10)
}

// run steps a client's statement to its end and gives fn each row.
func (w *writer) run(p *prepared, fn func(*sqlite3.Stmt) error) error {
	w.c.db.SetInterrupt(&w.guard)
	for p.stmt.Step() {
		if w.capture.refused != nil {
			return w.refusal()
		}
		if fn == nil {
			continue
		}
		if err := fn(p.stmt); err != nil {
			return err
		}
	}
	err := p.stmt.Err()
	if w.capture.err != nil {
		return w.capture.err
	}
	if w.capture.refused != nil {
		return w.refusal()
	}
	return w.c.fail("sql", "", err)
}

// refusal is why the statement that ran must be undone.
func (w *writer) refusal() error {
	var e *fault.Error
	if errors.As(w.capture.refused, &e) {
		return e.ForTenant(w.c.tenant)
	}
	return w.capture.refused
}

// stillOpen says whether SQLite's transaction has survived an error.
func (w *writer) stillOpen() bool { return !w.c.dead && !w.c.db.GetAutocommit() }

// events of a finished transaction are handed over, not copied.
func (k *capture) take() []record.Event {
	events := k.events
	k.events, k.bytes, k.values, k.texts = nil, 0, nil, nil
	return events
}
