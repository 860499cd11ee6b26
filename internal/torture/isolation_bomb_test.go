package torture

import (
	"context"
	"strings"
	"testing"
	"time"

	"kimberlite/internal/attacktext"
)

// bigBytes is how long the values of bombs are: as long as they may be. Under
// the race detector an eighth of that is as slow.
var bigBytes = map[bool]int{false: 16_000_000, true: 2_000_000}[raceEnabled]

// TestNoStatementTakesMoreThanItsShare runs each bomb once, as a reader and as
// a writer in turn: it must end in its time, with a clear error. Those that go
// off when their result is looked at are read.
func TestNoStatementTakesMoreThanItsShare(t *testing.T) {
	w := newAttackWorld(t, 300*time.Millisecond, 3)
	for i, a := range attacktext.Bombs(bigBytes) {
		if raceEnabled && a.Name == "expressions that double" {
			continue // half a second of compiling takes half a minute there
		}
		w.attack(a.Name, a.Want, func(ctx context.Context) (string, error) {
			w.said = a.SQL
			if strings.HasPrefix(a.Name, "a row") || strings.HasPrefix(a.Name, "a column") {
				i = 0
			}
			return attackWays[i%2].run(ctx, w.attacker, a.SQL, a.Args)
		})
	}
	w.rebuilt()
	w.atLeast(75)
}
