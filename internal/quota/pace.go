package quota

import "time"

// How a tenant's refusals are paced.
const (
	// MaxPause is the longest that a refusal is held back. It is no longer than
	// what a bucket holds, one second's worth: however many clients wait, a
	// tenant loses none of its rate by it.
	MaxPause = time.Second
	// paceEvery is how far apart a tenant's refusals are told, lastingly.
	paceEvery = 20 * time.Millisecond
	// paceBurst is how many are told at once after a time without any.
	paceBurst = 8
)

// Pacer decides how long each of a tenant's refusals is held back, so that
// clients that ask again at once do not take the processor from other tenants:
// a few are told at once, and then one each 20 ms, which is also how they come
// back, one after the other and not all together. More clients than that
// allows wait [MaxPause] each. A time without refusals earns the few at once
// again.
//
// It is a plain value: copy it to try something out. Its zero value has held
// nothing back. Not safe for concurrent use.
type Pacer struct {
	due time.Time // when the last refusal was to be told; may lie ahead
}

// Refuse returns how long to hold back a refusal made now: 0 to MaxPause. A
// time before an earlier one gives MaxPause at most, too.
func (p *Pacer) Refuse(now time.Time) time.Duration {
	if earliest := now.Add(-paceBurst * paceEvery); p.due.Before(earliest) {
		p.due = earliest
	}
	p.due = p.due.Add(paceEvery)
	if latest := now.Add(MaxPause); p.due.After(latest) {
		p.due = latest
	}
	return max(p.due.Sub(now), 0)
}
