package shard

import (
	"bufio"
	"context"
	"io"
	"sync"
	"time"

	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/record"
	"kimberlite/internal/tenantlog"
)

// copyBuffer is how much of a copy is read at once; serveBytes is how much of
// a log is read for one.
const (
	copyBuffer = 256 << 10
	copySync   = 16 << 20 // bytes of a copy that a crash can lose
	serveBytes = 1 << 20
)

// copying is what the shard receives from other replicas: pace and progress.
type copying struct {
	bytesPerSecond int64

	mu       sync.Mutex // guards all below
	next     time.Time  // when more may be received
	progress *FetchProgress
	aside    []string
}

// wait returns when n more bytes may be received.
func (c *copying) wait(ctx context.Context, n int) error {
	if c.bytesPerSecond <= 0 {
		return nil
	}
	c.mu.Lock()
	now := time.Now()
	if c.next.Before(now) {
		c.next = now
	}
	c.next = c.next.Add(time.Duration(float64(n) / float64(c.bytesPerSecond) * float64(time.Second)))
	pause := c.next.Sub(now)
	c.mu.Unlock()
	t := time.NewTimer(pause)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return fault.OfContext("fetch", ctx)
	}
}

func (c *copying) noteAside(dir string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.aside = append(c.aside, dir)
}

// change changes the progress of a Fetch under way.
func (c *copying) change(fn func(p *FetchProgress)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.progress != nil {
		fn(c.progress)
	}
}

// copyRecords fetches the records between a log's end and a position, appends
// them and makes them durable. Conflict says that the log is no part of the
// other replica's chain.
func (s *Shard) copyRecords(ctx context.Context, node ident.NodeID, id ident.TenantID, log *tenantlog.Log, to tenantlog.Position) (err error) {
	at := log.Position()
	if at.Next.Before(to.Next) {
		at, err = s.receive(ctx, node, log, LogRange{Tenant: id, From: at.Next, To: to.Next})
		if syncErr := log.Sync(); err == nil {
			err = syncErr
		}
		if err != nil {
			return err
		}
	}
	if at.Next == to.Next && at != to {
		return fault.New("fetch", fault.Conflict, "the log of tenant %s up to record %s is another one here: its files are not those of the other replica, or segments have another size there", id, to.Next).ForTenant(id)
	}
	return nil
}

// receive appends the records of a range as they come.
func (s *Shard) receive(ctx context.Context, node ident.NodeID, log *tenantlog.Log, r LogRange) (tenantlog.Position, error) {
	at := log.Position()
	stream, err := s.o.Peer.FetchLog(ctx, node, s.o.ID, r)
	if err != nil {
		return at, err
	}
	defer func() { _ = stream.Close() }() // only read from
	in := bufio.NewReaderSize(stream, copyBuffer)
	var buf []byte
	unsynced := 0
	for at.Next.Before(r.To) {
		if buf, err = readRecord(in, buf); err != nil {
			return at, fault.Wrap("fetch", fault.Unavailable, err, "the copy of the log of tenant %s broke off at record %s of %s", r.Tenant, at.Next, r.To).ForTenant(r.Tenant)
		}
		if at, err = log.Append(buf); err != nil {
			if fault.Is(err, fault.Corruption) {
				err = fault.Wrap("fetch", fault.Unavailable, err, "node %s sent a damaged record", node)
			}
			return at, err
		}
		s.copying.change(func(p *FetchProgress) { p.Bytes += int64(len(buf)) })
		if unsynced += len(buf); unsynced >= copySync {
			unsynced = 0
			if err := log.Sync(); err != nil {
				return at, err
			}
		}
		if err := s.copying.wait(ctx, len(buf)); err != nil {
			return at, err
		}
	}
	return at, nil
}

// readRecord reads one whole record.
func readRecord(in io.Reader, buf []byte) ([]byte, error) {
	if cap(buf) < record.HeaderBytes {
		buf = make([]byte, copyBuffer)
	}
	buf = buf[:record.HeaderBytes]
	if _, err := io.ReadFull(in, buf); err != nil {
		return buf, err
	}
	_, n, err := record.ParseHeader(buf)
	if err != nil {
		return buf, err
	}
	whole := record.HeaderBytes + n + record.TrailerBytes
	if cap(buf) < whole {
		buf = append(make([]byte, 0, whole), buf...)
	}
	buf = buf[:whole]
	_, err = io.ReadFull(in, buf[record.HeaderBytes:])
	return buf, err
}

// ServeLog writes the records of a range of a tenant's log, whole and one after
// the other, as they stand in the files. NotFound says that the tenant, or a
// record before r.To, is not here.
func (s *Shard) ServeLog(ctx context.Context, w io.Writer, r LogRange) error {
	e, err := s.entry(r.Tenant)
	if err != nil {
		return err
	}
	log, err := s.pin(e)
	if err != nil {
		return err
	}
	defer e.unpin()
	if end := log.Position().Next; end.Before(r.To) {
		return fault.New("fetch", fault.NotFound, "the log of tenant %s ends at record %s here, before %s", r.Tenant, end, r.To).ForTenant(r.Tenant)
	}
	at, err := log.Seek(r.From)
	if err != nil {
		return s.ReportDamage(r.Tenant, err)
	}
	for at.Offset.Before(r.To) {
		if ctx.Err() != nil {
			return fault.OfContext("fetch", ctx)
		}
		raws, next, err := log.Read(at, serveBytes)
		if err != nil {
			return s.ReportDamage(r.Tenant, err)
		}
		for _, raw := range raws {
			if !raw.Cursor.Offset.Before(r.To) {
				return nil
			}
			if _, err := w.Write(raw.Bytes); err != nil {
				return fault.Wrap("fetch", fault.Unavailable, err, "the other replica does not take more of the log of tenant %s", r.Tenant)
			}
		}
		at = next
	}
	return nil
}
