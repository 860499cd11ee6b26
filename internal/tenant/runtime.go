package tenant

import (
	"context"
	"errors"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"kimberlite/internal/disk"
	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/keyring"
	"kimberlite/internal/pagestore"
	"kimberlite/internal/projection"
	"kimberlite/internal/record"
	"kimberlite/internal/seal"
	"kimberlite/internal/tenantlog"
)

// Runtime is an open tenant.
type Runtime struct {
	m     *Manager
	slot  *slot
	id    ident.TenantID
	lease *keyring.Lease
	keys  *keyring.Keys
	// envelope is the one that keys know.
	envelope []byte
	seals    seal.KeySource // keys, as the log and the projection use them
	log      *tenantlog.Log
	unpin    func() // ends the use of log
	store    *pagestore.Store
	db       *projection.DB

	writer      writer
	watch       watch
	credentials credentials
	segKeys     segmentKeys
	maxLog      atomic.Int64  // limit of log bytes, 0 = unlimited
	dueAt       atomic.Uint64 // counts writes between looks at the rotation policy
	flushing    atomic.Bool
	flushes     sync.WaitGroup

	// term is that of the lead in which the tenant is open, or following.
	term atomic.Uint64
	// followMu is held while a tenant that follows its log is brought up.
	followMu sync.Mutex
	txs      transactions

	// broken says that the projection is in doubt: nobody may use it further,
	// and the next opening rebuilds it or catches up.
	broken atomic.Bool
	// discard asks that the projection's file be removed on closing.
	discard atomic.Bool
}

// projectionFile is the page store's file in a tenant's directory.
const projectionFile = "projection.db"

// openRuntime opens keys, log and projection, and brings the projection up to
// the log's end.
func (m *Manager) openRuntime(ctx context.Context, s *slot, term uint64) (*Runtime, error) {
	st, err := m.o.Shard.Tenant(s.id)
	if err != nil {
		return nil, m.gone(s.id, err)
	}
	if err := m.openable(&st, term); err != nil {
		return nil, err
	}
	env, err := keyring.DecodeEnvelope(st.Envelope)
	if err != nil {
		return nil, err
	}
	lease, err := m.acquireKeys(ctx, s.id, env)
	if err != nil {
		return nil, err
	}
	rt := &Runtime{m: m, slot: s, id: s.id, lease: lease, keys: lease.Keys(), envelope: st.Envelope}
	rt.term.Store(term)
	s.admission.SetLimits(st.Limits)
	rt.maxLog.Store(st.Limits.MaxLogBytes)
	rt.seals = rt.keys
	if m.o.KeySource != nil {
		rt.seals = m.o.KeySource(rt.keys)
	}
	rt.segKeys.keys = rt.seals
	rt.writer.init(rt)
	rt.watch.init()
	rt.log, rt.unpin, err = m.o.Shard.PinLog(s.id)
	if err != nil {
		lease.Release()
		return nil, err
	}
	rt.writer.openedAt = rt.log.Position().Next
	if err := rt.openProjection(ctx, st.Limits.MaxProjectionBytes); err != nil {
		rt.unpin()
		lease.Release()
		return nil, err
	}
	rt.writer.begin()
	return rt, nil
}

// begin takes up where the projection stands.
func (w *writer) begin() {
	w.nextAudit = w.rt.db.InternalStream(projection.AuditStream).Next.Uint64()
	w.nextCredential = w.rt.db.InternalStream(projection.CredentialStream).Next.Uint64()
}

// openProjection opens the projection and replays what it lacks. A projection
// that is damaged, of another version or ahead of the log is thrown away and
// rebuilt: it is derived from the log.
func (rt *Runtime) openProjection(ctx context.Context, limit int64) error {
	err := rt.tryProjection(ctx, limit)
	if err == nil || !rebuildable(err) {
		return err
	}
	rt.m.o.Logger.Warn("projection is in doubt; rebuilding it from the log", "tenant", rt.id.String(), "reason", err.Error())
	if err := pagestore.Remove(rt.m.o.FS, rt.projectionPath()); err != nil {
		return err
	}
	return rt.tryProjection(ctx, limit)
}

func rebuildable(err error) bool {
	if fault.Is(err, fault.Incompatible) {
		return true
	}
	var damage *logDamage
	return fault.Is(err, fault.Corruption) && !errors.As(err, &damage)
}

// logDamage marks corruption of the log itself, which no rebuild mends.
type logDamage struct{ error }

func (d *logDamage) Unwrap() error { return d.error }

func (rt *Runtime) projectionPath() string {
	return filepath.Join(rt.m.o.Shard.TenantDir(rt.id), projectionFile)
}

func (rt *Runtime) tryProjection(ctx context.Context, limit int64) error {
	dir := rt.m.o.Shard.TenantDir(rt.id)
	if err := disk.MkdirAllDurable(rt.m.o.FS, dir, 0o700); err != nil {
		return fault.Wrap("open", fault.Unavailable, err, "cannot make the directory of tenant %s", rt.id)
	}
	store, err := pagestore.Open(pagestore.Options{
		FS: rt.m.o.FS, Path: rt.projectionPath(), Tenant: rt.id, Keys: rt.seals, MaxDirtyPages: rt.m.o.MaxDirtyPages,
	})
	if err != nil {
		return err
	}
	limits := rt.m.o.Limits
	limits.MaxProjectionBytes = limit
	db, err := projection.Open(ctx, projection.Options{
		Store: store, Tenant: rt.id, Limits: limits, MaxReaders: rt.m.o.MaxReaders, System: &systemTables{rt: rt}, Identity: rt.identity,
	})
	if err != nil {
		return errors.Join(err, store.Close())
	}
	rt.store, rt.db = store, db
	if err := rt.catchUp(ctx); err != nil {
		return errors.Join(err, db.Close(), store.Close())
	}
	return nil
}

// replayBatch bounds how much of the log is read and applied in one SQLite
// transaction.
const replayBatch = 1 << 20

// catchUp applies the records that the projection lacks. The last record that
// it has applied is read first: its hash must be the one that the projection
// stands on, which ties the two together.
func (rt *Runtime) catchUp(ctx context.Context) error {
	applied, end := rt.db.Applied(), rt.log.Position()
	if end.Next.Before(applied.Next) {
		return fault.New("open", fault.Corruption, "the projection of tenant %s is ahead of its log", rt.id)
	}
	cursor := tenantlog.Cursor{}
	skip := false
	if applied.Next.Uint64() > 0 {
		cursor = tenantlog.Cursor{
			Offset: ident.NewOffset(applied.Next.Uint64() - 1), Segment: ident.NewOffset(applied.Segment), Byte: applied.Byte,
		}
		skip = true
	}
	for skip || applied.Next.Before(end.Next) {
		raws, next, err := rt.log.Read(cursor, replayBatch)
		if err != nil && skip && rt.wholeUpTo(cursor) {
			return fault.New("open", fault.Corruption, "the projection of tenant %s stands where its log has no record", rt.id)
		}
		if err != nil {
			return &logDamage{rt.m.o.Shard.ReportDamage(rt.id, err)}
		}
		if len(raws) == 0 {
			return fault.New("open", fault.Internal, "the log of tenant %s ended early", rt.id)
		}
		if skip {
			if err := rt.checkLink(raws[0], applied.LastHash); err != nil {
				return err
			}
			raws, skip = raws[1:], false
		}
		if err := rt.applyRecords(ctx, raws); err != nil {
			return err
		}
		cursor, applied = next, rt.db.Applied()
		if rt.store.Dirty() >= flushPages {
			if err := rt.store.Flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

// wholeUpTo says whether the log can be read from the start of a cursor's
// segment up to the cursor's offset: if so, a cursor that does not read is
// another log's, and the log is not damaged.
func (rt *Runtime) wholeUpTo(end tenantlog.Cursor) bool {
	at := tenantlog.Cursor{Offset: end.Segment, Segment: end.Segment, Byte: record.SegmentHeaderBytes}
	for {
		raws, next, err := rt.readLog(at, replayBatch)
		if err != nil {
			return false
		}
		if len(raws) == 0 || end.Offset.Before(next.Offset) {
			return true
		}
		at = next
	}
}

// readLog reads records, and has damage of the files mended where another
// replica can.
func (rt *Runtime) readLog(from tenantlog.Cursor, maxBytes int) ([]tenantlog.Raw, tenantlog.Cursor, error) {
	raws, next, err := rt.log.Read(from, maxBytes)
	if err != nil {
		err = rt.m.o.Shard.ReportDamage(rt.id, err)
	}
	return raws, next, err
}

func (rt *Runtime) checkLink(raw tenantlog.Raw, want record.Hash) error {
	h, _, hash, err := record.CheckRecord(raw.Bytes)
	if err != nil {
		return &logDamage{err}
	}
	if hash != want {
		return fault.New("open", fault.Corruption, "the projection of tenant %s stands on a record that its log does not hold", rt.id)
	}
	rt.writer.lastTime = h.Time
	return nil
}

func (rt *Runtime) applyRecords(ctx context.Context, raws []tenantlog.Raw) error {
	batch := make([]projection.ApplyRecord, 0, len(raws))
	for _, raw := range raws {
		h, p, hash, err := rt.openRecord(raw)
		if err != nil {
			return &logDamage{err}
		}
		rt.writer.lastTime = h.Time
		batch = append(batch, projection.ApplyRecord{
			Payload: p, Time: h.Time,
			At: projection.Applied{
				Next: h.Offset.Next(), LastHash: hash, Segment: raw.Cursor.Segment.Uint64(), Byte: raw.Cursor.Byte,
			},
		})
	}
	if len(batch) == 0 {
		return nil
	}
	return rt.db.ApplyAll(ctx, batch)
}

// openRecord checks, decrypts and decodes one record of the log. Damage names
// the segment's file.
func (rt *Runtime) openRecord(raw tenantlog.Raw) (record.Header, *record.Payload, record.Hash, error) {
	h, _, hash, err := record.CheckRecord(raw.Bytes)
	if err != nil {
		return h, nil, hash, rt.logError(raw, err)
	}
	key, err := rt.segKeys.get(h.Generation, raw.Cursor.Segment)
	if err != nil {
		return h, nil, hash, err
	}
	_, p, err := record.OpenRecord(raw.Bytes, key)
	return h, p, hash, rt.logError(raw, err)
}

// logError adds to damage found in a record where that record stands.
func (rt *Runtime) logError(raw tenantlog.Raw, err error) error {
	if !fault.Is(err, fault.Corruption) {
		return err
	}
	file := filepath.Join(rt.m.o.Shard.LogDir(rt.id), tenantlog.SegmentName(raw.Cursor.Segment))
	e := fault.Corrupt("open", file, raw.Cursor.Byte, "record %s does not open", raw.Cursor.Offset)
	e.Err = err
	return e.ForTenant(rt.id)
}

// flushPages is how many changed pages of 4 KiB, and flushRecords how many
// records, may pass before the projection is made durable: they bound what an
// opening after a crash replays.
const (
	flushPages   = 4096
	flushRecords = 8192
)

// maybeFlush makes the projection durable in the background when enough has
// changed since the last time.
func (rt *Runtime) maybeFlush() {
	w := &rt.writer
	if w.sinceFlush < flushRecords && rt.store.Dirty() < flushPages {
		return
	}
	if !rt.flushing.CompareAndSwap(false, true) {
		return
	}
	w.sinceFlush = 0
	rt.flushes.Go(func() {
		defer rt.flushing.Store(false)
		if err := rt.store.Flush(); err != nil {
			rt.m.o.Logger.Warn("projection not flushed; it recovers from its log", "tenant", rt.id.String(), "error", err.Error())
		}
	})
}

// close makes log and projection durable, signs the head and lets go of
// everything. The caller made sure that nobody uses the tenant.
func (rt *Runtime) close() error {
	rt.flushes.Wait()
	rt.watch.close()
	gone := rt.m.replicated && !rt.m.has(rt.id)
	err := rt.db.Close()
	if !rt.broken.Load() && !gone && rt.store.Dirty() > 0 {
		err = errors.Join(err, rt.store.Flush())
	}
	err = errors.Join(err, rt.store.Close(), rt.writeHead())
	if gone {
		err = nil // its files went before it
	}
	if rt.discard.Load() {
		err = errors.Join(err, pagestore.Remove(rt.m.o.FS, rt.projectionPath()))
	}
	rt.unpin()
	rt.segKeys.drop()
	rt.lease.Release()
	return err
}

// writeHead signs the log's end when it moved since the last head. A log that
// is not the shard's any more, or that is being mended, gets none.
func (rt *Runtime) writeHead() error {
	at := rt.log.Position()
	if at.Next == rt.writer.openedAt || rt.m.replicated && !rt.m.headable(rt.id) {
		return nil
	}
	if err := rt.log.Sync(); err != nil {
		return err
	}
	return rt.slot.writeHead(rt.keys, at)
}

// usable says whether new calls may use the open tenant.
func (rt *Runtime) usable() bool {
	if rt.locked() {
		rt.broken.Store(true)
	}
	return !rt.broken.Load() && (!rt.m.replicated || rt.leads())
}

// locked says whether the tenant's keys were taken away: subkeys that were
// derived before still work, so the tenant must be closed.
func (rt *Runtime) locked() bool {
	select {
	case <-rt.keys.Done():
		return true
	default:
		return false
	}
}

// interruptIdle is called while the tenant drains: an interactive transaction
// that waits for its client's next statement is rolled back.
func (rt *Runtime) interruptIdle() { rt.writer.expireIdle() }

// monotone returns now, or last when the clock stands or went back: times of
// a log never go back.
func monotone(now, last time.Time) time.Time {
	if now.Before(last) {
		return last
	}
	return now
}
