package pgwire

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/binary"

	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
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

// A process id is 31 bits, since drivers read it as a signed number. On a node
// of a cluster the upper ones tell, as far as they can, which node's session it
// is: that is where a request to cancel has to go.
const (
	pidBits       = 31
	pidRandomBits = 19
)

// nodeTag is what process ids tell of a node.
func nodeTag(id ident.NodeID) uint32 {
	return uint32(id.Uint64() % (1 << (pidBits - pidRandomBits))) //nolint:gosec // bounded
}

// newProcessID returns a number that is no running session's. It is drawn, so
// that it tells nothing about other tenants' sessions.
func newProcessID(router Router, taken func(uint32) bool) (uint32, error) {
	var b [4]byte
	for range 64 {
		_, _ = rand.Read(b[:]) // as above
		pid := binary.BigEndian.Uint32(b[:]) & (1<<pidBits - 1)
		if router != nil {
			pid = pid&(1<<pidRandomBits-1) | nodeTag(router.Self())<<pidRandomBits
		}
		if pid != 0 && !taken(pid) {
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
