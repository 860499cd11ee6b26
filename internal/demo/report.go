package demo

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"kimberlite/internal/fault"
)

// report writes for people. It keeps the first error of its writer.
type report struct {
	w     io.Writer
	err   error
	facts *Facts
}

// Write implements [io.Writer].
func (r *report) Write(p []byte) (int, error) {
	if r.err != nil {
		return 0, r.err
	}
	n, err := r.w.Write(p)
	r.err = err
	return n, err
}

func (r *report) failure() error {
	if r.err != nil {
		return fault.Wrap("demo", fault.Unavailable, r.err, "cannot write the output")
	}
	return nil
}

func (r *report) title(dir string) {
	fmt.Fprintf(r, "Kimberlite: two hospitals on one machine, in %s\n", dir)
	fmt.Fprintln(r, "All patients are synthetic (Synthea).")
}

func (r *report) step(n int, title string) {
	fmt.Fprintf(r, "\n%d. %s\n", n, title)
}

// say writes one line of what was done.
func (r *report) say(format string, args ...any) {
	fmt.Fprintf(r, "   %s\n", fmt.Sprintf(format, args...))
}

// holds checks a claim, writes it and notes it.
func (r *report) holds(ok bool, format string, args ...any) error {
	claim := fmt.Sprintf(format, args...)
	if !ok {
		return broken("%s", claim)
	}
	r.facts.Checks = append(r.facts.Checks, claim)
	fmt.Fprintf(r, "   ✓ %s\n", claim)
	return nil
}

// table writes rows of cells under a header.
func (r *report) table(rows [][]string) {
	tw := tabwriter.NewWriter(r, 0, 0, 3, ' ', 0)
	for _, row := range rows {
		fmt.Fprintln(tw, "     "+strings.Join(row, "\t"))
	}
	_ = tw.Flush() // the report keeps the error
}

// next ends the run with what to try.
func (r *report) next(c Config) {
	command := quoteWord(c.Program)
	data := quoteWord(c.Dir)
	fmt.Fprintf(r, "\nAll %d checks held. The data is in %s; try:\n\n", len(r.facts.Checks), c.Dir)
	for _, line := range []string{
		command + " tenant list --data " + data,
		command + " sql --data " + data + ` --tenant hospital-a -c "SELECT id, first, last, birth_date FROM patients ORDER BY last LIMIT 5"`,
		command + " sql --data " + data + ` --tenant hospital-b -c "SELECT first, last FROM patients WHERE id = '123'"`,
		command + " sql --data " + data + ` --tenant 1 --format csv -c "SELECT description, count(*) AS n FROM conditions GROUP BY 1 ORDER BY n DESC, 1 LIMIT 5"`,
		command + " stream read --data " + data + " --tenant 1 admissions --json",
		command + " key rotate --data " + data + " --tenant 1 --level dek",
		command + " verify " + data,
	} {
		fmt.Fprintf(r, "  %s\n", line)
	}
	fmt.Fprintf(r, "\nA shell for hospital-a: %s sql --data %s --tenant hospital-a\n", command, data)
}

// quoteWord makes a text one word of a shell.
func quoteWord(s string) string {
	plain := func(r rune) bool {
		return ('a' <= r && r <= 'z') || ('A' <= r && r <= 'Z') || ('0' <= r && r <= '9') || strings.ContainsRune("./_-", r)
	}
	if s != "" && strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
