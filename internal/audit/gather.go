package audit

import (
	"maps"
	"slices"
	"time"
)

// Window is how long entries of the same kind are gathered into one.
const Window = 10 * time.Second

// maxGathered bounds the kinds of one tenant that are told apart at a time;
// those beyond are counted under their action alone.
const maxGathered = 32

// Gatherer turns floods of like entries into few: the first of a kind is due
// at once, those that follow within Window become one entry with a count at
// the window's end. It is not safe for concurrent use.
type Gatherer struct {
	kinds map[kind]*gathered
}

// kind is what makes entries alike.
type kind struct{ principal, role, remote, action, object, outcome string }

type gathered struct {
	entry Entry
	// count is how many happened since the last entry was taken, first and
	// last when.
	count       int
	first, last time.Time
	// due is when the next one may be taken.
	due time.Time
}

// Add counts an entry and returns when Take should be called.
func (g *Gatherer) Add(now time.Time, e Entry) (due time.Time) {
	k := kind{e.Principal, e.Role, e.Remote, e.Action, e.Object, e.Outcome}
	if g.kinds == nil {
		g.kinds = map[kind]*gathered{}
	}
	if g.kinds[k] == nil && len(g.kinds) >= maxGathered {
		g.forget(now)
	}
	if g.kinds[k] == nil && len(g.kinds) >= maxGathered {
		e = Entry{Action: e.Action, Outcome: e.Outcome, Object: "others"}
		k = kind{action: e.Action, outcome: e.Outcome, object: "others"}
	}
	m := g.kinds[k]
	if m == nil {
		m = &gathered{entry: e, due: now}
		g.kinds[k] = m
	}
	if m.count == 0 {
		m.first = now
		if m.due.Before(now) {
			m.due = now
		}
	}
	m.count++
	m.last = now
	return m.due
}

// forget drops kinds of which nothing is waiting.
func (g *Gatherer) forget(now time.Time) {
	maps.DeleteFunc(g.kinds, func(_ kind, m *gathered) bool { return m.count == 0 && !now.Before(m.due) })
}

// Take returns the entries that are due, or with all set every one that
// waits, and when the next will be; the zero time says that none waits.
func (g *Gatherer) Take(now time.Time, all bool) (due []Entry, next time.Time) {
	for _, m := range g.kinds {
		switch {
		case m.count == 0:
		case all || !now.Before(m.due):
			due = append(due, m.take(now))
		case next.IsZero() || m.due.Before(next):
			next = m.due
		}
	}
	g.forget(now)
	slices.SortFunc(due, func(a, b Entry) int { return compareText(a.Action+a.Principal+a.Remote, b.Action+b.Principal+b.Remote) })
	return due, next
}

func compareText(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

func (m *gathered) take(now time.Time) Entry {
	e := m.entry
	if m.count > 1 {
		e.Detail = maps.Clone(e.Detail)
		if e.Detail == nil {
			e.Detail = map[string]any{}
		}
		e.Detail["count"] = m.count
		e.Detail["first"] = m.first.UTC().Format(time.RFC3339Nano)
		e.Detail["last"] = m.last.UTC().Format(time.RFC3339Nano)
	}
	m.count, m.due = 0, now.Add(Window)
	return e
}
