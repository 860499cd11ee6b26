package wireattack

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// reply is what a call of the RPC came to.
type reply struct {
	status int
	header http.Header
	body   []byte
}

func (r reply) ok(t testing.TB) string {
	t.Helper()
	if r.status != http.StatusOK {
		t.Fatalf("the call failed: %d %s", r.status, r.body)
	}
	return string(r.body)
}

// rpc calls a method with JSON, as curl would; who is "name@tenant", or a
// token that is none of the world's.
func (w *world) rpc(t testing.TB, who, method, body string) reply {
	t.Helper()
	return w.post(t, who, method, "application/json", []byte(body))
}

func (w *world) post(t testing.TB, who, method, contentType string, body []byte) reply {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	rq, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+w.k.RPC+"/kimberlite.v1."+method, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	token, known := w.secrets[who]
	if !known {
		token = who
	}
	if token != "" {
		rq.Header["Authorization"] = []string{"Bearer " + token}
	}
	rq.Header.Set("Content-Type", contentType)
	if strings.HasPrefix(contentType, "application/grpc") {
		rq.Header.Set("TE", "trailers")
	}
	return w.do(t, rq)
}

// do sends a request; a refusal to even send or read it whole is an answer of
// status 0.
func (w *world) do(t testing.TB, rq *http.Request) reply {
	t.Helper()
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: w.roots, ServerName: "localhost"}, ForceAttemptHTTP2: true, DisableKeepAlives: true,
		ResponseHeaderTimeout: 10 * time.Second,
	}
	defer transport.CloseIdleConnections()
	answer, err := transport.RoundTrip(rq)
	if err != nil {
		return reply{}
	}
	defer answer.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(answer.Body, 64<<20))
	for name, values := range answer.Trailer {
		answer.Header[name] = values
	}
	return reply{answer.StatusCode, answer.Header, text}
}

// everything is all that came back.
func (r reply) everything() []byte {
	var b bytes.Buffer
	_ = r.header.Write(&b) // a buffer takes all
	b.Write(r.body)
	return b.Bytes()
}
