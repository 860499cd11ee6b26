package pgwire

import (
	"sync"

	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
)

// freeHeldBytes is what the statements and portals of a session may hold
// without asking.
const freeHeldBytes = 2 << 20

// messageMemory bounds what all connections hold of long messages that have
// not arrived whole, and of prepared statements and portals beyond the usual:
// what one connection may, many must not at once. A tenant has half of it at
// most, so that another still finds room. It is safe for concurrent use.
type messageMemory struct {
	limit int

	mu      sync.Mutex // guards all below
	taken   int
	tenants map[ident.TenantID]int
}

// newMessageMemory has room for four messages of the greatest length.
func newMessageMemory(maxMessageBytes int) *messageMemory {
	return &messageMemory{limit: 4 * maxMessageBytes, tenants: map[ident.TenantID]int{}}
}

// take gives a tenant's connection n bytes more, or takes them back.
func (m *messageMemory) take(id ident.TenantID, n int) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if n > 0 && (m.taken+n > m.limit || m.tenants[id]+n > m.limit/2) {
		return fault.New("protocol", fault.Unavailable, "too many long messages or prepared statements are held: send fewer at a time, or try again later").
			ForTenant(id).WithState("53200")
	}
	m.taken += n
	if m.tenants[id] += n; m.tenants[id] == 0 {
		delete(m.tenants, id)
	}
	return nil
}

// settleHeld has granted what the session's statements and portals hold.
func (s *session) settleHeld() error {
	want := max(s.plans.held-freeHeldBytes, 0)
	if want == s.heldGranted {
		return nil
	}
	if err := s.srv.memory.take(s.tenantID, want-s.heldGranted); err != nil {
		return err
	}
	s.heldGranted = want
	return nil
}
