package directory

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"

	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
)

// An envelope is a command as it stands in the log, and as it travels to the
// node that leads:
//
//	byte  0      kind of the command (commandKind)
//	bytes 1…16   id, random: the same when it is proposed again
//	bytes 17…24  time in Unix nanoseconds, big endian, by the clock of the
//	             leader that proposed it; 0 while it travels
//	bytes 25…    the command's fields, JSON
//
// A kind or a field that this program does not know was written by a newer
// one: it is refused as Incompatible, which stops this node's copy, since
// leaving it out would make it another than the others' are.
type envelope struct {
	id      commandID
	time    int64
	command Command
}

const (
	envelopeHead = 1 + 16 + 8
	// maxCommandBytes bounds an encoded command.
	maxCommandBytes = 4 << 20
)

func (e *envelope) encode() ([]byte, error) {
	body, err := json.Marshal(e.command)
	if err != nil {
		return nil, fault.Wrap("directory", fault.Invalid, err, "the command does not encode")
	}
	b := make([]byte, envelopeHead, envelopeHead+len(body))
	b[0] = byte(e.command.kind())
	copy(b[1:], e.id[:])
	binary.BigEndian.PutUint64(b[17:], uint64(e.time))
	return append(b, body...), nil
}

// stamp writes the time into an encoded envelope.
func stamp(b []byte, nanos int64) { binary.BigEndian.PutUint64(b[17:], uint64(nanos)) }

// decodeEnvelope reads an encoded command. Errors: Corruption, Incompatible.
func decodeEnvelope(b []byte) (*envelope, error) {
	if len(b) < envelopeHead || len(b) > maxCommandBytes {
		return nil, fault.New("directory", fault.Corruption, "a command of %d bytes stands in the directory's log", len(b))
	}
	if int(b[0]) >= len(decoders) || decoders[b[0]] == nil {
		return nil, fault.New("directory", fault.Incompatible, "a command of unknown kind %d stands in the directory's log: a newer version wrote it, use that one here too", b[0])
	}
	e := &envelope{id: commandID(b[1:17]), time: int64(binary.BigEndian.Uint64(b[17:]))}
	var err error
	e.command, err = decoders[b[0]](b[envelopeHead:])
	if err != nil {
		return nil, fault.Wrap("directory", fault.Incompatible, err, "a command of kind %d in the directory's log does not decode: a newer version wrote it, or it is damaged", b[0])
	}
	return e, nil
}

// decoders read the fields of each kind.
var decoders = [...]func([]byte) (Command, error){
	kindBootstrap:      decodeAs[Bootstrap],
	kindAddNode:        decodeAs[AddNode],
	kindUpdateNode:     decodeAs[UpdateNode],
	kindSetNodeState:   decodeAs[SetNodeState],
	kindCreateShard:    decodeAs[CreateShard],
	kindSetReplicas:    decodeAs[SetReplicas],
	kindSetShardState:  decodeAs[SetShardState],
	kindRemoveShard:    decodeAs[RemoveShard],
	kindReserveTenant:  decodeAs[ReserveTenant],
	kindActivateTenant: decodeAs[ActivateTenant],
	kindAbandonTenant:  decodeAs[AbandonTenant],
	kindRenameTenant:   decodeAs[RenameTenant],
	kindBeginMove:      decodeAs[BeginMove],
	kindFlipMove:       decodeAs[FlipMove],
	kindAbortMove:      decodeAs[AbortMove],
	kindEndMove:        decodeAs[EndMove],
	kindEraseTenant:    decodeAs[EraseTenant],
	kindCreateToken:    decodeAs[CreateToken],
	kindRevokeToken:    decodeAs[RevokeToken],
	kindSetOperators:   decodeAs[SetOperators],
	kindSetCA:          decodeAs[SetCA],
	kindSetSetting:     decodeAs[SetSetting],
	kindBarrier:        decodeAs[Barrier],
}

func decodeAs[C Command](body []byte) (Command, error) {
	var c C
	err := decodeStrict(body, &c)
	return c, err
}

// decodeStrict reads one JSON value, and refuses fields that it does not know
// and anything behind it.
func decodeStrict(b []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("more than one value")
	}
	return nil
}

// wireOutcome is an outcome as JSON: as it is kept, and as it is answered to
// the node that forwarded the command.
type wireOutcome struct {
	Result *Result    `json:"result,omitempty"`
	Error  *wireError `json:"error,omitempty"`
}

// wireError is a fault.Error; Code is its kind's.
type wireError struct {
	Code    string       `json:"code"`
	Op      string       `json:"op,omitempty"`
	Message string       `json:"message"`
	Tenant  uint64       `json:"tenant,omitempty"`
	Leader  ident.NodeID `json:"leader,omitzero"`
}

func encodeOutcome(o outcome) []byte {
	var w wireOutcome
	if o.Err != nil {
		w.Error = &wireError{Code: o.Err.Kind.Code(), Op: o.Err.Op, Message: o.Err.Message, Tenant: o.Err.Tenant.Uint64(), Leader: o.Err.Leader}
		if o.Err.Err != nil {
			w.Error.Message += ": " + o.Err.Err.Error()
		}
	} else {
		w.Result = &o.Result
	}
	b, err := json.Marshal(w)
	if err != nil {
		panic("directory: an outcome does not encode: " + err.Error()) // numbers and strings do
	}
	return b
}

// decodeOutcome reads what encodeOutcome wrote. Errors: Incompatible.
func decodeOutcome(b []byte) (outcome, error) {
	var w wireOutcome
	if err := json.Unmarshal(b, &w); err != nil {
		return outcome{}, fault.Wrap("directory", fault.Incompatible, err, "the outcome of a command does not decode")
	}
	switch {
	case w.Error != nil:
		e := fault.New(w.Error.Op, kindOfCode(w.Error.Code), "%s", w.Error.Message).WithLeader(w.Error.Leader)
		if id, err := ident.NewTenantID(w.Error.Tenant); err == nil {
			e = e.ForTenant(id)
		}
		return outcome{Err: e}, nil
	case w.Result != nil:
		return outcome{Result: *w.Result}, nil
	}
	return outcome{}, fault.New("directory", fault.Incompatible, "the outcome of a command says nothing")
}

// kindOfCode returns the kind with a code; Internal for one of a newer version.
func kindOfCode(code string) fault.Kind {
	for _, k := range fault.Kinds() {
		if k.Code() == code {
			return k
		}
	}
	return fault.Internal
}
