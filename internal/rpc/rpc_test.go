package rpc

import (
	"context"
	"database/sql"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"kimberlite/client"
	"kimberlite/internal/fault"
)

func TestOperatorsAdministerTenants(t *testing.T) {
	t.Parallel()
	b := newBench(t, Limits{})
	c, ctx := b.client("operator"), t.Context()
	made := must(c.CreateTenant(ctx, client.TenantConfig{
		ID: client.MustTenantID(7), Name: "clinic", Region: "us-east", Retention: 24 * time.Hour, Quota: client.Limits{MaxLogSize: 1 << 20},
	}))(t)
	if made.Name != "clinic" || made.Region != "us-east" || made.Retention != 24*time.Hour || made.Quota.MaxLogSize != 1<<20 {
		t.Errorf("made %+v", made)
	}
	if got := must(c.TenantByName(ctx, "clinic"))(t); !reflect.DeepEqual(got, made) {
		t.Errorf("by name %+v, want %+v", got, made)
	}
	_, err := c.CreateTenant(ctx, client.TenantConfig{ID: client.MustTenantID(7), Name: "other"})
	wantKind(t, err, fault.AlreadyExists)
	name, ops := "clinic-b", int64(50)
	set := must(c.SetTenant(ctx, made.ID, client.TenantChange{Name: &name, MaxOpsPerSec: &ops}))(t)
	if set.Name != name || set.Quota != (client.Limits{MaxLogSize: 1 << 20, MaxOpsPerSec: 50}) || set.Retention != made.Retention {
		t.Errorf("set %+v", set)
	}
	shorter := time.Hour
	_, err = c.SetTenant(ctx, made.ID, client.TenantChange{Retention: &shorter})
	wantKind(t, err, fault.Retained)
	if all := must(c.Tenants(ctx))(t); len(all) != 3 || all[2].ID != made.ID {
		t.Errorf("tenants %+v", all)
	}
	_, err = c.TenantInfo(ctx, client.MustTenantID(99))
	wantKind(t, err, fault.NotFound)
	clinic := c.Tenant(made.ID)
	secret, info, err := clinic.CreateCredential(ctx, "app", client.Owner, time.Time{})
	if err != nil || info.Role != client.Owner || info.Tenant != made.ID || info.State != "active" {
		t.Fatalf("%+v, %v", info, err)
	}
	b.secrets["clinic"] = secret
	if _, err := b.tenant("clinic", 7).Exec(ctx, "CREATE TABLE t(a)"); err != nil {
		t.Error(err)
	}
	if r := must(clinic.Verify(ctx))(t); r.Records == 0 || len(r.Problems) > 0 {
		t.Errorf("report %+v", r)
	}
	if u := must(clinic.Usage(ctx))(t); u.LogRecords == 0 || u.LogBytes == 0 {
		t.Errorf("usage %+v", u)
	}
	if err := clinic.RotateKey(ctx, client.LevelDEK); err != nil {
		t.Error(err)
	}
	if k := must(clinic.KeyStatus(ctx))(t); k.DEK.Uint32() != 2 || len(k.DEKs) != 2 || len(k.PublicKey) != 32 {
		t.Errorf("keys %+v", k)
	}
	if err := clinic.RebuildProjection(ctx); err != nil {
		t.Error(err)
	}
	actions := map[string]string{}
	entries, _, err := clinic.Audit(ctx, client.NewOffset(0), 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		actions[e.Action] = e.Principal + "/" + e.Role
	}
	for action, by := range map[string]string{"tenant.set": "root/operator", "key.rotate": "root/operator", "credential.create": "root/operator"} {
		if actions[action] != by {
			t.Errorf("%s is noted as of %q, want %q; all: %v", action, actions[action], by, actions)
		}
	}
	if h := must(c.Health(ctx))(t); !h.Serving || h.Tenants != 3 {
		t.Errorf("health %+v", h)
	}
	if v := must(c.Version(ctx))(t); v != "test" {
		t.Errorf("version %q", v)
	}
	secret, _, err = c.CreateOperator(ctx, "second")
	if err != nil {
		t.Fatal(err)
	}
	b.secrets["second"] = secret
	if who := must(b.client("second").WhoAmI(ctx))(t); !who.Operator || who.Name != "second" {
		t.Errorf("who %+v", who)
	}
	if err := c.RevokeOperator(ctx, "second"); err != nil {
		t.Fatal(err)
	}
	_, err = b.client("second").WhoAmI(ctx)
	wantKind(t, err, fault.Unauthenticated)
	if all := must(c.Operators(ctx))(t); len(all) != 2 || all[1].State != "revoked" {
		t.Errorf("operators %+v", all)
	}
}

func TestRowsArriveAsTheyWere(t *testing.T) {
	t.Parallel()
	b := newBench(t, Limits{})
	h, ctx := b.tenant("owner1", 1), t.Context()
	must(h.Exec(ctx, "CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT, b REAL, c BLOB, d)"))(t)
	big := strings.Repeat("long ", 100_000)
	values := [][]any{
		{int64(1), "text", 1.5, []byte{0, 255}, nil},
		{int64(math.MaxInt64), "José \x00 'q'", math.Inf(1), []byte{}, int64(-1)},
		{int64(3), big, -0.5, []byte(big), "mixed"},
		{int64(4), "not \xff utf-8", nil, nil, nil},
	}
	for _, row := range values {
		must(h.Exec(ctx, "INSERT INTO t VALUES (?, ?, ?, ?, ?)", row...))(t)
	}
	rows := must(h.Query(ctx, "SELECT * FROM t ORDER BY rowid"))(t)
	if got := rows.Columns(); !reflect.DeepEqual(got, []string{"id", "a", "b", "c", "d"}) {
		t.Errorf("columns %q", got)
	}
	if got := rows.ColumnTypes(); !reflect.DeepEqual(got, []string{"INTEGER", "TEXT", "REAL", "BLOB", ""}) {
		t.Errorf("types %q", got)
	}
	got := map[int64][]any{}
	for rows.Next() {
		v := rows.Values()
		got[v[0].(int64)] = v
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		t.Fatal(err)
	}
	for _, want := range values {
		if row := got[want[0].(int64)]; !reflect.DeepEqual(row, want) {
			t.Errorf("row %.60q, want %.60q", row, want)
		}
	}
	// Many rows take many messages.
	rows = must(h.Query(ctx, "SELECT value FROM generate_series(1, 5000)"))(t)
	n := int64(0)
	for rows.Next() {
		if n++; rows.Values()[0] != n {
			t.Fatalf("row %d is %v", n, rows.Values())
		}
	}
	if rows.Err() != nil || n != 5000 {
		t.Errorf("%d rows, %v", n, rows.Err())
	}
	var name string
	if err := h.QueryRow(ctx, "SELECT a FROM t WHERE id = :id", sql.Named("id", 1)).Scan(&name); err != nil || name != "text" {
		t.Errorf("%q, %v", name, err)
	}
	if err := h.QueryRow(ctx, "SELECT 1 WHERE 0").Scan(&name); !errors.Is(err, sql.ErrNoRows) {
		t.Errorf("no rows: %v", err)
	}
	var id int64
	if err := h.QueryRow(ctx, "INSERT INTO t(a) VALUES ('x') RETURNING 7").Scan(&id); err != nil || id != 7 {
		t.Errorf("%d, %v", id, err)
	}
	if r := must(h.ExecBatch(ctx, "INSERT INTO t(a) VALUES (?)", [][]any{{"p"}, {"q"}}))(t); r.RowsAffected != 2 {
		t.Errorf("%+v", r)
	}
}

func TestErrorsArriveAsTheyWere(t *testing.T) {
	t.Parallel()
	b := newBench(t, Limits{})
	h, ctx := b.tenant("owner1", 1), t.Context()
	must(h.Exec(ctx, "CREATE TABLE t(a INTEGER PRIMARY KEY)"))(t)
	must(h.Exec(ctx, "INSERT INTO t VALUES (1)"))(t)
	_, err := h.Exec(ctx, "INSERT INTO t VALUES (1)")
	var e *client.Error
	if !errors.As(err, &e) || e.Kind != fault.Constraint || e.State != "23505" || e.Tenant != h.ID() {
		t.Errorf("constraint: %+v", e)
	}
	_, err = h.Exec(ctx, "INSRT INTO t VALUES (1)")
	if !errors.As(err, &e) || e.Kind != fault.SQL || e.State != "42601" {
		t.Errorf("syntax: %+v", e)
	}
	_, err = h.Query(ctx, "SELECT * FROM nowhere")
	if !errors.As(err, &e) || e.Kind != fault.SQL || e.State != "42P01" {
		t.Errorf("no table: %+v", e)
	}
	one := int64(1)
	must(b.client("operator").SetTenant(ctx, h.ID(), client.TenantChange{MaxOpsPerSec: &one}))(t)
	for range 3 {
		if _, err = h.Exec(ctx, "INSERT INTO t VALUES (NULL)"); err != nil {
			break
		}
	}
	if !errors.As(err, &e) || e.Kind != fault.RateLimited || e.Quota == nil || e.Quota.Limit != "max_ops_per_sec" || e.Quota.Value != 1 || e.Quota.RetryAfter <= 0 {
		t.Errorf("rate: %+v", e)
	}
	if strings.Contains(err.Error(), "INSERT") {
		t.Errorf("the error repeats the statement: %v", err)
	}
}

func TestWritesWithAKeyTakeEffectOnce(t *testing.T) {
	t.Parallel()
	b := newBench(t, Limits{})
	h := b.tenant("owner1", 1)
	must(h.Exec(t.Context(), "CREATE TABLE t(a)"))(t)
	ctx := client.WithIdempotencyKey(t.Context(), "k1")
	for range 3 {
		must(h.Exec(ctx, "INSERT INTO t VALUES (1)"))(t)
	}
	_, err := h.Exec(ctx, "INSERT INTO t VALUES (2)")
	wantKind(t, err, fault.IdempotencyMismatch)
	var n int
	if err := h.QueryRow(t.Context(), "SELECT count(*) FROM t").Scan(&n); err != nil || n != 1 {
		t.Errorf("%d rows, %v", n, err)
	}
	// Administration: the same secret again, and not another credential.
	op := b.tenant("operator", 1)
	first, _, err := op.CreateCredential(ctx, "again", client.Reader, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	second, _, err := op.CreateCredential(ctx, "again", client.Reader, time.Time{})
	if err != nil || first != second {
		t.Errorf("the retry: another secret, or %v", err)
	}
	_, _, err = op.CreateCredential(ctx, "other", client.Reader, time.Time{})
	wantKind(t, err, fault.IdempotencyMismatch)
	// Another caller's key of the same text is another key.
	if _, _, err := b.tenant("owner1", 1).CreateCredential(ctx, "other", client.Reader, time.Time{}); err != nil {
		t.Error(err)
	}
}

func TestTransactionsSpanCalls(t *testing.T) {
	t.Parallel()
	b := newBench(t, Limits{})
	h, ctx := b.tenant("owner1", 1), t.Context()
	must(h.Exec(ctx, "CREATE TABLE t(a)"))(t)
	must(h.CreateStream(ctx, "s"))(t)
	x := must(h.Begin(ctx))(t)
	must(x.Exec(ctx, "INSERT INTO t VALUES (?)", 1))(t)
	must(x.Append(ctx, "s", client.Message{Data: []byte("m")}))(t)
	var n int
	if err := x.QueryRow(ctx, "SELECT count(*) FROM t").Scan(&n); err != nil || n != 1 {
		t.Errorf("inside: %d, %v", n, err)
	}
	if err := h.QueryRow(ctx, "SELECT count(*) FROM t").Scan(&n); err != nil || n != 0 {
		t.Errorf("outside: %d, %v", n, err)
	}
	must(x.Commit(ctx))(t)
	must(x.Commit(ctx))(t) // a retry hears the same
	if _, err := x.Exec(ctx, "INSERT INTO t VALUES (2)"); err == nil {
		t.Error("a transaction that has ended takes statements")
	}
	wantKind(t, x.Rollback(), fault.Closed)
	if err := h.QueryRow(ctx, "SELECT count(*) FROM t").Scan(&n); err != nil || n != 1 {
		t.Errorf("after: %d, %v", n, err)
	}
	x = must(h.Begin(ctx))(t)
	must(x.Exec(ctx, "DELETE FROM t"))(t)
	if err := x.Rollback(); err != nil {
		t.Error(err)
	}
	_, err := x.Exec(ctx, "DELETE FROM t")
	wantKind(t, err, fault.Closed)
	if err := h.QueryRow(ctx, "SELECT count(*) FROM t").Scan(&n); err != nil || n != 1 {
		t.Errorf("rolled back: %d, %v", n, err)
	}
}

func TestTransactionThatStandsIdleIsRolledBack(t *testing.T) {
	t.Parallel()
	b := newBench(t, Limits{TransactionIdle: 50 * time.Millisecond})
	h, ctx := b.tenant("owner1", 1), t.Context()
	must(h.Exec(ctx, "CREATE TABLE t(a)"))(t)
	x := must(h.Begin(ctx))(t)
	must(x.Exec(ctx, "INSERT INTO t VALUES (1)"))(t)
	// The writer is free again once the transaction is gone: this waits for it.
	must(h.Exec(ctx, "INSERT INTO t VALUES (2)"))(t)
	_, err := x.Commit(ctx)
	wantKind(t, err, fault.Timeout)
	var n int
	if err := h.QueryRow(ctx, "SELECT count(*) FROM t").Scan(&n); err != nil || n != 1 {
		t.Errorf("%d rows, %v", n, err)
	}
}

func TestTransactionsOfATenantAreBounded(t *testing.T) {
	t.Parallel()
	b := newBench(t, Limits{TenantTransactions: 2})
	h, ctx := b.tenant("owner1", 1), t.Context()
	first := must(h.Begin(ctx))(t)
	must(h.Begin(ctx))(t)
	_, err := h.Begin(ctx)
	wantKind(t, err, fault.TooManyOps)
	must(b.tenant("owner2", 2).Begin(ctx))(t)
	if err := first.Rollback(); err != nil {
		t.Fatal(err)
	}
	must(h.Begin(ctx))(t)
}

func TestStreamsAreReadAndFollowed(t *testing.T) {
	t.Parallel()
	b := newBench(t, Limits{})
	h, ctx := b.tenant("owner1", 1), t.Context()
	must(h.CreateStream(ctx, "s"))(t)
	must(h.Exec(ctx, "CREATE TABLE t(a, b)"))(t)
	must(h.Exec(ctx, "INSERT INTO t VALUES (1, 'x'); UPDATE t SET b = NULL; DELETE FROM t"))(t)
	first := must(h.Append(ctx, "s", client.Message{ContentType: "text/plain", Data: []byte("one")}, client.Message{Data: []byte{0xff}}))(t)
	if first.Uint64() != 0 {
		t.Errorf("first at %s", first)
	}
	events, next, err := h.Read(ctx, "s", client.NewOffset(1), 0)
	if err != nil || len(events) != 1 || next.Uint64() != 2 || events[0].Kind != client.EventMessage || events[0].Data[0] != 0xff {
		t.Errorf("%+v, %s, %v", events, next, err)
	}
	events, _, err = h.Read(ctx, "t", client.NewOffset(0), 2)
	if err != nil || len(events) != 2 || events[1].Kind != client.EventUpdate ||
		!reflect.DeepEqual(events[1].Before, []client.Field{{Name: "a", Value: int64(1)}, {Name: "b", Value: "x"}}) ||
		!reflect.DeepEqual(events[1].After, []client.Field{{Name: "a", Value: int64(1)}, {Name: "b", Value: nil}}) {
		t.Errorf("%+v, %v", events, err)
	}
	if all := must(h.Streams(ctx))(t); len(all) != 2 || all[0].Name != "s" || !all[1].Table || len(all[1].Columns) != 2 {
		t.Errorf("streams %+v", all)
	}
	enough := errors.New("enough")
	var seen []string
	err = h.Tail(ctx, "s", client.NewOffset(0), func(e client.Event) error {
		if seen = append(seen, string(e.Data)); len(seen) == 2 {
			go h.Append(ctx, "s", client.Message{Data: []byte("three")})
		}
		if len(seen) == 3 {
			return enough
		}
		return nil
	})
	if !errors.Is(err, enough) || seen[0] != "one" || seen[2] != "three" {
		t.Errorf("%q, %v", seen, err)
	}
}

func TestRevocationEndsWhatRuns(t *testing.T) {
	t.Parallel()
	b := newBench(t, Limits{})
	ctx := t.Context()
	owner := b.tenant("owner1", 1)
	must(owner.CreateStream(ctx, "s"))(t)
	must(owner.Exec(ctx, "CREATE TABLE t(a)"))(t)
	must(owner.Append(ctx, "s", client.Message{Data: []byte("m")}))(t)
	x := must(b.tenant("writer1", 1).Begin(ctx))(t)
	must(x.Exec(ctx, "INSERT INTO t VALUES (1)"))(t)

	following, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- b.tenant("reader1", 1).Tail(ctx, "s", client.NewOffset(0), func(client.Event) error {
			close(following)
			return nil
		})
	}()
	<-following
	for _, name := range []string{"reader", "writer"} {
		if err := owner.RevokeCredential(ctx, name); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case err := <-ended:
		wantKind(t, err, fault.Unauthenticated)
	case <-time.After(10 * time.Second):
		t.Fatal("the tail goes on after its credential was revoked")
	}
	_, err := x.Commit(ctx)
	wantKind(t, err, fault.Unauthenticated)
	// The transaction is gone with it: the writer is free.
	must(owner.Exec(ctx, "INSERT INTO t VALUES (2)"))(t)
	var n int
	if err := owner.QueryRow(ctx, "SELECT count(*) FROM t").Scan(&n); err != nil || n != 1 {
		t.Errorf("%d rows, %v", n, err)
	}
}

func TestDeadlineEndsAStatement(t *testing.T) {
	t.Parallel()
	b := newBench(t, Limits{})
	h := b.tenant("owner1", 1)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	began := time.Now()
	rows, err := h.Query(ctx, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n) SELECT count(*) FROM n")
	if err == nil {
		for rows.Next() {
		}
		err = rows.Err()
	}
	if err == nil || time.Since(began) > 10*time.Second {
		t.Errorf("after %s: %v", time.Since(began), err)
	}
	for deadline := time.Now().Add(10 * time.Second); ; { // the server has let go, too
		u := must(h.Usage(t.Context()))(t)
		if u.InFlight == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("usage %+v", u)
		}
	}
}
