package wireattack

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
)

// TestProtocolAbuse sends what a session may not, or too much of what it may.
func TestProtocolAbuse(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.broken(t)
	w.misplaced(t)
	w.truncated(t)
	w.tooMany(t)
	w.portalsOfOthers(t)
	w.cancelKeys(t)
	w.finish(t)
}

// broken sends messages that are not well formed in a session.
func (w *world) broken(t *testing.T) {
	long := strings.Repeat("x", 1<<20)
	zero := "\x00"
	for name, b := range map[string][]byte{
		"length 0": claimed('Q', 0, ""), "length 3": claimed('Q', 3, ""), "length -1": claimed('Q', 1<<32-1, ""), "length -2^31": claimed('Q', 1<<31, ""), "length 2^31-1": claimed('Q', 1<<31-1, "SELECT 1"), "length of a gigabyte": claimed('Q', 1<<30, "SELECT 1"),
		"a query without its end": message('Q', "SELECT 1"), "a query with two ends": message('Q', "SELECT 1\x00\x00"), "a query with a NUL byte inside": message('Q', "SELECT 1;\x00SELECT 2\x00"), "an empty query message": message('Q', ""),
		"type 0": message(0, ""), "type 255": message(255, long), "a server's message": message('Z', "I"), "a server's row": message('D', "\x00\x01"), "a password again": message('p', "x"+zero), "text in the clear": []byte("GET / HTTP/1.1\r\n\r\n"), "zeros": make([]byte, 1000),
		"a parse of nothing": message('P', ""), "a parse without types": message('P', zero+"SELECT 1"+zero), "a parse of too few types": message('P', zero+"SELECT 1"+zero+"\xff\xff"), "a parse of 32,767 types": message('P', zero+"SELECT 1"+zero+"\x7f\xff"+strings.Repeat("\x00\x00\x00\x17", 32767)), "a parse of -1 types": message('P', zero+"SELECT 1"+zero+"\xff\xff\x00\x00"),
		"a parse with types that are none": message('P', zero+"SELECT $1"+zero+"\x00\x01\xff\xff\xff\xff"), "a statement's name of a megabyte": message('P', long+zero+"SELECT 1"+zero+"\x00\x00"),
		"a bind of nothing": message('B', ""), "a bind to what is not there": message('B', zero+"nowhere"+zero+"\x00\x00\x00\x00\x00\x00"), "a bind of -1 formats": message('B', zero+zero+"\xff\xff"), "a bind of 32,767 formats": message('B', zero+zero+"\x7f\xff"),
		"a bind of a parameter of -2 bytes": message('B', zero+zero+"\x00\x00\x00\x01\xff\xff\xff\xfe\x00\x00"), "a bind of a parameter of 2 GiB": message('B', zero+zero+"\x00\x00\x00\x01\x7f\xff\xff\xffx\x00\x00"), "a bind of more parameters than bytes": message('B', zero+zero+"\x00\x00\xff\xff"),
		"a describe of nothing": message('D', ""), "a describe of neither": message('D', "Xname"+zero), "a describe without an end": message('D', "Sname"), "an execute of nothing": message('E', ""), "an execute of -1 rows": message('E', zero+"\xff\xff\xff\xff"), "an execute of what is not there": message('E', "nowhere"+zero+"\x00\x00\x00\x00"),
		"a close of nothing": message('C', ""), "a close of neither": message('C', "Xname"+zero), "a close of what is not there": message('C', "Snowhere"+zero), "copy data without a copy": message('d', long), "copy done without a copy": message('c', ""), "copy fail without a copy": message('f', "x"+zero), "a function call": message('F', "\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00"), "a sync of 100 bytes": message('S', strings.Repeat("x", 100)), "a terminate of 100 bytes": message('X', strings.Repeat("x", 100)), "a flush of a megabyte": message('H', long),
		"a startup again": startup("user", "app@1"), "TLS again": packet(80877103, ""),
	} {
		w.attack(t, "broken: "+name, func(t *testing.T) {
			c := w.loggedIn(t, "app")
			c.write(b)
			c.send(&pgproto3.Sync{})
			_ = c.SetReadDeadline(time.Now().Add(2 * time.Second))
			got := c.answers()
			if strings.HasPrefix(name, "length of a gigabyte") || strings.Contains(name, "2^31-1") {
				got = strings.TrimSuffix(got, "!") // it may wait for the rest
			}
			c.judge(t, got)
			if !strings.Contains(got, "Z") && !strings.Contains(got, "E(FATAL") && !strings.HasPrefix(name, "a terminate") {
				t.Errorf("neither goes the session on, nor is it said why not: %q", got)
			}
		})
	}
}

// misplaced binds wrong numbers, formats and values to a statement.
func (w *world) misplaced(t *testing.T) {
	c := w.loggedIn(t, "app")
	for name, m := range map[string]*pgproto3.Bind{
		"no parameter": {}, "a parameter too many": {Parameters: [][]byte{{'1'}, {'2'}, {'3'}}}, "65,535 parameters": {Parameters: make([][]byte, 65535)}, "formats that are none": {Parameters: [][]byte{{'1'}, {'2'}}, ParameterFormatCodes: []int16{7, -3}},
		"three formats for two": {Parameters: [][]byte{{'1'}, {'2'}}, ParameterFormatCodes: []int16{0, 0, 0}}, "30,000 formats of results": {Parameters: [][]byte{{'1'}, {'2'}}, ResultFormatCodes: make([]int16, 30000)}, "a format of results that is none": {Parameters: [][]byte{{'1'}, {'2'}}, ResultFormatCodes: []int16{9}},
		"a binary integer of 3 bytes": {Parameters: [][]byte{{1, 2, 3}, {'{', '}'}}, ParameterFormatCodes: []int16{1, 0}}, "a binary integer of 20 MB": {Parameters: [][]byte{make([]byte, 20<<20), {'x'}}, ParameterFormatCodes: []int16{1, 0}}, "a text of 20 MB": {Parameters: [][]byte{{'1'}, bytes.Repeat([]byte("{"), 20<<20)}},
		"a binary array of 2^31 elements": {Parameters: [][]byte{{0, 0, 0, 1}, binaryArray(1<<31-1, 1)}, ParameterFormatCodes: []int16{1, 1}}, "a binary array of -1 elements": {Parameters: [][]byte{{0, 0, 0, 1}, binaryArray(1<<32-1, 1)}, ParameterFormatCodes: []int16{1, 1}}, "a binary array of 2^31 dimensions": {Parameters: [][]byte{{0, 0, 0, 1}, {0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 23}}, ParameterFormatCodes: []int16{1, 1}},
		"a binary array that is cut": {Parameters: [][]byte{{0, 0, 0, 1}, {0, 0, 0, 1, 0, 0}}, ParameterFormatCodes: []int16{1, 1}}, "an array of a million braces": {Parameters: [][]byte{{'1'}, []byte(strings.Repeat("{", 1<<20))}}, "an array of four million elements": {Parameters: [][]byte{{'1'}, []byte("{1" + strings.Repeat(",1", 4<<20) + "}")}},
		"SQL": {Parameters: [][]byte{[]byte("1; DROP TABLE own"), []byte("{1}); DROP TABLE own; --")}}, "a NUL byte": {Parameters: [][]byte{[]byte("1\x00"), []byte("{\x00}")}}, "the attacker's own row": {Parameters: [][]byte{[]byte(ownMark), []byte("{" + ownMark + "}")}},
	} {
		w.attack(t, "bind: "+name, func(t *testing.T) {
			m.PreparedStatement = ""
			_ = c.SetDeadline(time.Now().Add(patience))
			c.send(&pgproto3.Parse{Query: "SELECT $1::int, 5 = ANY($2::int[])"}, m, &pgproto3.Execute{}, &pgproto3.Sync{})
			got := c.answers()
			_, first, _ := c.tap.take()
			if bytes.Contains(first, []byte(ownMark)) {
				t.Errorf("the error tells the value: %q", first)
			}
			if refused := strings.Contains(got, "E(ERROR"); !strings.HasSuffix(got, "ZI") || !refused && name != "an array of four million elements" {
				t.Errorf("it is answered %q", got)
			}
			c.judge(t, got)
		})
	}
}

func binaryArray(elements, dimensions uint32) []byte {
	var b []byte
	for _, n := range []uint32{dimensions, 0, 23, elements, 1} {
		b = binary.BigEndian.AppendUint32(b, n)
	}
	return b
}

// truncated cuts a session off at every byte, and closes there.
func (w *world) truncated(t *testing.T) {
	var session []byte
	for _, m := range []pgproto3.FrontendMessage{
		query("BEGIN"), query("INSERT INTO own(secret, n) VALUES ('cut', 1)"), &pgproto3.Parse{Name: "s", Query: "INSERT INTO own(secret, n) VALUES ($1, 2)"}, &pgproto3.Describe{ObjectType: 'S', Name: "s"},
		&pgproto3.Bind{DestinationPortal: "p", PreparedStatement: "s", Parameters: [][]byte{[]byte("cut")}}, &pgproto3.Execute{Portal: "p", MaxRows: 1}, &pgproto3.Sync{}, query("COPY own(secret) FROM STDIN"), &pgproto3.CopyData{Data: []byte("cut\n")},
	} {
		session, _ = m.Encode(session)
	}
	w.attack(t, fmt.Sprintf("a session cut off at each of its %d bytes", len(session)), func(t *testing.T) {
		made.Add(int64(len(session)) / 10) // one of ten by itself is an attack
		var together sync.WaitGroup
		for part := range 4 {
			together.Go(func() {
				for at := part; at < len(session); at += 4 {
					if at%3 != 0 && at > 60 {
						continue
					}
					c := w.loggedIn(t, "writer")
					c.write(session[:at])
					_ = c.Close()
				}
			})
		}
		together.Wait()
		c := w.connect(t, "app", attackerName, nil)
		if n := one(t, c, "SELECT count(*) FROM own WHERE secret = 'cut'"); n != "0" {
			t.Errorf("%s rows stay", n)
		}
		close1(c)
	})
}

// tooMany makes more statements, portals, savepoints, locks and messages than
// there may be.
func (w *world) tooMany(t *testing.T) {
	for name, m := range map[string]func(i int) []pgproto3.FrontendMessage{
		"prepared statements": func(i int) []pgproto3.FrontendMessage {
			return []pgproto3.FrontendMessage{&pgproto3.Parse{Name: fmt.Sprint("s", i), Query: "SELECT 1"}, &pgproto3.Sync{}}
		},
		"large prepared statements": func(i int) []pgproto3.FrontendMessage {
			return []pgproto3.FrontendMessage{&pgproto3.Parse{Name: fmt.Sprint("s", i), Query: "SELECT '" + strings.Repeat("x", 40_000) + "'"}, &pgproto3.Sync{}}
		},
		"portals": func(i int) []pgproto3.FrontendMessage {
			return []pgproto3.FrontendMessage{&pgproto3.Parse{Query: "SELECT * FROM probe"}, &pgproto3.Bind{DestinationPortal: fmt.Sprint("p", i)}, &pgproto3.Execute{Portal: fmt.Sprint("p", i), MaxRows: 1}, &pgproto3.Flush{}}
		},
		"statements by SQL": func(i int) []pgproto3.FrontendMessage {
			return []pgproto3.FrontendMessage{query(fmt.Sprintf("PREPARE p%d AS SELECT 1", i))}
		},
		"advisory locks": func(i int) []pgproto3.FrontendMessage {
			return []pgproto3.FrontendMessage{query(fmt.Sprintf("SELECT pg_advisory_lock(%d)", i))}
		},
		"settings": func(i int) []pgproto3.FrontendMessage {
			return []pgproto3.FrontendMessage{query(fmt.Sprintf("SET x.y%d = '%s'", i, strings.Repeat("x", 10000)))}
		},
	} {
		w.attack(t, "3,000 "+name, func(t *testing.T) {
			c := w.loggedIn(t, "app")
			go func() { _, _ = io.Copy(&c.tap, c.Conn) }() // until the connection is closed
			for i := range 3000 {
				c.send(m(i)...)
			}
			c.send(&pgproto3.Sync{}, query("SHOW server_version"))
			var came []byte
			for deadline := time.Now().Add(patience); !bytes.Contains(came, []byte("SHOW\x00")) && time.Now().Before(deadline); {
				time.Sleep(5 * time.Millisecond)
				found, more, _ := c.tap.take()
				if came = append(came, more...); found != "" {
					t.Errorf("something of the victim's came back (%s)", found)
				}
			}
			if refused := bytes.Contains(came, []byte("C54000\x00")); !refused && name != "advisory locks" && name != "settings" {
				t.Error("all are taken")
			}
			_ = c.Close()
		})
	}
	w.attack(t, "100,000 messages by one who does not read", func(t *testing.T) {
		c := w.loggedIn(t, "app")
		b, _ := query("SELECT 'some answer', 'that is not read', repeat('x', 1000)").Encode(nil)
		_ = c.SetWriteDeadline(time.Now().Add(time.Second))
		c.write(bytes.Repeat(b, 100_000))
		other := w.connect(t, "app", attackerName, nil)
		if one(t, other, "SELECT 42") != "42" {
			t.Error("another does not get on")
		}
		close1(other)
		_ = c.Close()
	})
	w.attack(t, "16 large results for those who do not read", func(t *testing.T) {
		var all []*raw
		for range 16 {
			c := w.loggedIn(t, "app")
			c.send(query("SELECT repeat('x', 1000000) FROM generate_series(1, 1000)"))
			all = append(all, c)
		}
		other := w.connect(t, "app", otherName, nil)
		for range 20 {
			if one(t, other, "SELECT 42") != "42" {
				t.Error("another does not get on")
			}
		}
		close1(other)
		for _, c := range all {
			_ = c.Close()
		}
	})
	w.attack(t, "24 large messages that do not end", func(t *testing.T) {
		var together sync.WaitGroup
		for range 24 {
			c := w.loggedIn(t, "reader")
			together.Go(func() {
				_ = c.SetDeadline(time.Now().Add(3 * time.Second))
				c.write(claimed('Q', 60<<20, strings.Repeat("x", 50<<20)))
			})
		}
		together.Wait()
		other := w.connect(t, "app", otherName, nil)
		if one(t, other, "SELECT 42") != "42" {
			t.Error("another does not get on")
		}
		close1(other)
	})
}

// hoarded has many sessions hold as much of prepared statements as one may.
func (w *world) hoarded(t *testing.T) {
	w.attack(t, "12 sessions that hold 40 MB of prepared statements", func(t *testing.T) {
		var together sync.WaitGroup
		for range 12 {
			c := w.loggedIn(t, "reader")
			together.Go(func() {
				go func() { _, _ = io.Copy(&c.tap, c.Conn) }() // until the connection is closed
				_ = c.SetDeadline(time.Now().Add(5 * time.Second))
				for i := range 100 {
					c.send(&pgproto3.Parse{Name: fmt.Sprint("s", i), Query: "SELECT '" + strings.Repeat("x", 400_000) + "'"}, &pgproto3.Sync{})
				}
			})
		}
		together.Wait()
		other := w.connect(t, "app", otherName, nil)
		if one(t, other, "SELECT 42") != "42" {
			t.Error("another does not get on")
		}
		close1(other)
	})
}

// portalsOfOthers asks for the statements and portals of other sessions.
func (w *world) portalsOfOthers(t *testing.T) {
	w.attack(t, "portals and statements of other sessions", func(t *testing.T) {
		f := w.guard.Frontend()
		f.Send(&pgproto3.Parse{Name: "shared", Query: "SELECT " + mark + "_name FROM " + mark + "_patients"})
		f.Send(&pgproto3.Bind{DestinationPortal: "shared", PreparedStatement: "shared"})
		f.Send(&pgproto3.Execute{Portal: "shared", MaxRows: 1})
		f.Send(&pgproto3.Flush{})
		if err := f.Flush(); err != nil {
			t.Fatal(err)
		}
		for name, m := range map[string][]pgproto3.FrontendMessage{
			"execute": {&pgproto3.Execute{Portal: "shared"}}, "describe portal": {&pgproto3.Describe{ObjectType: 'P', Name: "shared"}}, "describe": {&pgproto3.Describe{ObjectType: 'S', Name: "shared"}}, "bind": {&pgproto3.Bind{PreparedStatement: "shared"}, &pgproto3.Execute{}}, "close": {&pgproto3.Close{ObjectType: 'P', Name: "shared"}, &pgproto3.Close{ObjectType: 'S', Name: "shared"}},
		} {
			c := w.loggedIn(t, "app")
			c.send(append(m, &pgproto3.Sync{})...)
			got := c.answers()
			c.judge(t, got)
			if name != "close" && !strings.Contains(got, "E(ERROR") {
				t.Errorf("%s: %q", name, got)
			}
			_ = c.Close()
		}
		f.Send(&pgproto3.Execute{Portal: "shared"})
		f.Send(&pgproto3.Close{ObjectType: 'S', Name: "shared"})
		f.Send(&pgproto3.Sync{})
		if err := f.Flush(); err != nil {
			t.Fatal(err)
		}
		rows := 0
		for {
			m, err := w.guard.ReceiveMessage(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if _, ok := m.(*pgproto3.DataRow); ok {
				rows++
			}
			if _, ok := m.(*pgproto3.ReadyForQuery); ok {
				break
			}
		}
		if rows != 50 {
			t.Errorf("the victim got %d rows of its portal", rows)
		}
	})
}

// cancelKeys tries to cancel the victim's statement.
func (w *world) cancelKeys(t *testing.T) {
	w.attack(t, "cancelling the victim's statement with keys of others", func(t *testing.T) {
		victim := w.connect(t, "app", victimName, nil)
		own := w.connect(t, "app", attackerName, nil)
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		done := make(chan error, 1)
		go func() { done <- drained(victim.Exec(ctx, "SELECT pg_sleep(0.7)")) }()
		send := func(pid uint32, key []byte) {
			c, err := net.Dial("tcp", w.k.PG)
			if err != nil {
				t.Error(err)
				return
			}
			_, _ = c.Write(packet(80877102, string(binary.BigEndian.AppendUint32(nil, pid))+string(key)))
			_ = c.SetReadDeadline(time.Now().Add(time.Second))
			if b, _ := io.ReadAll(c); len(b) != 0 {
				t.Errorf("a cancel is answered %q", b)
			}
			_ = c.Close()
		}
		send(victim.PID(), own.SecretKey())
		send(victim.PID(), nil)
		send(victim.PID(), make([]byte, 4))
		send(victim.PID(), make([]byte, 32))
		send(own.PID(), victim.SecretKey()[:len(victim.SecretKey())-1])
		for i := range 60 {
			send(victim.PID(), binary.BigEndian.AppendUint32(nil, uint32(i)))
		}
		if err := <-done; err != nil {
			t.Errorf("the victim's statement: %v", err)
		}
		for _, sql := range []string{"SELECT pg_cancel_backend(%d)", "SELECT pg_terminate_backend(%d)", "SELECT pg_terminate_backend(pid) FROM (SELECT %d AS pid) x", "SELECT * FROM pg_stat_activity WHERE pid = %d AND usename IS NOT NULL"} {
			r, err := own.Exec(ctx, fmt.Sprintf(sql, victim.PID())).ReadAll()
			if err == nil && len(r[0].Rows) > 0 && len(r[0].Rows[0]) == 1 && string(r[0].Rows[0][0]) == "t" {
				t.Errorf("%s says yes", sql)
			}
			unknown, unknownErr := own.Exec(ctx, fmt.Sprintf(sql, 4711)).ReadAll()
			if stateOf(err) != stateOf(unknownErr) || len(r) > 0 && len(unknown) > 0 && len(r[0].Rows) != len(unknown[0].Rows) {
				t.Errorf("%s tells whether there is such a session: %v, %v", sql, err, unknownErr)
			}
		}
		if one(t, victim, "SELECT 42") != "42" {
			t.Error("the victim's session is gone")
		}
		close1(victim)
		close1(own)
	})
}
