package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// checkout is the module's directory, from this one.
const checkout = "../.."

// block is a fenced block of a document: its language and its lines.
type block struct {
	language, text string
	line           int
}

// blocks returns a document's fenced blocks in order.
func blocks(document string) []block {
	var all []block
	var open *block
	number := 0
	for line := range strings.Lines(document) {
		number++
		language, fence := strings.CutPrefix(strings.TrimRight(line, "\n"), "```")
		switch {
		case fence && open == nil:
			open = &block{language: language, line: number}
		case fence:
			all = append(all, *open)
			open = nil
		case open != nil:
			open.text += line
		}
	}
	return all
}

// TestTheReadmesTourWorksAsPrinted runs every sh and go block of the README in
// order, in one directory. A text block after one is what it prints. Blocks
// without a language are not run.
func TestTheReadmesTourWorksAsPrinted(t *testing.T) {
	t.Parallel()
	document, err := os.ReadFile(filepath.Join(checkout, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	all := blocks(string(document))
	p := newPlace(t)
	if err := os.Symlink(binary, filepath.Join(p.dir, "kimberlite")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.endServers)
	ran := map[string]int{}
	for i, b := range all {
		var o outcome
		switch b.language {
		case "sh":
			o = finish(t, p.command("bash", "-c", "set -euo pipefail\nexec 2>&1\n"+b.text))
		case "go":
			o = p.goProgram(b.text)
		case "", "text":
			continue
		default:
			t.Fatalf("README.md:%d: no test knows what to do with a block of %q", b.line, b.language)
		}
		ran[b.language]++
		if o.status != 0 {
			t.Fatalf("README.md:%d: exit %d\n%s%s", b.line, o.status, o.stdout, o.stderr)
		}
		if i+1 == len(all) || all[i+1].language != "text" {
			continue
		}
		if got, want := p.steady(o.stdout), p.steady(all[i+1].text); got != want {
			t.Errorf("README.md:%d prints something else:\n%s", b.line, difference(want, got))
		}
	}
	if ran["sh"] < 5 || ran["go"] < 2 {
		t.Fatalf("ran %v: the test does not find the tour", ran)
	}
}

// endServers ends a server that a failed tour has left running: the file LOCK
// of a data directory holds its process id.
func (p *place) endServers() {
	locks, err := filepath.Glob(filepath.Join(p.dir, "*", "LOCK"))
	if err != nil {
		p.t.Fatal(err) // the pattern is wrong
	}
	for _, lock := range locks {
		if o := p.shell("kill $(cat '" + lock + "') 2>&1"); o.status == 0 {
			p.t.Log("the tour left a server running")
		}
	}
}

// goProgram builds a program in a module of its own, as a user would with a
// checkout beside it, and runs it. No network is asked: what the checkout
// requires is at hand.
func (p *place) goProgram(text string) outcome {
	p.t.Helper()
	root, err := filepath.Abs(checkout)
	if err != nil {
		p.t.Fatal(err)
	}
	module, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		p.t.Fatal(err)
	}
	sums, err := os.ReadFile(filepath.Join(root, "go.sum"))
	if err != nil {
		p.t.Fatal(err)
	}
	dir := p.t.TempDir()
	user := strings.Replace(string(module), "module kimberlite\n", "module tour\n", 1) +
		"\nrequire kimberlite v0.0.0\n\nreplace kimberlite => " + root + "\n"
	for name, text := range map[string]string{"go.mod": user, "go.sum": string(sums), "main.go": text} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			p.t.Fatal(err)
		}
	}
	build := p.command("go", "build", "-mod=mod", "-o", "tour", ".")
	build.Dir = dir
	build.Env = append(os.Environ(), "GOPROXY=off", "GOFLAGS=", "GOWORK=off")
	if o := finish(p.t, build); o.status != 0 {
		p.t.Fatalf("a program of the README does not build:\n%s%s", o.stdout, o.stderr)
	}
	return finish(p.t, p.command(filepath.Join(dir, "tour")))
}

// TestTheReadmesMakeTargetsExist looks at the commands that the tour cannot
// run.
func TestTheReadmesMakeTargetsExist(t *testing.T) {
	t.Parallel()
	document, err := os.ReadFile(filepath.Join(checkout, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	makefile, err := os.ReadFile(filepath.Join(checkout, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, b := range blocks(string(document)) {
		for line := range strings.Lines(b.text) {
			words := strings.Fields(line)
			if b.language != "" || len(words) < 2 || words[0] != "make" {
				continue
			}
			found++
			if !strings.Contains(string(makefile), "\n"+words[1]+": ") {
				t.Errorf("README.md names make %s, which the Makefile has not", words[1])
			}
		}
	}
	if found < 2 {
		t.Fatalf("%d targets: the test does not find the two commands", found)
	}
}
