package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"kimberlite/internal/fault"
)

// loadFlags are the flags of load.
type loadFlags struct {
	tenant, table   string
	delimiter, null string
	primaryKey      []string
	create          bool
	file            string
}

func loadCommand(a *app) *cobra.Command {
	var flags loadFlags
	c := &cobra.Command{
		Use:   "load FILE.csv",
		Short: "Load a CSV file into a table",
		Long: `Load a CSV file, whose first line names the columns, into a table. FILE is
read once to check its form before anything is written; - is standard input,
of which the first 64 MiB are checked so. An empty field is NULL.

--create makes the table: a column is INTEGER or REAL when every value of it
is a number that is kept as written, otherwise TEXT; so are columns with leading
zeros and those named as codes (code, zip, ssn, phone and the like).

Rows are committed in batches of up to 5,000. When one is refused the load ends
there, says its line, and how many rows were committed before it.`,
		Example: `  printf 'id,name,zip\n1,Alice,02155\n2,Bob,10001\n' > people.csv
  kimberlite tenant create --data ./data --id 1 --name hospital-a
  kimberlite load --data ./data --tenant 1 --table people --create people.csv`,
		Args: exactly("FILE.csv"),
	}
	tenantFlag(c, &flags.tenant)
	f := c.Flags()
	f.StringVar(&flags.table, "table", "", "table to load into (required)")
	f.BoolVar(&flags.create, "create", false, "make the table, with types taken from the values")
	f.StringSliceVar(&flags.primaryKey, "primary-key", nil, "with --create: the columns of the primary key")
	f.StringVar(&flags.delimiter, "delimiter", ",", `what stands between fields; \t is a tab`)
	f.StringVar(&flags.null, "null", "", "the text that stands for NULL")
	must(c.MarkFlagRequired("table"))
	return a.verb(c, func(ctx context.Context, args []string) error {
		flags.file = args[0]
		if flags.table == "" {
			return fault.New("--table", fault.Invalid, "the table's name is empty")
		}
		if len(flags.primaryKey) > 0 && !flags.create {
			return fault.New("--primary-key", fault.Invalid, "a primary key can be given with --create only")
		}
		delimiter, err := parseDelimiter(flags.delimiter)
		if err != nil {
			return err
		}
		return a.load(ctx, &flags, delimiter)
	})
}

func parseDelimiter(s string) (rune, error) {
	if s == `\t` {
		return '\t', nil
	}
	r, size := utf8.DecodeRuneInString(s)
	if size == 0 || size != len(s) || r == utf8.RuneError || r == '"' || r == '\n' || r == '\r' {
		return 0, fault.New("--delimiter", fault.Invalid, `want one character, such as ; or \t`)
	}
	return r, nil
}

func (a *app) load(ctx context.Context, flags *loadFlags, delimiter rune) (err error) {
	src, err := a.openSource(ctx, flags.file)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, src.close()) }()
	// The tenant is looked for before a large file is read.
	return a.onTenant(ctx, flags.tenant, func(_ backend, t tenantHandle) error {
		if err := a.checkSource(ctx, src, flags, delimiter); err != nil {
			return err
		}
		if err := checkTarget(ctx, t, flags); err != nil {
			return err
		}
		in, err := src.again()
		if err != nil {
			return err
		}
		rows, err := newTable(src.name, in, delimiter)
		if err != nil {
			return err
		}
		l := &loader{
			t: t, table: rows, flags: flags, types: src.types, bar: a.progress("loading", src.size), start: time.Now(),
		}
		err = l.run(ctx)
		l.bar.done()
		if err != nil {
			return err
		}
		return a.printLoaded(l)
	})
}

// checkSource reads the whole file, so that one of a wrong form is refused
// before anything is written, and finds the columns' types.
func (a *app) checkSource(ctx context.Context, src *source, flags *loadFlags, delimiter rune) error {
	if src.whole == nil {
		return checkStream(flags)
	}
	t, err := newTable(src.name, src.whole, delimiter)
	if err != nil {
		return err
	}
	bar := a.progress("checking", src.size)
	defer bar.done()
	types := newInference(t.columns, flags.null)
	for {
		row, err := t.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return alsoSay(err, "nothing was loaded")
		}
		types.row(row)
		if t.rows%4096 == 0 {
			bar.tell(t.offset(), t.rows)
			if ctx.Err() != nil {
				return fault.OfContext("load", ctx)
			}
		}
	}
	if flags.create {
		src.types = types.types()
	}
	return checkPrimaryKey(t.columns, flags.primaryKey)
}

// checkStream is for input that is too long to be read twice.
func checkStream(flags *loadFlags) error {
	if !flags.create {
		return nil
	}
	return fault.New("load", fault.Invalid, "the types of columns come from all rows, and this input is over %d MiB: give a file, or make the table first", maxHeld>>20)
}

func checkPrimaryKey(columns, key []string) error {
	for _, k := range key {
		found := false
		for _, c := range columns {
			found = found || strings.EqualFold(c, k)
		}
		if !found {
			return fault.New("--primary-key", fault.Invalid, "the file has no column %q", printable(k))
		}
	}
	return nil
}

// checkTarget makes sure that the table is there, or is not with --create.
func checkTarget(ctx context.Context, t tenantHandle, flags *loadFlags) error {
	there, err := hasTable(ctx, t, flags.table)
	switch {
	case err != nil:
		return err
	case there && flags.create:
		return fault.New("load", fault.AlreadyExists, "the table %q exists already: leave --create out to add to it", printable(flags.table)).ForTenant(t.ID())
	case !there && !flags.create:
		return fault.New("load", fault.NotFound, "there is no table %q: --create makes it", printable(flags.table)).ForTenant(t.ID())
	}
	return nil
}

// hasTable says whether there is a table or view of a name.
func hasTable(ctx context.Context, t sqlTenant, name string) (bool, error) {
	rows, err := t.query(ctx, "SELECT 1 FROM sqlite_master WHERE type IN ('table','view') AND name = ? COLLATE NOCASE", name)
	if err != nil {
		return false, err
	}
	there := rows.Next()
	return there, errors.Join(rows.Err(), rows.Close())
}

// loadedDocument is a load as --json prints it.
type loadedDocument struct {
	Tenant        uint64           `json:"tenant"`
	Table         string           `json:"table"`
	Created       bool             `json:"created"`
	Rows          int64            `json:"rows"`
	Seconds       float64          `json:"seconds"`
	RowsPerSecond float64          `json:"rows_per_second"`
	Columns       []columnDocument `json:"columns"`
}

// columnDocument is a column; its type is "" when the table was there before.
type columnDocument struct {
	Name string `json:"name"`
	Type string `json:"type"`
}

func (a *app) printLoaded(l *loader) error {
	took := time.Since(l.start).Seconds()
	doc := loadedDocument{
		Tenant: l.t.ID().Uint64(), Table: l.flags.table, Created: l.flags.create, Rows: l.committed, Seconds: took,
		RowsPerSecond: float64(l.committed) / took,
	}
	for i, name := range l.table.columns {
		c := columnDocument{Name: name}
		if l.types != nil {
			c.Type = l.types[i]
		}
		doc.Columns = append(doc.Columns, c)
	}
	return a.print(doc, func(w io.Writer) {
		fmt.Fprintf(w, "loaded %s into %s in %.2f s (%s rows/s)\n",
			counted(l.committed, "row"), printable(l.flags.table), took, grouped(int64(doc.RowsPerSecond)))
	})
}
