package main

import (
	"context"
	"encoding/pem"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"kimberlite/internal/access"
	"kimberlite/internal/node"
	"kimberlite/internal/rpc"
)

// shim stands before the command on the path: it gives each call the token
// that it takes. Verbs of rows and streams take an owner's, which is made when
// a tenant is first used; all others the operator's. --data is left out.
const shim = `#!/bin/sh
tenant= last= verb=$1
for arg do
	shift
	case $last in --tenant) tenant=$arg ;; esac
	case $last:$arg in
	--data:*) ;;
	*:--data) ;;
	*) set -- "$@" "$arg" ;;
	esac
	last=$arg
done
KIMBERLITE_TOKEN=$(cat operator)
export KIMBERLITE_TOKEN
case $verb in
sql | load | stream)
	if [ -n "$tenant" ] && [ ! -e "owner.$tenant" ]; then
		REAL credential create --tenant "$tenant" --name "shim-$tenant" --role owner --json 2>/dev/null | sed -n 's/.*"secret": "\(.*\)".*/\1/p' >"owner.$tenant"
		[ -s "owner.$tenant" ] || rm "owner.$tenant"
	fi
	[ ! -e "owner.$tenant" ] || KIMBERLITE_TOKEN=$(cat "owner.$tenant")
	;;
esac
exec REAL "$@"
`

// newServedPlace is a place whose commands act on a server, over TLS.
func newServedPlace(t *testing.T) *place {
	t.Helper()
	p := newPlace(t)
	n, err := node.Open(t.Context(), node.Config{Dir: filepath.Join(p.dir, "served"), ReserveBytes: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	authority, err := access.New(access.Config{Node: n, Floor: -1})
	if err != nil {
		t.Fatal(err)
	}
	secret, err := authority.CreateOperator(t.Context(), "root")
	if err != nil {
		t.Fatal(err)
	}
	handler, err := rpc.New(rpc.Config{Authority: authority, Node: n, Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(handler)
	s.EnableHTTP2 = true
	s.StartTLS()
	t.Cleanup(func() {
		s.Close()
		handler.Close()
	})
	p.write("operator", secret)
	ca := p.write("ca.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})))
	bin := filepath.Join(p.dir, "bin")
	if err := os.Mkdir(bin, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(bin, "kimberlite"), []byte(strings.ReplaceAll(shim, "REAL", binary)), 0o700); err != nil {
		t.Fatal(err)
	}
	p.env = append(p.env, "PATH="+bin+":"+os.Getenv("PATH"), "KIMBERLITE_SERVER="+s.URL, "KIMBERLITE_CA="+ca)
	return p
}

// What a server's tenants have more than those of a directory: records of
// their credentials and of their audit trail.
var ofServer = []struct {
	what *regexp.Regexp
	by   string
}{
	{regexp.MustCompile(`("log_records":|"records":|"head_records":|"log_offset":) ?\d+`), "${1}<n>"},
	{regexp.MustCompile(`\b\d+ records`), "<n> records"},
	{regexp.MustCompile(`retry in 1s`), "retry in <n>ms"},
	{regexp.MustCompile(`<size> \(<n> bytes\)`), "<size>"},
}

// ofDirectories are commands that only a data directory has: they verify its
// files, or name one that is not there.
var ofDirectories = regexp.MustCompile(`kimberlite verify |--data (?:nowhere|NEW)|KIMBERLITE_DATA=`)

// without leaves the commands of directories out of a transcript.
func without(text string) string {
	var out strings.Builder
	skip := false
	for line := range strings.Lines(text) {
		if command, ok := strings.CutPrefix(line, "$ "); ok {
			skip = ofDirectories.MatchString(command)
		}
		if !skip {
			out.WriteString(line)
		}
	}
	return out.String()
}

func likeServer(text string) string {
	for _, u := range ofServer {
		text = u.what.ReplaceAllString(text, u.by)
	}
	return text
}

func TestVerbsPrintTheSameOnAServer(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"key", "load", "quota", "sql", "stream", "tenant"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile("testdata/transcript/" + name + ".txt")
			if err != nil {
				t.Fatal(err)
			}
			want := likeServer(without(string(text)))
			if got := likeServer(replayIn(newServedPlace(t), without(string(text)))); got != want {
				t.Errorf("on a server it is:\n%s", difference(want, got))
			}
		})
	}
}
