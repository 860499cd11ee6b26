package node_test

import (
	"runtime"
	"runtime/pprof"
	"strings"
	"testing"
	"time"

	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/node"
	"kimberlite/internal/tenant"
)

func TestClosingTwiceDoesNotDisturbTheNextOpening(t *testing.T) {
	t.Parallel()
	dir := made(t)
	first := open(t, dir)
	closeNode(t, first)
	second := open(t, dir)
	defer closeNode(t, second)
	closeNode(t, first)
	_, err := node.Open(t.Context(), node.Config{Dir: dir})
	refused(t, err, fault.InUse)
	if got := rows(t, second); got != 1 {
		t.Fatalf("%d rows", got)
	}
}

func TestAClosedNodeRefusesEveryCall(t *testing.T) {
	t.Parallel()
	n := open(t, made(t))
	tn, err := n.Tenants().Tenant(ident.MustTenantID(1))
	if err != nil {
		t.Fatal(err)
	}
	closeNode(t, n)
	_, err = tn.Exec(t.Context(), tenant.Request{}, "INSERT INTO t VALUES (2)", nil)
	refused(t, err, fault.Closed)
	_, err = tn.Query(t.Context(), "SELECT * FROM t", nil)
	refused(t, err, fault.Closed)
	_, err = tn.Begin(t.Context())
	refused(t, err, fault.Closed)
}

// Not parallel: it counts the goroutines of the process.
func TestClosingLeavesNothingRunning(t *testing.T) {
	dir := made(t) // whatever starts once a process has started now
	before := runtime.NumGoroutine()
	for range 3 {
		n := open(t, dir)
		if got := rows(t, n); got != 1 {
			t.Fatalf("%d rows", got)
		}
		closeNode(t, n)
	}
	deadline := time.Now().Add(10 * time.Second)
	for runtime.NumGoroutine() > before {
		if time.Now().After(deadline) {
			var all strings.Builder
			_ = pprof.Lookup("goroutine").WriteTo(&all, 1)
			t.Fatalf("%d goroutines, %d before:\n%s", runtime.NumGoroutine(), before, all.String())
		}
		runtime.Gosched()
	}
}
