package servertest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// commands returns the lines of a text that begin with two blanks.
func commands(text string) []string {
	var all []string
	for line := range strings.Lines(text) {
		if command, ok := strings.CutPrefix(line, "  "); ok {
			all = append(all, strings.TrimSuffix(command, "\n"))
		}
	}
	return all
}

// TestWhatDevPrintsWorksAsPrinted runs each command that dev prints, in order,
// in one shell as a user would.
func TestWhatDevPrintsWorksAsPrinted(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	began := time.Now()
	s := p.dev(t, "it's here")
	s.await(t, &s.stdout, `Ctrl-C`)
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("ready after %v", took)
	}
	for round, count := range []int{4, 3} {
		printed := commands(s.stdout.String())
		script := "set -eu\n"
		for _, command := range printed {
			script += command + "\n"
		}
		o := p.feed(t, "SELECT 40 + 2 AS answer;\nCREATE TABLE IF NOT EXISTS t (id bigint primary key);\n\\dt\n", script)
		if o.status != 0 || !strings.Contains(o.stdout, "     42\n") || !strings.Contains(o.stdout, `"hospital-a"`) {
			t.Fatalf("round %d, exit %d of\n%s\n%s%s", round, o.status, script, o.stdout, o.stderr)
		}
		if n := len(printed); n != count {
			t.Errorf("round %d: %d commands: %q", round, n, printed)
		}
		s.stop(t)
		if round == 0 { // with a tenant and a credential there, other commands
			s = p.dev(t, "it's here")
			s.await(t, &s.stdout, `Ctrl-C`)
		}
	}
}

func TestDevKeepsItsFilesAndDataAcrossRestarts(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	s := p.dev(t, "D")
	secret := p.tenant(t, 1, "hospital-a")
	c := s.connect(t, p.path("D/dev/ca.pem"), "hospital-a", secret)
	if _, err := c.Exec(t.Context(), "CREATE TABLE t (id bigint primary key); INSERT INTO t VALUES (7)"); err != nil {
		t.Fatal(err)
	}
	files := map[string]os.FileMode{"ca.pem": 0o644, "server.pem": 0o644, "server.key": 0o600, "operator.token": 0o600, "address.json": 0o644}
	before := map[string]string{}
	for name, mode := range files {
		info, err := os.Stat(p.path("D/dev/" + name))
		if err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v", name, info, err)
		}
		text, _ := os.ReadFile(p.path("D/dev/" + name))
		before[name] = string(text)
	}
	if !strings.Contains(before["address.json"], `"rpc": "`+s.rpc+`"`) || !strings.Contains(before["address.json"], `"ca": "`) {
		t.Errorf("address.json: %s", before["address.json"])
	}
	s.stop(t)
	s = p.dev(t, "D")
	for name := range files {
		text, _ := os.ReadFile(p.path("D/dev/" + name))
		if name != "address.json" && string(text) != before[name] {
			t.Errorf("%s has changed", name)
		}
	}
	var n int
	if err := s.connect(t, p.path("D/dev/ca.pem"), "hospital-a", secret).QueryRow(t.Context(), "SELECT id FROM t").Scan(&n); err != nil || n != 7 {
		t.Errorf("%d, %v", n, err)
	}
	p.must(t, "kimberlite tenant list") // by the saved context, at the new address
	s.stop(t)

	// A token that no longer proves an operator is replaced.
	p.write(t, "D/dev/operator.token", "kmb_op_1_nonsense\n")
	s = p.dev(t, "D")
	p.must(t, "kimberlite tenant list")
	s.stop(t)
}

func TestDevWithoutDataLeavesNothing(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.must(t, "kimberlite context add other --server https://127.0.0.1:1")
	s := p.start(t, nil, "dev", "--verbose", "--pg-addr", "127.0.0.1:0", "--rpc-addr", "127.0.0.1:0", "--operator-addr", "")
	s.await(t, &s.stdout, `Ctrl-C`)
	if !strings.Contains(s.stdout.String(), " context use dev\n") {
		t.Errorf("another context is current, and it is not said how to use dev's:\n%s", s.stdout.String())
	}
	if out := p.must(t, "kimberlite context list"); !strings.Contains(out, "*") || !strings.Contains(out, "dev") {
		t.Errorf("contexts:\n%s", out)
	}
	s.stop(t)
	if left, _ := filepath.Glob(p.path("kimberlite-dev-*")); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
	if out := p.must(t, "kimberlite context list"); strings.Contains(out, "dev") {
		t.Errorf("the context of a server that is gone is left:\n%s", out)
	}
}

func TestDevListensOnLoopbackAlone(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	for _, flag := range []string{"--pg-addr", "--rpc-addr", "--operator-addr"} {
		o := p.run(t, "kimberlite dev --data D "+flag+" 0.0.0.0:0")
		if o.status != 2 || !strings.Contains(o.stderr, "loopback") {
			t.Errorf("%s: exit %d, %s", flag, o.status, o.stderr)
		}
	}
	if _, err := os.Stat(p.path("D")); err == nil {
		t.Error("a refused start made a data directory")
	}
}
