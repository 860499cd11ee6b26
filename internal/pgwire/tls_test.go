package pgwire

import (
	"bufio"
	"crypto/tls"
	"encoding/pem"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestLibpqBindsTheLoginToTheChannel(t *testing.T) {
	d := openDoor(t, nil)
	bin, err := exec.LookPath("psql")
	if err != nil {
		t.Skip("psql is not installed")
	}
	root := filepath.Join(t.TempDir(), "root.pem")
	check(t, os.WriteFile(root, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: d.certDER}), 0o600))
	_, port, err := net.SplitHostPort(d.addr)
	check(t, err)
	run := func(options string) (string, error) {
		c := exec.CommandContext(t.Context(), bin, "-X", "-A", "-t", "-c", "SELECT 1", "host=127.0.0.1 port="+port+" user=app@1 "+options)
		c.Env = append(os.Environ(), "PGPASSWORD="+d.secret, "HOME="+t.TempDir())
		out, err := c.CombinedOutput()
		return string(out), err
	}
	out, err := run("sslmode=verify-full sslrootcert=" + root + " channel_binding=require")
	if err != nil || out != "1\n" {
		t.Fatalf("psql printed %q, %v", out, err)
	}
	if out, err := run("sslmode=disable"); err == nil || !strings.Contains(out, "without TLS is refused") {
		t.Fatalf("psql without TLS printed %q, %v", out, err)
	}
}

func TestAConnectionMayBeginWithTLS(t *testing.T) {
	d := openDoor(t, nil)
	dial := func(protocols ...string) *raw {
		conn, err := tls.Dial("tcp", d.addr, &tls.Config{RootCAs: d.roots, ServerName: "localhost", NextProtos: protocols})
		check(t, err)
		t.Cleanup(func() { _ = conn.Close() })
		check(t, conn.SetDeadline(time.Now().Add(10*time.Second)))
		return &raw{tb: t, conn: conn, r: bufio.NewReader(conn)}
	}
	c := dial(protocolALPN)
	c.write(packet(v3, "user\x00app@1\x00\x00"))
	if r, err := c.read(); err != nil || r.kind != 'R' || !strings.Contains(string(r.body), "SCRAM-SHA-256-PLUS") {
		t.Fatalf("answered %c %q, %v", r.kind, r.body, err)
	}
	c = dial(protocolALPN)
	c.write(packet(codeTLS, ""))
	c.want("E(FATAL 08P01).")
	dial().want("E(FATAL 08P01).")
}
