package quota

import (
	"math/rand/v2"
	"testing"
	"time"

	"kimberlite/internal/fault"
)

func TestRefusalsAreToldAtOnceAndThenOneByOne(t *testing.T) {
	t.Parallel()
	const ms = time.Millisecond
	for name, c := range map[string]struct {
		at   []time.Duration // of each refusal
		want []time.Duration
	}{
		"one":                 {[]time.Duration{0}, []time.Duration{0}},
		"a burst, then paced": {make([]time.Duration, 11), []time.Duration{0, 0, 0, 0, 0, 0, 0, 0, 20 * ms, 40 * ms, 60 * ms}},
		"slow enough":         {[]time.Duration{0, 20 * ms, 40 * ms, 60 * ms, 80 * ms, 100 * ms, 120 * ms, 140 * ms, 160 * ms, 180 * ms}, make([]time.Duration, 10)},
		"quiet earns the burst again": {
			append(make([]time.Duration, 10), 200*ms, 200*ms, 200*ms, 200*ms, 200*ms, 200*ms, 200*ms, 200*ms, 200*ms),
			[]time.Duration{0, 0, 0, 0, 0, 0, 0, 0, 20 * ms, 40 * ms, 0, 0, 0, 0, 0, 0, 0, 0, 20 * ms},
		},
		"a clock that goes back": {append(make([]time.Duration, 9), -5*time.Second), []time.Duration{0, 0, 0, 0, 0, 0, 0, 0, 20 * ms, MaxPause}},
	} {
		var p Pacer
		for i, at := range c.at {
			if got := p.Refuse(start.Add(at)); got != c.want[i] {
				t.Errorf("%s: refusal %d waits %v, want %v", name, i, got, c.want[i])
			}
		}
	}
}

// Clients that ask again as soon as they are told are told no more often than
// the pace allows, or than each once in MaxPause.
func TestClientsThatAskAgainAtOnceAreBounded(t *testing.T) {
	t.Parallel()
	const simulated = 20 * time.Second
	for _, clients := range []int{1, 8, 32, 250} {
		var p Pacer
		told := 0
		next := make([]time.Duration, clients) // when each asks
		rng := rand.New(rand.NewPCG(uint64(clients), 1))
		for {
			first := 0
			for i := range next {
				if next[i] < next[first] {
					first = i
				}
			}
			if next[first] >= simulated {
				break
			}
			wait := p.Refuse(start.Add(next[first]))
			if wait < 0 || wait > MaxPause {
				t.Fatalf("a wait of %v", wait)
			}
			next[first] += wait + time.Duration(rng.IntN(100))*time.Microsecond
			told++
		}
		perSecond := max(int(time.Second/paceEvery), int(time.Second/MaxPause)*clients)
		if most := perSecond*int(simulated/time.Second) + paceBurst + clients; told > most {
			t.Errorf("%d clients were refused %d times in %v, want %d at most", clients, told, simulated, most)
		}
	}
}

// A client that is held back loses none of the rate: what it has not used
// meanwhile is in the bucket when it comes back.
func TestPacingCostsNoRate(t *testing.T) {
	t.Parallel()
	for _, rate := range []int64{2, 10, 500} {
		a := NewAdmission(Limits{MaxOpsPerSec: rate})
		const clients, simulated = 32, 20 * time.Second
		next := make([]time.Duration, clients)
		for {
			first := 0
			for i := range next {
				if next[i] < next[first] {
					first = i
				}
			}
			if next[first] >= simulated {
				break
			}
			now := start.Add(next[first])
			next[first] += time.Millisecond // what a statement takes
			if err := a.Enter(now); err == nil {
				a.Leave()
			} else if fault.Is(err, fault.RateLimited) {
				next[first] += a.Pause(now)
			} else {
				t.Fatal(err)
			}
		}
		// The bucket is full at the start, and may be at the end.
		if least := uint64(rate) * uint64(simulated/time.Second); a.Admitted() < least {
			t.Errorf("%d clients had %d of %d operations", clients, a.Admitted(), least)
		}
	}
}
