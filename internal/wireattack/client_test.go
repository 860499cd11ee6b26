package wireattack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

// attacker is a credential of the second tenant and its connection, which is
// made anew when an attack has cost it.
type attacker struct {
	w     *world
	name  string
	tap   tap
	conn  *pgconn.PgConn
	setup string // what each connection begins with
}

func (w *world) attacker(t *testing.T, name, setup string) *attacker {
	t.Helper()
	a := &attacker{w: w, name: name, setup: setup}
	a.ready(t)
	t.Cleanup(func() { close1(a.conn) })
	return a
}

// ready brings the connection back to where a session begins. One that the
// server has closed must have been told why.
func (a *attacker) ready(t testing.TB) *pgconn.PgConn {
	t.Helper()
	if a.conn != nil && !a.conn.IsClosed() {
		if a.conn.TxStatus() != 'I' {
			must(t, a.conn, "ROLLBACK")
		}
		return a.conn
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, err := pgconn.ConnectConfig(ctx, a.w.config(t, a.name, attackerName, "", &a.tap))
	if err != nil {
		t.Fatalf("the attacker cannot log in any more: %v", err)
	}
	a.conn = c
	if a.setup != "" {
		must(t, c, a.setup)
	}
	return c
}

// judge looks at what came back since the last call, and at an error.
func (a *attacker) judge(t testing.TB, way string, err error) {
	t.Helper()
	if found, first, _ := a.tap.take(); found != "" && !strings.Contains(strings.ToLower(a.w.said), mark) {
		t.Errorf("%s: something of the victim's came back (%s): %.4000q", way, found, first)
	}
	var e *pgconn.PgError
	switch {
	case err == nil:
	case errors.As(err, &e):
		a.judgeError(t, way, e)
	case errors.Is(err, context.DeadlineExceeded):
		t.Errorf("%s: no answer in time", way)
	case a.conn.IsClosed() && !refusedByClient(err) && len(a.w.said) < 64<<20: // an answer may be lost to who still sends
		t.Errorf("%s: the connection was closed without a word: %v", way, err)
	}
}

// refusedByClient says that pgx did not even send it.
func refusedByClient(err error) bool {
	return strings.Contains(err.Error(), "too large") || strings.Contains(err.Error(), "invalid length") || strings.Contains(err.Error(), "exceed")
}

// pathLike is what no error tells of where files are, nor of the program.
var pathLike = regexp.MustCompile(`projection\.db|shards/|/tenants/|\.segment|keyring|/tmp|/proc|goroutine|\.go:`)

// judgeError looks at the text of an error.
func (a *attacker) judgeError(t testing.TB, way string, e *pgconn.PgError) {
	t.Helper()
	text := strings.Join([]string{e.Message, e.Detail, e.Hint, e.Where, e.SchemaName, e.TableName, e.ColumnName, e.DataTypeName, e.ConstraintName, e.File, e.Routine, e.InternalQuery}, "\n")
	if strings.HasPrefix(e.Code, "XX") || e.Code == "" || e.Message == "" {
		t.Errorf("%s: it broke something: %s %s", way, e.Code, text)
	}
	if strings.Contains(text, ownMark) && !strings.Contains(a.w.said, ownMark) {
		t.Errorf("%s: the error tells row data: %s", way, text)
	}
	for _, path := range pathLike.FindAllString(text, -1) {
		if !strings.Contains(a.w.said, path) {
			t.Errorf("%s: the error tells a path: %s", way, text)
		}
	}
	if len(text) > 16<<10 && 10*len(a.w.said) < len(text) {
		t.Errorf("%s: an error of %d bytes", way, len(text))
	}
}

// way is a way for SQL to the server.
type way struct {
	name string
	run  func(ctx context.Context, c *pgconn.PgConn, sql string, args []any) error
}

// ways are all that the protocol has.
var ways = []way{
	{"simple", func(ctx context.Context, c *pgconn.PgConn, sql string, _ []any) error {
		return drained(c.Exec(ctx, sql))
	}},
	{"extended", func(ctx context.Context, c *pgconn.PgConn, sql string, args []any) error {
		return drainedRows(c.ExecParams(ctx, numbered(sql, args), texts(args), nil, nil, nil))
	}},
	{"extended, binary", func(ctx context.Context, c *pgconn.PgConn, sql string, args []any) error {
		return drainedRows(c.ExecParams(ctx, numbered(sql, args), texts(args), nil, nil, []int16{1}))
	}},
	{"in a transaction", func(ctx context.Context, c *pgconn.PgConn, sql string, _ []any) error {
		return drained(c.Exec(ctx, "BEGIN;"+sql+"\n;ROLLBACK"))
	}},
	{"in a failed transaction", func(ctx context.Context, c *pgconn.PgConn, sql string, _ []any) error {
		if err := drained(c.Exec(ctx, "BEGIN")); err != nil {
			return err
		}
		_ = drained(c.Exec(ctx, "SELECT 1/0"))
		return drained(c.Exec(ctx, sql))
	}},
	{"COPY TO", func(ctx context.Context, c *pgconn.PgConn, sql string, _ []any) error {
		_, err := c.CopyTo(ctx, io.Discard, "COPY ("+sql+"\n) TO STDOUT")
		return err
	}},
	{"COPY TO as CSV", func(ctx context.Context, c *pgconn.PgConn, sql string, _ []any) error {
		_, err := c.CopyTo(ctx, io.Discard, "COPY ("+sql+"\n) TO STDOUT WITH (FORMAT csv, HEADER)")
		return err
	}},
	{"PREPARE", func(ctx context.Context, c *pgconn.PgConn, sql string, _ []any) error {
		defer func() { _ = drained(c.Exec(ctx, "DEALLOCATE ALL")) }()
		if err := drained(c.Exec(ctx, "PREPARE planted AS "+sql)); err != nil {
			return err
		}
		return drained(c.Exec(ctx, "EXECUTE planted"))
	}},
	{"a portal in portions", inPortions},
	{"a cursor", func(ctx context.Context, c *pgconn.PgConn, sql string, _ []any) error {
		return drained(c.Exec(ctx, "BEGIN; DECLARE planted CURSOR FOR "+sql+"\n; FETCH 5 FROM planted; CLOSE planted; ROLLBACK"))
	}},
	{"EXPLAIN", func(ctx context.Context, c *pgconn.PgConn, sql string, _ []any) error {
		return drained(c.Exec(ctx, "EXPLAIN "+sql))
	}},
	{"a subquery", func(ctx context.Context, c *pgconn.PgConn, sql string, _ []any) error {
		return drained(c.Exec(ctx, "SELECT * FROM ("+sql+"\n) AS planted"))
	}},
}

// drained reads all results and keeps none.
func drained(r *pgconn.MultiResultReader) error {
	for r.NextResult() {
		for rows := r.ResultReader(); rows.NextRow(); {
		}
	}
	return r.Close()
}

func drainedRows(r *pgconn.ResultReader) error {
	for r.NextRow() {
	}
	_, err := r.Close()
	return err
}

// numbered writes parameters as PostgreSQL's clients do, for those attacks
// that have as many arguments as question marks.
func numbered(sql string, args []any) string {
	if len(args) == 0 || strings.Count(sql, "?") != len(args) {
		return sql
	}
	for i := range args {
		sql = strings.Replace(sql, "?", fmt.Sprintf("$%d", i+1), 1)
	}
	return sql
}

// texts are arguments as text.
func texts(args []any) [][]byte {
	var all [][]byte
	for _, a := range args {
		switch v := a.(type) {
		case string:
			all = append(all, []byte(v))
		case int, int64, uint64, float64:
			all = append(all, fmt.Append(nil, v))
		default:
			all = append(all, nil)
		}
	}
	return all
}

// inPortions runs a statement by a named portal, a few rows at a time.
func inPortions(ctx context.Context, c *pgconn.PgConn, sql string, args []any) error {
	f := c.Frontend()
	f.SendParse(&pgproto3.Parse{Name: "portioned", Query: numbered(sql, args)})
	f.SendBind(&pgproto3.Bind{DestinationPortal: "portal", PreparedStatement: "portioned", Parameters: texts(args)})
	f.SendDescribe(&pgproto3.Describe{ObjectType: 'P', Name: "portal"})
	for range 3 {
		f.SendExecute(&pgproto3.Execute{Portal: "portal", MaxRows: 2})
	}
	f.SendClose(&pgproto3.Close{ObjectType: 'S', Name: "portioned"})
	f.SendSync(&pgproto3.Sync{})
	// Again, as the first failure skips the Close.
	f.SendClose(&pgproto3.Close{ObjectType: 'S', Name: "portioned"})
	f.SendSync(&pgproto3.Sync{})
	if err := f.Flush(); err != nil {
		return err
	}
	var failed error
	for ready := 0; ready < 2; {
		m, err := c.ReceiveMessage(ctx)
		if err != nil {
			return errors.Join(failed, err)
		}
		switch m := m.(type) {
		case *pgproto3.ErrorResponse:
			failed = pgconn.ErrorResponseToPgError(m)
		case *pgproto3.ReadyForQuery:
			ready++
		}
	}
	return failed
}

// send sends a statement by one way and judges what comes back.
func (a *attacker) send(t testing.TB, how way, sql string, args []any) error {
	t.Helper()
	c := a.ready(t)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	start := time.Now()
	err := how.run(ctx, c, sql, args)
	if took := time.Since(start); took > patience/2 {
		t.Errorf("%s: it took %v", how.name, took)
	}
	a.judge(t, a.name+", "+how.name, err)
	return err
}

func query(sql string) *pgproto3.Query { return &pgproto3.Query{String: sql} }

func errorsAs(err error, target **pgconn.PgError) bool { return errors.As(err, target) }
