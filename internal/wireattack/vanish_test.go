package wireattack

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// TestVanishing has clients and the server go away in the middle.
func TestVanishing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.connect(t, "app", attackerName, nil)
	must(t, c, "CREATE TABLE kept (id bigint primary key, note text)")
	close1(c)
	w.inTheMiddle(t)
	w.afterCommit(t, false)
	w.afterCommit(t, true)
	for round := range 3 {
		w.killedUnderLoad(t, round)
	}
	w.finish(t)
}

// inTheMiddle has clients vanish that hold the tenant's writer.
func (w *world) inTheMiddle(t *testing.T) {
	for name, vanish := range map[string]func(c *pgconn.PgConn){
		"whose socket is closed": func(c *pgconn.PgConn) { _ = c.Conn().Close() },
		"in the middle of a message": func(c *pgconn.PgConn) {
			_, _ = c.Conn().Write(claimed('Q', 1000, "INSERT INTO kept VALUES (2"))
			_ = c.Conn().Close()
		},
		"in a statement": func(c *pgconn.PgConn) {
			b, _ := query("INSERT INTO kept SELECT g, 'gone' FROM generate_series(100, 200000) g").Encode(nil)
			_, _ = c.Conn().Write(b)
			_ = c.Conn().Close()
		},
		"in a pipeline without Sync": func(c *pgconn.PgConn) {
			_, _ = c.Conn().Write(append(message('P', "\x00INSERT INTO kept VALUES (3, 'gone')\x00\x00\x00"), message('B', "\x00\x00\x00\x00\x00\x00\x00\x00")...))
			_, _ = c.Conn().Write(message('E', "\x00\x00\x00\x00\x00"))
			_ = c.Conn().Close()
		},
	} {
		w.attack(t, "a client that vanishes in a transaction, "+name, func(t *testing.T) {
			gone := w.connect(t, "app", attackerName, nil)
			must(t, gone, "BEGIN; INSERT INTO kept VALUES (1, 'gone')")
			must(t, gone, "SAVEPOINT s; SELECT pg_advisory_lock(7)")
			vanish(gone)
			// The writer is free at once: the next one need not wait for a limit.
			next := w.connect(t, "app", attackerName, nil)
			start := time.Now()
			must(t, next, "SELECT pg_advisory_lock(7); INSERT INTO kept VALUES (1, 'next'); DELETE FROM kept WHERE id = 1")
			if took := time.Since(start); took > 5*time.Second {
				t.Errorf("the writer was free after %v", took)
			}
			if n := one(t, next, "SELECT count(*) FROM kept"); n != "0" {
				t.Errorf("%s rows stay", n)
			}
			close1(next)
		})
	}
}

// afterCommit has a client vanish once COMMIT was sent, with or without the
// server being killed: a retry under its key finds the outcome, and the rows
// are there once.
func (w *world) afterCommit(t *testing.T, kill bool) {
	w.attack(t, fmt.Sprintf("who vanishes after COMMIT finds the outcome, the server is killed: %v", kill), func(t *testing.T) {
		const clients = 8
		work := func(i int) string {
			return fmt.Sprintf("BEGIN; SET kimberlite.idempotency_key = 'key-%v-%d'; INSERT INTO kept (id, note) SELECT coalesce(max(id), 0) + 1, 'once-%v-%d' FROM kept; COMMIT", kill, i, kill, i)
		}
		for i := range clients {
			c := w.connect(t, "app", attackerName, nil)
			b, _ := query(work(i)).Encode(nil)
			if _, err := c.Conn().Write(b); err != nil {
				t.Fatal(err)
			}
			if i%2 == 0 { // it may have been carried out by then, or not
				time.Sleep(time.Duration(i) * time.Millisecond)
			}
			_ = c.Conn().Close()
		}
		if kill {
			w.k.Kill(t)
			w.restart(t)
		}
		c := w.connect(t, "app", attackerName, nil)
		for i := range clients {
			for range 2 { // the first finds it or does it, the second finds it
				must(t, c, work(i))
			}
			if n := one(t, c, fmt.Sprintf("SELECT count(*) FROM kept WHERE note = 'once-%v-%d'", kill, i)); n != "1" {
				t.Errorf("client %d: %s rows", i, n)
			}
		}
		must(t, c, "DELETE FROM kept")
		close1(c)
	})
}

// restart starts a server that was killed again on its data.
func (w *world) restart(t *testing.T) {
	t.Helper()
	w.k.Start(t)
	w.trust(t)
	w.guard = w.connect(w.top, mark+"app", victimName, nil)
}

// killedUnderLoad kills the server under writers who note what was
// acknowledged. The pgbench of servertest does it in transactions of a script;
// here each client knows the one that was under way, too.
func (w *world) killedUnderLoad(t *testing.T, round int) {
	w.attack(t, fmt.Sprintf("the server is killed under 16 writers, round %d", round), func(t *testing.T) {
		const writers, enough = 16, 150
		var mu sync.Mutex // guards all below
		acknowledged, sent := map[int64]bool{}, map[int64]bool{}
		plenty := make(chan struct{})
		var together sync.WaitGroup
		for writer := range writers {
			c := w.connect(t, "app", attackerName, nil)
			together.Go(func() {
				for i := 0; ; i++ {
					id := int64(round+1)*1_000_000 + int64(writer)*10_000 + int64(i)
					mu.Lock()
					sent[id] = true
					mu.Unlock()
					ctx, cancel := context.WithTimeout(context.Background(), patience)
					_, err := c.ExecParams(ctx, "INSERT INTO kept VALUES ($1, 'load')", [][]byte{fmt.Append(nil, id)}, nil, nil, nil).Close()
					cancel()
					if err != nil {
						var refused *pgconn.PgError
						if errors.As(err, &refused) {
							t.Errorf("writer %d: %v", writer, err)
						}
						return
					}
					mu.Lock()
					if acknowledged[id] = true; len(acknowledged) == enough {
						close(plenty)
					}
					mu.Unlock()
				}
			})
		}
		select {
		case <-plenty:
		case <-time.After(patience):
			t.Error("the writers are too slow")
		}
		w.k.Kill(t)
		together.Wait()
		w.restart(t)
		c := w.connect(t, "app", attackerName, nil)
		there := map[string]bool{}
		for _, row := range must(t, c, "SELECT id FROM kept")[0].Rows {
			there[string(row[0])] = true
		}
		missing, lost := 0, 0
		for id := range sent {
			switch has := there[fmt.Sprint(id)]; {
			case acknowledged[id] && !has:
				missing++
			case !has:
				lost++
			}
			delete(there, fmt.Sprint(id))
		}
		if missing > 0 || len(there) > 0 || lost > writers {
			t.Errorf("%d of %d acknowledged rows are missing, %d were never sent, %d lost", missing, len(acknowledged), len(there), lost)
		}
		must(t, c, "DELETE FROM kept")
		close1(c)
	})
}
