package torture

import (
	"context"
	"testing"
	"time"

	"kimberlite"
	"kimberlite/internal/attacktext"
)

// TestNoStatementReachesAnotherTenant sends every attack that is plain SQL by
// every way that SQL has into the database.
func TestNoStatementReachesAnotherTenant(t *testing.T) {
	w := newAttackWorld(t, 2*time.Second, 3)
	place := attacktext.Place{Data: w.dir, Temp: w.tmp}
	for _, subject := range []struct {
		name    string
		attacks []statementAttack
	}{
		{"attach", attacktext.Attach(place)},
		{"extension", attacktext.Extensions(place)},
		{"pragma", attacktext.Pragmas(place)},
		{"schema", attacktext.Schema()},
		{"text", attacktext.Text()},
	} {
		w.subject(subject.name, func() { w.statements(subject.attacks) })
	}
	w.subject("planted", w.plantAll)
	w.atLeast(250)
}

// subject runs some attacks as a group, and rebuilds the attacker's tables at
// the end of it.
func (w *attackWorld) subject(name string, run func()) {
	outer := w.t
	outer.(*testing.T).Run(name, func(t *testing.T) {
		w.t = t
		defer func() { w.t = outer }()
		run()
		w.rebuilt()
		w.check()
	})
}

// atLeast fails when attacks got lost.
func (w *attackWorld) atLeast(n int) {
	w.t.Helper()
	now, most := residentBytes()
	w.t.Logf("%d attacks; the process has %d MiB of memory, and had %d MiB at most", w.attacks, now>>20, most>>20)
	if w.attacks < n && !testing.Short() {
		w.t.Errorf("only %d attacks were made, want %d", w.attacks, n)
	}
	if most > attackMemory {
		w.t.Errorf("the process has had %d MiB, the limit is %d MiB", most>>20, attackMemory>>20)
	}
}

// attackMemory is what the test process may have at most: the tenants that are
// open, their connections at their limits, and what the race detector adds.
const attackMemory = 3 << 30

// plantAll makes each object, brings it to life by every way and removes it.
func (w *attackWorld) plantAll() {
	ctx := context.Background()
	for _, a := range attacktext.Planted {
		w.attack(a.Name, anyKind, func(context.Context) (string, error) {
			w.said = a.Plant
			if _, err := w.attacker.Exec(ctx, a.Plant); err != nil { // refused at once is better still
				w.judged("plant", kinds(kimberlite.Denied, kimberlite.SQL), err)
				return "", err
			}
			var all string
			for _, way := range attackWays[1:] {
				if way.name == "transaction's query" && a.Want == nil {
					continue // some use several statements, which a query refuses
				}
				text, err := way.run(ctx, w.attacker, a.Use, nil)
				w.judged(way.name, a.Want, err)
				all += text
				w.must(w.attacker, `DELETE FROM own WHERE secret <> ?`, w.secrets.own)
			}
			w.must(w.attacker, a.Remove)
			return all, nil
		})
	}
}
