package main

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"kimberlite/internal/fault"
)

// maxCSVRow is the longest row of a file. Without it a quote that nobody
// closes would take the rest of the file into memory.
const maxCSVRow = 64 << 20

// table is a CSV file that is read row by row. It guarantees that every row
// has as many fields as the header, of UTF-8 without NUL. Errors name file
// and line and never repeat a field.
type table struct {
	name    string // of the file, for errors
	r       *csv.Reader
	guard   *rowGuard
	columns []string
	line    int   // where the row at hand begins
	rows    int64 // read so far
}

// rowGuard ends a reading that takes too much for one row.
type rowGuard struct {
	r    io.Reader
	left int
}

// Read implements [io.Reader].
func (g *rowGuard) Read(p []byte) (int, error) {
	if g.left <= 0 {
		return 0, errRowTooLong
	}
	n, err := g.r.Read(p[:min(len(p), g.left)])
	g.left -= n
	return n, err
}

var errRowTooLong = fmt.Errorf("one row is longer than %d MiB: a quote may be missing", maxCSVRow>>20)

// newTable reads the header line.
func newTable(name string, r io.Reader, delimiter rune) (*table, error) {
	guard := &rowGuard{r: r, left: maxCSVRow}
	buffered := bufio.NewReaderSize(guard, 64<<10)
	if err := skipMark(name, buffered); err != nil {
		return nil, err
	}
	t := &table{name: name, guard: guard, r: csv.NewReader(buffered)}
	t.r.Comma = delimiter
	t.r.ReuseRecord = true
	header, err := t.r.Read()
	if errors.Is(err, io.EOF) {
		return nil, t.bad(1, "the file is empty: it needs a header line that names the columns")
	}
	if err != nil {
		return nil, t.parseError(err)
	}
	t.columns = append([]string(nil), header...)
	return t, t.checkHeader()
}

// skipMark passes over the byte order mark that some programs write.
func skipMark(name string, r *bufio.Reader) error {
	start, err := r.Peek(3)
	if err != nil && !errors.Is(err, io.EOF) {
		return errInput(err)
	}
	switch {
	case bytes.Equal(start, []byte{0xEF, 0xBB, 0xBF}):
		_, err := r.Discard(3)
		return err
	case bytes.HasPrefix(start, []byte{0xFF, 0xFE}), bytes.HasPrefix(start, []byte{0xFE, 0xFF}):
		return fault.New("load", fault.Invalid, "%s is UTF-16: save it as UTF-8", name)
	case bytes.HasPrefix(start, []byte{0x1F, 0x8B}):
		return fault.New("load", fault.Invalid, "%s is compressed: unpack it first, as with zcat %s | kimberlite load … -", name, name)
	}
	return nil
}

func (t *table) checkHeader() error {
	seen := map[string]bool{}
	for i, name := range t.columns {
		if err := t.checkText(1, i, name); err != nil {
			return err
		}
		folded := strings.ToLower(name)
		switch {
		case strings.TrimSpace(name) == "":
			return t.bad(1, "column %d has no name", i+1)
		case seen[folded]:
			return t.bad(1, "the column %q is there twice", printable(name))
		}
		seen[folded] = true
	}
	return nil
}

// next returns the next row, which is valid until the call after, or io.EOF.
func (t *table) next() ([]string, error) {
	t.guard.left = maxCSVRow
	row, err := t.r.Read()
	if errors.Is(err, io.EOF) {
		return nil, io.EOF
	}
	if err != nil {
		return nil, t.parseError(err)
	}
	t.rows++
	t.line, _ = t.r.FieldPos(0)
	for i, field := range row {
		if err := t.checkText(t.line, i, field); err != nil {
			return nil, err
		}
	}
	return row, nil
}

func (t *table) checkText(line, column int, field string) error {
	name := ""
	if column < len(t.columns) {
		name = " (" + printable(t.columns[column]) + ")"
	}
	switch {
	case strings.IndexByte(field, 0) >= 0:
		return t.bad(line, "column %d%s holds a NUL byte", column+1, name)
	case !utf8.ValidString(field):
		return t.bad(line, "column %d%s is not UTF-8", column+1, name)
	}
	return nil
}

// parseError says what is wrong with the file's form, and where.
func (t *table) parseError(err error) error {
	var p *csv.ParseError
	if !errors.As(err, &p) {
		if errors.Is(err, errRowTooLong) {
			return t.bad(t.line+1, "%s", errRowTooLong)
		}
		return errInput(err)
	}
	switch {
	case errors.Is(p.Err, csv.ErrFieldCount):
		n := len(t.columns)
		return t.bad(p.StartLine, "the row has more or fewer fields than the header's %d", n)
	case errors.Is(p.Err, csv.ErrQuote) && p.StartLine != p.Line:
		return t.bad(p.StartLine, "a quoted field does not end, or a quote inside it is not doubled")
	case errors.Is(p.Err, csv.ErrQuote):
		return t.bad(p.StartLine, "a quote inside a quoted field is not doubled, or the field does not end")
	case errors.Is(p.Err, csv.ErrBareQuote):
		return t.bad(p.StartLine, "a quote stands inside a field that is not quoted")
	}
	return t.bad(p.StartLine, "%s", p.Err)
}

// bad is an error of the file's contents.
func (t *table) bad(line int, format string, args ...any) error {
	return fault.New("load", fault.Invalid, "%s, line %d: %s", t.name, line, fmt.Sprintf(format, args...))
}

// offset is how many bytes of the file have been read.
func (t *table) offset() int64 { return t.r.InputOffset() }
