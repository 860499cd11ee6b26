package servertest

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// TestTracesReachACollectorWithoutAnyText has a collector of OTLP read what a
// server sends for statements and requests.
func TestTracesReachACollectorWithoutAnyText(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex // guards got
	var got bytes.Buffer
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		_, _ = io.Copy(&got, r.Body)
	}))
	defer collector.Close()
	p := newPlace(t)
	a := newAuthority(t, p)
	secret := p.bootstrap(t)
	cert, key := a.issue(t, p, 1)
	s := p.start(t, []string{
		"KIMBERLITE_TRACE_OTLP_ENDPOINT=" + collector.URL, "KIMBERLITE_TRACE_SAMPLE_RATIO=1", "OTEL_EXPORTER_OTLP_PROTOCOL=http/json",
	}, "serve", "--config", p.configuration(t, cert, key, ""))
	p.must(t, `psql -XAt -c 'CREATE TABLE wards (id bigint primary key, name text)' -c "INSERT INTO wards VALUES (1, 'oncology')"`, s.libpq(a.file, "hospital-a", secret)...)
	p.write(t, "app.token", secret)
	p.get(t, "https://"+s.rpc+"/kimberlite.v1.TenantService/GetTenant", `-H "Authorization: Bearer $(cat app.token)"`,
		`-H "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"`, "-d '{}'")
	s.stop(t) // which sends what is left
	mu.Lock()
	defer mu.Unlock()
	text := strings.ToLower(got.String())
	for _, part := range []string{`"pg ddl"`, `"pg insert"`, `"kimberlite.v1.tenantservice/gettenant"`, "0af7651916cd43dd8448eb211c80319c", `"kimberlite.tenant"`} {
		if !strings.Contains(text, part) {
			t.Errorf("no %s in %s", part, got.String())
		}
	}
	for _, private := range []string{"oncology", "wards", "hospital-a", strings.ToLower(secret)} {
		if strings.Contains(text, private) {
			t.Errorf("%q is in the spans", private)
		}
	}
}
