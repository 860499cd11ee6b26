package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// TestExamplesOfTheHelpWorkAsPrinted runs what --help of every verb shows, each
// in a directory of its own.
func TestExamplesOfTheHelpWorkAsPrinted(t *testing.T) {
	t.Parallel()
	var visit func(c *cobra.Command)
	visit = func(c *cobra.Command) {
		if c.Name() != "help" && !ofCluster(c) { // those have a test of their own
			t.Run(strings.ReplaceAll(c.CommandPath(), " ", "-"), func(t *testing.T) {
				t.Parallel()
				help := newPlace(t).must(append(strings.Fields(c.CommandPath())[1:], "--help")...)
				_, example, ok := strings.Cut(help, "Examples:\n")
				if !ok {
					t.Fatalf("no example in\n%s", help)
				}
				example, _, _ = strings.Cut(example, "\n\n")
				o := newPlace(t).shell("set -e\n" + example)
				if o.status != 0 {
					t.Errorf("exit %d of\n%s\n%s%s", o.status, example, o.stdout, o.stderr)
				}
			})
		}
		for _, sub := range c.Commands() {
			visit(sub)
		}
	}
	visit(newRoot(&app{}))
}

func TestBenchReportsWhatItMeasured(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	out := p.must("bench", "--tenants", "2", "--workers", "2", "--rows", "100", "--duration", "200ms", "--json", "--data", "B")
	var doc benchDocument
	if err := json.Unmarshal([]byte(out), &doc); err != nil {
		t.Fatal(err)
	}
	if doc.Operations == 0 || doc.Operations != doc.Read.Operations+doc.Write.Operations || doc.Read.P50 <= 0 ||
		doc.Write.P50 > doc.Write.P99 || doc.Write.P99 > doc.Write.Max || doc.Seconds < 0.2 {
		t.Errorf("%+v", doc)
	}
	for id := range 2 {
		n := p.must("sql", "--data", "B", "--tenant", string(rune('1'+id)), "--format", "csv", "-c", "SELECT count(*) > 100 AS grown FROM bench")
		if n != "grown\n1\n" {
			t.Errorf("tenant %d: %q", id+1, n)
		}
	}
	if o := p.run("bench", "--data", "B"); o.status != 4 {
		t.Errorf("bench in a directory that is not new: exit %d", o.status)
	}
}
