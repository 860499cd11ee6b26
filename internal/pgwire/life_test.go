package pgwire

import (
	"bufio"
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"kimberlite/internal/credential"
	"kimberlite/internal/ident"
	"kimberlite/internal/node"
)

func TestRevocationEndsASession(t *testing.T) {
	for name, statement := range map[string]string{"idle": "", "in a statement": "SELECT pg_sleep(60)", "in a transaction": "BEGIN; INSERT INTO t VALUES (1, 'a')"} {
		t.Run(name, func(t *testing.T) {
			d, _ := withTable(t, nil)
			secret := d.credential(t, 1, "leaver", credential.Writer)
			c, err := pgconn.ConnectConfig(t.Context(), &d.config(t, "leaver@1", secret).Config)
			check(t, err)
			h, err := c.Hijack()
			check(t, err)
			defer func() { _ = h.Conn.Close() }()
			client := &raw{tb: t, conn: h.Conn, r: bufio.NewReader(h.Conn), h: h}
			check(t, h.Conn.SetDeadline(time.Now().Add(10*time.Second)))
			if statement != "" {
				client.send(&pgproto3.Query{String: statement})
			}
			if name == "in a statement" {
				s := d.srv.session(h.PID)
				eventually(t, "the statement runs", func() bool {
					s.mu.Lock()
					defer s.mu.Unlock()
					return s.running
				})
			} else if statement != "" {
				client.want("CCZT")
			}
			check(t, d.auth.Revoke(t.Context(), ident.MustTenantID(1), "leaver"))
			got := client.kinds()
			if name == "in a statement" {
				got += client.kinds()
			}
			if !strings.HasSuffix(got, "E(FATAL 28000).") {
				t.Fatalf("the session ended with %q", got)
			}
			conn := d.connect(t)
			if got := oneValue(t, conn, "SELECT count(*) FROM t"); got != "0" {
				t.Fatalf("%s rows of a transaction that was not committed", got)
			}
		})
	}
}

func TestACredentialHasItsRoleAndItsTenant(t *testing.T) {
	d, conn := withTable(t, nil)
	must(t, conn, "INSERT INTO t VALUES (1, 'a')")
	look := d.connectAs(t, "look@hospital-a", d.reader)
	if got := oneValue(t, look, "SELECT name FROM t"); got != "a" {
		t.Fatal(got)
	}
	for _, sql := range []string{"INSERT INTO t VALUES (2, 'b')", "CREATE TABLE u (a int)", "DROP TABLE t", "DELETE FROM t"} {
		_, err := look.Exec(t.Context(), sql)
		wantState(t, err, "42501")
	}
	other := d.connectAs(t, "app@2", d.other)
	_, err := other.Exec(t.Context(), "SELECT * FROM t")
	wantState(t, err, "42P01")
}

func TestADatabaseIsTheTenantOrNothing(t *testing.T) {
	d := openDoor(t, nil)
	connect := func(user, secret, database string) error {
		c := d.config(t, user, secret)
		c.Database = database
		conn, err := pgx.ConnectConfig(t.Context(), c)
		if err == nil {
			_ = conn.Close(context.Background())
		}
		return err
	}
	for _, database := range []string{"", "app@1", "1", "hospital-a"} {
		check(t, connect("app@1", d.secret, database))
	}
	var texts []string
	for _, database := range []string{"hospital-b", "2", "nothing", "app@2"} {
		err := connect("app@1", d.secret, database)
		wantState(t, err, "3D000")
		var e *pgconn.PgError
		asPg(err, &e)
		texts = append(texts, e.Message)
	}
	for _, s := range texts {
		if s != texts[0] {
			t.Fatalf("the refusals differ: %q", texts)
		}
	}
	wantState(t, connect("app@1", d.other, ""), "28P01")
	wantState(t, connect("nobody@1", d.secret, ""), "28P01")
	wantState(t, connect("app@99", d.secret, ""), "28P01")
}

func TestShutdownLetsStatementsFinish(t *testing.T) {
	d := openDoor(t, nil)
	busy, idle := d.loggedIn(t), d.loggedIn(t)
	busy.send(&pgproto3.Query{String: "SELECT pg_sleep(0.3)"})
	s := d.srv.session(busy.h.PID)
	eventually(t, "the statement runs", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.running
	})
	done := make(chan error, 1)
	go func() { done <- d.srv.Shutdown(context.Background()) }()
	idle.want("E(FATAL 57P01).")
	busy.want("TDCZI")
	busy.want("E(FATAL 57P01).")
	check(t, <-done)
	if _, err := pgconn.ConnectConfig(t.Context(), &d.config(t, "app@1", d.secret).Config); err == nil {
		t.Fatal("a server that has shut down let somebody in")
	}
}

// A driver that reads FATAL before ReadyForQuery reports that its statement
// failed, and this one has been carried out.
func TestShutdownAnswersTheSyncOfAStatementThatFinished(t *testing.T) {
	d := openDoor(t, nil)
	busy := d.loggedIn(t)
	busy.send(&pgproto3.Parse{Query: "SELECT pg_sleep(0.3)"}, &pgproto3.Bind{}, &pgproto3.Execute{}, &pgproto3.Sync{})
	s := d.srv.session(busy.h.PID)
	eventually(t, "the statement runs", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.running
	})
	done := make(chan error, 1)
	go func() { done <- d.srv.Shutdown(context.Background()) }()
	busy.want("12DCZI")
	busy.want("E(FATAL 57P01).")
	check(t, <-done)
}

func TestShutdownCancelsWhatTakesTooLong(t *testing.T) {
	d := openDoor(t, nil)
	busy := d.loggedIn(t)
	busy.send(&pgproto3.Query{String: "SELECT pg_sleep(60)"})
	s := d.srv.session(busy.h.PID)
	eventually(t, "the statement runs", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.running
	})
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if err := d.srv.Shutdown(ctx); err == nil {
		t.Fatal("Shutdown did not say that it had to cancel")
	}
	busy.want("E(ERROR 57P01)ZI")
	busy.want("E(FATAL 57P01).")
}

func TestAStatementTimesOut(t *testing.T) {
	d := openDoor(t, nil)
	conn := d.connect(t)
	must(t, conn, "SET statement_timeout = '20ms'")
	_, err := conn.Exec(t.Context(), "SELECT pg_sleep(60)")
	wantState(t, err, "57014")
	must(t, conn, "SET statement_timeout = 0")
	must(t, conn, "SELECT pg_sleep(0.03)")
}

func TestAdvisoryLocksExclude(t *testing.T) {
	d := openDoor(t, nil)
	a, b, other := d.connect(t), d.connect(t), d.connectAs(t, "app@2", d.other)
	must(t, a, "SELECT pg_advisory_lock(42)")
	must(t, a, "SELECT pg_advisory_lock($1)", 42)
	if got := oneValue(t, b, "SELECT pg_try_advisory_lock(42)"); got != "f" {
		t.Fatalf("the lock was given twice: %s", got)
	}
	if got := oneValue(t, other, "SELECT pg_try_advisory_lock(42)"); got != "t" {
		t.Fatalf("another tenant's lock excludes: %s", got)
	}
	if got := oneValue(t, b, "SELECT pg_try_advisory_lock(0, 42)"); got != "t" {
		t.Fatalf("a pair of numbers is the same lock as one: %s", got)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := b.Exec(t.Context(), "SELECT pg_advisory_lock(42)"); err != nil {
			t.Error(err)
		}
	})
	must(t, a, "SELECT pg_advisory_unlock(42)")
	if got := oneValue(t, a, "SELECT pg_advisory_unlock(42)"); got != "t" {
		t.Fatal("the second unlock did not find its lock")
	}
	wg.Wait()
	if got := oneValue(t, a, "SELECT pg_advisory_unlock(42)"); got != "f" {
		t.Fatal("a third unlock found a lock")
	}
	// A transaction's lock goes with it, and a session's with the session.
	must(t, a, "BEGIN")
	must(t, a, "SELECT pg_advisory_xact_lock(43)")
	if got := oneValue(t, b, "SELECT pg_try_advisory_lock_shared(43)"); got != "f" {
		t.Fatal("a transaction's lock does not exclude")
	}
	must(t, a, "ROLLBACK")
	if got := oneValue(t, b, "SELECT pg_try_advisory_lock_shared(43)"); got != "t" {
		t.Fatal("a transaction's lock outlives it")
	}
	// Two that wait for each other.
	must(t, a, "SELECT pg_advisory_lock(50)")
	must(t, b, "SELECT pg_advisory_lock(51)")
	wg.Go(func() { _, _ = a.Exec(t.Context(), "SELECT pg_advisory_lock(51)") })
	eventually(t, "a waits", func() bool {
		d.srv.locks.mu.Lock()
		defer d.srv.locks.mu.Unlock()
		_, waits := d.srv.locks.waitsFor(d.srv.session(a.PgConn().PID()))
		return waits
	})
	_, err := b.Exec(t.Context(), "SELECT pg_advisory_lock(50)")
	wantState(t, err, "40P01")
	check(t, b.Close(context.Background()))
	wg.Wait()
	d.srv.locks.mu.Lock()
	defer d.srv.locks.mu.Unlock()
	if len(d.srv.locks.held) != 2 {
		t.Fatalf("%d sessions hold locks", len(d.srv.locks.held))
	}
}

func TestSettingsAreKeptAndReported(t *testing.T) {
	d := openDoor(t, nil)
	conn := d.connect(t)
	for name, want := range map[string]string{
		"server_encoding": "UTF8", "client_encoding": "UTF8", "DateStyle": "ISO, MDY", "TimeZone": "UTC", "integer_datetimes": "on",
		"standard_conforming_strings": "on", "is_superuser": "off", "session_authorization": "app@1", "in_hot_standby": "off",
		"default_transaction_read_only": "off", "IntervalStyle": "postgres", "server_version": "15.0 (Kimberlite test)",
	} {
		if got := conn.PgConn().ParameterStatus(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	must(t, conn, "SET application_name = 'x'")
	if got := conn.PgConn().ParameterStatus("application_name"); got != "x" {
		t.Errorf("application_name was reported as %q", got)
	}
	must(t, conn, "BEGIN")
	must(t, conn, "SET LOCAL application_name = 'y'")
	must(t, conn, "SET statement_timeout = '5s'")
	if got := oneValue(t, conn, "SHOW application_name"); got != "y" {
		t.Error(got)
	}
	must(t, conn, "ROLLBACK")
	if got := rowsOf(t, conn, "SHOW application_name; SHOW statement_timeout"); strings.Join(got, ",") != "x,0" {
		t.Error(got)
	}
	for sql, want := range map[string]string{
		"SET client_encoding = 'LATIN1'": "0A000", "SET timezone = 'Europe/Berlin'": "0A000", "SET nonsense = 1": "42704", "SET server_version = '1'": "55P02",
		"SET statement_timeout = 'soon'": "22023", "SHOW nonsense": "42704",
	} {
		_, err := conn.Exec(t.Context(), sql)
		if state(err) != want {
			t.Errorf("%s: %s, want %s", sql, state(err), want)
		}
	}
	must(t, conn, "SET my.thing = 'z'")
	if got := rowsOf(t, conn, "SHOW my.thing; SELECT set_config('my.thing', 'zz', false); SHOW my.thing; SELECT current_setting('my.thing')"); strings.Join(got, ",") != "z,zz,zz,zz" {
		t.Error(got)
	}
	if got := rowsOf(t, conn, "SHOW ALL"); len(got) < 50 {
		t.Errorf("SHOW ALL has %d rows", len(got))
	}
	must(t, conn, "DISCARD ALL")
	if got := oneValue(t, conn, "SHOW application_name"); got != "" {
		t.Error(got)
	}
}

func TestAnIdleSessionIsEnded(t *testing.T) {
	d := openDoor(t, func(c *Config, _ *node.Config) { c.Limits.IdleTimeout = 30 * time.Millisecond })
	d.loggedIn(t).want("E(FATAL 57P05).")
}

func TestOneSessionEndsAnotherOfItsTenantOnly(t *testing.T) {
	d := openDoor(t, nil)
	a, b, other := d.connect(t), d.connect(t), d.connectAs(t, "app@2", d.other)
	pid := oneValue(t, b, "SELECT pg_backend_pid()")
	if got := oneValue(t, other, "SELECT pg_terminate_backend("+pid+")"); got != "f" {
		t.Fatal("another tenant's session was ended")
	}
	must(t, b, "SELECT 1")
	if got := oneValue(t, a, "SELECT pg_terminate_backend("+pid+")"); got != "t" {
		t.Fatal("the session was not found")
	}
	_, err := b.Exec(t.Context(), "SELECT 1")
	if err == nil {
		t.Fatal("the session goes on")
	}
}
