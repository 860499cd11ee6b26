package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/term"

	"kimberlite/internal/fault"
	"kimberlite/internal/quantity"
)

// print writes a result: doc as JSON with --json, people's text otherwise.
func (a *app) print(doc any, people func(w io.Writer)) error {
	if a.global.json {
		return writeJSON(a.stdout, doc)
	}
	w := &sticky{w: a.stdout}
	people(w)
	return w.failure()
}

// writeJSON writes one document and a line break.
func writeJSON(w io.Writer, doc any) error { return encodeTo(w, doc, "  ") }

// writeJSONLine writes one document on a line of its own.
func writeJSONLine(w io.Writer, doc any) error { return encodeTo(w, doc, "") }

func encodeTo(w io.Writer, doc any, indent string) error {
	text, err := encode(doc, indent)
	if err != nil {
		return err
	}
	return writeOut(w, text)
}

// encode writes JSON with a line break at its end and <, > and & as they are.
func encode(doc any, indent string) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", indent)
	if err := e.Encode(doc); err != nil {
		return nil, fault.Wrap("output", fault.Internal, err, "the result cannot be written as JSON")
	}
	return b.Bytes(), nil
}

func writeOut(w io.Writer, text []byte) error {
	if _, err := w.Write(text); err != nil {
		return errOutput(err)
	}
	return nil
}

func errOutput(err error) error {
	return fault.Wrap("output", fault.Unavailable, err, "cannot write the result")
}

// sticky is a writer that keeps its first error, so that what prints for
// people need not look at each line.
type sticky struct {
	w   io.Writer
	err error
}

// Write writes until the first error.
func (s *sticky) Write(p []byte) (int, error) {
	if s.err != nil {
		return 0, s.err
	}
	n, err := s.w.Write(p)
	s.err = err
	return n, err
}

func (s *sticky) failure() error {
	if s.err != nil {
		return errOutput(s.err)
	}
	return nil
}

// columns prints rows of tab-separated cells as a table.
func columns(w io.Writer, header string, rows []string) {
	var b bytes.Buffer
	tw := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	if header != "" {
		fmt.Fprintln(tw, header)
	}
	for _, row := range rows {
		fmt.Fprintln(tw, row)
	}
	_ = tw.Flush() // a buffer takes everything
	for text := range strings.Lines(b.String()) {
		fmt.Fprintln(w, strings.TrimRight(text, " \n"))
	}
}

// line joins cells of a table; a tab inside one would break it.
func line(cells ...any) string {
	texts := make([]string, len(cells))
	for i, c := range cells {
		texts[i] = printable(fmt.Sprint(c))
	}
	return strings.Join(texts, "\t")
}

// printable replaces what a terminal would obey, or a table break at.
func printable(s string) string {
	clean := func(r rune) bool { return !unicode.IsPrint(r) }
	if strings.IndexFunc(s, clean) < 0 && utf8.ValidString(s) {
		return s
	}
	var b strings.Builder
	for i, r := range s {
		switch {
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == utf8.RuneError && s[i] != "\uFFFD"[0]:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case clean(r) && r < 0x100:
			fmt.Fprintf(&b, `\x%02x`, r)
		case clean(r):
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// limitText shows a limit in bytes.
func limitText(bytes int64) string {
	if bytes == 0 {
		return quantity.Unlimited
	}
	return quantity.FormatSize(bytes)
}

// countText shows a limit that is a count.
func countText(n int64) string {
	if n == 0 {
		return quantity.Unlimited
	}
	return quantity.FormatCount(n)
}

// orNull is a limit in JSON: null when there is none.
func orNull(limit int64) *int64 {
	if limit == 0 {
		return nil
	}
	return &limit
}

// stamp is a time in JSON and in tables.
func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

// grouped writes a count with commas.
func grouped(n int64) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// isTerminal says whether a stream is a terminal.
func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
