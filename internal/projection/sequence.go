package projection

import (
	"maps"
	"slices"
	"strconv"

	"github.com/ncruces/go-sqlite3"

	"kimberlite/internal/record"
)

// AUTOINCREMENT keeps its counters in the table sqlite_sequence, which the
// preupdate hook does not report. Replaying inserts moves them along by
// itself, but for numbers that were drawn and not used, as by INSERT OR
// IGNORE: these are added to the log as the statements that set the counter.

// counter is a row of sqlite_sequence; no value means NULL.
type counter struct {
	value int64
	null  bool
}

type counterTable uint8

const (
	counterTableUnknown counterTable = iota
	counterTableMissing
	counterTableThere
)

// readSequences reads all counters; it costs nothing where there are none.
func (w *writer) readSequences() (map[string]counter, error) {
	if w.counters == counterTableUnknown {
		w.counters = counterTableMissing
		err := w.c.each(`SELECT 1 FROM sqlite_schema WHERE name='sqlite_sequence'`, func(*sqlite3.Stmt) error {
			w.counters = counterTableThere
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	all := map[string]counter{}
	if w.counters == counterTableMissing {
		return all, nil
	}
	err := w.c.each(`SELECT name, seq FROM sqlite_sequence`, func(s *sqlite3.Stmt) error {
		all[s.ColumnText(0)] = counter{s.ColumnInt64(1), s.ColumnType(1) == sqlite3.NULL}
		return nil
	})
	return all, err
}

// loadSequences notes the counters at the start of a transaction.
func (w *writer) loadSequences() (err error) {
	if w.sequences == nil {
		w.sequences, err = w.readSequences()
	}
	return err
}

// noteSequences adds the counters that replay would not bring about by
// itself. After a change of the schema they are all added, since tables may
// have been made, renamed or dropped.
func (w *writer) noteSequences(schemaChanged bool) error {
	now, err := w.readSequences()
	if err != nil {
		return err
	}
	if len(now) > 0 {
		want := w.replayedSequences()
		for _, name := range slices.Sorted(maps.Keys(now)) {
			have, ok := want[name]
			if !schemaChanged && ok && have == now[name] {
				continue
			}
			text := setSequence(name, now[name])
			w.capture.add(record.Event{Kind: record.Schema, SQL: text}, len(text))
		}
	}
	w.sequences = now
	return nil
}

// replayedSequences is what replay of the transaction's events makes of the
// counters as they were.
func (w *writer) replayedSequences() map[string]counter {
	want := maps.Clone(w.sequences)
	for i := range w.capture.events {
		e := &w.capture.events[i]
		if e.Kind != record.RowInserted {
			continue
		}
		s := w.st.streams.byNumber[e.Stream]
		if s == nil {
			continue
		}
		if t := w.tables[s.Name]; t == nil || !t.autoincrement {
			continue
		}
		want[s.Name] = counter{value: max(want[s.Name].value, e.RowID)}
	}
	return want
}

func setSequence(name string, c counter) string {
	value := "NULL"
	if !c.null {
		value = strconv.FormatInt(c.value, 10)
	}
	quoted := quoteText(name)
	return "DELETE FROM sqlite_sequence WHERE name=" + quoted + "; INSERT INTO sqlite_sequence(name,seq) VALUES(" + quoted + "," + value + ")"
}
