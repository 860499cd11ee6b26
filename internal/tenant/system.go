package tenant

import (
	"context"

	"kimberlite/internal/ident"
	"kimberlite/internal/projection"
	"kimberlite/internal/tenantlog"
)

// systemTables reads the rows of kimberlite.events and kimberlite.usage for
// the projection, from this tenant's own log and counters.
type systemTables struct{ rt *Runtime }

// Usage implements projection.SystemTables.
func (s *systemTables) Usage(context.Context) ([]projection.UsageRow, error) {
	rt := s.rt
	st, err := rt.m.o.Shard.Tenant(rt.id)
	if err != nil {
		return nil, err
	}
	u, err := rt.m.Usage(rt.id)
	if err != nil {
		return nil, err
	}
	return []projection.UsageRow{
		{Name: "log_bytes", Value: u.LogBytes, Limit: st.Limits.MaxLogBytes},
		{Name: "projection_bytes", Value: u.ProjectionBytes, Limit: st.Limits.MaxProjectionBytes},
		{Name: "concurrent_ops", Value: u.InFlight, Limit: st.Limits.MaxConcurrentOps},
		{Name: "ops_per_sec", Value: 0, Limit: st.Limits.MaxOpsPerSec},
		{Name: "log_records", Value: int64(u.LogRecords)}, //nolint:gosec // a log holds fewer than 2^63
	}, nil
}

// Events implements projection.SystemTables.
func (s *systemTables) Events(ctx context.Context, q projection.EventQuery) (projection.EventCursor, error) {
	c := &eventCursor{ctx: ctx, rt: s.rt, stream: q.Stream, from: q.From}
	if q.Stream == 0 {
		return c, nil
	}
	entry, ok, err := s.rt.db.IndexFloor(q.Stream, q.From)
	if err != nil {
		return nil, err
	}
	if !ok {
		c.done = true
		return c, nil
	}
	c.cursor = tenantlog.Cursor{
		Offset: ident.NewOffset(entry.LogOffset), Segment: ident.NewOffset(entry.Segment), Byte: entry.Byte,
	}
	return c, nil
}

// eventCursor walks the log, a stretch at a time.
type eventCursor struct {
	ctx    context.Context
	rt     *Runtime
	stream uint64 // 0 = all
	from   uint64
	cursor tenantlog.Cursor
	events []projection.LoggedEvent
	done   bool
}

// Next implements projection.EventCursor.
func (c *eventCursor) Next() (*projection.LoggedEvent, error) {
	for len(c.events) == 0 {
		if c.done {
			return nil, nil
		}
		if err := c.read(); err != nil {
			return nil, err
		}
	}
	e := &c.events[0]
	c.events = c.events[1:]
	return e, nil
}

// systemBatch is how many bytes of log are decoded at a time: what a reader
// of kimberlite.events holds in memory.
const systemBatch = 256 << 10

func (c *eventCursor) read() error {
	if err := c.ctx.Err(); err != nil {
		return err
	}
	raws, next, err := c.rt.readLog(c.cursor, systemBatch)
	if err != nil {
		return err
	}
	if len(raws) == 0 {
		c.done = true
		return nil
	}
	c.cursor = next
	for _, raw := range raws {
		if err := c.take(raw); err != nil {
			return err
		}
	}
	return nil
}

func (c *eventCursor) take(raw tenantlog.Raw) error {
	h, p, _, err := c.rt.openRecord(raw)
	if err != nil {
		return err
	}
	for i := range p.Txns {
		for _, e := range p.Txns[i].Events {
			if !isStreamData(e.Kind) || e.Stream >= projection.AuditStream || (c.stream != 0 && (e.Stream != c.stream || e.StreamOffset < c.from)) {
				continue
			}
			c.events = append(c.events, projection.LoggedEvent{LogOffset: h.Offset.Uint64(), Time: h.Time, Event: e})
		}
	}
	return nil
}

// Close implements projection.EventCursor.
func (c *eventCursor) Close() error {
	c.events, c.done = nil, true
	return nil
}
