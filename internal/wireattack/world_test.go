package wireattack

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"kimberlite/internal/testbed"
)

func TestMain(m *testing.M) {
	code := m.Run()
	testbed.RemoveBinary()
	// All were run, unless some were asked for: then none may have been lost.
	if run := flag.Lookup("test.run"); code == 0 && run.Value.String() == "" && flag.Lookup("test.list").Value.String() == "" {
		_, _ = fmt.Fprintf(os.Stderr, "%d attacks were made\n", made.Load())
		if made.Load() < leastAttacks {
			_, _ = fmt.Fprintf(os.Stderr, "FAIL: there must be %d\n", leastAttacks)
			code = 1
		}
	}
	os.Exit(code)
}

// patience bounds what an attack may take beyond its own limits.
const patience = 20 * time.Second

// maxResident is what the server may take of memory, at its worst.
const maxResident = 512 << 20

// made counts the attacks of all tests.
var made atomic.Int64

// The tenants' names.
const (
	victimName   = mark + "-victim"
	attackerName = "clinic-two"
	otherName    = mark + "-other"
)

// world is a running server with a victim, an attacker and a bystander.
type world struct {
	top      *testing.T
	k        *testbed.Kimberlite
	roots    *x509.CertPool
	operator string // address
	restarts int    // starts that trust has seen
	// secrets of credentials, by "name@tenant".
	secrets map[string]string
	guard   *pgconn.PgConn // the victim's
	before  []byte         // the victim's rows
	logged  int            // how much of the log was looked at
	started usage
	peak    int64  // of memory
	said    string // by the attacker in the attack under way: echoes are no leaks
}

// usage is what the server's process holds.
type usage struct {
	resident, heap    int64
	goroutines, files int
}

// newWorld starts a server and fills it.
func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{top: t, k: testbed.StartKimberlite(t, "--verbose"), roots: x509.NewCertPool(), secrets: map[string]string{}}
	w.trust(t)
	w.k.CreateTenant(t, 1, victimName)
	w.k.CreateTenant(t, 2, attackerName)
	w.k.CreateTenant(t, 3, otherName)
	for _, c := range []struct {
		tenant     int
		of         string
		name, role string
	}{
		{1, victimName, mark + "app", "owner"}, {1, victimName, mark + "nurse", "reader"}, {1, victimName, "app", "owner"},
		{2, attackerName, "app", "owner"}, {2, attackerName, "reader", "reader"}, {2, attackerName, "writer", "writer"}, {2, attackerName, "auditor", "auditor"},
		{3, otherName, "app", "owner"},
	} {
		w.secrets[c.name+"@"+c.of] = w.k.CreateCredential(t, c.tenant, c.name, c.role)
	}
	w.fill(t)
	w.settle(t)
	w.started = w.usage(t)
	return w
}

var readyLine = regexp.MustCompile(`server: ready" pg=\S+ rpc=\S+ operator=(\S+)`)

// trust reads what a start of the server made and printed.
func (w *world) trust(t *testing.T) {
	t.Helper()
	pem, err := os.ReadFile(w.k.CA())
	if err != nil || !w.roots.AppendCertsFromPEM(pem) {
		t.Fatalf("the server's authority: %v", err)
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		// It may answer before it says so; a start after a kill says it again.
		ready := readyLine.FindAllStringSubmatch(w.k.Log(), -1)
		if len(ready) > w.restarts {
			w.restarts++
			w.operator = ready[len(ready)-1][1]
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the server did not say where it listens:\n%s", w.k.Log())
		}
	}
}

// fill gives every tenant its tables and streams; the victim's are all secret.
func (w *world) fill(t *testing.T) {
	t.Helper()
	w.guard = w.connect(t, mark+"app", victimName, nil)
	must(t, w.guard, strings.NewReplacer("MARK", mark, "NUM", markNumber).Replace(`
		CREATE TABLE MARK_patients (id bigint primary key, MARK_name text UNIQUE DEFAULT 'MARK default', doc text, CHECK (MARK_name <> 'MARK check'));
		CREATE INDEX MARK_index ON MARK_patients (doc);
		CREATE VIEW MARK_view AS SELECT MARK_name FROM MARK_patients;
		CREATE TABLE MARK_visits (id serial primary key, patient bigint REFERENCES MARK_patients (id));
		CREATE TABLE own (id serial primary key, secret text UNIQUE, n integer);
		CREATE SEQUENCE MARK_sequence START NUM001;
		CREATE SEQUENCE counter START NUM002;
		INSERT INTO own VALUES (7919, 'MARK row of the same name', 7919);
		INSERT INTO MARK_patients SELECT NUM000 + g, 'MARK ' || g, repeat('MARK document ', 20) FROM generate_series(1, 50) g`))
	w.rpc(t, mark+"app@"+victimName, "StreamService/CreateStream", `{"tenant":"1","name":"`+mark+`-stream"}`).ok(t)
	w.rpc(t, mark+"app@"+victimName, "StreamService/CreateStream", `{"tenant":"1","name":"feed"}`).ok(t)
	for _, stream := range []string{mark + "-stream", "feed"} {
		w.rpc(t, mark+"app@"+victimName, "StreamService/Append", `{"tenant":"1","stream":"`+stream+`","messages":[{"contentType":"text/`+mark+`","data":"dnE3azl6d2FyZA=="}]}`).ok(t)
	}
	for _, tenant := range []string{attackerName, otherName} {
		c := w.connect(t, "app", tenant, nil)
		w.provide(t, c)
		must(t, c, `CREATE SEQUENCE counter; CREATE TABLE probe(id bigint primary key, note text); INSERT INTO probe SELECT g, 'probe' FROM generate_series(1, 20) g`)
		close1(c)
	}
	w.rpc(t, "app@"+attackerName, "StreamService/CreateStream", `{"tenant":"2","name":"feed"}`).ok(t)
	w.before = w.look(t)
}

// provide makes the attacker's table, unless it is there.
func (w *world) provide(t testing.TB, c *pgconn.PgConn) {
	t.Helper()
	must(t, c, `DROP TABLE IF EXISTS own; CREATE TABLE own(id serial primary key, secret text UNIQUE, n integer CHECK (n < 1000)); INSERT INTO own(secret, n) VALUES ('`+ownMark+`', 1)`)
}

// look returns the victim's rows and what else an attack could change.
func (w *world) look(t testing.TB) []byte {
	t.Helper()
	var all bytes.Buffer
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	results, err := w.guard.Exec(ctx, strings.ReplaceAll(`SELECT * FROM MARK_patients ORDER BY id; SELECT * FROM own; SELECT sequencename, start_value, last_value FROM pg_sequences ORDER BY 1;
		SELECT stream, count(*) FROM kimberlite.events GROUP BY stream ORDER BY stream; SELECT count(*) FROM MARK_visits`, "MARK", mark)).ReadAll()
	if err != nil {
		t.Fatalf("the victim cannot read: %v", err)
	}
	for _, r := range results {
		for _, row := range r.Rows {
			all.Write(bytes.Join(row, []byte("|")))
			all.WriteByte('\n')
		}
	}
	return all.Bytes()
}

// config is a pgx configuration for a credential. from is the loopback address
// that the client has, "" for 127.0.0.1; what it receives goes to tap.
func (w *world) config(t testing.TB, name, tenant, from string, to *tap) *pgconn.Config {
	t.Helper()
	c, err := pgconn.ParseConfig("postgres://x@localhost/?sslmode=require")
	if err != nil {
		t.Fatal(err)
	}
	host, port, _ := net.SplitHostPort(w.k.PG)
	n, _ := strconv.ParseUint(port, 10, 16)
	c.Host, c.Port, c.User, c.Password, c.Database = host, uint16(n), name+"@"+tenant, w.secrets[name+"@"+tenant], ""
	c.TLSConfig = &tls.Config{RootCAs: w.roots, ServerName: "localhost"}
	c.Fallbacks = nil
	if from != "" {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
		c.DialFunc = d.DialContext
	}
	if to != nil {
		c.BuildFrontend = func(r io.Reader, send io.Writer) *pgproto3.Frontend {
			return pgproto3.NewFrontend(io.TeeReader(r, to), send)
		}
	}
	return c
}

func (w *world) connect(t testing.TB, name, tenant string, to *tap) *pgconn.PgConn {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, err := pgconn.ConnectConfig(ctx, w.config(t, name, tenant, "", to))
	if err != nil {
		t.Fatalf("%s cannot log in: %v", name, err)
	}
	t.Cleanup(func() { close1(c) })
	return c
}

func close1(c *pgconn.PgConn) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = c.Close(ctx)
}

func must(t testing.TB, c *pgconn.PgConn, sql string) []*pgconn.Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	results, err := c.Exec(ctx, sql).ReadAll()
	if err != nil {
		t.Fatalf("%.200s: %v", sql, err)
	}
	return results
}

// one returns the first value of a query.
func one(t testing.TB, c *pgconn.PgConn, sql string) string {
	t.Helper()
	results := must(t, c, sql)
	last := results[len(results)-1]
	if len(last.Rows) == 0 {
		return ""
	}
	return string(last.Rows[0][0])
}

// usage asks the kernel and the server's own profiles.
func (w *world) usage(t testing.TB) usage {
	t.Helper()
	var u usage
	u.resident = w.status(t, "VmRSS:")
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", w.k.PID()))
	if err != nil {
		t.Fatalf("the server is gone: %v\n%s", err, tailOf(w.k.Log()))
	}
	u.files = len(entries)
	text := w.profile(t, "goroutine?debug=1")
	_, _ = fmt.Sscanf(text, "goroutine profile: total %d", &u.goroutines)
	if m := regexp.MustCompile(`# HeapAlloc = (\d+)`).FindStringSubmatch(w.profile(t, "heap?debug=1&gc=1")); m != nil {
		u.heap, _ = strconv.ParseInt(m[1], 10, 64)
	}
	return u
}

func (w *world) profile(t testing.TB, name string) string {
	t.Helper()
	rq, err := http.NewRequestWithContext(context.Background(), http.MethodGet, "http://"+w.operator+"/debug/pprof/"+name, nil)
	if err != nil {
		t.Fatal(err)
	}
	rq.Close = true
	answer, err := http.DefaultClient.Do(rq)
	if err != nil {
		t.Fatalf("the server does not answer its operator: %v\n%s", err, tailOf(w.k.Log()))
	}
	defer answer.Body.Close()
	text, _ := io.ReadAll(answer.Body)
	return string(text)
}

// status reads a size of the process's.
func (w *world) status(t testing.TB, name string) int64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", w.k.PID()))
	if err != nil {
		t.Fatalf("the server is gone: %v\n%s", err, tailOf(w.k.Log()))
	}
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == name {
			n, _ := strconv.ParseInt(fields[1], 10, 64)
			return n << 10
		}
	}
	return 0
}

func tailOf(text string) string { return text[max(0, len(text)-4000):] }

// settle waits until the connections that were closed are gone.
func (w *world) settle(t testing.TB) {
	t.Helper()
	deadline := time.Now().Add(patience)
	last := w.usage(t)
	for calm := 0; calm < 2 && time.Now().Before(deadline); {
		time.Sleep(20 * time.Millisecond)
		now := w.usage(t)
		if now.goroutines == last.goroutines && now.files == last.files {
			calm++
		} else {
			calm = 0
		}
		last = now
	}
}

// attack runs one attack, and looks at the victim, the server and its log
// afterwards.
func (w *world) attack(t *testing.T, name string, run func(t *testing.T)) {
	t.Helper()
	t.Run(name, func(t *testing.T) {
		made.Add(1)
		w.said = ""
		run(t)
		w.check(t)
	})
}

// sqlInLog are words that only SQL has; the log has no SQL.
var sqlInLog = regexp.MustCompile(`(?i)select |insert into|attach |pragma |create table|update own|delete from|kmb_[0-9]+_|kmb_op_`)

// logLine is a line of the log; the others are what dev prints for its user.
var logLine = regexp.MustCompile(`(?m)^time=.*$`)

// check is what holds after every attack.
func (w *world) check(t testing.TB) {
	t.Helper()
	if now := w.look(t); !bytes.Equal(now, w.before) {
		t.Errorf("the victim's rows have changed:\n%s\nwere\n%s", now, w.before)
		w.before = now
	}
	most := w.status(t, "VmHWM:")
	w.peak = max(w.peak, most)
	if most > maxResident {
		t.Errorf("the server took %d MiB", most>>20)
		w.resetPeak()
	}
	text := w.k.Log()
	news := text[w.logged:]
	w.logged = len(text)
	if strings.Contains(news, "goroutine ") {
		t.Errorf("the server broke down:\n%s", tailOf(news))
	}
	news = strings.Join(logLine.FindAllString(news, -1), "\n")
	if leak([]byte(news)) != "" || strings.Contains(news, ownMark) || sqlInLog.MatchString(news) || strings.Contains(news, "panic") {
		t.Errorf("the log says what it must not:\n%s", tailOf(news))
	}
}

// resetPeak makes the kernel forget the most that the process ever had.
func (w *world) resetPeak() {
	_ = os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", w.k.PID()), []byte("5"), 0o600) // not offered everywhere
}

// finish looks at what is left when all attacks were made: the bystanders
// work, and the server holds no more than at its start.
func (w *world) finish(t *testing.T) {
	t.Helper()
	w.check(t)
	for _, tenant := range []string{attackerName, otherName, victimName} {
		c := w.connect(t, "app", tenant, nil)
		if one(t, c, "CREATE TABLE after_all (a int); INSERT INTO after_all VALUES (42); SELECT a FROM after_all") != "42" {
			t.Errorf("%s does not work any more", tenant)
		}
		close1(c)
	}
	var now usage
	deadline := time.Now().Add(patience)
	for {
		if now = w.usage(t); now.goroutines <= w.started.goroutines+15 && now.files <= w.started.files+30 && now.heap <= w.started.heap+256<<20 {
			break
		}
		if time.Now().After(deadline) {
			t.Errorf("the server holds %+v, and held %+v before the attacks", now, w.started)
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Logf("memory: %d MiB before, %d MiB at most, %d MiB now (heap %d MiB); goroutines %d, were %d; files %d, were %d",
		w.started.resident>>20, w.peak>>20, now.resident>>20, now.heap>>20, now.goroutines, w.started.goroutines, now.files, w.started.files)
}
