package tenant

import (
	"context"
	"time"

	"kimberlite/internal/audit"
	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/projection"
	"kimberlite/internal/record"
	"kimberlite/internal/tenantlog"
)

// StreamEvent is one event of a stream, as readers see it.
type StreamEvent struct {
	Stream    projection.StreamInfo
	Offset    ident.Offset // in the stream
	LogOffset ident.Offset // of the record that holds it
	Time      time.Time
	Event     record.Event
	// Columns name the values of a row event.
	Columns []record.Column
}

// CreateStream makes an event stream.
func (t *Tenant) CreateStream(ctx context.Context, rq Request, name string) (projection.StreamInfo, error) {
	if err := t.require(projection.RightDefine); err != nil {
		return projection.StreamInfo{}, err
	}
	rt, err := t.enterWrite(ctx, rq)
	if err != nil {
		return projection.StreamInfo{}, err
	}
	defer t.leave()
	var info projection.StreamInfo
	_, err = t.do(rt, &request{
		ctx: ctx, key: rq.IdempotencyKey, fingerprint: fingerprint(rq, "stream", name, nil),
		run: func(_ context.Context, g *projection.Group) (record.Result, error) {
			var err error
			if info, err = g.CreateStream(name); err == nil {
				err = g.AddAudit(t.entry(audit.StreamCreated, info.Name, audit.OK).Encode())
			}
			return record.Result{}, err
		},
	})
	if err == nil && info.Name == "" { // a retry, answered from memory
		info, _ = rt.db.Stream(name)
	}
	return info, err
}

// Append appends messages to an event stream, all or none, and returns the
// stream offset of the first.
func (t *Tenant) Append(ctx context.Context, rq Request, stream string, msgs []projection.Message) (ident.Offset, error) {
	if err := t.require(projection.RightWrite); err != nil {
		return ident.Offset{}, err
	}
	rt, err := t.enterWrite(ctx, rq)
	if err != nil {
		return ident.Offset{}, err
	}
	defer t.leave()
	fp := [16]byte{}
	if rq.IdempotencyKey != "" {
		flat := make([]any, 0, 2*len(msgs))
		for _, m := range msgs {
			flat = append(flat, m.ContentType, m.Data)
		}
		fp = fingerprint(rq, "append", stream, flat)
	}
	res, err := t.do(rt, &request{
		ctx: ctx, key: rq.IdempotencyKey, fingerprint: fp,
		run: func(_ context.Context, g *projection.Group) (record.Result, error) {
			first, err := g.Append(stream, msgs)
			return record.Result{RowsAffected: int64(len(msgs)), FirstOffset: first.Uint64()}, err
		},
	})
	return ident.NewOffset(res.FirstOffset), err
}

// Streams returns the tenant's streams, tables' and event streams, by name.
func (t *Tenant) Streams(ctx context.Context) ([]projection.StreamInfo, error) {
	if err := t.require(projection.RightCatalog); err != nil {
		return nil, err
	}
	rt, err := t.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer t.leave()
	return rt.db.Streams(), nil
}

// readBatch is how many bytes of log one step of a stream read takes.
const readBatch = 1 << 20

// ReadStream gives fn the events of a stream from an offset on, in order, up
// to limit of them (0 = all there are now). It returns the offset after the
// last one given. fn must not keep the event's byte slices.
func (t *Tenant) ReadStream(ctx context.Context, stream string, from ident.Offset, limit int, fn func(*StreamEvent) error) (ident.Offset, error) {
	if err := t.require(projection.RightRows); err != nil {
		return from, err
	}
	rt, err := t.enter(ctx)
	if err != nil {
		return from, err
	}
	defer t.leave()
	info, ok := rt.db.Stream(stream)
	if !ok {
		return from, fault.New("stream read", fault.NotFound, "there is no stream %q: see `kimberlite stream list`", stream).ForTenant(rt.id)
	}
	next, err := rt.readStream(ctx, info, from, limit, fn)
	rt.suspect(err)
	return next, err
}

// readStream walks the log from the index entry at or before the offset.
func (rt *Runtime) readStream(ctx context.Context, info projection.StreamInfo, from ident.Offset, limit int, fn func(*StreamEvent) error) (ident.Offset, error) {
	next := from
	given := 0
	for next.Before(info.Next) {
		cursor, ok, err := rt.db.IndexFloor(info.Number, next.Uint64())
		if err != nil {
			return next, err
		}
		if !ok {
			return next, nil
		}
		before := next
		next, err = rt.scan(ctx, cursor, info, next, func(e *StreamEvent) (bool, error) {
			if err := fn(e); err != nil {
				return false, err
			}
			given++
			return limit == 0 || given < limit, nil
		})
		if err != nil || (limit > 0 && given >= limit) || next == before {
			return next, err
		}
	}
	return next, nil
}

// scan reads records from a cursor and gives fn the events of one stream from
// offset next on, until a stretch without any shows that the index knows a
// shorter way, or the stream's end, or fn says stop.
func (rt *Runtime) scan(ctx context.Context, at projection.IndexEntry, info projection.StreamInfo, next ident.Offset, fn func(*StreamEvent) (bool, error)) (ident.Offset, error) {
	cursor := tenantlog.Cursor{Offset: ident.NewOffset(at.LogOffset), Segment: ident.NewOffset(at.Segment), Byte: at.Byte}
	idle := 0
	for next.Before(info.Next) {
		if ctx.Err() != nil {
			return next, fault.OfContext("stream read", ctx).ForTenant(rt.id)
		}
		raws, after, err := rt.readLog(cursor, readBatch)
		if err != nil || len(raws) == 0 {
			return next, err
		}
		for _, raw := range raws {
			found, more, err := rt.scanRecord(raw, info, &next, fn)
			if err != nil || !more {
				return next, err
			}
			if idle++; found {
				idle = 0
			}
			if idle > projection.IndexStride {
				return next, nil
			}
		}
		cursor = after
	}
	return next, nil
}

func (rt *Runtime) scanRecord(raw tenantlog.Raw, info projection.StreamInfo, next *ident.Offset, fn func(*StreamEvent) (bool, error)) (found, more bool, err error) {
	h, p, _, err := rt.openRecord(raw)
	if err != nil {
		return false, false, err
	}
	for i := range p.Txns {
		for j := range p.Txns[i].Events {
			e := &p.Txns[i].Events[j]
			if e.Stream != info.Number || !isStreamData(e.Kind) {
				continue
			}
			found = true
			if e.StreamOffset < next.Uint64() {
				continue
			}
			columns, err := rt.columns(info, e)
			if err != nil {
				return found, false, err
			}
			more, err := fn(&StreamEvent{
				Stream: info, Offset: ident.NewOffset(e.StreamOffset), LogOffset: h.Offset, Time: h.Time, Event: *e, Columns: columns,
			})
			if err != nil {
				return found, false, err
			}
			*next = ident.NewOffset(e.StreamOffset + 1)
			if !more {
				return found, false, nil
			}
		}
	}
	return found, true, nil
}

func isStreamData(k record.EventKind) bool {
	switch k {
	case record.RowInserted, record.RowUpdated, record.RowDeleted, record.Message:
		return true
	}
	return false
}

// columns returns the names of a row event's values, in the version of the
// table that the event was written in.
func (rt *Runtime) columns(info projection.StreamInfo, e *record.Event) ([]record.Column, error) {
	if e.Kind == record.Message || e.SchemaVersion == info.SchemaVersion {
		return info.Columns, nil
	}
	return rt.db.StreamColumns(info.Number, e.SchemaVersion)
}

// Tail gives fn the events of a stream from an offset on, and then each new
// one once it is durable, until ctx ends or fn returns an error. While it
// waits it holds neither the tenant open nor a concurrency slot.
func (t *Tenant) Tail(ctx context.Context, stream string, from ident.Offset, fn func(*StreamEvent) error) error {
	if err := t.require(projection.RightRows); err != nil {
		return err
	}
	for {
		next, wait, done, err := t.tailStep(ctx, stream, from, fn)
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
			return fault.OfContext("stream tail", ctx).ForTenant(t.slot.id)
		case <-wait:
			done()
		}
	}
}

func (t *Tenant) tailStep(ctx context.Context, stream string, from ident.Offset, fn func(*StreamEvent) error) (ident.Offset, <-chan struct{}, func(), error) {
	rt, err := t.enter(ctx)
	if err != nil {
		return from, nil, nil, err
	}
	defer t.leave()
	wait, done := rt.watch.next()
	info, ok := rt.db.Stream(stream)
	if !ok {
		done()
		return from, nil, nil, fault.New("stream tail", fault.NotFound, "there is no stream %q: see `kimberlite stream list`", stream).ForTenant(rt.id)
	}
	next, err := rt.readStream(ctx, info, from, 0, fn)
	if err != nil {
		rt.suspect(err)
		done()
		return from, nil, nil, err
	}
	return next, wait, done, nil
}
