package dialect_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"kimberlite/internal/pgcatalog"
	"kimberlite/internal/sqlfunc"
)

// What a translation calls must be there: each pg_ function in the golden
// files with that number of arguments, and each name in the tables.
func TestEveryFunctionThatATranslationCallsIsThere(t *testing.T) {
	t.Parallel()
	known := map[string]bool{}
	for _, f := range sqlfunc.Functions() {
		known[f.Name] = true
	}
	for _, f := range sqlfunc.Aggregates() {
		known[f.Name] = true
	}
	for _, f := range pgcatalog.Functions() {
		known[f.Name] = true
	}
	call := regexp.MustCompile(`\b(pg_[a-z0-9_]+)\(`)
	declared := regexp.MustCompile(`^(pg_varchar|pg_numeric|pg_bpchar|pg_typeof|pg_[0-9]+)\($`)
	paths, _ := filepath.Glob("testdata/*.txt")
	sources, _ := filepath.Glob("*.go")
	for _, path := range append(paths, sources...) {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.SplitSeq(string(text), "\n") {
			if strings.HasSuffix(path, ".txt") && !strings.HasPrefix(line, "=") {
				continue
			}
			for _, m := range call.FindAllStringSubmatch(line, -1) {
				if !known[m[1]] && !declared.MatchString(m[0]) {
					t.Errorf("%s: %s is no function", path, m[1])
				}
			}
		}
	}
}
