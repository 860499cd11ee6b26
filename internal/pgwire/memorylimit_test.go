package pgwire

import (
	"bytes"
	"testing"

	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
)

func TestLongMessagesShareTheirMemory(t *testing.T) {
	m := newMessageMemory(1 << 20)
	one, two, three := ident.MustTenantID(1), ident.MustTenantID(2), ident.MustTenantID(3)
	check(t, m.take(one, 2<<20))
	if err := m.take(one, 1); fault.StateOf(err) != "53200" {
		t.Errorf("a tenant over its half: %v", err)
	}
	check(t, m.take(two, 2<<20))
	if err := m.take(three, 1); fault.StateOf(err) != "53200" {
		t.Errorf("over the whole: %v", err)
	}
	check(t, m.take(one, -2<<20))
	check(t, m.take(three, 2<<20))
	check(t, m.take(two, -2<<20))
	check(t, m.take(three, -2<<20))
	if m.taken != 0 || len(m.tenants) != 0 {
		t.Errorf("%d bytes of %d tenants are never given back", m.taken, len(m.tenants))
	}
}

func TestALongMessageGivesItsMemoryBack(t *testing.T) {
	m := newMessageMemory(1 << 20)
	body := bytes.Repeat([]byte("x"), 1<<20-4)
	r := newReader(bytes.NewReader(rawMessage('Q', string(body))), 1<<20, nil)
	r.grant = func(n int) error { return m.take(ident.MustTenantID(1), n) }
	_, got, err := r.next()
	check(t, err)
	if len(got) != len(body) || m.taken == 0 {
		t.Errorf("%d bytes, %d taken", len(got), m.taken)
	}
	r.rest()
	if m.taken != 0 {
		t.Errorf("%d bytes are kept", m.taken)
	}
}
