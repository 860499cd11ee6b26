package servertest

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"kimberlite/internal/testbed"
)

func TestMain(m *testing.M) {
	code := m.Run()
	testbed.RemoveBinary()
	os.Exit(code)
}

// patience bounds what a test waits for.
const patience = 60 * time.Second

// place is a directory for one test, with a configuration directory of its own.
type place struct {
	dir string
	env []string
}

func newPlace(t *testing.T) *place {
	t.Helper()
	for _, tool := range []string{"psql", "pgbench", "curl", "sh"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Fatalf("%v: scripts/test.sh installs what these tests need", err)
		}
	}
	dir := t.TempDir()
	p := &place{dir: dir, env: []string{
		"PATH=" + filepath.Dir(testbed.Binary(t)) + ":" + os.Getenv("PATH"), "HOME=" + dir, "TMPDIR=" + dir, "LC_ALL=C",
		"PGCONNECT_TIMEOUT=20",
	}}
	if v := os.Getenv("GODEBUG"); v != "" {
		p.env = append(p.env, "GODEBUG="+v)
	}
	return p
}

func (p *place) path(name string) string { return filepath.Join(p.dir, name) }

func (p *place) write(t *testing.T, name, text string) string {
	t.Helper()
	if err := os.WriteFile(p.path(name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return p.path(name)
}

// outcome is what a command did.
type outcome struct {
	stdout, stderr string
	status         int
}

// run runs a command line of sh, with further environment.
func (p *place) run(t *testing.T, line string, env ...string) outcome {
	t.Helper()
	return p.feed(t, "", line, env...)
}

func (p *place) feed(t *testing.T, stdin, line string, env ...string) outcome {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-c", line)
	cmd.Dir, cmd.Env, cmd.Stdin = p.dir, append(p.env, env...), strings.NewReader(stdin)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return outcome{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// must runs a command line that has to succeed.
func (p *place) must(t *testing.T, line string, env ...string) string {
	t.Helper()
	o := p.run(t, line, env...)
	if o.status != 0 {
		t.Fatalf("%s: exit %d\n%s%s", line, o.status, o.stdout, o.stderr)
	}
	return o.stdout
}

// process is a running server.
type process struct {
	cmd               *exec.Cmd
	pg, rpc, operator string // where it listens
	stdout, log       lines
	ended             chan struct{} // closed when it has ended
	err               error         // of its end; read after ended
}

// lines keeps what is written and lets a test wait for a line.
type lines struct {
	mu      sync.Mutex // guards all below
	text    bytes.Buffer
	changed chan struct{} // closed at the next write
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.changed != nil {
		close(l.changed)
		l.changed = nil
	}
	return l.text.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// next returns a channel that is closed at the next write.
func (l *lines) next() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.changed == nil {
		l.changed = make(chan struct{})
	}
	return l.changed
}

// await returns the first match, once there is one.
func (s *process) await(t *testing.T, l *lines, pattern string) []string {
	t.Helper()
	re := regexp.MustCompile(pattern)
	timeout := time.After(patience)
	for {
		changed := l.next()
		if m := re.FindStringSubmatch(l.String()); m != nil {
			return m
		}
		select {
		case <-changed:
		case <-s.ended:
			if m := re.FindStringSubmatch(l.String()); m != nil {
				return m
			}
			t.Fatalf("it ended (%v) without saying %q:\n%s", s.err, pattern, s.log.String())
		case <-timeout:
			t.Fatalf("it does not say %q:\n%s", pattern, s.log.String())
		}
	}
}

// start starts kimberlite and waits until it is ready. It is ended with the
// test, if nobody has before.
func (p *place) start(t *testing.T, env []string, args ...string) *process {
	t.Helper()
	s := &process{cmd: exec.Command(testbed.Binary(t), args...), ended: make(chan struct{})}
	s.cmd.Dir, s.cmd.Env = p.dir, append(p.env, env...)
	s.cmd.Stdout, s.cmd.Stderr = &s.stdout, &s.log
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { // ends with the process
		s.err = s.cmd.Wait()
		close(s.ended)
	}()
	t.Cleanup(func() {
		_ = s.cmd.Process.Kill()
		<-s.ended
		if t.Failed() {
			t.Logf("%v:\n%s", args, s.log.String())
		}
	})
	m := s.await(t, &s.log, `server: ready" pg=(\S+) rpc=(\S+) operator=(\S+)`)
	s.pg, s.rpc, s.operator = m[1], m[2], m[3]
	return s
}

// background runs a command line of sh that goes on.
func (p *place) background(t *testing.T, line string, env ...string) *process {
	t.Helper()
	s := &process{cmd: exec.Command("sh", "-c", "exec "+line), ended: make(chan struct{})}
	s.cmd.Dir, s.cmd.Env = p.dir, append(p.env, env...)
	s.cmd.Stdout, s.cmd.Stderr = &s.stdout, &s.log
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { // ends with the process
		s.err = s.cmd.Wait()
		close(s.ended)
	}()
	t.Cleanup(func() {
		_ = s.cmd.Process.Kill()
		<-s.ended
	})
	return s
}

// eventually asks until the answer is yes.
func eventually(t *testing.T, ready func() bool) {
	t.Helper()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	timeout := time.After(patience)
	for !ready() {
		select {
		case <-ticker.C:
		case <-timeout:
			t.Fatal("not within the time")
		}
	}
}

// listenNotify is a service manager's socket; what it is told comes out of
// the channel.
func listenNotify(t *testing.T, path string) <-chan string {
	t.Helper()
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	said := make(chan string, 10)
	go func() { // ends when the socket is closed
		b := make([]byte, 100)
		for {
			n, err := c.Read(b)
			if err != nil {
				close(said)
				return
			}
			said <- string(b[:n])
		}
	}()
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetReadDeadline(time.Now().Add(patience))
	return said
}

func (s *process) signal(t *testing.T, sig os.Signal) {
	t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
}

// wait waits for its end and returns its exit status.
func (s *process) wait(t *testing.T) int {
	t.Helper()
	select {
	case <-s.ended:
	case <-time.After(patience):
		t.Fatalf("it does not end:\n%s", s.log.String())
	}
	return s.cmd.ProcessState.ExitCode()
}

// stop ends it as an operator does.
func (s *process) stop(t *testing.T) {
	t.Helper()
	s.signal(t, syscall.SIGTERM)
	if status := s.wait(t); status != 0 {
		t.Fatalf("exit %d after SIGTERM:\n%s", status, s.log.String())
	}
}

// dev starts a development server on a data directory.
func (p *place) dev(t *testing.T, data string) *process {
	t.Helper()
	return p.start(t, nil, "dev", "--verbose", "--data", data, "--pg-addr", "127.0.0.1:0", "--rpc-addr", "127.0.0.1:0", "--operator-addr", "127.0.0.1:0")
}

// tenant makes a tenant and a credential, and returns the latter's secret.
func (p *place) tenant(t *testing.T, id int, name string) string {
	t.Helper()
	p.must(t, fmt.Sprintf("kimberlite tenant create --id %d --name %s", id, name))
	return p.credential(t, id, "app", "owner")
}

func (p *place) credential(t *testing.T, tenant int, name, role string) string {
	t.Helper()
	out := p.must(t, fmt.Sprintf("kimberlite credential create --tenant %d --name %s --role %s --json", tenant, name, role))
	var doc struct {
		Secret string `json:"secret"`
	}
	if err := json.Unmarshal([]byte(out), &doc); err != nil || doc.Secret == "" {
		t.Fatalf("no secret: %v", err)
	}
	return doc.Secret
}

// libpq returns libpq's variables for app at a tenant.
func (s *process) libpq(ca, tenant, secret string) []string {
	host, port, _ := net.SplitHostPort(s.pg)
	return []string{
		"PGHOST=" + host, "PGPORT=" + port, "PGUSER=app@" + tenant, "PGDATABASE=" + tenant, "PGPASSWORD=" + secret,
		"PGSSLMODE=verify-full", "PGSSLROOTCERT=" + ca,
	}
}

// connect opens a connection of pgx.
func (s *process) connect(t *testing.T, ca, tenant, secret string) *pgx.Conn {
	t.Helper()
	c, err := pgx.Connect(t.Context(), s.url(ca, tenant, secret))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close(context.Background()) })
	return c
}

func (s *process) url(ca, tenant, secret string) string {
	return fmt.Sprintf("postgres://app%%40%s:%s@%s/%s?sslmode=verify-full&sslrootcert=%s", tenant, secret, s.pg, tenant, ca)
}

// authority makes certificates for tests.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	file string
}

func newAuthority(t *testing.T, p *place) *authority {
	t.Helper()
	a := &authority{file: p.path("ca.pem")}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	var der []byte
	a.key, der = a.sign(t, template, template, nil)
	var err error
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	p.write(t, "ca.pem", pemText("CERTIFICATE", der))
	return a
}

func (a *authority) sign(t *testing.T, template, parent *x509.Certificate, signer *ecdsa.PrivateKey) (*ecdsa.PrivateKey, []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if signer == nil {
		signer = key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	return key, der
}

// issue writes a certificate with a serial number, and its key.
func (a *authority) issue(t *testing.T, p *place, serial int64) (cert, key string) {
	t.Helper()
	private, der := a.sign(t, &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, a.cert, a.key)
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return p.write(t, "tls.crt", pemText("CERTIFICATE", der)), p.write(t, "tls.key", pemText("PRIVATE KEY", keyDER))
}

func pemText(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

// serial returns the serial number of the certificate that an address serves.
func (a *authority) serial(t *testing.T, address string) string {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AddCert(a.cert)
	d := tls.Dialer{Config: &tls.Config{RootCAs: roots, ServerName: "localhost", NextProtos: []string{"h2"}}}
	c, err := d.DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return c.(*tls.Conn).ConnectionState().PeerCertificates[0].SerialNumber.String()
}

// configuration writes a file for serve with certificates and free ports.
func (p *place) configuration(t *testing.T, cert, key, more string) string {
	t.Helper()
	return p.write(t, "kimberlite.toml", fmt.Sprintf(`
[data]
dir = "data"
[pg]
addr = "127.0.0.1:0"
tls_cert = %q
tls_key = %q
[rpc]
addr = "127.0.0.1:0"
[operator]
addr = "127.0.0.1:0"
%s`, cert, key, more))
}
