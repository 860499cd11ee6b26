package node_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/node"
	"kimberlite/internal/tenant"
)

// open opens a directory of the operating system's.
func open(t *testing.T, dir string) *node.Node {
	t.Helper()
	n, err := node.Open(t.Context(), node.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func closeNode(t *testing.T, n *node.Node) {
	t.Helper()
	if err := n.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
}

// fill gives a node a tenant with a row.
func fill(t *testing.T, n *node.Node) {
	t.Helper()
	region, err := ident.NewRegion("us-east")
	if err != nil {
		t.Fatal(err)
	}
	id := ident.MustTenantID(1)
	if err := n.Tenants().Create(t.Context(), tenant.Config{ID: id, Name: "a", Region: region}); err != nil {
		t.Fatal(err)
	}
	tn, err := n.Tenants().Tenant(id)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tn.Exec(t.Context(), tenant.Request{}, "CREATE TABLE t (v); INSERT INTO t VALUES (1)", nil); err != nil {
		t.Fatal(err)
	}
}

// rows returns how many rows fill's table has.
func rows(t *testing.T, n *node.Node) int64 {
	t.Helper()
	tn, err := n.Tenants().Tenant(ident.MustTenantID(1))
	if err != nil {
		t.Fatal(err)
	}
	r, err := tn.Query(t.Context(), "SELECT count(*) FROM t", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if !r.Next() {
		t.Fatal(r.Err())
	}
	return r.Value(0).(int64)
}

// made returns a closed data directory with a tenant and a row in it.
func made(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "data")
	n := open(t, dir)
	fill(t, n)
	closeNode(t, n)
	return dir
}

// refused demands an error of a kind whose text has every one of parts.
func refused(t *testing.T, err error, kind fault.Kind, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("was not refused, want %s", kind)
	}
	if !fault.Is(err, kind) {
		t.Fatalf("%s: %v, want %s", fault.KindOf(err), err, kind)
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Fatalf("%q does not say %q", err, p)
		}
	}
}

// refuse opens a directory, which must fail, and demands that nothing in it
// has changed but the lock.
func refuse(t *testing.T, c node.Config, kind fault.Kind, parts ...string) {
	t.Helper()
	before := tree(t, c.Dir)
	n, err := node.Open(t.Context(), c)
	if err == nil {
		closeNode(t, n)
	}
	refused(t, err, kind, parts...)
	after := tree(t, c.Dir)
	for name, text := range after {
		if before[name] != text {
			t.Errorf("the refused opening changed or made %s", name)
		}
	}
	for name := range before {
		if _, ok := after[name]; !ok {
			t.Errorf("the refused opening removed %s", name)
		}
	}
}

// tree returns every file below dir with its content, the lock left out, and
// every directory.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		switch {
		case errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ENOTDIR):
			return nil
		case err != nil:
			return err
		case d.IsDir():
			all[path] = "a directory"
			return nil
		case d.Name() == "LOCK":
			return nil
		}
		text, err := os.ReadFile(path)
		all[path] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// write writes a file of its owner's alone.
func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
