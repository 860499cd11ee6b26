package pgwire

import (
	"bufio"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"kimberlite/internal/credential"
	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/quota"
	"kimberlite/internal/shard"
)

// limit sets the first tenant's rate to one operation a second and uses it up.
func limit(t *testing.T, d *door, conn *pgx.Conn) {
	t.Helper()
	check(t, d.node.SetTenant(t.Context(), ident.MustTenantID(1), shard.Change{Limits: &quota.Limits{MaxOpsPerSec: 1}}))
	for {
		_, err := conn.Exec(t.Context(), "SELECT 1", pgx.QueryExecModeSimpleProtocol)
		if err != nil {
			wantState(t, err, "53400")
			return
		}
	}
}

// occupy leaves the first tenant no slot: every operation is refused.
func occupy(t *testing.T, d *door) {
	t.Helper()
	holder := d.connect(t)
	must(t, holder, "BEGIN")
	must(t, holder, "SELECT 1", pgx.QueryExecModeSimpleProtocol)
	check(t, d.node.SetTenant(t.Context(), ident.MustTenantID(1), shard.Change{Limits: &quota.Limits{MaxConcurrentOps: 1}}))
}

// holdBack makes the next refusal of the first tenant one that waits longest.
func holdBack(t *testing.T, d *door) {
	t.Helper()
	tn, err := d.node.Tenant(ident.MustTenantID(1))
	check(t, err)
	for tn.PauseBeforeRefusal(fault.New("test", fault.RateLimited, "refused")) < quota.MaxPause {
		continue
	}
}

func TestRefusalsArePacedAndStillSayWhy(t *testing.T) {
	d := openDoor(t, nil)
	conn := d.connect(t)
	limit(t, d, conn)
	refused, start := 0, time.Now()
	for refused < 24 {
		_, err := conn.Exec(t.Context(), "SELECT 1", pgx.QueryExecModeSimpleProtocol)
		if err == nil {
			continue // a second has passed
		}
		refused++
		var e *pgconn.PgError
		if !asPg(err, &e) || e.Code != "53400" || !strings.Contains(e.Hint, "max_ops_per_sec is 1, in use 1. Try again in ") {
			t.Fatalf("%v, hint %q", err, e.Hint)
		}
	}
	// Some are told at once, the others 20 ms apart.
	if took := time.Since(start); took < 200*time.Millisecond {
		t.Fatalf("%d refusals took %v", refused, took)
	}
	other := d.connectAs(t, "app@2", d.other)
	must(t, other, "SELECT 1")
}

func TestAPausedRefusalEndsWhenItIsCancelled(t *testing.T) {
	d := openDoor(t, nil)
	conn := d.connect(t)
	occupy(t, d)
	const rounds = 6
	start := time.Now()
	for range rounds {
		holdBack(t, d)
		s := d.srv.session(conn.PgConn().PID())
		over, cancelled := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(cancelled)
			tick := time.NewTicker(5 * time.Millisecond)
			defer tick.Stop()
			for {
				select {
				case <-tick.C:
					s.cancelStatement(errUserCancel) // which does nothing when none runs
				case <-over:
					return
				}
			}
		}()
		_, err := conn.Exec(t.Context(), "SELECT 1", pgx.QueryExecModeSimpleProtocol)
		close(over)
		<-cancelled
		if got := state(err); got != "53400" && got != "57014" { // cancelled before it was refused
			t.Fatal(err)
		}
	}
	if took := time.Since(start); took > rounds*quota.MaxPause*2/3 {
		t.Fatalf("%d cancelled refusals took %v", rounds, took)
	}
}

func TestATimeLimitOfTheClientShortensNoPause(t *testing.T) {
	d := openDoor(t, nil)
	conn := d.connect(t)
	must(t, conn, "SET statement_timeout = '1ms'")
	occupy(t, d)
	holdBack(t, d)
	start := time.Now()
	_, err := conn.Exec(t.Context(), "SELECT 1", pgx.QueryExecModeSimpleProtocol)
	wantState(t, err, "53400")
	if time.Since(start) < quota.MaxPause/2 {
		t.Fatal("a time limit of the client's own gets it refused without a pause")
	}
}

func TestAPausedRefusalEndsWithItsCredentialAndWithTheServer(t *testing.T) {
	for name, end := range map[string]func(t *testing.T, d *door){
		"revoked": func(t *testing.T, d *door) {
			check(t, d.auth.Revoke(t.Context(), ident.MustTenantID(1), "leaver"))
		},
		"shut down": func(t *testing.T, d *door) {
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			defer cancel()
			check(t, d.srv.Shutdown(ctx))
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := openDoor(t, nil)
			secret := d.credential(t, 1, "leaver", credential.Owner)
			c, err := pgconn.ConnectConfig(t.Context(), &d.config(t, "leaver@1", secret).Config)
			check(t, err)
			h, err := c.Hijack()
			check(t, err)
			defer func() { _ = h.Conn.Close() }()
			check(t, h.Conn.SetDeadline(time.Now().Add(15*time.Second)))
			client := &raw{tb: t, conn: h.Conn, r: bufio.NewReader(h.Conn), h: h}
			occupy(t, d)
			holdBack(t, d)
			client.send(&pgproto3.Query{String: "SELECT 1"})
			s := d.srv.session(client.h.PID)
			eventually(t, "the statement is held back", func() bool {
				s.mu.Lock()
				defer s.mu.Unlock()
				return s.running
			})
			start := time.Now()
			end(t, d)
			got := client.kinds()
			for !strings.Contains(got, "FATAL") {
				got += client.kinds()
			}
			if took := time.Since(start); took > quota.MaxPause*9/10 {
				t.Fatalf("it took %v until %s", took, got)
			}
		})
	}
}
