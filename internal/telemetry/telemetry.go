// Package telemetry counts and traces what the doors do: Prometheus metrics of
// a registry of its own, and OpenTelemetry spans.
//
// It guarantees that no metric and no span holds SQL text, a parameter, a row,
// a name or a secret (tenants stand there by id); that the number of series
// does not grow with the number of tenants; and that a collector that is away
// or slow costs dropped spans and nothing else. It must not know about
// protocols, nodes or configuration files: package server gives it what it
// needs, and the doors call a Door for what happens.
package telemetry

import (
	"context"
	"log/slog"
	"net/http"
	"runtime"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"kimberlite/internal/clock"
)

// Config configures a Telemetry.
type Config struct {
	// Version is the program's.
	Version string
	// TopTenants is how many tenants have series of their own.
	TopTenants int
	// OTLPEndpoint is the URL of a collector, without its path; "" is no
	// traces.
	OTLPEndpoint string
	// SampleRatio is the share of traces begun here that are kept.
	SampleRatio float64
	// Clock is the time by which top tenants are chosen; nil is the system's.
	Clock clock.Clock
	// Logger is told, seldom, that the collector cannot be reached.
	Logger *slog.Logger
}

// Telemetry is the metrics and traces of one server. It is safe for
// concurrent use.
type Telemetry struct {
	registry *prometheus.Registry
	tenants  *topTenants
	traces   *traces // nil when there are none

	connections                   *prometheus.GaugeVec
	opened, logins, rows          *prometheus.CounterVec
	errors, refusals, received    *prometheus.CounterVec
	sent, handshakeFailures       *prometheus.CounterVec
	durations                     *prometheus.HistogramVec
	exported, lost, exporterFails prometheus.Counter
}

// buckets of durations, in seconds: a read of a row from memory takes tens of
// microseconds, a durable write a millisecond or more.
var buckets = []float64{
	25e-6, 50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 50e-3, 100e-3, 250e-3, 500e-3, 1, 2.5, 5, 10, 30,
}

// New returns a Telemetry; Close ends it.
func New(c Config) (*Telemetry, error) {
	if c.Clock == nil {
		c.Clock = clock.System{}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	t := &Telemetry{registry: prometheus.NewRegistry(), tenants: newTopTenants(c.TopTenants, c.Clock)}
	t.describe()
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "kimberlite_build_info", Help: "The program that runs; always 1.",
		ConstLabels: prometheus.Labels{"version": c.Version, "go": runtime.Version()},
	})
	info.Set(1)
	t.registry.MustRegister(
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), info,
		t.connections, t.opened, t.logins, t.durations, t.rows, t.errors, t.refusals, t.received, t.sent, t.handshakeFailures,
		t.exported, t.lost, t.exporterFails, t.tenants,
	)
	if c.OTLPEndpoint == "" {
		return t, nil
	}
	var err error
	t.traces, err = t.newTraces(c)
	return t, err
}

// describe makes the metrics.
func (t *Telemetry) describe() {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "kimberlite_" + name, Help: help}, labels)
	}
	single := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "kimberlite_" + name, Help: help})
	}
	t.connections = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "kimberlite_connections", Help: "Connections that are open now, by door.",
	}, []string{"door"})
	t.opened = counter("connections_opened_total", "Connections that were opened, by door.", "door")
	t.handshakeFailures = counter("tls_handshake_failures_total", "TLS handshakes that failed, by door.", "door")
	t.logins = counter("logins_total", "Logins, by door and outcome: ok, refused, throttled or failed.", "door", "outcome")
	t.durations = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "kimberlite_statement_duration_seconds", Help: "Time that statements and requests took, by door and kind.", Buckets: buckets,
	}, []string{"door", "kind"})
	t.rows = counter("statement_rows_total", "Rows that statements returned or changed, by door and kind.", "door", "kind")
	t.errors = counter("statement_errors_total", "Statements and requests that failed, by door and kind of error.", "door", "error")
	t.refusals = counter("quota_refusals_total", "Statements and requests that a tenant's quota refused, by limit.", "limit")
	t.received = counter("received_bytes_total", "Bytes received, TLS included, by door.", "door")
	t.sent = counter("sent_bytes_total", "Bytes sent, TLS included, by door.", "door")
	t.exported = single("trace_spans_exported_total", "Spans that the collector took.")
	t.lost = single("trace_spans_lost_total", "Spans that could not be given to the collector.")
	t.exporterFails = single("trace_export_failures_total", "Attempts to reach the collector that failed.")
}

// Metrics returns the handler that answers a scrape. Who may ask is for the
// caller to say.
func (t *Telemetry) Metrics() http.Handler {
	return promhttp.HandlerFor(t.registry, promhttp.HandlerOpts{
		ErrorHandling: promhttp.ContinueOnError, MaxRequestsInFlight: 4, EnableOpenMetrics: true,
	})
}

// Close gives the collector what is left, until ctx ends. It reports no
// failure: what is lost is counted.
func (t *Telemetry) Close(ctx context.Context) {
	if t.traces != nil {
		t.traces.close(ctx)
	}
}
