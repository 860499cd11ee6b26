package wireattack

import (
	"bufio"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
)

const v3 = 3 << 16

// raw is a client that sends what it likes.
type raw struct {
	net.Conn
	w   *world
	tap tap
	r   *bufio.Reader
}

// dial opens a connection from a loopback address, "" for 127.0.0.1, and says
// nothing.
func (w *world) dial(t testing.TB, from string) *raw {
	t.Helper()
	d := net.Dialer{Timeout: patience}
	if from != "" {
		d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(from)}
	}
	c, err := d.Dial("tcp", w.k.PG)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	r := &raw{w: w}
	r.use(c)
	return r
}

func (c *raw) use(conn net.Conn) {
	c.Conn = conn
	_ = conn.SetDeadline(time.Now().Add(patience))
	c.r = bufio.NewReader(io.TeeReader(conn, &c.tap))
}

// secure goes over to TLS as clients do.
func (c *raw) secure(t testing.TB) *raw {
	t.Helper()
	c.write(packet(80877103, ""))
	if b, err := c.r.ReadByte(); err != nil || b != 'S' {
		t.Fatalf("TLS was answered with %q, %v", b, err)
	}
	s := tls.Client(c.Conn, &tls.Config{RootCAs: c.w.roots, ServerName: "localhost"})
	if err := s.Handshake(); err != nil {
		t.Fatal(err)
	}
	c.use(s)
	return c
}

// loggedIn is a session of the attacker's that sends what it likes.
func (w *world) loggedIn(t testing.TB, name string) *raw {
	t.Helper()
	p := w.connect(t, name, attackerName, nil)
	h, err := p.Hijack()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.Conn.Close() })
	r := &raw{w: w}
	r.use(h.Conn)
	return r
}

// write sends, as far as the server takes it.
func (c *raw) write(b []byte) { _, _ = c.Write(b) }

func (c *raw) send(messages ...pgproto3.FrontendMessage) {
	var b []byte
	for _, m := range messages {
		b, _ = m.Encode(b)
	}
	c.write(b)
}

// packet is a packet without a type, as a connection begins with.
func packet(code uint32, rest string) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(8+len(rest)))
	b = binary.BigEndian.AppendUint32(b, code)
	return append(b, rest...)
}

// message is a message with a type, whatever is in it.
func message(kind byte, body string) []byte {
	b := binary.BigEndian.AppendUint32([]byte{kind}, uint32(4+len(body)))
	return append(b, body...)
}

// claimed is a message that claims another length than it has.
func claimed(kind byte, length uint32, body string) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{kind}, length), body...)
}

func startup(params ...string) []byte {
	return packet(v3, strings.Join(params, "\x00")+"\x00\x00")
}

// read returns the next message of the server's.
func (c *raw) read() (kind byte, body []byte, err error) {
	var h [5]byte
	if _, err := io.ReadFull(c.r, h[:]); err != nil {
		return 0, nil, err
	}
	body = make([]byte, binary.BigEndian.Uint32(h[1:])-4)
	_, err = io.ReadFull(c.r, body)
	return h[0], body, err
}

// answers reads up to ReadyForQuery or the end and writes what came: errors
// with severity and code, the end as ".", a time that ran out as "!".
func (c *raw) answers() string {
	var b strings.Builder
	for {
		kind, body, err := c.read()
		if err != nil {
			var slow net.Error
			if errors.As(err, &slow) && slow.Timeout() {
				return b.String() + "!"
			}
			return b.String() + "."
		}
		b.WriteByte(kind)
		switch kind {
		case 'E':
			var e pgproto3.ErrorResponse
			_ = e.Decode(body)
			b.WriteString("(" + e.Severity + " " + e.Code + ")")
		case 'Z':
			b.Write(body)
			return b.String()
		}
	}
}

// judge fails when something of the victim's came, or an internal error, or
// no answer at all.
func (c *raw) judge(t testing.TB, answers string) {
	t.Helper()
	if found, first, _ := c.tap.take(); found != "" && !strings.Contains(strings.ToLower(c.w.said), mark) {
		t.Errorf("something of the victim's came back (%s): %.2000q", found, first)
	}
	if strings.Contains(answers, "XX") || strings.HasSuffix(answers, "!") {
		t.Errorf("the server answered %q", answers)
	}
}

// errorIn is an error in what answers returns.
var errorIn = regexp.MustCompile(`\([^)]*\)`)

// proven says whether a client was let in.
func proven(answers string) bool {
	return strings.ContainsAny(errorIn.ReplaceAllString(answers, ""), "SKZDTC1")
}
