package main

import (
	"bufio"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the transcripts as they are now")

// A transcript is lines "$ command", each followed by what the command wrote
// to stdout, then to stderr with "! " before each line, and by "[exit N]".
// Lines before the first command are notes.
func TestCommandsPrintWhatTheTranscriptsShow(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/transcript/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no transcripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			t.Parallel()
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := replay(t, string(want))
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != string(want) {
				t.Errorf("%s differs; -update writes it anew. It is now:\n%s", file, difference(string(want), got))
			}
		})
	}
}

// replay runs a transcript's commands in a data directory and writes what they
// print.
func replay(t *testing.T, text string) string {
	t.Helper()
	return replayIn(newPlace(t), text)
}

func replayIn(p *place, text string) string {
	p.t.Helper()
	var out strings.Builder
	started := false
	lines := bufio.NewScanner(strings.NewReader(text))
	for lines.Scan() {
		command, isCommand := strings.CutPrefix(lines.Text(), "$ ")
		if !isCommand {
			if !started {
				out.WriteString(lines.Text() + "\n")
			}
			continue
		}
		started = true
		o := p.shell(command)
		fmt.Fprintf(&out, "$ %s\n%s", command, p.steady(o.stdout))
		for line := range strings.Lines(p.steady(o.stderr)) {
			out.WriteString("! " + line)
		}
		fmt.Fprintf(&out, "[exit %d]\n", o.status)
	}
	return out.String()
}

// What differs from run to run.
var unsteady = []struct {
	what *regexp.Regexp
	by   string
}{
	{regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z`), "<time>"},
	{regexp.MustCompile(`\b[0-9a-f]{64}\b`), "<hash>"},
	{regexp.MustCompile(`in \d+\.\d+ s \([\d,]+ rows/s\)`), "in <n> s (<n> rows/s)"},
	{regexp.MustCompile(`("(?:seconds|rows_per_second|log_bytes|bytes|projection_bytes)": )[\d.e+]+`), "${1}<n>"},
	{regexp.MustCompile(`\b\d+(\.\d+)?(B|KiB)\b`), "<size>"},
	{regexp.MustCompile(`\(\d+ bytes\)`), "(<n> bytes)"},
	{regexp.MustCompile(`("(?:usage|retry_after_ms)":)\d+`), "${1}<n>"},
	{regexp.MustCompile(`by process \d+`), "by process <pid>"},
	{regexp.MustCompile(`retry in [\d.]+ms`), "retry in <n>ms"},
	{regexp.MustCompile(`version [0-9a-f]{12,}`), "version <key>"},
	{regexp.MustCompile(`kimberlite \S+, go[\d.]+, \S+`), "kimberlite <version>, <go>, <platform>"},
	{regexp.MustCompile(`([^ \n])   +`), "$1  "},
}

func (p *place) steady(text string) string {
	text = strings.ReplaceAll(text, p.dir, "<dir>")
	for _, u := range unsteady {
		text = u.what.ReplaceAllString(text, u.by)
	}
	if text != "" && !strings.HasSuffix(text, "\n") {
		text += "<no line break>\n"
	}
	return text
}

// difference shows the lines around the first one that differs.
func difference(want, got string) string {
	a, b := strings.Split(want, "\n"), strings.Split(got, "\n")
	i := 0
	for i < len(a) && i < len(b) && a[i] == b[i] {
		i++
	}
	show := func(lines []string) string { return strings.Join(lines[max(0, i-3):min(len(lines), i+8)], "\n") }
	return fmt.Sprintf("--- line %d, want\n%s\n--- got\n%s", i+1, show(a), show(b))
}
