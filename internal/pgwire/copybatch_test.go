package pgwire

import (
	"fmt"
	"strings"
	"testing"
)

// Several portions, of which one is inserted while the next is read.
func TestRowsOfManyPortionsAreAllThereAsTheyWere(t *testing.T) {
	_, conn := withTable(t, nil)
	const rows = 5*copyBatchRows + 7
	var in strings.Builder
	for i := range rows {
		switch i % 3 {
		case 0:
			fmt.Fprintf(&in, "%d\t\\N\n", i)
		case 1:
			fmt.Fprintf(&in, "%d\tname %d\n", i, i)
		default:
			fmt.Fprintf(&in, "%d\t%s%d\n", i, strings.Repeat("long", 1500), i)
		}
	}
	_, err := conn.PgConn().CopyFrom(t.Context(), strings.NewReader(in.String()), "COPY t FROM STDIN")
	check(t, err)
	got := rowsOf(t, conn, "SELECT name FROM t ORDER BY id")
	if len(got) != rows {
		t.Fatalf("%d rows of %d", len(got), rows)
	}
	for i, name := range got {
		want := "NULL"
		switch i % 3 {
		case 1:
			want = fmt.Sprint("name ", i)
		case 2:
			want = fmt.Sprint(strings.Repeat("long", 1500), i)
		}
		if name != want {
			t.Fatalf("row %d has %.40q, want %.40q", i, name, want)
		}
	}
}

func TestAnErrorOfAnEarlierPortionComesFirst(t *testing.T) {
	_, conn := withTable(t, nil)
	must(t, conn, "INSERT INTO t VALUES (600, 'there')")
	for name, bad := range map[string]int{"of the next portion": 2 * copyBatchRows, "of one far behind": 6 * copyBatchRows, "none": -1} {
		t.Run(name, func(t *testing.T) {
			var in strings.Builder
			for i := range 8 * copyBatchRows {
				if i == bad {
					in.WriteString("no number\n")
					continue
				}
				fmt.Fprintf(&in, "%d\ta\n", i)
			}
			_, err := conn.PgConn().CopyFrom(t.Context(), strings.NewReader(in.String()), "COPY t FROM STDIN")
			wantState(t, err, "23505")
			if says := fmt.Sprintf("a line from %d to %d", copyBatchRows+1, 2*copyBatchRows); !strings.Contains(err.Error(), says) {
				t.Fatalf("%v, want %q", err, says)
			}
			if got := oneValue(t, conn, "SELECT count(*) FROM t"); got != "1" {
				t.Fatalf("%s rows", got)
			}
			must(t, conn, "UPDATE t SET name = 'still there'")
		})
	}
}
