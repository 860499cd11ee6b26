package torture

import (
	"context"
	"fmt"
	"strings"
	"time"

	"kimberlite"
)

func (w *attackWorld) begun(ctx context.Context) *kimberlite.Tx {
	w.t.Helper()
	tx, err := w.attacker.Begin(ctx)
	if err != nil {
		w.t.Fatal(err)
	}
	return tx
}

func (w *attackWorld) misuseTransactions() {
	closed := kinds(kimberlite.Closed)
	for name, use := range map[string]func(context.Context, *kimberlite.Tx) error{
		"exec": func(ctx context.Context, tx *kimberlite.Tx) error {
			_, err := tx.Exec(ctx, `DELETE FROM own`)
			return err
		},
		"query": func(ctx context.Context, tx *kimberlite.Tx) error { _, err := tx.Query(ctx, `SELECT 1`); return err },
		"append": func(ctx context.Context, tx *kimberlite.Tx) error {
			_, err := tx.Append(ctx, "feed", kimberlite.Message{})
			return err
		},
		"commit":   func(ctx context.Context, tx *kimberlite.Tx) error { _, err := tx.Commit(ctx); return err },
		"rollback": func(_ context.Context, tx *kimberlite.Tx) error { return tx.Rollback() },
	} {
		w.attack(name+" after commit", closed, func(ctx context.Context) (string, error) {
			tx := w.begun(ctx)
			if _, err := tx.Exec(ctx, `UPDATE own SET n = 2`); err != nil {
				return "", err
			}
			if _, err := tx.Commit(ctx); err != nil {
				return "", err
			}
			return "", use(ctx, tx)
		})
		w.attack(name+" after rollback", closed, func(ctx context.Context) (string, error) {
			tx := w.begun(ctx)
			if err := tx.Rollback(); err != nil {
				return "", err
			}
			return "", use(ctx, tx)
		})
	}
	w.attack("a transaction that is left open", kinds(kimberlite.Timeout), func(ctx context.Context) (string, error) {
		tx := w.begun(ctx)
		if _, err := tx.Exec(ctx, `DELETE FROM own`); err != nil {
			return "", err
		}
		// The next writer of the same tenant waits until the limit ends it.
		if _, err := w.attacker.Exec(ctx, `UPDATE own SET n = 3`); err != nil {
			return "", err
		}
		_, err := tx.Commit(ctx)
		return "", err
	})
	w.attack("a transaction that is forgotten", succeeds, func(ctx context.Context) (string, error) {
		tx := w.begun(ctx)
		defer tx.Rollback() //nolint:errcheck // nothing to say
		_, err := drained(tx.Query(ctx, `SELECT * FROM own`))
		w.checkBystanders() // it holds a snapshot and no writer
		w.writes--
		w.must(w.attacker, `DELETE FROM probe WHERE id > ?`, w.writes)
		w.must(w.other, `DELETE FROM probe WHERE id > ?`, w.writes)
		return "", err
	})
	w.attack("a write over a snapshot that has passed", kinds(kimberlite.Conflict), func(ctx context.Context) (string, error) {
		tx := w.begun(ctx)
		defer tx.Rollback() //nolint:errcheck // nothing to say
		if _, err := drained(tx.Query(ctx, `SELECT * FROM own`)); err != nil {
			return "", err
		}
		w.must(w.attacker, `UPDATE own SET n = 4`)
		_, err := tx.Exec(ctx, `UPDATE own SET n = 5`)
		return "", err
	})
	w.attack("a commit under a context that has ended", kinds(kimberlite.Canceled), func(ctx context.Context) (string, error) {
		tx := w.begun(ctx)
		defer tx.Rollback() //nolint:errcheck // nothing to say
		if _, err := tx.Exec(ctx, `DELETE FROM own`); err != nil {
			return "", err
		}
		ended, cancel := context.WithCancel(ctx)
		cancel()
		_, err := tx.Commit(ended)
		return "", err
	})
	w.attack("a read-only query that writes", kinds(kimberlite.Denied), func(ctx context.Context) (string, error) {
		tx := w.begun(ctx)
		defer tx.Rollback() //nolint:errcheck // nothing to say
		return drained(tx.QueryReadOnly(ctx, `DELETE FROM own RETURNING *`))
	})
	w.attack("a time that runs out in a transaction", kinds(kimberlite.Timeout), func(ctx context.Context) (string, error) {
		tx := w.begun(ctx)
		defer tx.Rollback() //nolint:errcheck // nothing to say
		if _, err := tx.Exec(ctx, `UPDATE own SET n = 6`); err != nil {
			return "", err
		}
		short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
		defer cancel()
		_, err := tx.Exec(short, `INSERT INTO own(secret) SELECT value FROM generate_series(1, 100000000)`)
		return "", err
	})
	w.attack("transactions that fight over the writer", anyKind, func(ctx context.Context) (string, error) {
		first, second := w.begun(ctx), w.begun(ctx)
		defer first.Rollback()  //nolint:errcheck // nothing to say
		defer second.Rollback() //nolint:errcheck // nothing to say
		if _, err := first.Exec(ctx, `UPDATE own SET n = 7`); err != nil {
			return "", err
		}
		short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
		defer cancel()
		_, err := second.Exec(short, `UPDATE own SET n = 8`)
		w.judge(kinds(kimberlite.Timeout), err)
		return "", err
	})
}

// hostile are structs whose fields and tags aim at more than a column.
type (
	hostileColumn struct {
		ID int `kimberlite:"id) VALUES (1); DROP TABLE own; --"`
	}
	hostileQuote struct {
		ID int `kimberlite:"a\" = 1; ATTACH 'k2leak' AS \"x"`
	}
	hostileNUL struct {
		ID int "kimberlite:\"id\x00\""
	}
	hostileUnknown struct {
		Nowhere int
	}
	hostileEmpty struct {
		id int
	}
	hostileKind struct {
		ID     int
		Secret chan int
	}
	hostileNested struct {
		ID     int
		Secret map[string]int
	}
	hostileLoop struct {
		*hostileLoop
		ID int
	}
	harmless struct {
		Secret string
		N      int
	}
	hostileRowID struct {
		Rowid  int64 `kimberlite:"rowid"`
		Secret string
	}
)

func (w *attackWorld) misuseInsert() {
	invalid, sql, denied := kinds(kimberlite.Invalid), kinds(kimberlite.SQL), kinds(kimberlite.Denied)
	for _, a := range []struct {
		name, table string
		row         any
		want        []kimberlite.Kind
	}{
		{"a column that is a statement", "own", hostileColumn{1}, sql},
		{"a column with a quote", "own", hostileQuote{1}, sql},
		{"a column with a NUL byte", "own", hostileNUL{1}, kinds(kimberlite.Invalid, kimberlite.SQL)},
		{"a column that is not there", "own", hostileUnknown{1}, sql},
		{"a struct without columns", "own", hostileEmpty{1}, invalid},
		{"a field that is no value", "own", hostileKind{1, nil}, invalid},
		{"a field that is a map", "own", hostileNested{1, nil}, invalid},
		{"a struct in itself", "own", hostileLoop{ID: 1 << 40}, anyKind},
		{"the hidden rowid", "own", hostileRowID{1 << 41, "rowid"}, succeeds},
		{"nil", "own", nil, invalid},
		{"a nil pointer", "own", (*harmless)(nil), invalid},
		{"a number", "own", 7, invalid},
		{"a map", "own", map[string]any{"secret": 1}, invalid},
		{"an empty slice", "own", []harmless{}, invalid},
		{"a slice with nil in it", "own", []*harmless{{"a", 1}, nil}, invalid},
		{"a slice of anything", "own", []any{harmless{"a", 1}}, invalid},
		{"a row that breaks a rule among others", "own", []harmless{{"i1", 1}, {"i2", 1000}}, kinds(kimberlite.Constraint)},
		{"a table that is a statement", `own"; DROP TABLE own; --`, harmless{"a", 1}, sql},
		{"a table with a NUL byte", "own\x00", harmless{"a", 1}, kinds(kimberlite.Invalid, kimberlite.SQL)},
		{"a table that is empty", "", harmless{"a", 1}, sql},
		{"a table with a schema", "main.own", harmless{"a", 1}, sql},
		{"a table of ours", "_kimberlite_meta", struct{ K, V int }{0, 1}, denied},
		{"the schema", "sqlite_schema", struct{ Name string }{"x"}, kinds(kimberlite.Denied, kimberlite.SQL)},
		{"a system table", "kimberlite.events", harmless{"a", 1}, sql},
		{"a table of a megabyte", strings.Repeat("x", 1<<20), harmless{"a", 1}, kinds(kimberlite.SQL, kimberlite.TooLarge)},
		{"an event stream", "feed", harmless{"a", 1}, kinds(kimberlite.SQL)},
	} {
		w.attack(a.name, a.want, func(ctx context.Context) (string, error) {
			w.said = a.table
			r, err := w.attacker.Insert(ctx, a.table, a.row)
			return fmt.Sprint(r), err
		})
	}
	w.attack("a batch with a row that is too short", invalid, func(ctx context.Context) (string, error) {
		_, err := w.attacker.ExecBatch(ctx, `INSERT INTO own(secret, n) VALUES (?, ?)`, [][]any{{"b1", 1}, {"b2"}})
		return "", err
	})
	w.attack("a batch without rows", anyKind, func(ctx context.Context) (string, error) {
		r, err := w.attacker.ExecBatch(ctx, `DROP TABLE own`, nil)
		return fmt.Sprint(r), err
	})
	w.attack("a batch of a text that is two statements", invalid, func(ctx context.Context) (string, error) {
		_, err := w.attacker.ExecBatch(ctx, `INSERT INTO own(secret) VALUES (?); DROP TABLE own`, [][]any{{"b1"}})
		return "", err
	})
}
