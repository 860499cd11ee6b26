package main

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"kimberlite"
	"kimberlite/internal/fault"
)

// The formats of results.
const (
	formatTable = "table"
	formatCSV   = "csv"
	formatJSON  = "json"
)

// printer writes the results of statements in one format.
type printer interface {
	// rows writes what a query returns. The caller closes the rows.
	rows(r resultRows) error
	// done tells of a statement that returns nothing: what it did, in a word,
	// and its outcome, which is nil for BEGIN and its like.
	done(what string, r *kimberlite.Result) error
}

func newPrinter(format string, w io.Writer) (printer, error) {
	switch format {
	case formatTable:
		return tablePrinter{w}, nil
	case formatCSV:
		return csvPrinter{w}, nil
	case formatJSON:
		return jsonPrinter{w}, nil
	}
	return nil, fault.New("--format", fault.Invalid, "unknown format %q: want %s, %s or %s", format, formatTable, formatCSV, formatJSON)
}

// text is a value in CSV; NULL is nothing, and so is the empty text.
func text(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case int64:
		return strconv.FormatInt(v, 10)
	case float64:
		return floatText(v)
	case string:
		return v
	case []byte:
		return `\x` + hexText(v)
	}
	return fmt.Sprint(v)
}

// floatText shows a number so that it reads back the same, and as a number
// with a point, as SQLite does.
func floatText(f float64) string {
	if math.IsInf(f, 0) {
		return strings.TrimPrefix(fmt.Sprint(f), "+")
	}
	s := strconv.FormatFloat(f, 'g', -1, 64)
	if math.Abs(f) < 1e15 && (f == 0 || math.Abs(f) >= 1e-4) {
		s = strconv.FormatFloat(f, 'f', -1, 64)
	}
	if !strings.ContainsAny(s, ".e") {
		s += ".0"
	}
	return s
}

// csvPrinter writes a header line and rows; a statement without rows writes
// nothing. Blobs are \x and hexadecimal digits.
type csvPrinter struct{ w io.Writer }

func (p csvPrinter) rows(r resultRows) error {
	if len(r.Columns()) == 0 {
		return drain(r)
	}
	w := csv.NewWriter(p.w)
	if err := w.Write(r.Columns()); err != nil {
		return errOutput(err)
	}
	for r.Next() {
		values := r.Values()
		fields := make([]string, len(values))
		for i, v := range values {
			fields[i] = text(v)
		}
		if err := w.Write(fields); err != nil {
			return errOutput(err)
		}
	}
	w.Flush()
	if err := w.Error(); err != nil {
		return errOutput(err)
	}
	return r.Err()
}

func (csvPrinter) done(string, *kimberlite.Result) error { return nil }

// drain reads rows that nobody sees.
func drain(r resultRows) error {
	for r.Next() {
	}
	return r.Err()
}

// jsonPrinter writes one document per statement: an array of objects, or an
// object with the outcome. Blobs are texts of \x and hexadecimal digits.
type jsonPrinter struct{ w io.Writer }

func (p jsonPrinter) rows(r resultRows) error {
	w := bufio.NewWriter(p.w)
	names := jsonNames(r.Columns())
	before := "["
	for r.Next() {
		w.WriteString(before) //nolint:errcheck // Flush tells
		before = ",\n "
		if err := writeObject(w, names, r.Values()); err != nil {
			return err
		}
	}
	if before == "[" {
		w.WriteString(before) //nolint:errcheck // likewise
	}
	w.WriteString("]\n") //nolint:errcheck // likewise
	if err := r.Err(); err != nil {
		return err
	}
	if err := w.Flush(); err != nil {
		return errOutput(err)
	}
	return nil
}

// jsonNames are the columns' names as JSON, each only once: a second "id"
// becomes "id_2".
func jsonNames(columns []string) [][]byte {
	seen := map[string]bool{}
	names := make([][]byte, len(columns))
	for i, name := range columns {
		unique := name
		for n := 2; seen[unique]; n++ {
			unique = fmt.Sprintf("%s_%d", name, n)
		}
		seen[unique] = true
		names[i], _ = jsonValue(unique) // a text always marshals
	}
	return names
}

// objectWriter is what a bufio.Writer and a bytes.Buffer both are.
type objectWriter interface {
	io.Writer
	io.ByteWriter
}

// writeObject writes a JSON object. Errors of writing are the writer's to
// keep.
func writeObject(w objectWriter, names [][]byte, values []any) error {
	before := byte('{')
	for i, v := range values {
		b, err := jsonValue(v)
		if err != nil {
			return err
		}
		_ = w.WriteByte(before)
		_, _ = w.Write(names[i])
		_ = w.WriteByte(':')
		_, _ = w.Write(b)
		before = ','
	}
	if before == '{' {
		_ = w.WriteByte(before)
	}
	return w.WriteByte('}')
}

func jsonValue(v any) ([]byte, error) {
	switch x := v.(type) {
	case []byte:
		v = text(x)
	case float64:
		if math.IsInf(x, 0) {
			v = floatText(x)
		} else {
			return []byte(floatText(x)), nil
		}
	}
	b, err := encode(v, "")
	return bytes.TrimSuffix(b, []byte("\n")), err
}

func (p jsonPrinter) done(what string, r *kimberlite.Result) error {
	if r == nil {
		return writeJSONLine(p.w, map[string]string{"transaction": what})
	}
	return writeJSONLine(p.w, outcomeDocument{r.RowsAffected, r.LastInsertID})
}

// outcomeDocument is what a statement without rows did, as JSON.
type outcomeDocument struct {
	RowsAffected int64 `json:"rows_affected"`
	LastInsertID int64 `json:"last_insert_id"`
}

// tablePrinter writes tables for people.
type tablePrinter struct{ w io.Writer }

// widthRows are how many rows a table's column widths are taken from; those
// after them may stand out.
const widthRows = 1000

func (p tablePrinter) rows(r resultRows) error {
	out := bufio.NewWriter(p.w)
	t := &layout{w: &sticky{w: out}}
	header := make([]cell, len(r.Columns()))
	for i, name := range r.Columns() {
		header[i] = cell{text: printable(name)}
	}
	var count int64
	var head [][]cell
	for r.Next() {
		count++
		row := cells(r.Values())
		if head == nil && count > widthRows {
			t.row(row)
			continue
		}
		if head = append(head, row); len(head) == widthRows {
			t.begin(header, head)
			head = nil
		}
	}
	if count < widthRows {
		t.begin(header, head)
	}
	if err := r.Err(); err != nil {
		return err
	}
	if len(header) > 0 {
		fmt.Fprintf(t.w, "(%s)\n", counted(count, "row"))
	}
	if err := out.Flush(); err != nil {
		return errOutput(err)
	}
	return nil
}

func (p tablePrinter) done(what string, r *kimberlite.Result) error {
	said := what
	switch {
	case r != nil && (what == "INSERT" || what == "UPDATE" || what == "DELETE" || what == "REPLACE" || what == "WITH"):
		said = "ok, " + counted(r.RowsAffected, "row") + " changed"
	case r != nil:
		said = "ok"
	}
	return writeOut(p.w, []byte(said+"\n"))
}

func counted(n int64, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return grouped(n) + " " + what + "s"
}

// cell is a value of a table.
type cell struct {
	text   string
	number bool
}

func cells(values []any) []cell {
	row := make([]cell, len(values))
	for i, v := range values {
		switch v.(type) {
		case nil:
			row[i] = cell{text: "NULL"}
		case int64, float64:
			row[i] = cell{text(v), true}
		default:
			row[i] = cell{text: printable(text(v))}
		}
	}
	return row
}

// layout writes a table whose widths come from its first rows.
type layout struct {
	w      *sticky
	widths []int
}

func (t *layout) begin(header []cell, head [][]cell) {
	if len(header) == 0 {
		return
	}
	t.widths = make([]int, len(header))
	for _, row := range append([][]cell{header}, head...) {
		for i, c := range row {
			t.widths[i] = max(t.widths[i], utf8.RuneCountInString(c.text))
		}
	}
	t.row(header)
	rules := make([]string, len(header))
	for i, width := range t.widths {
		rules[i] = strings.Repeat("-", width+2)
	}
	fmt.Fprintln(t.w, strings.Join(rules, "+"))
	for _, row := range head {
		t.row(row)
	}
}

func (t *layout) row(row []cell) {
	var b strings.Builder
	for i, c := range row {
		pad := strings.Repeat(" ", max(0, t.widths[i]-utf8.RuneCountInString(c.text)))
		if i > 0 {
			b.WriteString(" |")
		}
		if c.number {
			b.WriteString(" " + pad + c.text)
		} else {
			b.WriteString(" " + c.text + pad)
		}
	}
	fmt.Fprintln(t.w, strings.TrimRight(b.String(), " "))
}
