package pgwire

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"kimberlite/internal/node"
)

// raw is a client that sends what it likes.
type raw struct {
	tb   testing.TB
	conn net.Conn
	r    *bufio.Reader
	h    *pgconn.HijackedConn
}

// plain lets loopback go without TLS.
func plain(c *Config, _ *node.Config) { c.PlaintextOnLoopback = true }

// dial connects without saying anything.
func (d *door) dial(tb testing.TB) *raw {
	tb.Helper()
	conn, err := (&net.Dialer{}).DialContext(tb.Context(), "tcp", d.addr)
	check(tb, err)
	tb.Cleanup(func() { _ = conn.Close() })
	check(tb, conn.SetDeadline(time.Now().Add(15*time.Second)))
	return &raw{tb: tb, conn: conn, r: bufio.NewReader(conn)}
}

// loggedIn logs in by pgx and takes its connection over.
func (d *door) loggedIn(tb testing.TB) *raw {
	tb.Helper()
	c, err := pgconn.ConnectConfig(tb.Context(), &d.config(tb, "app@1", d.secret).Config)
	check(tb, err)
	h, err := c.Hijack()
	check(tb, err)
	tb.Cleanup(func() { _ = h.Conn.Close() })
	check(tb, h.Conn.SetDeadline(time.Now().Add(15*time.Second)))
	return &raw{tb: tb, conn: h.Conn, r: bufio.NewReader(h.Conn), h: h}
}

func (c *raw) write(b []byte) {
	c.tb.Helper()
	if _, err := c.conn.Write(b); err != nil {
		c.tb.Fatal(err)
	}
}

func (c *raw) send(messages ...pgproto3.FrontendMessage) {
	c.tb.Helper()
	var b []byte
	for _, m := range messages {
		var err error
		b, err = m.Encode(b)
		check(c.tb, err)
	}
	c.write(b)
}

// packet is a startup packet with a code.
func packet(code uint32, rest string) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(8+len(rest)))
	b = binary.BigEndian.AppendUint32(b, code)
	return append(b, rest...)
}

// message is a message with a type, whatever is in it.
func rawMessage(kind byte, body string) []byte {
	b := binary.BigEndian.AppendUint32([]byte{kind}, uint32(4+len(body)))
	return append(b, body...)
}

// reply is a message of the server's.
type reply struct {
	kind byte
	body []byte
}

func (c *raw) read() (reply, error) {
	var h [5]byte
	if _, err := io.ReadFull(c.r, h[:]); err != nil {
		return reply{}, err
	}
	body := make([]byte, binary.BigEndian.Uint32(h[1:])-4)
	_, err := io.ReadFull(c.r, body)
	return reply{h[0], body}, err
}

// code is an ErrorResponse's SQLSTATE.
func (r reply) code() string {
	var e pgproto3.ErrorResponse
	if r.kind != 'E' || e.Decode(r.body) != nil {
		return ""
	}
	return e.Severity + " " + e.Code
}

// kinds reads replies up to ReadyForQuery or the end, and returns their types:
// an error as "E(code)", ReadyForQuery as "Z" with the status, the end as ".".
func (c *raw) kinds() string {
	c.tb.Helper()
	var b strings.Builder
	for {
		r, err := c.read()
		if err != nil {
			if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) && !strings.Contains(err.Error(), "reset") {
				c.tb.Fatal(err)
			}
			return b.String() + "."
		}
		b.WriteByte(r.kind)
		switch r.kind {
		case 'E':
			b.WriteString("(" + r.code() + ")")
		case 'Z':
			b.Write(r.body)
			return b.String()
		}
	}
}

func (c *raw) want(want string) {
	c.tb.Helper()
	if got := c.kinds(); got != want {
		c.tb.Fatalf("the server answered %q, want %q", got, want)
	}
}

const v3 = 3 << 16

func TestNothingIsAnsweredToAnUnprovenClient(t *testing.T) {
	d := openDoor(t, plain)
	start := packet(v3, "user\x00app@1\x00\x00")
	for name, c := range map[string]struct {
		send []byte
		want string
	}{
		"a query first":               {rawMessage('Q', "SELECT 1\x00"), "E(FATAL 08P01)."},
		"a query instead of SASL":     {append(start[:len(start):len(start)], rawMessage('Q', "SELECT 1\x00")...), "RE(FATAL 08P01)."},
		"a parse instead of SASL":     {append(start[:len(start):len(start)], rawMessage('P', "\x00SELECT 1\x00\x00\x00")...), "RE(FATAL 08P01)."},
		"sync instead of SASL":        {append(start[:len(start):len(start)], rawMessage('S', "")...), "RE(FATAL 08P01)."},
		"an empty SASL message":       {append(start[:len(start):len(start)], rawMessage('p', "")...), "RE(FATAL 08P01)."},
		"a mechanism that is none":    {append(start[:len(start):len(start)], rawMessage('p', "PLAIN\x00\x00\x00\x00\x01x")...), "RE(FATAL 28P01)."},
		"SASL of 100 KiB":             {append(start[:len(start):len(start)], rawMessage('p', strings.Repeat("x", 100<<10))...), "RE(FATAL 54000)."},
		"no user":                     {packet(v3, "database\x00x\x00\x00"), "E(FATAL 28000)."},
		"replication":                 {packet(v3, "user\x00app@1\x00replication\x00database\x00\x00"), "E(FATAL 0A000)."},
		"a version of long ago":       {packet(2<<16, "user\x00app@1\x00\x00"), "E(FATAL 0A000)."},
		"a packet without its end":    {packet(v3, "user\x00app@1\x00"), "E(FATAL 08P01)."},
		"a name without a value":      {packet(v3, "user\x00"), "E(FATAL 08P01)."},
		"bytes after the end":         {packet(v3, "user\x00app@1\x00\x00x"), "E(FATAL 08P01)."},
		"a length of 0":               {[]byte{0, 0, 0, 0}, "E(FATAL 08P01)."},
		"a length of 4":               {[]byte{0, 0, 0, 4}, "E(FATAL 08P01)."},
		"a length of 2 GiB":           {[]byte{0x7f, 0xff, 0xff, 0xff}, "E(FATAL 08P01)."},
		"a negative length":           {[]byte{0xff, 0xff, 0xff, 0xff}, "E(FATAL 08P01)."},
		"a packet of 11,000 bytes":    {packet(v3, strings.Repeat("x", 11_000)), "E(FATAL 54000)."},
		"TLS twice":                   {append(packet(codeGSS, ""), packet(codeGSS, "")...), ""},
		"an unknown role, same error": {append(packet(v3, "user\x00nobody@77\x00\x00"), rawMessage('p', "PLAIN\x00\x00\x00\x00\x01x")...), "RE(FATAL 28P01)."},
	} {
		t.Run(name, func(t *testing.T) {
			client := d.dial(t)
			client.write(c.send)
			if c.want == "" {
				if b, _ := client.r.ReadByte(); b != 'N' {
					t.Fatalf("GSS was answered with %q", b)
				}
				client.want("E(FATAL 08P01).")
				return
			}
			client.want(c.want)
		})
	}
	if d.observed.logins != 0 {
		t.Fatal("somebody logged in")
	}
}

func TestPlaintextAfterAskingForTLSIsRefused(t *testing.T) {
	d := openDoor(t, nil)
	c := d.dial(t)
	c.write(append(packet(codeTLS, ""), packet(v3, "user\x00app@1\x00\x00")...))
	c.want("E(FATAL 08P01).")
}

func TestPlaintextIsRefusedWithoutLeave(t *testing.T) {
	d := openDoor(t, nil)
	c := d.dial(t)
	c.write(packet(v3, "user\x00app@1\x00\x00"))
	c.want("E(FATAL 28000).")
}

func TestASlowLoginIsCutOff(t *testing.T) {
	d := openDoor(t, func(c *Config, _ *node.Config) { c.Limits.LoginTimeout = 50 * time.Millisecond })
	c := d.dial(t)
	c.write([]byte{0, 0})
	if b, err := io.ReadAll(c.r); err != nil || len(b) > 200 {
		t.Fatalf("read %d bytes, %v", len(b), err)
	}
	eventually(t, "the connection is forgotten", func() bool {
		d.observed.mu.Lock()
		defer d.observed.mu.Unlock()
		return d.observed.opened == d.observed.closed
	})
}

func TestProtocolVersionsAndOptionsAreNegotiated(t *testing.T) {
	d := openDoor(t, plain)
	c := d.dial(t)
	c.write(packet(v3|9999, "user\x00app@1\x00_pq_.magic\x00on\x00\x00"))
	r, err := c.read()
	check(t, err)
	var m pgproto3.NegotiateProtocolVersion
	if r.kind != 'v' || m.Decode(r.body) != nil || m.NewestMinorProtocol != v3|2 || len(m.UnrecognizedOptions) != 1 || m.UnrecognizedOptions[0] != "_pq_.magic" {
		t.Fatalf("answered %c %+v", r.kind, m)
	}
	if r, err = c.read(); err != nil || r.kind != 'R' {
		t.Fatalf("then %c, %v", r.kind, err)
	}
}

func TestABrokenMessageEndsOnlyItsSession(t *testing.T) {
	d := openDoor(t, nil)
	other := d.connect(t)
	for name, c := range map[string]struct {
		send string
		want string
	}{
		"an unknown type":                 {"?\x00\x00\x00\x04", "E(FATAL 08P01)."},
		"a length below itself":           {"Q\x00\x00\x00\x03", "E(FATAL 08P01)."},
		"a negative length":               {"Q\xff\xff\xff\xff", "E(FATAL 08P01)."},
		"a length over the limit":         {"Q\x10\x00\x00\x00", "E(FATAL 54000)."},
		"a query without its end":         {string(rawMessage('Q', "SELECT 1")), "E(FATAL 08P01)."},
		"a query with a zero byte":        {string(rawMessage('Q', "SELECT 1\x00 FROM\x00")), "E(FATAL 08P01)."},
		"a parse that is cut":             {string(rawMessage('P', "x\x00SELECT")), "E(FATAL 08P01)."},
		"a parse that promises types":     {string(rawMessage('P', "\x00SELECT 1\x00\xff\xff")), "E(FATAL 08P01)."},
		"a bind that is cut":              {string(rawMessage('B', "\x00\x00\x00\x01")), "E(FATAL 08P01)."},
		"a bind that promises parameters": {string(rawMessage('B', "\x00\x00\x00\x00\xff\xff")), "E(FATAL 08P01)."},
		"a describe of nothing":           {string(rawMessage('D', "")), "E(FATAL 08P01)."},
		"a describe of something else":    {string(rawMessage('D', "Xabc\x00")), "E(FATAL 08P01)."},
		"an execute that is cut":          {string(rawMessage('E', "\x00\x00")), "E(FATAL 08P01)."},
		"a close of something else":       {string(rawMessage('C', "Xabc\x00")), "E(FATAL 08P01)."},
		"a password":                      {string(rawMessage('p', "x\x00")), "E(FATAL 08P01)."},
		"a startup packet":                {string(packet(v3, "user\x00app@1\x00\x00")), "E(FATAL 08P01)."},
	} {
		t.Run(name, func(t *testing.T) {
			client := d.loggedIn(t)
			client.write([]byte(c.send))
			client.want(c.want)
		})
	}
	if got := oneValue(t, other, "SELECT 1"); got != "1" {
		t.Fatal("another session suffers")
	}
}

func TestMessagesOutOfPlace(t *testing.T) {
	d := openDoor(t, nil)
	sync := &pgproto3.Sync{}
	parse := &pgproto3.Parse{Query: "SELECT 1"}
	for name, c := range map[string]struct {
		send []pgproto3.FrontendMessage
		want string
	}{
		"bind of nothing":           {[]pgproto3.FrontendMessage{&pgproto3.Bind{PreparedStatement: "x"}, sync}, "E(ERROR 26000)ZI"},
		"execute of nothing":        {[]pgproto3.FrontendMessage{&pgproto3.Execute{Portal: "x"}, sync}, "E(ERROR 34000)ZI"},
		"describe of nothing":       {[]pgproto3.FrontendMessage{&pgproto3.Describe{ObjectType: 'S', Name: "x"}, sync}, "E(ERROR 26000)ZI"},
		"close of nothing":          {[]pgproto3.FrontendMessage{&pgproto3.Close{ObjectType: 'P', Name: "x"}, sync}, "3ZI"},
		"copy data":                 {[]pgproto3.FrontendMessage{&pgproto3.CopyData{Data: []byte("x")}, &pgproto3.CopyDone{}, sync}, "ZI"},
		"a function call":           {[]pgproto3.FrontendMessage{&pgproto3.FunctionCall{Function: 1}}, "E(ERROR 0A000)ZI"},
		"all after an error":        {[]pgproto3.FrontendMessage{&pgproto3.Execute{Portal: "x"}, parse, &pgproto3.Bind{}, &pgproto3.Execute{}, &pgproto3.Query{String: "SELECT 1"}, sync}, "E(ERROR 34000)ZI"},
		"a statement twice":         {[]pgproto3.FrontendMessage{&pgproto3.Parse{Name: "a", Query: "SELECT 1"}, &pgproto3.Parse{Name: "a", Query: "SELECT 1"}, sync}, "1E(ERROR 42P05)ZI"},
		"a portal twice":            {[]pgproto3.FrontendMessage{parse, &pgproto3.Bind{DestinationPortal: "p"}, &pgproto3.Bind{DestinationPortal: "p"}, sync}, "12E(ERROR 42P03)ZI"},
		"too many parameters":       {[]pgproto3.FrontendMessage{parse, &pgproto3.Bind{Parameters: [][]byte{{1}}}, sync}, "1E(ERROR 08P01)ZI"},
		"a format that is none":     {[]pgproto3.FrontendMessage{parse, &pgproto3.Bind{ResultFormatCodes: []int16{7}}, sync}, "1E(ERROR 22023)ZI"},
		"formats for other columns": {[]pgproto3.FrontendMessage{parse, &pgproto3.Bind{ResultFormatCodes: []int16{0, 1, 0}}, sync}, "1E(ERROR 08P01)ZI"},
		"an empty query":            {[]pgproto3.FrontendMessage{&pgproto3.Query{String: " ; "}}, "IZI"},
		"an empty statement":        {[]pgproto3.FrontendMessage{&pgproto3.Parse{Query: ""}, &pgproto3.Bind{}, &pgproto3.Describe{ObjectType: 'P'}, &pgproto3.Execute{}, sync}, "12nIZI"},
		"a portal after its sync":   {[]pgproto3.FrontendMessage{parse, &pgproto3.Bind{DestinationPortal: "p"}, sync}, "12ZI"},
		"a query twice":             {[]pgproto3.FrontendMessage{parse, &pgproto3.Bind{}, &pgproto3.Execute{}, &pgproto3.Execute{}, sync}, "12DCCZI"},
	} {
		t.Run(name, func(t *testing.T) {
			client := d.loggedIn(t)
			client.send(c.send...)
			client.want(c.want)
			client.send(&pgproto3.Query{String: "SELECT 1"})
			client.want("TDCZI")
		})
	}
}

func TestACancelKeyHasToBeRight(t *testing.T) {
	d := openDoor(t, nil)
	c := d.loggedIn(t)
	cancel := func(key []byte) {
		t.Helper()
		k := d.dial(t)
		k.send(&pgproto3.CancelRequest{ProcessID: c.h.PID, SecretKey: key})
		if b, err := io.ReadAll(k.r); err != nil || len(b) != 0 {
			t.Fatalf("a cancel request was answered with %q, %v", b, err)
		}
	}
	running := func() bool {
		s := d.srv.session(c.h.PID)
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.running
	}
	c.send(&pgproto3.Query{String: "SELECT pg_sleep(60)"})
	eventually(t, "the statement runs", running)
	wrong := append([]byte{}, c.h.SecretKey...)
	wrong[0] ^= 1
	cancel(wrong)
	cancel(zeroes(len(wrong)))
	cancel(append(wrong, 0))
	if !running() {
		t.Fatal("a wrong key cancelled the statement")
	}
	cancel(c.h.SecretKey)
	c.want("TE(ERROR 57014)ZI"[1:])
	cancel(c.h.SecretKey) // nothing runs: nothing happens
	c.send(&pgproto3.Query{String: "SELECT 1"})
	c.want("TDCZI")
}

func zeroes(n int) []byte { return make([]byte, n) }

func TestStatementsAndPortalsAreBounded(t *testing.T) {
	d := openDoor(t, func(c *Config, _ *node.Config) { c.Limits.MaxStatements = 100 })
	c := d.loggedIn(t)
	name := func(i int) string { return "s" + strings.Repeat("x", i) }
	var b []pgproto3.FrontendMessage
	for i := range 101 {
		b = append(b, &pgproto3.Parse{Name: name(i), Query: "SELECT 1"})
	}
	c.send(append(b, &pgproto3.Sync{})...)
	c.want(strings.Repeat("1", 100) + "1E(ERROR 54000)ZI"[1:])
	b = nil
	for i := range 101 {
		b = append(b, &pgproto3.Bind{DestinationPortal: name(i), PreparedStatement: "s"})
	}
	c.send(append(b, &pgproto3.Sync{})...)
	c.want(strings.Repeat("2", 100) + "E(ERROR 54000)ZI")
	c.send(&pgproto3.Query{String: "SELECT 1"})
	c.want("TDCZI")
}

func TestConnectionsAreBounded(t *testing.T) {
	d := openDoor(t, func(c *Config, _ *node.Config) { c.Limits.MaxConnections, c.Limits.MaxConnectionsPerTenant = 3, 2 })
	a, b := d.connect(t), d.connect(t)
	_, err := pgconn.ConnectConfig(t.Context(), &d.config(t, "app@1", d.secret).Config)
	wantState(t, err, "53300")
	eventually(t, "the refused one is gone", func() bool {
		c, err := pgx.ConnectConfig(t.Context(), d.config(t, "app@2", d.other))
		if err == nil {
			t.Cleanup(func() { _ = c.Close(context.Background()) })
		}
		return err == nil
	})
	_, err = pgconn.ConnectConfig(t.Context(), &d.config(t, "app@2", d.other).Config)
	wantState(t, err, "53300")
	check(t, a.Close(context.Background()))
	eventually(t, "a place is free", func() bool {
		c, err := pgconn.ConnectConfig(t.Context(), &d.config(t, "app@1", d.secret).Config)
		if err == nil {
			_ = c.Close(context.Background())
		}
		return err == nil
	})
	_ = b
}
