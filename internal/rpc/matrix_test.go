package rpc

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	_ "kimberlite/gen/kimberlite/v1" // its descriptors
)

// eachMethod visits every method of every service of the interface, as the
// descriptors have them, so that a new one cannot be forgotten.
func eachMethod(t *testing.T, fn func(procedure string, m protoreflect.MethodDescriptor)) {
	t.Helper()
	n := 0
	protoregistry.GlobalFiles.RangeFilesByPackage("kimberlite.v1", func(f protoreflect.FileDescriptor) bool {
		for i := range f.Services().Len() {
			s := f.Services().Get(i)
			for j := range s.Methods().Len() {
				n++
				fn("/"+string(s.FullName())+"/"+string(s.Methods().Get(j).Name()), s.Methods().Get(j))
			}
		}
		return true
	})
	if n < 30 {
		t.Fatalf("found %d methods: the test looks at the wrong place", n)
	}
}

// answered is what a plain HTTP call came to.
type answered struct {
	status     int
	code, text string
	header     http.Header
}

// post calls a method as curl would, and reads at most the first message of a
// stream.
func (b *bench) post(procedure, token, contentType, body string) answered {
	b.t.Helper()
	r, err := http.NewRequestWithContext(b.t.Context(), http.MethodPost, b.url+procedure, strings.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	r.Header.Set("Content-Type", contentType)
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: b.ca}}}
	defer client.CloseIdleConnections()
	answer, err := client.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	out := answered{status: answer.StatusCode, header: answer.Header}
	if strings.HasPrefix(contentType, "application/connect+") && len(text) > 5 {
		text = text[5:] // the first frame's head
	}
	var doc struct {
		Code  string `json:"code"`
		Error struct {
			Code string `json:"code"`
		} `json:"error"`
	}
	_ = json.NewDecoder(bytes.NewReader(text)).Decode(&doc) // whatever else it is has no code
	out.text = string(text)
	if out.code = doc.Code; out.code == "" {
		out.code = doc.Error.Code
	}
	return out
}

// call calls a method of either sort with a JSON message.
func (b *bench) call(m protoreflect.MethodDescriptor, procedure, token, message string) answered {
	b.t.Helper()
	if !m.IsStreamingServer() {
		return b.post(procedure, token, "application/json", message)
	}
	head := []byte{0, 0, 0, byte(len(message) >> 8), byte(len(message))}
	return b.post(procedure, token, "application/connect+json", string(head)+message)
}

// aboutTenant makes a message that names a tenant, of a request that can.
func aboutTenant(m protoreflect.MethodDescriptor, id string) (message string, ok bool) {
	for _, field := range []string{"tenant", "id"} {
		if f := m.Input().Fields().ByName(protoreflect.Name(field)); f != nil && f.Kind() == protoreflect.Uint64Kind {
			return `{"` + field + `":"` + id + `"}`, true
		}
	}
	return "{}", false
}

func TestEveryMethodHasARule(t *testing.T) {
	t.Parallel()
	eachMethod(t, func(procedure string, _ protoreflect.MethodDescriptor) {
		if methods[procedure] == 0 {
			t.Errorf("%s is in no line of the table of who may call what", procedure)
		}
	})
}

func TestNothingIsAnsweredWithoutACredential(t *testing.T) {
	t.Parallel()
	b := newBench(t, Limits{})
	forged := b.secrets["owner1"][:len(b.secrets["owner1"])-1] + "!"
	moved := strings.Replace(b.secrets["owner1"], "kmb_1_", "kmb_2_", 1)
	eachMethod(t, func(procedure string, m protoreflect.MethodDescriptor) {
		message, _ := aboutTenant(m, "1")
		for name, token := range map[string]string{"none": "", "forged": forged, "moved": moved, "nonsense": "x"} {
			if got := b.call(m, procedure, token, message); got.code != "unauthenticated" && got.code != "resource_exhausted" {
				t.Errorf("%s with the token %s: %d %s", procedure, name, got.status, got.text)
			}
		}
	})
}

// TestNoPrincipalReachesAnotherTenant calls every method with the credentials
// of every role of tenant 1 for tenant 2, and for a tenant that is not there:
// the two are refused alike.
func TestNoPrincipalReachesAnotherTenant(t *testing.T) {
	t.Parallel()
	b := newBench(t, Limits{})
	eachMethod(t, func(procedure string, m protoreflect.MethodDescriptor) {
		other, ok := aboutTenant(m, "2")
		if !ok {
			return
		}
		nobody, _ := aboutTenant(m, "999")
		for role := range roleNames {
			token := b.secrets[role+"1"]
			got, absent := b.call(m, procedure, token, other), b.call(m, procedure, token, nobody)
			if got.code != "permission_denied" || got.status != absent.status || got.code != absent.code || stripID(got) != stripID(absent) {
				t.Errorf("%s as the %s of another tenant: %s\nof one that is not there: %s", procedure, role, got.text, absent.text)
			}
		}
	})
	byName := func(name string) answered {
		return b.post("/kimberlite.v1.TenantService/GetTenant", b.secrets["owner1"], "application/json", `{"name":"`+name+`"}`)
	}
	if got, absent := byName("hospital-2"), byName("nobody"); got.code != "permission_denied" || stripID(got) != stripID(absent) {
		t.Errorf("by name: %s\nof one that is not there: %s", got.text, absent.text)
	}
	if got := byName("hospital-1"); got.status != http.StatusOK {
		t.Errorf("by its own name: %s", got.text)
	}
	list := b.post("/kimberlite.v1.TenantService/ListTenants", b.secrets["owner1"], "application/json", `{"pageToken":"0","pageSize":1000}`)
	if strings.Contains(list.text, "hospital-2") || !strings.Contains(list.text, "hospital-1") {
		t.Errorf("the list of a tenant's owner: %s", list.text)
	}
}

// stripID is an answer without its request's id.
func stripID(a answered) string {
	text, _, _ := strings.Cut(a.text, `"details"`)
	return text
}

// TestOperatorsReachNoData calls every method of rows and streams as an
// operator.
func TestOperatorsReachNoData(t *testing.T) {
	t.Parallel()
	b := newBench(t, Limits{})
	eachMethod(t, func(procedure string, m protoreflect.MethodDescriptor) {
		switch m.Parent().Name() {
		case "SQLService", "TransactionService", "StreamService":
		default:
			return
		}
		message, _ := aboutTenant(m, "1")
		for _, text := range []string{message, "{}"} {
			if got := b.call(m, procedure, b.secrets["operator"], text); got.code != "permission_denied" {
				t.Errorf("%s as an operator: %s", procedure, got.text)
			}
		}
	})
}

// TestRolesMayCallWhatTheirRuleSays calls every method as every role for its
// own tenant, and compares who is denied with a table of its own.
func TestRolesMayCallWhatTheirRuleSays(t *testing.T) {
	t.Parallel()
	b := newBench(t, Limits{})
	denied := map[string]string{ // method to the roles that must be denied
		"CreateTenant": "owner writer reader auditor", "UpdateTenant": "owner writer reader auditor",
		"RebuildProjection": "writer reader auditor", "CreateStream": "writer reader auditor",
		"Exec": "reader auditor", "ExecBatch": "reader auditor", "Append": "reader auditor", "Read": "auditor", "Tail": "auditor",
		"CreateCredential": "writer reader auditor", "ListCredentials": "writer reader auditor", "RevokeCredential": "writer reader auditor",
		"CreateOperator": "owner writer reader auditor", "ListOperators": "owner writer reader auditor", "RevokeOperator": "owner writer reader auditor",
		"GetKeyStatus": "writer reader auditor", "RotateKey": "writer reader auditor",
		"ListEntries": "writer reader", "TailEntries": "writer reader", "GetHealth": "owner writer reader auditor",
	}
	const everyRole = "owner writer reader auditor"
	cluster := 0
	eachMethod(t, func(_ string, m protoreflect.MethodDescriptor) {
		if m.Parent().Name() == "ClusterService" {
			denied[string(m.Name())] = everyRole
			cluster++
		}
	})
	if cluster < 15 {
		t.Errorf("%d methods of the cluster: the test looks at the wrong place", cluster)
	}
	eachMethod(t, func(procedure string, m protoreflect.MethodDescriptor) {
		for role := range roleNames {
			want := strings.Contains(" "+denied[string(m.Name())]+" ", " "+role+" ")
			if !want && m.IsStreamingServer() && strings.HasPrefix(string(m.Name()), "Tail") {
				continue // it would go on for ever
			}
			got := b.call(m, procedure, b.secrets[role+"1"], "{}")
			if (got.code == "permission_denied") != want {
				t.Errorf("%s as %s: denied is to be %v: %s", procedure, role, want, got.text)
			}
		}
	})
	sql := func(role, text string) string {
		return b.post("/kimberlite.v1.SQLService/Exec", b.secrets[role+"1"], "application/json", `{"sql":"`+text+`"}`).code
	}
	if code := sql("owner", "CREATE TABLE t(a)"); code != "" {
		t.Fatalf("the owner: %s", code)
	}
	for _, c := range []struct{ role, text, code string }{
		{"writer", "INSERT INTO t VALUES (1)", ""}, {"writer", "CREATE TABLE u(a)", "permission_denied"},
		{"reader", "INSERT INTO t VALUES (1)", "permission_denied"}, {"auditor", "SELECT * FROM t", "permission_denied"},
	} {
		if code := sql(c.role, c.text); code != c.code {
			t.Errorf("%s as %s: %q, want %q", c.text, c.role, code, c.code)
		}
	}
}

func TestATransactionIsItsCredentialsOwn(t *testing.T) {
	t.Parallel()
	b := newBench(t, Limits{})
	began := b.post("/kimberlite.v1.TransactionService/Begin", b.secrets["owner1"], "application/json", "{}")
	var doc struct{ Transaction string }
	if err := json.Unmarshal([]byte(began.text), &doc); err != nil || doc.Transaction == "" {
		t.Fatalf("%s: %v", began.text, err)
	}
	for _, who := range []string{"writer1", "owner2"} {
		for _, c := range []struct{ method, message string }{
			{"TransactionService/Commit", `{"transaction":"` + doc.Transaction + `"}`},
			{"SQLService/Exec", `{"sql":"SELECT 1","transaction":"` + doc.Transaction + `"}`},
			{"SQLService/QueryAll", `{"sql":"SELECT 1","transaction":"` + doc.Transaction + `"}`},
			{"StreamService/Append", `{"stream":"s","transaction":"` + doc.Transaction + `"}`},
		} {
			if got := b.post("/kimberlite.v1."+c.method, b.secrets[who], "application/json", c.message); got.code != "failed_precondition" {
				t.Errorf("%s as %s: %s", c.method, who, got.text)
			}
		}
		b.post("/kimberlite.v1.TransactionService/Rollback", b.secrets[who], "application/json", `{"transaction":"`+doc.Transaction+`"}`)
	}
	if got := b.post("/kimberlite.v1.TransactionService/Commit", b.secrets["owner1"], "application/json", `{"transaction":"`+doc.Transaction+`"}`); got.status != http.StatusOK {
		t.Errorf("its own: %s", got.text)
	}
}
