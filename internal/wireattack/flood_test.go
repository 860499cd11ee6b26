package wireattack

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// TestFloods opens more connections than there may be, and slow ones.
func TestFloods(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.slowly(t)
	w.flooded(t)
	w.tenantFlooded(t)
	w.hoarded(t)
	w.finish(t)
}

// slowly holds 200 connections that send a byte a second: nobody else waits
// for them, and none outlives the time for a login.
func (w *world) slowly(t *testing.T) {
	w.attack(t, "200 clients that send a byte a second", func(t *testing.T) {
		const clients = 200
		var ended, lasted atomic.Int64
		var together sync.WaitGroup
		start := time.Now()
		for i := range clients {
			c := w.dial(t, fmt.Sprintf("127.0.200.%d", 1+i%250))
			b := startup("user", "app@"+attackerName, "application_name", "slow")
			if i%3 == 0 { // before TLS, in its handshake, or as the startup
				b = packet(80877103, "")
			} else if i%3 == 1 {
				c.write(packet(80877103, ""))
				b = []byte("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x00\x00\x00\x00\x00\x00\x00\x00")
			}
			together.Go(func() {
				defer c.Close()
				gone := make(chan struct{})
				go func() { // ends with the connection
					_, _ = io.Copy(&c.tap, c.Conn)
					close(gone)
				}()
				tick := time.NewTicker(time.Second)
				defer tick.Stop()
				for n := 0; ; n++ {
					select {
					case <-gone:
						ended.Add(1)
						lasted.Store(max(lasted.Load(), int64(time.Since(start))))
						return
					case <-tick.C:
						if n >= 18 {
							return
						}
						if n < len(b)-1 {
							c.write(b[n : n+1])
						}
					}
				}
			})
		}
		for range 10 {
			began := time.Now()
			c := w.connect(t, "app", otherName, nil)
			if one(t, c, "SELECT 42") != "42" || time.Since(began) > 3*time.Second {
				t.Errorf("another waited %v", time.Since(began))
			}
			close1(c)
		}
		together.Wait()
		if ended.Load() != clients || time.Duration(lasted.Load()) > 15*time.Second {
			t.Errorf("%d of %d were cut off, the last after %v", ended.Load(), clients, time.Duration(lasted.Load()))
		}
	})
}

// flooded opens more connections than the server has, and says nothing.
func (w *world) flooded(t *testing.T) {
	w.attack(t, "1,100 connections that say nothing", func(t *testing.T) {
		var all []net.Conn
		for range 1100 {
			c, err := net.DialTimeout("tcp", w.k.PG, time.Second)
			if err != nil {
				break
			}
			all = append(all, c)
		}
		if one(t, w.guard, "SELECT 42") != "42" {
			t.Error("who is in does not get on")
		}
		for _, c := range all {
			_ = c.Close()
		}
		deadline := time.Now().Add(patience)
		for { // there is room again
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			c, err := pgconn.ConnectConfig(ctx, w.config(t, "app", otherName, "", nil))
			cancel()
			if err == nil {
				close1(c)
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("nobody gets in any more: %v", err)
			}
			time.Sleep(20 * time.Millisecond)
		}
	})
}

// tenantFlooded logs in more often than a tenant may: another still gets in.
func (w *world) tenantFlooded(t *testing.T) {
	w.attack(t, "more sessions than a tenant may have", func(t *testing.T) {
		const most = 200
		var mu sync.Mutex // guards in, refused
		var in []*pgconn.PgConn
		refused := 0
		var together sync.WaitGroup
		for range 4 {
			together.Go(func() {
				for range most/4 + 5 {
					ctx, cancel := context.WithTimeout(context.Background(), patience)
					c, err := pgconn.ConnectConfig(ctx, w.config(t, "reader", attackerName, "", nil))
					cancel()
					mu.Lock()
					if err == nil {
						in = append(in, c)
					} else if refused++; stateOf(err) != "53300" {
						t.Errorf("it is refused with %v", err)
					}
					mu.Unlock()
				}
			})
		}
		together.Wait()
		if len(in) != most || refused != 20 {
			t.Errorf("%d sessions, %d refused", len(in), refused)
		}
		c := w.connect(t, "app", otherName, nil)
		if one(t, c, "SELECT 42") != "42" {
			t.Error("another tenant does not get in")
		}
		close1(c)
		for _, c := range in {
			_ = c.Conn().Close()
		}
	})
}
