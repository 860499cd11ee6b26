package wireattack

import (
	"errors"
	"path/filepath"
	"slices"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"kimberlite/internal/attacktext"
	"kimberlite/internal/fault"
)

// TestNoStatementReachesAnotherTenant sends every attack that is plain SQL by
// every way that the protocol has, as an owner, and as the lesser roles.
func TestNoStatementReachesAnotherTenant(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	owner := w.attacker(t, "app", "SET statement_timeout = '2s'")
	var lesser []*attacker
	for _, role := range []string{"reader", "writer", "auditor"} {
		lesser = append(lesser, w.attacker(t, role, "SET statement_timeout = '2s'"))
	}
	place := attacktext.Place{Data: w.k.Data, Temp: filepath.Dir(w.k.Data)}
	for _, subject := range []struct {
		name    string
		attacks []attacktext.Statement
	}{
		{"attach", attacktext.Attach(place)}, {"extension", attacktext.Extensions(place)}, {"pragma", attacktext.Pragmas(place)},
		{"schema", attacktext.Schema()}, {"text", attacktext.Text()}, {"postgres", postgresAttacks()},
	} {
		t.Run(subject.name, func(t *testing.T) {
			for _, a := range subject.attacks {
				w.attack(t, a.Name, func(t *testing.T) { w.statement(t, owner, lesser, a) })
			}
		})
	}
	t.Run("planted", func(t *testing.T) {
		for _, a := range attacktext.Planted {
			w.attack(t, a.Name, func(t *testing.T) {
				w.said = a.Plant + a.Use
				if owner.send(t, ways[0], a.Plant, nil) == nil {
					for _, how := range ways {
						_ = owner.send(t, how, a.Use, nil) // judged there
					}
				}
				_ = owner.send(t, ways[0], a.Remove, nil) // it may not be there
				w.provide(t, owner.ready(t))
			})
		}
	})
	w.finish(t)
}

// statement sends one attack by every way.
func (w *world) statement(t *testing.T, owner *attacker, lesser []*attacker, a attacktext.Statement) {
	w.said = a.SQL
	for _, arg := range a.Args {
		if text, ok := arg.(string); ok {
			w.said += text
		}
	}
	for i, how := range ways {
		if len(a.SQL) > 64<<10 && i > 2 {
			break
		}
		err := owner.send(t, how, a.SQL, a.Args)
		if i == 0 && len(a.Want) > 0 && err == nil && !harmless(a) {
			t.Errorf("it is accepted, want %v", a.Want)
		}
	}
	for _, who := range lesser {
		err := who.send(t, ways[0], a.SQL, nil)
		if len(a.Want) > 0 && err == nil && !harmless(a) {
			t.Errorf("%s: it is accepted, want %v", who.name, a.Want)
		}
	}
	if one(t, owner.ready(t), `SELECT count(*) FROM own WHERE secret = '`+ownMark+`'`) != "1" {
		w.provide(t, owner.ready(t)) // it may destroy what is its own
	}
}

// harmless are attacks that are something else in PostgreSQL's dialect, and are
// allowed: its transactions, and the upkeep of storage, which does nothing.
func harmless(a attacktext.Statement) bool {
	return slices.Contains([]string{
		"vacuum", "vacuum the system tables", "analyze", "reindex", "reindex our own",
		"begin", "commit", "end", "rollback", "drop our own", "arguments without parameters",
	}, a.Name) || slices.Contains(a.Want, fault.Constraint)
}

// stateOf is the SQLSTATE of an error, or "".
func stateOf(err error) string {
	var e *pgconn.PgError
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

// postgresAttacks are those that only PostgreSQL's dialect has words for.
func postgresAttacks() []attacktext.Statement {
	refused := attacktext.Kinds(fault.Denied, fault.Unsupported)
	var all []attacktext.Statement
	for _, sql := range []string{
		`SET ROLE vq`, `SET SESSION AUTHORIZATION 'app@1'`, `SET LOCAL ROLE postgres`, `SET ROLE "` + "app@1" + `"`,
		`ALTER ROLE app SUPERUSER`, `CREATE ROLE x LOGIN SUPERUSER`, `CREATE USER x PASSWORD 'x'`, `GRANT ALL ON own TO PUBLIC`, `DROP ROLE app`,
		`CREATE EXTENSION dblink`, `CREATE EXTENSION file_fdw`, `LOAD '/tmp/k2leak.so'`, `CREATE FOREIGN DATA WRAPPER x`, `CREATE SERVER s FOREIGN DATA WRAPPER postgres_fdw`,
		`COPY own FROM '/etc/passwd'`, `COPY own TO '/tmp/k2leak'`, `COPY own FROM PROGRAM 'id'`, `COPY (SELECT 1) TO PROGRAM 'cat > /tmp/k2leak'`,
		`SELECT pg_read_file('/etc/passwd')`, `SELECT pg_read_binary_file('postgresql.conf')`, `SELECT pg_ls_dir('/')`, `SELECT * FROM pg_ls_waldir()`, `SELECT pg_stat_file('/etc/passwd')`,
		`SELECT lo_import('/etc/passwd')`, `SELECT lo_export(1, '/tmp/k2leak')`, `SELECT lo_get(1)`,
		`SELECT dblink('host=127.0.0.1', 'SELECT 1')`, `SELECT * FROM dblink_connect('x')`, `SELECT query_to_xml('SELECT 1', true, true, '')`, `SELECT database_to_xml(true, true, '')`,
		`DO $$ BEGIN EXECUTE 'ATTACH ''x'' AS y'; END $$`, `CREATE FUNCTION f() RETURNS int LANGUAGE c AS '/tmp/x', 'f'`, `CREATE FUNCTION f() RETURNS int LANGUAGE plpythonu AS 'import os'`, `CREATE PROCEDURE p() LANGUAGE sql AS 'SELECT 1'`, `CALL p()`,
		`ALTER SYSTEM SET log_statement = 'all'`, `SELECT pg_reload_conf()`, `SELECT pg_rotate_logfile()`, `SELECT pg_switch_wal()`, `SELECT pg_create_restore_point('x')`,
		`CREATE DATABASE x`, `DROP DATABASE "clinic-two"`, `ALTER DATABASE "clinic-two" RENAME TO x`, `CREATE TABLESPACE x LOCATION '/tmp'`, `CREATE SCHEMA x`, `DROP SCHEMA public CASCADE`,
		`LISTEN x`, `NOTIFY x, 'y'`, `SELECT pg_notify('x', 'y')`, `LOCK TABLE own`, `CLUSTER`, `VACUUM INTO '/tmp/k2leak'`, `SECURITY LABEL ON TABLE own IS 'x'`,
		`CREATE POLICY p ON own`, `ALTER TABLE own DISABLE ROW LEVEL SECURITY`, `CREATE EVENT TRIGGER x ON ddl_command_start EXECUTE FUNCTION f()`, `CREATE RULE r AS ON SELECT TO own DO INSTEAD SELECT 1`,
		`CREATE SUBSCRIPTION s CONNECTION 'host=127.0.0.1' PUBLICATION p`, `CREATE PUBLICATION p FOR ALL TABLES`, `SELECT pg_create_logical_replication_slot('x', 'test_decoding')`, `SELECT * FROM pg_logical_slot_get_changes('x', NULL, NULL)`,
		`IMPORT FOREIGN SCHEMA public FROM SERVER s INTO public`, `CREATE CAST (text AS integer) WITHOUT FUNCTION`, `CREATE OPERATOR = (PROCEDURE = f)`, `CREATE AGGREGATE a (text) (SFUNC = f, STYPE = text)`, `CREATE TYPE t AS (a int)`, `CREATE DOMAIN d AS text`,
		`PREPARE TRANSACTION 'x'`, `COMMIT PREPARED 'x'`, `ROLLBACK PREPARED 'x'`,
	} {
		all = append(all, attacktext.Statement{Name: sql, SQL: sql, Want: refused})
	}
	for _, sql := range []string{
		`SET search_path = kimberlite; SELECT * FROM streams`, `SET row_security = off; SELECT * FROM own`, `CHECKPOINT`, `REINDEX TABLE own`, `COPY own TO STDOUT (FORMAT binary)`,
		// Errors that PostgreSQL writes the value into.
		`SELECT secret::integer FROM own`, `SELECT secret::bigint FROM own`, `SELECT secret::numeric FROM own`, `SELECT secret::double precision FROM own`, `SELECT CAST(secret AS boolean) FROM own`,
		`SELECT secret::date FROM own`, `SELECT secret::timestamptz FROM own`, `SELECT secret::time FROM own`, `SELECT secret::interval FROM own`, `SELECT secret::uuid FROM own`, `SELECT secret::json FROM own`, `SELECT secret::jsonb FROM own`,
		`SELECT ('\x' || secret)::bytea FROM own`, `SELECT secret::int[] FROM own`, `SELECT secret::regclass FROM own`, `SELECT secret::regtype FROM own`, `SELECT secret::regproc FROM own`, `SELECT secret::oid FROM own`,
		`SELECT (secret)::varchar(3)::int FROM own`, `INSERT INTO own(secret) SELECT secret FROM own`, `UPDATE own SET n = secret`, `UPDATE own SET n = 5000`, `INSERT INTO own(id, secret) SELECT id, secret || 'x' FROM own`,
		`SELECT to_number(secret, '999') FROM own`, `SELECT to_date(secret, 'YYYY-MM-DD') FROM own`, `SELECT to_timestamp(secret, 'YYYY') FROM own`, `SELECT date_trunc(secret, now()) FROM own`, `SELECT extract(secret FROM now()) FROM own`, `SELECT date_part(secret, now()) FROM own`,
		`SELECT regexp_replace('x', secret || '(', 'y') FROM own`, `SELECT 'x' ~ (secret || '[') FROM own`, `SELECT 'x' LIKE secret ESCAPE secret FROM own`, `SELECT format(secret || '%q', 1) FROM own`, `SELECT encode('x', secret) FROM own`, `SELECT decode(secret, 'hex') FROM own`, `SELECT decode(secret, 'base64') FROM own`,
		`SELECT current_setting(secret) FROM own`, `SELECT set_config(secret, 'x', false) FROM own`, `SELECT nextval(secret) FROM own`, `SELECT pg_get_viewdef(secret) FROM own`, `SELECT has_table_privilege(secret, 'SELECT') FROM own`, `SELECT pg_relation_size(secret) FROM own`, `SELECT to_regclass(secret) FROM own`,
		`SELECT json_extract_path(secret, 'a') FROM own`, `SELECT secret::jsonb -> 'a' FROM own`, `SELECT jsonb_set('{}', secret, '1') FROM own`, `SELECT json_object_agg(NULL, secret) FROM own`, `SELECT array_to_string(secret, ',') FROM own`, `SELECT generate_series(1, secret) FROM own`, `SELECT 1 / (length(secret) - length(secret)) FROM own`, `SELECT chr(length(secret) - 100) FROM own`, `SELECT lpad(secret, 2147483647) FROM own`, `SELECT (SELECT secret FROM own UNION ALL SELECT 'x')`,
		`CREATE TABLE cast_of (a integer); INSERT INTO cast_of SELECT secret FROM own`, `ALTER TABLE own ALTER COLUMN secret TYPE integer USING secret::integer`, `ALTER TABLE own ALTER COLUMN secret TYPE integer`, `ALTER TABLE own ADD CONSTRAINT c CHECK (secret = '')`, `CREATE UNIQUE INDEX broken ON own ((1))`, `ALTER TABLE own ADD COLUMN r int REFERENCES probe (id) DEFAULT 7`,
	} {
		all = append(all, attacktext.Statement{Name: sql, SQL: sql, Want: attacktext.AnyKind})
	}
	return all
}
