package oracle_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
)

// TestKimberliteAnswersAsPostgreSQL is the suite.
func TestKimberliteAnswersAsPostgreSQL(t *testing.T) {
	server := openDoor(t)
	for i, s := range readScripts(t) {
		t.Run(s.name(), func(t *testing.T) {
			conn := openKimberlite(t, server, uint64(i+1), s.name())
			for _, c := range s.cases {
				if conn.IsClosed() {
					t.Fatalf("%s:%d: the connection is gone", s.path, c.line)
				}
				c.judge(t, s, ask(t.Context(), conn, c))
			}
		})
	}
}

// judge compares an answer with PostgreSQL's and with what the script says of
// the difference.
func (c *testCase) judge(t *testing.T, s *script, got []string) {
	t.Helper()
	same := slices.Equal(got, c.answer)
	last := got[len(got)-1]
	if len(got) > 1 && strings.Contains(last, "transaction") {
		last = got[len(got)-2]
	}
	switch {
	case same && c.kind == "", !same && c.kind == "differs":
	case same:
		t.Errorf("%s:%d: %s\nno longer %s: take the mark away", s.path, c.line, c.sql, c.kind)
	case c.kind == "refused" && last == ending+" ERROR 0A000":
	case c.kind == "refused":
		t.Errorf("%s:%d: %s\nis not refused but answered\n%s", s.path, c.line, c.sql, strings.Join(got, "\n"))
	default:
		t.Errorf("%s:%d: %s\nKimberlite answers\n%s\nand PostgreSQL\n%s",
			s.path, c.line, c.sql, strings.Join(got, "\n"), strings.Join(c.answer, "\n"))
	}
}

// openKimberlite makes a tenant and connects to it as its owner.
func openKimberlite(t *testing.T, d *door, id uint64, name string) *pgconn.PgConn {
	t.Helper()
	env := d.tenant(t, id, name)
	return connect(t, "host="+env["PGHOST"]+" port="+env["PGPORT"]+" user="+env["PGUSER"]+" password="+env["PGPASSWORD"]+
		" dbname="+env["PGDATABASE"]+" sslmode=disable")
}
