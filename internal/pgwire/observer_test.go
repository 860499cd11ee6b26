package pgwire

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"kimberlite/internal/ident"
)

// counter is an Observer that counts.
type counter struct {
	mu                               sync.Mutex // guards all below
	opened, closed, logins, refusals int
	statements                       map[string]int
}

func (c *counter) ConnectionOpened() { c.mu.Lock(); c.opened++; c.mu.Unlock() }
func (c *counter) ConnectionClosed() { c.mu.Lock(); c.closed++; c.mu.Unlock() }
func (c *counter) Login(_ ident.TenantID, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		c.refusals++
	} else {
		c.logins++
	}
}

func (c *counter) StatementDone(_ ident.TenantID, tag string, _ time.Duration, _ int64, _ error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.statements == nil {
		c.statements = map[string]int{}
	}
	c.statements[tag]++
}

func asPg(err error, e **pgconn.PgError) bool { return errors.As(err, e) }

// eventually polls until ok, or fails the test.
func eventually(tb testing.TB, what string, ok func() bool) {
	tb.Helper()
	deadline := time.Now().Add(10 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		if time.Now().After(deadline) {
			tb.Fatalf("%s: not within 10 s", what)
		}
		<-tick.C
	}
}
