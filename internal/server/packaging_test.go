package server

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestThePackagesConfigureThisServer reads what the container sets in its
// environment, and what the unit starts, as the server would.
func TestThePackagesConfigureThisServer(t *testing.T) {
	text, err := os.ReadFile("../../Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	environ := regexp.MustCompile(`KIMBERLITE_[A-Z_]+=[^ \\\n]+`).FindAllString(string(text), -1)
	c, _, err := Load("", environ)
	if err != nil || len(environ) < 4 {
		t.Fatalf("the container's environment %q: %v", environ, err)
	}
	if !strings.Contains(string(text), "VOLUME "+c.Data.Dir+"\n") || !strings.Contains(string(text), "EXPOSE 5433 7443") ||
		!strings.HasSuffix(c.PG.Addr, ":5433") || !strings.HasSuffix(c.RPC.Addr, ":7443") || !isLoopback(c.Operator.Addr) {
		t.Errorf("the container's volume and ports are not those of %+v", c)
	}
	for _, part := range []string{"USER 65532", "nonroot", `"health"]`, `CMD ["serve"]`} {
		if !strings.Contains(string(text), part) {
			t.Errorf("the Dockerfile has no %q", part)
		}
	}
	unit, err := os.ReadFile("../../packaging/kimberlite.service")
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"Type=notify", "serve --config /etc/kimberlite/kimberlite.toml", "StateDirectory=kimberlite\n", "LimitCORE=0", "NoNewPrivileges=yes", "KillMode=mixed"} {
		if !strings.Contains(string(unit), part) {
			t.Errorf("the unit has no %q", part)
		}
	}
	if Default().Data.Dir != "/var/lib/kimberlite" {
		t.Error("the unit's state directory is not the default data directory")
	}
}
