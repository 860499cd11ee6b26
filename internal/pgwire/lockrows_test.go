package pgwire

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

func TestForUpdateCountsWithoutLossAndWithoutRetry(t *testing.T) {
	d, conn := withTable(t, nil)
	must(t, conn, "CREATE TABLE counter (id int PRIMARY KEY, n int NOT NULL)")
	must(t, conn, "INSERT INTO counter VALUES (1, 0)")
	const each = 100
	var wg sync.WaitGroup
	errs := make(chan error, 2)
	for i := range 2 {
		c := d.connect(t)
		wg.Go(func() {
			for range each {
				if err := increment(t.Context(), c, i); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		t.Fatal(err)
	}
	if got := oneValue(t, conn, "SELECT n FROM counter"); got != fmt.Sprint(2*each) {
		t.Fatalf("counted to %s", got)
	}
}

// increment reads a number under FOR UPDATE and writes the next one; a cursor
// reads it for the odd ones.
func increment(ctx context.Context, c *pgx.Conn, i int) error {
	return pgx.BeginFunc(ctx, c, func(tx pgx.Tx) error {
		var n int
		read := "SELECT n FROM counter WHERE id = 1 FOR UPDATE"
		if i%2 == 1 {
			if _, err := tx.Exec(ctx, "DECLARE c CURSOR FOR "+read); err != nil {
				return err
			}
			read = "FETCH c"
		}
		if err := tx.QueryRow(ctx, read).Scan(&n); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, "UPDATE counter SET n = $1 WHERE id = 1", n+1)
		return err
	})
}

func TestForUpdateThatMayNotWaitFails(t *testing.T) {
	d, conn := withTable(t, nil)
	fillTable(t, conn, 1)
	other := d.connect(t)
	const nowait = "SELECT * FROM t FOR UPDATE NOWAIT"
	must(t, other, nowait) // nobody holds it
	must(t, conn, "BEGIN")
	must(t, conn, "SELECT * FROM t FOR UPDATE")
	for _, begin := range []string{"", "BEGIN"} {
		must(t, other, begin+";")
		start := time.Now()
		_, err := other.Exec(t.Context(), nowait)
		wantState(t, err, "55P03")
		must(t, other, "ROLLBACK")
		must(t, other, "SET lock_timeout = '20ms'")
		must(t, other, "BEGIN")
		_, err = other.Exec(t.Context(), "SELECT * FROM (SELECT id FROM t FOR SHARE) s")
		wantState(t, err, "55P03")
		must(t, other, "ROLLBACK")
		if d := time.Since(start); d > 5*time.Second {
			t.Fatalf("it took %s", d)
		}
	}
	// Reading without a lock waits for nobody.
	if got := oneValue(t, other, "SELECT count(*) FROM t"); got != "1" {
		t.Fatal(got)
	}
	must(t, conn, "COMMIT")
	must(t, other, nowait)
}

func TestForUpdateIsForThoseWhoMayWrite(t *testing.T) {
	d, conn := withTable(t, nil)
	must(t, conn, "BEGIN READ ONLY")
	_, err := conn.Exec(t.Context(), "SELECT * FROM t FOR UPDATE")
	wantState(t, err, "25006")
	must(t, conn, "ROLLBACK")
	reader := d.connectAs(t, "look@1", d.reader)
	for _, begin := range []string{"", "BEGIN"} {
		must(t, reader, begin+";")
		_, err = reader.Exec(t.Context(), "SELECT * FROM t FOR UPDATE")
		wantState(t, err, "42501")
		_, _ = reader.Exec(t.Context(), "ROLLBACK") // a warning outside
	}
}
