package pgwire

import (
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
)

func TestSessionFunctionsStandInLargerQueries(t *testing.T) {
	d, conn := withTable(t, nil)
	other := d.connect(t)
	const pid = "SELECT pg_backend_pid() + 0 AS p WHERE pg_backend_pid() > 0"
	if a, b := oneValue(t, conn, pid), oneValue(t, other, pid); a == b || a != oneValue(t, conn, "SELECT pg_backend_pid()") {
		t.Fatalf("process ids %s and %s", a, b)
	}
	script(t, conn, `
		SET application_name = 'one'
		SELECT current_setting('application_name') || '!', 1
		= one!|1
		SET application_name = 'two'
		SELECT current_setting('application_name') || '!', 1
		= two!|1
		BEGIN
		SET LOCAL application_name = 'three'
		SELECT current_setting('application_name') || '!', 1
		= three!|1
		ROLLBACK
		SELECT current_setting('application_name') || '!', 1
		= two!|1
		SELECT set_config('application_name', 'x', false), id FROM t
		! 0A000
		SELECT set_config('application_name', 'four', false)
		= four
		SELECT current_setting('application_name') || '!', 1
		= four!|1`)
	// A prepared statement follows, too.
	for _, name := range []string{"five", "six"} {
		must(t, conn, "SELECT set_config('application_name', $1, false)", name)
		var got string
		check(t, conn.QueryRow(t.Context(), "SELECT current_setting('application_name') || $1", "!").Scan(&got))
		if got != name+"!" {
			t.Fatal(got)
		}
	}
}

func TestASearchPathThatWouldHideTablesIsRefused(t *testing.T) {
	_, conn := withTable(t, nil)
	script(t, conn, `
		SELECT pg_catalog.set_config('search_path', '', false)
		! 0A000
		SELECT set_config('search_path', 'app', false), 1
		! 0A000
		SET search_path = app
		! 0A000
		SET search_path TO app, public
		SELECT pg_catalog.set_config('search_path', 'public, pg_catalog', false)
		= public, pg_catalog
		SHOW search_path
		= public, pg_catalog`)
}

func TestAColumnIsAddedWithItsDefault(t *testing.T) {
	_, conn := withTable(t, nil)
	fillTable(t, conn, 3)
	script(t, conn, `
		ALTER TABLE t ADD COLUMN n int DEFAULT 7 NOT NULL
		ALTER TABLE t ADD COLUMN w numeric(4,1) DEFAULT 12.34 NOT NULL
		ALTER TABLE t ADD COLUMN at timestamptz NOT NULL DEFAULT now()
		ALTER TABLE t ADD COLUMN d date NOT NULL DEFAULT '2020-01-02'
		ALTER TABLE t ADD COLUMN u uuid NOT NULL DEFAULT gen_random_uuid()
		SELECT DISTINCT n, w, at <= now(), d FROM t
		= 7|12.3|t|2020-01-02
		SELECT count(DISTINCT u), count(DISTINCT at) FROM t
		= 3|1
		ALTER TABLE t ADD COLUMN x int NOT NULL DEFAULT 'x'
		! 22P02
		ALTER TABLE t ADD COLUMN x numeric(4,1) DEFAULT 12345.6
		! 22003
		ALTER TABLE t ADD COLUMN x varchar(3) DEFAULT 'toolong'
		! 22001
		ALTER TABLE t ADD COLUMN x bool DEFAULT 'perhaps'
		! 22P02
		ALTER TABLE t ADD COLUMN x int2 NOT NULL DEFAULT 70000
		! 22003
		INSERT INTO t (id) VALUES (9)
		SELECT n, w, d FROM t WHERE id = 9
		= 7|12.3|2020-01-02`)
}

func TestATimeoutOfAWriteEndsItsTransactionCleanly(t *testing.T) {
	_, conn := withTable(t, nil)
	const forever = " WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT "
	script(t, conn, `
		INSERT INTO t VALUES (1, 'kept')
		BEGIN
		UPDATE t SET name = 'lost'
		SAVEPOINT s
		SET statement_timeout = 50
		INSERT INTO t (id)`+forever+`-1 FROM n WHERE i < 0
		! 57014
		SELECT 1
		! 25P02
		ROLLBACK TO s
		! 25P02
		SELECT 1
		! 25P02
		ROLLBACK
		SELECT name FROM t
		= kept
		BEGIN
		SAVEPOINT s
		SET statement_timeout = 50
		`+forever+`count(*) FROM n
		! 57014
		ROLLBACK TO s
		SELECT name FROM t
		= kept
		COMMIT`)
}

func TestAUniqueViolationNamesItsConstraint(t *testing.T) {
	_, conn := withTable(t, nil)
	must(t, conn, "CREATE TABLE k (id int PRIMARY KEY, a int, b int, c int UNIQUE, CONSTRAINT k_both UNIQUE (a, b))")
	must(t, conn, "INSERT INTO k VALUES (1, 1, 1, 1)")
	for values, want := range map[string]string{"(1, 2, 2, 2)": "k_pkey", "(2, 1, 1, 2)": "k_both", "(2, 2, 2, 1)": "k_c_key"} {
		_, err := conn.Exec(t.Context(), "INSERT INTO k VALUES "+values)
		var e *pgconn.PgError
		if !asPg(err, &e) || e.Code != "23505" || e.ConstraintName != want || e.TableName != "k" {
			t.Errorf("%s: %+v, want %s", values, e, want)
		}
	}
}
