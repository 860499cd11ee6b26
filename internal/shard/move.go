package shard

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"kimberlite/internal/disk"
	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/record"
	"kimberlite/internal/tenantlog"
)

// Phase is what a shard does for one of its tenants. It changes while the
// tenant moves from one shard to another:
//
//	source   Serving → Fenced → Retired → (released)
//	target   Incoming → Serving
type Phase uint8

// The phases of a tenant in a shard. Their numbers are stored.
const (
	// Serving is the usual one: reads and writes.
	Serving Phase = 0
	// Fenced refuses writes and changes, and serves reads: the log's end and
	// the state stand still.
	Fenced Phase = 1
	// Retired serves nothing any more: another shard may serve from now on.
	Retired Phase = 2
	// Incoming serves nothing yet: the log is being copied here.
	Incoming Phase = 3
)

// String returns the phase in a word.
func (p Phase) String() string {
	switch p {
	case Serving:
		return "serving"
	case Fenced:
		return "fenced"
	case Retired:
		return "retired"
	case Incoming:
		return "incoming"
	}
	return "unknown"
}

// refusal is why a tenant cannot be written to or changed here, or nil.
func (s *TenantState) refusal(op string) error {
	if s.Phase == Serving {
		return nil
	}
	return fault.New(op, fault.Misrouted, "tenant %s is moving to another shard, or has moved; nothing was done: try again", s.ID).ForTenant(s.ID)
}

// Readable returns why a tenant in this state cannot be read here, or nil.
func (s *TenantState) Readable(op string) error {
	if s.Phase == Fenced {
		return nil
	}
	return s.refusal(op)
}

// moveCommand is the body of phase and release commands.
type moveCommand struct {
	Tenant ident.TenantID `json:"tenant"`
	Epoch  uint64         `json:"epoch"`
	To     Phase          `json:"to,omitempty"`
}

// Import is a step of copying a tenant here from another shard.
type Import struct {
	// State is the tenant's in the other shard. Its log's position is not
	// looked at.
	State TenantState
	// Epoch is that of the move. A later one takes over what an earlier one
	// has copied; an earlier one is refused.
	Epoch uint64
	// Records are whole sealed records, one after the other, as they stand in
	// the other shard's log, at most record.MaxRecordBytes of them. Those that
	// are here already are passed over.
	Records []byte
}

// Import makes an incoming tenant, or goes on with it, and returns how far its
// log reaches now. Every replica has the records when it returns. Errors:
// AlreadyExists when the tenant serves here, Conflict for an earlier epoch and
// for records that do not follow.
func (s *Shard) Import(ctx context.Context, i Import) (tenantlog.Position, error) {
	incoming := i.State
	incoming.Phase, incoming.Epoch, incoming.Log = Incoming, i.Epoch, tenantlog.Start(i.State.ID)
	have, err := s.Tenant(incoming.ID)
	if err != nil || !sameButLog(have, incoming) {
		command, err := encodeJSON(commandImport, incoming.toJSON())
		if err != nil {
			return tenantlog.Position{}, err
		}
		out, err := s.propose(ctx, command)
		if err != nil || len(i.Records) == 0 {
			return out.at, err
		}
	}
	if len(i.Records) == 0 {
		return have.Log, nil
	}
	if err := checkRecords(incoming.ID, i.Records); err != nil {
		return tenantlog.Position{}, err
	}
	out, err := s.propose(ctx, recordsPrefix(incoming.ID, i.Epoch), i.Records)
	return out.at, err
}

func sameButLog(a, b TenantState) bool {
	return a.Name == b.Name && a.Region == b.Region && a.Retention == b.Retention && a.Limits == b.Limits &&
		a.Created.Equal(b.Created) && bytes.Equal(a.Envelope, b.Envelope) &&
		a.GenerationStart == b.GenerationStart && a.Phase == b.Phase && a.Epoch == b.Epoch
}

const recordsHeader = 1 + 8 + 8

func recordsPrefix(id ident.TenantID, epoch uint64) []byte {
	b := append(make([]byte, 0, recordsHeader), byte(commandRecords))
	b = binary.BigEndian.AppendUint64(b, id.Uint64())
	return binary.BigEndian.AppendUint64(b, epoch)
}

// decodeRecords reads an import of records, which are not checked but for their
// length.
func decodeRecords(data []byte) (id ident.TenantID, epoch uint64, records [][]byte, err error) {
	if len(data) < recordsHeader {
		return id, 0, nil, fault.New("shard", fault.Corruption, "an import of %d bytes is cut short", len(data))
	}
	if id, err = ident.NewTenantID(binary.BigEndian.Uint64(data[1:])); err != nil {
		return id, 0, nil, fault.New("shard", fault.Corruption, "an import names no tenant")
	}
	records, err = splitRecords(data[recordsHeader:])
	return id, binary.BigEndian.Uint64(data[9:]), records, err
}

func splitRecords(b []byte) (records [][]byte, err error) {
	for len(b) > 0 {
		_, n, err := record.ParseHeader(b)
		if err != nil {
			return nil, err
		}
		n += record.HeaderBytes + record.TrailerBytes
		if n > len(b) {
			return nil, fault.New("shard", fault.Corruption, "the last record of an import is cut short")
		}
		records = append(records, b[:n:n])
		b = b[n:]
	}
	return records, nil
}

// checkRecords refuses what would stop the replicas that apply it.
func checkRecords(id ident.TenantID, b []byte) error {
	records, err := splitRecords(b)
	for _, rec := range records {
		if err == nil {
			_, _, _, err = record.CheckRecord(rec)
		}
	}
	if err != nil {
		return fault.Wrap("tenant move", fault.Invalid, err, "what was copied of tenant %s is damaged: copy it again", id).ForTenant(id)
	}
	return nil
}

// Fence makes the shard refuse writes and changes of a tenant, and returns the
// tenant's final state and position. Epoch is that of the move; fencing again
// under it does nothing, and an earlier one is refused as Conflict.
func (s *Shard) Fence(ctx context.Context, id ident.TenantID, epoch uint64) (TenantState, error) {
	return s.phase(ctx, id, epoch, Fenced)
}

// Retire makes the shard refuse reads of a fenced tenant, too. It comes before
// the other shard's Activate, so that no two serve at a time.
func (s *Shard) Retire(ctx context.Context, id ident.TenantID, epoch uint64) error {
	_, err := s.phase(ctx, id, epoch, Retired)
	return err
}

// Unfence makes a fenced or retired tenant serve again: the move is given up.
// A tenant that is not fenced under this epoch stays as it is: Conflict, unless
// it serves under this epoch already.
func (s *Shard) Unfence(ctx context.Context, id ident.TenantID, epoch uint64) error {
	_, err := s.phase(ctx, id, epoch, Serving)
	return err
}

func (s *Shard) phase(ctx context.Context, id ident.TenantID, epoch uint64, to Phase) (TenantState, error) {
	command, err := encodeJSON(commandPhase, moveCommand{Tenant: id, Epoch: epoch, To: to})
	if err != nil {
		return TenantState{}, err
	}
	out, err := s.propose(ctx, command)
	if err != nil {
		return TenantState{}, err
	}
	return *out.state, nil
}

// Activate makes an incoming tenant serve, with the state that Fence returned
// in the other shard: its log here must end exactly where that one's does, else
// it is refused as Conflict. Activating again does nothing.
func (s *Shard) Activate(ctx context.Context, final TenantState, epoch uint64) error {
	final.Phase, final.Epoch = Serving, epoch
	command, err := encodeJSON(commandActivate, final.toJSON())
	if err != nil {
		return err
	}
	_, err = s.propose(ctx, command)
	return err
}

// Release removes a tenant that is fenced, retired or incoming, with its files
// on every replica. The keys are the caller's. A tenant that is not here is no
// error; one that serves, or is here under a later epoch, is refused as
// Conflict.
func (s *Shard) Release(ctx context.Context, id ident.TenantID, epoch uint64) error {
	command, err := encodeJSON(commandRelease, moveCommand{Tenant: id, Epoch: epoch})
	if err != nil {
		return err
	}
	_, err = s.propose(ctx, command)
	return err
}

func conflict(id ident.TenantID, format string, args ...any) outcome {
	return outcome{err: fault.New("tenant move", fault.Conflict, "tenant %s: "+format, append([]any{id}, args...)...).ForTenant(id)}
}

// applyImport makes an incoming tenant, or brings its state up.
func (s *Shard) applyImport(j *stateJSON) (outcome, error) {
	st, err := j.state()
	if err != nil {
		return outcome{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.tenants[st.ID]
	if e == nil {
		e = &entry{id: st.ID, state: *st}
		s.tenants[st.ID] = e
		s.dirty[e] = struct{}{}
		return outcome{at: st.Log}, nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case e.state.Phase != Incoming:
		return outcome{err: fault.New("tenant move", fault.AlreadyExists, "tenant %s is in this shard already", st.ID).ForTenant(st.ID)}, nil
	case st.Epoch < e.state.Epoch:
		return conflict(st.ID, "a later move copies it here already"), nil
	}
	log := e.state.Log
	e.state = *st
	e.state.Log = log
	s.dirty[e] = struct{}{}
	return outcome{at: log}, nil
}

// applyRecords appends records to an incoming tenant's log.
func (s *Shard) applyRecords(index uint64, data []byte) (outcome, error) {
	id, epoch, records, err := decodeRecords(data)
	if err != nil {
		return outcome{}, err
	}
	e, err := s.entry(id)
	if err != nil {
		return outcome{err: err}, nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.state.Phase != Incoming || e.state.Epoch != epoch {
		return conflict(id, "this move does not copy it here any more"), nil
	}
	for _, rec := range records {
		h, _, err := record.ParseHeader(rec)
		if err != nil {
			return outcome{}, err
		}
		if h.Offset.Before(e.state.Log.Next) {
			continue // an earlier attempt brought it
		}
		out, err := s.take(e, index, rec)
		if err != nil || out.err != nil {
			return out, err
		}
	}
	return outcome{at: e.state.Log}, nil
}

func (s *Shard) applyPhase(c *moveCommand) (outcome, error) {
	e, err := s.entry(c.Tenant)
	if err != nil {
		return outcome{err: err}, nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	from := e.state.Phase
	allowed := false
	switch c.To {
	case Serving: // by Unfence
		allowed = c.Epoch == e.state.Epoch && from != Incoming
	case Fenced:
		allowed = c.Epoch >= e.state.Epoch && from == Serving || c.Epoch == e.state.Epoch && from == Fenced
	case Retired:
		allowed = c.Epoch == e.state.Epoch && (from == Fenced || from == Retired)
	case Incoming:
	}
	if !allowed {
		return conflict(c.Tenant, "it is %s under epoch %d, so that it cannot become %s under epoch %d", from, e.state.Epoch, c.To, c.Epoch), nil
	}
	if from != c.To {
		e.state.Phase, e.state.Epoch = c.To, c.Epoch
		s.dirty[e] = struct{}{}
		if c.To == Retired {
			s.tellReset(c.Tenant)
		}
	}
	st := e.state
	return outcome{at: st.Log, state: &st}, nil
}

func (s *Shard) applyActivate(j *stateJSON) (outcome, error) {
	st, err := j.state()
	if err != nil {
		return outcome{}, err
	}
	e, err := s.entry(st.ID)
	if err != nil {
		return outcome{err: err}, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	e.mu.Lock()
	defer e.mu.Unlock()
	taken, isTaken := s.names[st.Name]
	switch {
	case e.state.Phase == Serving && e.state.Epoch == st.Epoch:
		return outcome{at: e.state.Log}, nil
	case e.state.Phase != Incoming || e.state.Epoch != st.Epoch:
		return conflict(st.ID, "it is %s under epoch %d, and not incoming under epoch %d", e.state.Phase, e.state.Epoch, st.Epoch), nil
	case e.state.Log != st.Log:
		return conflict(st.ID, "its log ends at record %s here and at record %s there, or has another end", e.state.Log.Next, st.Log.Next), nil
	case isTaken && taken != st.ID:
		return outcome{err: fault.New("tenant move", fault.AlreadyExists, "another tenant is called %q already", st.Name).ForTenant(st.ID)}, nil
	}
	e.state = *st
	s.named(st)
	s.dirty[e] = struct{}{}
	return outcome{at: st.Log}, nil
}

func (s *Shard) applyRelease(c *moveCommand) (outcome, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.tenants[c.Tenant]
	if e == nil {
		return outcome{}, nil
	}
	e.mu.Lock()
	st := e.state
	e.mu.Unlock()
	if st.Phase == Serving || c.Epoch < st.Epoch {
		return conflict(c.Tenant, "it is %s under epoch %d, so that it cannot be released under epoch %d", st.Phase, st.Epoch, c.Epoch), nil
	}
	delete(s.tenants, c.Tenant)
	if s.names[st.Name] == c.Tenant {
		delete(s.names, st.Name)
	}
	s.gone[c.Tenant] = struct{}{}
	return outcome{}, s.removeTenant(e)
}

// removeTenant takes a tenant's files out of the way; removeReleased removes
// them. The caller holds applyMu.
func (s *Shard) removeTenant(e *entry) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.released = true
	s.dropLog(e)
	delete(s.damagedAt, e)
	delete(s.dirty, e)
	s.tellReset(e.id)
	return s.moveOut(e.id)
}

// releasedDir holds the directories of tenants that are to be removed.
const releasedDir = "released"

func (s *Shard) moveOut(id ident.TenantID) error {
	dir := s.TenantDir(id)
	if _, err := s.o.FS.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	grave := filepath.Join(s.o.Dir, releasedDir)
	if err := disk.MkdirAllDurable(s.o.FS, grave, 0o700); err != nil {
		return fault.Wrap("release", fault.Unavailable, err, "cannot make %s", grave)
	}
	for n := 1; ; n++ {
		to := filepath.Join(grave, fmt.Sprintf("%s-%d", id, n))
		if _, err := s.o.FS.Stat(to); err == nil {
			continue
		}
		if err := s.o.FS.Rename(dir, to); err != nil {
			return fault.Wrap("release", fault.Unavailable, err, "cannot move %s away", dir)
		}
		return nil
	}
}

// removeReleased removes the files of released tenants for good.
func (s *Shard) removeReleased() error {
	grave := filepath.Join(s.o.Dir, releasedDir)
	if _, err := s.o.FS.Stat(grave); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	names, err := s.o.FS.ReadDir(grave)
	if err != nil {
		return fault.Wrap("release", fault.Unavailable, err, "cannot list %s", grave)
	}
	for _, name := range names {
		if err := s.o.FS.RemoveAll(filepath.Join(grave, name)); err != nil {
			return fault.Wrap("release", fault.Unavailable, err, "cannot remove %s", filepath.Join(grave, name))
		}
	}
	for _, dir := range []string{filepath.Join(s.o.Dir, "tenants"), grave} {
		if err := s.o.FS.SyncDir(dir); err != nil {
			return fault.Wrap("release", fault.Unavailable, err, "cannot sync %s", dir)
		}
	}
	return nil
}

// sweep removes the directories of tenants that are not the shard's: what a
// crash between a copied checkpoint and the removal has left, or somebody who
// had a released tenant open. It runs once all that was applied before is
// applied again, and after each checkpoint that released a tenant.
func (s *Shard) sweep() error {
	if s.swept || !s.replicated || !s.Replayed() {
		return nil
	}
	dir := filepath.Join(s.o.Dir, "tenants")
	names, err := s.o.FS.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fault.Wrap("release", fault.Unavailable, err, "cannot list %s", dir)
	}
	for _, name := range names {
		id, err := ident.ParseTenantID(name)
		if err != nil {
			continue
		}
		if err := s.sweepOne(id); err != nil {
			return err
		}
	}
	s.swept = true
	return s.removeReleased()
}

func (s *Shard) sweepOne(id ident.TenantID) error {
	s.applyMu.Lock()
	defer s.applyMu.Unlock()
	s.mu.RLock()
	known := s.tenants[id] != nil || s.arriving[id] != nil
	s.mu.RUnlock()
	if known {
		return nil
	}
	s.o.Logger.Info("removing the files of a tenant that is not this shard's any more", "shard", s.o.ID.String(), "tenant", id.String())
	return s.moveOut(id)
}
