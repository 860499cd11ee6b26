package pgwire

import (
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"

	"kimberlite/internal/node"
)

// fillTable gives t rows 0 to n-1.
func fillTable(t *testing.T, conn *pgx.Conn, n int) {
	t.Helper()
	var b pgx.Batch
	for i := range n {
		b.Queue("INSERT INTO t VALUES ($1, $2)", i, fmt.Sprint("name ", i))
	}
	check(t, conn.SendBatch(t.Context(), &b).Close())
}

// portion asks a portal for some rows and returns how many came and how it
// ended: 's' for more, 'C' for all.
func (c *raw) portion(portal string, rows uint32) (n int, ended byte) {
	c.tb.Helper()
	c.send(&pgproto3.Execute{Portal: portal, MaxRows: rows}, &pgproto3.Flush{})
	for {
		r, err := c.read()
		check(c.tb, err)
		switch r.kind {
		case 'D':
			n++
		case 'E':
			c.tb.Fatalf("portal: %s", r.code())
		default:
			return n, r.kind
		}
	}
}

func TestAPortalIsReadInPortionsWhileOthersWrite(t *testing.T) {
	d, conn := withTable(t, nil)
	fillTable(t, conn, 100)
	for name, begin := range map[string]string{"without a transaction": "", "in a transaction": "BEGIN"} {
		t.Run(name, func(t *testing.T) {
			c := d.loggedIn(t)
			status := "ZI"
			if begin != "" {
				c.send(&pgproto3.Query{String: begin})
				c.want("CZT")
				status = "ZT"
			}
			c.send(&pgproto3.Parse{Query: "SELECT id, name FROM t ORDER BY id"}, &pgproto3.Bind{DestinationPortal: "p"}, &pgproto3.Flush{})
			for range 2 {
				_, err := c.read()
				check(t, err)
			}
			total := 0
			for i := 0; ; i++ {
				n, ended := c.portion("p", 7)
				total += n
				if ended == 'C' {
					break
				}
				must(t, conn, "UPDATE t SET name = name || '!'")
				must(t, conn, "INSERT INTO t VALUES ($1, 'new')", 1000+i+len(name)*100)
			}
			c.send(&pgproto3.Sync{})
			c.want(status)
			if total < 100 || total > 120 {
				t.Fatalf("%d rows were read", total)
			}
		})
	}
}

func TestAnotherStatementRunsWhileAPortalIsOpen(t *testing.T) {
	d, conn := withTable(t, nil)
	fillTable(t, conn, 50)
	c := d.loggedIn(t)
	c.send(&pgproto3.Query{String: "BEGIN"})
	c.want("CZT")
	c.send(&pgproto3.Parse{Query: "SELECT id FROM t ORDER BY id"}, &pgproto3.Bind{DestinationPortal: "p"}, &pgproto3.Execute{Portal: "p", MaxRows: 10}, &pgproto3.Sync{})
	c.want("12DDDDDDDDDDsZT")
	c.send(&pgproto3.Query{String: "DELETE FROM t"})
	c.want("CZT")
	if n, ended := c.portion("p", 0); n != 40 || ended != 'C' {
		t.Fatalf("%d rows, then %c", n, ended)
	}
	c.send(&pgproto3.Sync{}, &pgproto3.Query{String: "ROLLBACK"})
	c.want("ZT")
	c.want("CZI")
}

func TestReturningIsGivenInPortions(t *testing.T) {
	d, _ := withTable(t, nil)
	c := d.loggedIn(t)
	c.send(&pgproto3.Query{String: "BEGIN"})
	c.want("CZT")
	c.send(&pgproto3.Parse{Query: "INSERT INTO t VALUES (1,'a'), (2,'b'), (3,'c') RETURNING id"}, &pgproto3.Bind{DestinationPortal: "p"}, &pgproto3.Execute{Portal: "p", MaxRows: 2}, &pgproto3.Sync{})
	c.want("12DDsZT")
	c.send(&pgproto3.Execute{Portal: "p", MaxRows: 2}, &pgproto3.Sync{}, &pgproto3.Query{String: "COMMIT"})
	c.want("DCZT")
	c.want("CZI")
}

func TestASuspendedPortalDoesNotHoldTheTenantForEver(t *testing.T) {
	d, conn := withTable(t, func(c *Config, _ *node.Config) { c.Limits.PortalLife = 30 * time.Millisecond })
	fillTable(t, conn, 20)
	c := d.loggedIn(t)
	c.send(&pgproto3.Query{String: "BEGIN"})
	c.want("CZT")
	c.send(&pgproto3.Parse{Query: "SELECT id FROM t ORDER BY id"}, &pgproto3.Bind{DestinationPortal: "p"}, &pgproto3.Execute{Portal: "p", MaxRows: 5}, &pgproto3.Sync{})
	c.want("12DDDDDsZT")
	s := d.srv.session(c.h.PID)
	eventually(t, "the session waits without a portal that holds something", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.relaxed > 0
	})
	if n, ended := c.portion("p", 0); n != 15 || ended != 'C' {
		t.Fatalf("%d rows, then %c", n, ended)
	}
}
