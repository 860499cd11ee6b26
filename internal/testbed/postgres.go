package testbed

import (
	"bytes"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// Postgres is a running PostgreSQL of the test's own.
type Postgres struct {
	Port int
	// CA is the file of the certificate that its TLS shows.
	CA string
}

// PostgresBin returns the directory of PostgreSQL's server programs, and fails
// the test where there are none: scripts/test.sh installs them.
func PostgresBin(tb testing.TB) string {
	tb.Helper()
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil || len(found) == 0 {
		tb.Fatal("no PostgreSQL server here: install Debian's postgresql-15, as scripts/test.sh does")
	}
	return filepath.Dir(found[len(found)-1])
}

// StartPostgres starts a PostgreSQL with a superuser "postgres" that needs no
// password, TLS with a certificate of its own, and settings as in
// postgresql.conf ("fsync=on"). PostgreSQL refuses to run as root: then it
// runs as Debian's user postgres.
func StartPostgres(tb testing.TB, settings ...string) *Postgres {
	tb.Helper()
	bin, dir := PostgresBin(tb), postgresDir(tb)
	data := filepath.Join(dir, "data")
	asPostgres(tb, filepath.Join(bin, "initdb"), "-D", data, "-A", "trust", "-U", "postgres", "--locale=C.UTF-8", "-E", "UTF8")
	address := freeAddress(tb)
	p := &Postgres{Port: portOf(tb, address), CA: filepath.Join(dir, "server.crt")}
	asPostgres(tb, "openssl", "req", "-new", "-x509", "-days", "2", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
		"-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
		"-out", p.CA, "-keyout", filepath.Join(dir, "server.key"))
	args := []string{
		"-D", data, "-p", strconv.Itoa(p.Port), "-k", dir, "-c", "listen_addresses=127.0.0.1",
		"-c", "ssl=on", "-c", "ssl_cert_file=" + p.CA, "-c", "ssl_key_file=" + filepath.Join(dir, "server.key"),
	}
	for _, setting := range settings {
		args = append(args, "-c", setting)
	}
	var log bytes.Buffer
	cmd := exec.Command(filepath.Join(bin, "postgres"), args...) //nolint:noctx // it outlives the context of a test's body
	cmd.Stdout, cmd.Stderr, cmd.SysProcAttr, cmd.Dir = &log, &log, credentials(tb), dir
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGINT) // fast shutdown
		_ = cmd.Wait()                         // it was told to end
	})
	until(tb, "PostgreSQL", func() bool {
		return exec.CommandContext(tb.Context(), filepath.Join(bin, "pg_isready"), "-h", "127.0.0.1", "-p", strconv.Itoa(p.Port)).Run() == nil
	})
	return p
}

// Env returns libpq's variables for a connection as user to database.
func (p *Postgres) Env(user, database string) []string {
	return []string{
		"PGHOST=127.0.0.1", "PGPORT=" + strconv.Itoa(p.Port), "PGUSER=" + user, "PGPASSWORD=x",
		"PGDATABASE=" + database, "PGSSLMODE=verify-full", "PGSSLROOTCERT=" + p.CA,
	}
}

// postgresDir is a short path (it holds a socket), readable by PostgreSQL's
// user.
func postgresDir(tb testing.TB) string {
	tb.Helper()
	dir, err := os.MkdirTemp("", "kpg")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = os.RemoveAll(dir) })
	if c := credentials(tb); c != nil {
		if err := os.Chown(dir, int(c.Credential.Uid), int(c.Credential.Gid)); err != nil {
			tb.Fatal(err)
		}
	}
	return dir
}

// credentials are whom PostgreSQL runs as: nil for whoever runs the test.
func credentials(tb testing.TB) *syscall.SysProcAttr {
	tb.Helper()
	if os.Getuid() != 0 {
		return nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		tb.Fatalf("PostgreSQL does not run as root, and there is no user postgres: %v", err)
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		tb.Fatal(err)
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		tb.Fatal(err)
	}
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
}

func asPostgres(tb testing.TB, name string, args ...string) {
	tb.Helper()
	cmd := exec.CommandContext(tb.Context(), name, args...)
	cmd.SysProcAttr, cmd.Dir = credentials(tb), os.TempDir()
	if out, err := cmd.CombinedOutput(); err != nil {
		tb.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}
