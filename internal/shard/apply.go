package shard

import (
	"encoding/json"

	"kimberlite/internal/fault"
	"kimberlite/internal/record"
	"kimberlite/internal/replication"
)

// Apply implements replication.StateMachine.
func (s *Shard) Apply(entries []replication.Entry) error {
	s.applyMu.Lock()
	defer s.applyMu.Unlock()
	for i := range entries {
		e := &entries[i]
		out, err := s.applyOne(e.Index, e.Data)
		if err != nil {
			return err
		}
		e.Result = out
		s.applied = e.Index
	}
	if s.group != nil && s.held == 0 && s.group.LogBytes() > s.o.CheckpointBytes {
		select {
		case s.wake <- struct{}{}:
		default:
		}
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
		var j stateJSON
		if err := decodeJSON(data, &j); err != nil {
			return outcome{}, err
		}
		return s.applyCreate(&j)
	case commandSet:
		var c setCommand
		if err := decodeJSON(data, &c); err != nil {
			return outcome{}, err
		}
		return s.applySet(&c)
	case commandKeys:
		var c keysCommand
		if err := decodeJSON(data, &c); err != nil {
			return outcome{}, err
		}
		return s.applyKeys(&c)
	}
	return outcome{}, fault.New("shard", fault.Incompatible, "the log of shard %s holds a command of unknown type %d: it was written by a newer version", s.o.ID, data[0])
}

func (s *Shard) applyAppend(index uint64, rec []byte) (outcome, error) {
	h, _, err := record.ParseHeader(rec)
	if err != nil {
		return outcome{}, err
	}
	e, err := s.entry(h.Tenant)
	if err != nil {
		return outcome{err: err}, nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := s.openLog(e); err != nil {
		return outcome{err: err}, s.damaged(e, index, err)
	}
	at, err := e.log.Append(rec)
	switch {
	case fault.Is(err, fault.Conflict):
		return outcome{err: err}, nil
	case err != nil:
		return outcome{}, err
	}
	e.state.Log = at
	s.dirty[e] = struct{}{}
	return outcome{at: at}, nil
}

// damaged decides what a log that does not open means for the shard: damage
// is that tenant's own matter, anything else stops the shard. The record at
// index waits in the replicated log until the damage is mended.
func (s *Shard) damaged(e *entry, index uint64, err error) error {
	if !fault.Is(err, fault.Corruption) {
		return err
	}
	if e.err == nil {
		s.o.Logger.Error("a tenant's log is damaged; its records stay in the replicated log", "tenant", e.state.ID.String(), "error", err.Error())
	}
	e.err = err
	if s.held == 0 {
		s.held = index
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
	e := &entry{state: *st}
	s.tenants[st.ID] = e
	s.names[st.Name] = st.ID
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
	if string(digest(e.state.Envelope)) != string(c.OldEnvelope) {
		return outcome{err: fault.New("key rotate", fault.Conflict, "the keys of tenant %s were rotated by somebody else meanwhile: try again", c.Tenant).ForTenant(c.Tenant)}, nil
	}
	e.state.Envelope = c.Envelope
	if c.NewDEK {
		e.state.GenerationStart = e.state.Log.Next
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
