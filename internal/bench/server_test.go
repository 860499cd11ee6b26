package bench

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"kimberlite/internal/testbed"
)

// The yardstick of the server is PostgreSQL with row-level security and a
// tenant column, reached as a role that the policies hold; both over TLS on
// loopback, both syncing each commit.

const (
	serverTenants = 32
	serverRows    = 1000
)

// servers are both, with the same tables filled.
type servers struct {
	dir        string
	kimberlite *testbed.Kimberlite
	secrets    []string
	postgres   *testbed.Postgres
}

const postgresSchema = `
CREATE ROLE app LOGIN;
CREATE TABLE items (tenant_id int NOT NULL DEFAULT current_setting('app.tenant')::int, id bigint NOT NULL, name text NOT NULL, PRIMARY KEY (tenant_id, id));
CREATE TABLE notes (tenant_id int NOT NULL DEFAULT current_setting('app.tenant')::int, id bigserial, patient bigint NOT NULL, note text NOT NULL, PRIMARY KEY (tenant_id, id));
CREATE TABLE loads (tenant_id int NOT NULL DEFAULT current_setting('app.tenant')::int, id bigint NOT NULL, name text NOT NULL, born date, fee numeric(10,2), active boolean, PRIMARY KEY (tenant_id, id));
ALTER TABLE items ENABLE ROW LEVEL SECURITY;
ALTER TABLE notes ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON items USING (tenant_id = current_setting('app.tenant')::int);
CREATE POLICY own ON notes USING (tenant_id = current_setting('app.tenant')::int);
GRANT ALL ON ALL TABLES IN SCHEMA public TO app;
GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO app;
INSERT INTO items SELECT t, i, 'name of item ' || i FROM generate_series(1, 32) t, generate_series(1, 1000) i;
VACUUM ANALYZE items;
`

const kimberliteSchema = `
CREATE TABLE items (id bigint PRIMARY KEY, name text NOT NULL);
CREATE TABLE notes (id bigserial PRIMARY KEY, patient bigint NOT NULL, note text NOT NULL);
CREATE TABLE loads (id bigint PRIMARY KEY, name text NOT NULL, born date, fee numeric(10,2), active boolean);
INSERT INTO items SELECT i, 'name of item ' || i FROM generate_series(1, 1000) AS g(i);
`

func startServers(t *testing.T) *servers {
	t.Helper()
	s := &servers{
		dir:        t.TempDir(),
		postgres:   testbed.StartPostgres(t, "fsync=on", "synchronous_commit=on", "max_connections=200", "shared_buffers=256MB"),
		kimberlite: testbed.StartKimberlite(t),
	}
	s.psql(t, s.postgres.Env("postgres", "postgres"), postgresSchema)
	for i := range serverTenants {
		name := fmt.Sprintf("tenant-%d", i+1)
		s.kimberlite.CreateTenant(t, i+1, name)
		s.secrets = append(s.secrets, s.kimberlite.CreateCredential(t, i+1, "app", "owner"))
		s.psql(t, s.kimberliteEnv(t, i), kimberliteSchema)
	}
	return s
}

func (s *servers) kimberliteEnv(t *testing.T, tenant int) []string {
	t.Helper()
	return s.kimberlite.Env(t, "app", fmt.Sprintf("tenant-%d", tenant+1), s.secrets[tenant])
}

func (s *servers) postgresEnv(_ *testing.T, tenant int) []string {
	return append(s.postgres.Env("app", "postgres"), fmt.Sprintf("PGOPTIONS=-c app.tenant=%d", tenant+1))
}

// psql runs statements, each by itself.
func (s *servers) psql(t *testing.T, env []string, statements string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-f", "-")
	cmd.Env, cmd.Stdin = append(os.Environ(), env...), strings.NewReader(statements)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("psql: %v\n%s", err, out)
	}
}

// load is what one run of pgbench, or of many side by side, came to.
type load struct {
	rate float64
	p99  time.Duration
}

var tps = regexp.MustCompile(`tps = ([0-9.]+) `)

// pgbench runs processes of pgbench side by side, each with some clients, each
// under its own environment.
func (s *servers) pgbench(t *testing.T, script string, d time.Duration, clients int, envs ...[]string) load {
	t.Helper()
	dir, err := os.MkdirTemp(s.dir, "run")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }() // the test's own directory goes anyway
	file := filepath.Join(dir, "script.sql")
	if err := os.WriteFile(file, []byte(script), 0o600); err != nil {
		t.Fatal(err)
	}
	rates := make([]float64, len(envs))
	var wg sync.WaitGroup
	for i, env := range envs {
		wg.Go(func() {
			cmd := exec.CommandContext(t.Context(), "pgbench", "-n", "-M", "prepared", "-f", file, "-c", strconv.Itoa(clients),
				"-T", strconv.Itoa(max(1, int(d.Seconds()))), "-l", fmt.Sprintf("--log-prefix=%s/log%d", dir, i))
			cmd.Env = append(os.Environ(), env...)
			out, err := cmd.CombinedOutput()
			found := tps.FindSubmatch(out)
			if err != nil || found == nil || bytes.Contains(out, []byte("aborted")) {
				t.Errorf("pgbench: %v\n%s", err, out)
				return
			}
			rates[i], _ = strconv.ParseFloat(string(found[1]), 64) // the pattern is a number
		})
	}
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
	sum := 0.0
	for _, r := range rates {
		sum += r
	}
	return load{rate: sum, p99: percentile(latencies(t, dir), 0.99)}
}

// latencies reads pgbench's logs: the third field is microseconds.
func latencies(t *testing.T, dir string) []time.Duration {
	t.Helper()
	logs, err := filepath.Glob(filepath.Join(dir, "log*"))
	if err != nil {
		t.Fatal(err)
	}
	var all []time.Duration
	for _, log := range logs {
		f, err := os.Open(log)
		if err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(f)
		for lines.Scan() {
			fields := strings.Fields(lines.Text())
			if len(fields) < 3 {
				continue
			}
			us, err := strconv.ParseFloat(fields[2], 64)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, time.Duration(us*float64(time.Microsecond)))
		}
		_ = f.Close() // only read
	}
	if len(all) == 0 {
		t.Fatal("pgbench logged nothing")
	}
	return all
}

const (
	pointScript  = "\\set id random(1, 1000)\nSELECT name FROM items WHERE id = :id;\n"
	insertScript = "\\set patient random(1, 1000)\nINSERT INTO notes (patient, note) VALUES (:patient, 'a note of some sixty bytes, as notes of nurses go, more or less');\n"
)

// TestServerAgainstPostgres compares rates and the 99th percentile.
func TestServerAgainstPostgres(t *testing.T) {
	enabled(t)
	s := startServers(t)
	wants := map[int]string{1: "≥ 1.0", 16: "≥ 1.2", 32: "≥ 1.5"}
	for _, clients := range []int{1, 16, 32} {
		s.compare(t, fmt.Sprintf("server, point select, %d clients; PostgreSQL 15 with row-level security", clients), wants[clients],
			func(env func(*testing.T, int) []string, d time.Duration) load {
				return s.pgbench(t, pointScript, d, clients, env(t, 0))
			})
	}
	for _, clients := range []int{1, 16, 32} {
		s.compare(t, fmt.Sprintf("server, durable single-row insert, %d clients over as many tenants; PostgreSQL 15 the same", clients), wants[clients],
			func(env func(*testing.T, int) []string, d time.Duration) load {
				var envs [][]string
				for i := range clients {
					envs = append(envs, env(t, i%serverTenants))
				}
				return s.pgbench(t, insertScript, d, 1, envs...)
			})
	}
}

// compare runs work against both in turn and reports rates and p99s.
func (s *servers) compare(t *testing.T, what, want string, work func(env func(*testing.T, int) []string, d time.Duration) load) {
	t.Helper()
	const d = 3 * time.Second
	var ours, theirs []time.Duration
	a, b, ratio := pair(
		func(d time.Duration) float64 {
			l := work(s.kimberliteEnv, d)
			ours = append(ours, l.p99)
			return l.rate
		},
		func(d time.Duration) float64 {
			l := work(s.postgresEnv, d)
			theirs = append(theirs, l.p99)
			return l.rate
		}, d)
	row(t, what, rate(a), rate(b), fmt.Sprintf("%.2f", ratio), want)
	p, q := medianOf(ours), medianOf(theirs)
	row(t, what+", p99", p.Round(time.Microsecond).String(), q.Round(time.Microsecond).String(),
		fmt.Sprintf("%.2f × its latency", float64(p)/float64(q)), "≤ 1 at 32 clients")
}

func medianOf(v []time.Duration) time.Duration { return percentile(v, 0.5) }

// TestServerCopyIn compares bulk loading. PostgreSQL refuses COPY under
// row-level security, so its table has none.
func TestServerCopyIn(t *testing.T) {
	enabled(t)
	s := startServers(t)
	const rows = 200_000
	file := filepath.Join(s.dir, "loads.csv")
	var csv bytes.Buffer
	for i := range rows {
		fmt.Fprintf(&csv, "%d,patient number %d,19%02d-%02d-%02d,%d.%02d,%t\n", i, i, i%100, i%12+1, i%28+1, i%5000, i%100, i%2 == 0)
	}
	if err := os.WriteFile(file, csv.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	run := func(env []string) measure {
		return func(time.Duration) float64 {
			s.psql(t, env, "DELETE FROM loads;")
			start := time.Now()
			s.psql(t, env, `\copy loads (id, name, born, fee, active) from '`+file+"' with (format csv)\n")
			return rows / time.Since(start).Seconds()
		}
	}
	a, b, ratio := pair(run(s.kimberliteEnv(t, 0)), run(s.postgresEnv(t, 0)), time.Second)
	row(t, "server, COPY in, 200,000 rows of five columns; PostgreSQL 15 without row-level security, which refuses COPY",
		rate(a), rate(b), fmt.Sprintf("%.2f", ratio), "≥ 0.7")
}
