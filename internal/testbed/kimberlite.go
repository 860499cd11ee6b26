package testbed

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// Kimberlite is a running `kimberlite dev`, with a configuration directory of
// its own.
type Kimberlite struct {
	Data string
	// PG and RPC are the addresses it listens on.
	PG, RPC string
	bin     string
	home    string
	extra   []string
	cmd     *exec.Cmd
	log     lockedBuffer
}

var build struct {
	sync.Once
	bin string
	err error
}

// Binary builds the command, once a process, and returns its path.
func Binary(tb testing.TB) string {
	tb.Helper()
	build.Do(func() {
		dir, err := os.MkdirTemp("", "kbin")
		if err != nil {
			build.err = err
			return
		}
		build.bin = filepath.Join(dir, "kimberlite")
		var out []byte
		//nolint:noctx // it outlives the test that asks first
		if out, build.err = exec.Command("go", "build", "-o", build.bin, "kimberlite/cmd/kimberlite").CombinedOutput(); build.err != nil {
			_, _ = os.Stderr.Write(out) // for whoever reads the failure
		}
	})
	if build.err != nil {
		tb.Fatal(build.err)
	}
	return build.bin
}

// RemoveBinary removes what Binary built; for TestMain.
func RemoveBinary() {
	if build.bin != "" {
		_ = os.RemoveAll(filepath.Dir(build.bin))
	}
}

// StartKimberlite starts `kimberlite dev` on a new data directory; args are
// further flags of it.
func StartKimberlite(tb testing.TB, args ...string) *Kimberlite {
	tb.Helper()
	k := &Kimberlite{
		Data: filepath.Join(tb.TempDir(), "data"), PG: freeAddress(tb), RPC: freeAddress(tb),
		bin: Binary(tb), home: tb.TempDir(), extra: args,
	}
	k.Start(tb)
	tb.Cleanup(func() { k.Stop(tb) })
	return k
}

// Start starts it again, on the same data and addresses.
func (k *Kimberlite) Start(tb testing.TB) {
	tb.Helper()
	args := append([]string{"dev", "--data", k.Data, "--pg-addr", k.PG, "--rpc-addr", k.RPC, "--operator-addr", "127.0.0.1:0"}, k.extra...)
	k.cmd = exec.Command(k.bin, args...) //nolint:noctx // it outlives the context of a test's body
	k.cmd.Stdout, k.cmd.Stderr, k.cmd.Env = &k.log, &k.log, k.environment()
	if err := k.cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	until(tb, "kimberlite dev", func() bool {
		if k.cmd.ProcessState == nil && k.cmd.Process.Signal(syscall.Signal(0)) != nil {
			tb.Fatalf("kimberlite dev ended:\n%s", k.Log())
		}
		//nolint:gosec // the command is ours
		return exec.CommandContext(tb.Context(), "curl", "-sSf", "--cacert", k.CA(), "https://"+k.RPC+"/readyz").Run() == nil
	})
}

// Kill kills it, as kill -9 does, and waits until it is gone.
func (k *Kimberlite) Kill(tb testing.TB) {
	tb.Helper()
	if err := k.cmd.Process.Kill(); err != nil {
		tb.Fatal(err)
	}
	_ = k.cmd.Wait() // it was killed
}

// Stop ends it as an operator does; it fails the test when it does not end
// cleanly. Stopping what is not running does nothing.
func (k *Kimberlite) Stop(tb testing.TB) {
	tb.Helper()
	if k.cmd.ProcessState != nil {
		return
	}
	if err := k.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		tb.Error(err)
	}
	if err := k.cmd.Wait(); err != nil {
		tb.Errorf("kimberlite dev ended with %v:\n%s", err, k.Log())
	}
}

// PID returns its process id.
func (k *Kimberlite) PID() int { return k.cmd.Process.Pid }

// CA returns the file of its certificate authority.
func (k *Kimberlite) CA() string { return filepath.Join(k.Data, "dev", "ca.pem") }

// Log returns what it printed and logged so far.
func (k *Kimberlite) Log() string { return k.log.String() }

func (k *Kimberlite) environment() []string {
	return append(os.Environ(), "HOME="+k.home, "XDG_CONFIG_HOME="+filepath.Join(k.home, "config"))
}

// Command returns the command with arguments, as a shell beside the server
// would run it.
func (k *Kimberlite) Command(tb testing.TB, args ...string) *exec.Cmd {
	tb.Helper()
	cmd := exec.CommandContext(tb.Context(), k.bin, args...)
	cmd.Env = k.environment()
	return cmd
}

// Run runs the command and returns what it printed; it must exit with 0.
func (k *Kimberlite) Run(tb testing.TB, args ...string) string {
	tb.Helper()
	cmd := k.Command(tb, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		tb.Fatalf("kimberlite %s: %v\n%s%s", strings.Join(args, " "), err, out, stderr.Bytes())
	}
	return string(out)
}

// CreateTenant makes a tenant with flags such as "--max-ops-per-sec", "100".
func (k *Kimberlite) CreateTenant(tb testing.TB, id int, name string, flags ...string) {
	tb.Helper()
	k.Run(tb, append([]string{"tenant", "create", "--id", strconv.Itoa(id), "--name", name}, flags...)...)
}

// CreateCredential makes a credential and returns its secret.
func (k *Kimberlite) CreateCredential(tb testing.TB, tenant int, name, role string) string {
	tb.Helper()
	out := k.Run(tb, "credential", "create", "--tenant", strconv.Itoa(tenant), "--name", name, "--role", role, "--json")
	var made struct {
		Secret string `json:"secret"`
	}
	if err := json.Unmarshal([]byte(out), &made); err != nil || made.Secret == "" {
		tb.Fatalf("credential create printed no secret: %v", err)
	}
	return made.Secret
}

// Env returns libpq's variables for a connection as principal to a tenant.
func (k *Kimberlite) Env(tb testing.TB, principal, tenant, secret string) []string {
	tb.Helper()
	return []string{
		"PGHOST=127.0.0.1", "PGPORT=" + strconv.Itoa(portOf(tb, k.PG)), "PGUSER=" + principal + "@" + tenant, "PGPASSWORD=" + secret,
		"PGDATABASE=" + tenant, "PGSSLMODE=verify-full", "PGSSLROOTCERT=" + k.CA(),
	}
}

// lockedBuffer is a buffer that a process writes and a test reads.
type lockedBuffer struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
