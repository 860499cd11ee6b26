package shard

import (
	"encoding/json"

	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/record"
	"kimberlite/internal/replication"
	"kimberlite/internal/tenantlog"
)

// Apply implements replication.StateMachine.
func (s *Shard) Apply(entries []replication.Entry) error {
	s.applyMu.Lock()
	defer s.applyMu.Unlock()
	s.leads = false
	if s.group != nil {
		_, s.leads = s.group.Lead()
	}
	for i := range entries {
		e := &entries[i]
		out, err := s.applyOne(e.Index, e.Data)
		if err != nil {
			return err
		}
		e.Result = out
		s.applied = e.Index
	}
	if s.group != nil && len(s.damagedAt) == 0 && s.group.LogBytes() > s.o.CheckpointBytes {
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
	if s.replicated {
		s.grown.signal()
	}
	return nil
}

func (s *Shard) applyOne(index uint64, data []byte) (outcome, error) {
	if len(data) == 0 {
		return outcome{}, fault.New("shard", fault.Corruption, "an empty command stands in the log of shard %s", s.o.ID)
	}
	switch commandType(data[0]) {
	case commandAppend:
		return s.applyAppend(index, data[1:])
	case commandCreate:
		return decoded(data, s.applyCreate)
	case commandSet:
		return decoded(data, s.applySet)
	case commandKeys:
		return decoded(data, s.applyKeys)
	case commandImport:
		return decoded(data, s.applyImport)
	case commandRecords:
		return s.applyRecords(index, data)
	case commandPhase:
		return decoded(data, s.applyPhase)
	case commandActivate:
		return decoded(data, s.applyActivate)
	case commandRelease:
		return decoded(data, s.applyRelease)
	}
	return outcome{}, fault.New("shard", fault.Incompatible, "the log of shard %s holds a command of unknown type %d: it was written by a newer version", s.o.ID, data[0])
}

// decoded applies a command whose body is JSON.
func decoded[C any](data []byte, apply func(*C) (outcome, error)) (outcome, error) {
	var c C
	if err := decodeJSON(data, &c); err != nil {
		return outcome{}, err
	}
	return apply(&c)
}

func (s *Shard) applyAppend(index uint64, rec []byte) (outcome, error) {
	h, _, err := record.ParseHeader(rec)
	if err != nil {
		return outcome{}, err
	}
	e, err := s.entry(h.Tenant)
	if err != nil {
		if s.replicated {
			err = fault.New("write", fault.Misrouted, "tenant %s has moved away; nothing was written", h.Tenant).ForTenant(h.Tenant)
		}
		return outcome{err: err}, nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.state.refusal("write"); err != nil {
		return outcome{err: err}, nil
	}
	return s.take(e, index, rec)
}

// take puts a record into a tenant's log, if it is the next one. The caller
// holds e.mu.
func (s *Shard) take(e *entry, index uint64, rec []byte) (outcome, error) {
	opened := s.openLog(e)
	if opened == nil && (!s.replicated || e.log.Position() == e.state.Log) {
		at, err := e.log.Append(rec)
		switch {
		case fault.Is(err, fault.Conflict):
			return outcome{err: err}, nil
		case err != nil:
			return outcome{}, err
		}
		s.took(e, at)
		return outcome{at: at}, nil
	}
	if opened != nil {
		if err := s.damaged(e, index, opened); err != nil || !s.replicated {
			return outcome{err: opened}, err
		}
	}
	// The files are ahead, and hold the record, or damaged, and get it once
	// they are mended.
	at, err := e.state.Log.After(e.state.ID, rec, s.o.SegmentBytes)
	switch {
	case fault.Is(err, fault.Conflict):
		return outcome{err: err}, nil
	case err != nil:
		return outcome{}, err
	}
	s.took(e, at)
	if e.log != nil {
		if err := diverged(e.log.Position(), at, e.state.ID); err != nil {
			return outcome{at: at}, s.damaged(e, index, err)
		}
	}
	return outcome{at: at}, nil
}

func (s *Shard) took(e *entry, at tenantlog.Position) {
	e.state.Log = at
	s.dirty[e] = struct{}{}
	if s.replicated && (!s.leads || e.state.Phase == Incoming) {
		s.grown.add(e.state.ID)
	}
}

// diverged says whether files that reach a position, or not so far, cannot be
// of the same log as one that reaches at.
func diverged(files, at tenantlog.Position, id ident.TenantID) error {
	if files.Next == at.Next && files != at || files.Next.Before(at.Next) {
		return fault.New("shard", fault.Corruption, "the files of the log of tenant %s are not those of the replicated log at record %s", id, at.Next).ForTenant(id)
	}
	return nil
}

// damaged decides what a log that does not open means for the shard: damage
// is that tenant's own matter, anything else stops the shard. The record at
// index waits in the replicated log until the damage is mended. The caller
// holds applyMu and e.mu.
func (s *Shard) damaged(e *entry, index uint64, err error) error {
	if !fault.Is(err, fault.Corruption) {
		return err
	}
	if e.err == nil {
		s.o.Logger.Error("a tenant's log is damaged; its records stay in the replicated log", "tenant", e.state.ID.String(), "error", err.Error())
	}
	e.err = err
	if _, known := s.damagedAt[e]; !known {
		s.damagedAt[e] = index
	}
	if s.replicated {
		s.dropLog(e)
		s.tellReset(e.state.ID)
		signal(s.mendWake)
	}
	return nil
}

func (s *Shard) applyCreate(j *stateJSON) (outcome, error) {
	st, err := j.state()
	if err != nil {
		return outcome{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, taken := s.tenants[st.ID]; taken {
		return outcome{err: fault.New("tenant create", fault.AlreadyExists, "tenant %s exists already", st.ID).ForTenant(st.ID)}, nil
	}
	if _, taken := s.names[st.Name]; taken {
		return outcome{err: fault.New("tenant create", fault.AlreadyExists, "another tenant is called %q already", st.Name).ForTenant(st.ID)}, nil
	}
	e := &entry{id: st.ID, state: *st}
	s.tenants[st.ID] = e
	s.named(st)
	s.dirty[e] = struct{}{}
	return outcome{}, nil
}

func (s *Shard) applySet(c *setCommand) (outcome, error) {
	e, err := s.entry(c.Tenant)
	if err != nil {
		return outcome{err: err}, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.state.refusal("tenant set"); err != nil {
		return outcome{err: err}, nil
	}
	if c.Name != nil && *c.Name != e.state.Name {
		if _, taken := s.names[*c.Name]; taken {
			return outcome{err: fault.New("tenant set", fault.AlreadyExists, "another tenant is called %q already", *c.Name).ForTenant(c.Tenant)}, nil
		}
		delete(s.names, e.state.Name)
		e.state.Name = *c.Name
		s.names[e.state.Name] = c.Tenant
	}
	if c.Retention != nil {
		e.state.Retention = *c.Retention
	}
	if c.Limits != nil {
		e.state.Limits = c.Limits.quota()
	}
	s.dirty[e] = struct{}{}
	return outcome{}, nil
}

func (s *Shard) applyKeys(c *keysCommand) (outcome, error) {
	e, err := s.entry(c.Tenant)
	if err != nil {
		return outcome{err: err}, nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.state.refusal("key rotate"); err != nil {
		return outcome{err: err}, nil
	}
	if string(digest(e.state.Envelope)) != string(c.OldEnvelope) {
		return outcome{err: fault.New("key rotate", fault.Conflict, "the keys of tenant %s were rotated by somebody else meanwhile: try again", c.Tenant).ForTenant(c.Tenant)}, nil
	}
	e.state.Envelope = c.Envelope
	if c.NewDEK {
		e.state.GenerationStart = e.state.Log.Next
		if c.Start != nil {
			e.state.GenerationStart = ident.NewOffset(*c.Start)
		}
	}
	s.dirty[e] = struct{}{}
	return outcome{}, nil
}

// statePuts returns the checkpoint keys for the given states.
func statePuts(states []TenantState) ([]replication.KV, error) {
	kvs := make([]replication.KV, len(states))
	for i := range states {
		value, err := json.Marshal(states[i].toJSON())
		if err != nil {
			return nil, fault.Wrap("shard", fault.Internal, err, "cannot encode a tenant's state")
		}
		kvs[i] = replication.KV{Key: tenantKey(states[i].ID), Value: value}
	}
	return kvs, nil
}
