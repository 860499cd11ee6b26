package peer

import (
	"encoding/binary"
	"encoding/json"
	"io"

	"kimberlite/internal/fault"
)

// A stream ("kimberlite-pg/1") begins with a preface, which the other node
// answers with one byte once it has taken the stream:
//
//	 0          4
//	+----------+--------------------+          +-----+
//	| n u32    | JSON, n bytes      |   --->   | 'k' |   then bytes both ways
//	+----------+--------------------+          +-----+
//
// A node of a later version may add fields; one that does not know them
// passes them over.
const (
	maxPreface  = 64 << 10
	maxStartup  = 32 << 10
	maxKind     = 32
	maxEndPoint = 64 // a SHA-512
	streamTaken = 'k'
)

func (p StreamPreface) validate() error {
	if p.Kind == "" || len(p.Kind) > maxKind || len(p.Startup) > maxStartup || len(p.ServerEndPoint) > maxEndPoint {
		return fault.New("stream preface", fault.Invalid, "a part of the preface is missing or too long")
	}
	return nil
}

func encodePreface(p StreamPreface) ([]byte, error) {
	if err := p.validate(); err != nil {
		return nil, err
	}
	text, err := json.Marshal(p)
	if err != nil || len(text) > maxPreface {
		return nil, fault.Wrap("stream preface", fault.Invalid, err, "the preface cannot be written in %d bytes", maxPreface)
	}
	return append(binary.LittleEndian.AppendUint32(nil, uint32(len(text))), text...), nil
}

func readPreface(r io.Reader) (StreamPreface, error) {
	const op = "stream preface"
	var head [lengthBytes]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return StreamPreface{}, err
	}
	n := binary.LittleEndian.Uint32(head[:])
	if n > maxPreface {
		return StreamPreface{}, fault.New(op, fault.TooLarge, "a preface of %d bytes was announced, %d are allowed", n, maxPreface)
	}
	text := make([]byte, n)
	if _, err := io.ReadFull(r, text); err != nil {
		return StreamPreface{}, cutOff(err)
	}
	var p StreamPreface
	if err := json.Unmarshal(text, &p); err != nil {
		// The cause could quote what a client sent.
		return StreamPreface{}, fault.New(op, fault.Invalid, "the preface is not JSON of the known form")
	}
	return p, p.validate()
}
