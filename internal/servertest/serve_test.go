package servertest

import (
	"context"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// serve starts kimberlite serve with a certificate, and makes its first
// operator's token known to the place's commands.
func (p *place) serve(t *testing.T, a *authority, more string) *process {
	t.Helper()
	cert, key := a.issue(t, p, 100)
	return p.start(t, nil, "serve", "--config", p.configuration(t, cert, key, more))
}

// bootstrap makes an operator and a tenant before a server runs, by the data
// directory itself.
func (p *place) bootstrap(t *testing.T) (secret string) {
	t.Helper()
	p.must(t, "kimberlite credential create --data data --operator --name admin > operator.token")
	p.must(t, "kimberlite tenant create --data data --id 1 --name hospital-a")
	out := p.must(t, "kimberlite credential create --data data --tenant 1 --name app --role owner 2>/dev/null")
	return strings.TrimSpace(out)
}

// get asks a server by curl and returns the status and the body.
func (p *place) get(t *testing.T, url string, args ...string) (status, body string) {
	t.Helper()
	line := "curl -sS -o body -w '%{http_code}' --cacert ca.pem " + strings.Join(args, " ") + " " + url
	status = p.must(t, line)
	text, err := os.ReadFile(p.path("body"))
	if err != nil {
		t.Fatal(err)
	}
	return status, string(text)
}

func TestServeServesPsqlPgxAndCurl(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	a := newAuthority(t, p)
	secret := p.bootstrap(t)
	s := p.serve(t, a, "[log]\nformat = \"text\"\nlevel = \"debug\"\n")
	env := s.libpq(a.file, "hospital-a", secret)
	out := p.must(t, `psql -XAt -c 'CREATE TABLE t (id bigint primary key, name text not null)' -c "INSERT INTO t VALUES (1, 'Alice Smith')" -c 'SELECT name FROM t'`, env...)
	if !strings.Contains(out, "Alice Smith") {
		t.Errorf("psql: %s", out)
	}
	var name string
	if err := s.connect(t, a.file, "hospital-a", secret).QueryRow(t.Context(), "SELECT name FROM t WHERE id = $1", 1).Scan(&name); err != nil || name != "Alice Smith" {
		t.Errorf("pgx: %q, %v", name, err)
	}
	p.write(t, "app.token", secret)
	for _, c := range []struct{ path, args, status, body string }{
		{"/readyz", "", "200", ""},
		{"/healthz", "", "200", ""},
		{"/metrics", "", "401", "missing"},
		{"/metrics", `-H "Authorization: Bearer $(cat app.token)"`, "403", "operators"},
		{"/metrics", `-H "Authorization: Bearer kmb_op_1_x"`, "401", "not accepted"},
		{"/metrics", `-H "Authorization: Bearer $(cat operator.token)"`, "200", "kimberlite_ready 1"},
		{"/debug/pprof/", `-H "Authorization: Bearer $(cat app.token)"`, "404", ""},
		{"/kimberlite.v1.TenantService/GetTenant", `-H "Authorization: Bearer $(cat app.token)" -d '{}'`, "200", "hospital-a"},
	} {
		status, body := p.get(t, "https://"+s.rpc+c.path, c.args)
		if status != c.status || !strings.Contains(body, c.body) {
			t.Errorf("%s %s: status %s, %s", c.path, c.args, status, body)
		}
	}
	for _, c := range []struct{ path, args, status, body string }{
		{"/readyz", "", "200", "ok"},
		{"/metrics", "", "200", `kimberlite_tenant_statements_total{tenant="1"}`},
		{"/debug/pprof/goroutine?debug=1", "", "200", "goroutine profile"},
		{"/metrics", `-H "Host: evil.example"`, "421", "loopback"},
		{"/kimberlite.v1.TenantService/GetTenant", "-d '{}'", "404", ""},
	} {
		status, body := p.get(t, "http://"+s.operator+c.path, c.args)
		if status != c.status || !strings.Contains(body, c.body) {
			t.Errorf("operator %s %s: status %s, %.200s", c.path, c.args, status, body)
		}
	}
	p.must(t, "kimberlite health --server https://"+s.rpc+" --ca ca.pem")
	p.must(t, "kimberlite health", "KIMBERLITE_OPERATOR_ADDR="+s.operator)
	s.stop(t)
	if o := p.run(t, "kimberlite health", "KIMBERLITE_OPERATOR_ADDR="+s.operator); o.status != 8 {
		t.Errorf("health of a server that is gone: exit %d, %s", o.status, o.stderr)
	}
	for _, private := range []string{"Alice", secret, "INSERT", "CREATE TABLE"} {
		if strings.Contains(s.log.String(), private) {
			t.Errorf("the log holds %q:\n%s", private, s.log.String())
		}
	}
}

func TestPlaintextIsRefusedUnlessAskedForAndOnLoopback(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	a := newAuthority(t, p)
	secret := p.bootstrap(t)
	s := p.serve(t, a, "")
	o := p.run(t, "psql -XAt -c 'SELECT 1'", append(s.libpq(a.file, "hospital-a", secret), "PGSSLMODE=disable")...)
	if o.status != 2 || strings.Contains(o.stdout, "1") {
		t.Errorf("without TLS: exit %d, %s", o.status, o.stderr)
	}
	s.stop(t)
	s = p.start(t, []string{"KIMBERLITE_PG_ALLOW_PLAINTEXT=true"}, "serve", "--config", "kimberlite.toml")
	if out := p.must(t, "psql -XAt -c 'SELECT 1'", append(s.libpq(a.file, "hospital-a", secret), "PGSSLMODE=disable")...); out != "1\n" {
		t.Errorf("asked for: %q", out)
	}
	s.stop(t)
}

// TestSIGTERMUnderLoadLosesNothingAndEndsCleanly has writers at work when the
// server is told to end: each write is answered or fails with an error that
// says so, what was answered is there afterwards, and the exit status is 0.
func TestSIGTERMUnderLoadLosesNothingAndEndsCleanly(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	a := newAuthority(t, p)
	secret := p.bootstrap(t)
	s := p.serve(t, a, "")
	setup := s.connect(t, a.file, "hospital-a", secret)
	if _, err := setup.Exec(t.Context(), "CREATE TABLE t (worker bigint, n bigint, primary key (worker, n))"); err != nil {
		t.Fatal(err)
	}
	const workers = 8
	var acknowledged [workers]int64
	var done atomic.Int64
	var wg sync.WaitGroup
	for w := range workers {
		c := s.connect(t, a.file, "hospital-a", secret)
		wg.Go(func() {
			for n := int64(1); ; n++ {
				ctx, cancel := context.WithTimeout(context.Background(), patience)
				_, err := c.Exec(ctx, "INSERT INTO t VALUES ($1, $2)", w, n)
				cancel()
				if err != nil {
					if ctx.Err() != nil && strings.Contains(err.Error(), "deadline") {
						t.Errorf("worker %d was left without an answer: %v", w, err)
					}
					return
				}
				acknowledged[w] = n
				done.Add(1)
			}
		})
	}
	// A transaction that is open, and a stream that never ends, too.
	open := s.connect(t, a.file, "hospital-a", secret)
	if _, err := open.Exec(t.Context(), "BEGIN"); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(patience)
	for done.Load() < 200 && time.Now().Before(deadline) {
		if err := setup.Ping(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	began := time.Now()
	s.stop(t)
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("the shutdown took %v", took)
	}
	wg.Wait()
	s = p.start(t, nil, "serve", "--config", "kimberlite.toml")
	c := s.connect(t, a.file, "hospital-a", secret)
	for w := range workers {
		var n int64
		if err := c.QueryRow(t.Context(), "SELECT count(*) FROM t WHERE worker = $1 AND n <= $2", w, acknowledged[w]).Scan(&n); err != nil || n != acknowledged[w] {
			t.Errorf("worker %d: %d of %d acknowledged are there, %v", w, n, acknowledged[w], err)
		}
	}
	s.stop(t)
	p.must(t, "kimberlite verify data")
}

func TestATailDoesNotHoldUpTheShutdown(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	s := p.dev(t, "D")
	secret := p.tenant(t, 1, "hospital-a")
	p.must(t, "kimberlite stream create --tenant 1 s", "KIMBERLITE_TOKEN="+secret)
	tail := p.background(t, "kimberlite stream tail --tenant 1 s", "KIMBERLITE_TOKEN="+secret)
	p.must(t, `kimberlite stream append --tenant 1 s '{"n":1}'`, "KIMBERLITE_TOKEN="+secret)
	tail.await(t, &tail.stdout, `"n":1`)
	began := time.Now()
	s.stop(t)
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("the shutdown took %v", took)
	}
	if status := tail.wait(t); status == 0 {
		t.Error("the tail ended as if all was well")
	}
}

func TestASecondSignalEndsItAtOnce(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	a := newAuthority(t, p)
	secret := p.bootstrap(t)
	s := p.serve(t, a, "[server]\ndrain_delay = \"10m\"\n")
	c := s.connect(t, a.file, "hospital-a", secret)
	s.signal(t, syscall.SIGTERM)
	s.await(t, &s.log, "shutting down")
	// While it drains it serves, and says that it is not ready.
	if err := c.Ping(t.Context()); err != nil {
		t.Errorf("a session while it drains: %v", err)
	}
	if status, _ := p.get(t, "http://"+s.operator+"/readyz"); status != "503" {
		t.Errorf("readyz: %s", status)
	}
	if status, _ := p.get(t, "https://"+s.rpc+"/readyz"); status != "503" {
		t.Errorf("readyz of the RPC: %s", status)
	}
	time.Sleep(300 * time.Millisecond) // a signal sooner is the same wish
	s.signal(t, syscall.SIGTERM)
	began := time.Now()
	if status := s.wait(t); status == 0 || time.Since(began) > 5*time.Second {
		t.Errorf("exit %d after %v", status, time.Since(began))
	}
}

func TestANewCertificateIsServedOnSIGHUPWithoutAnInterruption(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	a := newAuthority(t, p)
	secret := p.bootstrap(t)
	s := p.serve(t, a, "")
	c := s.connect(t, a.file, "hospital-a", secret)
	if got := a.serial(t, s.rpc); got != "100" {
		t.Fatalf("serial %s", got)
	}
	a.issue(t, p, 101)
	s.signal(t, syscall.SIGHUP)
	s.await(t, &s.log, "a new certificate is in force")
	if got := a.serial(t, s.rpc); got != "101" {
		t.Errorf("serial %s", got)
	}
	if err := c.Ping(t.Context()); err != nil {
		t.Errorf("a session was interrupted: %v", err)
	}
	s.connect(t, a.file, "hospital-a", secret) // with channel binding to the new one
	p.write(t, "tls.crt", "nonsense")
	s.signal(t, syscall.SIGHUP)
	s.await(t, &s.log, "the last one goes on")
	if got := a.serial(t, s.rpc); got != "101" {
		t.Errorf("serial %s", got)
	}
	s.stop(t)
}

func TestAStartThatCannotWorkSaysWhatToDo(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	a := newAuthority(t, p)
	p.bootstrap(t)
	s := p.serve(t, a, "")
	if err := os.Mkdir(p.path("other"), 0o700); err != nil {
		t.Fatal(err)
	}
	p.write(t, "open.key", "x")
	if err := os.Chmod(p.path("open.key"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		env    []string
		status int
		want   []string
	}{
		{"the same data directory", nil, 8, []string{"is in use by process"}},
		{"the port is taken", []string{"KIMBERLITE_DATA_DIR=other", "KIMBERLITE_RPC_ADDR=" + s.rpc}, 8, []string{"rpc.addr", "another process listens on", "port 0"}},
		{"the port of psql is taken", []string{"KIMBERLITE_DATA_DIR=other", "KIMBERLITE_PG_ADDR=" + s.pg}, 8, []string{"pg.addr", "another process listens on"}},
		{"an address of another machine", []string{"KIMBERLITE_DATA_DIR=other", "KIMBERLITE_PG_ADDR=192.0.2.1:5433"}, 2, []string{"pg.addr", "this machine has no address"}},
		{"no certificate there", []string{"KIMBERLITE_PG_TLS_CERT=none.pem"}, 2, []string{"none.pem", "certificate"}},
		{"a key that all can read", []string{"KIMBERLITE_PG_TLS_KEY=open.key"}, 2, []string{"open.key", "chmod 0600"}},
		{"a certificate of another key", []string{"KIMBERLITE_PG_TLS_CERT=ca.pem"}, 2, []string{"not a certificate and its key"}},
		{"a variable that is no key", []string{"KIMBERLITE_PG_PORT=5433"}, 2, []string{"KIMBERLITE_PG_PORT", "names no key"}},
		{"a value out of range", []string{"KIMBERLITE_PG_MAX_CONNECTIONS=0"}, 2, []string{"KIMBERLITE_PG_MAX_CONNECTIONS", "1 to 100000"}},
		{"an unknown master key", []string{"KIMBERLITE_DATA_DIR=other", "KIMBERLITE_DATA_MASTER_KEY=file:///none/key"}, 1, []string{"/none/key"}},
	} {
		o := p.run(t, "timeout 30 kimberlite serve --config kimberlite.toml", c.env...)
		if o.status != c.status && !(c.name == "an unknown master key" && o.status != 0) {
			t.Errorf("%s: exit %d, want %d: %s", c.name, o.status, c.status, o.stderr)
		}
		for _, part := range c.want {
			if !strings.Contains(o.stderr, part) {
				t.Errorf("%s: %s says nothing of %q", c.name, o.stderr, part)
			}
		}
	}
	for _, c := range []struct {
		line   string
		status int
		want   string
	}{
		{"kimberlite serve --config none.toml", 3, "config init"},
		{"kimberlite serve --data D", 2, "data.dir"},
		{"kimberlite config check kimberlite.toml", 0, "KEY"},
		{"kimberlite config check none.toml", 3, "config init"},
		{"KIMBERLITE_PG_TLS_KEY=open.key kimberlite config check kimberlite.toml", 2, "chmod 0600"},
		{"printf '[pg]\\nadr = 1\\n' > bad.toml; kimberlite config check bad.toml", 2, "line 2"},
		{"kimberlite config init --out new.toml && kimberlite config init --out new.toml", 4, "--force"},
		{"kimberlite config init > again.toml && cmp new.toml again.toml", 0, ""},
		{"kimberlite config check new.toml", 2, "tls_cert"},
	} {
		o := p.run(t, c.line)
		if o.status != c.status || !strings.Contains(o.stdout+o.stderr, c.want) {
			t.Errorf("%s: exit %d, want %d\n%s%s", c.line, o.status, c.status, o.stdout, o.stderr)
		}
	}
	s.stop(t)
}

// TestReadinessIsToldToTheServiceManager listens as systemd does.
func TestReadinessIsToldToTheServiceManager(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	a := newAuthority(t, p)
	p.bootstrap(t)
	said := listenNotify(t, p.path("notify"))
	cert, key := a.issue(t, p, 1)
	s := p.start(t, []string{"NOTIFY_SOCKET=" + p.path("notify")}, "serve", "--config", p.configuration(t, cert, key, ""))
	if got := <-said; got != "READY=1" {
		t.Errorf("it said %q", got)
	}
	s.stop(t)
	if got := <-said; got != "STOPPING=1" {
		t.Errorf("it said %q", got)
	}
}

// TestConnectionsBeyondTheLimitAreRefused holds both doors to their limits.
func TestConnectionsBeyondTheLimitAreRefused(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	a := newAuthority(t, p)
	secret := p.bootstrap(t)
	cert, key := a.issue(t, p, 1)
	file := p.configuration(t, cert, key, "")
	s := p.start(t, []string{"KIMBERLITE_PG_MAX_CONNECTIONS=5", "KIMBERLITE_PG_MAX_CONNECTIONS_PER_TENANT=3", "KIMBERLITE_RPC_MAX_CONNECTIONS=2"}, "serve", "--config", file)
	for range 3 {
		s.connect(t, a.file, "hospital-a", secret)
	}
	if c, err := pgx.Connect(t.Context(), s.url(a.file, "hospital-a", secret)); err == nil {
		_ = c.Close(t.Context())
		t.Error("a fourth session of the tenant is let in")
	} else if !strings.Contains(err.Error(), "53300") {
		t.Errorf("the refusal is %v", err)
	}
	var held []net.Conn
	for range 2 {
		c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", s.rpc)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		held = append(held, c)
	}
	// The third is closed without a word, and at once: one that is let in and
	// says nothing is closed after rpc.read_header_timeout, 10 s.
	c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", s.rpc)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := c.Read(make([]byte, 1)); err == nil || os.IsTimeout(err) {
		t.Errorf("a connection beyond the limit of the RPC: %v", err)
	}
	_ = held[0].Close()
	eventually(t, func() bool { return p.run(t, "curl -sS --cacert ca.pem https://"+s.rpc+"/readyz").status == 0 })
	s.stop(t)
}
