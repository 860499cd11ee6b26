package pgwire

import (
	"bytes"
	"context"
	"encoding/binary"
	"flag"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"

	"kimberlite/internal/node"
)

var recording = flag.Bool("record", false, "record what psql and pgx send into testdata/capture")

// recorder passes bytes between a client and a door, and keeps the client's.
type recorder struct {
	addr string
	mu   sync.Mutex // guards sent
	sent bytes.Buffer
}

func startRecorder(tb testing.TB, to string) *recorder {
	tb.Helper()
	l, err := (&net.ListenConfig{}).Listen(tb.Context(), "tcp", "127.0.0.1:0")
	check(tb, err)
	tb.Cleanup(func() { _ = l.Close() })
	r := &recorder{addr: l.Addr().String()}
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", to)
			if err != nil {
				_ = client.Close()
				return
			}
			go func() {
				_, _ = io.Copy(client, server)
				_ = client.Close()
			}()
			go func() {
				_, _ = io.Copy(io.MultiWriter(server, r), client)
				_ = server.(*net.TCPConn).CloseWrite()
			}()
		}
	}()
	return r
}

// Write implements [io.Writer].
func (r *recorder) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.sent.Write(b)
}

// afterLogin is what was sent after the login, which holds nonces and proofs
// and is never the same.
func (r *recorder) afterLogin() []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	b := r.sent.Bytes()
	for len(b) >= 8 && b[0] == 0 { // packets without a type
		b = b[binary.BigEndian.Uint32(b):]
	}
	for len(b) >= 5 && b[0] == 'p' {
		b = b[1+binary.BigEndian.Uint32(b[1:]):]
	}
	return bytes.Clone(b)
}

// through is a door's address as seen through a recorder.
func (d *door) through(r *recorder) *door {
	other := *d
	other.addr = r.addr
	return &other
}

// psqlScript is what psql is made to do.
const psqlScript = `\timing off
CREATE TABLE IF NOT EXISTS c (id bigint PRIMARY KEY, name text, at timestamptz);
INSERT INTO c VALUES (1, 'a', '2026-11-23 20:00:00+00'), (2, NULL, NULL);
SELECT * FROM c ORDER BY id;
BEGIN; UPDATE c SET name = 'b'; SAVEPOINT s; DELETE FROM c; ROLLBACK TO s; COMMIT;
\copy c (id, name) FROM STDIN WITH (FORMAT csv)
3,"x,y"
4,z
\.
COPY c TO STDOUT;
SELECT nothing;
SELECT id FROM c;
SHOW server_version;
SELECT pg_advisory_lock(1), pg_advisory_unlock(1);
DROP TABLE c;
`

// psql runs a script and returns what it prints.
func (d *door) psql(tb testing.TB, script string, args ...string) string {
	tb.Helper()
	bin, err := exec.LookPath("psql")
	if err != nil {
		tb.Skip("psql is not installed")
	}
	host, port, err := net.SplitHostPort(d.addr)
	check(tb, err)
	c := exec.CommandContext(tb.Context(), bin, append([]string{"-X", "-A", "-t", "-h", host, "-p", port, "-U", "app@1"}, args...)...)
	c.Env = append(os.Environ(), "PGPASSWORD="+d.secret, "PGSSLMODE=disable", "HOME="+tb.TempDir())
	c.Stdin = strings.NewReader(script)
	out, err := c.CombinedOutput()
	if err != nil {
		tb.Logf("psql: %v", err)
	}
	return string(out)
}

// pgxWork is what pgx is made to do.
func pgxWork(tb testing.TB, d *door) {
	tb.Helper()
	c := d.config(tb, "app@1", d.secret)
	c.TLSConfig = nil
	conn, err := pgx.ConnectConfig(tb.Context(), c)
	check(tb, err)
	defer func() { _ = conn.Close(context.Background()) }()
	ctx := tb.Context()
	_, _ = conn.Exec(ctx, "CREATE TABLE g (id bigint PRIMARY KEY, name text)")
	for i := range 3 {
		_, _ = conn.Exec(ctx, "INSERT INTO g VALUES ($1, $2)", i, "x")
	}
	rows, _ := conn.Query(ctx, "SELECT id, name FROM g WHERE id >= $1", 1)
	rows.Close()
	var b pgx.Batch
	b.Queue("UPDATE g SET name = $1", "y")
	b.Queue("SELECT count(*) FROM g")
	_ = conn.SendBatch(ctx, &b).Close()
	tx, err := conn.Begin(ctx)
	check(tb, err)
	_, _ = tx.Exec(ctx, "DELETE FROM g WHERE id = $1 RETURNING id", 1)
	_ = tx.Rollback(ctx)
	_, _ = conn.Exec(ctx, "DROP TABLE g", pgx.QueryExecModeSimpleProtocol)
}

func TestRecordedClientsWorkThroughTheDoor(t *testing.T) {
	d := openDoor(t, plain)
	p := startRecorder(t, d.addr)
	out := d.through(p).psql(t, psqlScript)
	for _, want := range []string{"1|a|2026-11-23 20:00:00+00", "3\tx,y\t\\N", `column "nothing" does not exist`, "15.0 (Kimberlite test)", "DROP TABLE"} {
		if !strings.Contains(out, want) {
			t.Errorf("psql did not print %q:\n%s", want, out)
		}
	}
	g := startRecorder(t, d.addr)
	pgxWork(t, d.through(g))
	if !*recording {
		return
	}
	dir := filepath.Join("testdata", "capture")
	check(t, os.MkdirAll(dir, 0o755))
	check(t, os.WriteFile(filepath.Join(dir, "psql.bin"), p.afterLogin(), 0o644))
	check(t, os.WriteFile(filepath.Join(dir, "pgx.bin"), g.afterLogin(), 0o644))
}

// FuzzSession gives a session that has logged in whatever bytes: it must end,
// and must not panic, whatever they are.
func FuzzSession(f *testing.F) {
	files, err := filepath.Glob(filepath.Join("testdata", "capture", "*.bin"))
	check(f, err)
	for _, file := range files {
		b, err := os.ReadFile(file)
		check(f, err)
		f.Add(b)
	}
	var b []byte
	for _, m := range []pgproto3.FrontendMessage{
		&pgproto3.Parse{Query: "SELECT $1::int8"}, &pgproto3.Bind{Parameters: [][]byte{[]byte("1")}}, &pgproto3.Describe{ObjectType: 'P'},
		&pgproto3.Execute{MaxRows: 1}, &pgproto3.Flush{}, &pgproto3.Close{ObjectType: 'S'}, &pgproto3.Sync{}, &pgproto3.Query{String: "COPY t FROM STDIN"},
		&pgproto3.CopyData{Data: []byte("1\ta\n")}, &pgproto3.CopyFail{}, &pgproto3.FunctionCall{}, &pgproto3.Terminate{},
	} {
		b, err = m.Encode(b)
		check(f, err)
	}
	f.Add(b)
	d := openDoor(f, func(c *Config, _ *node.Config) {
		c.Limits.StatementTimeout, c.Limits.MaxMessageBytes = 200*time.Millisecond, 1<<20
	})
	f.Fuzz(func(t *testing.T, sent []byte) {
		proof, err := d.auth.Token(t.Context(), d.secret, netip.MustParseAddr("127.0.0.1"))
		check(t, err)
		ours, theirs := net.Pipe()
		s := newSession(d.srv, theirs)
		s.parent, s.proof, s.user = t.Context(), proof, "app@1"
		s.tenantID = proof.Principal().Tenant
		s.tenant, err = proof.Tenant()
		check(t, err)
		check(t, s.settings.start(s, nil))
		done := make(chan struct{})
		go func() {
			defer close(done)
			defer func() { _ = theirs.Close() }()
			defer s.release()
			s.loop()
		}()
		go func() { _, _ = io.Copy(io.Discard, ours) }()
		_ = ours.SetWriteDeadline(time.Now().Add(10 * time.Second))
		_, _ = ours.Write(sent)
		_ = ours.Close()
		select {
		case <-done:
		case <-time.After(20 * time.Second):
			t.Fatal("the session goes on without its client")
		}
	})
}

// FuzzStartup gives a connection whatever first bytes.
func FuzzStartup(f *testing.F) {
	f.Add(packet(v3, "user\x00app@1\x00\x00"))
	f.Add(packet(codeTLS, ""))
	f.Add(packet(codeCancel, "\x00\x00\x00\x01abcd"))
	f.Add(append(packet(codeGSS, ""), packet(v3|7, "user\x00a\x00_pq_.x\x00\x00\x00")...))
	f.Add([]byte{recordHandshake, 3, 1, 0, 5, 1, 2, 3, 4, 5})
	d := openDoor(f, func(c *Config, n *node.Config) {
		plain(c, n)
		c.Limits.LoginTimeout = time.Second
	})
	f.Fuzz(func(t *testing.T, sent []byte) {
		ours, theirs := net.Pipe()
		s := newSession(d.srv, theirs)
		s.parent = t.Context()
		done := make(chan bool, 1)
		go func() {
			done <- s.login(t.Context())
			_ = theirs.Close()
		}()
		go func() { _, _ = io.Copy(io.Discard, ours) }()
		_ = ours.SetWriteDeadline(time.Now().Add(5 * time.Second))
		_, _ = ours.Write(sent)
		_ = ours.Close()
		if <-done {
			t.Fatal("a client without a credential is in")
		}
	})
}
