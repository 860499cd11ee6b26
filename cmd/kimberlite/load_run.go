package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"kimberlite/internal/fault"
)

// A batch is one transaction: at most so many rows, of about so many bytes.
const (
	batchRows  = 5000
	batchBytes = 4 << 20
)

// loader inserts a file's rows, batch by batch.
type loader struct {
	t         tenantHandle
	table     *table
	flags     *loadFlags
	types     []string
	bar       *progress
	start     time.Time
	committed int64
}

// batch is rows with the lines that they stand on.
type batch struct {
	rows  [][]any
	lines []int
}

func (l *loader) run(ctx context.Context) error {
	first := true
	for {
		b, end, err := l.read()
		if err != nil {
			return l.stopped(err)
		}
		if len(b.rows) > 0 || first {
			if err := l.insert(ctx, b, first && l.flags.create); err != nil {
				return l.stopped(err)
			}
		}
		first = false
		l.committed += int64(len(b.rows))
		l.bar.tell(l.table.offset(), l.committed)
		if end {
			return nil
		}
	}
}

// read takes the next batch from the file.
func (l *loader) read() (b batch, end bool, err error) {
	for size := 0; len(b.rows) < batchRows && size < batchBytes; {
		fields, err := l.table.next()
		if errors.Is(err, io.EOF) {
			return b, true, nil
		}
		if err != nil {
			return b, false, err
		}
		row := make([]any, len(fields))
		for i, field := range fields {
			size += len(field)
			if field != l.flags.null {
				row[i] = field // SQLite turns it into the column's type
			}
		}
		b.rows = append(b.rows, row)
		b.lines = append(b.lines, l.table.line)
	}
	return b, false, nil
}

// insert commits one batch; create makes the table in the same transaction.
func (l *loader) insert(ctx context.Context, b batch, create bool) error {
	if create {
		return l.oneByOne(ctx, b, l.createStatement())
	}
	err := l.patiently(ctx, func() error {
		_, err := l.t.ExecBatch(ctx, l.insertStatement(), b.rows)
		return err
	})
	switch {
	case err == nil:
		return nil
	case isOfRow(err):
		// Which row it was shows when they are tried one by one.
		if named := l.oneByOne(ctx, b, ""); named != nil {
			return named
		}
		return nil
	}
	return alsoSay(err, fmt.Sprintf("this was %s, lines %d to %d", l.table.name, b.lines[0], b.lines[len(b.lines)-1]))
}

// isOfRow says whether an error can come from what one row holds.
func isOfRow(err error) bool {
	switch fault.KindOf(err) {
	case fault.Constraint, fault.SQL, fault.TooLarge, fault.Invalid, fault.Denied:
		return true
	}
	return false
}

// patiently waits and tries again while the tenant's rate limit refuses: such
// a refusal comes before anything has happened.
func (l *loader) patiently(ctx context.Context, try func() error) error {
	for {
		err := try()
		var e *fault.Error
		if !fault.Is(err, fault.RateLimited) || !errors.As(err, &e) || e.Quota == nil || e.Quota.RetryAfter <= 0 {
			return err
		}
		wait := time.NewTimer(e.Quota.RetryAfter)
		select {
		case <-ctx.Done():
			wait.Stop()
			return fault.OfContext("load", ctx)
		case <-wait.C:
		}
	}
}

// oneByOne inserts a batch row by row in one transaction, after the statement
// before, if any. Its error names the row that was refused.
func (l *loader) oneByOne(ctx context.Context, b batch, before string) error {
	var tx sqlTransaction
	err := l.patiently(ctx, func() (err error) {
		tx, err = l.t.begin(ctx)
		return err
	})
	if err != nil {
		return err
	}
	defer tx.Rollback() //nolint:errcheck // after Commit it only says so
	if before != "" {
		if _, err := tx.Exec(ctx, before); err != nil {
			return err
		}
	}
	for i, row := range b.rows {
		if _, err := tx.Exec(ctx, l.insertStatement(), row...); err != nil {
			return alsoSay(err, fmt.Sprintf("this was %s, line %d", l.table.name, b.lines[i]))
		}
	}
	_, err = tx.Commit(ctx)
	return err
}

// stopped says what the load leaves behind.
func (l *loader) stopped(err error) error {
	switch {
	case fault.Is(err, fault.OutcomeUnknown):
		return alsoSay(err, fmt.Sprintf("%s were committed before it, and whether its own were is not known", counted(l.committed, "row")))
	case l.committed == 0 && l.flags.create:
		return alsoSay(err, "nothing was loaded and no table was made")
	case l.committed == 0:
		return alsoSay(err, "nothing was loaded")
	}
	return alsoSay(err, counted(l.committed, "row")+" of the lines before were committed and stay, nothing after them was")
}

func (l *loader) insertStatement() string {
	names := make([]string, len(l.table.columns))
	for i, c := range l.table.columns {
		names[i] = quoteName(c)
	}
	places := strings.TrimSuffix(strings.Repeat("?, ", len(names)), ", ")
	return fmt.Sprintf("INSERT INTO %s (%s) VALUES (%s)", quoteName(l.flags.table), strings.Join(names, ", "), places)
}

func (l *loader) createStatement() string {
	lines := make([]string, 0, len(l.types)+1)
	for i, c := range l.table.columns {
		lines = append(lines, "  "+quoteName(c)+" "+l.types[i])
	}
	if len(l.flags.primaryKey) > 0 {
		key := make([]string, len(l.flags.primaryKey))
		for i, c := range l.flags.primaryKey {
			key[i] = quoteName(c)
		}
		lines = append(lines, "  PRIMARY KEY ("+strings.Join(key, ", ")+")")
	}
	return fmt.Sprintf("CREATE TABLE %s (\n%s\n)", quoteName(l.flags.table), strings.Join(lines, ",\n"))
}

// quoteName makes any text a name in SQL.
func quoteName(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }
