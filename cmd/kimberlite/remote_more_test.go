package main

import (
	"bufio"
	"os"
	"strings"
	"testing"
)

func TestCredentialsAndAuditOfAServer(t *testing.T) {
	t.Parallel()
	p := newServedPlace(t)
	shimmed := func(line string) outcome { t.Helper(); return p.shell(line) }
	for _, line := range []string{
		"kimberlite tenant create --id 1 --name hospital-a",
		"kimberlite credential create --tenant 1 --name app --role reader > app.token",
		"kimberlite credential list --tenant hospital-a | grep -q app",
		`kimberlite sql --tenant 1 -c "CREATE TABLE t(a)"`,
		"kimberlite audit --tenant 1 | grep -q schema.change",
		"kimberlite tenant verify 1",
	} {
		if o := shimmed(line); o.status != 0 {
			t.Fatalf("%s: exit %d\n%s%s", line, o.status, o.stdout, o.stderr)
		}
	}
	token, err := os.ReadFile(p.dir + "/app.token")
	if err != nil {
		t.Fatal(err)
	}
	secret := "--token=" + strings.TrimSpace(string(token))
	if o := p.run("sql", "--tenant", "1", secret, "-c", "SELECT * FROM t", "--format", "csv"); o.stdout != "a\n" {
		t.Errorf("the reader: %q %s", o.stdout, o.stderr)
	}
	p.failure(p.run("sql", "--tenant", "1", secret, "-c", "INSERT INTO t VALUES (1)"), 5, "reader")
	p.failure(p.run("tenant", "create", "--id", "2", "--name", "x", secret), 5, "only operators")
	p.failure(p.run("tenant", "show", "2", secret), 5, "acts for no other")
	if o := shimmed("kimberlite credential revoke --tenant 1 --name app"); o.status != 0 {
		t.Fatalf("%s", o.stderr)
	}
	p.failure(p.run("sql", "--tenant", "1", secret, "-c", "SELECT 1"), 5, "")
	// An operator's token reads no row.
	operator, err := os.ReadFile(p.dir + "/operator")
	if err != nil {
		t.Fatal(err)
	}
	p.failure(p.run("sql", "--tenant", "1", "--token="+string(operator), "-c", "SELECT * FROM t"), 5, "neither reads nor writes")
}

func TestTailOfAServerEndsWithCtrlC(t *testing.T) {
	t.Parallel()
	p := newServedPlace(t)
	for _, line := range []string{
		"kimberlite tenant create --id 1 --name hospital-a", "kimberlite stream create --tenant 1 s", "kimberlite stream append --tenant 1 s one",
	} {
		if o := p.shell(line); o.status != 0 {
			t.Fatalf("%s: %s", line, o.stderr)
		}
	}
	token, err := os.ReadFile(p.dir + "/owner.1")
	if err != nil {
		t.Fatal(err)
	}
	cmd := p.command(binary, "stream", "tail", "--tenant", "1", "s", "--token="+strings.TrimSpace(string(token)))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || !strings.Contains(line, "one") {
		t.Errorf("%q, %v", line, err)
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it fails: the status says how
	if got := cmd.ProcessState.ExitCode(); got != 130 {
		t.Errorf("exit %d", got)
	}
}
