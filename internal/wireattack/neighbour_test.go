package wireattack

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// TestNothingOfANeighbourShows reads whatever tells of the server, while the
// neighbour changes: what is told is the same before and after.
func TestNothingOfANeighbourShows(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var all []*attacker
	for _, role := range []string{"app", "reader", "auditor"} {
		all = append(all, w.attacker(t, role, ""))
	}
	tables := w.catalogs(t, all[0])
	if len(tables) < 60 {
		t.Errorf("only %d tables of the catalogs", len(tables))
	}
	sources := append(tables, settingsAndFunctions...)
	before := make([]map[string]string, len(all))
	for i, a := range all {
		before[i] = map[string]string{}
		for _, sql := range sources {
			w.attack(t, a.name+": "+sql, func(t *testing.T) { before[i][sql] = a.all(t, sql) })
		}
	}
	victim := w.connect(t, "app", victimName, nil)
	must(t, victim, "BEGIN; CREATE TABLE fresh (a int); INSERT INTO fresh SELECT g FROM generate_series(1, 1000) g; CREATE SEQUENCE another; SELECT nextval('counter'); COMMIT; SELECT pg_advisory_lock(4711)")
	must(t, victim, "PREPARE planned AS SELECT 1; BEGIN; DECLARE held CURSOR FOR SELECT * FROM fresh; SET application_name = 'busy'")
	w.before = w.look(t)
	for i, a := range all {
		w.attack(t, a.name+": nothing has changed", func(t *testing.T) {
			for _, sql := range sources {
				if now := a.all(t, sql); now != before[i][sql] {
					t.Errorf("%s tells of a neighbour:\n%.1000s\nwas\n%.1000s", sql, now, before[i][sql])
				}
			}
		})
	}
	w.sameShapes(t, all[0])
	w.locksAndSequences(t, all[0], victim)
	must(t, victim, "ROLLBACK; DROP TABLE fresh; DROP SEQUENCE another; SELECT pg_advisory_unlock(4711)")
	w.before = w.look(t)
	w.finish(t)
}

// settingsAndFunctions are what else tells of a server.
var settingsAndFunctions = []string{
	"SHOW ALL", "SELECT * FROM pg_stat_activity", "SELECT * FROM kimberlite.streams", "SELECT stream, count(*) FROM kimberlite.events GROUP BY stream", "SELECT current_user, session_user, current_database(), current_schema()", "SELECT version()",
	"SELECT pg_database_size('" + attackerName + "') IS NULL", "SELECT count(*) FROM pg_database", "SELECT txid_current_snapshot()", "SELECT pg_current_wal_lsn()", "SELECT inet_server_addr(), inet_client_addr()", "SELECT current_setting('data_directory')", "SELECT current_setting('hba_file')", "SELECT current_setting('kimberlite.tenant', true)",
	"SELECT set_config('session_authorization', 'app@1', false)", "SELECT set_config('role', 'app@1', false)", "SELECT set_config('kimberlite.tenant', '1', false), current_setting('kimberlite.tenant', true)", "SELECT pg_postmaster_start_time() IS NULL", "SELECT * FROM pg_show_all_settings()", "SELECT * FROM pg_ls_tmpdir()", "SELECT * FROM pg_stat_get_activity(NULL)", "SELECT pg_stat_get_db_numbackends(5)",
}

// catalogs lists every system table there is.
func (w *world) catalogs(t *testing.T, a *attacker) []string {
	t.Helper()
	var all []string
	for _, row := range must(t, a.conn, `SELECT n.nspname, c.relname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname <> 'public' AND c.relkind IN ('r', 'v') ORDER BY 1, 2`)[0].Rows {
		if name := string(row[0]) + "." + string(row[1]); name != "kimberlite.audit" && name != "kimberlite.events" && name != "kimberlite.usage" { // they grow by being read, or tell the time
			all = append(all, "SELECT * FROM "+name)
		}
	}
	return all
}

// changing is what differs from one answer to the next.
var changing = regexp.MustCompile(`\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)?\+00`)

// all is everything that a query tells, or its error.
func (a *attacker) all(t *testing.T, sql string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	results, err := a.ready(t).Exec(ctx, sql).ReadAll()
	a.judge(t, sql, err)
	var b strings.Builder
	fmt.Fprintln(&b, stateOf(err))
	for _, r := range results {
		for _, row := range r.Rows {
			for _, v := range row {
				b.Write(v)
				b.WriteByte('|')
			}
			b.WriteByte('\n')
		}
	}
	return changing.ReplaceAllString(strings.ReplaceAll(b.String(), fmt.Sprint(a.conn.PID()), "PID"), "TIME")
}

// sameShapes asks for what the victim has and for what nobody has: the answers
// differ in the name alone.
func (w *world) sameShapes(t *testing.T, a *attacker) {
	for _, sql := range []string{
		"SELECT * FROM NAME", "SELECT NAME FROM own", "SELECT nextval('NAME')", "SELECT setval('NAME', 1)", "SELECT currval('NAME')", "SELECT 'NAME'::regclass", "SELECT to_regclass('NAME')", "SELECT has_table_privilege('NAME', 'SELECT')", "SELECT pg_relation_size('NAME')", "SELECT pg_get_viewdef('NAME')",
		"DROP TABLE NAME", "DROP SEQUENCE NAME", "DROP INDEX NAME", "ALTER TABLE NAME ADD COLUMN a int", "INSERT INTO NAME VALUES (1)", "COPY NAME TO STDOUT", "SELECT * FROM kimberlite.events WHERE stream = 'NAME'", "SELECT * FROM kimberlite.streams WHERE stream = 'NAME'", "SELECT * FROM pg_class WHERE relname = 'NAME'", "SELECT pg_catalog.obj_description('NAME'::regclass)",
		`SELECT * FROM "NAME".own`, `SELECT * FROM "NAME".public.own`, "SET ROLE NAME", "SELECT pg_has_role('NAME', 'USAGE')", "SELECT has_database_privilege('NAME', 'CONNECT')", "SELECT pg_database_size('NAME')", "EXECUTE NAME", "FETCH NAME", "DEALLOCATE NAME", "SELECT * FROM information_schema.columns WHERE table_name = 'NAME'",
	} {
		w.attack(t, "what is there and what is not: "+sql, func(t *testing.T) {
			w.said = mark
			ask := func(name string) string {
				ctx, cancel := context.WithTimeout(context.Background(), patience)
				defer cancel()
				_, err := a.ready(t).Exec(ctx, strings.ReplaceAll(sql, "NAME", name)).ReadAll()
				_, first, _ := a.tap.take()
				text := fmt.Sprint(err)
				return strings.ReplaceAll(text+string(first), name, "NAME")
			}
			for _, pair := range [][2]string{{"patients", "pazients"}, {"index", "indox"}, {"view", "viev"}, {"stream", "strean"}, {"sequence", "sequense"}, {"victim", "wictim"}} {
				there, nowhere := ask(mark+"_"+pair[0]), ask(mark+"_"+pair[1])
				if there != nowhere {
					t.Errorf("%s: it tells what is there: %q, %q", pair[0], there, nowhere)
				}
			}
		})
	}
}

// locksAndSequences are apart, whatever they are called.
func (w *world) locksAndSequences(t *testing.T, a *attacker, victim *pgconn.PgConn) {
	w.attack(t, "an advisory lock of the neighbour's", func(t *testing.T) {
		start := time.Now()
		for _, sql := range []string{"SELECT pg_try_advisory_lock(4711)", "SELECT pg_try_advisory_xact_lock(4711)", "SELECT pg_try_advisory_lock_shared(4711)"} {
			if got := one(t, a.ready(t), sql); got != "t" {
				t.Errorf("%s says %q", sql, got)
			}
		}
		must(t, a.ready(t), "SELECT pg_advisory_lock(4711); SELECT pg_advisory_unlock_all()")
		if got := one(t, a.ready(t), "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"); got != "0" {
			t.Errorf("%s locks show", got)
		}
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("it waited %v", took)
		}
	})
	w.attack(t, "a sequence of the neighbour's name", func(t *testing.T) {
		must(t, a.ready(t), "SELECT setval('counter', 5)")
		if got := one(t, a.ready(t), "SELECT nextval('counter')"); got != "6" {
			t.Errorf("the attacker's counter says %s", got)
		}
	})
	w.attack(t, "a writer of the neighbour's", func(t *testing.T) {
		must(t, victim, "ROLLBACK; BEGIN; INSERT INTO fresh VALUES (1)")
		start := time.Now()
		must(t, a.ready(t), "UPDATE own SET n = 2; UPDATE own SET n = 1")
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("it waited %v", took)
		}
	})
}
