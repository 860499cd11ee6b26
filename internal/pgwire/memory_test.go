package pgwire

import (
	"net"
	"runtime"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"kimberlite/internal/node"
)

// TestAnIdleConnectionHoldsLittle counts both ends of the connections, heap
// and stacks, after each has run statements.
func TestAnIdleConnectionHoldsLittle(t *testing.T) {
	const connections, most = 150, 64 << 10
	d := openDoor(t, func(c *Config, _ *node.Config) {
		c.Limits.MaxConnections, c.Limits.MaxConnectionsPerTenant = connections+10, connections+10
	})
	inUse := func() uint64 {
		var m runtime.MemStats
		for range 4 { // stacks shrink by half each time
			runtime.GC()
		}
		runtime.ReadMemStats(&m)
		return m.HeapAlloc + m.StackInuse
	}
	var held []net.Conn
	open := func() {
		c, err := pgconn.ConnectConfig(t.Context(), &d.config(t, "app@1", d.secret).Config)
		check(t, err)
		for _, sql := range []string{"SELECT 1", "SELECT name FROM pg_settings LIMIT 3", "SELECT count(*) FROM pg_class"} {
			_, _ = c.Exec(t.Context(), sql).ReadAll()
		}
		h, err := c.Hijack()
		check(t, err)
		held = append(held, h.Conn)
	}
	for range 10 {
		open()
	}
	before := inUse()
	for range connections - 10 {
		open()
	}
	after := inUse()
	each := int64(after-before) / (connections - 10)
	t.Logf("%d bytes a connection, the client's end of TLS included", each)
	if each > most {
		t.Errorf("an idle connection holds %d bytes, more than %d", each, most)
	}
	for _, c := range held {
		_ = c.Close()
	}
}
