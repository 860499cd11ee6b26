package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestVerbsActOnWhatFlagsEnvironmentAndContextSayInThisOrder(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.must("tenant", "create", "--data", "D", "--id", "1", "--name", "local")
	dead := "https://127.0.0.1:1"
	p.must("context", "add", "dead", "--server", dead, "--token", "kmb_op_1_secret")
	unreachable := func(o outcome, part string) {
		t.Helper()
		p.failure(o, 8, part)
	}
	unreachable(p.run("tenant", "list"), "of the context dead")
	if out := p.must("tenant", "list", "--data", "D"); !strings.Contains(out, "local") {
		t.Errorf("--data: %s", out)
	}
	p.env = append(p.env, "KIMBERLITE_DATA=D")
	if out := p.must("tenant", "list"); !strings.Contains(out, "local") {
		t.Errorf("KIMBERLITE_DATA: %s", out)
	}
	unreachable(p.run("tenant", "list", "--server", dead), "cannot be reached")
	p.failure(p.run("tenant", "list", "--server", dead, "--data", "D"), 2, "cannot both be given")
	p.env = append(p.env, "KIMBERLITE_SERVER="+dead)
	p.failure(p.run("tenant", "list"), 2, "are both set")
	if out := p.must("tenant", "list", "--data", "D"); !strings.Contains(out, "local") {
		t.Errorf("--data before the environment: %s", out)
	}
}

func TestContextsAreKeptForTheirOwnerAndTellNoToken(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.write("token", "kmb_op_7_secret\n")
	p.must("context", "add", "a", "--server", "https://a.example:7443", "--token", "kmb_op_1_secret")
	p.must("context", "add", "b", "--server", "https://b.example:7443", "--token-file", "token")
	path := filepath.Join(p.dir, ".config/kimberlite/contexts.toml")
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("%v, %v", info.Mode(), err)
	}
	for _, args := range [][]string{{"context", "list"}, {"context", "list", "--json"}, {"context", "use", "a", "--json"}} {
		if out := p.must(args...); strings.Contains(out, "secret") {
			t.Errorf("%q tells the token: %s", args, out)
		}
	}
	if out := p.must("context", "list"); !strings.Contains(out, "*  a") {
		t.Errorf("after use a: %s", out)
	}
	// A token goes to the server that it was saved for, and to no other.
	p.failure(p.run("tenant", "list", "--server", "https://c.example:7443"), 5, "a credential is missing")
	p.must("context", "remove", "a")
	p.failure(p.run("tenant", "list"), 2, "nothing was named to act on")
	p.failure(p.run("context", "use", "a"), 3, "there are b")
	p.failure(p.run("context", "add", "a/b", "--server", "https://a.example"), 2, "a context's name")
	p.failure(p.run("context", "add", "c", "--server", "ftp://a.example"), 2, "want a URL")
	p.failure(p.run("context", "add", "c", "--server", "https://user:pass@a.example"), 2, "scheme, host and port")
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	p.failure(p.run("tenant", "list"), 5, "chmod 600")
	if err := os.WriteFile(path, []byte("contexts = kmb_op_1_secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if o := p.run("tenant", "list"); o.status != 2 || strings.Contains(o.stderr, "secret") {
		t.Errorf("exit %d: %s", o.status, o.stderr)
	}
}

func TestASecretIsNotSentInTheClear(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.failure(p.run("tenant", "list", "--server", "http://a.example:7443", "--token", "kmb_op_1_secret"), 2, "in the clear")
	p.failure(p.run("tenant", "list", "--server", "http://127.0.0.1:1", "--token", "kmb_op_1_secret"), 8, "cannot be reached")
}
