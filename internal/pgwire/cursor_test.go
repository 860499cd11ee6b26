package pgwire

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"kimberlite/internal/node"
)

// script runs statements in one simple query each. A line "! state" is what
// the statement before it fails with; other lines that begin with a space are
// the rows that it returns.
func script(t *testing.T, conn *pgx.Conn, text string) {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(text), "\n")
	for i := 0; i < len(lines); {
		sql := strings.TrimSpace(lines[i])
		var want []string
		for i++; i < len(lines) && strings.HasPrefix(strings.TrimLeft(lines[i], "\t"), "= "); i++ {
			want = append(want, strings.TrimSpace(lines[i])[2:])
		}
		if i < len(lines) && strings.HasPrefix(strings.TrimSpace(lines[i]), "! ") {
			_, err := conn.PgConn().Exec(t.Context(), sql).ReadAll()
			if got := state(err); got != strings.TrimSpace(lines[i])[2:] {
				t.Fatalf("%s: %v, want%s", sql, err, lines[i])
			}
			i++
			continue
		}
		if got := rowsOf(t, conn, sql); !slices.Equal(got, want) {
			t.Fatalf("%s:\nhave %q\nwant %q", sql, got, want)
		}
	}
}

func TestCursorsAreReadForward(t *testing.T) {
	_, conn := withTable(t, nil)
	fillTable(t, conn, 10)
	script(t, conn, `
		DECLARE c CURSOR FOR SELECT 1
		! 25P01
		FETCH c
		! 34000
		CLOSE c
		! 34000
		BEGIN
		DECLARE c NO SCROLL CURSOR WITHOUT HOLD FOR SELECT id, name FROM t ORDER BY id
		FETCH c
		= 0|name 0
		FETCH FORWARD 2 FROM c
		= 1|name 1
		= 2|name 2
		MOVE 3 IN c
		FETCH NEXT FROM c
		= 6|name 6
		FETCH ALL c
		= 7|name 7
		= 8|name 8
		= 9|name 9
		FETCH 5 FROM c
		CLOSE c
		FETCH c
		! 34000
		ROLLBACK
		BEGIN
		DECLARE c CURSOR FOR SELECT 1
		DECLARE c CURSOR FOR SELECT 1
		! 42P03
		ROLLBACK
		BEGIN
		DECLARE c SCROLL CURSOR FOR SELECT 1
		! 0A000
		ROLLBACK
		BEGIN
		DECLARE c CURSOR WITH HOLD FOR SELECT 1
		! 0A000
		ROLLBACK
		BEGIN
		DECLARE c CURSOR FOR SELECT 1
		FETCH BACKWARD 1 FROM c
		! 0A000
		COMMIT
		FETCH c
		! 34000
		BEGIN
		DECLARE a CURSOR FOR SELECT 1
		DECLARE b CURSOR FOR VALUES (2), (3)
		FETCH b
		= 2
		FETCH a
		= 1
		FETCH b
		= 3
		CLOSE ALL
		FETCH b
		! 34000
		COMMIT`)
	tag, err := conn.PgConn().Exec(t.Context(), "BEGIN; DECLARE c CURSOR FOR SELECT id FROM t; MOVE 4 c; FETCH ALL c; CLOSE c; COMMIT").ReadAll()
	check(t, err)
	var tags []string
	for _, r := range tag {
		tags = append(tags, r.CommandTag.String())
	}
	if got := strings.Join(tags, ","); got != "BEGIN,DECLARE CURSOR,MOVE 4,FETCH 6,CLOSE CURSOR,COMMIT" {
		t.Fatal(got)
	}
}

func TestACursorDoesNotSeeWhatIsWrittenAfterIt(t *testing.T) {
	_, conn := withTable(t, nil)
	fillTable(t, conn, 4)
	script(t, conn, `
		BEGIN
		DECLARE c CURSOR FOR SELECT id, name FROM t ORDER BY id
		UPDATE t SET name = 'new'
		DELETE FROM t WHERE id = 2
		FETCH 2 c
		= 0|name 0
		= 1|name 1
		CREATE TABLE more (id int PRIMARY KEY)
		DECLARE d CURSOR FOR SELECT id FROM t ORDER BY id
		FETCH d
		= 0
		SELECT count(*) FROM more
		= 0
		FETCH ALL c
		= 2|name 2
		= 3|name 3
		COMMIT`)
}

func TestCursorsOutliveASavepointThatTheyWereThereBefore(t *testing.T) {
	_, conn := withTable(t, nil)
	fillTable(t, conn, 4)
	script(t, conn, `
		BEGIN
		DECLARE c CURSOR FOR SELECT id FROM t ORDER BY id
		FETCH c
		= 0
		SAVEPOINT s
		DECLARE d CURSOR FOR SELECT id FROM t ORDER BY id
		FETCH d
		= 0
		SELECT 1/0
		! 22012
		FETCH c
		! 25P02
		ROLLBACK TO s
		FETCH c
		= 1
		FETCH d
		! 34000
		ROLLBACK TO s
		DECLARE d CURSOR FOR SELECT id FROM t ORDER BY id
		FETCH d
		= 0
		RELEASE s
		SAVEPOINT s
		ROLLBACK TO s
		FETCH d
		= 1
		FETCH c
		= 2
		COMMIT`)
}

func TestFetchGivesEachFormatThatIsAskedFor(t *testing.T) {
	_, conn := withTable(t, nil)
	must(t, conn, "CREATE TABLE v (id int4 PRIMARY KEY, f float8, n numeric(10,2), b bool, raw bytea, tz timestamptz, name text)")
	for i := range 6 {
		must(t, conn, "INSERT INTO v VALUES ($1, 1.5, 12.30, true, '\\x00ff', '2026-11-23 20:00:00Z', NULL)", i)
	}
	want := ""
	for _, spooled := range []bool{false, true} {
		must(t, conn, "BEGIN")
		must(t, conn, "DECLARE c CURSOR FOR SELECT * FROM v WHERE id >= $1 ORDER BY id", 0)
		if spooled {
			must(t, conn, "UPDATE v SET b = true")
		}
		for i, mode := range []pgx.QueryExecMode{pgx.QueryExecModeCacheStatement, pgx.QueryExecModeSimpleProtocol, pgx.QueryExecModeCacheStatement, pgx.QueryExecModeDescribeExec} {
			rows, err := conn.Query(t.Context(), "FETCH 1 FROM c", mode)
			check(t, err)
			got, err := pgx.CollectOneRow(rows, func(row pgx.CollectableRow) (string, error) {
				values, err := row.Values()
				return fmt.Sprintf("%v", values[1:]), err
			})
			check(t, err)
			if want == "" {
				want = got
			}
			if got != want {
				t.Fatalf("fetch %d, spooled %v: %s, want %s", i, spooled, got, want)
			}
		}
		// Another cursor of the name has other columns.
		must(t, conn, "CLOSE c")
		must(t, conn, "DECLARE c CURSOR FOR SELECT 'x'")
		if got := oneValue(t, conn, "FETCH 1 FROM c"); got != "x" {
			t.Fatal(got)
		}
		must(t, conn, "COMMIT")
		check(t, conn.DeallocateAll(t.Context()))
	}
}

func TestCursorsDoNotBlockTheirTransaction(t *testing.T) {
	_, conn := withTable(t, nil)
	fillTable(t, conn, 5)
	script(t, conn, `
		BEGIN
		CREATE TABLE more (id int PRIMARY KEY)
		SAVEPOINT s
		DECLARE c CURSOR FOR SELECT id FROM t ORDER BY id
		FETCH c
		= 0
		RELEASE s
		SELECT count(*) FROM more
		= 0
		FETCH 1 FROM c
		= 1
		COMMIT`)
	_, conn = withTable(t, func(c *Config, _ *node.Config) { c.Limits.MaxHeldBytes = 4 << 10 })
	fillTable(t, conn, 1000)
	script(t, conn, `
		BEGIN
		DECLARE c CURSOR FOR SELECT id FROM t ORDER BY id
		MOVE 998 c
		FETCH c
		= 998
		CLOSE c
		DECLARE c CURSOR FOR SELECT id FROM t ORDER BY id
		UPDATE t SET name = ''
		! 54000
		ROLLBACK`)
}

func TestPsqlReadsByCursor(t *testing.T) {
	psql, err := exec.LookPath("psql")
	if err != nil {
		t.Fatal("psql is needed for this test: ", err)
	}
	d, conn := withTable(t, nil)
	fillTable(t, conn, 25)
	host, port, _ := strings.Cut(d.addr, ":")
	cmd := exec.CommandContext(t.Context(), psql, "-XAtq", "-v", "ON_ERROR_STOP=1", "-v", "FETCH_COUNT=10", "-c", "SELECT id FROM t ORDER BY id")
	cmd.Env = append(os.Environ(), "PGHOST="+host, "PGPORT="+port, "PGUSER=app@1", "PGPASSWORD="+d.secret, "PGSSLMODE=require", "PGDATABASE=hospital-a")
	out, err := cmd.CombinedOutput()
	if err != nil || strings.Count(string(out), "\n") != 25 || !strings.HasPrefix(string(out), "0\n1\n") {
		t.Fatalf("%v\n%s", err, out)
	}
}
