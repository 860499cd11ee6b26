package clienttest

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"kimberlite/internal/testbed"
)

func TestMain(m *testing.M) {
	code := m.Run()
	testbed.RemoveBinary()
	os.Exit(code)
}

// clients are programs that exit with 0 when all went well, given libpq's
// variables.
var clients = []struct {
	name, dir string
	prepare   []string
	run       []string
}{
	{"node", "node", []string{"npm", "ci", "--no-audit", "--no-fund", "--loglevel=error"}, []string{"npm", "test", "--silent"}},
	// Debian's interpreter, since psycopg2 is Debian's package.
	{"psycopg2", "python", nil, []string{"/usr/bin/python3", "psycopg2_test.py"}},
	{"gorm", "gorm", nil, []string{"go", "test", "-count=1", "./..."}},
}

// TestStockClientsWork runs each client against both servers.
func TestStockClientsWork(t *testing.T) {
	postgres := testbed.StartPostgres(t)
	server := testbed.StartKimberlite(t)
	server.CreateTenant(t, 1, "hospital-a")
	secret := server.CreateCredential(t, 1, "app", "owner")
	for _, client := range clients {
		dir := copied(t, client.dir)
		if client.prepare != nil {
			program(t, dir, nil, client.prepare)
		}
		t.Run(client.name+"/PostgreSQL", func(t *testing.T) {
			program(t, dir, postgres.Env("postgres", "postgres"), client.run)
		})
		t.Run(client.name+"/Kimberlite", func(t *testing.T) {
			program(t, dir, server.Env(t, "app", "hospital-a", secret), client.run)
		})
	}
}

func program(t *testing.T, dir string, env, args []string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %v\n%s", args, err, out)
	}
}

// copied copies a client's directory to where it may leave things.
func copied(t *testing.T, dir string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), dir)
	source, err := filepath.Abs(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(to, os.DirFS(source)); err != nil {
		t.Fatal(err)
	}
	return to
}
