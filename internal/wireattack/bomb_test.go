package wireattack

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"kimberlite/internal/attacktext"
)

// bombTime is the limit of a bomb's statement.
const bombTime = 150 * time.Millisecond

// TestNoStatementTakesMoreThanItsShare sends each bomb by one way in turn: it
// must end in its time, and the server stays within its memory.
func TestNoStatementTakesMoreThanItsShare(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.attacker(t, "app", fmt.Sprintf("SET statement_timeout = '%dms'", bombTime.Milliseconds()))
	turns := []way{ways[0], ways[1], ways[5], ways[8]}
	for i, b := range append(attacktext.Bombs(4_000_000), postgresBombs()...) {
		w.attack(t, b.Name, func(t *testing.T) {
			w.said = b.SQL
			start := time.Now()
			_ = a.send(t, turns[i%len(turns)], b.SQL, nil) // judged there
			if took := time.Since(start); took > bombTime+5*time.Second {
				t.Errorf("it took %v", took)
			}
		})
	}
	w.attack(t, "16 bombs at once", func(t *testing.T) { w.bombsAtOnce(t) })
	w.attack(t, "a result without end that is not wanted any more", func(t *testing.T) {
		c := a.ready(t)
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		defer cancel()
		_ = drained(c.Exec(ctx, "SET statement_timeout = 0; WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n) SELECT i FROM n")) // pgx closes it
		a.tap.take()
	})
	w.finish(t)
}

// bombsAtOnce sends what takes most memory by many connections.
func (w *world) bombsAtOnce(t *testing.T) {
	var together sync.WaitGroup
	for i := range 16 {
		a := w.attacker(t, "app", "SET statement_timeout = '500ms'")
		sql := []string{
			`SELECT length(group_concat(hex(zeroblob(4000000)))) FROM generate_series(1,100)`,
			`SELECT x FROM (SELECT randomblob(20000) x FROM generate_series(1,50000)) ORDER BY x`,
			`SELECT repeat('x', 16000000) FROM generate_series(1, 100)`,
			`SELECT string_agg(repeat('x', 1000000), ',') FROM generate_series(1, 1000)`,
		}[i%4]
		together.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			if err := drained(a.conn.Exec(ctx, sql)); err == nil && i%4 != 2 {
				t.Errorf("%s: it is allowed", sql)
			} else {
				a.judge(t, sql, err)
			}
		})
	}
	together.Wait()
}

// postgresBombs are those that only PostgreSQL's dialect has words for.
func postgresBombs() []attacktext.Statement {
	deep := func(open, inner, shut string, n int) string {
		return strings.Repeat(open, n) + inner + strings.Repeat(shut, n)
	}
	var all []attacktext.Statement
	for _, b := range []struct{ name, sql string }{
		{"repeat", `SELECT repeat('x', 2147483647)`},
		{"repeat of repeat", `SELECT repeat(repeat(repeat('x', 10000), 10000), 10000)`},
		{"many repeats", `SELECT length(string_agg(repeat('x', 15000000), '')) FROM generate_series(1, 200)`},
		{"lpad", `SELECT lpad('x', 2147483647, 'y')`}, {"rpad", `SELECT rpad('x', 2000000000)`}, {"format with a width", `SELECT format('%2000000000s', 'x')`},
		{"array_agg", `SELECT length(array_agg(g)::text) FROM generate_series(1, 100000000) g`},
		{"array_fill", `SELECT array_fill(0, ARRAY[2000000000])`},
		{"string_agg", `SELECT length(string_agg('xxxxxxxxxxxxxxxx', ',')) FROM generate_series(1, 100000000)`},
		{"json_agg", `SELECT length(json_agg(g)::text) FROM generate_series(1, 100000000) g`},
		{"jsonb_agg of jsonb", `SELECT length(jsonb_agg(repeat('{', 1000))::text) FROM generate_series(1, 10000000) g`},
		{"jsonb that is deep", `SELECT (repeat('[', 1000000) || repeat(']', 1000000))::jsonb`},
		{"json that is deep", `SELECT (repeat('{"a":', 1000000) || '1' || repeat('}', 1000000))::json`},
		{"jsonb_pretty", `SELECT jsonb_pretty((repeat('[', 1000) || repeat(']', 1000))::jsonb)`},
		{"a series of dates", `SELECT count(*) FROM generate_series('0001-01-01'::timestamp, '9999-12-31'::timestamp, '1 second')`},
		{"a series in the select list", `SELECT generate_series(1, 1000000000), generate_series(1, 999999999)`},
		{"a product of series", `SELECT count(*) FROM generate_series(1, 100000) a CROSS JOIN generate_series(1, 100000) b`},
		{"unnest", `SELECT count(*) FROM unnest(string_to_array(repeat('x,', 7000000), ',')) a, unnest(string_to_array(repeat('x,', 7000000), ',')) b`},
		{"string_to_array", `SELECT string_to_array(repeat('x', 15000000), NULL)`},
		{"regexp_split_to_table", `SELECT count(*) FROM regexp_split_to_table(repeat('x', 15000000), '')`},
		{"regexp_replace that grows", `SELECT length(regexp_replace(repeat('x', 4000000), 'x', 'yyyyyyyyyyyyyyyy', 'g'))`},
		{"a regular expression that goes back", `SELECT repeat('a', 30000) ~ '^(a+)+$b'`},
		{"a regular expression of many states", `SELECT repeat('a', 100000) ~ '(a{1,200}){1,200}b'`},
		{"a large regular expression", `SELECT 'x' ~ repeat('(x|y)', 1000000)`},
		{"ILIKE", `SELECT repeat('aB', 2000000) ILIKE '%` + strings.Repeat("a_", 2000) + `c%'`},
		{"SIMILAR TO", `SELECT repeat('a', 100000) SIMILAR TO '(a|aa)+b'`},
		{"a large numeric", `SELECT 10::numeric ^ 100000`}, {"a numeric of many digits", `SELECT ('1' || repeat('0', 1000000))::numeric`}, {"factorial", `SELECT factorial(1000000)`},
		{"a long interval", `SELECT ('1' || repeat('0', 100000) || ' years')::interval`}, {"a long date", `SELECT repeat('9', 1000000)::timestamptz`},
		{"a long integer", `SELECT repeat('9', 10000000)::bigint`},
		{"to_char", `SELECT to_char(now(), repeat('Month', 1000000))`}, {"overlay", `SELECT overlay(repeat('x', 15000000) placing repeat('y', 15000000) from 15000000)`},
		{"translate", `SELECT length(translate(repeat('x', 15000000), repeat('a', 1000000) || 'x', repeat('b', 1000000)))`},
		{"levenshtein", `SELECT levenshtein(repeat('x', 100000), repeat('y', 100000))`},
		{"sleep", `SELECT pg_sleep(1000000)`}, {"sleep by rows", `SELECT pg_sleep(0.01) FROM generate_series(1, 100000)`},
		{"sha512 of much", `SELECT count(sha512(repeat('x', 15000000)::bytea)) FROM generate_series(1, 1000)`},
		{"recursion by PostgreSQL's words", `WITH RECURSIVE t(n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM t) SELECT sum(n) FROM t`},
		{"a subquery that is deep", deep("SELECT * FROM (", "SELECT 1", ") x", 3000)}, {"parentheses", "SELECT " + deep("(", "1", ")", 100000)},
		{"casts", "SELECT 1" + strings.Repeat("::int", 100000)}, {"arrays that are deep", "SELECT " + deep("ARRAY[", "1", "]", 10000)}, {"rows that are deep", "SELECT " + deep("ROW(", "1", ")", 10000)},
		{"comments that are deep", deep("/*", "", "*/", 500000) + "SELECT 1"}, {"dollar quotes", strings.Repeat("$a$ $b$ ", 200000)}, {"open dollar quotes", "SELECT $" + strings.Repeat("a", 1000000)},
		{"an identifier of a megabyte", `SELECT "` + strings.Repeat("x", 1<<20) + `"`}, {"a table of a megabyte", `SELECT * FROM ` + strings.Repeat("x", 1<<20)}, {"a new table of a megabyte", `CREATE TABLE ` + strings.Repeat("x", 1<<20) + ` (a int)`},
		{"a setting of a megabyte", `SET application_name = '` + strings.Repeat("x", 1<<20) + `'`}, {"a savepoint of a megabyte", `BEGIN; SAVEPOINT ` + strings.Repeat("x", 1<<20) + `; ROLLBACK`},
		{"100,000 statements", strings.Repeat("SELECT 1;", 100000)}, {"100,000 empty statements", strings.Repeat(";", 4<<20)}, {"100,000 savepoints", "BEGIN;" + strings.Repeat("SAVEPOINT s;", 20000) + "ROLLBACK"},
		{"many operators", "SELECT 1" + strings.Repeat(" + 1", 200000)}, {"many ANDs", "SELECT 1 = 1" + strings.Repeat(" AND 1 = 1", 100000)}, {"many columns of an insert", "INSERT INTO own (secret" + strings.Repeat(",secret", 100000) + ") VALUES (1)"},
		{"a list of parameters", "SELECT $1" + strings.Repeat(", $1", 100000)}, {"a parameter of a large number", "SELECT $65536"}, {"a parameter of a huge number", "SELECT $999999999"},
		{"IN of many", "SELECT 1 WHERE 1 IN (1" + strings.Repeat(",1", 200000) + ")"}, {"CASE of many", "SELECT CASE " + strings.Repeat("WHEN 1 = 2 THEN 1 ", 50000) + "END"},
		{"all catalogs with each other", `SELECT count(*) FROM pg_class a, pg_class b, pg_attribute c, pg_attribute d, pg_proc e, pg_type f`},
		{"all functions with each other", `SELECT count(*) FROM pg_proc a, pg_proc b, pg_proc c`},
		{"information_schema with itself", `SELECT count(*) FROM information_schema.columns a, information_schema.columns b, information_schema.columns c`},
	} {
		all = append(all, attacktext.Statement{Name: b.name, SQL: b.sql})
	}
	return all
}

// TestCopyIsBounded sends data without end, data that is broken, and data that
// breaks off.
func TestCopyIsBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.attacker(t, "app", "CREATE TABLE IF NOT EXISTS taken (id bigint primary key, note text)")
	copyIn := func(ctx context.Context, r io.Reader, sql string) error {
		_, err := a.ready(t).CopyFrom(ctx, r, sql)
		return err
	}
	left := func(t *testing.T) {
		t.Helper()
		if n := one(t, a.ready(t), "SELECT count(*) FROM taken"); n != "0" {
			t.Errorf("%s rows stay", n)
		}
	}
	for name, data := range map[string]string{
		"a bad row at the end":                   rows(20000) + "not-" + ownMark + "\tx\n",
		"a row of too few columns at the end":    rows(20000) + "20001\n",
		"a row of too many columns at the end":   rows(1000) + "1001\tx\ty\n",
		"a row that is there already at the end": rows(20000) + "1\tx\n",
		"a field of 20 MB":                       "1\t" + strings.Repeat("x", 20<<20) + "\n",
		"a line without end":                     strings.Repeat("x", 70<<20),
		"broken UTF-8":                           "1\t\xff\xfe\n", "a NUL byte": "1\ta\x00b\n", "an end in the middle": "1\tx\n\\.\n2\ty\nz",
		"nothing but tabs": strings.Repeat("\t", 1<<20) + "\n", "a backslash at the end": "1\tx\\",
	} {
		w.attack(t, "copy of "+name, func(t *testing.T) {
			w.said = "not-" // its rest is data
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			err := copyIn(ctx, strings.NewReader(data), "COPY taken FROM STDIN")
			a.judge(t, "copy", err)
			if name == "an end in the middle" || name == "a backslash at the end" {
				must(t, a.ready(t), "DELETE FROM taken")
				return
			}
			if err == nil {
				t.Error("it is accepted")
			}
			left(t)
		})
	}
	w.attack(t, "copy without end by one who vanishes", func(t *testing.T) {
		w.resetPeak()
		c := a.ready(t)
		stop := make(chan struct{})
		time.AfterFunc(700*time.Millisecond, func() { close(stop); _ = c.Conn().Close() })
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if _, err := c.CopyFrom(ctx, &endlessRows{stop: stop}, "COPY taken FROM STDIN"); err == nil {
			t.Error("it ended")
		}
		a.tap.take()
		left(t)
	})
	w.attack(t, "copy that is begun and left", func(t *testing.T) {
		c := a.ready(t)
		r, in := io.Pipe()
		done := make(chan error, 1)
		ctx, cancel := context.WithCancel(context.Background())
		go func() { _, err := c.CopyFrom(ctx, r, "COPY taken FROM STDIN"); done <- err }()
		_, _ = in.Write([]byte(rows(1000)))
		_ = c.Conn().Close()
		cancel()
		_ = in.CloseWithError(io.ErrUnexpectedEOF)
		<-done
		a.tap.take()
		left(t)
	})
	w.attack(t, "copy into what is not there", func(t *testing.T) {
		for _, sql := range []string{"COPY nowhere FROM STDIN", "COPY kimberlite.events FROM STDIN", "COPY _kimberlite_meta FROM STDIN", "COPY pg_class FROM STDIN", "COPY sqlite_schema FROM STDIN", "COPY taken (nowhere) FROM STDIN"} {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			err := copyIn(ctx, bytes.NewReader([]byte("1\tx\n")), sql)
			cancel()
			a.judge(t, sql, err)
			if stateOf(err) == "" {
				t.Errorf("%s: %v", sql, err)
			}
		}
	})
	w.attack(t, "copy as a reader", func(t *testing.T) {
		r := w.attacker(t, "reader", "")
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		_, err := r.conn.CopyFrom(ctx, strings.NewReader(rows(10)), "COPY taken FROM STDIN")
		if stateOf(err) != "42501" {
			t.Errorf("it is answered %v", err)
		}
		left(t)
	})
	w.finish(t)
}

// rows are lines of COPY.
func rows(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "%d\t%s\n", i+1, ownMark)
	}
	return b.String()
}

// endlessRows never ends, until it is stopped.
type endlessRows struct {
	stop chan struct{}
	n    int
}

// Read implements [io.Reader].
func (e *endlessRows) Read(p []byte) (int, error) {
	select {
	case <-e.stop:
		return 0, io.ErrClosedPipe
	default:
	}
	var b []byte
	for len(b) < len(p)-200 {
		e.n++
		b = fmt.Appendf(b, "%d\tthe row of number %d\n", e.n, e.n)
	}
	return copy(p, b), nil
}
