package oracle_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// script is a file of testdata: one area of SQL, run on one connection to an
// empty database.
type script struct {
	path  string
	title string
	intro string
	head  []string // the lines before the first case, title and intro included
	cases []*testCase
}

// testCase is one query string and what PostgreSQL answers.
type testCase struct {
	line   int
	notes  []string // comments and blank lines before it
	kind   string   // "", "differs" or "refused"
	reason string
	sorted bool     // rows come in no order
	bind   []string // parameters of the extended protocol; nil is the simple one
	input  []string // lines for COPY FROM STDIN
	sql    string
	answer []string // PostgreSQL's, as lines
}

// ending begins a line that ends a statement's text and begins its answer.
const ending = "----"

func readScripts(t testing.TB) []*script {
	t.Helper()
	paths, err := filepath.Glob("testdata/*.slt")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	var all []*script
	for _, p := range paths {
		s, err := readScript(p)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, s)
	}
	return all
}

func readScript(path string) (*script, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	s := &script{path: path}
	lines := strings.Split(strings.TrimRight(string(data), "\n"), "\n")
	at := 0
	for ; at < len(lines) && (strings.HasPrefix(lines[at], "#") || lines[at] == "") && !startsCase(lines, at); at++ {
		s.head = append(s.head, lines[at])
		if title, ok := strings.CutPrefix(lines[at], "# title: "); ok {
			s.title = title
		}
		if intro, ok := strings.CutPrefix(lines[at], "# intro: "); ok {
			s.intro = intro
		}
	}
	if s.title == "" {
		return nil, fmt.Errorf("%s: no title", path)
	}
	for at < len(lines) {
		c, next, err := readCase(lines, at)
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", path, at+1, err)
		}
		s.cases = append(s.cases, c)
		at = next
	}
	return s, nil
}

// startsCase says that a comment belongs to the case below it: no blank line
// stands between.
func startsCase(lines []string, at int) bool {
	for ; at < len(lines) && lines[at] != ""; at++ {
		if !strings.HasPrefix(lines[at], "#") {
			return true
		}
	}
	return false
}

func readCase(lines []string, at int) (*testCase, int, error) {
	c := &testCase{}
	for ; at < len(lines) && (lines[at] == "" || strings.HasPrefix(lines[at], "#")); at++ {
		c.notes = append(c.notes, lines[at])
	}
	c.line = at + 1
	var sql []string
	for ; at < len(lines) && !strings.HasPrefix(lines[at], ending); at++ {
		if len(sql) == 0 && c.directive(lines[at]) {
			continue
		}
		sql = append(sql, lines[at])
	}
	if len(sql) == 0 {
		return nil, at, fmt.Errorf("a case without SQL")
	}
	c.sql = strings.Join(sql, "\n")
	for ; at < len(lines) && lines[at] != ""; at++ { // a row without text is "> "
		c.answer = append(c.answer, lines[at])
	}
	return c, at, nil
}

func (c *testCase) directive(line string) bool {
	word, rest, _ := strings.Cut(line, ": ")
	switch {
	case word == "differs" || word == "refused":
		c.kind, c.reason = word, rest
	case line == "sorted":
		c.sorted = true
	case line == "bind":
		c.bind = []string{}
	case word == "bind":
		c.bind = strings.Split(rest, "\t")
	case strings.HasPrefix(line, "< ") || line == "<":
		c.input = append(c.input, strings.TrimPrefix(strings.TrimPrefix(line, "<"), " "))
	default:
		return false
	}
	return true
}

func (s *script) write() error {
	var b strings.Builder
	for _, l := range s.head {
		b.WriteString(l + "\n")
	}
	for _, c := range s.cases {
		for _, l := range c.notes {
			b.WriteString(l + "\n")
		}
		if c.kind != "" {
			b.WriteString(c.kind + ": " + c.reason + "\n")
		}
		if c.sorted {
			b.WriteString("sorted\n")
		}
		if c.bind != nil {
			b.WriteString(strings.TrimSuffix("bind: "+strings.Join(c.bind, "\t"), ": ") + "\n")
		}
		for _, l := range c.input {
			b.WriteString("< " + l + "\n")
		}
		b.WriteString(c.sql + "\n")
		for _, l := range c.answer {
			b.WriteString(l + "\n")
		}
	}
	return os.WriteFile(s.path, []byte(b.String()), 0o600)
}
