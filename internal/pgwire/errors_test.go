package pgwire

import (
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/node"
)

func TestErrorsSayWhatClientsNeed(t *testing.T) {
	quota := fault.New("write", fault.QuotaExceeded, "the log is full")
	quota.Quota = &fault.Quota{Limit: "max_log_size", Value: 100, Usage: 99}
	rate := fault.New("write", fault.RateLimited, "too many")
	rate.Quota = &fault.Quota{Limit: "max_ops_per_sec", Value: 5, Usage: 5, RetryAfter: 200 * time.Millisecond}
	for name, c := range map[string]struct {
		err  error
		want pgproto3.ErrorResponse
	}{
		"a constraint": {
			fault.New("sql", fault.Constraint, "no").WithState("23505").WithConstraint("t", "id", "t_pkey"),
			pgproto3.ErrorResponse{Code: "23505", Message: "no", SchemaName: "public", TableName: "t", ColumnName: "id", ConstraintName: "t_pkey", Routine: "KL017"},
		},
		"a position of a cause": {
			fault.Wrap("bind", fault.SQL, fault.New("sql", fault.SQL, "inner").WithPosition(7).WithState("42703"), "outer"),
			pgproto3.ErrorResponse{Code: "42703", Message: "outer: inner", Position: 7, Routine: "KL018"},
		},
		"a quota":            {quota, pgproto3.ErrorResponse{Code: "53400", Message: "the log is full", Hint: "max_log_size is 100, in use 99. Waiting does not help: free some, or have the limit raised.", Routine: "KL007"}},
		"a rate":             {rate, pgproto3.ErrorResponse{Code: "53400", Message: "too many", Hint: "max_ops_per_sec is 5, in use 5. Try again in 200ms.", Routine: "KL008"}},
		"one of nobody's":    {errors.New("row data"), pgproto3.ErrorResponse{Code: "XX000", Message: "internal error: see the server's log", Routine: "KL001"}},
		"an inner of nobody": {fault.Wrap("x", fault.Internal, errors.New("row data"), "it broke"), pgproto3.ErrorResponse{Code: "XX000", Message: "it broke", Routine: "KL001"}},
	} {
		got := *response("ERROR", c.err)
		c.want.Severity, c.want.SeverityUnlocalized = "ERROR", "ERROR"
		if got.Code != c.want.Code || got.Message != c.want.Message || got.Hint != c.want.Hint || got.Position != c.want.Position || got.Routine != c.want.Routine ||
			got.SchemaName != c.want.SchemaName || got.TableName != c.want.TableName || got.ColumnName != c.want.ColumnName || got.ConstraintName != c.want.ConstraintName {
			t.Errorf("%s:\n%+v, want\n%+v", name, got, c.want)
		}
	}
}

func TestPositionsCountInTheWholeText(t *testing.T) {
	d := openDoor(t, nil)
	conn := d.connect(t)
	_, err := conn.PgConn().Exec(t.Context(), "SELECT 'é'; SELECT nothing").ReadAll()
	wantState(t, err, "42703")
	var e pgproto3.ErrorResponse
	c := d.loggedIn(t)
	c.send(&pgproto3.Query{String: "SELECT 'é'; SELECT nothing"})
	for {
		r, err := c.read()
		check(t, err)
		if r.kind == 'E' {
			check(t, e.Decode(r.body))
			break
		}
	}
	if e.Position != 20 {
		t.Fatalf("the position is %d, want 20", e.Position)
	}
}

// shaky panics when a SHOW is done.
type shaky struct{ *counter }

func (s shaky) StatementDone(_ ident.TenantID, tag string, _ time.Duration, _ int64, _ error) {
	if tag == "SHOW" {
		panic("secret row data")
	}
}

func TestAPanicEndsOnlyItsSession(t *testing.T) {
	d := openDoor(t, func(c *Config, _ *node.Config) { c.Observer = shaky{&counter{}} })
	other, c := d.connect(t), d.loggedIn(t)
	must(t, other, "BEGIN")
	c.send(&pgproto3.Query{String: "SHOW timezone"})
	var all strings.Builder
	for {
		r, err := c.read()
		if err != nil {
			if !errors.Is(err, io.EOF) {
				t.Fatal(err)
			}
			break
		}
		all.WriteByte(r.kind)
		all.Write(r.body)
	}
	if got := all.String(); !strings.Contains(got, "XX000") || strings.Contains(got, "secret") {
		t.Fatalf("the session ended with %q", got)
	}
	must(t, other, "COMMIT")
}
