package pgwire

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"

	"kimberlite/internal/fault"
)

// parseAll feeds a text in pieces and returns its lines, fields joined by "|",
// NULL as "∅".
func parseAll(f copyFormat, text string, piece int) ([]string, error) {
	p := newCopyParser(f)
	var lines []string
	take := func(fields []field) error {
		values := make([]string, len(fields))
		for i, v := range fields {
			values[i] = string(v.text)
			if v.null {
				values[i] = "∅"
			}
		}
		lines = append(lines, strings.Join(values, "|"))
		return nil
	}
	for b := []byte(text); len(b) > 0; {
		n := min(piece, len(b))
		// The parser may not keep what it is given.
		if err := p.feed(bytes.Clone(b[:n]), take); err != nil {
			return lines, err
		}
		b = b[n:]
	}
	return lines, p.finish(take)
}

var (
	textFormat = copyFormat{delimiter: '\t', quote: '"', escape: '"', null: `\N`}
	csvFormat  = copyFormat{csv: true, delimiter: ',', quote: '"', escape: '"'}
)

func TestCopyLinesAreReadAsPostgreSQLDoes(t *testing.T) {
	header := csvFormat
	header.header = true
	backslash := csvFormat
	backslash.escape = '\\'
	for _, c := range []struct {
		f    copyFormat
		text string
		want []string
		bad  string
	}{
		{textFormat, "1\ta\n2\tb\n", []string{"1|a", "2|b"}, ""},
		{textFormat, "1\ta\r\n2\tb", []string{"1|a", "2|b"}, ""},
		{textFormat, "\\N\t\n", []string{"∅|"}, ""},
		{textFormat, "a\\tb\\nc\\\\d\te\n", []string{"a\tb\nc\\d|e"}, ""},
		{textFormat, "\\101\\x41\\x4\\q\\b\n", []string{"AA\x04q\b"}, ""},
		{textFormat, "a\\\nb\n", []string{"a\nb"}, ""},
		{textFormat, "1\n\\.\n2\n", []string{"1"}, ""},
		{textFormat, "\n", []string{""}, ""},
		{textFormat, "", nil, ""},
		{csvFormat, "1,a\n2,b\n", []string{"1|a", "2|b"}, ""},
		{csvFormat, "\"a,b\",\"c\"\"d\",\"e\nf\"\n", []string{"a,b|c\"d|e\nf"}, ""},
		{csvFormat, "\"a\r\nb\",c\r\nd,e\r\n", []string{"a\r\nb|c", "d|e"}, ""},
		{csvFormat, ",\"\"\n", []string{"∅|"}, ""},
		{csvFormat, "a,\n", []string{"a|∅"}, ""},
		{csvFormat, "a\"b\"c\n", []string{"abc"}, ""},
		{csvFormat, "\\.\n", nil, ""},
		{csvFormat, "\"a\n", nil, "line 1: unterminated CSV quoted field"},
		{csvFormat, "1\n2\n\"a\n\n", []string{"1", "2"}, "line 3: unterminated CSV quoted field"},
		{header, "x,y\n1,2\n", []string{"1|2"}, ""},
		{backslash, "\"a\\\"b\\\\c\",d\n", []string{"a\"b\\c|d"}, ""},
	} {
		for _, piece := range []int{1, 2, 3, 7, 1 << 20} {
			got, err := parseAll(c.f, c.text, piece)
			if c.bad != "" {
				if err == nil || !strings.Contains(err.Error(), c.bad) || fault.StateOf(err) != "22P04" {
					t.Errorf("%q in pieces of %d: error %v, want %q", c.text, piece, err, c.bad)
				}
				continue
			}
			if err != nil || !slices.Equal(got, c.want) {
				t.Errorf("%q in pieces of %d: %q, %v, want %q", c.text, piece, got, err, c.want)
			}
		}
	}
}

func FuzzCopyParserDoesNotDependOnPieces(f *testing.F) {
	for _, s := range []string{"1\ta\n\\N\tb\n", "a,\"b\nc\"\r\n,\n", "\\", "\"", "\r", "\\.\n", "a\\\r\nb"} {
		f.Add(s, true)
		f.Add(s, false)
	}
	f.Fuzz(func(t *testing.T, text string, csv bool) {
		format := textFormat
		if csv {
			format = csvFormat
		}
		whole, err := parseAll(format, text, len(text)+1)
		for _, piece := range []int{1, 2, 5} {
			got, err2 := parseAll(format, text, piece)
			if !slices.Equal(got, whole) || (err == nil) != (err2 == nil) {
				t.Fatalf("pieces of %d: %q, %v; whole: %q, %v", piece, got, err2, whole, err)
			}
		}
	})
}

func FuzzCopyWritesWhatItReads(f *testing.F) {
	f.Add("a", "b\tc\n", true)
	f.Add("\\N", "", false)
	f.Add("\\.", "\"", true)
	f.Fuzz(func(t *testing.T, a, b string, csv bool) {
		format := textFormat
		if csv {
			format = csvFormat
		}
		line := format.appendField(nil, []byte(a), false, 0, false)
		line = append(line, format.delimiter)
		line = append(format.appendField(line, []byte(b), false, 1, false), '\n')
		got, err := parseAll(format, string(line), 3)
		if err != nil || len(got) != 1 || got[0] != a+"|"+b {
			t.Fatalf("%q and %q were written as %q and read as %q, %v", a, b, line, got, err)
		}
	})
}

func TestCopyInAndOut(t *testing.T) {
	_, conn := withTable(t, nil)
	ctx := t.Context()
	var in bytes.Buffer
	for i := range 5000 {
		fmt.Fprintf(&in, "%d\tname\\t%d\n", i, i)
	}
	tag, err := conn.PgConn().CopyFrom(ctx, &in, "COPY t (id, name) FROM STDIN")
	check(t, err)
	if tag.String() != "COPY 5000" {
		t.Fatalf("answered %q", tag)
	}
	var out bytes.Buffer
	tag, err = conn.PgConn().CopyTo(ctx, &out, "COPY (SELECT id, name FROM t WHERE id < 2 ORDER BY id) TO STDOUT WITH (FORMAT csv, HEADER)")
	check(t, err)
	if tag.String() != "COPY 2" || out.String() != "id,name\n0,name\t0\n1,name\t1\n" {
		t.Fatalf("%q: %q", tag, out.String())
	}
	out.Reset()
	_, err = conn.PgConn().CopyTo(ctx, &out, "COPY t TO STDOUT")
	check(t, err)
	if n := bytes.Count(out.Bytes(), []byte("\n")); n != 5000 || !bytes.HasPrefix(out.Bytes(), []byte("0\tname\\t0\n")) {
		t.Fatalf("%d lines", n)
	}
}

func TestABadLineOfCopyIsNamedAndNothingStays(t *testing.T) {
	_, conn := withTable(t, nil)
	must(t, conn, "INSERT INTO t VALUES (7, 'there')")
	for name, c := range map[string]struct{ sql, data, state, says string }{
		"too many fields":   {"COPY t FROM STDIN", "1\ta\n2\tb\tc\n", "22P04", "line 2"},
		"too few":           {"COPY t FROM STDIN CSV", "1,a\n2\n", "22P04", "line 2"},
		"not a number":      {"COPY t FROM STDIN", "1\ta\nsecret\tb\n", "22P02", `line 2, column "id"`},
		"a key twice":       {"COPY t FROM STDIN", "1\ta\n7\tb\n", "23505", "line"},
		"bytes of no text":  {"COPY t FROM STDIN", "1\ta\n2\t\xff\n", "22021", "line 2"},
		"an open quote":     {"COPY t FROM STDIN CSV", "1,\"a\n", "22P04", "line 1"},
		"a table not there": {"COPY nothing FROM STDIN", "1\n", "42P01", "nothing"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := conn.PgConn().CopyFrom(t.Context(), strings.NewReader(c.data), c.sql)
			wantState(t, err, c.state)
			if !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "secret") {
				t.Fatalf("the error says %q, want %q", err, c.says)
			}
			if got := oneValue(t, conn, "SELECT count(*) FROM t"); got != "1" {
				t.Fatalf("%s rows", got)
			}
		})
	}
}

func TestCopyThatTheClientGivesUp(t *testing.T) {
	d, conn := withTable(t, nil)
	_, err := conn.PgConn().CopyFrom(t.Context(), io.MultiReader(strings.NewReader("1\ta\n"), failing{}), "COPY t FROM STDIN")
	wantState(t, err, "57014")
	c := d.loggedIn(t)
	c.send(&pgproto3.Query{String: "COPY t FROM STDIN"}, &pgproto3.CopyData{Data: []byte("bad\n")}, &pgproto3.CopyData{Data: []byte("2\tb\n")}, &pgproto3.CopyDone{})
	c.want("GE(ERROR 22P04)ZI")
	c.send(&pgproto3.Query{String: "COPY t FROM STDIN; SELECT 1"}, &pgproto3.CopyData{Data: []byte("3\tc\n")}, &pgproto3.CopyDone{})
	c.want("GCTDCZI")
	c.send(&pgproto3.Query{String: "COPY t FROM STDIN"}, &pgproto3.Query{String: "SELECT 1"})
	c.want("GE(FATAL 08P01).")
	var rows pgx.Rows
	rows, err = conn.Query(t.Context(), "SELECT id FROM t")
	check(t, err)
	ids, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	check(t, err)
	if !slices.Equal(ids, []int64{3}) {
		t.Fatalf("rows %v", ids)
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, io.ErrClosedPipe }
