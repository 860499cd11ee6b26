package oracle_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// pagePath is the page that is made of the scripts.
const pagePath = "../../docs/compatibility.md"

const pageHead = `# Compatibility with PostgreSQL 15

Made from the scripts in internal/oracle/testdata by ` + "`go test ./internal/oracle -update`" + `: do not edit. Each
statement below runs on PostgreSQL 15 and on Kimberlite in the tests; rows, names and types of columns, types of
parameters, command tags, the transaction's status and SQLSTATEs of errors are compared. A difference that is not
listed here fails the tests, and so does one that is listed and gone.

PostgreSQL runs with the collation C and the time zone UTC, which are Kimberlite's.

## What is compared

| Area | Statements | Same | Differ | Refused | |
|---|---:|---:|---:|---:|---|
`

func TestTheCompatibilityPageIsUpToDate(t *testing.T) {
	want := page(readScripts(t))
	if *update {
		if err := os.WriteFile(pagePath, []byte(want), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	got, err := os.ReadFile(pagePath)
	if err != nil || string(got) != want {
		t.Errorf("docs/compatibility.md is not what the scripts say (%v): go test ./internal/oracle -update", err)
	}
}

func page(scripts []*script) string {
	var b strings.Builder
	b.WriteString(pageHead)
	var all [4]int
	for _, s := range scripts {
		n := s.count()
		for i := range all {
			all[i] += n[i]
		}
		fmt.Fprintf(&b, "| %s | %d | %d | %d | %d | %s |\n", s.title, n[0], n[1], n[2], n[3], s.intro)
	}
	fmt.Fprintf(&b, "| **All** | %d | %d | %d | %d | |\n", all[0], all[1], all[2], all[3])
	b.WriteString("\n## What differs\n")
	list(&b, scripts, "differs")
	b.WriteString("\n## What is refused\n\nThese fail with SQLSTATE 0A000 and a message that names what is not supported.\n")
	list(&b, scripts, "refused")
	return b.String()
}

// count returns all statements, those that are the same, differ and are
// refused.
func (s *script) count() [4]int {
	n := [4]int{len(s.cases)}
	for _, c := range s.cases {
		switch c.kind {
		case "":
			n[1]++
		case "differs":
			n[2]++
		default:
			n[3]++
		}
	}
	return n
}

// list writes the cases of a kind by area and reason.
func list(b *strings.Builder, scripts []*script, kind string) {
	for _, s := range scripts {
		var reasons []string
		by := map[string][]string{}
		for _, c := range s.cases {
			if c.kind != kind {
				continue
			}
			if by[c.reason] == nil {
				reasons = append(reasons, c.reason)
			}
			by[c.reason] = append(by[c.reason], c.sql)
		}
		if len(reasons) == 0 {
			continue
		}
		fmt.Fprintf(b, "\n### %s\n\n", s.title)
		for _, r := range reasons {
			fmt.Fprintf(b, "- %s\n", r)
			for _, sql := range by[r] {
				fmt.Fprintf(b, "  - %s\n", code(sql))
			}
		}
	}
}

// codeLimit is the longest statement that the page shows whole.
const codeLimit = 160

// code writes a statement in one line, as code.
func code(sql string) string {
	sql = strings.Join(strings.Fields(sql), " ")
	if len([]rune(sql)) > codeLimit {
		sql = string([]rune(sql)[:codeLimit]) + "…"
	}
	fence := "`"
	if strings.Contains(sql, "`") {
		fence = "``"
	}
	return fence + sql + fence
}
