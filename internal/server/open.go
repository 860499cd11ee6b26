package server

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"syscall"

	"golang.org/x/sys/unix"

	"kimberlite/internal/access"
	"kimberlite/internal/clock"
	"kimberlite/internal/cluster"
	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/node"
	"kimberlite/internal/pgwire"
	"kimberlite/internal/projection"
	"kimberlite/internal/rpc"
	"kimberlite/internal/telemetry"
)

// listen takes the ports, before anything that takes time.
func (s *Server) listen(ctx context.Context) error {
	for _, l := range []struct {
		key, addr string
		to        *net.Listener
	}{
		{"pg.addr", s.c.PG.Addr, &s.pgListener},
		{"rpc.addr", s.c.RPC.Addr, &s.rpcListener},
		{"operator.addr", s.c.Operator.Addr, &s.operatorListener},
	} {
		if l.addr == "" {
			continue
		}
		var err error
		if *l.to, err = (&net.ListenConfig{}).Listen(ctx, "tcp", l.addr); err != nil {
			return listenError(l.key, l.addr, err)
		}
	}
	return nil
}

// listenError says what to do.
func listenError(key, addr string, err error) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fault.New("listen", fault.Unavailable, "%s: another process listens on %s: stop it, or set %s (port 0 is any free one)", key, addr, key)
	case errors.Is(err, syscall.EACCES):
		return fault.New("listen", fault.Denied, "%s: this user may not listen on %s: ports below 1024 need CAP_NET_BIND_SERVICE; use a higher one", key, addr)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fault.New("listen", fault.Invalid, "%s: this machine has no address %s: `ip addr` lists those that it has", key, addr)
	}
	return fault.Wrap("listen", fault.Unavailable, err, "%s: cannot listen on %s", key, addr)
}

func (s *Server) openTelemetry(context.Context) error {
	var err error
	s.telemetry, err = telemetry.New(telemetry.Config{
		Version: s.o.Version, TopTenants: s.c.Metrics.TopTenants, OTLPEndpoint: s.c.Trace.OTLPEndpoint,
		SampleRatio: s.c.Trace.SampleRatio, Clock: s.o.Clock, Logger: s.log,
	})
	return err
}

func (s *Server) openNode(ctx context.Context) error {
	limits := s.c.Limits
	reserve := int64(limits.DiskReserve)
	if reserve == 0 {
		reserve = -1 // none, where 0 is the default
	}
	at := s.Addresses()
	var err error
	s.node, err = node.Open(ctx, node.Config{
		Dir: s.c.Data.Dir, MasterKey: s.c.Data.MasterKey, Clock: s.o.Clock, Logger: s.log,
		MaxOpenTenants: limits.MaxOpenTenants, MaxReaders: limits.ReadersPerTenant, ReserveBytes: reserve,
		TransactionIdle: limits.WriterIdleTimeout, Limits: statementLimits(limits),
		FetchBytesPerSecond: int64(s.c.Cluster.SnapshotRate),
		Cluster: cluster.Config{
			Addresses: s.c.Reached(at.PG, at.RPC, s.o.Version), MoveBytesPerSecond: int64(s.c.Cluster.MoveRate),
		},
	})
	if err != nil {
		return err
	}
	s.authority, err = access.New(access.Config{Node: s.node, Clock: s.o.Clock, Logger: s.log})
	return err
}

func statementLimits(c Limits) projection.Limits {
	l := projection.DefaultLimits()
	l.StatementTimeout = c.StatementTimeout
	l.MaxStatementBytes = int(c.MaxStatementSize)
	l.MaxValueBytes = int(c.MaxValueSize)
	l.MaxResultRows = c.MaxResultRows
	l.MaxResultBytes = int64(c.MaxResultSize)
	l.MaxTransactionBytes = int(c.MaxTransactionSize)
	l.MaxMemoryBytes = int64(c.MaxConnectionMemory)
	return l
}

func (s *Server) openCertificates(context.Context) error {
	open := func(cert, key string) error {
		for _, c := range s.certificates {
			if c.certFile == cert && c.keyFile == key {
				return nil
			}
		}
		c, err := openCertificate(cert, key, s.o.Clock, s.log)
		if own, _ := nodeFiles(s.c.Data.Dir); err == nil && cert == own {
			// The node renews it by itself, and a new one is in force at once.
			c.member = func() (*tls.Certificate, error) { return s.node.Cluster().Certificate() }
		}
		if err == nil {
			s.certificates = append(s.certificates, c)
		}
		return err
	}
	if cert, key := s.c.pgPair(); s.c.PG.Addr != "" && cert != "" {
		if err := open(cert, key); err != nil {
			return err
		}
	}
	if cert, key := s.c.rpcPair(); s.c.RPC.Addr != "" && cert != "" {
		return open(cert, key)
	}
	return nil
}

// certificate returns the open pair of a file, nil when there is none.
func (s *Server) certificate(certFile string) *certificate {
	for _, c := range s.certificates {
		if certFile != "" && c.certFile == certFile {
			return c
		}
	}
	return nil
}

// openDoors makes the doors; they do not serve yet.
func (s *Server) openDoors(context.Context) error {
	s.telemetry.Observe(nodeSource{s})
	if member := s.node.Cluster(); member != nil {
		s.telemetry.ObserveCluster(func() telemetry.Cluster { return figures(member) })
	}
	if s.pgListener != nil {
		if err := s.openPG(); err != nil {
			return err
		}
	}
	if s.rpcListener != nil {
		if err := s.openRPC(); err != nil {
			return err
		}
	}
	if s.operatorListener != nil {
		s.operator = &http.Server{
			Handler: s.operatorHandler(), ReadHeaderTimeout: s.c.RPC.ReadHeaderTimeout, IdleTimeout: s.c.RPC.IdleTimeout,
			ErrorLog: slog.NewLogLogger(handshakeCounter{s.log.Handler(), nil}, slog.LevelDebug),
		}
	}
	return nil
}

func (s *Server) openPG() error {
	counters := s.telemetry.Door("pg")
	config := pgwire.Config{
		Authority: s.authority, Node: s.node, PlaintextOnLoopback: s.c.PG.AllowPlaintext,
		Limits: pgwire.Limits{
			MaxConnections: s.c.PG.MaxConnections, MaxConnectionsPerTenant: s.c.PG.MaxConnectionsPerTenant,
			MaxMessageBytes: int(s.c.PG.MaxMessageSize), LoginTimeout: s.c.PG.AuthTimeout, IdleTimeout: s.c.PG.IdleTimeout,
			IdleInTransaction: s.c.PG.IdleInTransactionTimeout, StatementTimeout: s.c.PG.StatementTimeout,
		},
		Version: s.o.Version, Logger: s.log, Observer: counters,
	}
	cert, _ := s.c.pgPair()
	if c := s.certificate(cert); c != nil {
		config.TLS = c.config("postgresql")
	}
	member := s.node.Cluster()
	if member != nil {
		config.Router = router{s.node, member}
	}
	pg, err := pgwire.New(config)
	if err != nil {
		return err
	}
	if member != nil {
		member.Network().OnStream(pg.TakeStream)
	}
	s.pg, s.pgListener = pg, counters.Listener(s.pgListener)
	return nil
}

func (s *Server) openRPC() error {
	counters := s.telemetry.Door("rpc")
	config := rpc.Config{
		Authority: s.authority, Node: s.node, Logger: s.log, Version: s.o.Version, Observer: counters,
		Limits: rpc.Limits{
			MessageBytes: int(s.c.RPC.MaxMessageSize), RequestTimeout: s.c.RPC.RequestTimeout, TransactionIdle: s.c.RPC.TransactionIdleTimeout,
		},
		Ready: s.whyNotReady,
	}
	member := s.node.Cluster()
	if member != nil {
		config.Cluster, config.Peers, config.Self = managed{member}, member.Network(), member.Self().Node
	}
	handler, err := rpc.New(config)
	if err != nil {
		return err
	}
	if member != nil {
		calls := s.telemetry.Trace(s.endTails(handler.ForPeers()), isProcedure)
		member.Network().Handle(rpc.PeerPrefix+"/", http.StripPrefix(rpc.PeerPrefix, calls))
	}
	s.services = handler
	s.rpc = &http.Server{
		Handler: s.rpcHandler(handler), ReadHeaderTimeout: s.c.RPC.ReadHeaderTimeout, IdleTimeout: s.c.RPC.IdleTimeout,
		MaxHeaderBytes: maxHeaderBytes, ErrorLog: slog.NewLogLogger(handshakeCounter{s.log.Handler(), counters.HandshakeFailed}, slog.LevelDebug), Protocols: new(http.Protocols),
	}
	s.rpc.Protocols.SetHTTP1(true)
	cert, _ := s.c.rpcPair()
	if c := s.certificate(cert); c != nil {
		s.rpc.TLSConfig = c.config("h2", "http/1.1")
		s.rpc.Protocols.SetHTTP2(true)
	} else {
		s.rpc.Protocols.SetUnencryptedHTTP2(true)
	}
	s.rpcListener = limitListener(counters.Listener(s.rpcListener), s.c.RPC.MaxConnections, counters)
	return nil
}

// nodeSource answers telemetry's questions.
type nodeSource struct{ s *Server }

// Tenants returns how many tenants there are, and how many are open.
func (n nodeSource) Tenants() (all, open int) {
	return n.s.node.TenantCount(), n.s.node.OpenTenants()
}

// Usage returns what a tenant uses, and its limits.
func (n nodeSource) Usage(id ident.TenantID) (telemetry.Usage, bool) {
	u, err := n.s.node.Usage(id)
	if err != nil {
		return telemetry.Usage{}, false
	}
	st, _, err := n.s.node.State(id)
	if err != nil {
		return telemetry.Usage{}, false
	}
	return telemetry.Usage{
		LogBytes: u.LogBytes, ProjectionBytes: u.ProjectionBytes, InFlight: u.InFlight,
		MaxLogBytes: st.Limits.MaxLogBytes, MaxProjectionBytes: st.Limits.MaxProjectionBytes, MaxOps: st.Limits.MaxConcurrentOps,
	}, true
}

// DiskFree returns the room on the data directory's disk.
func (n nodeSource) DiskFree() (uint64, bool) {
	var st unix.Statfs_t
	if err := unix.Statfs(n.s.c.Data.Dir, &st); err != nil || st.Bsize <= 0 {
		return 0, false
	}
	return st.Bavail * uint64(st.Bsize), true //nolint:gosec // positive, see above
}

// Ready says whether requests are taken.
func (n nodeSource) Ready() bool { return n.s.whyNotReady() == nil }

// maxHeaderBytes bounds a request's head.
const maxHeaderBytes = 64 << 10

// CheckFiles says what is wrong with the certificates that a configuration
// names, as a start would.
func (c *Config) CheckFiles() error {
	s := &Server{c: c, o: Options{Clock: clock.System{}}, log: slog.New(slog.DiscardHandler)}
	return s.openCertificates(context.Background())
}
