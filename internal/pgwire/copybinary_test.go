package pgwire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"kimberlite/internal/fault"
)

// tuples writes the binary format; a nil value is NULL.
func tuples(rows ...[][]byte) []byte {
	b := append([]byte(copySignature), 0, 0, 0, 0, 0, 0, 0, 0)
	for _, row := range rows {
		b = binary.BigEndian.AppendUint16(b, uint16(len(row)))
		for _, v := range row {
			if v == nil {
				b = append(b, 0xff, 0xff, 0xff, 0xff)
				continue
			}
			b = append(binary.BigEndian.AppendUint32(b, uint32(len(v))), v...)
		}
	}
	return append(b, 0xff, 0xff)
}

// parseBinary feeds data in pieces and returns the rows, fields joined by "|".
func parseBinary(data []byte, columns, piece int) ([]string, error) {
	p := &binaryParser{columns: columns}
	var rows []string
	take := func(fields []field) error {
		values := make([]string, len(fields))
		for i, v := range fields {
			values[i] = string(v.text)
			if v.null {
				values[i] = "∅"
			}
		}
		rows = append(rows, strings.Join(values, "|"))
		return nil
	}
	for len(data) > 0 {
		n := min(piece, len(data))
		if err := p.feed(bytes.Clone(data[:n]), take); err != nil {
			return rows, err
		}
		data = data[n:]
	}
	return rows, p.finish(take)
}

func TestTheBinaryFormatIsReadInAnyPieces(t *testing.T) {
	good := tuples([][]byte{[]byte("a"), nil}, [][]byte{{}, []byte("long enough to be cut")})
	extended := append(bytes.Clone(good[:15]), 0, 0, 0, 3, 'x', 'y', 'z')
	extended = append(extended, good[19:]...)
	flagged := bytes.Clone(good)
	flagged[14] = 7 // flags that need not be understood
	for name, data := range map[string][]byte{"plain": good, "extended header": extended, "flags": flagged, "no trailer": good[:len(good)-2]} {
		for piece := 1; piece <= len(data); piece++ {
			rows, err := parseBinary(data, 2, piece)
			if want := []string{"a|∅", "|long enough to be cut"}; err != nil || !slices.Equal(rows, want) {
				t.Fatalf("%s in pieces of %d: %q, %v", name, piece, rows, err)
			}
		}
	}
}

func TestABrokenBinaryFormatIsRefused(t *testing.T) {
	good := tuples([][]byte{[]byte("a"), nil})
	change := func(at int, v ...byte) []byte {
		b := bytes.Clone(good)
		copy(b[at:], v)
		return b
	}
	for what, data := range map[string][]byte{
		"signature not recognized":                  change(3, 'X'),
		"(WITH OIDS)":                               change(11, 0, 1, 0, 0),
		"unrecognized critical flags":               change(11, 0, 2, 0, 0),
		"missing length":                            change(15, 0xff, 0xff, 0xff, 0xff),
		"line 1: row field count is 3, expected 2":  change(19, 0, 3),
		"line 1: row field count is -2, expected 2": change(19, 0xff, 0xfe),
		"line 1: invalid field size":                change(21, 0xff, 0xff, 0xff, 0xfe),
		"line 1: it is longer than":                 change(21, 0x7f, 0xff, 0xff, 0xff),
		"line 1: unexpected EOF":                    good[:24],
		"after EOF marker":                          append(bytes.Clone(good), 0),
		"line 0: unexpected EOF":                    nil,
	} {
		rows, err := parseBinary(data, 2, 1000)
		if data == nil { // the header is cut
			what = "signature not recognized"
			_, err = parseBinary(good[:14], 2, 1000)
		}
		if err == nil || !strings.Contains(err.Error(), what) || fault.StateOf(err) != "22P04" {
			t.Errorf("%s: %q, %v", what, rows, err)
		}
	}
}

func FuzzCopyBinaryDoesNotDependOnPieces(f *testing.F) {
	f.Add(tuples([][]byte{[]byte("a"), nil}, [][]byte{{}, []byte("bb")}), 2, 3)
	f.Add(tuples(), 1, 1)
	f.Add([]byte(copySignature), 1, 7)
	f.Fuzz(func(t *testing.T, data []byte, columns, piece int) {
		columns, piece = 1+columns&15, 1+piece&63
		whole, err := parseBinary(data, columns, len(data)+1)
		pieces, again := parseBinary(data, columns, piece)
		if !slices.Equal(whole, pieces) || (err == nil) != (again == nil) || err != nil && err.Error() != again.Error() {
			t.Fatalf("as a whole %q, %v; in pieces %q, %v", whole, err, pieces, again)
		}
	})
}

func TestCopyFromOfPgxWorksForAllTypes(t *testing.T) {
	d, conn := withTable(t, nil)
	ctx := t.Context()
	must(t, conn, `CREATE TABLE every (i2 int2, i4 int4, i8 int8 PRIMARY KEY, f4 float4, f8 float8, n numeric(10,2), b bool, t text, v varchar(5),
		d date, ts timestamp, tz timestamptz, u uuid, j jsonb, raw bytea, a int4[])`)
	names := []string{"i2", "i4", "i8", "f4", "f8", "n", "b", "t", "v", "d", "ts", "tz", "u", "j", "raw", "a"}
	at := time.Date(2026, 11, 23, 20, 0, 0, 500000, time.UTC)
	row := func(i int) []any {
		return []any{
			int16(1), int32(2), int64(i), float32(1.5), 2.5, "12.30", true, "tab\tnew\nline", "ü", at, at, at,
			"6ba7b810-9dad-11d1-80b4-00c04fd430c8", `{"a": 1}`, []byte{0, 1, 0xff}, []int32{1, 2},
		}
	}
	null := make([]any, len(names))
	null[2] = int64(-1)
	const many = 2000
	n, err := conn.CopyFrom(ctx, pgx.Identifier{"every"}, names, pgx.CopyFromSlice(many+1, func(i int) ([]any, error) {
		if i == many {
			return null, nil
		}
		return row(i), nil
	}))
	check(t, err)
	if n != many+1 || oneValue(t, conn, "SELECT count(*) FROM every") != "2001" {
		t.Fatalf("%d rows copied", n)
	}
	want := `1|2|7|1.5|2.5|12.30|t|tab` + "\t" + `new` + "\n" + `line|ü|2026-11-23|2026-11-23 20:00:00.0005|2026-11-23 20:00:00.0005+00|6ba7b810-9dad-11d1-80b4-00c04fd430c8|{"a": 1}|\x0001ff|{1,2}`
	if got := rowsOf(t, conn, "SELECT * FROM every WHERE i8 = 7"); len(got) != 1 || got[0] != want {
		t.Fatalf("have %q\nwant %q", got, want)
	}
	// What COPY TO writes, COPY FROM reads.
	for _, begin := range []string{"SELECT 1", "BEGIN"} {
		must(t, conn, begin)
		var file bytes.Buffer
		tag, err := conn.PgConn().CopyTo(ctx, &file, "COPY every TO STDOUT (FORMAT binary)")
		check(t, err)
		if tag.RowsAffected() != many+1 || !bytes.HasPrefix(file.Bytes(), []byte(copySignature)) {
			t.Fatalf("%s: %v", begin, tag)
		}
		other := d.connect(t)
		must(t, other, "CREATE TABLE again"+strings.ToLower(begin[:1])+` (i2 int2, i4 int4, i8 int8 PRIMARY KEY, f4 float4, f8 float8, n numeric(10,2), b bool, t text, v varchar(5),
			d date, ts timestamp, tz timestamptz, u uuid, j jsonb, raw bytea, a int4[])`)
		_, err = other.PgConn().CopyFrom(ctx, &file, "COPY again"+strings.ToLower(begin[:1])+" FROM STDIN WITH BINARY")
		check(t, err)
		if !slices.Equal(rowsOf(t, other, "SELECT * FROM every ORDER BY i8"), rowsOf(t, other, "SELECT * FROM again"+strings.ToLower(begin[:1])+" ORDER BY i8")) {
			t.Fatal("the copy differs")
		}
	}
}

func TestBinaryCopyNamesWhatIsWrongAndLeavesNothing(t *testing.T) {
	_, conn := withTable(t, nil)
	ctx := t.Context()
	id := func(n byte) []byte { return []byte{0, 0, 0, 0, 0, 0, 0, n} }
	for _, c := range []struct {
		data        []byte
		state, says string
	}{
		{tuples([][]byte{id(1), []byte("a")}, [][]byte{id(2)}), "22P04", "line 2: row field count is 1, expected 2"},
		{tuples([][]byte{id(1), []byte("a")}, [][]byte{{1, 2}, []byte("b")}), "22P03", `line 2, column "id"`},
		{tuples([][]byte{id(1), []byte("a")}, [][]byte{id(1), []byte("b")}), "23505", ""},
		{tuples([][]byte{id(1), {0xff}}), "22021", `line 1, column "name"`},
		{[]byte("1\ta\n2\tb\n"), "22P04", "signature"},
	} {
		_, err := conn.PgConn().CopyFrom(ctx, bytes.NewReader(c.data), "COPY t FROM STDIN BINARY")
		wantState(t, err, c.state)
		var e *pgconn.PgError
		if errors.As(err, &e) && !strings.Contains(e.Message, c.says) {
			t.Errorf("%s: says %q", c.says, e.Message)
		}
		if got := oneValue(t, conn, "SELECT count(*) FROM t"); got != "0" {
			t.Fatalf("%s: %s rows are left", c.says, got)
		}
	}
	for _, options := range []string{"(FORMAT binary, HEADER)", "(FORMAT binary, DELIMITER ',')", "(FORMAT binary, NULL '')", "BINARY CSV"} {
		_, err := conn.Exec(ctx, "COPY t FROM STDIN "+options)
		if s := state(err); s != "0A000" && s != "42601" {
			t.Errorf("%s: %s", options, s)
		}
	}
}
