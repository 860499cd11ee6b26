package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// binary is the compiled command that the tests run. It is built once, by the
// first test that needs it, so that fuzzing processes do not wait for it.
var (
	binary string
	build  sync.Once
	built  error
)

func TestMain(m *testing.M) {
	os.Exit(runAll(m))
}

func runAll(m *testing.M) int {
	dir, err := os.MkdirTemp("", "kimberlite-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binary = filepath.Join(dir, "kimberlite")
	return m.Run()
}

func buildBinary() error {
	build.Do(func() {
		if out, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
			built = fmt.Errorf("building the command: %w\n%s", err, out)
		}
	})
	return built
}

// outcome is what one run of the command did.
type outcome struct {
	stdout, stderr string
	status         int
}

// place is a directory that commands run in.
type place struct {
	t   *testing.T
	dir string
	env []string
}

func newPlace(t *testing.T) *place {
	t.Helper()
	if err := buildBinary(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	return &place{t: t, dir: dir, env: []string{
		"PATH=" + filepath.Dir(binary) + ":" + os.Getenv("PATH"), "HOME=" + dir, "TMPDIR=" + dir, "LC_ALL=C",
	}}
}

func (p *place) command(name string, args ...string) *exec.Cmd {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	p.t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = p.dir
	cmd.Env = p.env
	return cmd
}

func finish(t *testing.T, cmd *exec.Cmd) outcome {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return outcome{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// run runs kimberlite with arguments.
func (p *place) run(args ...string) outcome {
	p.t.Helper()
	return finish(p.t, p.command(binary, args...))
}

// input runs kimberlite with arguments and standard input.
func (p *place) input(stdin string, args ...string) outcome {
	p.t.Helper()
	cmd := p.command(binary, args...)
	cmd.Stdin = strings.NewReader(stdin)
	return finish(p.t, cmd)
}

// shell runs a command line of sh.
func (p *place) shell(line string) outcome {
	p.t.Helper()
	return finish(p.t, p.command("sh", "-c", line))
}

// must runs kimberlite and demands that it succeeds.
func (p *place) must(args ...string) string {
	p.t.Helper()
	o := p.run(args...)
	if o.status != 0 {
		p.t.Fatalf("kimberlite %s: exit %d\n%s%s", strings.Join(args, " "), o.status, o.stdout, o.stderr)
	}
	return o.stdout
}

// write makes a file.
func (p *place) write(name, text string) string {
	p.t.Helper()
	path := filepath.Join(p.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		p.t.Fatal(err)
	}
	return path
}
