package pgwire

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"kimberlite/internal/node"
)

// withTable opens a door whose tenant 1 has t(id, name).
func withTable(t *testing.T, change func(*Config, *node.Config)) (*door, *pgx.Conn) {
	t.Helper()
	d := openDoor(t, change)
	conn := d.connect(t)
	must(t, conn, "CREATE TABLE t (id bigint PRIMARY KEY, name text)")
	return d, conn
}

func TestAQueryStringIsAtomic(t *testing.T) {
	_, conn := withTable(t, nil)
	exec := func(sql string) error {
		_, err := conn.PgConn().Exec(t.Context(), sql).ReadAll()
		return err
	}
	for _, c := range []struct {
		sql, state, count string
	}{
		{"INSERT INTO t VALUES (1, 'a'); INSERT INTO t VALUES (2, 'b')", "", "2"},
		{"INSERT INTO t VALUES (3, 'a'); INSERT INTO t VALUES (1, 'b')", "23505", "2"},
		{"INSERT INTO t VALUES (4, 'a'); SELECT nothing FROM t", "42703", "2"},
		{"INSERT INTO t VALUES (5, 'a'); COMMIT; INSERT INTO t VALUES (1, 'b')", "23505", "3"},
		{"BEGIN; INSERT INTO t VALUES (6, 'a'); COMMIT; INSERT INTO t VALUES (7, 'a'); SELECT nothing", "42703", "4"},
		{"INSERT INTO t VALUES (8, 'a'); ROLLBACK; INSERT INTO t VALUES (9, 'a')", "", "5"},
		{"DELETE FROM t; INSERT INTO t VALUES (1, 'a'); SELECT 1", "", "1"},
	} {
		wantState(t, exec(c.sql), c.state)
		if got := oneValue(t, conn, "SELECT count(*) FROM t"); got != c.count {
			t.Fatalf("after %s there are %s rows, want %s", c.sql, got, c.count)
		}
		if s := conn.PgConn().TxStatus(); s != 'I' {
			t.Fatalf("after %s the status is %c", c.sql, s)
		}
	}
}

func TestAFailedTransactionRefusesAllButItsEnd(t *testing.T) {
	_, conn := withTable(t, nil)
	ctx := t.Context()
	must(t, conn, "SELECT 1", pgx.QueryExecModeSimpleProtocol) // its plan is kept
	must(t, conn, "BEGIN")
	must(t, conn, "INSERT INTO t VALUES (1, 'a')")
	_, err := conn.Exec(ctx, "INSERT INTO t VALUES (1, 'a')")
	wantState(t, err, "23505")
	if s := conn.PgConn().TxStatus(); s != 'E' {
		t.Fatalf("the status is %c", s)
	}
	for _, sql := range []string{"SELECT 1", "SELECT nothing", "INSERT INTO t VALUES (2, 'b')", "SHOW timezone", "BEGIN", "SAVEPOINT x", "no sql at all"} {
		_, err := conn.Exec(ctx, sql, pgx.QueryExecModeSimpleProtocol)
		wantState(t, err, "25P02")
		_, err = conn.Exec(ctx, sql, pgx.QueryExecModeExec)
		wantState(t, err, "25P02")
	}
	if tag := must(t, conn, "COMMIT"); tag.String() != "ROLLBACK" {
		t.Fatalf("COMMIT of a failed transaction answered %q", tag)
	}
	if got := oneValue(t, conn, "SELECT count(*) FROM t"); got != "0" {
		t.Fatalf("%s rows are left", got)
	}
}

func TestSavepointsGoBack(t *testing.T) {
	_, conn := withTable(t, nil)
	ctx := t.Context()
	must(t, conn, "BEGIN")
	must(t, conn, "INSERT INTO t VALUES (1, 'a')")
	must(t, conn, "SAVEPOINT one")
	must(t, conn, "INSERT INTO t VALUES (2, 'b')")
	_, err := conn.Exec(ctx, "INSERT INTO t VALUES (2, 'b')")
	wantState(t, err, "23505")
	must(t, conn, "ROLLBACK TO SAVEPOINT one")
	if s := conn.PgConn().TxStatus(); s != 'T' {
		t.Fatalf("the status is %c", s)
	}
	must(t, conn, "INSERT INTO t VALUES (3, 'c')")
	must(t, conn, "RELEASE one")
	_, err = conn.Exec(ctx, "ROLLBACK TO one")
	wantState(t, err, "3B001")
	must(t, conn, "ROLLBACK")
	must(t, conn, "BEGIN")
	must(t, conn, "INSERT INTO t VALUES (1, 'a')")
	must(t, conn, "SAVEPOINT x")
	must(t, conn, "INSERT INTO t VALUES (2, 'b')")
	must(t, conn, "ROLLBACK TO x")
	must(t, conn, "COMMIT")
	if got := oneValue(t, conn, "SELECT count(*) FROM t"); got != "1" {
		t.Fatalf("%s rows are there", got)
	}
	_, err = conn.Exec(ctx, "SAVEPOINT x")
	wantState(t, err, "25P01")
}

func TestNoticesOfTransactions(t *testing.T) {
	d := openDoor(t, nil)
	c := d.config(t, "app@1", d.secret)
	var notices []string
	c.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) { notices = append(notices, n.Code) }
	conn, err := pgx.ConnectConfig(t.Context(), c)
	check(t, err)
	defer func() { _ = conn.Close(context.Background()) }()
	for _, sql := range []string{"COMMIT", "ROLLBACK", "BEGIN", "BEGIN", "ROLLBACK"} {
		must(t, conn, sql)
	}
	if len(notices) != 3 || notices[0] != "25P01" || notices[1] != "25P01" || notices[2] != "25001" {
		t.Fatalf("notices %v", notices)
	}
}

func TestAReadOnlyTransactionDoesNotWrite(t *testing.T) {
	_, conn := withTable(t, nil)
	must(t, conn, "BEGIN READ ONLY")
	_, err := conn.Exec(t.Context(), "INSERT INTO t VALUES (1, 'a')")
	wantState(t, err, "25006")
	must(t, conn, "ROLLBACK")
	must(t, conn, "SET default_transaction_read_only = on")
	_, err = conn.Exec(t.Context(), "INSERT INTO t VALUES (1, 'a')")
	wantState(t, err, "25006")
	must(t, conn, "BEGIN READ WRITE")
	must(t, conn, "INSERT INTO t VALUES (1, 'a')")
	must(t, conn, "COMMIT")
}

func TestAPipelineIsAtomicUpToSync(t *testing.T) {
	d, conn := withTable(t, nil)
	var b pgx.Batch
	b.Queue("INSERT INTO t VALUES ($1, $2)", 1, "a")
	b.Queue("SELECT count(*) FROM t")
	b.Queue("INSERT INTO t VALUES ($1, $2)", 1, "again")
	err := conn.SendBatch(t.Context(), &b).Close()
	wantState(t, err, "23505")
	if got := oneValue(t, conn, "SELECT count(*) FROM t"); got != "0" {
		t.Fatalf("%s rows of a failed pipeline", got)
	}
	b = pgx.Batch{}
	for i := range 50 {
		b.Queue("INSERT INTO t VALUES ($1, $2)", i, "a")
	}
	check(t, conn.SendBatch(t.Context(), &b).Close())
	if got := oneValue(t, conn, "SELECT count(*) FROM t"); got != "50" {
		t.Fatalf("%s rows of a pipeline of 50", got)
	}
	// Two pipelines sent at once are two transactions.
	c := d.loggedIn(t)
	insert := func(id string) []pgproto3.FrontendMessage {
		return []pgproto3.FrontendMessage{&pgproto3.Parse{Query: "INSERT INTO t VALUES (" + id + ", 'x')"}, &pgproto3.Bind{}, &pgproto3.Execute{}}
	}
	all := append(insert("100"), insert("101")...)
	all = append(all, &pgproto3.Sync{})
	all = append(all, insert("102")...)
	all = append(all, insert("102")...)
	all = append(all, insert("103")...)
	c.send(append(all, &pgproto3.Sync{})...)
	c.want("12C12CZI")
	c.want("12C12E(ERROR 23505)ZI")
	if got := oneValue(t, conn, "SELECT count(*) FROM t WHERE id >= 100"); got != "2" {
		t.Fatalf("%s rows, want 2", got)
	}
}

func TestWhoVanishesInATransactionLeavesNothing(t *testing.T) {
	// Nothing else would end the transaction.
	d, conn := withTable(t, func(_ *Config, n *node.Config) { n.TransactionIdle = time.Hour })
	c := d.loggedIn(t)
	c.send(&pgproto3.Query{String: "BEGIN; INSERT INTO t VALUES (1, 'a'); SELECT pg_advisory_lock(7)"})
	c.want("CCTDCZT")
	check(t, c.conn.Close())
	must(t, conn, "SELECT pg_advisory_lock(7)") // waits for it to be let go
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	_, err := conn.Exec(ctx, "INSERT INTO t VALUES (1, 'b')")
	check(t, err)
	if got := oneValue(t, conn, "SELECT name FROM t"); got != "b" {
		t.Fatalf("what is left is %q", got)
	}
}

func TestARetryUnderAnIdempotencyKeyTakesEffectOnce(t *testing.T) {
	d, conn := withTable(t, nil)
	must(t, conn, "CREATE TABLE n (v bigint)")
	work := func(v string) error {
		c := d.connect(t)
		_, err := c.PgConn().Exec(t.Context(), "BEGIN; SET kimberlite.idempotency_key = 'k1'; INSERT INTO n VALUES ("+v+"); COMMIT").ReadAll()
		return err
	}
	check(t, work("1")) // its answer is lost
	check(t, work("1"))
	if got := oneValue(t, conn, "SELECT count(*) FROM n"); got != "1" {
		t.Fatalf("it took effect %s times", got)
	}
	wantState(t, work("2"), "22023")
	for range 2 {
		c := d.connect(t)
		must(t, c, "SET kimberlite.idempotency_key = 'k2'")
		if tag := must(t, c, "INSERT INTO n VALUES (5)"); tag.RowsAffected() != 1 {
			t.Fatalf("answered %q", tag)
		}
		must(t, c, "INSERT INTO n VALUES (6)") // the key was for one write
	}
	if got := oneValue(t, conn, "SELECT count(*) FROM n"); got != "4" {
		t.Fatalf("%s rows, want 4", got)
	}
}

func TestARetryOfWorkThatCannotBeDoneTwiceIsToldThatItTookEffect(t *testing.T) {
	d, conn := withTable(t, nil)
	work := func(key string, id int) error {
		c := d.connect(t)
		must(t, c, "SET kimberlite.idempotency_key = '"+key+"'")
		tx, err := c.Begin(t.Context())
		check(t, err)
		if _, err := tx.Exec(t.Context(), "INSERT INTO t VALUES ($1, 'a')", id); err != nil {
			return err
		}
		return tx.Commit(t.Context())
	}
	check(t, work("k1", 1)) // its answer is lost
	wantState(t, work("k1", 1), "KL004")
	wantState(t, work("k2", 1), "23505") // under a key of which nothing is known
	if got := oneValue(t, conn, "SELECT count(*) FROM t"); got != "1" {
		t.Fatalf("it took effect %s times", got)
	}
}

func TestConflictingTransactionsAreToldToRetry(t *testing.T) {
	d, a := withTable(t, nil)
	b := d.connect(t)
	must(t, a, "INSERT INTO t VALUES (1, 'a')")
	must(t, a, "BEGIN")
	must(t, a, "SELECT * FROM t")
	must(t, b, "UPDATE t SET name = 'b'")
	_, err := a.Exec(t.Context(), "UPDATE t SET name = 'c'")
	wantState(t, err, "40001")
	must(t, a, "ROLLBACK")
}

func TestAnIdleTransactionIsEnded(t *testing.T) {
	d, conn := withTable(t, func(_ *Config, n *node.Config) { n.TransactionIdle = 50 * time.Millisecond })
	must(t, conn, "BEGIN")
	must(t, conn, "INSERT INTO t VALUES (1, 'a')")
	other := d.connect(t)
	must(t, other, "INSERT INTO t VALUES (1, 'b')") // waits for the writer
	_, err := conn.Exec(t.Context(), "INSERT INTO t VALUES (2, 'a')")
	wantState(t, err, "25P03")
	must(t, conn, "ROLLBACK")
	must(t, conn, "SET idle_in_transaction_session_timeout = 50")
	must(t, conn, "BEGIN")
	must(t, conn, "SELECT * FROM t")
	c := conn.PgConn().Conn()
	check(t, c.SetReadDeadline(time.Now().Add(10*time.Second)))
	_, err = conn.PgConn().ReceiveMessage(t.Context())
	wantState(t, err, "25P03")
}
