package peer

import (
	"bufio"
	"encoding/binary"
	"io"

	"kimberlite/internal/fault"
	"kimberlite/internal/ident"
	"kimberlite/internal/replication"
)

// A link for messages ("kimberlite-raft/1") carries frames, little endian:
//
//	 0          4      5
//	+----------+------+----------------------------------------------+
//	| n u32    | 1    | shard u64 | from u64 | to u64 | data n-25    |  message
//	| 9 u32    | 2    | nonce u64 |                                   ping
//	| 9 u32    | 3    | nonce u64 |                                   pong
//	+----------+------+----------------------------------------------+
//
// n counts what follows it. The node that made the connection sends messages
// and pings; the other sends a pong for each ping and nothing else. TLS
// checks that what arrives is what was sent.
const (
	frameMessage = 1
	framePing    = 2
	framePong    = 3

	lengthBytes  = 4
	messageBytes = 1 + 3*8 // of a message frame before its data, after n
	probeBytes   = 1 + 8
	// maxFrame is above the longest record and what the engine adds.
	maxFrame = 80 << 20
	// readStep bounds what is allocated on the word of a header alone.
	readStep = 1 << 20
)

// frame is one that was read.
type frame struct {
	kind    byte
	nonce   uint64              // of a ping or pong
	message replication.Message // of a message
}

func appendMessage(b []byte, m replication.Message) []byte {
	b = binary.LittleEndian.AppendUint32(b, uint32(messageBytes+len(m.Data)))
	b = append(b, frameMessage)
	b = binary.LittleEndian.AppendUint64(b, m.Shard.Uint64())
	b = binary.LittleEndian.AppendUint64(b, m.From.Uint64())
	b = binary.LittleEndian.AppendUint64(b, m.To.Uint64())
	return append(b, m.Data...)
}

func appendProbe(b []byte, kind byte, nonce uint64) []byte {
	b = binary.LittleEndian.AppendUint32(b, probeBytes)
	b = append(b, kind)
	return binary.LittleEndian.AppendUint64(b, nonce)
}

// readFrame reads one frame. A message's data is newly allocated. The error
// is io.EOF when the stream ends between frames.
func readFrame(r *bufio.Reader) (frame, error) {
	const op = "read frame"
	var head [lengthBytes + messageBytes]byte
	if _, err := io.ReadFull(r, head[:lengthBytes+1]); err != nil {
		return frame{}, err
	}
	n, kind := int64(binary.LittleEndian.Uint32(head[:])), head[lengthBytes]
	switch {
	case n > maxFrame:
		return frame{}, fault.New(op, fault.TooLarge, "a frame of %d bytes was announced, %d are allowed", n, maxFrame)
	case kind == frameMessage && n >= messageBytes, (kind == framePing || kind == framePong) && n == probeBytes:
	default:
		return frame{}, fault.New(op, fault.Invalid, "a frame of kind %d with %d bytes is none of this protocol", kind, n)
	}
	fixed := head[lengthBytes+1 : lengthBytes+min(n, messageBytes)]
	if _, err := io.ReadFull(r, fixed); err != nil {
		return frame{}, cutOff(err)
	}
	if kind != frameMessage {
		return frame{kind: kind, nonce: binary.LittleEndian.Uint64(fixed)}, nil
	}
	data, err := readData(r, int(n-messageBytes))
	if err != nil {
		return frame{}, err
	}
	return frame{kind: kind, message: replication.Message{
		Shard: ident.NewShardID(binary.LittleEndian.Uint64(fixed)),
		From:  ident.NewReplicaID(binary.LittleEndian.Uint64(fixed[8:])),
		To:    ident.NewReplicaID(binary.LittleEndian.Uint64(fixed[16:])),
		Data:  data,
	}}, nil
}

// readData reads n bytes and never holds much more than have arrived.
func readData(r io.Reader, n int) ([]byte, error) {
	data := make([]byte, min(n, readStep))
	for done := 0; ; {
		if _, err := io.ReadFull(r, data[done:]); err != nil {
			return nil, cutOff(err)
		}
		if done = len(data); done == n {
			return data, nil
		}
		longer := make([]byte, min(n, 2*done))
		copy(longer, data)
		data = longer
	}
}

// cutOff is the error of a stream that ended within a frame.
func cutOff(err error) error {
	if err == io.EOF { //nolint:errorlint // io.ReadFull returns it bare
		return io.ErrUnexpectedEOF
	}
	return err
}
