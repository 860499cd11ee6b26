package wireattack

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// TestRPCReachesNoOtherTenant makes the calls that reach for another tenant,
// with the attacker's token and with forged ones.
func TestRPCReachesNoOtherTenant(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.everyMethod(t)
	w.forgedTokens(t)
	w.malformed(t)
	w.sqlByRPC(t)
	w.finish(t)
}

// calls are every method, with TENANT where it names one.
var calls = []struct{ method, body string }{
	{"TenantService/GetTenant", `{"id":"TENANT"}`}, {"TenantService/GetTenant", `{"name":"NAME"}`}, {"TenantService/ListTenants", `{}`}, {"TenantService/ListTenants", `{"pageSize":1000,"pageToken":"TENANT"}`}, {"TenantService/UpdateTenant", `{"id":"TENANT","maxLogSize":"1"}`}, {"TenantService/UpdateTenant", `{"id":"TENANT","name":"taken"}`}, {"TenantService/CreateTenant", `{"id":"TENANT","name":"NAME"}`}, {"TenantService/CreateTenant", `{"id":"77","name":"new"}`},
	{"TenantService/GetUsage", `{"id":"TENANT"}`}, {"TenantService/Verify", `{"id":"TENANT"}`}, {"TenantService/RebuildProjection", `{"id":"TENANT"}`},
	{"SQLService/Exec", `{"tenant":"TENANT","sql":"SELECT * FROM own"}`}, {"SQLService/Exec", `{"tenant":"TENANT","sql":"DELETE FROM own"}`}, {"SQLService/ExecBatch", `{"tenant":"TENANT","sql":"INSERT INTO own(n) VALUES (?)","rows":[{"values":[{"integer":"1"}]}]}`}, {"SQLService/QueryAll", `{"tenant":"TENANT","sql":"SELECT * FROM own"}`},
	{"StreamService/CreateStream", `{"tenant":"TENANT","name":"planted"}`}, {"StreamService/ListStreams", `{"tenant":"TENANT"}`}, {"StreamService/Append", `{"tenant":"TENANT","stream":"feed","messages":[{"data":"eA=="}]}`}, {"StreamService/Read", `{"tenant":"TENANT","stream":"feed"}`}, {"StreamService/Read", `{"tenant":"TENANT","stream":"STREAM"}`},
	{"TransactionService/Begin", `{"tenant":"TENANT"}`}, {"KeyService/GetKeyStatus", `{"tenant":"TENANT"}`}, {"KeyService/RotateKey", `{"tenant":"TENANT","level":"KEY_LEVEL_KEK"}`},
	{"CredentialService/CreateCredential", `{"tenant":"TENANT","name":"planted","role":"ROLE_OWNER"}`}, {"CredentialService/ListCredentials", `{"tenant":"TENANT"}`}, {"CredentialService/RevokeCredential", `{"tenant":"TENANT","name":"app"}`},
	{"CredentialService/CreateOperator", `{"name":"planted"}`}, {"CredentialService/ListOperators", `{}`}, {"CredentialService/RevokeOperator", `{"name":"dev"}`}, {"AuditService/ListEntries", `{"tenant":"TENANT"}`},
}

// ask calls and judges what came back.
func (w *world) ask(t testing.TB, who, method, body string) reply {
	t.Helper()
	r := w.rpc(t, who, method, body)
	w.judgeReply(t, method, body, r)
	return r
}

func (w *world) judgeReply(t testing.TB, method, body string, r reply) {
	t.Helper()
	text := r.everything()
	if found := leak(text); found != "" && !strings.Contains(body, mark) {
		t.Errorf("%s: something of the victim's came back (%s): %.2000q", method, found, text)
	}
	if r.status >= 500 && r.status != http.StatusNotImplemented && r.status != http.StatusServiceUnavailable || bytes.Contains(text, []byte("goroutine")) || pathLike.Match(text) {
		t.Errorf("%s: it is answered %d %.500s", method, r.status, text)
	}
}

// everyMethod calls each method for the victim and for a tenant that is not
// there: both are refused, and alike.
func (w *world) everyMethod(t *testing.T) {
	for _, who := range []string{"app@" + attackerName, "auditor@" + attackerName} {
		for _, c := range calls {
			w.attack(t, who+" calls "+c.method+" "+c.body, func(t *testing.T) {
				fill := func(id, name, stream string) string {
					return strings.NewReplacer("TENANT", id, "NAME", name, "STREAM", stream).Replace(c.body)
				}
				there := w.ask(t, who, c.method, fill("1", victimName, mark+"-stream"))
				nowhere := w.ask(t, who, c.method, fill("9", mark+"-wictim", mark+"-strean"))
				if there.status == http.StatusOK && c.method != "TenantService/ListTenants" { // which lists its own
					t.Errorf("it is allowed: %s", there.body)
				}
				if there.status != nowhere.status || !bytes.Equal(unnamed(there.body), unnamed(nowhere.body)) {
					t.Errorf("it tells whether there is such a tenant:\n%d %s\n%d %s", there.status, there.body, nowhere.status, nowhere.body)
				}
			})
		}
	}
	w.attack(t, "a transaction of the victim's", func(t *testing.T) {
		begun := w.rpc(t, "app@"+victimName, "TransactionService/Begin", `{"tenant":"1"}`).ok(t)
		_, id, _ := strings.Cut(begun, `"transaction":"`)
		id, _, _ = strings.Cut(id, `"`)
		for method, body := range map[string]string{
			"TransactionService/Commit": `{"transaction":"ID"}`, "TransactionService/Rollback": `{"transaction":"ID"}`, "SQLService/Exec": `{"tenant":"2","transaction":"ID","sql":"DELETE FROM own"}`, "SQLService/QueryAll": `{"tenant":"2","transaction":"ID","sql":"SELECT * FROM own"}`, "StreamService/Append": `{"tenant":"2","transaction":"ID","stream":"feed","messages":[{"data":"eA=="}]}`,
		} {
			there, nowhere := w.ask(t, "app@"+attackerName, method, strings.ReplaceAll(body, "ID", id)), w.ask(t, "app@"+attackerName, method, strings.ReplaceAll(body, "ID", strings.Repeat("A", len(id))))
			if there.status == http.StatusOK && method != "TransactionService/Rollback" || there.status != nowhere.status {
				t.Errorf("%s: %d %s, and for no transaction %d", method, there.status, there.body, nowhere.status)
			}
		}
		w.rpc(t, "app@"+victimName, "SQLService/QueryAll", `{"tenant":"1","transaction":"`+id+`","sql":"SELECT 1"}`).ok(t)
		w.rpc(t, "app@"+victimName, "TransactionService/Rollback", `{"transaction":"`+id+`"}`).ok(t)
	})
}

// unnamed is an answer without what tells one call from another.
func unnamed(body []byte) []byte {
	text := string(body)
	for _, name := range []string{victimName, mark + "-wictim", mark + "-stream", mark + "-strean"} {
		text = strings.ReplaceAll(text, name, "NAME")
	}
	if i := strings.Index(text, `"details"`); i >= 0 {
		text = text[:i] // it has the call's own id
	}
	return []byte(strings.NewReplacer("tenant 1", "tenant", "tenant 9", "tenant").Replace(text))
}

// forgedTokens presents tokens that were never given.
func (w *world) forgedTokens(t *testing.T) {
	own := w.secrets["app@"+attackerName]
	parts := strings.Split(own, "_")
	victim := strings.Split(w.secrets["app@"+victimName], "_")
	for name, token := range map[string]string{
		"none": "", "the attacker's secret for the victim": strings.Join([]string{"kmb", victim[1], victim[2], parts[3]}, "_"), "the victim's tenant": strings.Join([]string{"kmb", "1", parts[2], parts[3]}, "_"), "as an operator": "kmb_op_1_" + parts[3], "half of each": w.secrets["app@"+victimName][:len(own)/2] + own[len(own)/2:],
		"the secret's head alone": own[:len(own)-1], "a character more": own + "0", "two": own + " " + own, "with a comma": own + ", Bearer x", "in capitals": strings.ToUpper(own), "SQL": "' OR 1=1 --", "odd bytes": "\x01\x02", "100 KB": "kmb_1_1_" + strings.Repeat("A", 100<<10), "1,000 parts": strings.Repeat("kmb_", 1000),
		"a negative tenant": "kmb_-1_1_" + parts[3], "a large tenant": "kmb_18446744073709551617_1_" + parts[3], "a tenant with zeros": "kmb_01_" + parts[2] + "_" + parts[3], "another's of the same tenant": strings.Join([]string{parts[0], parts[1], "2", parts[3]}, "_"),
	} {
		w.attack(t, "token: "+name, func(t *testing.T) {
			for _, c := range []int{0, 14, 24, 28} {
				r := w.ask(t, token, calls[c].method, strings.NewReplacer("TENANT", "1").Replace(calls[c].body))
				if r.status == http.StatusOK {
					t.Errorf("%s is answered %s", calls[c].method, r.body)
				}
			}
		})
	}
	w.attack(t, "the right token after the forged ones, as another scheme", func(t *testing.T) {
		for _, header := range []string{"Basic " + base64.StdEncoding.EncodeToString([]byte("app@2:"+own)), "bearer" + own, own, "Bearer\t" + own + "\t", "Negotiate " + own} {
			rq, err := http.NewRequestWithContext(context.Background(), http.MethodPost, "https://"+w.k.RPC+"/kimberlite.v1.TenantService/GetTenant", strings.NewReader(`{"id":"1"}`))
			if err != nil {
				t.Fatal(err)
			}
			rq.Header = http.Header{"Content-Type": {"application/json"}, "Authorization": {header}, "X-Forwarded-For": {"127.0.0.1"}, "X-Tenant": {"1"}, "Tenant-Id": {"1"}}
			r := w.do(t, rq)
			w.judgeReply(t, header[:5], "", r)
			if r.status == http.StatusOK {
				t.Errorf("%.10s: %s", header, r.body)
			}
		}
	})
}

// malformed sends what is no message.
func (w *world) malformed(t *testing.T) {
	who := "app@" + attackerName
	frame := func(flags byte, length uint32, body string) []byte {
		return append([]byte{flags, byte(length >> 24), byte(length >> 16), byte(length >> 8), byte(length)}, body...)
	}
	for name, c := range map[string]struct {
		contentType string
		body        []byte
	}{
		"JSON that is cut": {"application/json", []byte(`{"tenant":"2","sql":"SEL`)}, "JSON that is deep": {"application/json", []byte(strings.Repeat(`{"args":[`, 100_000))}, "JSON of 40 MB": {"application/json", []byte(`{"tenant":"2","sql":"` + strings.Repeat("x", 40<<20) + `"}`)}, "JSON of a million arguments": {"application/json", []byte(`{"tenant":"2","sql":"SELECT 1","args":[{}` + strings.Repeat(`,{}`, 1_000_000) + `]}`)},
		"a field twice": {"application/json", []byte(`{"tenant":"2","tenant":"1","sql":"SELECT * FROM own"}`)}, "an unknown field": {"application/json", []byte(`{"tenant":"2","tenantId":"1","sql":"SELECT 1"}`)}, "a tenant as a float": {"application/json", []byte(`{"tenant":1.0000000000001,"sql":"SELECT 1"}`)}, "a tenant that overflows": {"application/json", []byte(`{"tenant":"18446744073709551617","sql":"SELECT * FROM own"}`)}, "a negative tenant": {"application/json", []byte(`{"tenant":"-1","sql":"SELECT 1"}`)}, "a tenant of both kinds": {"application/json", []byte(`{"tenant":["2","1"],"sql":"SELECT 1"}`)},
		"nothing": {"application/json", nil}, "null": {"application/json", []byte("null")}, "no JSON": {"application/json", []byte("<xml/>")}, "protobuf that is none": {"application/proto", []byte("\xff\xff\xff\xff\xff")}, "protobuf of a length of 2 GiB": {"application/proto", []byte("\x12\xff\xff\xff\xff\x07x")}, "protobuf of groups": {"application/proto", bytes.Repeat([]byte{0x0b}, 1<<20)},
		"a gRPC frame that is cut": {"application/grpc", frame(0, 100, "x")}, "a gRPC frame of 4 GiB": {"application/grpc", frame(0, 1<<32-1, "x")}, "a gRPC frame of odd flags": {"application/grpc", frame(0xff, 1, "x")}, "a gRPC frame that says it is compressed": {"application/grpc", frame(1, 3, "xyz")}, "no gRPC frame": {"application/grpc", nil}, "100,000 gRPC frames": {"application/grpc", bytes.Repeat(frame(0, 0, ""), 100_000)}, "a gRPC head that is cut": {"application/grpc", []byte{0, 0}},
		"gRPC-Web": {"application/grpc-web+proto", frame(0, 1<<30, "x")}, "a type that is none": {"text/html", []byte("x")}, "a type of a megabyte": {"application/" + strings.Repeat("x", 100<<10), []byte("{}")}, "a stream's frame": {"application/connect+json", frame(0, 1<<31, "{}")},
	} {
		w.attack(t, "malformed: "+name, func(t *testing.T) {
			for _, method := range []string{"SQLService/Exec", "SQLService/Query"} {
				r := w.post(t, who, method, c.contentType, c.body)
				text := r.everything()
				if found := leak(text); found != "" || bytes.Contains(text, []byte("goroutine")) || bytes.Contains(text, []byte("7919")) {
					t.Errorf("%s: %.1000q", method, text)
				}
			}
		})
	}
	for _, path := range []string{"/", "/kimberlite.v1.TenantService", "/kimberlite.v1.TenantService/../SQLService/Exec", "/kimberlite.v1.SQLService/exec", "/kimberlite.v1.SQLService/Exec%00", "/debug/pprof/", "/debug/pprof/heap", "/metrics", "/..%2f..%2fetc/passwd", "//kimberlite.v1.TenantService/ListTenants", "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", "/dev/operator.token", "/" + strings.Repeat("x", 100<<10)} {
		w.attack(t, fmt.Sprintf("path %.60s", path), func(t *testing.T) {
			for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodOptions, http.MethodTrace, "CONNECT"} {
				rq, err := http.NewRequestWithContext(context.Background(), method, "https://"+w.k.RPC+path, strings.NewReader("{}"))
				if err != nil {
					return
				}
				rq.Header = http.Header{"Content-Type": {"application/json"}, "Authorization": {"Bearer " + w.secrets[who]}}
				r := w.do(t, rq)
				text := r.everything()
				if found := leak(text); found != "" || bytes.Contains(text, []byte("goroutine")) || bytes.Contains(text, []byte("kmb_op")) {
					t.Errorf("%s: %d %.1000q", method, r.status, text)
				}
			}
		})
	}
}

// sqlByRPC sends SQLite's own dialect, which this door speaks.
func (w *world) sqlByRPC(t *testing.T) {
	for _, sql := range []string{
		`ATTACH '../1/projection.db' AS x`, `ATTACH ':memory:' AS x`, `VACUUM INTO '/tmp/k2leak.db'`, `PRAGMA database_list`, `PRAGMA writable_schema = 1`, `SELECT load_extension('x')`, `SELECT readfile('/etc/passwd')`, `SELECT * FROM _kimberlite_meta`, `SELECT * FROM sqlite_dbpage`, `CREATE VIRTUAL TABLE x USING csv(filename='/etc/passwd')`,
		`SELECT * FROM sqlite_schema`, `SELECT * FROM kimberlite.events`, `SELECT * FROM kimberlite.audit`, `SELECT * FROM kimberlite.usage`, `SELECT * FROM kimberlite.streams`, `SELECT json_extract('{}', secret) FROM own`, `SELECT zeroblob(2147483647)`, `SELECT hex(hex(hex(zeroblob(5000000))))`, `SELECT 1; ATTACH 'x' AS y`, `INSERT INTO own(secret) SELECT secret FROM own`,
	} {
		w.attack(t, "SQL by RPC: "+sql, func(t *testing.T) {
			body := fmt.Sprintf(`{"tenant":"2","sql":%q}`, sql)
			for _, method := range []string{"SQLService/Exec", "SQLService/QueryAll"} {
				r := w.ask(t, "app@"+attackerName, method, body)
				if r.status != http.StatusOK && bytes.Contains(r.body, []byte(ownMark)) {
					t.Errorf("the error tells row data: %s", r.body)
				}
				if r.status == http.StatusOK && (strings.Contains(sql, "TTACH") || strings.Contains(sql, "VACUUM") || strings.Contains(sql, "_kimberlite")) {
					t.Errorf("it is allowed: %s", r.body)
				}
			}
		})
	}
}
