package tenant

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"kimberlite/internal/audit"
	"kimberlite/internal/fault"
	"kimberlite/internal/projection"
	"kimberlite/internal/record"
)

// Credentials and most of the audit trail are messages of internal streams
// that depend on no table. They are logged beside the writer and not through
// it: a login must not wait for a transaction that somebody holds open. Such a
// record takes the log's next place like any other; the projection gets it
// with the next record of the writer, or at once when nobody writes.

// urgency says how far above the log's limit a note may go.
type urgency uint8

const (
	// expendable notes are dropped when the log is full.
	expendable urgency = iota
	// session notes are those that somebody who logs in waits for.
	session
	// administration is what an administrator must always be able to do.
	administration
)

// Reserves above the limit of a log for what must go on when it is full: a
// login takes some 400 bytes.
const (
	sessionReserve        = 16 << 20
	administrationReserve = 24 << 20
)

func (u urgency) reserve() int64 {
	switch u {
	case session:
		return sessionReserve
	case administration:
		return administrationReserve
	case expendable:
	}
	return 0
}

// maxSide bounds the records that the projection has not got yet: their
// number while one transaction holds the writer.
const maxSide = 1 << 14

// notes is the part of a writer that logs beside it.
type notes struct {
	// logMu is held while a record is sealed, logged and carried out, so that
	// records take their places one after another. It guards all below, and
	// writer.lastTime and writer.buf. It is taken after writer.mu's users
	// have let go, never the other way round.
	logMu sync.Mutex
	// side are the records that are logged and not in the projection.
	side []projection.ApplyRecord
	// nextAudit and nextCredential are the streams' next offsets.
	nextAudit, nextCredential uint64

	// sideLen is len(side), to be looked at without logMu.
	sideLen atomic.Int32

	waitMu  sync.Mutex // guards waiting
	waiting []*note
}

// note is one caller's events, which take effect together.
type note struct {
	events  []record.Event // their offsets are given when they are logged
	urgency urgency
	// origin says that the note itself tells of the tenant's making.
	origin bool
	done   chan error
}

func auditEvent(e audit.Entry) record.Event {
	return record.Event{Kind: record.Message, Stream: projection.AuditStream, ContentType: "application/json", Data: e.Encode()}
}

// note logs entries of the audit trail and returns once they are durable.
func (w *writer) note(u urgency, entries ...audit.Entry) error {
	events := make([]record.Event, len(entries))
	for i, e := range entries {
		events[i] = auditEvent(e)
	}
	return w.log(&note{events: events, urgency: u})
}

// log logs messages of internal streams and returns once they are durable.
// Those who call at a time share a record.
func (w *writer) log(n *note) error {
	if err := w.usable(); err != nil {
		return err
	}
	n.done = make(chan error, 1)
	w.waitMu.Lock()
	w.waiting = append(w.waiting, n)
	w.waitMu.Unlock()

	w.logMu.Lock()
	w.waitMu.Lock()
	batch := w.waiting
	w.waiting = nil
	w.waitMu.Unlock()
	if len(batch) > 0 {
		w.logNotes(batch)
	}
	w.logMu.Unlock()
	if w.tryLead() {
		w.handOff()
	}
	return <-n.done
}

// logNotes logs notes as one record, or one by one when they do not all fit.
// The caller holds logMu.
func (w *writer) logNotes(batch []*note) {
	err := w.logTogether(batch)
	if err != nil && len(batch) > 1 && (fault.Is(err, fault.QuotaExceeded) || fault.Is(err, fault.TooLarge)) {
		for _, n := range batch {
			n.done <- w.logTogether([]*note{n})
		}
		return
	}
	for _, n := range batch {
		n.done <- err
	}
}

func (w *writer) logTogether(batch []*note) error {
	if len(w.side) >= maxSide {
		return fault.New("audit", fault.Unavailable, "a transaction holds the writer of tenant %s for too long: try again later", w.rt.id).ForTenant(w.rt.id)
	}
	reserve := administration.reserve()
	p := &record.Payload{Txns: make([]record.Txn, 0, len(batch))}
	nextAudit, nextCredential := w.nextAudit, w.nextCredential
	for _, n := range batch {
		reserve = min(reserve, n.urgency.reserve())
		events := n.events
		if nextAudit == 0 && !n.origin {
			events = append([]record.Event{{Kind: record.Message, Stream: projection.AuditStream, ContentType: "application/json", Data: w.origin()}}, events...)
		}
		for i := range events {
			if events[i].Stream == projection.AuditStream {
				events[i].StreamOffset = nextAudit
				nextAudit++
			} else {
				events[i].StreamOffset = nextCredential
				nextCredential++
			}
		}
		p.Txns = append(p.Txns, record.Txn{Events: events})
	}
	rec, at, err := w.sealRecord(p, reserve)
	if err != nil {
		return err
	}
	if _, err := w.rt.m.o.Shard.Append(context.Background(), rec); err != nil {
		return w.notLogged(err)
	}
	w.nextAudit, w.nextCredential = nextAudit, nextCredential
	w.side = append(w.side, projection.ApplyRecord{Payload: p, Time: w.lastTime, At: at})
	w.sideLen.Store(int32(len(w.side))) //nolint:gosec // at most maxSide
	w.rt.watch.notify()
	return nil
}

// origin is the first entry of a tenant's trail: that the tenant was made.
// It is written with the first thing that happens to the tenant.
func (w *writer) origin() []byte {
	e := audit.Entry{Principal: "system", Action: audit.TenantCreated, Object: w.rt.id.String(), Outcome: audit.OK}
	if st, err := w.rt.m.o.Shard.Tenant(w.rt.id); err == nil {
		e.Detail = map[string]any{"created": st.Created.UTC().Format(time.RFC3339Nano)}
	}
	return e.Encode()
}

// absorb puts the notes' records in front of a group's own, and numbers the
// group's entries of the audit trail. It returns the trail's next offset once
// the group is logged. The caller leads and holds logMu.
func (w *writer) absorb(g *projection.Group) (nextAudit uint64, err error) {
	if err := g.Absorb(w.side); err != nil {
		return 0, err
	}
	var origin []byte
	if w.nextAudit == 0 {
		origin = w.origin()
	}
	return g.NumberAudit(w.nextAudit, origin), nil
}

// absorbed forgets the notes that a committed group has carried out.
func (w *writer) absorbed(nextAudit uint64) {
	w.nextAudit = nextAudit
	w.side = nil
	w.sideLen.Store(0)
}

// settleNotes brings the projection up to the notes. The caller leads, and no
// group is open.
func (w *writer) settleNotes() {
	if w.sideLen.Load() == 0 || w.rt.broken.Load() {
		return
	}
	w.logMu.Lock()
	defer w.logMu.Unlock()
	if len(w.side) == 0 {
		return
	}
	g, err := w.rt.db.BeginGroup(context.Background())
	if err == nil {
		err = w.settleIn(g)
	}
	if err != nil {
		w.suspect(err)
		w.rt.broken.Store(true) // the next opening follows the log
		w.rt.m.o.Logger.Warn("projection did not take the audit trail; it recovers from its log", "tenant", w.rt.id.String(), "error", err.Error())
		return
	}
	w.absorbed(w.nextAudit)
	w.sinceFlush++
	w.rt.watch.notify()
}

// settleIn carries the notes out in a group of their own.
func (w *writer) settleIn(g *projection.Group) error {
	err := g.Absorb(w.side)
	if err == nil {
		err = g.Prepare(projection.Applied{})
	}
	if err == nil {
		err = g.Commit()
	}
	if err != nil {
		w.abort(g)
	}
	return err
}

// tryLead takes the lead when nobody has it.
func (w *writer) tryLead() bool {
	if w.sideLen.Load() == 0 {
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.busy {
		return false
	}
	w.busy = true
	return true
}
