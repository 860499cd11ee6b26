package telemetry

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel"

	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
)

// collector takes spans as a collector does, in the JSON form of OTLP.
type collector struct {
	mu    sync.Mutex // guards spans and raw
	spans []span
	raw   bytes.Buffer
}

type span struct {
	TraceID, ParentSpanID, Name string
	Attributes                  []struct {
		Key   string
		Value struct{ StringValue, IntValue string }
	}
	Status struct{ Message string }
}

func (s *span) attribute(name string) string {
	for _, a := range s.Attributes {
		if a.Key == name {
			return a.Value.StringValue + a.Value.IntValue
		}
	}
	return ""
}

func (c *collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	var doc struct {
		ResourceSpans []struct {
			ScopeSpans []struct{ Spans []span }
		}
	}
	if err != nil || r.URL.Path != "/v1/traces" || json.Unmarshal(body, &doc) != nil {
		http.Error(w, "what is this", http.StatusBadRequest)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.raw.Write(body)
	for _, rs := range doc.ResourceSpans {
		for _, ss := range rs.ScopeSpans {
			c.spans = append(c.spans, ss.Spans...)
		}
	}
}

func TestSpansReachTheCollectorWithoutTextsOfStatements(t *testing.T) {
	t.Setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json")
	c := &collector{}
	server := httptest.NewServer(c)
	defer server.Close()
	m := newTelemetry(t, Config{Version: "v1", OTLPEndpoint: server.URL, SampleRatio: 1})
	one := ident.MustTenantID(1)
	pg, rpc := m.Door("pg"), m.Door("rpc")
	pg.StatementDone(one, "SELECT 1 -- Alice Smith", 3*time.Millisecond, 7, nil)
	pg.StatementDone(one, "UPDATE", time.Millisecond, 0, fault.New("sql", fault.Constraint, "Alice Smith"))
	handler := m.Trace(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		rpc.RequestDone(r.Context(), one, r.URL.Path, time.Millisecond, 2, nil)
	}), func(path string) bool { return strings.HasPrefix(path, "/kimberlite.v1.") })
	for _, path := range []string{"/kimberlite.v1.TenantService/GetTenant", "/Alice%20Smith"} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, path, http.NoBody)
		r.Header.Set("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
		if path == "/Alice%20Smith" {
			r.Header.Set("traceparent", "00-Alice Smith-0-1")
		}
		handler.ServeHTTP(httptest.NewRecorder(), r)
	}
	m.Close(t.Context())
	c.mu.Lock()
	defer c.mu.Unlock()
	by := map[string]*span{}
	for i := range c.spans {
		by[c.spans[i].Name] = &c.spans[i]
	}
	if len(c.spans) != 4 || by["pg select"] == nil || by["pg update"] == nil || by["rpc"] == nil {
		t.Fatalf("%d spans: %s", len(c.spans), c.raw.String())
	}
	if s := by["pg select"]; s.attribute("kimberlite.tenant") != "1" || s.attribute("kimberlite.rows") != "7" || s.ParentSpanID != "" {
		t.Errorf("%+v", s)
	}
	if s := by["pg update"]; s.attribute("error.type") != "constraint" || s.Status.Message != "constraint" {
		t.Errorf("%+v", s)
	}
	s := by["kimberlite.v1.TenantService/GetTenant"]
	if s == nil || !strings.EqualFold(s.TraceID, "0af7651916cd43dd8448eb211c80319c") || !strings.EqualFold(s.ParentSpanID, "b7ad6b7169203331") || s.attribute("kimberlite.kind") != "GetTenant" {
		t.Errorf("the caller's trace is not gone on with: %+v", s)
	}
	if strings.Contains(c.raw.String(), "Alice") {
		t.Errorf("a text is in the spans: %s", c.raw.String())
	}
	if got := value(scrape(t, m), "kimberlite_trace_spans_exported_total"); got != 4 {
		t.Errorf("%v spans are counted", got)
	}
}

func TestACollectorThatIsAwayCostsDroppedSpansAndOneLineOfLog(t *testing.T) {
	refusing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "no", http.StatusForbidden)
	}))
	defer refusing.Close()
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { t.Errorf("the failure went elsewhere: %v", err) }))
	var log bytes.Buffer
	m := newTelemetry(t, Config{TopTenants: 1, OTLPEndpoint: refusing.URL, SampleRatio: 1, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	d := m.Door("pg")
	const spans = 3 * queuedSpans
	start := time.Now()
	for range spans {
		d.StatementDone(ident.MustTenantID(1), "SELECT", time.Millisecond, 1, nil)
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("statements waited %v for the collector", took)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	m.Close(ctx)
	got := scrape(t, m)
	if value(got, "kimberlite_trace_export_failures_total") < 1 || value(got, "kimberlite_trace_spans_lost_total") < 1 ||
		value(got, "kimberlite_tenant_statements_total", "tenant=1") != spans {
		t.Errorf("failures are not counted, or statements are lost")
	}
	if n := strings.Count(log.String(), "\n"); n != 1 {
		t.Errorf("%d lines of log:\n%s", n, log.String())
	}
}

func TestWithoutACollectorARequestIsServedByTheHandlerItself(t *testing.T) {
	m := newTelemetry(t, Config{})
	called := false
	h := m.Trace(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		called = true
		m.Door("rpc").RequestDone(r.Context(), ident.TenantID{}, "/a/B", 0, 0, nil)
	}), func(string) bool { return true })
	if _, wrapped := h.(http.HandlerFunc); !wrapped || m.traces != nil {
		t.Error("there is a tracer")
	}
	h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", http.NoBody))
	if !called {
		t.Error("the handler is not called")
	}
}
