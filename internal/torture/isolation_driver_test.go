package torture

import (
	"context"
	"database/sql"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kimberlite"
	"kimberlite/driver"
)

// TestDataSourceNamesReachOneTenant aims data source names at another tenant,
// another directory or another file, and statements through database/sql.
func TestDataSourceNamesReachOneTenant(t *testing.T) {
	w := newAttackWorld(t, 2*time.Second, 3)
	if err := w.db.Checkpoint(context.Background()); err != nil {
		t.Fatal(err)
	}
	w.operator = true
	for i, s := range dataSources(w) {
		w.attack(fmt.Sprintf("source %d %s", i, strings.ReplaceAll(s.dsn, w.dir, "DATA")), s.want, func(ctx context.Context) (string, error) {
			if _, err := driver.ParseDSN(s.dsn); err == nil {
				// The driver opens a directory by itself, so that ours is closed.
				if err := w.db.Close(); err != nil {
					return "", err
				}
				defer w.openAll()
			}
			return throughDriver(ctx, s.dsn, `SELECT secret FROM own`)
		})
	}
	w.operator = false
	w.subject("statement", w.driverStatements)
	w.atLeast(50)
}

type dataSource struct {
	dsn  string
	want []kimberlite.Kind
}

func dataSources(w *attackWorld) []dataSource {
	invalid, notFound := kinds(kimberlite.Invalid), kinds(kimberlite.NotFound)
	elsewhere := kinds(kimberlite.NotFound, kimberlite.Invalid, kimberlite.Incompatible, kimberlite.Unavailable)
	key := filepath.Join(w.work, "..", "other.key")
	_ = os.WriteFile(key, []byte(strings.Repeat("k", 32)), 0o600)
	return []dataSource{
		{w.dir + "?tenant=2", succeeds},
		{w.dir + "/?tenant=2", succeeds},
		{w.dir + "/../data?tenant=2", succeeds},
		{w.dir + "?tenant=%32", succeeds},
		{w.dir + "?tenant=" + w.secrets.tenantName(attackerID), succeeds},
		{w.dir + "?tenant=2&tenant=1", invalid},
		{w.dir + "?tenant=1&tenant=2", invalid},
		{w.dir + "?tenant=2&%74enant=1", invalid},
		{w.dir + "?tenant=2&Tenant=1", invalid},
		{w.dir + "?tenant=2&TENANT=1", invalid},
		{w.dir + "?tenant=2;tenant=1", invalid},
		{w.dir + "?tenant=2&vfs=os", invalid},
		{w.dir + "?tenant=2&mode=memory&cache=shared", invalid},
		{w.dir + "?tenant=2&_pragma=writable_schema(1)", invalid},
		{w.dir + "?tenant=2&_txlock=immediate", invalid},
		{w.dir + "?tenant=2&master_key=a&master_key=b", invalid},
		{w.dir + "?tenant[]=2", invalid},
		{w.dir + "?tenant", invalid},
		{w.dir + "?tenant=", invalid},
		{w.dir + "?", invalid},
		{w.dir, invalid},
		{"", invalid},
		{"?tenant=2", invalid},
		{w.dir + "?tenant=0", invalid},
		{w.dir + "?tenant=-1", notFound},
		{w.dir + "?tenant=%2B2", notFound},
		{w.dir + "?tenant=2%00", notFound},
		{w.dir + "?tenant=2%20", notFound},
		{w.dir + "?tenant=2,1", notFound},
		{w.dir + "?tenant=2#1", notFound},
		{w.dir + "?tenant=2/1", notFound},
		{w.dir + "?tenant=../1", notFound},
		{w.dir + "?tenant=%EF%BC%91", notFound}, // a wide 1
		{w.dir + "?tenant=1e0", notFound},
		{w.dir + "?tenant=18446744073709551617", invalid},
		{w.dir + "?tenant=" + strings.Repeat("9", 1000), invalid},
		{w.dir + "?tenant=" + strings.Repeat("x", 1<<20), notFound},
		{w.dir + "?tenant=2%zz", invalid},
		{w.dir + "?tenant=1?tenant=2", elsewhere},
		{w.dir + "\x00?tenant=2", invalid},
		{"file:" + w.dir + "?tenant=2", elsewhere},
		{"file://" + w.dir + "?tenant=2", elsewhere},
		{w.dir + "/shards?tenant=2", elsewhere},
		{w.dir + "/shards/1/tenants/1?tenant=2", elsewhere},
		{w.dir + "/shards/1/tenants/1/projection.db?tenant=2", elsewhere},
		{w.dir + "/master.key?tenant=2", elsewhere},
		{w.work + "?tenant=2", elsewhere},
		{":memory:?tenant=2", elsewhere},
		{"/dev/null?tenant=2", elsewhere},
		{w.dir + "?tenant=2&master_key=" + url.QueryEscape("file://"+key), kinds(kimberlite.KeyInvalid)},
		{w.dir + "?tenant=2&master_key=" + url.QueryEscape("file:///nowhere"), kinds(kimberlite.KeyUnavailable, kimberlite.KeyInvalid)},
		{w.dir + "?tenant=2&master_key=http://localhost/", kinds(kimberlite.Invalid, kimberlite.KeyUnavailable, kimberlite.Unsupported)},
	}
}

// throughDriver asks a query of a data source.
func throughDriver(ctx context.Context, dsn, query string, args ...any) (string, error) {
	db, err := sql.Open("kimberlite", dsn)
	if err != nil {
		return "", err
	}
	defer db.Close() //nolint:errcheck // nothing is written
	return asked(ctx, db, query, args...)
}

func asked(ctx context.Context, db *sql.DB, query string, args ...any) (string, error) {
	rows, err := db.QueryContext(ctx, query, args...)
	if err != nil {
		return "", err
	}
	defer rows.Close() //nolint:errcheck // its error is that of Err
	columns, err := rows.Columns()
	if err != nil {
		return "", err
	}
	var all strings.Builder
	values := make([]any, len(columns))
	for i := range values {
		values[i] = new(any)
	}
	for rows.Next() {
		if err := rows.Scan(values...); err != nil {
			return "", err
		}
		for _, v := range values {
			all.WriteString(printable(*v.(*any)))
		}
	}
	return fmt.Sprint(columns) + all.String(), rows.Err()
}

// driverStatements sends some of the worst statements through database/sql.
func (w *attackWorld) driverStatements() {
	denied := kinds(kimberlite.Denied)
	target := filepath.Join(w.dir, "shards/1/tenants/1/projection.db")
	for _, a := range []struct {
		name, sql string
		args      []any
		want      []kimberlite.Kind
	}{
		{"attach", `ATTACH '` + target + `' AS x`, nil, denied},
		{"attach by a parameter", `ATTACH ? AS x`, []any{target}, denied},
		{"our own tables", `SELECT * FROM _kimberlite_meta`, nil, denied},
		{"pragma", `PRAGMA database_list`, nil, denied},
		{"vacuum into", `VACUUM INTO 'k2leak.db'`, nil, kinds(kimberlite.Unsupported)},
		{"begin", `BEGIN`, nil, kinds(kimberlite.Unsupported)},
		{"two statements", `SELECT 1; ATTACH 'x' AS y`, nil, kinds(kimberlite.Invalid, kimberlite.Denied)},
		{"a row that there is no memory for", `SELECT ` + strings.Repeat("zeroblob(16000000),", 20) + `1`, nil, kinds(kimberlite.TooLarge)},
		{"named and plain", `SELECT :a, ?`, []any{sql.Named("a", 1), 2}, kinds(kimberlite.Invalid)},
		{"dollars", `SELECT $2, $1`, []any{"a", "b"}, succeeds},
		{"its own rows", `SELECT * FROM own`, nil, succeeds},
	} {
		w.attack(a.name, a.want, func(ctx context.Context) (string, error) {
			w.said = w.dir
			if err := w.db.Close(); err != nil {
				return "", err
			}
			defer w.openAll()
			db, err := sql.Open("kimberlite", w.dir+"?tenant=2")
			if err != nil {
				return "", err
			}
			defer db.Close() //nolint:errcheck // nothing is left open
			_, prepareErr := db.PrepareContext(ctx, a.sql)
			w.checkError(prepareErr)
			if tx, err := db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true}); err == nil {
				_, err = tx.ExecContext(ctx, `DELETE FROM own`)
				w.judge(denied, err)
				_, err = tx.QueryContext(ctx, `DELETE FROM own RETURNING *`)
				w.judge(denied, err)
				_ = tx.Rollback()
			}
			return asked(ctx, db, a.sql, a.args...)
		})
	}
}
