package quota

import (
	"math"
	"math/big"
	"math/rand/v2"
	"testing"
	"time"
)

// naiveBucket is the twin: exact fractions, no cleverness.
type naiveBucket struct {
	tokens *big.Rat
	last   time.Time
	rate   int64
}

func (b *naiveBucket) take(now time.Time, rate, n int64) bool {
	if rate <= 0 || n <= 0 {
		return true
	}
	if b.tokens == nil {
		b.tokens, b.last, b.rate = big.NewRat(rate, 1), now, rate
	}
	if now.After(b.last) {
		elapsed := new(big.Rat).SetFrac64(int64(now.Sub(b.last)), int64(time.Second))
		b.tokens.Add(b.tokens, elapsed.Mul(elapsed, big.NewRat(b.rate, 1)))
		b.last = now
	}
	b.clip(b.rate)
	b.rate = rate
	b.clip(rate)
	if b.tokens.Cmp(big.NewRat(min(n, rate), 1)) < 0 {
		return false
	}
	b.tokens.Sub(b.tokens, big.NewRat(n, 1))
	return true
}

func (b *naiveBucket) clip(burst int64) {
	if most := big.NewRat(burst, 1); b.tokens.Cmp(most) > 0 {
		b.tokens = most
	}
}

var someRates = []int64{0, 1, 1, 2, 3, 7, 10, 1000, 999_983, MaxRate}

func TestBucketDecidesAsTheNaiveTwinDoes(t *testing.T) {
	t.Parallel()
	for seed := range uint64(60) {
		rng := rand.New(rand.NewPCG(seed, 1))
		var fast Bucket
		var naive naiveBucket
		now, rate := start, someRates[rng.IntN(len(someRates))]
		for step := range 500 {
			now = now.Add(someStep(rng, rate))
			if rng.IntN(40) == 0 {
				rate = someRates[rng.IntN(len(someRates))]
			}
			n := int64(1)
			if rng.IntN(10) == 0 {
				n = rng.Int64N(2*rate + 2)
			}
			before := fast
			wait, got := fast.Take(now, rate, n)
			if want := naive.take(now, rate, n); got != want {
				t.Fatalf("seed %d step %d: take %d at rate %d: %v, the twin says %v", seed, step, n, rate, got, want)
			}
			if !got {
				checkWait(t, before, fast, now, rate, n, wait)
			}
		}
	}
}

// someStep returns how much time passes, back included.
func someStep(rng *rand.Rand, rate int64) time.Duration {
	switch rng.IntN(12) {
	case 0:
		return -time.Duration(rng.Int64N(int64(2 * time.Second)))
	case 1:
		return time.Duration(rng.Int64N(int64(3 * time.Second)))
	case 2:
		return time.Duration(rng.Int64N(int64(365 * 24 * time.Hour)))
	case 3, 4, 5:
		return 0
	}
	return time.Duration(rng.Int64N(2*int64(time.Second)/max(rate, 1) + 2))
}

// checkWait checks that a refusal took nothing and that its wait is exact.
func checkWait(t *testing.T, before, after Bucket, now time.Time, rate, n int64, wait time.Duration) {
	t.Helper()
	if now.Before(before.last) {
		now = before.last
	}
	early, late := after, after
	if wait <= 0 {
		t.Fatalf("refused with a wait of %v", wait)
	}
	if _, ok := early.Take(now.Add(wait-1), rate, n); ok {
		t.Fatalf("a wait of %v is longer than needed", wait)
	}
	if _, ok := late.Take(now.Add(wait), rate, n); !ok {
		t.Fatalf("a wait of %v is not enough", wait)
	}
}

// TestBucketNeverGivesMoreThanBurstPlusRate is the promise to neighbours: in
// no stretch of time is more given than one second's worth and the refill.
func TestBucketNeverGivesMoreThanBurstPlusRate(t *testing.T) {
	t.Parallel()
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 2))
		rate := 1 + rng.Int64N(50)
		var b Bucket
		var given []time.Duration
		at := time.Duration(0)
		for range 1500 {
			at += time.Duration(rng.Int64N(int64(time.Second) / (2 * rate)))
			if rng.IntN(200) == 0 {
				at += 10 * time.Second
			}
			if _, ok := b.Take(start.Add(at), rate, 1); ok {
				given = append(given, at)
			}
		}
		for i := range given {
			for j := i; j < len(given); j++ {
				most := float64(rate) + float64(rate)*(given[j]-given[i]).Seconds()
				if float64(j-i+1) > most+1e-6 {
					t.Fatalf("seed %d: %d given in %v at rate %d", seed, j-i+1, given[j]-given[i], rate)
				}
			}
		}
	}
}

func TestBucketGivesTheWholeRateToWhoeverKeepsAsking(t *testing.T) {
	t.Parallel()
	for _, rate := range []int64{1, 3, 100, 7919} {
		var b Bucket
		given := int64(0)
		for now, end := start, start.Add(10*time.Second); !now.After(end); {
			wait, ok := b.Take(now, rate, 1)
			if ok {
				given++
			}
			now = now.Add(wait)
		}
		if want := rate + 10*rate; given != want {
			t.Errorf("rate %d: %d in 10 s, want the burst and 10 s worth, %d", rate, given, want)
		}
	}
}

// drain empties a bucket and returns how many tokens it held.
func drain(b *Bucket, now time.Time, rate int64) (held int64) {
	for {
		if _, ok := b.Take(now, rate, 1); !ok {
			return held
		}
		held++
	}
}

func TestBucketHoldsOneSecondsWorthAfterAnyPause(t *testing.T) {
	t.Parallel()
	var b Bucket
	now := start
	for _, pause := range []time.Duration{0, time.Second, time.Hour, math.MaxInt64, math.MaxInt64} {
		now = now.Add(pause)
		if held := drain(&b, now, 5); held != 5 {
			t.Errorf("after %v it held %d, want 5", pause, held)
		}
	}
}

func TestBucketYieldsNoTokenTwiceWhenTheClockGoesBack(t *testing.T) {
	t.Parallel()
	var b Bucket
	drain(&b, start, 10)
	for range 100 {
		if held := drain(&b, start.Add(-time.Hour), 10); held != 0 {
			t.Fatalf("going back gave %d tokens", held)
		}
		if held := drain(&b, start, 10); held != 0 {
			t.Fatalf("coming again gave %d tokens", held)
		}
	}
	if held := drain(&b, start.Add(300*time.Millisecond), 10); held != 3 {
		t.Errorf("300 ms later it held %d, want 3", held)
	}
}

func TestBucketChangedRateFillsNothing(t *testing.T) {
	t.Parallel()
	var b Bucket
	drain(&b, start, 10)
	for _, rate := range []int64{1000, 1, 0, 500, 10} {
		if rate == 0 {
			b.Take(start, 0, 1)
			continue
		}
		if held := drain(&b, start, rate); held != 0 {
			t.Errorf("changing the rate to %d gave %d tokens", rate, held)
		}
	}
	if held := drain(&b, start.Add(time.Second), 1000); held != 10 {
		t.Errorf("a second at rate 10 gave %d", held)
	}
	if held := drain(&b, start.Add(2*time.Second), 1000); held != 1000 {
		t.Errorf("a second at rate 1000 gave %d", held)
	}
	b = Bucket{}
	b.Take(start, 1000, 1)
	if held := drain(&b, start, 3); held != 3 {
		t.Errorf("of 999 tokens a burst of 3 keeps %d", held)
	}
}

func TestBucketTakesMoreThanItHoldsAsADebt(t *testing.T) {
	t.Parallel()
	var b Bucket
	if _, ok := b.Take(start, 10, 25); !ok {
		t.Fatal("a full bucket refused")
	}
	wait, ok := b.Take(start, 10, 1)
	if ok || wait != 1600*time.Millisecond {
		t.Errorf("with 15 owed and 1 wanted at rate 10: wait %v, %v", wait, ok)
	}
	b = Bucket{}
	b.Take(start, math.MaxInt64, math.MaxInt64)
	if wait, ok := b.Take(start, 1, math.MaxInt64); ok || wait <= 0 {
		t.Errorf("the largest debt: %v, %v", wait, ok)
	}
}

func BenchmarkBucketTake(b *testing.B) {
	var bucket Bucket
	now := start
	for b.Loop() {
		now = now.Add(2)
		bucket.Take(now, MaxRate, 1)
	}
}
