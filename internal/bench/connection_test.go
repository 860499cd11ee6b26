package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"kimberlite/internal/testbed"
)

// connect opens a connection as libpq's variables say.
func connect(t *testing.T, env []string) *pgx.Conn {
	t.Helper()
	values := map[string]string{}
	for _, line := range env {
		name, value, _ := strings.Cut(line, "=")
		values[name] = value
	}
	config, err := pgx.ParseConfig(fmt.Sprintf("host=%s port=%s user='%s' password='%s' dbname=%s sslmode=verify-full sslrootcert=%s",
		values["PGHOST"], values["PGPORT"], values["PGUSER"], values["PGPASSWORD"], values["PGDATABASE"], values["PGSSLROOTCERT"]))
	if err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.ConnectConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = conn.Close(ctx) // the test is over
	})
	return conn
}

// residentOf returns a process's resident memory in bytes.
func residentOf(t *testing.T, pid int) int64 {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return kib << 10
		}
	}
	t.Fatal("no VmRSS")
	return 0
}

// TestMemoryOfAnIdleConnection opens connections that have run a statement
// and then stand idle.
func TestMemoryOfAnIdleConnection(t *testing.T) {
	enabled(t)
	k := testbed.StartKimberlite(t)
	k.CreateTenant(t, 1, "hospital-a")
	env := k.Env(t, "app", "hospital-a", k.CreateCredential(t, 1, "app", "owner"))
	open := func(n int) {
		for range n {
			var one int
			if err := connect(t, env).QueryRow(t.Context(), "SELECT 1").Scan(&one); err != nil {
				t.Fatal(err)
			}
		}
	}
	open(20)
	before := residentOf(t, k.PID())
	const n = 70 // below the limit of connections of a tenant
	open(n)
	each := (residentOf(t, k.PID()) - before) / n
	row(t, "server, resident memory of an idle connection, TLS and buffers included", fmt.Sprintf("%d KiB", each>>10), "", "", "≤ 64 KiB")
}

// TestNoisyNeighbour measures one tenant's 99th percentile, alone and while
// another tenant has 32 clients that ask for more than its rate allows.
func TestNoisyNeighbour(t *testing.T) {
	enabled(t)
	k := testbed.StartKimberlite(t)
	k.CreateTenant(t, 1, "noisy", "--max-ops-per-sec", "500")
	k.CreateTenant(t, 2, "quiet")
	noisy := k.Env(t, "app", "noisy", k.CreateCredential(t, 1, "app", "owner"))
	quiet := connect(t, k.Env(t, "app", "quiet", k.CreateCredential(t, 2, "app", "owner")))
	for _, c := range []*pgx.Conn{connect(t, noisy), quiet} {
		if _, err := c.Exec(t.Context(), "CREATE TABLE notes (id bigserial PRIMARY KEY, note text NOT NULL)"); err != nil {
			t.Fatal(err)
		}
	}
	var flooding atomic.Bool
	var refused atomic.Int64
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range 32 {
		conn := connect(t, noisy)
		wg.Go(func() { flood(ctx, t, conn, &flooding, &refused) })
	}
	var alone, beside []time.Duration
	for range 5 {
		flooding.Store(false)
		alone = append(alone, percentile(quietly(t, quiet, 2*time.Second), 0.99))
		flooding.Store(true)
		beside = append(beside, percentile(quietly(t, quiet, 2*time.Second), 0.99))
	}
	stop()
	wg.Wait()
	if refused.Load() == 0 {
		t.Fatal("the noisy tenant was never refused: it made no noise")
	}
	a, b := medianOf(beside), medianOf(alone)
	row(t, "server, p99 of a read and an insert beside a tenant with 32 clients over its quota of 500/s (A) and alone (B)",
		a.Round(time.Microsecond).String(), b.Round(time.Microsecond).String(), fmt.Sprintf("%.2f × its latency", float64(a)/float64(b)), "≤ 1.2")
}

// flood inserts as fast as it can while flooding.
func flood(ctx context.Context, t *testing.T, conn *pgx.Conn, flooding *atomic.Bool, refused *atomic.Int64) {
	for ctx.Err() == nil {
		if !flooding.Load() {
			select {
			case <-time.After(10 * time.Millisecond):
			case <-ctx.Done():
			}
			continue
		}
		_, err := conn.Exec(ctx, "INSERT INTO notes (note) VALUES ($1)", "noise")
		var e *pgconn.PgError
		if errors.As(err, &e) {
			refused.Add(1)
		} else if err != nil && ctx.Err() == nil {
			t.Error(err)
			return
		}
	}
}

// quietly reads and inserts in turn for d, and returns how long each pair took.
func quietly(t *testing.T, conn *pgx.Conn, d time.Duration) []time.Duration {
	t.Helper()
	var took []time.Duration
	for end := time.Now().Add(d); time.Now().Before(end); {
		start := time.Now()
		var id int64
		if err := conn.QueryRow(t.Context(), "INSERT INTO notes (note) VALUES ($1) RETURNING id", "a note").Scan(&id); err != nil {
			t.Fatal(err)
		}
		var note string
		if err := conn.QueryRow(t.Context(), "SELECT note FROM notes WHERE id = $1", id).Scan(&note); err != nil {
			t.Fatal(err)
		}
		took = append(took, time.Since(start))
	}
	return took
}
