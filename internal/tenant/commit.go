package tenant

import (
	"context"

	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/keyring"
	"kimberlite/internal/projection"
	"kimberlite/internal/quota"
	"kimberlite/internal/record"
	"kimberlite/internal/seal"
	"kimberlite/internal/tenantlog"
)

// commit logs what a group changed and commits it: seal, propose, and once
// the record is in the replicated log, COMMIT in the projection. On error the
// group is rolled back and nothing took effect, unless the error is
// OutcomeUnknown. The caller leads the writer.
func (w *writer) commit(g *projection.Group) error {
	p := g.Payload()
	if !worthLogging(p) {
		w.abort(g)
		return w.confirm()
	}
	w.logMu.Lock()
	defer w.logMu.Unlock()
	var rec []byte
	var at projection.Applied
	nextAudit, err := w.absorb(g)
	if err == nil {
		rec, at, err = w.sealRecord(p, 0)
	}
	if err == nil {
		err = g.Prepare(at)
	}
	if err != nil {
		w.suspect(err)
		w.abort(g)
		return err
	}
	if _, err := w.rt.m.o.Shard.Append(context.Background(), rec); err != nil {
		err = w.notLogged(err)
		w.abort(g)
		return err
	}
	if err := g.Commit(); err != nil {
		// The record is logged, so the write stands; the projection catches
		// up from the log when the tenant is opened again.
		w.rt.broken.Store(true)
		w.rt.m.o.Logger.Warn("projection did not commit a logged record; it recovers from its log", "tenant", w.rt.id.String(), "error", err.Error())
	}
	w.absorbed(nextAudit)
	w.sinceFlush++
	w.rt.watch.notify()
	return nil
}

// worthLogging says whether a group changed anything, or gave a promise (an
// idempotency key) that must be kept.
func worthLogging(p *record.Payload) bool {
	for i := range p.Txns {
		if len(p.Txns[i].Events) > 0 || p.Txns[i].IdempotencyKey != "" {
			return true
		}
	}
	return false
}

// sealRecord makes the tenant's next record of a payload and says where the
// projection stands once it is applied. Clock, keys and sealing happen here,
// before the proposal, so that everything after it is deterministic. reserve
// is how far the record may go above the log's limit. The caller holds logMu.
func (w *writer) sealRecord(p *record.Payload, reserve int64) ([]byte, projection.Applied, error) {
	var none projection.Applied
	buf, err := record.EncodePayload(w.buf[:0], p)
	if err != nil {
		return nil, none, err
	}
	if cap(buf) <= maxKeptBuffer {
		w.buf = buf
	}
	defer clear(buf)
	pos := w.rt.log.Position()
	size := record.HeaderBytes + len(buf) + seal.Overhead + record.TrailerBytes
	limit := w.rt.maxLog.Load()
	if limit > 0 {
		limit += reserve
	}
	if err := quota.CheckLog(quota.Limits{MaxLogBytes: limit}, pos.TotalBytes, int64(size)); err != nil {
		return nil, none, tenantError(err, w.rt.id)
	}
	segment := w.rt.log.SegmentFor(size)
	generation := w.rt.keys.Current()
	key, err := w.rt.segKeys.get(generation, segment)
	if err != nil {
		return nil, none, err
	}
	w.lastTime = monotone(w.rt.m.o.Clock.Now(), w.lastTime)
	rec, hash, err := record.SealRecord(record.Header{
		Kind: record.DataRecord, Tenant: w.rt.id, Offset: pos.Next, Time: w.lastTime,
		Generation: generation, Events: countEvents(p), PrevHash: pos.LastHash,
	}, buf, key)
	if err != nil {
		return nil, none, err
	}
	cursor := w.rt.log.NextCursor()
	if segment != cursor.Segment || cursor.Byte == 0 { // the first record's segment is not there yet
		cursor = tenantlog.Cursor{Offset: pos.Next, Segment: segment, Byte: record.SegmentHeaderBytes}
	}
	return rec, projection.Applied{
		Next: pos.Next.Next(), LastHash: hash, Segment: cursor.Segment.Uint64(), Byte: cursor.Byte, Time: w.lastTime,
	}, nil
}

// maxKeptBuffer bounds the payload buffer that an open tenant keeps.
const maxKeptBuffer = 64 << 10

func countEvents(p *record.Payload) uint32 {
	n := 0
	for i := range p.Txns {
		n += len(p.Txns[i].Events)
	}
	return uint32(n) //nolint:gosec // bounded by MaxRecordBytes
}

func tenantError(err error, id ident.TenantID) error {
	if e, ok := err.(*fault.Error); ok { //nolint:errorlint // only a bare error gets the tenant added
		return e.ForTenant(id)
	}
	return err
}

// signHead implements shard.HeadSigner.
func (m *Manager) signHead(ctx context.Context, id ident.TenantID, at tenantlog.Position) error {
	s, err := m.slotEvenClosing(id)
	if err != nil {
		return err
	}
	if s.headCovers(at) {
		return nil
	}
	st, err := m.o.Shard.Tenant(id)
	if err != nil {
		return err
	}
	env, err := keyring.DecodeEnvelope(st.Envelope)
	if err != nil {
		return err
	}
	lease, err := m.headKeys(ctx, id, env)
	if lease == nil && err == nil {
		return nil // this replica does not have the keys open
	}
	if err != nil {
		// Without keys there is no signature; the state's own position still
		// protects the log, and the next opening signs.
		m.o.Logger.Warn("head not signed: keys are not available", "tenant", id.String(), "error", err.Error())
		return nil
	}
	defer lease.Release()
	return s.writeHead(lease.Keys(), at)
}

// headCovers says whether the last head that was written reaches a position.
func (s *slot) headCovers(at tenantlog.Position) bool {
	s.headMu.Lock()
	defer s.headMu.Unlock()
	if s.headGone.CompareAndSwap(true, false) {
		s.head = ident.Offset{}
	}
	return !s.head.Before(at.Next)
}

// writeHead signs and writes the head of the tenant's log at a synced
// position, unless a later one stands there already.
func (s *slot) writeHead(keys *keyring.Keys, at tenantlog.Position) error {
	s.headMu.Lock()
	defer s.headMu.Unlock()
	if !s.head.Before(at.Next) {
		return nil
	}
	m, id := s.m, s.id
	h := record.Head{
		Tenant: id, Next: at.Next, LastHash: at.LastHash, Time: m.o.Clock.Now(),
		TotalBytes: at.TotalBytes, Segment: at.Segment, SegmentBytes: at.SegmentBytes,
	}
	if err := h.SignWith(keys.Public(), keys.Sign); err != nil {
		return err
	}
	if err := tenantlog.WriteHead(m.o.FS, m.o.Shard.LogDir(id), h); err != nil {
		return err
	}
	s.head = at.Next
	return nil
}
