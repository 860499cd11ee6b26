package shard

import (
	"bytes"
	"encoding/json"
	"time"

	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
)

// A command is what stands in an entry of the shard's replicated log:
//
//	byte 0   command type (below)
//	byte 1…  append: a sealed record, whole
//	         import of records: tenant u64, epoch u64, big endian; then sealed
//	         records, whole, one after the other
//	         otherwise: JSON
//
// Everything in a command was decided before it was proposed (time, keys,
// offsets), so that applying it is deterministic. No command holds anything
// of a tenant in clear but its id, name and configuration, and no key that
// the master key opens: DEKs are wrapped under the tenant's KEK.
type commandType byte

const (
	commandAppend commandType = 1
	commandCreate commandType = 2
	commandSet    commandType = 3
	commandKeys   commandType = 4

	// Of moves; a version that does not know them stops at the first one.
	commandImport   commandType = 5
	commandRecords  commandType = 6
	commandPhase    commandType = 7
	commandActivate commandType = 8
	commandRelease  commandType = 9
)

// setCommand changes a tenant's configuration; nil fields stay as they are.
type setCommand struct {
	Tenant    ident.TenantID `json:"tenant"`
	Name      *string        `json:"name,omitempty"`
	Retention *time.Duration `json:"retention,omitempty"`
	Limits    *limits        `json:"limits,omitempty"`
}

// keysCommand replaces a tenant's key envelope. It takes effect only when the
// envelope in force is still the one that the new one was made from.
type keysCommand struct {
	Tenant      ident.TenantID `json:"tenant"`
	OldEnvelope []byte         `json:"old_digest"`
	Envelope    []byte         `json:"envelope"`
	// NewDEK says that the newest DEK generation changed.
	NewDEK bool `json:"new_dek,omitempty"`
	// Start is the offset from which it seals; nil from earlier versions: the
	// log's end when it is applied.
	Start *uint64 `json:"start,omitempty"`
}

// appendPrefix is what stands before the record of an append.
var appendPrefix = []byte{byte(commandAppend)}

func encodeJSON(t commandType, v any) ([]byte, error) {
	body, err := json.Marshal(v)
	if err != nil {
		return nil, fault.Wrap("shard", fault.Internal, err, "cannot encode a command")
	}
	return append([]byte{byte(t)}, body...), nil
}

func decodeJSON(data []byte, v any) error {
	if err := json.Unmarshal(data[1:], v); err != nil {
		return fault.Wrap("shard", fault.Corruption, err, "a command of type %d does not decode", data[0])
	}
	return nil
}

// Command is a decoded command, for offline verification.
type Command struct {
	// Record is the sealed record of an append, or nil.
	Record []byte
	// Created is the tenant of a create, or nil.
	Created *TenantState
	// Keys is a change of a tenant's keys, or nil.
	Keys *KeyChange
	// Imported is a tenant that is being moved here: its first state, or a later
	// one. Nil for anything else.
	Imported *TenantState
	// Records are sealed records of such a tenant; some may be there already.
	Records [][]byte
	// Released is a tenant that was moved away, or whose move here was given
	// up; zero for anything else.
	Released ident.TenantID
}

// KeyChange puts a key envelope in the place of the one it was made from.
type KeyChange struct {
	Tenant   ident.TenantID
	Envelope []byte
	old      []byte // digest
}

// Replaces says whether the change takes effect while envelope is in force.
func (k *KeyChange) Replaces(envelope []byte) bool { return bytes.Equal(k.old, digest(envelope)) }

// DecodeCommand reads an entry of the replicated log.
func DecodeCommand(data []byte) (Command, error) {
	if len(data) == 0 {
		return Command{}, fault.New("shard", fault.Corruption, "an empty command stands in the replicated log")
	}
	switch commandType(data[0]) {
	case commandAppend:
		return Command{Record: data[1:]}, nil
	case commandCreate:
		var j stateJSON
		if err := decodeJSON(data, &j); err != nil {
			return Command{}, err
		}
		st, err := j.state()
		return Command{Created: st}, err
	case commandKeys:
		var c keysCommand
		if err := decodeJSON(data, &c); err != nil {
			return Command{}, err
		}
		return Command{Keys: &KeyChange{Tenant: c.Tenant, Envelope: c.Envelope, old: c.OldEnvelope}}, nil
	case commandImport:
		var j stateJSON
		if err := decodeJSON(data, &j); err != nil {
			return Command{}, err
		}
		st, err := j.state()
		return Command{Imported: st}, err
	case commandRecords:
		_, _, records, err := decodeRecords(data)
		return Command{Records: records}, err
	case commandRelease:
		var c moveCommand
		if err := decodeJSON(data, &c); err != nil {
			return Command{}, err
		}
		return Command{Released: c.Tenant}, nil
	case commandSet, commandPhase, commandActivate:
		return Command{}, nil
	}
	return Command{}, fault.New("shard", fault.Incompatible, "a command of unknown type %d stands in the replicated log", data[0])
}

// IsTenantKey says whether a checkpoint key holds a tenant's state.
func IsTenantKey(key []byte) bool { return len(key) == 9 && key[0] == tenantKeyPrefix }
