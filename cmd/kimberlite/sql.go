package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
)

// sqlFlags are the flags of sql.
type sqlFlags struct {
	tenant, format string
	commands       []string
}

func sqlCommand(a *app) *cobra.Command {
	var flags sqlFlags
	c := &cobra.Command{
		Use:   "sql",
		Short: "Run SQL for one tenant: statements, a script, or a shell",
		Long: `Run SQL, of SQLite's dialect, for one tenant. -c gives statements, several of
them run in order; without -c they are read from standard input, and on a
terminal a shell with history starts, where \? lists its commands. Each statement
takes effect by itself, unless BEGIN and COMMIT make several one transaction; the
first one that fails ends the run.

Formats: table is for people; csv is a header line and rows, NULL as nothing,
blobs as \x and hexadecimal digits; json is one array of objects per statement,
or {"rows_affected":…,"last_insert_id":…} for one that returns no rows.

The shell keeps its history in memory only, since statements hold data.`,
		Example: `  kimberlite tenant create --data ./data --id 1 --name hospital-a
  kimberlite sql --data ./data --tenant 1 -c "CREATE TABLE patients (id INTEGER PRIMARY KEY, name TEXT)"
  kimberlite sql --data ./data --tenant hospital-a -c "INSERT INTO patients VALUES (123, 'Alice Smith')"
  kimberlite sql --data ./data --tenant 1 --format csv -c "SELECT * FROM patients"`,
		Args: exactly(),
	}
	tenantFlag(c, &flags.tenant)
	c.Flags().StringArrayVarP(&flags.commands, "command", "c", nil, "SQL to run; may be given several times")
	c.Flags().StringVar(&flags.format, "format", formatTable, "table, csv or json")
	choices(c, "format", formatTable, formatCSV, formatJSON)
	return a.verb(c, func(ctx context.Context, _ []string) error {
		if a.global.json && !c.Flags().Changed("format") {
			flags.format = formatJSON
		}
		out, err := newPrinter(flags.format, a.stdout)
		if err != nil {
			return err
		}
		return a.sql(ctx, &flags, out)
	})
}

// shellIdle is how long a transaction may stand idle in the shell, where a
// person types and nobody else waits for the tenant's writer.
const shellIdle = time.Hour

func (a *app) sql(ctx context.Context, flags *sqlFlags, out printer) error {
	shell := len(flags.commands) == 0 && isTerminal(a.stdin)
	if shell {
		a.transactionIdle = shellIdle
	}
	return a.onTenant(ctx, flags.tenant, func(_ backend, t tenantHandle) error {
		s := &session{t: t, out: out}
		switch {
		case shell:
			return a.shell(ctx, s)
		case len(flags.commands) > 0:
			return s.abandon(s.commands(ctx, flags.commands))
		}
		return s.abandon(s.script(ctx, newInterruptible(ctx, a.stdin), a.stdout))
	})
}

// commands runs what -c gave. Several are numbered in errors.
func (s *session) commands(ctx context.Context, texts []string) error {
	var all []statement
	for _, sql := range texts {
		var split splitter
		all = append(all, split.feed([]byte(sql))...)
		if st, ok := split.rest(); ok {
			all = append(all, st)
		}
	}
	for i, st := range all {
		err := s.run(ctx, st)
		if err != nil && len(all) > 1 {
			return alsoSay(err, fmt.Sprintf("this was statement %d of %d", i+1, len(all)))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// script runs the statements of a reader, line by line, so that it takes a
// script of any length. Lines that begin with a backslash are the shell's
// commands.
func (s *session) script(ctx context.Context, in io.Reader, out io.Writer) error {
	r := bufio.NewReaderSize(in, 64<<10)
	var split splitter
	for {
		piece, readErr := r.ReadSlice('\n')
		if split.blank() && bytes.HasPrefix(piece, []byte(`\`)) && readErr == nil {
			quit, err := s.helper(ctx, string(bytes.TrimSpace(piece)), out)
			split.line++
			if quit || err != nil {
				return err
			}
			continue
		}
		if err := s.runAll(ctx, split.feed(piece)); err != nil {
			return err
		}
		switch {
		case readErr == nil || errors.Is(readErr, bufio.ErrBufferFull):
		case errors.Is(readErr, io.EOF):
			if st, ok := split.rest(); ok {
				return s.runAll(ctx, []statement{st})
			}
			return nil
		default:
			return errInput(readErr)
		}
	}
}

func (s *session) runAll(ctx context.Context, statements []statement) error {
	for _, st := range statements {
		if err := s.run(ctx, st); err != nil {
			return alsoSay(err, fmt.Sprintf("this was the statement at line %d", st.line))
		}
	}
	return nil
}
