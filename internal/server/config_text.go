package server

import (
	"fmt"
	"strings"

	"kimberlite/internal/telemetry"
)

// textWidth is where comments of the default file are folded.
const textWidth = 76

// DefaultText returns the default configuration as a commented TOML file,
// which Load reads as it is, but for the certificate that it does not name.
func DefaultText() string {
	var b strings.Builder
	b.WriteString(`# Configuration of kimberlite serve. Every key stands here with its default; a
# key that is left out has it. The environment's KIMBERLITE_<SECTION>_<KEY>, such
# as KIMBERLITE_PG_ADDR, stands above this file. Secrets do not belong here: only
# the paths of files that hold them. Check it with: kimberlite config check FILE
`)
	for _, s := range Default().sections() {
		fmt.Fprintf(&b, "\n# %s\n[%s]\n", s.doc, s.name)
		for _, k := range s.keys {
			b.WriteString("\n")
			for _, line := range fold(sentence(k.doc)+k.span(), textWidth) {
				b.WriteString("# " + line + "\n")
			}
			fmt.Fprintf(&b, "%s = %s\n", k.name, k.literal(k.fallback))
		}
	}
	return b.String()
}

// Reference returns the configuration's reference as Markdown: a table for
// each section. docs/operations.md holds it, and a test that it is current.
func Reference() string {
	var b strings.Builder
	for i, s := range Default().sections() {
		if i > 0 {
			b.WriteString("\n")
		}
		fmt.Fprintf(&b, "#### [%s]\n\n%s\n\n| key | default | range | what it does |\n|---|---|---|---|\n", s.name, s.doc)
		for _, k := range s.keys {
			fmt.Fprintf(&b, "| `%s` | `%s` | %s | %s |\n", k.name, k.literal(k.fallback), k.bounds(), k.doc)
		}
	}
	return b.String()
}

// bounds is the key's range as the reference has it.
func (k *key) bounds() string {
	switch {
	case len(k.oneOf) > 0:
		return strings.Join(k.oneOf, ", ")
	case k.least != "":
		return k.interval()
	}
	return k.kind()
}

// span is the key's range as the default file has it.
func (k *key) span() string {
	switch {
	case len(k.oneOf) > 0:
		return " One of " + strings.Join(k.oneOf, ", ") + "."
	case k.least != "":
		return " From " + k.least + " to " + k.top + "."
	}
	return ""
}

// sentence gives a text a capital and a full stop.
func sentence(s string) string { return strings.ToUpper(s[:1]) + s[1:] + "." }

// fold breaks a text into lines of at most width bytes, at blanks.
func fold(s string, width int) []string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(s) {
		if line != "" && len(line)+1+len(word) > width {
			lines = append(lines, line)
			line = ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return append(lines, line)
}

// MetricsReference returns the list of metrics as Markdown.
func MetricsReference() (string, error) {
	all, err := telemetry.Catalog()
	if err != nil {
		return "", err
	}
	var b strings.Builder
	b.WriteString("| metric | labels | what it says |\n|---|---|---|\n")
	for _, m := range all {
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", m.Name, strings.Join(m.Labels, ", "), m.Help)
	}
	return b.String(), nil
}
