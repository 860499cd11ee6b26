package rpc

import (
	"compress/gzip"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"testing"

	"connectrpc.com/connect"

	v1 "kimberlite/gen/kimberlite/v1"
	"kimberlite/gen/kimberlite/v1/kimberlitev1connect"
)

func TestCurlCallsIt(t *testing.T) {
	t.Parallel()
	curl, err := exec.LookPath("curl")
	if err != nil {
		t.Skip("there is no curl")
	}
	b := newBench(t, Limits{})
	run := func(args ...string) string {
		out, err := exec.CommandContext(t.Context(), curl, append([]string{"-sS", "--cacert", b.caFile}, args...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return string(out)
	}
	operator, owner := "Authorization: Bearer "+b.secrets["operator"], "Authorization: Bearer "+b.secrets["owner1"]
	for _, protocol := range []string{"--http1.1", "--http2"} {
		got := run(protocol, "-H", operator, "-d", `{"id":"1"}`, b.url+"/kimberlite.v1.TenantService/GetTenant")
		var doc struct{ Tenant struct{ ID, Name string } }
		if err := json.Unmarshal([]byte(got), &doc); err != nil || doc.Tenant.ID != "1" || doc.Tenant.Name != "hospital-1" {
			t.Errorf("%s: %s", protocol, got)
		}
	}
	for _, c := range []struct{ method, message, want string }{
		{"SQLService/Exec", `{"sql":"CREATE TABLE t(a, b); INSERT INTO t VALUES (1, 'x')"}`, `"result"`},
		{"SQLService/Exec", `{"tenant":1,"sql":"INSERT INTO t VALUES (?, ?)","args":[{"integer":2},{"text":"y"}]}`, `"rowsAffected":"1"`},
		{"SQLService/QueryAll", `{"sql":"SELECT a, b FROM t ORDER BY a","maxRows":1}`, `"truncated":true`},
		{"SQLService/QueryAll", `{"sql":"SELECT a FROM t WHERE b = :b","namedArgs":{"b":{"text":"y"}}}`, `{"integer":"2"}`},
		{"ServerService/WhoAmI", `{}`, `"role":"ROLE_OWNER"`},
	} {
		got := strings.ReplaceAll(run("-H", owner, "-d", c.message, b.url+"/kimberlite.v1."+c.method), `": "`, `":"`)
		if !strings.Contains(got, c.want) {
			t.Errorf("%s %s: %s", c.method, c.message, got)
		}
	}
	for path, want := range map[string]string{"/healthz": "ok\n", "/readyz": "ready\n"} {
		if got := run(b.url + path); got != want {
			t.Errorf("%s: %q", path, got)
		}
	}
	if got := run("-H", "Content-Type: application/json", "-d", "{}", b.url+"/grpc.health.v1.Health/Check"); !strings.Contains(got, "SERVING_STATUS_SERVING") && !strings.Contains(got, `"SERVING"`) {
		t.Errorf("health: %s", got)
	}
}

func TestEveryProtocolWorks(t *testing.T) {
	t.Parallel()
	b := newBench(t, Limits{})
	withToken := connect.WithInterceptors(tokenOf(b.secrets["owner1"]))
	plain := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: b.ca}, ForceAttemptHTTP2: true}}
	defer plain.CloseIdleConnections()
	for name, option := range map[string]connect.ClientOption{
		"connect": connect.WithClientOptions(), "json": connect.WithProtoJSON(), "grpc": connect.WithGRPC(), "grpc-web": connect.WithGRPCWeb(),
		"get": connect.WithHTTPGet(), "gzip": connect.WithSendGzip(),
	} {
		who, err := kimberlitev1connect.NewServerServiceClient(plain, b.url, withToken, option).WhoAmI(t.Context(), &v1.WhoAmIRequest{})
		if err != nil || who.GetTenant() != 1 {
			t.Errorf("%s: %v, %v", name, who, err)
		}
		sql := kimberlitev1connect.NewSQLServiceClient(plain, b.url, withToken, option)
		stream, err := sql.Query(t.Context(), &v1.QueryRequest{Sql: "SELECT value FROM generate_series(1, 2000)"})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		rows := 0
		for stream.Receive() {
			rows += len(stream.Msg().GetRows().GetRows())
		}
		if stream.Err() != nil || rows != 2000 {
			t.Errorf("%s: %d rows, %v", name, rows, stream.Err())
		}
		_, err = sql.Exec(t.Context(), &v1.ExecRequest{Tenant: 2, Sql: "SELECT 1"})
		var wire *connect.Error
		if !errors.As(err, &wire) || wire.Code() != connect.CodePermissionDenied || len(wire.Details()) != 1 {
			t.Errorf("%s: another tenant: %v", name, err)
		}
	}
}

// tokenOf puts a token into calls.
type tokenOf string

func (o tokenOf) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, r connect.AnyRequest) (connect.AnyResponse, error) {
		r.Header().Set("Authorization", "Bearer "+string(o))
		return next(ctx, r)
	}
}

func (o tokenOf) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return func(ctx context.Context, spec connect.Spec) connect.StreamingClientConn {
		conn := next(ctx, spec)
		conn.RequestHeader().Set("Authorization", "Bearer "+string(o))
		return conn
	}
}

func (o tokenOf) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return next
}

func TestMalformedAndOversizedMessagesAreRefused(t *testing.T) {
	t.Parallel()
	b := newBench(t, Limits{MessageBytes: 64 << 10})
	const exec = "/kimberlite.v1.SQLService/Exec"
	long := `{"sql":"SELECT '` + strings.Repeat("x", 80<<10) + `'"}`
	var zipped strings.Builder
	z := gzip.NewWriter(&zipped)
	_, _ = z.Write([]byte(`{"sql":"` + strings.Repeat("x", 50<<20) + `"}`))
	_ = z.Close()
	for name, c := range map[string]struct{ contentType, body, code string }{
		"not JSON":        {"application/json", "{{{", "invalid_argument"},
		"a form":          {"application/x-www-form-urlencoded", "a=b&c=d", "invalid_argument"},
		"wrong type":      {"application/json", `{"tenant":"x"}`, "invalid_argument"},
		"deep":            {"application/json", strings.Repeat(`{"args":[`, 6_000), "invalid_argument"},
		"not a protobuf":  {"application/proto", "\xff\xff\xff", "invalid_argument"},
		"too long":        {"application/json", long, "resource_exhausted"},
		"too long a form": {"application/x-www-form-urlencoded", long, "resource_exhausted"},
		"negative limit":  {"application/json", `{"sql":"SELECT 1","tenant":-1}`, "invalid_argument"},
	} {
		if got := b.post(exec, b.secrets["owner1"], c.contentType, c.body); got.code != c.code {
			t.Errorf("%s: %d %.300s", name, got.status, got.text)
		}
	}
	if got := b.post(exec, b.secrets["owner1"], "text/html", "{}"); got.status != http.StatusUnsupportedMediaType {
		t.Errorf("text/html: %d", got.status)
	}
	// A short body that grows when it is unpacked is refused as it grows.
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, b.url+exec, strings.NewReader(zipped.String()))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Content-Encoding", "gzip")
	r.Header.Set("Authorization", "Bearer "+b.secrets["owner1"])
	c := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: b.ca}}}
	defer c.CloseIdleConnections()
	answer, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if text, _ := io.ReadAll(answer.Body); answer.StatusCode != http.StatusTooManyRequests {
		t.Errorf("a bomb: %d %s", answer.StatusCode, text)
	}
	if got := b.post(exec, b.secrets["owner1"], "application/json", `{"sql":"CREATE TABLE fine(a)"}`); got.status != http.StatusOK {
		t.Errorf("the server is not well: %s", got.text)
	}
}

func TestHeadersOfACall(t *testing.T) {
	t.Parallel()
	b := newBench(t, Limits{})
	call := func(id, key, message string) *http.Response {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, b.url+"/kimberlite.v1.SQLService/Exec", strings.NewReader(message))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Authorization", "bearer "+b.secrets["owner1"])
		r.Header.Set("X-Request-Id", id)
		r.Header.Set("X-Forwarded-For", "10.9.8.7")
		r.Header.Set("Idempotency-Key", key)
		c := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: b.ca}}}
		defer c.CloseIdleConnections()
		answer, err := c.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		return answer
	}
	if got := call("mine-1", "", `{"sql":"CREATE TABLE t(a)"}`).Header.Get("X-Request-Id"); got != "mine-1" {
		t.Errorf("request id %q", got)
	}
	if got := call("not fit for a log", "", `{"sql":"SELECT 1"}`).Header.Get("X-Request-Id"); got == "" || strings.Contains(got, " ") {
		t.Errorf("request id %q", got)
	}
	for range 2 {
		if got := call("", "k", `{"sql":"INSERT INTO t VALUES (1)"}`); got.StatusCode != http.StatusOK {
			t.Error(got.Status)
		}
	}
	if got := call("", "k", `{"sql":"INSERT INTO t VALUES (1)","idempotencyKey":"other"}`); got.StatusCode != http.StatusBadRequest {
		t.Error(got.Status)
	}
	n := b.post("/kimberlite.v1.SQLService/QueryAll", b.secrets["owner1"], "application/json", `{"sql":"SELECT count(*) FROM t"}`)
	if !strings.Contains(n.text, `{"integer":"1"}`) {
		t.Errorf("rows: %s", n.text)
	}
	if trail := b.post("/kimberlite.v1.AuditService/ListEntries", b.secrets["owner1"], "application/json", `{}`); strings.Contains(trail.text, "10.9.8.7") || !strings.Contains(trail.text, "127.0.0.1") {
		t.Errorf("the trail takes the caller's word for its address: %s", trail.text)
	}
}

func TestNothingSecretIsLogged(t *testing.T) {
	t.Parallel()
	b := newBench(t, Limits{})
	b.post("/kimberlite.v1.SQLService/Exec", b.secrets["owner1"], "application/json", `{"sql":"CREATE TABLE secretive(a CHECK (a <> 'mellon'))"}`)
	b.post("/kimberlite.v1.SQLService/Exec", b.secrets["owner1"], "application/json", `{"sql":"INSERT INTO secretive VALUES ('mellon')"}`)
	b.post("/kimberlite.v1.SQLService/Exec", b.secrets["owner1"], "application/json", `{"sql":"SELECT friend('mellon')"}`)
	b.post("/kimberlite.v1.SQLService/Exec", "mellon", "application/json", `{}`)
	log := b.log.String()
	if !strings.Contains(log, "kimberlite.v1.SQLService/Exec") {
		t.Fatalf("the log says nothing of calls: %s", log)
	}
	for _, word := range []string{"mellon", "secretive", "kmb_"} {
		if strings.Contains(log, word) {
			t.Errorf("the log holds %q:\n%s", word, log)
		}
	}
	b.observed.mu.Lock()
	defer b.observed.mu.Unlock()
	if calls := strings.Join(b.observed.calls, "\n"); !strings.Contains(calls, "SQLService/Exec 1 ok") || !strings.Contains(calls, "SQLService/Exec 1 constraint") || !strings.Contains(calls, "unauthenticated") {
		t.Errorf("observed:\n%s", calls)
	}
	if logins := strings.Join(b.observed.logins, "\n"); !strings.Contains(logins, "1 ok") || !strings.Contains(logins, "unauthenticated") {
		t.Errorf("logins:\n%s", logins)
	}
}

func TestAPanicEndsOneCallAlone(t *testing.T) {
	t.Parallel()
	b := newBench(t, Limits{})
	d := &door{log: b.logger(), limits: Limits{RequestTimeout: 1}}
	handler := d.withCall(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("row data") }), remoteAddress)
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/kimberlite.v1.SQLService/Exec", nil))
	if w.Code != http.StatusInternalServerError || w.Header().Get("X-Request-Id") == "" {
		t.Errorf("%d %v", w.Code, w.Header())
	}
	if log := b.log.String(); !strings.Contains(log, "panic") || strings.Contains(log, "row data") {
		t.Errorf("log: %s", log)
	}
}
