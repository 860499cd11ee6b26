package torture

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"kimberlite"
)

// misuseCaches asks the same text of several tenants, again and again, while
// tenants are evicted and schemas change underneath it.
func (w *attackWorld) misuseCaches() {
	const text = `SELECT secret FROM own ORDER BY id`
	w.attack("the victim's statement after its eviction", succeeds, func(ctx context.Context) (string, error) {
		var all strings.Builder
		for range 5 {
			if _, err := drained(w.victim.Query(ctx, text)); err != nil {
				return "", err
			}
			mine, err := drained(w.attacker.Query(ctx, text))
			if err != nil {
				return "", err
			}
			all.WriteString(mine)
		}
		if !strings.Contains(all.String(), w.secrets.own) {
			w.t.Error("the attacker does not see its own row")
		}
		return all.String(), nil
	})
	w.attack("the victim's statement after the table is gone", kinds(kimberlite.SQL), func(ctx context.Context) (string, error) {
		if _, err := drained(w.attacker.Query(ctx, text)); err != nil {
			return "", err
		}
		w.must(w.attacker, `ALTER TABLE own RENAME TO renamed`)
		_, err := drained(w.attacker.Query(ctx, text))
		w.must(w.attacker, `ALTER TABLE renamed RENAME TO own`)
		return "", err
	})
	w.attack("a statement over columns that change", succeeds, func(ctx context.Context) (string, error) {
		var all strings.Builder
		for i := range 3 {
			w.must(w.attacker, fmt.Sprintf(`ALTER TABLE own ADD COLUMN c%d DEFAULT 'c%d'`, i, i))
			mine, err := drained(w.attacker.Query(ctx, `SELECT * FROM own`))
			if err != nil {
				return "", err
			}
			if !strings.Contains(mine, fmt.Sprintf("c%d", i)) {
				w.t.Errorf("the statement does not see column c%d", i)
			}
			all.WriteString(mine)
		}
		for i := range 3 {
			w.must(w.attacker, fmt.Sprintf(`ALTER TABLE own DROP COLUMN c%d`, i))
		}
		return all.String(), nil
	})
	w.attack("a read-only answer from before the schema changed", kinds(kimberlite.Denied), func(ctx context.Context) (string, error) {
		w.must(w.attacker, `CREATE TABLE shape(a)`)
		readOnly, err := w.attacker.ReadOnly(ctx, `SELECT * FROM shape`)
		if err != nil || !readOnly {
			w.t.Errorf("read only: %v, %v", readOnly, err)
		}
		w.must(w.attacker, `DROP TABLE shape`)
		w.must(w.attacker, `CREATE VIEW shape AS SELECT * FROM _kimberlite_meta`)
		_, err = w.attacker.ReadOnly(ctx, `SELECT * FROM shape`)
		_, queryErr := drained(w.attacker.Query(ctx, `SELECT * FROM shape`))
		w.judge(kinds(kimberlite.Denied), queryErr)
		w.must(w.attacker, `DROP VIEW shape`)
		return "", err
	})
	w.attack("many texts in one cache", succeeds, func(ctx context.Context) (string, error) {
		var all strings.Builder
		for i := range 100 {
			mine, err := drained(w.attacker.Query(ctx, fmt.Sprintf(`SELECT %d, secret FROM own`, i)))
			if err != nil {
				return "", err
			}
			all.WriteString(mine)
		}
		return all.String(), nil
	})
	w.attack("everybody at once", succeeds, func(ctx context.Context) (string, error) {
		return w.everybodyAtOnce(ctx, text)
	})
}

// everybodyAtOnce lets all three tenants run the same text at the same time,
// with one of them open at a time: each must only ever see its own.
func (w *attackWorld) everybodyAtOnce(ctx context.Context, text string) (string, error) {
	var (
		wg   sync.WaitGroup
		mu   sync.Mutex // guards all and errs
		all  strings.Builder
		errs []error
	)
	for _, x := range []*kimberlite.Tenant{w.victim, w.attacker, w.other} {
		for range 2 {
			wg.Go(func() {
				for range 15 {
					got, err := drained(x.Query(ctx, text))
					mu.Lock()
					if errs = append(errs, err); x != w.victim {
						all.WriteString(got)
					} else if strings.Contains(got, w.secrets.own) {
						errs = append(errs, errors.New("the victim sees the attacker's row"))
					}
					mu.Unlock()
				}
			})
		}
	}
	wg.Wait()
	return all.String(), errors.Join(errs...)
}

// misuseQuotas runs into the attacker's limits, once while the victim rests
// and once while it works: what the attacker is told must be the same.
func (w *attackWorld) misuseQuotas() {
	for _, q := range []struct {
		name   string
		limits kimberlite.Limits
		want   kimberlite.Kind
		use    func(context.Context) error
	}{
		{"log bytes", kimberlite.Limits{MaxLogSize: 1}, kimberlite.QuotaExceeded, func(ctx context.Context) error {
			_, err := w.attacker.Exec(ctx, `UPDATE own SET n = 9`)
			return err
		}},
		{"projection bytes", kimberlite.Limits{MaxProjections: 4 << 20}, kimberlite.QuotaExceeded, func(ctx context.Context) error {
			_, err := w.attacker.Exec(ctx, `INSERT INTO own(secret) SELECT randomblob(1000) FROM generate_series(1, 8000)`)
			return err
		}},
		{"operations at once", kimberlite.Limits{MaxConcurrentOps: 1}, kimberlite.TooManyOps, func(ctx context.Context) error {
			rows, err := w.attacker.Query(ctx, `SELECT value FROM generate_series(1, 1000)`)
			if err != nil {
				return err
			}
			defer rows.Close() //nolint:errcheck // nothing to say
			_, err = w.attacker.Query(ctx, `SELECT 1`)
			return err
		}},
		{"operations per second", kimberlite.Limits{MaxOpsPerSec: 5}, kimberlite.RateLimited, func(ctx context.Context) error {
			for range 1000 {
				if _, err := drained(w.attacker.Query(ctx, `SELECT 1`)); err != nil {
					return err
				}
			}
			return nil
		}},
	} {
		w.attack("the limit of "+q.name, kinds(q.want), func(ctx context.Context) (string, error) {
			defer w.limit(ctx, kimberlite.Limits{})
			w.limit(ctx, q.limits)
			alone := q.use(ctx)
			stop, done := context.WithCancel(ctx)
			var wg sync.WaitGroup
			wg.Go(func() {
				for stop.Err() == nil {
					_, _ = drained(w.victim.Query(ctx, `SELECT * FROM own`))
				}
			})
			w.limit(ctx, kimberlite.Limits{})
			w.limit(ctx, q.limits)
			beside := q.use(ctx)
			done()
			wg.Wait()
			w.sameRefusal(alone, beside)
			if _, err := w.other.Exec(ctx, `UPDATE own SET n = n`); err != nil {
				w.t.Errorf("the third tenant is refused, too: %v", err)
			}
			return "", beside
		})
	}
	w.attack("limits that are none", kinds(kimberlite.Invalid), func(ctx context.Context) (string, error) {
		return "", w.db.SetTenant(ctx, attackerID, kimberlite.TenantChange{Quota: &kimberlite.Limits{MaxLogSize: -1}})
	})
}

func (w *attackWorld) limit(ctx context.Context, l kimberlite.Limits) {
	w.t.Helper()
	if err := w.db.SetTenant(ctx, attackerID, kimberlite.TenantChange{Quota: &l}); err != nil {
		w.t.Fatal(err)
	}
}

// sameRefusal compares what two refusals tell. Waiting times differ by
// themselves.
func (w *attackWorld) sameRefusal(a, b error) {
	w.t.Helper()
	var x, y *kimberlite.Error
	if !errors.As(a, &x) || !errors.As(b, &y) || x.Quota == nil || y.Quota == nil {
		w.t.Errorf("a refusal without numbers: %v; %v", a, b)
		return
	}
	p, q := *x.Quota, *y.Quota
	p.RetryAfter, q.RetryAfter = 0, 0
	if p.Limit == "max_log_size" {
		p.Usage, q.Usage = 0, 0 // the changes of the limit are in the attacker's own log
	}
	if p != q || x.Kind != y.Kind || x.Tenant != attackerID {
		w.t.Errorf("alone %+v, beside the victim %+v", x, y)
	}
}

// misuseClosed uses everything after the database was closed, and opens it
// again.
func (w *attackWorld) misuseClosed() {
	ctx := context.Background()
	closed := kinds(kimberlite.Closed)
	rows := w.opened(ctx, `SELECT value FROM generate_series(1, 3)`)
	rows.Next()
	_ = rows.Close()
	tx := w.begun(ctx)
	if _, err := tx.Exec(ctx, `DELETE FROM own`); err != nil {
		w.t.Fatal(err)
	}
	if err := w.db.Close(); err != nil { // ends the transaction, which is idle
		w.t.Fatal(err)
	}
	old, oldAttacker := w.db, w.attacker
	w.openAll()
	for name, use := range map[string]func() error{
		"exec":       func() error { _, err := oldAttacker.Exec(ctx, `DELETE FROM own`); return err },
		"query":      func() error { _, err := oldAttacker.Query(ctx, `SELECT 1`); return err },
		"begin":      func() error { _, err := oldAttacker.Begin(ctx); return err },
		"append":     func() error { _, err := oldAttacker.Append(ctx, "feed", kimberlite.Message{}); return err },
		"read":       func() error { _, err := everything(ctx, oldAttacker, "feed", 0, 0); return err },
		"table hash": func() error { _, err := oldAttacker.TableHash(ctx); return err },
		"rebuild":    func() error { return oldAttacker.RebuildProjection(ctx) },
		"rotate":     func() error { return oldAttacker.RotateKey(ctx, kimberlite.LevelDEK) },
		"a handle":   func() error { _, err := old.Tenant(attackerID); return err },
		"a new one": func() error {
			_, err := old.CreateTenant(ctx, kimberlite.TenantConfig{ID: kimberlite.MustTenantID(8), Name: "eight"})
			return err
		},
		"checkpoint":  func() error { return old.Checkpoint(ctx) },
		"transaction": func() error { _, err := tx.Exec(ctx, `DELETE FROM own`); return err },
		"commit":      func() error { _, err := tx.Commit(ctx); return err },
	} {
		want := closed
		if name == "transaction" || name == "commit" {
			want = kinds(kimberlite.Closed, kimberlite.Timeout) // why it ended
		}
		if name == "checkpoint" {
			want = anyKind // there is nothing left to write
		}
		w.attack(name+" after close", want, func(context.Context) (string, error) { return "", use() })
	}
	w.attack("rows after close", succeeds, func(context.Context) (string, error) {
		return fmt.Sprint(rows.Next(), rows.Values(), rows.Columns(), rows.Close()), rows.Err()
	})
	w.attack("close again", anyKind, func(context.Context) (string, error) { return "", old.Close() })
	w.attack("opening what is open", kinds(kimberlite.InUse), func(context.Context) (string, error) {
		_, err := kimberlite.Open(w.dir, w.options)
		w.said = w.dir
		return "", err
	})
}
