package server

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"kimberlite/internal/fault"
	"kimberlite/internal/projection"
)

// plain is what a file must say so that a server starts without certificates.
const plain = "[pg]\nallow_plaintext = true\n[rpc]\nallow_plaintext = true\n"

func writeConfig(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "kimberlite.toml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestEveryKeyHasADefaultWithinItsBoundsAndSaysWhatItDoes(t *testing.T) {
	names := regexp.MustCompile(`^[a-z][a-z_]*$`)
	for _, k := range Default().keys() {
		if !names.MatchString(k.name) || k.doc == "" || strings.HasSuffix(k.doc, ".") {
			t.Errorf("%s: a key wants a name in snake case and a text without a full stop", k.path())
		}
		if k.text() != k.fallback {
			t.Errorf("%s: the default %q is written back as %q", k.path(), k.fallback, k.text())
		}
		if err := k.check(); err != nil {
			t.Error(err)
		}
		if numeric := k.kind() != kindText && k.kind() != kindBool; numeric && (k.least == "" || k.top == "") {
			t.Errorf("%s has no bounds", k.path())
		}
	}
}

func TestTheDefaultsAreTheLimitsOfTheParts(t *testing.T) {
	got, want := Default().Limits, projection.DefaultLimits()
	if got.StatementTimeout != want.StatementTimeout || int(got.MaxStatementSize) != want.MaxStatementBytes ||
		int(got.MaxValueSize) != want.MaxValueBytes || got.MaxResultRows != want.MaxResultRows ||
		int64(got.MaxResultSize) != want.MaxResultBytes || int(got.MaxTransactionSize) != want.MaxTransactionBytes ||
		int64(got.MaxConnectionMemory) != want.MaxMemoryBytes {
		t.Errorf("%+v, the projection has %+v", got, want)
	}
}

func TestTheDefaultFileIsTheDefaultsAndNeedsOnlyACertificate(t *testing.T) {
	_, _, err := Load(writeConfig(t, DefaultText()), nil)
	if err == nil || !strings.Contains(err.Error(), "pg.tls_cert") {
		t.Fatalf("without a certificate: %v", err)
	}
	text := strings.ReplaceAll(DefaultText(), `tls_cert = ""`, `tls_cert = "a"`)
	c, settings, err := Load(writeConfig(t, strings.ReplaceAll(text, `tls_key = ""`, `tls_key = "b"`)), nil)
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	want.PG.TLSCert, want.PG.TLSKey, want.RPC.TLSCert, want.RPC.TLSKey = "a", "b", "a", "b"
	if *c != *want {
		t.Errorf("%+v, want %+v", c, want)
	}
	for _, s := range settings {
		if s.Source != "file" {
			t.Errorf("%+v", s)
		}
	}
	for line := range strings.Lines(DefaultText()) {
		if len(line) > 82 {
			t.Errorf("a long line: %s", line)
		}
	}
}

func TestTheEnvironmentStandsAboveTheFileAndTheFileAboveTheDefaults(t *testing.T) {
	file := writeConfig(t, plain+"[log]\nlevel = \"warn\"\nformat = \"json\"\n[limits]\nmax_result_rows = 1_000\n[trace]\nsample_ratio = 1\n")
	c, settings, err := Load(file, []string{"KIMBERLITE_LOG_LEVEL=debug", "KIMBERLITE_LIMITS_DISK_RESERVE=1GiB", "KIMBERLITE_PG_ADDR=", "PATH=/bin", "KIMBERLITE_SERVER=https://other", "KIMBERLITE_TOKEN=x"})
	if err != nil {
		t.Fatal(err)
	}
	if c.Log.Level != "debug" || c.Log.Format != "json" || c.Limits.DiskReserve != 1<<30 || c.Limits.MaxResultRows != 1000 ||
		c.PG.Addr != "127.0.0.1:5433" || c.Trace.SampleRatio != 1 || c.PG.AuthTimeout != 10*time.Second {
		t.Errorf("%+v", c)
	}
	want := map[string]Setting{
		"log.level":           {"log.level", "debug", "KIMBERLITE_LOG_LEVEL"},
		"log.format":          {"log.format", "json", "file"},
		"limits.disk_reserve": {"limits.disk_reserve", "1GiB", "KIMBERLITE_LIMITS_DISK_RESERVE"},
		"pg.addr":             {"pg.addr", "127.0.0.1:5433", "default"},
	}
	for _, s := range settings {
		if w, ok := want[s.Key]; ok && w != s {
			t.Errorf("%+v, want %+v", s, w)
		}
	}
	if len(settings) != len(c.keys()) {
		t.Errorf("%d settings of %d keys", len(settings), len(c.keys()))
	}
}

// TestErrorsOfTheConfigurationNameTheKeyTheLineAndTheFix holds each to parts
// of its text.
func TestErrorsOfTheConfigurationNameTheKeyTheLineAndTheFix(t *testing.T) {
	for _, c := range []struct {
		text string
		env  []string
		want []string
	}{
		{"[pg\n", nil, []string{"line 1"}},
		{"[pg]\naddr = \n", nil, []string{"line 2"}},
		{"[pg]\naddr = \"127.0.0.1:1\"\naddr = \"127.0.0.1:2\"\n", nil, []string{"line 3"}},
		{"x = 1\n", nil, []string{"line 1", "x stands in no section", "pg"}},
		{"[postgres]\n", nil, []string{"line 1", "no section [postgres]", "operator"}},
		{"[[pg]]\n", nil, []string{"line 1", "list of sections"}},
		{"[pg.tls]\ncert = \"x\"\n", nil, []string{"line 1", "no section [pg.tls]"}},
		{"\n\n[pg]\nadr = \"127.0.0.1:1\"\n", nil, []string{"line 4", "[pg] has no key adr", "addr"}},
		{"pg.adr = 1\n", nil, []string{"line 1", "[pg] has no key adr"}},
		{"pg = { addr = \"127.0.0.1:1\" }\n", nil, []string{"line 1", "pg stands in no section"}},
		{"[pg]\naddr = 5433\n", nil, []string{"line 2", "pg.addr", "integer", "127.0.0.1:5433"}},
		{"[pg]\naddr = \"5433\"\n", nil, []string{`pg.addr = "5433"`, "127.0.0.1:5433"}},
		{"[pg]\naddr = \"127.0.0.1:99999\"\n", nil, []string{"pg.addr", "0 to 65535"}},
		{"[pg]\naddr = \":5433\"\n", nil, []string{"pg.addr", "0.0.0.0"}},
		{"[pg]\naddr = \"db.example:5433\"\n", nil, []string{"pg.addr", "IP address"}},
		{"[pg]\nmax_connections = 0\n", nil, []string{"pg.max_connections = 0", "1 to 100000"}},
		{"[pg]\nmax_connections = 100001\n", nil, []string{"pg.max_connections = 100001", "1 to 100000"}},
		{"[pg]\nmax_connections = \"many\"\n", nil, []string{"line 2", "pg.max_connections is string", "a number"}},
		{"[pg]\nmax_connections = 10\n" + "max_connections_per_tenant = 11\nallow_plaintext = true\n[rpc]\nallow_plaintext = true", nil, []string{"pg.max_connections_per_tenant = 11", "pg.max_connections = 10"}},
		{"[pg]\nmax_message_size = \"1 furlong\"\n", nil, []string{"line 2", "pg.max_message_size", "64KiB to 1GiB"}},
		{"[pg]\nmax_message_size = 1000000\n", nil, []string{"line 2", "pg.max_message_size is integer", `"16MiB"`}},
		{"[pg]\nauth_timeout = \"0s\"\n", nil, []string{`pg.auth_timeout = "0s"`, "1s to 10m"}},
		{"[pg]\nidle_timeout = \"a while\"\n", nil, []string{"line 2", "pg.idle_timeout", `"30s"`}},
		{"[pg]\nallow_plaintext = \"yes\"\n", nil, []string{"line 2", "pg.allow_plaintext", "true or false"}},
		{"[pg]\ntls_cert = \"x\"\n", nil, []string{"pg.tls_cert and pg.tls_key", "both"}},
		{"[pg]\nallow_plaintext = true\naddr = \"0.0.0.0:5433\"\n[rpc]\nallow_plaintext = true\n", nil, []string{"other machines", "pg.tls_cert"}},
		{"[pg]\nallow_plaintext = true\n", nil, []string{"rpc.tls_cert", "rpc.allow_plaintext"}},
		{"[pg]\nallow_plaintext = true\n[rpc]\naddr = \"10.0.0.1:7443\"\nallow_plaintext = true\n", nil, []string{"rpc.allow_plaintext", "loopback", "10.0.0.1:7443"}},
		{"[rpc]\nallow_plaintext = true\ntls_cert = \"a\"\ntls_key = \"b\"\n[pg]\nallow_plaintext = true", nil, []string{"contradict"}},
		{plain + "[operator]\naddr = \"0.0.0.0:7444\"\n", nil, []string{"operator.addr", "loopback"}},
		{plain + "[operator]\naddr = \"127.0.0.1:5433\"\n", nil, []string{"operator.addr", "pg.addr too"}},
		{plain + "[log]\nlevel = \"loud\"\n", nil, []string{`log.level = "loud"`, "debug, info, warn, error"}},
		{plain + "[trace]\nsample_ratio = 1.5\n", nil, []string{"trace.sample_ratio = 1.5", "0 to 1"}},
		{plain + "[trace]\nsample_ratio = nan\n", nil, []string{"trace.sample_ratio", "0 to 1"}},
		{plain + "[trace]\notlp_endpoint = \"https://me:hunter2@collector\"\n", nil, []string{"trace.otlp_endpoint", "without user"}},
		{plain + "[data]\nmaster_key = \"hashivault://user:hunter2@vault/key\"\n", nil, []string{"data.master_key", "secrets are no part"}},
		{plain + "[data]\nmaster_key = \"hunter2\"\n", nil, []string{"data.master_key", "file:///"}},
		{plain + "[data]\ndir = \"\"\n", nil, []string{"data.dir is empty"}},
		{"pg.addr = \"\"\nrpc.addr = \"\"\n", nil, []string{"needs a door"}},
		{plain + "[limits]\nstatement_timeout = \"1s\"\n[pg]\nstatement_timeout = \"2s\"\n", nil, []string{"line 7"}},
		{"[pg]\nallow_plaintext = true\nstatement_timeout = \"2s\"\n[rpc]\nallow_plaintext = true\n[limits]\nstatement_timeout = \"1s\"\n", nil, []string{"pg.statement_timeout", "limits.statement_timeout"}},
		{"[pg]\nallow_plaintext = true\nmax_message_size = \"64KiB\"\n[rpc]\nallow_plaintext = true\n", nil, []string{"limits.max_value_size", "pg.max_message_size"}},
		{plain + "[cluster]\nlisten = \"node-1:7445\"\n", nil, []string{"cluster.listen", "IP address"}},
		{plain + "[cluster]\nlisten = \"127.0.0.1:7443\"\n", nil, []string{"cluster.listen", "rpc.addr too"}},
		{plain + "[cluster]\nadvertise_peer = \"0.0.0.0:7445\"\n", nil, []string{"cluster.advertise_peer", "others reach it by"}},
		{plain + "[cluster]\nadvertise_pg = \"db.example.com:0\"\n", nil, []string{"cluster.advertise_pg", "1 to 65535"}},
		{plain + "[cluster]\nadvertise_rpc = \"https://db:7443\"\n", nil, []string{"cluster.advertise_rpc"}},
		{plain + "[cluster]\nzone = \"rack 1\"\n", nil, []string{"cluster.zone", "1 to 63"}},
		{plain + "[cluster]\nmove_rate = \"1 furlong\"\n", nil, []string{"cluster.move_rate", "64KiB to 100GiB"}},
		{plain, []string{"KIMBERLITE_CLUSTER_DIRECTORY=x"}, []string{"KIMBERLITE_CLUSTER_DIRECTORY names no key"}},
		{plain, []string{"KIMBERLITE_PG_ADR=x"}, []string{"KIMBERLITE_PG_ADR names no key"}},
		{plain, []string{"KIMBERLITE_PG_MAX_CONNECTIONS=0"}, []string{"KIMBERLITE_PG_MAX_CONNECTIONS", "1 to 100000"}},
		{plain, []string{"KIMBERLITE_PG_IDLE_TIMEOUT=soon"}, []string{"KIMBERLITE_PG_IDLE_TIMEOUT", "pg.idle_timeout", "duration"}},
	} {
		_, _, err := Load(writeConfig(t, c.text), c.env)
		if err == nil {
			t.Errorf("%q is taken", c.text)
			continue
		}
		if !fault.Is(err, fault.Invalid) || strings.Contains(err.Error(), "hunter2") && !strings.Contains(c.text, "\"hunter2\"") {
			t.Errorf("%q: kind %v: %v", c.text, fault.KindOf(err), err)
		}
		for _, part := range c.want {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%q %v:\n%v\nsays nothing of %q", c.text, c.env, err, part)
			}
		}
	}
	if _, _, err := Load(filepath.Join(t.TempDir(), "none.toml"), nil); !fault.Is(err, fault.NotFound) || !strings.Contains(err.Error(), "config init") {
		t.Errorf("a missing file: %v", err)
	}
	if _, _, err := Load(t.TempDir(), nil); !fault.Is(err, fault.Invalid) {
		t.Errorf("a directory: %v", err)
	}
}

// TestAClustersNodeNeedsNoCertificateOfItsOwn: it has one of its deployment's.
func TestAClustersNodeNeedsNoCertificateOfItsOwn(t *testing.T) {
	dir := t.TempDir()
	env := []string{"KIMBERLITE_DATA_DIR=" + dir, "KIMBERLITE_PG_ADDR=0.0.0.0:5433"}
	if _, _, err := Load("", env); err == nil || !strings.Contains(err.Error(), "pg.tls_cert") {
		t.Errorf("a node on its own: %v", err)
	}
	c, err := LoadMember("", env, func(c *Config) { c.Cluster.Zone = "rack-1" })
	if err != nil {
		t.Fatal(err)
	}
	if c.Cluster.Listen != defaultListen || c.Cluster.Zone != "rack-1" {
		t.Errorf("%+v", c.Cluster)
	}
	if err := os.MkdirAll(filepath.Join(dir, "cluster"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "cluster/identity.json"), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if c, _, err = Load("", env); err != nil {
		t.Fatal(err)
	}
	want := filepath.Join(dir, "cluster/node.crt")
	if cert, _ := c.pgPair(); cert != want {
		t.Errorf("the certificate for PostgreSQL is %q", cert)
	}
	if cert, _ := c.rpcPair(); cert != want {
		t.Errorf("the certificate for the RPC is %q", cert)
	}
	c.PG.TLSCert, c.PG.TLSKey = "own.crt", "own.key"
	if cert, _ := c.rpcPair(); cert != "own.crt" {
		t.Errorf("with a certificate of its own it is %q", cert)
	}
}

func FuzzConfig(f *testing.F) {
	f.Add(plain)
	f.Add(DefaultText())
	f.Add("pg = { addr = \"x\" }\n[[a]]\n\"x\\u0041\" = 1979-05-27\n")
	f.Fuzz(func(t *testing.T, text string) {
		c := Default()
		if err := c.decode([]byte(text), map[string]string{}); err != nil {
			if !fault.Is(err, fault.Invalid) {
				t.Fatalf("kind %v: %v", fault.KindOf(err), err)
			}
			return
		}
		if err := c.Validate(); err != nil && !fault.Is(err, fault.Invalid) {
			t.Fatal(err)
		}
		for _, k := range c.keys() {
			if k.kind() != kindText {
				before := k.text()
				if err := k.set(before); err != nil || k.text() != before {
					t.Fatalf("%s: %q is not read back: %v", k.path(), before, err)
				}
			}
		}
	})
}
