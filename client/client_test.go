package client

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"

	"google.golang.org/protobuf/types/known/durationpb"

	v1 "kimberlite/gen/kimberlite/v1"
	"kimberlite/gen/kimberlite/v1/kimberlitev1connect"
	"kimberlite/internal/fault"
)

// unreliable answers Exec as it is told, and counts.
type unreliable struct {
	kimberlitev1connect.UnimplementedSQLServiceHandler
	calls  atomic.Int32
	answer func(n int32) error
}

func (u *unreliable) Exec(context.Context, *v1.ExecRequest) (*v1.ExecResponse, error) {
	if err := u.answer(u.calls.Add(1)); err != nil {
		return nil, err
	}
	return &v1.ExecResponse{Result: &v1.Result{RowsAffected: 1}}, nil
}

// serve returns a tenant of a server that answers so.
func serve(t *testing.T, retries int, answer func(n int32) error) (*Tenant, *unreliable) {
	t.Helper()
	u := &unreliable{answer: answer}
	_, handler := kimberlitev1connect.NewSQLServiceHandler(u, connect.WithRecover(func(_ context.Context, _ connect.Spec, _ http.Header, p any) error {
		panic(p)
	}))
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer secret" {
			t.Errorf("authorization %q", r.Header.Get("Authorization"))
		}
		handler.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	c, err := New(Config{URL: s.URL, Token: "secret", Retries: retries})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c.Tenant(MustTenantID(1)), u
}

func refusal(kind fault.Kind, quota *v1.QuotaDetail) error {
	err := connect.NewError(connect.CodeResourceExhausted, errors.New("refused"))
	detail, detailErr := connect.NewErrorDetail(&v1.ErrorDetail{Kind: kind.String(), Op: "quota", Message: "too many", Tenant: 1, Quota: quota})
	if detailErr != nil {
		return detailErr
	}
	err.AddDetail(detail)
	return err
}

func drop(int32) error { panic(http.ErrAbortHandler) }

func TestAWriteWhoseConnectionWasLostIsNotRepeated(t *testing.T) {
	t.Parallel()
	h, u := serve(t, 3, drop)
	_, err := h.Exec(t.Context(), "INSERT")
	if KindOf(err) != fault.OutcomeUnknown || u.calls.Load() != 1 {
		t.Errorf("%d calls, %v", u.calls.Load(), err)
	}
}

func TestAWriteWithAKeyIsRepeatedAfterALostConnection(t *testing.T) {
	t.Parallel()
	h, u := serve(t, 3, func(n int32) error {
		if n < 3 {
			return drop(n)
		}
		return nil
	})
	r, err := h.Exec(WithIdempotencyKey(t.Context(), "k"), "INSERT")
	if err != nil || r.RowsAffected != 1 || u.calls.Load() != 3 {
		t.Errorf("%d calls, %+v, %v", u.calls.Load(), r, err)
	}
}

func TestARefusalAfterALostAttemptLeavesTheOutcomeUnknown(t *testing.T) {
	t.Parallel()
	h, _ := serve(t, 2, func(n int32) error {
		if n == 1 {
			return drop(n)
		}
		return refusal(fault.Unavailable, nil)
	})
	_, err := h.Exec(WithIdempotencyKey(t.Context(), "k"), "INSERT")
	if KindOf(err) != fault.OutcomeUnknown {
		t.Errorf("%v", err)
	}
}

func TestARefusedCallIsRepeatedWhenTheServerSaysSo(t *testing.T) {
	t.Parallel()
	wait := 300 * time.Millisecond
	quota := &v1.QuotaDetail{Limit: "max_ops_per_sec", Value: 1}
	quota.RetryAfter = durationpb.New(wait)
	h, u := serve(t, 1, func(n int32) error {
		if n == 1 {
			return refusal(fault.RateLimited, quota)
		}
		return nil
	})
	began := time.Now()
	if _, err := h.Exec(t.Context(), "INSERT"); err != nil || u.calls.Load() != 2 || time.Since(began) < wait {
		t.Errorf("%d calls in %s, %v", u.calls.Load(), time.Since(began), err)
	}
	h, u = serve(t, -1, func(int32) error { return refusal(fault.RateLimited, quota) })
	_, err := h.Exec(t.Context(), "INSERT")
	var e *Error
	if !errors.As(err, &e) || e.Kind != fault.RateLimited || e.Quota.RetryAfter != wait || u.calls.Load() != 1 || e.Error() != "quota: too many" {
		t.Errorf("%d calls, %+v", u.calls.Load(), e)
	}
	quota.RetryAfter = durationpb.New(time.Hour)
	h, u = serve(t, 3, func(int32) error { return refusal(fault.RateLimited, quota) })
	if _, err := h.Exec(t.Context(), "INSERT"); KindOf(err) != fault.RateLimited || u.calls.Load() != 1 {
		t.Errorf("an hour: %d calls, %v", u.calls.Load(), err)
	}
}

func TestAServerThatIsNotThereIsUnavailable(t *testing.T) {
	t.Parallel()
	c, err := New(Config{URL: "http://127.0.0.1:1", Token: "secret", Retries: -1})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Tenant(MustTenantID(1)).Exec(t.Context(), "INSERT"); KindOf(err) != fault.Unavailable {
		t.Errorf("%v", err)
	}
}

func TestACertificateThatIsNotTrustedGetsNoToken(t *testing.T) {
	t.Parallel()
	s := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a request came") }))
	t.Cleanup(s.Close)
	c, err := New(Config{URL: s.URL, Token: "secret"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Tenant(MustTenantID(1)).Exec(t.Context(), "INSERT"); KindOf(err) != fault.Denied {
		t.Errorf("%v", err)
	}
}

func TestARedirectGetsNoToken(t *testing.T) {
	t.Parallel()
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the redirect was followed") }))
	t.Cleanup(other.Close)
	s := httptest.NewServer(http.RedirectHandler(other.URL, http.StatusTemporaryRedirect))
	t.Cleanup(s.Close)
	c, err := New(Config{URL: s.URL, Token: "secret", Retries: -1})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Tenant(MustTenantID(1)).Exec(t.Context(), "INSERT"); err == nil {
		t.Error("no error")
	}
}

func TestConfigurationsThatCannotWorkAreRefused(t *testing.T) {
	t.Parallel()
	for _, c := range []Config{
		{}, {URL: "127.0.0.1:7443"}, {URL: "ftp://a"}, {URL: "http://db.example.com"}, {URL: "https://u:p@a"},
		{URL: "https://a/b"}, {URL: "https://a", Token: "two words"}, {URL: "https://a", CAFile: "/nowhere"},
	} {
		if _, err := New(c); err == nil || KindOf(err) != fault.Invalid {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

func FuzzErrorsOfAnyServerAreErrors(f *testing.F) {
	f.Add("not_found", "message", "cause", uint64(1), int64(5), "file")
	f.Add("of a newer server", "", "", uint64(0), int64(-1), "")
	f.Fuzz(func(t *testing.T, kind, message, cause string, tenant uint64, position int64, file string) {
		err := fromDetail(&v1.ErrorDetail{Kind: kind, Message: message, Cause: cause, Tenant: tenant, Byte: position, File: file, Quota: &v1.QuotaDetail{}})
		if err.Error() == "" || KindOf(err).String() == "" || KindOf(err).ExitStatus() == 0 {
			t.Errorf("%+v", err)
		}
	})
}
