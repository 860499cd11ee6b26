package pgwire

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/binary"

	"kimberlite/internal/fault"
)

// Lengths of the secret that cancels a session's statement.
const (
	keyBytes     = 4  // protocol 3.0 has room for no more
	longKeyBytes = 32 // protocol 3.2
)

// newCancelKey returns a secret that only the session's client is told.
func newCancelKey(minor uint32) []byte {
	n := keyBytes
	if minor >= 2 {
		n = longKeyBytes
	}
	key := make([]byte, n)
	_, _ = rand.Read(key) // never fails: crypto/rand ends the process first
	return key
}

// newProcessID returns a number that is no running session's. It is drawn, so
// that it tells nothing about other tenants' sessions.
func newProcessID(taken func(uint32) bool) (uint32, error) {
	var b [4]byte
	for range 64 {
		_, _ = rand.Read(b[:]) // as above
		// Positive as an int32: drivers read it as one.
		if pid := binary.BigEndian.Uint32(b[:]) & 0x7fffffff; pid != 0 && !taken(pid) {
			return pid, nil
		}
	}
	return 0, fault.New("login", fault.Unavailable, "no process id is free: try again")
}

// cancel carries out a CancelRequest. Nobody is told what came of it: neither
// whether there is such a session nor whether the key was right.
func (s *Server) cancel(pid uint32, key []byte) {
	c := s.session(pid)
	var want []byte
	if c == nil {
		want = make([]byte, len(key)) // compare all the same
	} else {
		want = c.key
	}
	if subtle.ConstantTimeCompare(want, key) == 1 && c != nil {
		c.cancelStatement(errUserCancel)
	}
}
