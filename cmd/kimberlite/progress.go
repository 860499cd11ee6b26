package main

import (
	"time"

	"github.com/schollz/progressbar/v3"
)

// progressDelay is how long work takes before a bar is shown.
const progressDelay = time.Second

// progress is a bar on stderr. It shows on a terminal only, and only for work
// that takes over a second. It is for one goroutine.
type progress struct {
	a     *app
	label string
	total int64 // bytes; 0 is unknown
	start time.Time
	bar   *progressbar.ProgressBar
	off   bool
}

func (a *app) progress(label string, total int64) *progress {
	return &progress{a: a, label: label, total: total, start: time.Now(), off: a.global.json || !isTerminal(a.stderr)}
}

// set says how many bytes are done.
func (p *progress) set(done int64) {
	if p.off || (p.bar == nil && time.Since(p.start) < progressDelay) {
		return
	}
	if p.bar == nil {
		total := p.total
		if total <= 0 {
			total = -1
		}
		p.bar = progressbar.NewOptions64(total,
			progressbar.OptionSetDescription(p.label), progressbar.OptionSetWriter(p.a.stderr),
			progressbar.OptionSetPredictTime(false), progressbar.OptionThrottle(100*time.Millisecond),
			progressbar.OptionClearOnFinish(), progressbar.OptionSetWidth(30))
	}
	if p.total > 0 {
		done = min(done, p.total)
	}
	_ = p.bar.Set64(done) // a bar that cannot be drawn is no failure of the work
}

// tell says how many bytes are done, and at which rate rows come by.
func (p *progress) tell(done, rows int64) {
	p.set(done)
	if p.bar != nil {
		rate := float64(rows) / time.Since(p.start).Seconds()
		p.bar.Describe(p.label + ", " + grouped(int64(rate)) + " rows/s")
	}
}

// done takes the bar away.
func (p *progress) done() {
	if p.bar != nil {
		_ = p.bar.Clear() // likewise
	}
}
