package telemetry

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
)

// Door counts what happens at one door. It is safe for concurrent use.
type Door struct {
	name                   string
	t                      *Telemetry
	open                   prometheus.Gauge
	opened, received, sent prometheus.Counter

	mu    sync.RWMutex // guards kinds
	kinds map[string]*kindSeries
}

// kindSeries are the series of one kind of statement at one door.
type kindSeries struct {
	kind     string
	duration prometheus.Observer
	rows     prometheus.Counter
}

// maxKinds bounds the kinds of one door. The doors name kinds from closed
// lists, so it is never reached: it is there so that a mistake costs no
// memory.
const maxKinds = 256

// kindOther is every kind beyond maxKinds.
const kindOther = "other"

// Door returns the counters of a door, such as "pg". It is called once a door.
func (t *Telemetry) Door(name string) *Door {
	return &Door{
		name: name, t: t, open: t.connections.WithLabelValues(name), opened: t.opened.WithLabelValues(name),
		received: t.received.WithLabelValues(name), sent: t.sent.WithLabelValues(name),
		kinds: map[string]*kindSeries{},
	}
}

// ConnectionOpened counts a connection that begins.
func (d *Door) ConnectionOpened() { d.open.Inc(); d.opened.Inc() }

// ConnectionClosed counts a connection that ended.
func (d *Door) ConnectionClosed() { d.open.Dec() }

// HandshakeFailed counts a TLS handshake that failed.
func (d *Door) HandshakeFailed() { d.t.handshakeFailures.WithLabelValues(d.name).Inc() }

// Login counts a login and how it ended: err is nil, or why it was refused.
func (d *Door) Login(_ ident.TenantID, err error) {
	outcome := "ok"
	if err != nil {
		switch fault.KindOf(err) {
		case fault.Unauthenticated, fault.Denied, fault.NotFound:
			outcome = "refused"
		case fault.RateLimited, fault.TooManyOps:
			outcome = "throttled"
		default:
			outcome = "failed"
		}
	}
	d.t.logins.WithLabelValues(d.name, outcome).Inc()
}

// StatementDone counts a statement of SQL that ended. tag is its command tag;
// only the leading words of it are used.
func (d *Door) StatementDone(tenant ident.TenantID, tag string, took time.Duration, rows int64, err error) {
	kind := kindOfTag(tag)
	d.count(tenant, kind, took, rows, err)
	if d.t.traces != nil {
		d.t.traces.statement(d.name, tenant, kind, took, rows, err)
	}
}

// RequestDone counts a request of the RPC that ended. method is the
// procedure's name; the span of ctx, if any, is given the outcome.
func (d *Door) RequestDone(ctx context.Context, tenant ident.TenantID, method string, took time.Duration, rows int64, err error) {
	kind := method[strings.LastIndexByte(method, '/')+1:]
	if !plainName(kind) {
		kind = kindOther
	}
	d.count(tenant, kind, took, rows, err)
	if d.t.traces != nil {
		annotate(ctx, tenant, kind, rows, err)
	}
}

// plainName says whether a method's name is of the form that procedures have.
func plainName(s string) bool {
	const longest = 64
	for i := range len(s) {
		if c := s[i] | 0x20; c < 'a' || c > 'z' {
			return false
		}
	}
	return s != "" && len(s) <= longest
}

func (d *Door) count(tenant ident.TenantID, kind string, took time.Duration, rows int64, err error) {
	s := d.series(kind)
	s.duration.Observe(took.Seconds())
	if rows > 0 {
		s.rows.Add(float64(rows))
	}
	u := use{statements: 1, rows: rows, busy: took}
	if err != nil {
		u.errors = 1
		d.t.errors.WithLabelValues(d.name, fault.KindOf(err).String()).Inc()
		if limit, refused := refusedBy(err); refused {
			u.refusals = 1
			d.t.refusals.WithLabelValues(limit).Inc()
		}
	}
	if !tenant.IsZero() {
		d.t.tenants.add(tenant, u)
	}
}

// series returns the series of a kind, made at its first use.
func (d *Door) series(kind string) *kindSeries {
	d.mu.RLock()
	s := d.kinds[kind]
	d.mu.RUnlock()
	if s != nil {
		return s
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if s = d.kinds[kind]; s != nil {
		return s
	}
	if len(d.kinds) >= maxKinds && kind != kindOther {
		kind = kindOther
		if s = d.kinds[kind]; s != nil {
			return s
		}
	}
	s = &kindSeries{kind, d.t.durations.WithLabelValues(d.name, kind), d.t.rows.WithLabelValues(d.name, kind)}
	d.kinds[kind] = s
	return s
}

// refusedBy says whether a quota refused, and which.
func refusedBy(err error) (limit string, refused bool) {
	switch kind := fault.KindOf(err); kind {
	case fault.QuotaExceeded, fault.RateLimited, fault.TooManyOps:
		var e *fault.Error
		if errors.As(err, &e) && e.Quota != nil {
			return e.Quota.Limit, true
		}
		return kind.String(), true
	}
	return "", false
}

// Listener counts the bytes of the connections that l accepts.
func (d *Door) Listener(l net.Listener) net.Listener { return &countingListener{l, d} }

type countingListener struct {
	net.Listener
	door *Door
}

// Accept accepts a connection.
func (l *countingListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &countingConn{c, l.door}, nil
}

// countingConn is a connection whose bytes are counted.
type countingConn struct {
	net.Conn
	door *Door
}

// SyscallConn implements [syscall.Conn] where the connection does.
func (c *countingConn) SyscallConn() (syscall.RawConn, error) {
	if inner, ok := c.Conn.(syscall.Conn); ok {
		return inner.SyscallConn()
	}
	return nil, errors.ErrUnsupported
}

// Read reads from the connection.
func (c *countingConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.door.received.Add(float64(n))
	return n, err
}

// Write writes to the connection.
func (c *countingConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.door.sent.Add(float64(n))
	return n, err
}
