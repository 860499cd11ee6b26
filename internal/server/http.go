package server

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"strings"
	"sync"

	"kimberlite/internal/fault"
	"kimberlite/internal/telemetry"
)

// rpcHandler puts metrics for operators beside the services, and traces
// around all.
func (s *Server) rpcHandler(services http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", s.endTails(services))
	mux.Handle("GET /metrics", s.forOperators(s.telemetry.Metrics()))
	return s.telemetry.Trace(mux, isProcedure)
}

// isProcedure says whether a path has the form of a procedure, which may name
// a span.
func isProcedure(path string) bool {
	const longest = 128
	plain := func(r rune) bool {
		return r == '/' || r == '.' || (r >= '0' && r <= '9') || (r >= 'a' && r <= 'z') || (r >= 'A' && r <= 'Z')
	}
	return strings.HasPrefix(path, "/kimberlite.v1.") && len(path) <= longest && !strings.ContainsFunc(path, func(r rune) bool { return !plain(r) })
}

// endTails ends streams that would never end by themselves when the server
// shuts down, so that it need not wait for them.
func (s *Server) endTails(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, method, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
		if !strings.HasPrefix(method, "Tail") && method != "Watch" {
			next.ServeHTTP(w, r)
			return
		}
		ctx, cancel := context.WithCancel(r.Context())
		defer cancel()
		go func() { // ends with the request
			select {
			case <-s.draining:
				cancel()
			case <-ctx.Done():
			}
		}()
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// forOperators serves those who prove an operator's credential.
func (s *Server) forOperators(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		if token = strings.TrimSpace(token); !strings.EqualFold(scheme, "Bearer") || token == "" {
			w.Header().Set("WWW-Authenticate", "Bearer")
			http.Error(w, "an operator's credential is missing: send the header Authorization: Bearer with its secret", http.StatusUnauthorized)
			return
		}
		var remote netip.Addr
		if at, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
			remote = at.Addr().Unmap()
		}
		session, err := s.authority.Token(r.Context(), token, remote)
		switch {
		case fault.Is(err, fault.RateLimited):
			http.Error(w, "too many failed logins: try again later", http.StatusTooManyRequests)
			return
		case err != nil:
			w.Header().Set("WWW-Authenticate", "Bearer")
			http.Error(w, "the credential is not accepted", http.StatusUnauthorized)
			return
		}
		defer session.Close()
		if !session.Principal().Operator {
			http.Error(w, "metrics are for operators", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// whyNotReady says why requests are not taken, or nil.
func (s *Server) whyNotReady() error {
	if !s.ready.Load() {
		return fault.New("server", fault.Unavailable, "the server is starting or shutting down")
	}
	if member := s.node.Cluster(); member != nil {
		if err := member.InContact(); err != nil {
			return err
		}
	}
	return s.node.Err()
}

// operatorHandler serves who is on this machine. It asks for no credential,
// so it answers to loopback names alone: a page that a browser on this machine
// was lured to could otherwise ask under a name of its own.
func (s *Server) operatorHandler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", s.telemetry.Metrics())
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { answer(w, nil) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) { answer(w, s.whyNotReady()) })
	if s.c.Operator.Pprof {
		mux.HandleFunc("GET /debug/pprof/", pprof.Index)
		mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
		mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("POST /debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, err := net.SplitHostPort(r.Host)
		if err != nil {
			host = r.Host
		}
		if ip, err := netip.ParseAddr(strings.Trim(host, "[]")); host != "localhost" && (err != nil || !ip.IsLoopback()) {
			http.Error(w, "ask under the name localhost or a loopback address", http.StatusMisdirectedRequest)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// answer is what probes are told.
func answer(w http.ResponseWriter, err error) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	text := "ok\n"
	if err != nil {
		w.WriteHeader(http.StatusServiceUnavailable)
		text = err.Error() + "\n"
	}
	_, _ = w.Write([]byte(text)) // the client is gone
}

// handshakeCounter takes what net/http would print: mostly clients that end a
// handshake. onHandshake, if not nil, counts those.
type handshakeCounter struct {
	slog.Handler
	onHandshake func()
}

// Handle counts and passes on.
func (h handshakeCounter) Handle(ctx context.Context, r slog.Record) error {
	if h.onHandshake != nil && strings.Contains(r.Message, "TLS handshake error") {
		h.onHandshake()
	}
	if !h.Handler.Enabled(ctx, r.Level) {
		return nil
	}
	return h.Handler.Handle(ctx, r)
}

// Enabled lets everything come to Handle, which counts.
func (h handshakeCounter) Enabled(context.Context, slog.Level) bool { return true }

// limitListener refuses connections beyond most, and counts those it lets in.
func limitListener(l net.Listener, most int, counters *telemetry.Door) net.Listener {
	return &limitedListener{Listener: l, places: make(chan struct{}, most), counters: counters}
}

type limitedListener struct {
	net.Listener
	places   chan struct{} // a value for each connection that is open
	counters *telemetry.Door
}

// Accept accepts the next connection that there is a place for.
func (l *limitedListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		select {
		case l.places <- struct{}{}:
			l.counters.ConnectionOpened()
			return &limitedConn{Conn: c, listener: l}, nil
		default:
			_ = c.Close() // nothing was said yet
		}
	}
}

// limitedConn gives its place back when it is closed.
type limitedConn struct {
	net.Conn
	listener *limitedListener
	closing  sync.Once
}

// Close closes the connection; again, it does nothing.
func (c *limitedConn) Close() error {
	err := errors.New("closed already")
	c.closing.Do(func() {
		err = c.Conn.Close()
		<-c.listener.places
		c.listener.counters.ConnectionClosed()
	})
	return err
}
