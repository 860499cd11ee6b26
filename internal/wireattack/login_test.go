package wireattack

import (
	"context"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// addresses are loopback ones: failed logins slow down their address.
var nextAddress = 2

func address() string {
	nextAddress++
	return fmt.Sprintf("127.0.%d.%d", nextAddress/250, 2+nextAddress%250)
}

// TestNobodyGetsInWithoutTheirSecret attacks everything before the login.
func TestNobodyGetsInWithoutTheirSecret(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.beforeLogin(t)
	w.names(t)
	w.downgrades(t)
	w.exchanges(t)
	w.throttled(t)
	w.finish(t)
}

// beforeLogin sends each message, and what is none, in the place of a login.
func (w *world) beforeLogin(t *testing.T) {
	user := startup("user", "app@"+attackerName)
	for kind := range 256 {
		if !strings.ContainsRune("BCDEFHPQSXcdfp\x00\x01!~\xffARTZ", rune(kind)) {
			continue
		}
		for _, begun := range []bool{false, true} {
			w.attack(t, fmt.Sprintf("message 0x%02x before the login, begun %v", kind, begun), func(t *testing.T) {
				c := w.dial(t, address()).secure(t)
				if begun {
					c.write(user)
				}
				c.write(message(byte(kind), "SELECT 1\x00"))
				c.write(message('Q', "SELECT 1\x00"))
				got := c.answers()
				c.judge(t, got)
				if proven(got) {
					t.Errorf("the server answered %q", got)
				}
			})
		}
	}
	long := strings.Repeat("x", 1<<20)
	for name, b := range map[string][]byte{
		"length 0": {0, 0, 0, 0}, "length 3": {0, 0, 0, 3}, "length 4": {0, 0, 0, 4}, "length 7": {0, 0, 0, 7, 0, 3, 0}, "length -1": {0xff, 0xff, 0xff, 0xff},
		"length -2^31": {0x80, 0, 0, 0}, "length 2^31-1": {0x7f, 0xff, 0xff, 0xff}, "nothing but zeros": make([]byte, 4096), "HTTP": []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
		"SSH": []byte("SSH-2.0-x\r\n"), "version 2": packet(2<<16, "user\x00x\x00\x00"), "version 3.99": packet(3<<16|99, "user\x00x\x00\x00"), "version 4": packet(4<<16, "user\x00x\x00\x00"),
		"10,000 parameters": startup(strings.Split(strings.Repeat("a,b,", 2500)+"user,x", ",")...), "a startup of a megabyte": startup("user", long), "no end": packet(v3, "user\x00x"),
		"a name without a value": packet(v3, "user\x00"), "bytes after the end": packet(v3, "user\x00x\x00\x00more"), "replication": startup("user", "app@2", "replication", "true"),
		"protocol options": startup("user", "app@2", "_pq_.x", "y", "_pq_."+strings.Repeat("z", 1000), ""), "a user twice": startup("user", "app@2", "user", "app@1"),
		"options": startup("user", "app@2", "options", "-c search_path=x --x=y -c is_superuser=on"), "settings": startup("user", "app@2", "is_superuser", "on", "session_authorization", "app@1", "kimberlite.tenant", "1"),
	} {
		w.attack(t, "startup: "+name, func(t *testing.T) {
			c := w.dial(t, address()).secure(t)
			c.write(b)
			c.write(message('Q', "SELECT 1\x00"))
			got := c.answers()
			c.judge(t, got)
			if proven(strings.ReplaceAll(got, "v", "")) {
				t.Errorf("the server answered %q", got)
			}
		})
	}
}

// names tries SQL, other tenants and odd bytes as user and database names.
func (w *world) names(t *testing.T) {
	attempt := func(t *testing.T, user, database, secret string) *pgconn.PgError {
		t.Helper()
		var came tap
		c := w.config(t, "app", attackerName, address(), &came)
		c.User, c.Database, c.Password = user, database, secret
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		conn, err := pgconn.ConnectConfig(ctx, c)
		if err == nil {
			close1(conn)
			t.Errorf("user %.60q gets in to %.60q", user, database)
			return nil
		}
		if found, first, _ := came.take(); found != "" && !strings.Contains(user+database, mark) {
			t.Errorf("something of the victim's came back (%s): %.2000q", found, first)
		}
		var e *pgconn.PgError
		if !errorsAs(err, &e) && len(user)+len(database) < 8000 {
			t.Errorf("%.60q is answered %v", user, err)
		}
		return e
	}
	own := w.secrets["app@"+attackerName]
	for _, user := range []string{
		"app@1", "app@" + victimName, mark + "app@1", mark + "app@" + victimName, "app@1' OR '1'='1", "app@1'; DROP TABLE own; --", `app@1" OR "1"="1`, "app@2@1", "app@1@2", "@1", "app@", "@", "app",
		"app@01", "app@+1", "app@1.0", "app@0x1", "app@１", "app@²", "аpp@2", "app@clinic‐two", "app@CLINIC-TWO\u200b", "app@2\u00a0", " app@2", "app@2 ", "app@2\n", "app\t@2", "app@-1", "app@0", "app@18446744073709551617", "app@4294967298",
		"app@2/../1", "app@../1", "app@2%00", "app%402", "app@2;tenant=1", "kmb_op_1", "dev", "dev@", "postgres", "root@2", "app@*", "app@%", "*@2", "_@_", "app@(SELECT 1)", "$(id)@2", "`id`@2", "app@2\u202e", strings.Repeat("a", 9000) + "@2", "app@" + strings.Repeat("2", 9000), strings.Repeat("@", 5000), "\xff\xfe@2", "app@\xc3\x28", "n,=app@2", "app@2,r=x", "=2C=3D@2",
	} {
		w.attack(t, fmt.Sprintf("user %.60q", user), func(t *testing.T) {
			w.said = user
			e := attempt(t, user, "", own)
			if e != nil && e.Code != "28P01" && e.Code != "28000" && len(user) < 1000 {
				t.Errorf("it is refused with %s %s", e.Code, e.Message)
			}
		})
	}
	w.attack(t, "no difference between the names of tenants and credentials", func(t *testing.T) {
		var texts []string
		for _, user := range []string{"app@1", "app@99", "nobody@1", mark + "nurse@" + victimName, "nobody@" + victimName, "app@nowhere", "app@3"} {
			if e := attempt(t, user, "", own); e != nil {
				texts = append(texts, e.Code+e.Message+e.Hint+e.Detail)
			}
		}
		for _, text := range texts {
			if text != texts[0] {
				t.Errorf("the refusals differ: %q", texts)
			}
		}
	})
	for _, database := range []string{victimName, "1", "app@1", "3", otherName, "clinic-two'; --", "clinic-two\u200b", "CLINIC-TWO", "2 ", "template1", "postgres", "../1", "2/1", "' OR 1=1 --", "\xff", strings.Repeat("d", 9000), "kimberlite", "main", "sqlite_master", "x dbname=1"} {
		w.attack(t, fmt.Sprintf("database %.60q", database), func(t *testing.T) {
			w.said = database
			e := attempt(t, "app@"+attackerName, database, own)
			if e != nil && e.Code != "3D000" && len(database) < 1000 {
				t.Errorf("it is refused with %s %s", e.Code, e.Message)
			}
		})
	}
	w.attack(t, "a NUL byte in a name", func(t *testing.T) {
		c := w.dial(t, address()).secure(t)
		c.write(packet(v3, "user\x00app@2\x00@1\x00\x00"))
		got := c.answers()
		c.judge(t, got)
	})
	for name, secret := range map[string]string{
		"none": "", "the victim's id in it": strings.Replace(own, "kmb_2_", "kmb_1_", 1), "half": own[:len(own)/2], "twice": own + own, "a character more": own + "A", "lower case": strings.ToLower(own), "another's": w.secrets["reader@"+attackerName], "odd bytes": "\x00\xff", "long": strings.Repeat("p", 1<<20), "SQL": "' OR '1'='1",
	} {
		w.attack(t, "secret: "+name, func(t *testing.T) { attempt(t, "app@"+attackerName, "", secret) })
	}
}

// downgrades try to do without TLS, or with less of it.
func (w *world) downgrades(t *testing.T) {
	user := startup("user", "app@"+attackerName)
	w.attack(t, "no TLS at all", func(t *testing.T) {
		c := w.dial(t, address())
		c.write(user)
		if got := c.answers(); got != "E(FATAL 28000)." {
			t.Errorf("it is answered %q", got)
		}
	})
	w.attack(t, "plaintext after TLS was agreed", func(t *testing.T) {
		c := w.dial(t, address())
		c.write(packet(80877103, ""))
		if b, _ := c.r.ReadByte(); b != 'S' {
			t.Fatalf("TLS was answered with %q", b)
		}
		c.write(user)
		got := c.answers()
		c.judge(t, got)
		if proven(got) || strings.Contains(got, "R") {
			t.Errorf("it is answered %q", got)
		}
	})
	w.attack(t, "plaintext stuffed behind the question for TLS", func(t *testing.T) {
		c := w.dial(t, address())
		c.write(append(packet(80877103, ""), user...))
		if got := c.answers(); got != "E(FATAL 08P01)." {
			t.Errorf("it is answered %q", got)
		}
	})
	w.attack(t, "TLS that is stripped in the middle", func(t *testing.T) {
		c := w.dial(t, address())
		under := c.Conn
		c.secure(t)
		c.write(user)
		kind, _, err := c.read()
		if err != nil || kind != 'R' {
			t.Fatalf("%q, %v", kind, err)
		}
		_, _ = under.Write(message('p', "SCRAM-SHA-256\x00\x00\x00\x00\x00"))
		got := c.answers()
		c.judge(t, got)
		if proven(got) {
			t.Errorf("it is answered %q", got)
		}
	})
	for name, config := range map[string]*tls.Config{
		"TLS 1.0": {MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS10}, "TLS 1.1": {MinVersion: tls.VersionTLS11, MaxVersion: tls.VersionTLS11}, "another ALPN": {NextProtos: []string{"h2", "http/1.1"}},
		"RC4 and 3DES": {MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_RSA_WITH_RC4_128_SHA, tls.TLS_RSA_WITH_3DES_EDE_CBC_SHA}},
	} {
		w.attack(t, "TLS: "+name, func(t *testing.T) {
			c := w.dial(t, address())
			c.write(packet(80877103, ""))
			_, _ = c.r.ReadByte()
			config.RootCAs, config.ServerName = w.roots, "localhost"
			if err := tls.Client(c.Conn, config).Handshake(); err == nil {
				t.Error("the handshake succeeds")
			}
		})
	}
	w.attack(t, "TLS at once without ALPN", func(t *testing.T) {
		c := w.dial(t, address())
		s := tls.Client(c.Conn, &tls.Config{RootCAs: w.roots, ServerName: "localhost"})
		if s.Handshake() == nil {
			c.use(s)
			c.write(user)
			if got := c.answers(); got != "E(FATAL 08P01)." {
				t.Errorf("it is answered %q", got)
			}
		}
	})
	for name, b := range map[string][]byte{"TLS twice": packet(80877103, ""), "GSS inside TLS": packet(80877104, ""), "a cancel that is short": packet(80877102, "x"), "a cancel of nothing": packet(80877102, strings.Repeat("\x00", 8)), "a cancel with a key of 10,000 bytes": packet(80877102, strings.Repeat("\x01", 10000))} {
		w.attack(t, name+" inside TLS", func(t *testing.T) {
			c := w.dial(t, address()).secure(t)
			c.write(b)
			got := c.answers()
			c.judge(t, got)
			if proven(got) {
				t.Errorf("it is answered %q", got)
			}
		})
	}
}

// sasl is a SCRAM-SHA-256 client that can be told to lie.
type sasl struct {
	header            string // GS2
	first, serverText string
	proof             []byte
}

// begin sends the first message and reads the challenge.
func (s *sasl) begin(t testing.TB, c *raw, mechanism, first string) (ok bool) {
	t.Helper()
	s.first = first
	data := s.header + first
	n := len(data)
	c.write(message('p', mechanism+"\x00"+string([]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})+data))
	kind, body, err := c.read()
	if err != nil || kind != 'R' || len(body) < 4 || body[3] != 11 {
		return false
	}
	s.serverText = string(body[4:])
	return true
}

// final is the last message, for a password.
func (s *sasl) final(t testing.TB, password, binding string, change func(nonce string) string) string {
	t.Helper()
	var nonce, salt string
	iterations := 0
	for _, part := range strings.Split(s.serverText, ",") {
		switch part[:2] {
		case "r=":
			nonce = part[2:]
		case "s=":
			salt = part[2:]
		case "i=":
			iterations, _ = strconv.Atoi(part[2:])
		}
	}
	if change != nil {
		nonce = change(nonce)
	}
	salted, _ := base64.StdEncoding.DecodeString(salt)
	key, err := pbkdf2.Key(sha256.New, password, salted, iterations, 32)
	if err != nil {
		t.Fatal(err)
	}
	mac := func(key []byte, text string) []byte {
		h := hmac.New(sha256.New, key)
		h.Write([]byte(text))
		return h.Sum(nil)
	}
	without := "c=" + base64.StdEncoding.EncodeToString([]byte(binding)) + ",r=" + nonce
	client := mac(key, "Client Key")
	stored := sha256.Sum256(client)
	signature := mac(stored[:], s.first+","+s.serverText+","+without)
	s.proof = make([]byte, len(client))
	for i := range client {
		s.proof[i] = client[i] ^ signature[i]
	}
	return without + ",p=" + base64.StdEncoding.EncodeToString(s.proof)
}

// exchanges are SCRAM exchanges that are not as they should be.
func (w *world) exchanges(t *testing.T) {
	own := w.secrets["app@"+attackerName]
	begun := func(t *testing.T, user string) *raw {
		c := w.dial(t, address()).secure(t)
		c.write(startup("user", user))
		if kind, _, err := c.read(); err != nil || kind != 'R' {
			t.Fatalf("%q, %v", kind, err)
		}
		return c
	}
	refused := func(t *testing.T, c *raw) {
		t.Helper()
		got := c.answers()
		c.judge(t, got)
		if proven(got) || !strings.Contains(got, "FATAL") {
			t.Errorf("it is answered %q", got)
		}
	}
	const good = "n=,r=abcdefghijklmnopqrstuvwx"
	w.attack(t, "an exchange that is right, so that the others are wrong for their reason", func(t *testing.T) {
		c, s := begun(t, "app@"+attackerName), sasl{header: "n,,"}
		if !s.begin(t, c, "SCRAM-SHA-256", good) {
			t.Fatal("it is refused")
		}
		c.write(message('p', s.final(t, own, "n,,", nil)))
		if got := c.answers(); !strings.HasSuffix(got, "ZI") {
			t.Errorf("it is answered %q", got)
		}
	})
	var recorded string
	w.attack(t, "a replayed final message", func(t *testing.T) {
		c, s := begun(t, "app@"+attackerName), sasl{header: "n,,"}
		s.begin(t, c, "SCRAM-SHA-256", good)
		recorded = s.final(t, own, "n,,", nil)
		again := begun(t, "app@"+attackerName)
		other := sasl{header: "n,,"}
		other.begin(t, again, "SCRAM-SHA-256", good)
		again.write(message('p', recorded))
		refused(t, again)
	})
	for name, final := range map[string]func(t *testing.T, s *sasl) string{
		"a nonce that is not the server's": func(t *testing.T, s *sasl) string {
			return s.final(t, own, "n,,", func(string) string { return "abcdefghijklmnopqrstuvwx" })
		},
		"a nonce with one more character": func(t *testing.T, s *sasl) string {
			return s.final(t, own, "n,,", func(n string) string { return n + "x" })
		},
		"no proof": func(t *testing.T, s *sasl) string { return strings.Split(s.final(t, own, "n,,", nil), ",p=")[0] },
		"an empty proof": func(t *testing.T, s *sasl) string {
			return strings.Split(s.final(t, own, "n,,", nil), ",p=")[0] + ",p="
		},
		"a proof of zeros": func(t *testing.T, s *sasl) string {
			return strings.Split(s.final(t, own, "n,,", nil), ",p=")[0] + ",p=" + base64.StdEncoding.EncodeToString(make([]byte, 32))
		},
		"a proof of 31 bytes": func(t *testing.T, s *sasl) string {
			f := s.final(t, own, "n,,", nil)
			return strings.Split(f, ",p=")[0] + ",p=" + base64.StdEncoding.EncodeToString(s.proof[:31])
		},
		"a proof of a megabyte": func(t *testing.T, s *sasl) string {
			return strings.Split(s.final(t, own, "n,,", nil), ",p=")[0] + ",p=" + strings.Repeat("A", 1<<20)
		},
		"a proof that is no base64": func(t *testing.T, s *sasl) string {
			return strings.Split(s.final(t, own, "n,,", nil), ",p=")[0] + ",p=***"
		},
		"a binding that was not announced": func(t *testing.T, s *sasl) string { return s.final(t, own, "y,,", nil) },
		"a binding of another kind":        func(t *testing.T, s *sasl) string { return s.final(t, own, "p=tls-unique,,xxxx", nil) },
		"another's secret":                 func(t *testing.T, s *sasl) string { return s.final(t, w.secrets["writer@"+attackerName], "n,,", nil) },
		"an empty message":                 func(*testing.T, *sasl) string { return "" },
		"odd bytes":                        func(*testing.T, *sasl) string { return "\x00\xff,,,=" },
		"another final attribute":          func(t *testing.T, s *sasl) string { return "v=AAAA,m=x," + s.final(t, own, "n,,", nil) },
	} {
		w.attack(t, "SCRAM: "+name, func(t *testing.T) {
			c, s := begun(t, "app@"+attackerName), sasl{header: "n,,"}
			if !s.begin(t, c, "SCRAM-SHA-256", good) {
				t.Fatal("it is refused")
			}
			c.write(message('p', final(t, &s)))
			refused(t, c)
		})
	}
	w.attack(t, "SCRAM: the attacker's secret for the victim's name", func(t *testing.T) {
		c, s := begun(t, "app@"+victimName), sasl{header: "n,,"}
		s.begin(t, c, "SCRAM-SHA-256", good)
		c.write(message('p', s.final(t, own, "n,,", nil)))
		refused(t, c)
	})
	w.attack(t, "SCRAM: the victim's name in n=, the attacker's secret", func(t *testing.T) {
		c, s := begun(t, "app@"+attackerName), sasl{header: "n,,"}
		s.begin(t, c, "SCRAM-SHA-256", "n=app@1,r=abcdefghijklmnopqrstuvwx")
		c.write(message('p', s.final(t, own, "n,,", nil)))
		got := c.answers()
		c.judge(t, got)
		if !proven(got) {
			return
		}
		// PostgreSQL takes no notice of n=: it must be the startup's user then.
		c.send(query("SELECT secret FROM own"))
		c.judge(t, c.answers())
	})
	for name, a := range map[string]struct{ mechanism, header, first string }{
		"the flag of a client that thinks there is no binding": {"SCRAM-SHA-256", "y,,", good}, "binding by the wrong mechanism": {"SCRAM-SHA-256", "p=tls-server-end-point,,", good}, "the mechanism for binding without any": {"SCRAM-SHA-256-PLUS", "n,,", good},
		"a kind of binding that is none": {"SCRAM-SHA-256-PLUS", "p=tls-nothing,,", good}, "SHA-1": {"SCRAM-SHA-1", "n,,", good}, "PLAIN": {"PLAIN", "", "\x00app@2\x00" + own}, "no mechanism": {"", "n,,", good}, "OAUTHBEARER": {"OAUTHBEARER", "n,,", "\x01auth=Bearer " + own + "\x01\x01"},
		"another to act for": {"SCRAM-SHA-256", "n,a=app@1,", good}, "no nonce": {"SCRAM-SHA-256", "n,,", "n=,r="}, "a nonce of a comma": {"SCRAM-SHA-256", "n,,", "n=,r=,"}, "a mandatory extension": {"SCRAM-SHA-256", "n,,", "m=x," + good}, "no first message": {"SCRAM-SHA-256", "", ""}, "a nonce of 9,000 bytes": {"SCRAM-SHA-256", "n,,", "n=,r=" + strings.Repeat("n", 9000)}, "iterations of the client's": {"SCRAM-SHA-256", "n,,", good + ",i=1000000000"},
	} {
		w.attack(t, "SCRAM: "+name, func(t *testing.T) {
			c, s := begun(t, "app@"+attackerName), sasl{header: a.header}
			if s.begin(t, c, a.mechanism, a.first) {
				if !strings.Contains(s.serverText, "i=4096") && strings.Contains(name, "iterations") {
					t.Errorf("the client chose the iterations: %s", s.serverText)
				}
				c.write(message('p', "c=biws,r=x,p=AAAA"))
			}
			got := c.answers()
			c.judge(t, got)
			if proven(got) {
				t.Errorf("it is answered %q", got)
			}
		})
	}
	w.attack(t, "SCRAM: a query where the proof should be", func(t *testing.T) {
		c, s := begun(t, "app@"+attackerName), sasl{header: "n,,"}
		s.begin(t, c, "SCRAM-SHA-256", good)
		c.write(message('Q', "SELECT 1\x00"))
		refused(t, c)
	})
	w.attack(t, "SCRAM: queries behind a wrong proof", func(t *testing.T) {
		c, s := begun(t, "app@"+attackerName), sasl{header: "n,,"}
		s.begin(t, c, "SCRAM-SHA-256", good)
		c.write(append(message('p', s.final(t, "wrong", "n,,", nil)), message('Q', "DROP TABLE own\x00")...))
		refused(t, c)
	})
}

// throttled guesses: the guesser is slowed down, and nobody else.
func (w *world) throttled(t *testing.T) {
	w.attack(t, "guessing", func(t *testing.T) {
		from := address()
		attempt := func(secret string) (error, time.Duration) {
			c := w.config(t, "app", attackerName, from, nil)
			c.Password = secret
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			start := time.Now()
			conn, err := pgconn.ConnectConfig(ctx, c)
			if err == nil {
				close1(conn)
			}
			return err, time.Since(start)
		}
		for i := range 24 {
			if err, _ := attempt(fmt.Sprint("guess", i)); stateOf(err) != "28P01" {
				t.Fatalf("guess %d: %v", i, err)
			}
		}
		if err, _ := attempt(w.secrets["app@"+attackerName]); stateOf(err) != "28P01" {
			t.Errorf("after 24 wrong guesses the right one is answered %v", err)
		}
		c := w.connect(t, "app", attackerName, nil) // from elsewhere
		if one(t, c, "SELECT 42") != "42" {
			t.Error("others are locked out, too")
		}
		close1(c)
	})
}
