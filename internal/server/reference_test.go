package server

import (
	"os"
	"strings"
	"testing"
)

// operations is the document that holds the generated references.
const operations = "../../docs/operations.md"

// TestTheReferencesOfTheConfigurationAndTheMetricsAreCurrent compares
// docs/operations.md with what the code says. KIMBERLITE_WRITE_DOCS=1 writes it
// instead.
func TestTheReferencesOfTheConfigurationAndTheMetricsAreCurrent(t *testing.T) {
	text, err := os.ReadFile(operations)
	if err != nil {
		t.Fatal(err)
	}
	metrics, err := MetricsReference()
	if err != nil {
		t.Fatal(err)
	}
	got := string(text)
	for name, want := range map[string]string{"configuration": Reference(), "metrics": metrics} {
		begin, end := "<!-- "+name+": generated -->\n", "<!-- end of "+name+" -->\n"
		head, rest, ok := strings.Cut(got, begin)
		have, tail, ok2 := strings.Cut(rest, end)
		if !ok || !ok2 {
			t.Fatalf("%s has no place for the %s", operations, name)
		}
		if have != want && os.Getenv("KIMBERLITE_WRITE_DOCS") == "" {
			t.Errorf("the %s in %s is not current: KIMBERLITE_WRITE_DOCS=1 go test ./internal/server -run Reference", name, operations)
		}
		got = head + begin + want + end + tail
	}
	if os.Getenv("KIMBERLITE_WRITE_DOCS") != "" {
		if err := os.WriteFile(operations, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, part := range []string{"kimberlite_tenant_statements_total", "kimberlite_ready", "kimberlite_tls_handshake_failures_total", "kimberlite_trace_spans_lost_total"} {
		if !strings.Contains(metrics, "`"+part+"`") {
			t.Errorf("the list of metrics says nothing of %s", part)
		}
	}
}
