package node_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"kimberlite/internal/fault"
	"kimberlite/internal/node"
)

// The second process of a test is this test's own binary, told by these
// variables what to open and as whom.
const (
	childDir  = "KIMBERLITE_TEST_DIR"
	childUser = "KIMBERLITE_TEST_USER"
)

// nobody owns no directory.
const nobody = 65534

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		os.Exit(child(dir))
	}
	os.Exit(m.Run())
}

// child opens a directory, says what came of it, and holds it until its
// standard input ends.
func child(dir string) int {
	if user := os.Getenv(childUser); user != "" {
		id, err := strconv.Atoi(user)
		if err == nil {
			err = syscall.Setuid(id)
		}
		if err != nil {
			fmt.Println(err)
			return 1
		}
	}
	ctx := context.Background()
	n, err := node.Open(ctx, node.Config{Dir: dir})
	if err != nil {
		fmt.Println(fault.KindOf(err), err)
		return 1
	}
	fmt.Println("open")
	_, _ = io.Copy(io.Discard, os.Stdin)
	if err := n.Close(ctx); err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

// other is a second process that opens a directory.
type other struct {
	cmd   *exec.Cmd
	stdin io.Closer
	// said is its first line.
	said string
}

func start(t *testing.T, dir string, env ...string) *other {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), program)
	cmd.Env = append(append(os.Environ(), childDir+"="+dir), env...)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return &other{cmd, stdin, strings.TrimSpace(line)}
}

func (o *other) stop(t *testing.T) {
	t.Helper()
	if err := o.stdin.Close(); err != nil {
		t.Fatal(err)
	}
	_ = o.cmd.Wait() // 1 where it was refused
}

func TestADirectoryIsForOneProcessAndFreeOnceThatOneIsKilled(t *testing.T) {
	t.Parallel()
	dir := made(t)
	o := start(t, dir)
	if o.said != "open" {
		t.Fatal(o.said)
	}
	refuse(t, node.Config{Dir: dir}, fault.InUse, dir, "in use by process "+strconv.Itoa(o.cmd.Process.Pid))
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	_, err := node.Open(t.Context(), node.Config{Dir: link})
	refused(t, err, fault.InUse, "in use by process")
	if err := o.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = o.cmd.Wait() // killed

	n := open(t, dir)
	o = start(t, dir)
	if want := "in use by process " + strconv.Itoa(os.Getpid()); !strings.Contains(o.said, "in_use") || !strings.Contains(o.said, want) {
		t.Fatalf("%q does not say %q", o.said, want)
	}
	o.stop(t)
	if got := rows(t, n); got != 1 {
		t.Fatalf("%d rows", got)
	}
	closeNode(t, n)
}

// As root nothing is read-only: another process gives that up first.
func TestADirectoryThatCannotBeWrittenIsRefusedWithItsName(t *testing.T) {
	t.Parallel()
	dir := made(t)
	var env []string
	if os.Getuid() == 0 {
		env = []string{childUser + "=" + strconv.Itoa(nobody)}
		for d := dir; strings.HasPrefix(d, os.TempDir()) && d != os.TempDir(); d = filepath.Dir(d) {
			if err := os.Chmod(d, 0o755); err != nil {
				t.Fatal(err)
			}
		}
	} else {
		for _, name := range []string{filepath.Join(dir, "LOCK"), dir} {
			if err := os.Chmod(name, 0o500); err != nil {
				t.Fatal(err)
			}
		}
		t.Cleanup(func() { _ = os.Chmod(dir, 0o700) })
	}
	for where, kinds := range map[string][]string{
		dir:                           {"unavailable", dir, "denied"},
		filepath.Join(dir, "new"):     {"unavailable", "cannot make the data directory", "denied"},
		filepath.Join(dir, "shards"):  {"unavailable", "cannot read the data directory", "denied"},
		filepath.Join(dir, "keyring"): {"unavailable", "cannot read the data directory", "denied"},
	} {
		if os.Getuid() != 0 && where != dir && where != filepath.Join(dir, "new") {
			continue // these are the user's own
		}
		o := start(t, where, env...)
		o.stop(t)
		for _, part := range kinds {
			if !strings.Contains(o.said, part) {
				t.Errorf("%s: %q does not say %q", where, o.said, part)
			}
		}
	}
}
