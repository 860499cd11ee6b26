package driver_test

import (
	"context"
	"database/sql"
	"errors"
	"sync"
	"testing"
	"time"

	"kimberlite"
)

func begin(t *testing.T, db *sql.DB, o *sql.TxOptions) *sql.Tx {
	t.Helper()
	tx, err := db.BeginTx(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tx.Rollback() }) // done already, as a rule
	return tx
}

func TestATransactionTakesEffectWhenCommittedAndNotBefore(t *testing.T) {
	t.Parallel()
	db := one(t)
	tx := begin(t, db, nil)
	exec(t, tx, "INSERT INTO t VALUES (2, 'x')")
	exec(t, tx, "INSERT INTO t VALUES (3, 'y')")
	if n := get[int](t, tx, "SELECT count(*) FROM t"); n != 3 {
		t.Fatalf("the transaction sees %d rows", n)
	}
	if n := get[int](t, db, "SELECT count(*) FROM t"); n != 1 {
		t.Fatalf("others see %d rows", n)
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	if n := get[int](t, db, "SELECT count(*) FROM t"); n != 3 {
		t.Fatal(n)
	}
	if err := tx.Commit(); !errors.Is(err, sql.ErrTxDone) {
		t.Fatal(err)
	}
}

func TestARolledBackTransactionLeavesNothing(t *testing.T) {
	t.Parallel()
	db := one(t)
	tx := begin(t, db, nil)
	exec(t, tx, "CREATE TABLE u (v)")
	exec(t, tx, "INSERT INTO u VALUES (1)")
	exec(t, tx, "DELETE FROM t")
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	if n := get[int](t, db, "SELECT count(*) FROM t"); n != 1 {
		t.Fatal(n)
	}
	refused(t, db.QueryRow("SELECT * FROM u").Err(), kimberlite.SQL)
	exec(t, db, "INSERT INTO t VALUES (9, 'the writer is free')")
}

func TestAFailedStatementLeavesTheTransactionUsable(t *testing.T) {
	t.Parallel()
	db := one(t)
	tx := begin(t, db, nil)
	exec(t, tx, "INSERT INTO t VALUES (2, 'x')")
	_, err := tx.Exec("INSERT INTO t VALUES (3, 'y'), (2, 'again')")
	refused(t, err, kimberlite.Constraint)
	exec(t, tx, "INSERT INTO t VALUES (4, 'z')")
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	if n := get[int](t, db, "SELECT sum(id) FROM t"); n != 1+2+4 {
		t.Fatal(n)
	}
}

func TestAStatementIsPreparedForTablesThatTheTransactionMade(t *testing.T) {
	t.Parallel()
	tx := begin(t, one(t), nil)
	exec(t, tx, "CREATE TABLE u (v)")
	insert, err := tx.Prepare("INSERT INTO u VALUES (?) RETURNING v")
	if err != nil {
		t.Fatal(err)
	}
	defer insert.Close()
	var v int
	if err := insert.QueryRow(5).Scan(&v); err != nil || v != 5 {
		t.Fatal(v, err)
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
}

func TestAReadOnlyTransactionReadsOneStateAndWritesNothing(t *testing.T) {
	t.Parallel()
	db := one(t)
	tx := begin(t, db, &sql.TxOptions{ReadOnly: true})
	if n := get[int](t, tx, "SELECT count(*) FROM t"); n != 1 {
		t.Fatal(n)
	}
	exec(t, db, "INSERT INTO t VALUES (2, 'meanwhile')") // the writer is not taken
	if n := get[int](t, tx, "SELECT count(*) FROM t"); n != 1 {
		t.Fatalf("the snapshot moved: %d rows", n)
	}
	_, err := tx.Exec("INSERT INTO t VALUES (3, 'x')")
	refused(t, err, kimberlite.Denied)
	refused(t, tx.QueryRow("INSERT INTO t VALUES (3, 'x') RETURNING id").Err(), kimberlite.Denied)
	refused(t, tx.QueryRow("WITH x AS (SELECT 1) DELETE FROM t RETURNING id").Err(), kimberlite.Denied)
	stmt, err := tx.Prepare("DELETE FROM t")
	if err != nil {
		t.Fatal(err)
	}
	defer stmt.Close()
	_, err = stmt.Exec()
	refused(t, err, kimberlite.Denied)
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	if n := get[int](t, db, "SELECT count(*) FROM t"); n != 2 {
		t.Fatal(n)
	}
	// The connection is not read-only for whoever has it next.
	db.SetMaxOpenConns(1)
	exec(t, db, "INSERT INTO t VALUES (3, 'x')")
	exec(t, begin(t, db, nil), "INSERT INTO t VALUES (4, 'x')")
}

func TestEveryIsolationLevelIsServedAsSerialisable(t *testing.T) {
	t.Parallel()
	db := one(t)
	for level := sql.LevelDefault; level <= sql.LevelLinearizable; level++ {
		tx := begin(t, db, &sql.TxOptions{Isolation: level})
		before := get[int](t, tx, "SELECT count(*) FROM t")
		exec(t, db, "INSERT INTO t (v) VALUES ('between')")
		_, err := tx.Exec("INSERT INTO t (v) VALUES (?)", before)
		refused(t, err, kimberlite.Conflict)
		_ = tx.Rollback()
	}
	_, err := db.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelLinearizable + 1})
	refused(t, err, kimberlite.Invalid)
	_, err = db.BeginTx(ctx, &sql.TxOptions{Isolation: -1})
	refused(t, err, kimberlite.Invalid)
}

func TestConcurrentTransactionsThatTryAgainLoseNoIncrement(t *testing.T) {
	t.Parallel()
	db := one(t)
	exec(t, db, "INSERT INTO t VALUES (7, 0)")
	const workers, each = 4, 10
	increment := func() error {
		tx, err := db.Begin()
		if err != nil {
			return err
		}
		defer func() { _ = tx.Rollback() }()
		var n int
		if err := tx.QueryRow("SELECT v FROM t WHERE id = 7").Scan(&n); err != nil {
			return err
		}
		if _, err := tx.Exec("UPDATE t SET v = ? WHERE id = 7", n+1); err != nil {
			return err
		}
		return tx.Commit()
	}
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for range each {
				err := increment()
				for kimberlite.IsKind(err, kimberlite.Conflict) {
					err = increment()
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if n := get[int](t, db, "SELECT v FROM t WHERE id = 7"); n != workers*each {
		t.Fatal(n)
	}
}

func TestAnEndedContextRollsTheTransactionBackAndFreesTheWriter(t *testing.T) {
	t.Parallel()
	db := one(t)
	ended, stop := context.WithCancel(ctx)
	tx, err := db.BeginTx(ended, nil)
	if err != nil {
		t.Fatal(err)
	}
	exec(t, tx, "DELETE FROM t")
	stop()
	// database/sql rolls back on its own; the next write waits for it.
	exec(t, db, "INSERT INTO t VALUES (2, 'x')")
	if err := tx.Commit(); err == nil {
		t.Fatal("committed after its context ended")
	}
	if n := get[int](t, db, "SELECT count(*) FROM t"); n != 2 {
		t.Fatal(n)
	}
}

func TestAnEndedContextEndsAStatement(t *testing.T) {
	t.Parallel()
	db := one(t)
	ended, stop := context.WithCancel(ctx)
	stop()
	if _, err := db.ExecContext(ended, "DELETE FROM t"); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	const endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
	short, stop := context.WithTimeout(ctx, 50*time.Millisecond)
	defer stop()
	var n int
	began := time.Now()
	err := db.QueryRowContext(short, endless).Scan(&n)
	if !errors.Is(err, context.DeadlineExceeded) && !kimberlite.IsKind(err, kimberlite.Timeout) {
		t.Fatal(err)
	}
	_, err = db.ExecContext(short, "INSERT INTO t SELECT i, i FROM ("+endless+")")
	if !errors.Is(err, context.DeadlineExceeded) && !kimberlite.IsKind(err, kimberlite.Timeout) {
		t.Fatal(err)
	}
	if took := time.Since(began); took > 20*time.Second {
		t.Fatalf("it took %s", took)
	}
	if n := get[int](t, db, "SELECT count(*) FROM t"); n != 1 {
		t.Fatal(n)
	}
}
