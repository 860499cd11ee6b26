package archtest

import (
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	testDeclared  = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Benchmark|Example)[A-Za-z0-9_]*)\(`)
	testMentioned = regexp.MustCompile(`\b(?:Test|Fuzz|Benchmark|Example)[A-Z][A-Za-z0-9_]*\b`)
	linked        = regexp.MustCompile(`\]\(([^)\s]+)\)`)
)

// TestDocumentsNameTestsAndFilesThatExist keeps the documents true where they
// say which test holds a guarantee, and where they link to.
func TestDocumentsNameTestsAndFilesThatExist(t *testing.T) {
	t.Parallel()
	documents, declared := texts(t)
	if len(documents) == 0 || len(declared) == 0 {
		t.Fatalf("found %d documents and %d tests: the test looks at the wrong place", len(documents), len(declared))
	}
	for name, text := range documents {
		for _, line := range untrue(name, text, declared, exists) {
			t.Error(line)
		}
	}
}

func TestUntrueDocumentsAreFound(t *testing.T) {
	t.Parallel()
	declared := map[string]bool{"TestThis": true}
	there := func(name string) bool { return name == "docs/there.md" || name == "LICENSE" }
	for text, want := range map[string]int{
		"see TestThis":                      0,
		"see `TestThis`, and TestThat":      1,
		"[x](there.md), [y](../LICENSE)":    0,
		"[x](there.md#part), [y](#part)":    0,
		"[x](https://example.com/away.md)":  0,
		"[x](away.md)":                      1,
		"```\n[x](away.md)\n```\nTestFoo":   1,
		"Testing is a word, and so is Test": 0,
	} {
		if found := untrue("docs/made.md", text, declared, there); len(found) != want {
			t.Errorf("%q: %q, want %d", text, found, want)
		}
	}
}

// untrue returns one line for each test or file that a document names and
// that is not there.
func untrue(name, text string, declared map[string]bool, exists func(string) bool) []string {
	var found []string
	for _, mention := range testMentioned.FindAllString(text, -1) {
		if !declared[mention] {
			found = append(found, name+" names "+mention+", which no test is called")
		}
	}
	fenced := false
	for _, line := range strings.Split(text, "\n") {
		if strings.HasPrefix(line, "```") {
			fenced = !fenced
		}
		if fenced {
			continue
		}
		for _, link := range linked.FindAllStringSubmatch(line, -1) {
			target, _, _ := strings.Cut(link[1], "#")
			if target == "" || strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
				continue
			}
			if !exists(path.Join(path.Dir(name), target)) {
				found = append(found, name+" links to "+link[1]+", which is not there")
			}
		}
	}
	return found
}

func exists(name string) bool {
	_, err := os.Stat(filepath.Join(root, name))
	return err == nil
}

// texts returns every document, by name, and the names of all tests.
func texts(t *testing.T) (documents map[string]string, declared map[string]bool) {
	t.Helper()
	documents, declared = map[string]string{}, map[string]bool{}
	err := filepath.WalkDir(root, func(file string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, file)
		if err != nil {
			return err
		}
		name = filepath.ToSlash(name)
		if entry.IsDir() {
			return skip(file, name)
		}
		document, test := strings.HasSuffix(name, ".md"), strings.HasSuffix(name, "_test.go")
		if !document && !test {
			return nil
		}
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		if document {
			documents[name] = string(text)
		}
		for _, match := range testDeclared.FindAllSubmatch(text, -1) {
			if test {
				declared[string(match[1])] = true
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return documents, declared
}
