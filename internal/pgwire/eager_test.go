package pgwire

import (
	"net"
	"syscall"
	"testing"
	"time"
)

// countingSocket counts how often somebody looks whether something arrived,
// which it always did.
type countingSocket struct {
	syscall.RawConn
	looks int
}

func (c *countingSocket) Read(func(uintptr) bool) error { c.looks++; return nil }

// TestOnlyTheOneClientIsWaitedForEagerly counts the looks of two sessions.
func TestOnlyTheOneClientIsWaitedForEagerly(t *testing.T) {
	var shared eagerness
	session := func() (*waiting, *countingSocket) {
		s := &countingSocket{}
		shared.working.Add(1)
		return &waiting{shared: &shared, socket: s}, s
	}
	a, looksOfA := session()
	b, looksOfB := session()
	request := func(w *waiting, s *countingSocket) (looked bool) {
		before := s.looks
		w.begin()
		looked = s.looks > before
		w.end()
		return looked
	}
	b.begin() // b is there, and has nothing to ask
	for i := range aloneAfter + 1 {
		if request(a, looksOfA) {
			t.Fatalf("a looked after %d requests", i)
		}
	}
	if !request(a, looksOfA) {
		t.Fatal("a is alone and did not look")
	}
	b.end()
	if request(a, looksOfA) {
		t.Fatal("a looked while b was at work")
	}
	b.begin()
	for range 3 * aloneAfter { // in turn
		if request(a, looksOfA) {
			t.Fatal("a looked although b comes in between")
		}
		b.end()
		b.begin()
	}
	if looksOfB.looks > 0 {
		t.Fatal("b was never alone and looked")
	}
	for range aloneAfter + 2 {
		request(a, looksOfA)
	}
	a.begin()
	a.since = time.Now().Add(-time.Second) // a client that thinks
	a.end()
	if request(a, looksOfA) {
		t.Fatal("a looked although its client takes its time")
	}
	if n := shared.working.Load(); n != 1 {
		t.Fatalf("%d sessions at work, and a is", n)
	}
}

// TestAClientThatDoesNotComeIsNotWaitedForEagerlyForLong has nothing arrive.
func TestAClientThatDoesNotComeIsNotWaitedForEagerlyForLong(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	socket, err := server.(syscall.Conn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if arrived(socket) {
		t.Fatal("something arrived that nobody sent")
	}
	var shared eagerness
	shared.working.Add(1)
	w := &waiting{shared: &shared, socket: socket, prompt: true, streak: aloneAfter}
	shared.last.Store(w)
	start := time.Now()
	w.begin()
	if took := time.Since(start); took < eagerFor {
		t.Errorf("it looked for %v", took)
	}
	w.end()
	if _, err := client.Write([]byte("Q")); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(5 * time.Second); !arrived(socket); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("what was sent did not arrive")
		}
	}
	var b [1]byte
	if n, err := server.Read(b[:]); n != 1 || b[0] != 'Q' {
		t.Fatalf("looking took the byte: %v", err)
	}
	if err := server.SetReadDeadline(time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	if !arrived(socket) {
		t.Error("a wait that a deadline ends goes on")
	}
}
