package quota

import "time"

// second is how many parts a token has: the bucket counts in token-
// nanoseconds, so that a refill of t nanoseconds at r tokens a second is the
// whole number t*r and nothing is ever rounded.
const second = int64(time.Second)

// maxTake keeps debts within an int64.
const maxTake = 8 * MaxRate

// Bucket is a token bucket as a plain value: copy it to try something out.
// Its zero value is full. It refills at a rate of tokens per second and holds
// one second's worth, hence at least one token. Not safe for concurrent use.
type Bucket struct {
	level int64     // in token-nanoseconds; negative is a debt
	last  time.Time // up to when level counts; never goes back
	rate  int64     // up to last; 0 before the first Take
}

// Take takes n tokens at a time and reports ok, or takes nothing and returns
// how long to wait until the same Take succeeds if nobody else takes. A rate
// of 0 or less is unlimited and leaves the bucket alone. More tokens than the
// bucket holds are given when it is full, and leave a debt.
//
// A time before an earlier one counts as that earlier one, so that a clock
// that goes back yields no token twice; pass times with a monotonic reading,
// as time.Now gives, lest a jump ahead stop the refill until it is caught up
// with. A rate that differs from the last Take's counts from this Take on: the
// time before is credited at the old rate, and what is over the new burst is
// lost.
func (b *Bucket) Take(now time.Time, rate, n int64) (wait time.Duration, ok bool) {
	if rate <= 0 || n <= 0 {
		return 0, true
	}
	rate, n = min(rate, MaxRate), min(n, maxTake)
	b.refill(now, rate)
	need := min(n, rate) * second
	if b.level < need {
		missing := need - b.level
		return time.Duration((missing-1)/rate + 1), false
	}
	b.level -= n * second
	return 0, true
}

// refill brings level up to now and sets the rate.
func (b *Bucket) refill(now time.Time, rate int64) {
	if b.rate == 0 {
		b.level, b.last, b.rate = rate*second, now, rate
		return
	}
	if elapsed := int64(now.Sub(b.last)); elapsed > 0 {
		b.last = now
		// Compared before it is multiplied: a long pause would overflow.
		room := b.rate*second - b.level
		if elapsed > room/b.rate {
			b.level += room
		} else {
			b.level += elapsed * b.rate
		}
	}
	if rate != b.rate {
		b.rate = rate
		b.level = min(b.level, rate*second)
	}
}
