package main

import (
	"bufio"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// failure demands an exit status, one line on stderr, and the kind with --json.
func (p *place) failure(o outcome, status int, part string) {
	p.t.Helper()
	switch {
	case o.status != status:
		p.t.Errorf("exit %d, want %d: %s%s", o.status, status, o.stdout, o.stderr)
	case strings.Count(o.stderr, "\n") != 1 || !strings.HasPrefix(o.stderr, "kimberlite: "):
		p.t.Errorf("not one line of error: %q", o.stderr)
	case !strings.Contains(o.stderr, part):
		p.t.Errorf("the error does not say %q: %s", part, o.stderr)
	}
}

// kindOf reads the kind of an error that was printed as JSON.
func kindOf(t *testing.T, o outcome) string {
	t.Helper()
	var doc struct {
		Error struct{ Kind, Code, Message string }
	}
	if err := json.Unmarshal([]byte(o.stderr), &doc); err != nil || doc.Error.Code == "" || doc.Error.Message == "" {
		t.Errorf("not an error in JSON (%v): %q", err, o.stderr)
	}
	return doc.Error.Kind
}

// prepared is a data directory D with tenant 1 and one row in it.
func prepared(t *testing.T) *place {
	t.Helper()
	p := newPlace(t)
	p.must("tenant", "create", "--data", "D", "--id", "1", "--name", "hospital-a")
	p.must("sql", "--data", "D", "--tenant", "1", "-c", "CREATE TABLE t(a); INSERT INTO t VALUES (1)")
	return p
}

// works checks that the directory is as prepared made it.
func (p *place) works(args ...string) {
	p.t.Helper()
	out := p.must(append([]string{"sql", "--data", "D", "--tenant", "1", "--format", "csv", "-c", "SELECT count(*) FROM t"}, args...)...)
	if out != "count(*)\n1\n" {
		p.t.Errorf("the table holds %q", out)
	}
}

func TestDirectoryOfAnotherVersionIsRefused(t *testing.T) {
	t.Parallel()
	p := prepared(t)
	path := filepath.Join(p.dir, "D/node.toml")
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	newer := regexp.MustCompile(`(?m)^format = \d+`).ReplaceAll(whole, []byte("format = 99"))
	if string(newer) == string(whole) {
		t.Fatalf("no format in node.toml:\n%s", whole)
	}
	for text, want := range map[string]struct {
		kind   string
		status int
	}{
		string(newer):                  {"incompatible", 1},
		"format = 0\n":                 {"incompatible", 1},
		string(whole) + "\nfuture=1\n": {"invalid", 2},
		"\x00\xff":                     {"invalid", 2},
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		o := p.run("tenant", "list", "--data", "D", "--json")
		if kind := kindOf(t, o); kind != want.kind || o.status != want.status {
			t.Errorf("%.40q: kind %s, exit %d, want %v", text, kind, o.status, want)
		}
	}
	if err := os.WriteFile(path, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	p.works()
}

func TestMissingOrWrongMasterKeyIsRefused(t *testing.T) {
	t.Parallel()
	p := prepared(t)
	key := filepath.Join(p.dir, "D/master.key")
	aside := filepath.Join(p.dir, "aside.key")
	if err := os.Rename(key, aside); err != nil {
		t.Fatal(err)
	}
	o := p.run("tenant", "list", "--data", "D", "--json")
	if kind := kindOf(t, o); kind != "key_unavailable" || o.status != 8 {
		t.Errorf("missing: kind %s, exit %d: %s", kind, o.status, o.stderr)
	}
	wrong := p.write("wrong.key", strings.Repeat("x", 32))
	o = p.run("tenant", "list", "--data", "D", "--json", "--master-key", "file://"+wrong)
	if kind := kindOf(t, o); kind != "key_invalid" || o.status != 1 {
		t.Errorf("wrong: kind %s, exit %d: %s", kind, o.status, o.stderr)
	}
	short := p.write("short.key", "x")
	o = p.run("tenant", "list", "--data", "D", "--json", "--master-key", "file://"+short)
	if kind := kindOf(t, o); kind != "key_invalid" || o.status != 1 {
		t.Errorf("short: kind %s, exit %d: %s", kind, o.status, o.stderr)
	}
	p.failure(p.run("tenant", "list", "--data", "D", "--master-key", "nonsense"), 2, "master key")
	p.works("--master-key", "file://"+aside)
	p.env = append(p.env, "KIMBERLITE_MASTER_KEY=file://"+aside)
	p.works()
}

// holder is a process that has D open until it is told to end.
type holder struct {
	p      *place
	stdin  io.WriteCloser
	stdout *bufio.Reader
	cmd    *exec.Cmd
}

func (p *place) hold() *holder {
	p.t.Helper()
	cmd := p.command(binary, "sql", "--data", "D", "--tenant", "1", "--format", "csv")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		p.t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		p.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	h := &holder{p: p, stdin: stdin, stdout: bufio.NewReader(stdout), cmd: cmd}
	h.ask("SELECT 'open';", "'open'", "open")
	return h
}

// ask runs a statement and demands the lines that it prints.
func (h *holder) ask(sql string, lines ...string) {
	h.p.t.Helper()
	if _, err := io.WriteString(h.stdin, sql+"\n"); err != nil {
		h.p.t.Fatal(err)
	}
	for _, want := range lines {
		got, err := h.stdout.ReadString('\n')
		if err != nil || strings.TrimSpace(got) != want {
			h.p.t.Fatalf("%s: %q, %v, want %q", sql, got, err, want)
		}
	}
}

func TestDirectoryInUseIsRefusedAndSaysByWhom(t *testing.T) {
	t.Parallel()
	p := prepared(t)
	h := p.hold()
	for _, args := range [][]string{
		{"tenant", "list", "--data", "D"},
		{"tenant", "create", "--data", "D", "--id", "2", "--name", "b"},
		{"sql", "--data", "D", "--tenant", "1", "-c", "SELECT 1"},
		{"verify", "D"},
		{"verify", "D/shards/1/tenants/1"},
	} {
		p.failure(p.run(args...), 8, "in use by process ")
	}
	if o := p.run("tenant", "list", "--data", "D", "--json"); kindOf(t, o) != "in_use" {
		t.Errorf("%s", o.stderr)
	}
	h.ask("SELECT count(*) FROM t;", "count(*)", "1")
	if err := h.stdin.Close(); err != nil {
		t.Fatal(err)
	}
	if err := h.cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	p.works()
}

func TestInterruptClosesTheDatabaseAndExits130(t *testing.T) {
	t.Parallel()
	for sig, status := range map[syscall.Signal]int{syscall.SIGINT: 130, syscall.SIGTERM: 143} {
		p := prepared(t)
		h := p.hold()
		h.ask("INSERT INTO t VALUES (2);")
		h.ask("SELECT count(*) FROM t;", "count(*)", "2")
		h.ask("BEGIN; DELETE FROM t; SELECT count(*) FROM t;", "count(*)", "0")
		if err := h.cmd.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
		_ = h.cmd.Wait() // it fails: the status says how
		if got := h.cmd.ProcessState.ExitCode(); got != status {
			t.Errorf("%v: exit %d, want %d", sig, got, status)
		}
		if out := p.must("sql", "--data", "D", "--tenant", "1", "--format", "csv", "-c", "SELECT count(*) FROM t"); out != "count(*)\n2\n" {
			t.Errorf("%v: the table holds %q", sig, out)
		}
		if out := p.must("verify", "D", "--json"); !strings.Contains(out, `"pending": 0`) {
			t.Errorf("%v: the files were not closed with a checkpoint:\n%s", sig, out)
		}
	}
}

func TestTailPrintsWhatIsThereAndEndsWithCtrlC(t *testing.T) {
	t.Parallel()
	p := prepared(t)
	p.must("stream", "create", "--data", "D", "--tenant", "1", "s")
	p.must("stream", "append", "--data", "D", "--tenant", "1", "s", "one", "two")
	cmd := p.command(binary, "stream", "tail", "--data", "D", "--tenant", "1", "s", "--json")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(out)
	for _, want := range []string{`"data":"one"`, `"data":"two"`} {
		if line, err := lines.ReadString('\n'); err != nil || !strings.Contains(line, want) {
			t.Fatalf("%q, %v, want %s", line, err, want)
		}
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it fails: the status says how
	if got := cmd.ProcessState.ExitCode(); got != 130 {
		t.Errorf("exit %d", got)
	}
	p.works()
}

func TestHugeAndMalformedStatementsAreRefusedAndChangeNothing(t *testing.T) {
	t.Parallel()
	p := prepared(t)
	for name, c := range map[string]struct {
		sql, kind string
		status    int
	}{
		"100 MB":             {"SELECT " + strings.Repeat("x", 100<<20) + ";", "too_large", 1},
		"5 MB literal":       {"INSERT INTO t VALUES ('" + strings.Repeat("x", 5<<20) + "');", "too_large", 1},
		"NUL in a statement": {"INSERT INTO t VALUES\x00 (2);", "", 0},
		"NUL in a text":      {"INSERT INTO t VALUES ('a\x00b');", "", 0},
		"not SQL":            {"INSRT INTO t;", "sql", 1},
		"not UTF-8":          {"SELECT \xff\xfe;", "sql", 1},
		"deep":               {"SELECT " + strings.Repeat("(", 5000) + "1" + strings.Repeat(")", 5000) + ";", "too_large", 1},
		"unfinished":         {"INSERT INTO t VALUES (2", "sql", 1},
	} {
		o := p.input(c.sql, "sql", "--data", "D", "--tenant", "1", "--json")
		kind := kindOf(t, o)
		if c.kind == "" && o.status != 0 {
			continue // any refusal will do
		}
		if kind != c.kind || o.status != c.status || len(o.stderr) > 1000 {
			t.Errorf("%s: kind %s, exit %d, %.300s", name, kind, o.status, o.stderr)
		}
	}
	p.works()
}

// TestEveryExitStatusHappens shows one command for each status that can.
func TestEveryExitStatusHappens(t *testing.T) {
	t.Parallel()
	p := prepared(t)
	p.must("tenant", "set", "1", "--data", "D", "--retention", "10d")
	p.must("tenant", "create", "--data", "D", "--id", "2", "--name", "full", "--max-log-size", "1B")
	for status, line := range map[int]string{
		0:  "sql --data D --tenant 1 -c 'SELECT 1'",
		1:  "sql --data D --tenant 1 -c 'SELEC 1'",
		2:  "sql --data D --bogus",
		3:  "tenant show 7 --data D",
		4:  "tenant create --data D --id 1 --name x",
		5:  `sql --data D --tenant 1 -c "ATTACH 'x' AS y"`,
		6:  "sql --data D --tenant 2 -c 'CREATE TABLE t(a)'",
		8:  "tenant list --data D --master-key file:///nowhere/key",
		10: "tenant set 1 --data D --retention 9d",
	} {
		if o := p.shell("kimberlite " + line); o.status != status {
			t.Errorf("%s: exit %d, want %d: %s", line, o.status, status, o.stderr)
		}
	}
	segments, err := filepath.Glob(filepath.Join(p.dir, "D/shards/1/tenants/1/log/*.segment"))
	if err != nil || len(segments) == 0 {
		t.Fatal(segments, err)
	}
	if err := os.Truncate(segments[0], 100); err != nil {
		t.Fatal(err)
	}
	p.failure(p.run("verify", "D"), 7, "file D/shards/1/tenants/1/log/")
	for _, args := range [][]string{
		{"tenant", "verify", "1", "--data", "D"}, {"sql", "--data", "D", "--tenant", "1", "-c", "INSERT INTO t VALUES (2)"},
	} {
		p.failure(p.run(args...), 7, "D/shards/1/tenants/1/log/"+filepath.Base(segments[0]))
	}
	if o := p.run("tenant", "verify", "2", "--data", "D"); o.status != 0 {
		t.Errorf("the other tenant: exit %d: %s", o.status, o.stderr)
	}
}
