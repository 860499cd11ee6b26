package oracle_test

import (
	"context"
	"flag"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"kimberlite/internal/testbed"
)

var update = flag.Bool("update", false, "record PostgreSQL's answers and write docs/compatibility.md")

// leastStatements is how many the suite has at the least.
const leastStatements = 300

// TestPostgreSQLAnswersAsRecorded keeps the recordings honest.
func TestPostgreSQLAnswersAsRecorded(t *testing.T) {
	if found, err := filepath.Glob("/usr/lib/postgresql/15/bin/initdb"); err != nil || len(found) == 0 {
		t.Log("no PostgreSQL 15 here: Kimberlite is held to the recorded answers alone")
		return
	}
	server := testbed.StartPostgres(t, "fsync=off", "timezone=UTC", "max_connections=40")
	for _, s := range readScripts(t) {
		t.Run(s.name(), func(t *testing.T) {
			conn := openPostgres(t, server, s.name())
			for _, c := range s.cases {
				got := ask(t.Context(), conn, c)
				if *update {
					c.answer = got
				} else if !slices.Equal(got, c.answer) {
					t.Errorf("%s:%d: %s\nPostgreSQL answers\n%s\nand the script says\n%s",
						s.path, c.line, c.sql, strings.Join(got, "\n"), strings.Join(c.answer, "\n"))
				}
			}
			if *update {
				if err := s.write(); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

func (s *script) name() string { return strings.TrimSuffix(filepath.Base(s.path), ".slt") }

func openPostgres(t *testing.T, server *testbed.Postgres, name string) *pgconn.PgConn {
	t.Helper()
	url := "host=127.0.0.1 port=" + strconv.Itoa(server.Port) + " user=postgres sslmode=disable database="
	admin := connect(t, url+"postgres")
	err := admin.Exec(t.Context(), `CREATE DATABASE "`+name+`" TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C.UTF-8'`).Close()
	if err != nil {
		t.Fatal(err)
	}
	return connect(t, url+name)
}

func connect(t *testing.T, url string) *pgconn.PgConn {
	t.Helper()
	conn, err := pgconn.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func TestThereAreEnoughStatements(t *testing.T) {
	n := 0
	for _, s := range readScripts(t) {
		n += len(s.cases)
	}
	if n < leastStatements {
		t.Errorf("%d statements, want %d", n, leastStatements)
	}
}
