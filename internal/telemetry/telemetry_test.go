package telemetry

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"kimberlite/internal/clock"
	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
)

// scrape reads the metrics as a scraper does.
func scrape(t *testing.T, m *Telemetry) map[string]*dto.MetricFamily {
	t.Helper()
	w := httptest.NewRecorder()
	m.Metrics().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", http.NoBody))
	if w.Code != http.StatusOK {
		t.Fatalf("status %d: %s", w.Code, w.Body)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(w.Body)
	if err != nil {
		t.Fatal(err)
	}
	return families
}

// value returns the sample of a family whose labels are given as "name=value",
// or -1 when there is none; of a histogram, its count.
func value(families map[string]*dto.MetricFamily, name string, labels ...string) float64 {
	for _, m := range families[name].GetMetric() {
		have := map[string]bool{}
		for _, l := range m.GetLabel() {
			have[l.GetName()+"="+l.GetValue()] = true
		}
		all := len(have) == len(labels)
		for _, l := range labels {
			all = all && have[l]
		}
		switch {
		case !all:
		case m.Histogram != nil:
			return float64(m.Histogram.GetSampleCount())
		case m.Gauge != nil:
			return m.Gauge.GetValue()
		default:
			return m.Counter.GetValue()
		}
	}
	return -1
}

func newTelemetry(t *testing.T, c Config) *Telemetry {
	t.Helper()
	m, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close(t.Context()) })
	return m
}

func TestAScrapeShowsWhatTheDoorsDid(t *testing.T) {
	m := newTelemetry(t, Config{Version: "v1", TopTenants: 2})
	pg, rpc := m.Door("pg"), m.Door("rpc")
	one := ident.MustTenantID(1)
	pg.ConnectionOpened()
	pg.ConnectionOpened()
	pg.ConnectionClosed()
	pg.HandshakeFailed()
	pg.Login(one, nil)
	pg.Login(one, fault.New("login", fault.Unauthenticated, "no"))
	pg.Login(one, fault.New("login", fault.RateLimited, "later"))
	pg.Login(one, errors.New("the disk"))
	pg.StatementDone(one, "SELECT 12", time.Millisecond, 12, nil)
	pg.StatementDone(one, "INSERT 0 3", time.Millisecond, 3, nil)
	pg.StatementDone(one, "CREATE TABLE", time.Millisecond, 0, nil)
	pg.StatementDone(one, "Robert'); DROP TABLE students", time.Millisecond, 0, fault.New("sql", fault.SQL, "no"))
	refused := fault.New("quota", fault.RateLimited, "slow down")
	refused.Quota = &fault.Quota{Limit: "max_ops_per_sec"}
	pg.StatementDone(one, "SELECT", time.Millisecond, 0, refused)
	rpc.RequestDone(t.Context(), one, "/kimberlite.v1.TenantService/GetTenant", time.Millisecond, 0, nil)
	m.Observe(fixed{})
	got := scrape(t, m)
	for _, c := range []struct {
		name   string
		labels []string
		want   float64
	}{
		{"kimberlite_connections", []string{"door=pg"}, 1},
		{"kimberlite_connections_opened_total", []string{"door=pg"}, 2},
		{"kimberlite_tls_handshake_failures_total", []string{"door=pg"}, 1},
		{"kimberlite_logins_total", []string{"door=pg", "outcome=ok"}, 1},
		{"kimberlite_logins_total", []string{"door=pg", "outcome=refused"}, 1},
		{"kimberlite_logins_total", []string{"door=pg", "outcome=throttled"}, 1},
		{"kimberlite_logins_total", []string{"door=pg", "outcome=failed"}, 1},
		{"kimberlite_statement_duration_seconds", []string{"door=pg", "kind=select"}, 2},
		{"kimberlite_statement_duration_seconds", []string{"door=pg", "kind=insert"}, 1},
		{"kimberlite_statement_duration_seconds", []string{"door=pg", "kind=ddl"}, 1},
		{"kimberlite_statement_duration_seconds", []string{"door=pg", "kind=other"}, 1},
		{"kimberlite_statement_duration_seconds", []string{"door=rpc", "kind=GetTenant"}, 1},
		{"kimberlite_statement_rows_total", []string{"door=pg", "kind=select"}, 12},
		{"kimberlite_statement_errors_total", []string{"door=pg", "error=sql"}, 1},
		{"kimberlite_statement_errors_total", []string{"door=pg", "error=rate_limited"}, 1},
		{"kimberlite_quota_refusals_total", []string{"limit=max_ops_per_sec"}, 1},
		{"kimberlite_tenant_statements_total", []string{"tenant=1"}, 6},
		{"kimberlite_tenant_rows_total", []string{"tenant=1"}, 15},
		{"kimberlite_tenant_errors_total", []string{"tenant=1"}, 2},
		{"kimberlite_tenant_quota_refusals_total", []string{"tenant=1"}, 1},
		{"kimberlite_tenants", nil, 3},
		{"kimberlite_open_tenants", nil, 2},
		{"kimberlite_ready", nil, 1},
		{"kimberlite_disk_free_bytes", nil, 99},
		{"kimberlite_tenant_log_bytes", []string{"tenant=1"}, 10},
		{"kimberlite_tenant_limit", []string{"tenant=1", "limit=max_log_size"}, 100},
		{"kimberlite_tenant_limit", []string{"tenant=1", "limit=max_projections"}, -1},
	} {
		if v := value(got, c.name, c.labels...); v != c.want {
			t.Errorf("%s%v = %v, want %v", c.name, c.labels, v, c.want)
		}
	}
	if got["go_goroutines"] == nil || got["process_open_fds"] == nil || got["kimberlite_build_info"] == nil {
		t.Error("the process's own metrics are missing")
	}
	for name, f := range got {
		if strings.Contains(f.String(), "students") {
			t.Errorf("%s shows a tag as it came", name)
		}
	}
}

// fixed is a node.
type fixed struct{}

func (fixed) Tenants() (all, open int) { return 3, 2 }
func (fixed) Usage(id ident.TenantID) (Usage, bool) {
	return Usage{LogBytes: 10, MaxLogBytes: 100}, id.Uint64() == 1
}
func (fixed) DiskFree() (uint64, bool) { return 99, true }
func (fixed) Ready() bool              { return true }

func TestTenThousandTenantsMakeAtMostNAndOneLabelValues(t *testing.T) {
	const top, all = 50, 10_000
	now := clock.NewManual(time.Unix(0, 0))
	m := newTelemetry(t, Config{TopTenants: top, Clock: now})
	d := m.Door("pg")
	m.Observe(fixed{})
	before := map[string]float64{}
	for round := range 5 {
		for i := range all {
			for range 1 + (i/7+round*100)%40/39*200 { // others do more in each round
				d.StatementDone(ident.MustTenantID(uint64(i+1)), "SELECT", time.Microsecond, 1, nil)
			}
		}
		now.Advance(chooseEvery)
		families := scrape(t, m)
		values := map[string]bool{}
		var sum float64
		for _, f := range families {
			for _, s := range f.GetMetric() {
				for _, l := range s.GetLabel() {
					if l.GetName() != "tenant" {
						continue
					}
					values[l.GetValue()] = true
					if f.GetName() == "kimberlite_tenant_statements_total" {
						sum += s.Counter.GetValue()
					}
				}
			}
		}
		if len(values) > top+1 || len(values) < top {
			t.Fatalf("round %d: %d tenants have series, want %d and others", round, len(values), top)
		}
		others := value(families, "kimberlite_tenant_statements_total", "tenant=other")
		if others < before["other"] {
			t.Errorf("round %d: the others' counter went back from %v to %v", round, before["other"], others)
		}
		before["other"] = others
		if total := value(families, "kimberlite_statement_duration_seconds", "door=pg", "kind=select"); sum != total {
			t.Errorf("round %d: the tenants' counters add up to %v of %v", round, sum, total)
		}
	}
	if n := len(m.tenants.recent.by); n > sketchFactor*top {
		t.Errorf("%d tenants are watched", n)
	}
}

func TestWhoDoesMostGetsSeriesOfItsOwn(t *testing.T) {
	now := clock.NewManual(time.Unix(0, 0))
	m := newTelemetry(t, Config{TopTenants: 3, Clock: now})
	d := m.Door("pg")
	work := func(tenant uint64, n int) {
		for range n {
			d.StatementDone(ident.MustTenantID(tenant), "SELECT", 0, 0, nil)
		}
	}
	for i := range uint64(10) { // the first three get the places
		work(i+1, 1)
	}
	now.Advance(chooseEvery)
	scrape(t, m)
	work(7, 100)
	work(8, 90)
	work(9, 80)
	work(2, 5)
	now.Advance(chooseEvery)
	scrape(t, m)
	work(7, 1)
	got := scrape(t, m)
	for tenant, want := range map[string]float64{"7": 1, "8": 0, "9": 0, "1": -1, "2": -1, "other": 285} {
		if v := value(got, "kimberlite_tenant_statements_total", "tenant="+tenant); v != want {
			t.Errorf("tenant %s: %v, want %v", tenant, v, want)
		}
	}
}

// TestTheSketchAgreesWithCountingAll holds it to what it promises, against
// plain counters.
func TestTheSketchAgreesWithCountingAll(t *testing.T) {
	const size = 16
	s, truth := newSketch(size), map[ident.TenantID]uint64{}
	var total uint64
	seed := uint64(1)
	for range 20_000 {
		seed = seed*6364136223846793005 + 1442695040888963407
		tenant := ident.MustTenantID(1 + (seed>>33)%(1+(seed>>40)%100))
		n := 1 + seed>>60
		s.add(tenant, n)
		truth[tenant] += n
		total += n
	}
	if len(s.by) != size || len(s.order) != size {
		t.Fatalf("%d tenants in a sketch of %d", len(s.by), size)
	}
	smallest := s.order[0].count
	for tenant, n := range truth {
		got := s.count(tenant)
		if n > total/size && got == 0 {
			t.Errorf("tenant %s did %d of %d and is not in it", tenant, n, total)
		}
		if got != 0 && (got < n || got > n+smallest) {
			t.Errorf("tenant %s did %d, the sketch says %d, at most %d too many", tenant, n, got, smallest)
		}
	}
}

func TestNoKindOfAStatementMakesMoreThanABoundedNumberOfSeries(t *testing.T) {
	m := newTelemetry(t, Config{})
	pg, rpc := m.Door("pg"), m.Door("rpc")
	for i := range 2000 {
		pg.StatementDone(ident.TenantID{}, fmt.Sprintf("T%d", i), 0, 1, nil)
		rpc.RequestDone(t.Context(), ident.TenantID{}, "/a/"+strings.Repeat("M", i%60)+string(rune('a'+i%26))+string(rune('a'+i/26%26)), 0, 1, nil)
	}
	if n := len(scrape(t, m)["kimberlite_statement_rows_total"].GetMetric()); n > maxKinds+2 {
		t.Errorf("%d series", n)
	}
}

func TestBytesOfConnectionsAreCounted(t *testing.T) {
	m := newTelemetry(t, Config{})
	inner, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := m.Door("pg").Listener(inner)
	defer l.Close()
	var wg sync.WaitGroup
	wg.Go(func() {
		c, err := l.Accept()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		if _, err := io.CopyN(c, c, 1000); err != nil {
			t.Error(err)
		}
	})
	c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", inner.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write(make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(c, make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	got := scrape(t, m)
	if in, out := value(got, "kimberlite_received_bytes_total", "door=pg"), value(got, "kimberlite_sent_bytes_total", "door=pg"); in != 1000 || out != 1000 {
		t.Errorf("received %v, sent %v", in, out)
	}
}

func BenchmarkStatementDone(b *testing.B) {
	m, err := New(Config{TopTenants: 50})
	if err != nil {
		b.Fatal(err)
	}
	d := m.Door("pg")
	ids := make([]ident.TenantID, 1000)
	for i := range ids {
		ids[i] = ident.MustTenantID(uint64(i + 1))
	}
	b.ReportAllocs()
	for i := range b.N {
		d.StatementDone(ids[i%len(ids)], "SELECT 1", time.Millisecond, 1, nil)
	}
}
