package telemetry

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"kimberlite/internal/clock"
	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
)

// How spans go to the collector: the queue bounds memory, and is dropped from
// when it is full.
const (
	queuedSpans   = 4096
	batchedSpans  = 512
	exportEvery   = 2 * time.Second
	exportTimeout = 10 * time.Second
)

// traces makes spans and gives them to the collector.
type traces struct {
	provider *sdktrace.TracerProvider
	tracer   trace.Tracer
	// wire reads the W3C headers of requests; baggage is not taken.
	wire  propagation.TraceContext
	clock clock.Clock
}

func (t *Telemetry) newTraces(c Config) (*traces, error) {
	exporter, err := otlptracehttp.New(context.Background(),
		otlptracehttp.WithEndpointURL(strings.TrimRight(c.OTLPEndpoint, "/")+"/v1/traces"), otlptracehttp.WithTimeout(exportTimeout))
	if err != nil {
		return nil, fault.Wrap("trace", fault.Invalid, err, "the collector's URL cannot be used")
	}
	quiet := &quietExporter{
		inner: exporter, log: c.Logger, clock: c.Clock, exported: t.exported, lost: t.lost, failures: t.exporterFails,
	}
	provider := sdktrace.NewTracerProvider(
		sdktrace.WithBatcher(quiet, sdktrace.WithMaxQueueSize(queuedSpans), sdktrace.WithMaxExportBatchSize(batchedSpans),
			sdktrace.WithBatchTimeout(exportEvery), sdktrace.WithExportTimeout(exportTimeout)),
		sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.TraceIDRatioBased(c.SampleRatio))),
		sdktrace.WithResource(resource.NewSchemaless(
			attribute.String("service.name", "kimberlite"), attribute.String("service.version", c.Version))),
	)
	return &traces{provider: provider, tracer: provider.Tracer("kimberlite"), clock: c.Clock}, nil
}

func (t *traces) close(ctx context.Context) {
	_ = t.provider.Shutdown(ctx) // what is lost is counted by the exporter
}

// statement makes the span of a statement that has ended.
func (t *traces) statement(door string, tenant ident.TenantID, kind string, took time.Duration, rows int64, err error) {
	end := t.clock.Now()
	_, span := t.tracer.Start(context.Background(), door+" "+kind,
		trace.WithSpanKind(trace.SpanKindServer), trace.WithTimestamp(end.Add(-took)))
	finish(span, tenant, kind, rows, err)
	span.End(trace.WithTimestamp(end))
}

// annotate gives the span of a request, if there is one, what is known at its
// end.
func annotate(ctx context.Context, tenant ident.TenantID, kind string, rows int64, err error) {
	finish(trace.SpanFromContext(ctx), tenant, kind, rows, err)
}

// finish sets a span's attributes: no text of a statement and no parameter,
// and of an error its kind alone.
func finish(span trace.Span, tenant ident.TenantID, kind string, rows int64, err error) {
	if !span.IsRecording() {
		return
	}
	span.SetAttributes(attribute.String("kimberlite.kind", kind), attribute.Int64("kimberlite.rows", rows))
	if !tenant.IsZero() {
		span.SetAttributes(attribute.String("kimberlite.tenant", tenant.String()))
	}
	if err != nil {
		name := fault.KindOf(err).String()
		span.SetAttributes(attribute.String("error.type", name))
		span.SetStatus(codes.Error, name)
	}
}

// Trace returns a handler that begins a span for each request, as a child of
// the caller's where the request says so by W3C's headers. known says which
// paths may name a span. Without traces it returns next itself.
func (t *Telemetry) Trace(next http.Handler, known func(path string) bool) http.Handler {
	if t.traces == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := "rpc"
		if known(r.URL.Path) {
			name = strings.TrimPrefix(r.URL.Path, "/")
		}
		ctx := t.traces.wire.Extract(r.Context(), propagation.HeaderCarrier(r.Header))
		ctx, span := t.traces.tracer.Start(ctx, name, trace.WithSpanKind(trace.SpanKindServer))
		defer span.End()
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// quietExporter keeps an exporter's failures from everything but the counters
// and, once a minute, the log.
type quietExporter struct {
	inner                    sdktrace.SpanExporter
	log                      *slog.Logger
	clock                    clock.Clock
	exported, lost, failures prometheus.Counter

	mu     sync.Mutex // guards logged
	logged time.Time
}

// ExportSpans gives spans to the collector. It reports no error.
func (q *quietExporter) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	err := q.inner.ExportSpans(ctx, spans)
	if err == nil {
		q.exported.Add(float64(len(spans)))
		return nil
	}
	q.failures.Inc()
	q.lost.Add(float64(len(spans)))
	q.mu.Lock()
	defer q.mu.Unlock()
	now := q.clock.Now()
	if q.logged.IsZero() || now.Sub(q.logged) >= time.Minute {
		q.logged = now
		q.log.Warn("trace: the collector took no spans; they are dropped", "spans", len(spans), "error", cause(err))
	}
	return nil
}

// Shutdown ends the exporter.
func (q *quietExporter) Shutdown(ctx context.Context) error { return q.inner.Shutdown(ctx) }

// cause is the innermost error's text: the outer ones repeat the URL.
func cause(err error) string {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err.Error()
		}
		err = inner
	}
}
