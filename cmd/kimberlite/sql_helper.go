package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"kimberlite/internal/fault"
)

const helperText = `  \dt        list tables and event streams
  \d NAME    describe a table
  \?         this list
  \q         quit
SQL statements end with a semicolon; BEGIN, COMMIT and ROLLBACK make several
of them one transaction.
`

// helper runs a command of the shell, and says whether it is to end.
func (s *session) helper(ctx context.Context, text string, out io.Writer) (quit bool, err error) {
	word, rest, _ := strings.Cut(text, " ")
	rest = strings.Trim(strings.TrimSpace(rest), `;`)
	switch strings.TrimRight(word, ";") {
	case `\q`:
		return true, nil
	case `\?`, `\h`, `\help`:
		return false, writeOut(out, []byte(helperText))
	case `\dt`, `\ds`:
		return false, s.listTables(ctx, out)
	case `\d`:
		if rest == "" {
			return false, s.listTables(ctx, out)
		}
		return false, s.describe(ctx, strings.Trim(rest, `"`), out)
	}
	return false, fault.New("sql", fault.Invalid, `unknown command %s: \? lists them`, printable(word))
}

func (s *session) listTables(ctx context.Context, out io.Writer) error {
	streams, err := s.t.Streams(ctx)
	if err != nil {
		return err
	}
	rows := make([]string, len(streams))
	for i, st := range streams {
		rows[i] = line(st.Name, streamKind(st.Table), st.Next)
	}
	w := &sticky{w: out}
	columns(w, "NAME\tKIND\tEVENTS", rows)
	return w.failure()
}

// describe shows a table's columns and what belongs to it.
func (s *session) describe(ctx context.Context, name string, out io.Writer) error {
	query := s.t.query
	if s.tx != nil {
		query = s.tx.query
	}
	info, err := query(ctx, `SELECT name, type, "notnull", dflt_value, pk FROM pragma_table_info(?)`, name)
	if err != nil {
		return err
	}
	defer info.Close() //nolint:errcheck // it has been read to its end, or failed
	var rows []string
	for info.Next() {
		v := info.Values()
		rows = append(rows, line(v[0], v[1], columnNotes(v)))
	}
	if err := info.Err(); err != nil {
		return err
	}
	if len(rows) == 0 {
		return fault.New("sql", fault.NotFound, `there is no table %q: \dt lists them`, printable(name))
	}
	w := &sticky{w: out}
	columns(w, "COLUMN\tTYPE\tNOTES", rows)
	more, err := query(ctx, `SELECT type || ' ' || name FROM sqlite_master WHERE tbl_name = ? COLLATE NOCASE AND type IN ('index','trigger') AND name NOT LIKE 'sqlite_%' ORDER BY 1`, name)
	if err != nil {
		return err
	}
	defer more.Close() //nolint:errcheck // likewise
	for more.Next() {
		fmt.Fprintf(w, "%s\n", printable(text(more.Values()[0])))
	}
	if err := more.Err(); err != nil {
		return err
	}
	return w.failure()
}

func columnNotes(v []any) string {
	var notes []string
	if pk, ok := v[4].(int64); ok && pk > 0 {
		notes = append(notes, "primary key")
	}
	if notNull, ok := v[2].(int64); ok && notNull != 0 {
		notes = append(notes, "not null")
	}
	if v[3] != nil {
		notes = append(notes, "default "+text(v[3]))
	}
	return strings.Join(notes, ", ")
}

func streamKind(table bool) string {
	if table {
		return "table"
	}
	return "stream"
}
