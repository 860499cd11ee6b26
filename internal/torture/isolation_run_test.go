package torture

import (
	"context"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"

	"kimberlite"
	"kimberlite/internal/attacktext"
)

// attackSlack is what an attack may take on top of its limits: compiling, the
// machine's other work, and the race detector, which makes SQLite, compiled to
// Go, an order of magnitude slower.
var attackSlack = map[bool]time.Duration{false: 3 * time.Second, true: 30 * time.Second}[raceEnabled]

// anyKind and succeeds are short for what they are.
var (
	anyKind  = attacktext.AnyKind
	succeeds = attacktext.Succeeds
)

func kinds(k ...kimberlite.Kind) []kimberlite.Kind { return k }

// statementAttack is SQL that the attacker sends by every way there is.
type statementAttack = attacktext.Statement

// attackWay is a way for SQL into the database. Each returns what it gave.
type attackWay struct {
	name string
	run  func(ctx context.Context, x *kimberlite.Tenant, sql string, args []any) (string, error)
}

var attackWays = []attackWay{
	{"query", func(ctx context.Context, x *kimberlite.Tenant, sql string, args []any) (string, error) {
		return drained(x.Query(ctx, sql, args...))
	}},
	{"exec", func(ctx context.Context, x *kimberlite.Tenant, sql string, args []any) (string, error) {
		r, err := x.Exec(ctx, sql, args...)
		return fmt.Sprint(r), err
	}},
	{"transaction", func(ctx context.Context, x *kimberlite.Tenant, sql string, args []any) (string, error) {
		return inTransaction(ctx, x, func(tx *kimberlite.Tx) (string, error) {
			r, err := tx.Exec(ctx, sql, args...)
			return fmt.Sprint(r), err
		})
	}},
	{"transaction's query", func(ctx context.Context, x *kimberlite.Tenant, sql string, args []any) (string, error) {
		return inTransaction(ctx, x, func(tx *kimberlite.Tx) (string, error) {
			return drained(tx.Query(ctx, sql, args...))
		})
	}},
}

func inTransaction(ctx context.Context, x *kimberlite.Tenant, fn func(*kimberlite.Tx) (string, error)) (string, error) {
	tx, err := x.Begin(ctx)
	if err != nil {
		return "", err
	}
	text, err := fn(tx)
	if backErr := tx.Rollback(); err == nil && backErr != nil {
		err = backErr
	}
	return text, err
}

// drained reads rows to their end, at most a few of them.
func drained(rows *kimberlite.Rows, err error) (string, error) {
	if err != nil {
		return "", err
	}
	defer rows.Close()
	var b strings.Builder
	fmt.Fprintln(&b, rows.Columns(), rows.ColumnTypes())
	for rows.Next() {
		for _, v := range rows.Values() {
			if b.Len() < 1<<20 {
				b.WriteString(printable(v))
				b.WriteByte('|')
			}
		}
	}
	return b.String(), rows.Err()
}

// attack makes one attack and looks at everything afterwards.
func (w *attackWorld) attack(name string, want []kimberlite.Kind, run func(ctx context.Context) (string, error)) {
	w.attackIn(name, w.timeout, want, run)
}

func (w *attackWorld) attackIn(name string, limit time.Duration, want []kimberlite.Kind, run func(ctx context.Context) (string, error)) {
	outer := w.t
	outer.(*testing.T).Run(name, func(t *testing.T) {
		w.t = t
		defer func() { w.t = outer }()
		w.said = ""
		w.attacks++
		start := time.Now()
		text, err := w.survive(run)
		if took := time.Since(start); took > limit+w.slack {
			t.Errorf("it took %v, the limit is %v", took, limit)
		}
		w.judge(want, err)
		w.checkError(err)
		w.checkOutput(text)
		w.check()
	})
}

// survive runs an attack; a panic is one that worked.
func (w *attackWorld) survive(run func(ctx context.Context) (string, error)) (text string, err error) {
	defer func() {
		if p := recover(); p != nil {
			w.t.Errorf("it made the process panic: %v\n%s", p, debug.Stack())
		}
	}()
	return run(context.Background())
}

// judge compares an error with the kinds that are right.
func (w *attackWorld) judge(want []kimberlite.Kind, err error) {
	w.t.Helper()
	switch {
	case want == nil && err != nil:
		w.t.Errorf("it is refused (%s): %v", kind(err), err)
	case len(want) > 0 && err == nil:
		w.t.Errorf("it is accepted, want %v", want)
	case len(want) > 0 && !slices.Contains(want, kimberlite.KindOf(err)):
		w.t.Errorf("it is refused as %s, want %v: %v", kind(err), want, err)
	case err != nil && (kimberlite.IsKind(err, kimberlite.Internal) || kimberlite.IsKind(err, kimberlite.Corruption)):
		w.t.Errorf("it broke something (%s): %v", kind(err), err)
	}
}

// statements makes each attack by every way, and compiles it without running
// it.
func (w *attackWorld) statements(attacks []statementAttack) {
	for _, a := range attacks {
		limit := time.Duration(len(attackWays)) * w.timeout
		w.attackIn(a.Name, limit, anyKind, func(ctx context.Context) (string, error) {
			w.said = a.SQL
			var all strings.Builder
			for _, way := range attackWays {
				text, err := way.run(ctx, w.attacker, a.SQL, a.Args)
				w.judged(way.name, a.Want, err)
				all.WriteString(text)
			}
			err := w.attacker.Check(ctx, a.SQL)
			if len(a.Want) == 0 && a.Want == nil && err != nil {
				w.t.Errorf("check: %v", err)
			}
			return all.String(), err
		})
	}
}

// judged is judge and checkError of one way.
func (w *attackWorld) judged(way string, want []kimberlite.Kind, err error) {
	w.t.Helper()
	if testing.Verbose() {
		w.t.Logf("%s: %s: %.200v", way, kind(err), err)
	}
	w.judge(want, err)
	w.checkError(err)
}

// rebuilt compares the attacker's tables with those derived from the log
// anew: whatever it was allowed to do must be in its log.
func (w *attackWorld) rebuilt() {
	w.t.Helper()
	ctx := context.Background()
	before, err := w.attacker.TableHash(ctx)
	if err != nil {
		w.t.Fatal(err)
	}
	if err := w.attacker.RebuildProjection(ctx); err != nil {
		w.t.Fatal(err)
	}
	after, err := w.attacker.TableHash(ctx)
	if err != nil || after != before {
		w.t.Errorf("the attacker's tables differ from those rebuilt from its log: %v", err)
	}
}
