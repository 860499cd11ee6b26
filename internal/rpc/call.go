package rpc

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"mime"
	"net/http"
	"net/netip"
	"runtime/debug"
	"time"

	"kimberlite/internal/access"
	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
)

// call is what is known of one request. The gate and the interceptor, which
// run one after another in the goroutine of the request, fill it in.
type call struct {
	id      string
	remote  netip.Addr
	control *http.ResponseController
	session *access.Session // nil until the token proved one
	cancel  context.CancelCauseFunc
	// keep says that a transaction took over the session.
	keep bool
	// method is the procedure, "" when it is none of ours; rows counts those
	// sent, and err is what the caller was told.
	method string
	rows   int64
	err    error
	// free says that the method has no side effects.
	free bool
	// read says that the request's message was read.
	read bool
}

type callKey struct{}

// callOf returns the call of a context; every context of a handler has one.
func callOf(ctx context.Context) *call {
	c, ok := ctx.Value(callKey{}).(*call)
	if !ok {
		panic("rpc: a handler runs without withCall")
	}
	return c
}

// tenant returns whom the call was for; zero for operators.
func (c *call) tenant() ident.TenantID {
	if c.session == nil {
		return ident.TenantID{}
	}
	return c.session.Principal().Tenant
}

// again makes the call one that has not run. It gives back what a run took.
func (c *call) again() {
	if c.cancel != nil {
		c.cancel(nil)
	}
	if c.session != nil && !c.keep {
		c.session.Close()
	}
	c.session, c.cancel, c.keep, c.rows, c.err, c.read = nil, nil, false, 0, nil, false
}

// headerRequestID carries a request's id, in and out.
const headerRequestID = "X-Request-Id"

// withCall begins and ends every request. remote says where it comes from.
func (d *door) withCall(next http.Handler, remote func(*http.Request) netip.Addr) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		c := &call{id: requestID(r.Header.Get(headerRequestID)), remote: remote(r), control: http.NewResponseController(w)}
		w.Header().Set(headerRequestID, c.id)
		if isRPC(r.URL.Path) {
			asJSON(r)
			// Not every server can set deadlines; one that cannot has its own.
			_ = c.control.SetReadDeadline(began.Add(d.limits.RequestTimeout))
			_ = c.control.SetWriteDeadline(time.Time{})
		}
		ctx := context.WithValue(r.Context(), callKey{}, c)
		defer d.finish(ctx, c, w, began)
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// finish lets go of the session and tells the observer. A panic that got here
// ends the request and nothing else.
func (d *door) finish(ctx context.Context, c *call, w http.ResponseWriter, began time.Time) {
	if p := recover(); p != nil {
		if err, ok := p.(error); ok && errors.Is(err, http.ErrAbortHandler) {
			defer panic(http.ErrAbortHandler)
		} else {
			d.logPanic(ctx, c, p)
			c.err = errPanic()
			w.WriteHeader(http.StatusInternalServerError)
		}
	}
	if c.cancel != nil {
		c.cancel(nil)
	}
	if c.session != nil && !c.keep {
		c.session.Close()
	}
	if c.method == "" {
		return
	}
	if c.session != nil && c.err == nil && !c.read {
		c.err = fault.New("rpc", fault.Invalid, "the message could not be read")
	}
	took := time.Since(began)
	if d.observer != nil {
		d.observer.RequestDone(ctx, c.tenant(), c.method, took, c.rows, c.err)
	}
	level, kind := slog.LevelDebug, "ok"
	if c.err != nil {
		kind = fault.KindOf(c.err).String()
	}
	d.log.Log(ctx, level, "rpc", "request", c.id, "method", c.method, "tenant", c.tenant().String(), "outcome", kind, "took", took)
}

// logPanic writes where a panic came from. Its value may hold a row, so only
// its type is written.
func (d *door) logPanic(ctx context.Context, c *call, p any) {
	d.log.ErrorContext(ctx, "rpc: panic", "request", c.id, "method", c.method, "type", fmt.Sprintf("%T", p), "stack", string(debug.Stack()))
}

func errPanic() error {
	return fault.New("rpc", fault.Internal, "the call failed in a way that it should not")
}

// requestID takes an id that a caller gave, if it is fit for a log, or draws
// one.
func requestID(given string) string {
	ok := given != "" && len(given) <= 64
	for i := 0; ok && i < len(given); i++ {
		c := given[i]
		ok = c == '-' || c == '_' || c == '.' || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')
	}
	if ok {
		return given
	}
	return rand.Text()
}

// remoteAddress is the connection's other end. What headers say of it is the
// caller's word, so it is not asked.
func remoteAddress(r *http.Request) netip.Addr {
	if at, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		return at.Addr().Unmap()
	}
	addr, _ := netip.ParseAddr(r.RemoteAddr)
	return addr
}

// asJSON makes a request whose body is said to be a form one of JSON: that is
// what curl -d says of any body when it is told nothing else. A page of
// another site can have a browser send a form, but not with a bearer token,
// and nothing here is proved by a cookie or an address; so there is nothing
// that such a page gains.
func asJSON(r *http.Request) {
	if r.Method != http.MethodPost {
		return
	}
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err == nil && kind == "application/x-www-form-urlencoded" {
		r.Header.Set("Content-Type", "application/json")
	}
}
