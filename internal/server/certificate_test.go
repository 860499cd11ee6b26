package server

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kimberlite/internal/clock"
	"kimberlite/internal/fault"
)

// devPair makes a development certificate in a new directory.
func devPair(t *testing.T, now time.Time) (dir, cert, key string) {
	t.Helper()
	dir = t.TempDir()
	if err := ensureDevCertificate(dir, clock.NewManual(now)); err != nil {
		t.Fatal(err)
	}
	return dir, filepath.Join(dir, devCert), filepath.Join(dir, devKey)
}

func pool(t *testing.T, file string) *x509.CertPool {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	p := x509.NewCertPool()
	if !p.AppendCertsFromPEM(text) {
		t.Fatalf("%s holds no certificate", file)
	}
	return p
}

// shake does a handshake between a server's and a client's side of TLS and
// returns what the client saw.
func shake(t *testing.T, server, client *tls.Config) (tls.ConnectionState, error) {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() { // ends with the listener, or the handshake
		if a, err := l.Accept(); err == nil {
			_ = tls.Server(a, server).HandshakeContext(t.Context())
			_ = a.Close()
		}
	}()
	b, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	c := tls.Client(b, client)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	err = c.HandshakeContext(ctx)
	return c.ConnectionState(), err
}

func TestTLSIsOfTheVersionsAndSuitesThatAreGood(t *testing.T) {
	dir, cert, key := devPair(t, time.Now())
	p, err := openCertificate(cert, key, clock.System{}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	roots := pool(t, filepath.Join(dir, devCA))
	for _, c := range []struct {
		name             string
		least, most      uint16
		suites           []uint16
		works            bool
		protocols, agree string
	}{
		{"what a client of today offers", 0, 0, nil, true, "h2", "h2"},
		{"TLS 1.2", tls.VersionTLS12, tls.VersionTLS12, nil, true, "", ""},
		{"TLS 1.1", tls.VersionTLS10, tls.VersionTLS11, nil, false, "", ""},
		{"CBC", tls.VersionTLS12, tls.VersionTLS12, []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256, tls.TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA}, false, "", ""},
		{"no forward secrecy", tls.VersionTLS12, tls.VersionTLS12, []uint16{tls.TLS_RSA_WITH_AES_128_GCM_SHA256}, false, "", ""},
		{"another protocol", 0, 0, nil, false, "http/0.9", ""},
	} {
		client := &tls.Config{RootCAs: roots, ServerName: "localhost", MinVersion: c.least, MaxVersion: c.most, CipherSuites: c.suites}
		if c.protocols != "" {
			client.NextProtos = []string{c.protocols}
		}
		state, err := shake(t, p.config("h2", "http/1.1"), client)
		if (err == nil) != c.works {
			t.Errorf("%s: %v", c.name, err)
		}
		if err == nil && state.NegotiatedProtocol != c.agree {
			t.Errorf("%s: the protocol is %q", c.name, state.NegotiatedProtocol)
		}
		if err == nil && c.most == 0 && state.Version != tls.VersionTLS13 {
			t.Errorf("%s: version %x, want 1.3", c.name, state.Version)
		}
	}
}

func TestADevelopmentCertificateIsForLoopbackAloneAndKept(t *testing.T) {
	now := time.Now()
	dir, cert, key := devPair(t, now)
	p, err := openCertificate(cert, key, clock.System{}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	for name, works := range map[string]bool{"localhost": true, "127.0.0.1": true, "::1": true, "example.com": false, "127.0.0.2": false} {
		_, err := shake(t, p.config(), &tls.Config{RootCAs: pool(t, filepath.Join(dir, devCA)), ServerName: name})
		if (err == nil) != works {
			t.Errorf("%s: %v", name, err)
		}
	}
	if info, err := os.Stat(key); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key: %v, %v", info.Mode(), err)
	}
	if files, _ := filepath.Glob(filepath.Join(dir, "*")); len(files) != 3 {
		t.Errorf("%v: the authority's key must not be kept", files)
	}
	before, _ := os.ReadFile(cert)
	for _, c := range []struct {
		name  string
		after time.Duration
		spoil string
		kept  bool
	}{
		{"the next day", 24 * time.Hour, "", true},
		{"near its end", devValid - devRenew + time.Hour, "", false},
		{"without its key", 0, devKey, false},
		{"without its authority", 0, devCA, false},
	} {
		if c.spoil != "" {
			if err := os.Remove(filepath.Join(dir, c.spoil)); err != nil {
				t.Fatal(err)
			}
		}
		if err := ensureDevCertificate(dir, clock.NewManual(now.Add(c.after))); err != nil {
			t.Fatal(err)
		}
		after, _ := os.ReadFile(cert)
		if bytes.Equal(before, after) != c.kept {
			t.Errorf("%s: kept is %v", c.name, !c.kept)
		}
		before = after
	}
}

func TestCertificatesAreReadAgainAndABadOneChangesNothing(t *testing.T) {
	now := time.Now()
	dir, cert, key := devPair(t, now)
	var log bytes.Buffer
	p, err := openCertificate(cert, key, clock.System{}, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	serial := func() string {
		c, err := p.get(nil)
		if err != nil {
			t.Fatal(err)
		}
		return c.Leaf.SerialNumber.String()
	}
	first := serial()
	p.reload()
	if log.Len() != 0 || serial() != first {
		t.Errorf("nothing has changed, and it says %s", log.String())
	}
	good, _ := os.ReadFile(cert)
	if err := os.WriteFile(cert, good[:len(good)/2], 0o600); err != nil {
		t.Fatal(err)
	}
	p.reload()
	p.reload()
	if strings.Count(log.String(), "\n") != 1 || serial() != first {
		t.Errorf("half a certificate: serial %s, log %s", serial(), log.String())
	}
	if err := os.Remove(filepath.Join(dir, devCA)); err != nil {
		t.Fatal(err)
	}
	if err := ensureDevCertificate(dir, clock.System{}); err != nil {
		t.Fatal(err)
	}
	p.reload()
	if serial() == first || !strings.Contains(log.String(), "a new certificate is in force") {
		t.Errorf("a new certificate is not in force: %s", log.String())
	}
}

func TestACertificateThatCannotServeIsRefusedWithTheFix(t *testing.T) {
	now := time.Now()
	dir, cert, key := devPair(t, now)
	_, _, otherKey := devPair(t, now)
	_, oldCert, oldKey := devPair(t, now.Add(-2*devValid))
	open := filepath.Join(dir, "open.key")
	text, _ := os.ReadFile(key)
	if err := os.WriteFile(open, text, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ cert, key, want string }{
		{filepath.Join(dir, "none.pem"), key, "none.pem"},
		{cert, filepath.Join(dir, "none.key"), "none.key"},
		{cert, otherKey, "not a certificate and its key"},
		{key, key, "not a certificate and its key"},
		{oldCert, oldKey, "expired on"},
		{cert, open, "chmod 0600"},
		{cert, dir, "no file"},
	} {
		_, err := openCertificate(c.cert, c.key, clock.System{}, slog.New(slog.DiscardHandler))
		if !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "PRIVATE") {
			t.Errorf("%s, %s: %v", c.cert, c.key, err)
		}
	}
}
