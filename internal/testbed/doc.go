// Package testbed starts the real things that tests and benchmarks talk to: the
// kimberlite command as a process of its own, and a PostgreSQL 15 as the
// yardstick. Everything it starts ends with the test, and lives on loopback
// and in the test's temporary directory.
//
// It imports nothing of the product, so that what it starts is what a user
// starts. Only tests import it.
package testbed

import (
	"net"
	"strconv"
	"testing"
	"time"
)

// Deadline is how long anything started here may take to answer.
const Deadline = 30 * time.Second

// freeAddress returns a loopback address that nobody listens on now.
func freeAddress(tb testing.TB) string {
	tb.Helper()
	listener, err := (&net.ListenConfig{}).Listen(tb.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer func() { _ = listener.Close() }() // nothing was written
	return listener.Addr().String()
}

func portOf(tb testing.TB, address string) int {
	tb.Helper()
	_, text, err := net.SplitHostPort(address)
	if err != nil {
		tb.Fatal(err)
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		tb.Fatal(err)
	}
	return port
}

// until calls ready until it says yes, or fails the test at the deadline.
func until(tb testing.TB, what string, ready func() bool) {
	tb.Helper()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	deadline := time.After(Deadline)
	for !ready() {
		select {
		case <-ticker.C:
		case <-deadline:
			tb.Fatalf("%s: not within %s", what, Deadline)
		}
	}
}
