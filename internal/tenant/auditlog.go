package tenant

import (
	"context"
	"time"

	"kimberlite/internal/audit"
	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/projection"
	"kimberlite/internal/record"
)

// AuditEntry is an entry of the audit trail with its place.
type AuditEntry struct {
	// Offset is the entry's place in the trail, LogOffset the record's that
	// holds it.
	Offset, LogOffset ident.Offset
	Time              time.Time
	audit.Entry
}

// Audit gives fn the entries of the audit trail from an offset on, in order,
// up to limit of them (0 = all there are now), and returns the offset after
// the last one given. It takes the role owner or auditor and counts as an
// operation.
func (t *Tenant) Audit(ctx context.Context, from ident.Offset, limit int, fn func(*AuditEntry) error) (ident.Offset, error) {
	if err := t.require(projection.RightAudit); err != nil {
		return from, err
	}
	rt, err := t.enter(ctx)
	if err != nil {
		return from, err
	}
	defer t.leave()
	next, err := rt.readAudit(ctx, from, limit, fn)
	rt.suspect(err)
	return next, err
}

// TailAudit gives fn the entries from an offset on, and then each new one once
// it is durable, until ctx ends or fn returns an error.
func (t *Tenant) TailAudit(ctx context.Context, from ident.Offset, fn func(*AuditEntry) error) error {
	if err := t.require(projection.RightAudit); err != nil {
		return err
	}
	for {
		next, wait, done, err := t.tailAuditStep(ctx, from, fn)
		if err != nil {
			return err
		}
		if next != from {
			from = next
			done()
			continue
		}
		select {
		case <-ctx.Done():
			done()
			return fault.OfContext("audit", ctx).ForTenant(t.slot.id)
		case <-wait:
			done()
		}
	}
}

func (t *Tenant) tailAuditStep(ctx context.Context, from ident.Offset, fn func(*AuditEntry) error) (ident.Offset, <-chan struct{}, func(), error) {
	rt, err := t.enter(ctx)
	if err != nil {
		return from, nil, nil, err
	}
	defer t.leave()
	wait, done := rt.watch.next()
	next, err := rt.readAudit(ctx, from, 0, fn)
	if err != nil {
		rt.suspect(err)
		done()
		return from, nil, nil, err
	}
	return next, wait, done, nil
}

// readAudit reads the trail from the log, up to what is durable.
func (rt *Runtime) readAudit(ctx context.Context, from ident.Offset, limit int, fn func(*AuditEntry) error) (ident.Offset, error) {
	info := rt.db.InternalStream(projection.AuditStream)
	rt.writer.logMu.Lock()
	info.Next = ident.NewOffset(rt.writer.nextAudit)
	rt.writer.logMu.Unlock()
	return rt.readStream(ctx, info, from, limit, func(e *StreamEvent) error {
		entry, err := auditEntry(&e.Event)
		if err != nil {
			return err
		}
		entry.LogOffset, entry.Time = e.LogOffset, e.Time
		return fn(entry)
	})
}

func auditEntry(e *record.Event) (*AuditEntry, error) {
	entry, err := audit.Decode(e.Data)
	return &AuditEntry{Offset: ident.NewOffset(e.StreamOffset), Entry: entry}, err
}

// NoteAudit writes an entry into the tenant's audit trail and returns once it
// is durable. The handle's actor, time and place are filled in. It counts
// against no limit of operations, and may go above a full log by a reserve.
func (t *Tenant) NoteAudit(ctx context.Context, e audit.Entry) error {
	own := t.entry(e.Action, e.Object, e.Outcome)
	own.Detail = e.Detail
	return t.withoutQuota(ctx, func(rt *Runtime) error { return rt.writer.note(session, own) })
}

// GatherAudit adds an entry that an attacker can cause at will: it is written
// in the background, with a count of its like, at most once in 10 s for each
// kind. e is written as it is.
func (t *Tenant) GatherAudit(e audit.Entry) { t.slot.gather(e) }

// withoutQuota runs fn on the open tenant without admission.
func (t *Tenant) withoutQuota(ctx context.Context, fn func(rt *Runtime) error) error {
	rt, err := t.slot.acquireRead(ctx, 0)
	if err != nil {
		return tenantError(err, t.slot.id)
	}
	defer t.slot.release()
	return tenantError(fn(rt), t.slot.id)
}

// Audit implements projection.AuditTable.
func (s *systemTables) Audit(ctx context.Context, from uint64) (projection.AuditCursor, error) {
	return &auditCursor{ctx: ctx, rt: s.rt, next: ident.NewOffset(from)}, nil
}

// auditCursor walks the trail, some entries at a time.
type auditCursor struct {
	ctx  context.Context
	rt   *Runtime
	next ident.Offset
	rows []projection.AuditRow
}

// auditBatch is how many entries a cursor holds in memory.
const auditBatch = 256

// Next implements projection.AuditCursor.
func (c *auditCursor) Next() (*projection.AuditRow, error) {
	if len(c.rows) == 0 {
		c.rows = c.rows[:0:0]
		next, err := c.rt.readAudit(c.ctx, c.next, auditBatch, func(e *AuditEntry) error {
			c.rows = append(c.rows, projection.AuditRow{Offset: e.Offset.Uint64(), Time: e.Time, Entry: e.Entry})
			return nil
		})
		if err != nil || len(c.rows) == 0 {
			return nil, err
		}
		c.next = next
	}
	row := &c.rows[0]
	c.rows = c.rows[1:]
	return row, nil
}
