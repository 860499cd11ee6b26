package main

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kimberlite/internal/demo"
)

// patients writes the Synthea patients as a file.
func (p *place) patients() string {
	p.t.Helper()
	in, err := demo.Open("patients")
	if err != nil {
		p.t.Fatal(err)
	}
	defer in.Close()
	text, err := io.ReadAll(in)
	if err != nil {
		p.t.Fatal(err)
	}
	return p.write("patients.csv", string(text))
}

const countPatients = "count(*)\n27\n"

func TestAcceptanceOfTheCoreRunsAsWritten(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.patients()
	for _, c := range []struct {
		line, stdout string
		status       int
	}{
		{`kimberlite tenant create --data D --id 1 --name hospital-a --region us-east --retention 2555d --json`, `"retention": "2555d"`, 0},
		{`kimberlite tenant create --data D --id 2 --name hospital-b --max-log-size 1MiB --json`, `"max_log_size": 1048576`, 0},
		{`kimberlite load --data D --tenant 1 --table patients --create patients.csv`, "loaded 27 rows into patients", 0},
		{`kimberlite sql --data D --tenant 1 --format csv -c "SELECT count(*) FROM patients"`, countPatients, 0},
		{`kimberlite sql --data D --tenant 2 -c "SELECT count(*) FROM patients"`, "", 1},
		{`kimberlite key rotate --data D --tenant 1 --level dek`, "generation 2", 0},
		{`kimberlite verify D`, "ok", 0},
		{`rm D/shards/*/tenants/*1/projection.db*; kimberlite sql --data D --tenant 1 --format csv -c "SELECT count(*) FROM patients"`, countPatients, 0},
	} {
		o := p.shell(c.line)
		if o.status != c.status || !strings.Contains(o.stdout, c.stdout) {
			t.Fatalf("%s\nexit %d, want %d\n%s%s", c.line, o.status, c.status, o.stdout, o.stderr)
		}
	}
	if o := p.shell(`kimberlite sql --data D --tenant 1 --format csv -c "SELECT count(*) FROM patients"`); o.stdout != countPatients {
		t.Errorf("the count prints as %q", o.stdout)
	}
}

// TestAnyFlippedByteOfASegmentIsNamedByFileAndOffset flips bytes all over the
// segments, the first and the last among them.
func TestAnyFlippedByteOfASegmentIsNamedByFileAndOffset(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.must("tenant", "create", "--data", "D", "--id", "1", "--name", "hospital-a")
	p.must("load", "--data", "D", "--tenant", "1", "--table", "patients", "--create", p.patients())
	p.must("sql", "--data", "D", "--tenant", "1", "-c", "UPDATE patients SET CITY = 'Boston'")
	segments, err := filepath.Glob(filepath.Join(p.dir, "D/shards/*/tenants/*/log/*.segment"))
	if err != nil || len(segments) != 1 {
		t.Fatalf("segments: %v, %v", segments, err)
	}
	whole, err := os.ReadFile(segments[0])
	if err != nil {
		t.Fatal(err)
	}
	const places = 12
	for i := range places {
		at := i * (len(whole) - 1) / (places - 1)
		flipped := append([]byte(nil), whole...)
		flipped[at] ^= 0x10
		if err := os.WriteFile(segments[0], flipped, 0o600); err != nil {
			t.Fatal(err)
		}
		o := p.run("verify", "D")
		name := "D/shards/1/tenants/1/log/" + filepath.Base(segments[0])
		if o.status != 7 || !strings.Contains(o.stderr, "file "+name+", offset ") || !strings.Contains(o.stdout, name+", offset ") {
			t.Errorf("byte %d flipped: exit %d\n%s%s", at, o.status, o.stdout, o.stderr)
		}
	}
	if err := os.WriteFile(segments[0], whole, 0o600); err != nil {
		t.Fatal(err)
	}
	if o := p.run("verify", "D"); o.status != 0 {
		t.Errorf("restored: exit %d\n%s%s", o.status, o.stdout, o.stderr)
	}
}

// TestWhatTheDemoSuggestsWorksAsPrinted runs the commands at its end.
func TestWhatTheDemoSuggestsWorksAsPrinted(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	o := p.shell(`kimberlite demo --data "it's here"`)
	if o.status != 0 {
		t.Fatalf("exit %d\n%s%s", o.status, o.stdout, o.stderr)
	}
	var ran int
	for line := range strings.Lines(o.stdout[strings.Index(o.stdout, "; try:"):]) {
		command, ok := strings.CutPrefix(line, "  ")
		if !ok {
			continue
		}
		ran++
		if o := p.shell(command); o.status != 0 || o.stdout == "" {
			t.Errorf("%s: exit %d\n%s%s", command, o.status, o.stdout, o.stderr)
		}
	}
	if ran < 6 {
		t.Errorf("the demo suggests %d commands", ran)
	}
	again := p.run("demo", "--data", "it's here")
	if again.status != 4 || !strings.Contains(again.stderr, "not empty") {
		t.Errorf("a second run in the same place: exit %d, %s", again.status, again.stderr)
	}
}
