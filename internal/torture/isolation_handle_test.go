package torture

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"kimberlite"
)

// TestNoMisuseOfTheAPIReachesAnotherTenant uses handles, structs, streams and
// results as they are not meant to be used.
func TestNoMisuseOfTheAPIReachesAnotherTenant(t *testing.T) {
	w := newAttackWorld(t, 2*time.Second, 3)
	w.subject("handle", w.misuseHandles)
	w.subject("rows", w.misuseRows)
	w.subject("insert", w.misuseInsert)
	w.subject("stream", w.misuseStreams)
	w.atLeast(200)
}

// TestNothingOutlivesAnEviction goes on with transactions, keys, statements and
// limits while one tenant is open at a time, so that every call closes another
// tenant; in the end the database itself.
func TestNothingOutlivesAnEviction(t *testing.T) {
	w := newAttackWorld(t, 2*time.Second, 1)
	w.subject("transaction", w.misuseTransactions)
	w.subject("key", w.misuseKeys)
	w.subject("cache", w.misuseCaches)
	w.subject("quota", w.misuseQuotas)
	w.subject("closed", w.misuseClosed)
	w.atLeast(55)
}

func (w *attackWorld) misuseHandles() {
	notFound, invalid := kinds(kimberlite.NotFound), kinds(kimberlite.Invalid)
	var zero kimberlite.TenantID
	for name, id := range map[string]kimberlite.TenantID{
		"the zero id": zero, "an unknown id": kimberlite.MustTenantID(4), "the largest id": kimberlite.MustTenantID(math.MaxUint64),
		"an id that overflows into the victim's": kimberlite.MustTenantID(1<<32 + 1), "another that does": kimberlite.MustTenantID(1<<63 + 1),
	} {
		w.attack(name, kinds(kimberlite.NotFound, kimberlite.Invalid), func(context.Context) (string, error) {
			x, err := w.db.Tenant(id)
			if x != nil {
				w.t.Error("there is a handle")
			}
			return "", err
		})
		w.attack("the description of "+name, kinds(kimberlite.NotFound, kimberlite.Invalid), func(context.Context) (string, error) {
			info, err := w.db.TenantInfo(id)
			return fmt.Sprint(info), err
		})
		w.attack("the usage of "+name, kinds(kimberlite.NotFound, kimberlite.Invalid), func(context.Context) (string, error) {
			usage, err := w.db.Usage(id)
			return fmt.Sprint(usage), err
		})
	}
	for _, name := range []string{"", "ward-wj9", "WARD-WJ9-1", "ward-wj9-1 ", "ward-wj9-%", "ward-wj9-1\x00", "1", "../1", "'; --"} {
		w.attack("the name "+fmt.Sprintf("%q", name), notFound, func(context.Context) (string, error) {
			w.said = name
			_, err := w.db.TenantByName(name)
			return "", err
		})
	}
	for _, text := range []string{"0", "-1", "+1", "01x", "1.0", "1e0", "18446744073709551617", "99999999999999999999", "１", " 1", "1 ", "0x1", ""} {
		w.attack("the id "+fmt.Sprintf("%q", text), invalid, func(context.Context) (string, error) {
			_, err := kimberlite.ParseTenantID(text)
			return "", err
		})
	}
	w.attack("a tenant of a taken id", kinds(kimberlite.AlreadyExists), func(ctx context.Context) (string, error) {
		_, err := w.db.CreateTenant(ctx, kimberlite.TenantConfig{ID: victimID, Name: "another"})
		return "", err
	})
	for _, name := range []string{"", " x", "a/b", "a@b", "a\x00b", "a\nb", "\xff", strings.Repeat("x", 129)} {
		w.attack(fmt.Sprintf("a tenant called %.20q", name), invalid, func(ctx context.Context) (string, error) {
			_, err := w.db.CreateTenant(ctx, kimberlite.TenantConfig{ID: kimberlite.MustTenantID(9), Name: name})
			return "", err
		})
	}
	for _, region := range []string{"../us", "us/east", "us east", "\x00", strings.Repeat("x", 300)} {
		w.attack(fmt.Sprintf("a tenant in region %.20q", region), invalid, func(ctx context.Context) (string, error) {
			_, err := w.db.CreateTenant(ctx, kimberlite.TenantConfig{ID: kimberlite.MustTenantID(9), Name: "nine", Region: region})
			return "", err
		})
	}
	w.attack("a key level that is a path", invalid, func(ctx context.Context) (string, error) {
		return "", w.attacker.RotateKey(ctx, "../1/dek")
	})
	w.attack("its own description", succeeds, func(context.Context) (string, error) {
		info, err := w.attacker.Info()
		usage, usageErr := w.attacker.Usage()
		return strings.ReplaceAll(fmt.Sprint(info, usage), w.secrets.tenantName(attackerID), ""), errors.Join(err, usageErr)
	})
}

// opened returns rows of the attacker's that have several rows.
func (w *attackWorld) opened(ctx context.Context, sql string) *kimberlite.Rows {
	w.t.Helper()
	rows, err := w.attacker.Query(ctx, sql)
	if err != nil {
		w.t.Fatal(err)
	}
	return rows
}

// rowSources are a result that is read as it comes and one that was kept.
var rowSources = map[string]string{
	"live":     `SELECT value, 'text' FROM generate_series(1, 1000)`,
	"buffered": `UPDATE own SET n = 1 RETURNING id, secret`,
}

func (w *attackWorld) misuseRows() {
	invalid := kinds(kimberlite.Invalid)
	for source, query := range rowSources {
		w.attack("scan before next, "+source, invalid, func(ctx context.Context) (string, error) {
			rows := w.opened(ctx, query)
			defer rows.Close() //nolint:errcheck // nothing to say
			var a, b any
			return fmt.Sprint(rows.Values()), rows.Scan(&a, &b)
		})
		w.attack("scan after the end, "+source, invalid, func(ctx context.Context) (string, error) {
			rows := w.opened(ctx, query)
			for rows.Next() {
				continue
			}
			var a, b any
			return fmt.Sprint(rows.Values(), rows.Next()), rows.Scan(&a, &b)
		})
		w.attack("scan after close, "+source, invalid, func(ctx context.Context) (string, error) {
			rows := w.opened(ctx, query)
			rows.Next()
			if err := errors.Join(rows.Close(), rows.Close()); err != nil {
				return "", err
			}
			var a, b any
			return fmt.Sprint(rows.Values(), rows.Next(), rows.Columns(), rows.ColumnTypes(), rows.Err()), rows.Scan(&a, &b)
		})
		for name, dest := range map[string][]any{
			"no place": {}, "too few places": {new(any)}, "too many places": {new(any), new(any), new(any)}, "nil": {nil, nil},
			"what is no pointer": {1, "x"}, "a nil pointer": {(*string)(nil), (*int)(nil)}, "a place of another kind": {new(chan int), new(func())},
			"a place that is too small": {new(int8), new(bool)}, "text into a number": {new(int), new(float64)}, "a number into a time": {new(time.Time), new(any)},
			"a scanner that fails": {attackScanner{}, attackScanner{}}, "a pointer to a struct": {new(struct{ A int }), new(any)},
		} {
			w.attack("scan into "+name+", "+source, anyKind, func(ctx context.Context) (string, error) {
				rows := w.opened(ctx, query)
				defer rows.Close() //nolint:errcheck // nothing to say
				rows.Next()
				for range 200 { // to where the number does not fit any more
					rows.Next()
				}
				if source == "buffered" {
					rows = w.opened(ctx, query)
					rows.Next()
				}
				err := rows.Scan(dest...)
				if err == nil || !kimberlite.IsKind(err, kimberlite.Invalid) {
					w.t.Errorf("%s: %v", kind(err), err)
				}
				return "", err
			})
		}
	}
	w.attack("rows of one tenant while another is opened", succeeds, func(ctx context.Context) (string, error) {
		rows := w.opened(ctx, `SELECT secret, value FROM own, generate_series(1, 10)`)
		defer rows.Close() //nolint:errcheck // nothing to say
		var all strings.Builder
		for rows.Next() {
			fmt.Fprint(&all, rows.Values())
			if _, err := w.other.Exec(ctx, `UPDATE own SET n = n`); err != nil {
				return "", err
			}
			w.lookAtVictim()
		}
		return all.String(), rows.Err()
	})
	w.attack("more rows than there are readers", kinds(kimberlite.Timeout), func(ctx context.Context) (string, error) {
		ctx, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
		defer cancel()
		var open []*kimberlite.Rows
		defer func() {
			for _, r := range open {
				_ = r.Close()
			}
		}()
		for range 10 {
			rows, err := w.attacker.Query(ctx, `SELECT value FROM generate_series(1, 1000)`)
			if err != nil {
				w.lookAtVictim() // the others notice nothing
				if _, execErr := w.other.Exec(context.Background(), `UPDATE own SET n = n`); execErr != nil {
					w.t.Error(execErr)
				}
				return "", err
			}
			open = append(open, rows)
		}
		return "", nil
	})
	w.attack("no row", succeeds, func(ctx context.Context) (string, error) {
		var v string
		err := w.attacker.QueryRow(ctx, `SELECT secret FROM own WHERE 0`).Scan(&v)
		if !errors.Is(err, sql.ErrNoRows) {
			w.t.Errorf("%v", err)
		}
		return v, nil
	})
	w.attack("a context that has ended", kinds(kimberlite.Canceled), func(ctx context.Context) (string, error) {
		ctx, cancel := context.WithCancel(ctx)
		cancel()
		_, err := w.attacker.Query(ctx, `SELECT 1`)
		_, execErr := w.attacker.Exec(ctx, `DELETE FROM own`)
		w.judge(kinds(kimberlite.Canceled), execErr)
		_, _, readErr := w.attacker.Read(ctx, "own", kimberlite.NewOffset(0), 0)
		w.judge(kinds(kimberlite.Canceled), readErr)
		return "", err
	})
	w.attack("a context that ends while rows are read", kinds(kimberlite.Canceled), func(ctx context.Context) (string, error) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		rows := w.opened(ctx, `SELECT value FROM generate_series(1, 100000000)`)
		defer rows.Close() //nolint:errcheck // nothing to say
		rows.Next()
		cancel()
		for rows.Next() {
			continue
		}
		return "", rows.Err()
	})
	w.attack("a deadline in the middle of a write", kinds(kimberlite.Timeout), func(ctx context.Context) (string, error) {
		ctx, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
		defer cancel()
		_, err := w.attacker.Exec(ctx, `INSERT INTO own(secret) SELECT value FROM generate_series(1, 100000000)`)
		return "", err
	})
}
