package pgwire

import (
	"encoding/binary"
	"errors"
	"io"

	"kimberlite/internal/fault"
)

// Sizes of the buffer that messages are read into.
const (
	// idleReadBytes is what a connection keeps while it waits.
	idleReadBytes = 4 << 10
	// bulkReadBytes is what one call to the socket asks for at most.
	bulkReadBytes = 64 << 10
	// maxLoginMessage is the longest message before the login is done.
	maxLoginMessage = 10 << 10
	// freeReadBytes is what a connection may collect of a message without
	// asking: see messageMemory.
	freeReadBytes = 256 << 10
)

// reader cuts the client's bytes into messages. Its buffer grows with what has
// arrived, never with what a length only claims, and shrinks again. It is used
// by one goroutine.
type reader struct {
	src io.Reader
	// beforeRead is called before a read that may wait: what the client is
	// owed is sent then, and the deadline set.
	beforeRead func() error
	// waits, if not nil, is told of each read that may wait.
	waits *waiting
	buf   []byte
	r, w  int
	// max is the longest body.
	max int
	// grant is asked for memory beyond freeReadBytes, and given it back by a
	// negative number; nil grants all. granted is what it gave.
	grant   func(n int) error
	granted int
}

func newReader(src io.Reader, max int, beforeRead func() error) *reader {
	return &reader{src: src, beforeRead: beforeRead, buf: make([]byte, idleReadBytes), max: max}
}

// buffered is how many bytes have arrived that nobody has asked for yet.
func (r *reader) buffered() int { return r.w - r.r }

// syncNext says whether a whole Sync has arrived and is next.
func (r *reader) syncNext() bool { return r.buffered() >= 5 && r.buf[r.r] == 'S' }

// need waits until n bytes stand in the buffer.
func (r *reader) need(n int) error {
	for r.w-r.r < n {
		if err := r.read(n); err != nil {
			return err
		}
	}
	return nil
}

// read does one read of the socket, on the way to n bytes.
func (r *reader) read(n int) error {
	if r.r == r.w {
		r.r, r.w = 0, 0
	}
	if r.r+n > len(r.buf) && r.r > 0 { // make room at the end
		copy(r.buf, r.buf[r.r:r.w])
		r.r, r.w = 0, r.w-r.r
	}
	if r.w == len(r.buf) { // full: double it, towards n
		size := min(max(2*len(r.buf), bulkReadBytes), max(n, bulkReadBytes))
		if err := r.ask(size - freeReadBytes); err != nil {
			return err
		}
		grown := make([]byte, size)
		copy(grown, r.buf[:r.w])
		r.buf = grown
	}
	if r.beforeRead != nil {
		if err := r.beforeRead(); err != nil {
			return err
		}
	}
	if r.waits != nil {
		r.waits.begin()
	}
	got, err := r.src.Read(r.buf[r.w:min(len(r.buf), r.w+bulkReadBytes)])
	if r.waits != nil {
		r.waits.end()
	}
	r.w += got
	if got > 0 {
		return nil
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	if errors.Is(err, io.EOF) && r.w > r.r {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// ask has n bytes granted in all, or gives back what is more.
func (r *reader) ask(n int) error {
	n = max(n, 0)
	if r.grant == nil || n == r.granted {
		return nil
	}
	if err := r.grant(n - r.granted); err != nil {
		return err
	}
	r.granted = n
	return nil
}

// take returns the next n bytes, which stand in the buffer. They are valid
// until the next call.
func (r *reader) take(n int) []byte {
	b := r.buf[r.r : r.r+n : r.r+n]
	r.r += n
	return b
}

// peek waits for the next message to begin and returns its type.
func (r *reader) peek() (byte, error) {
	if err := r.need(1); err != nil {
		return 0, err
	}
	return r.buf[r.r], nil
}

// next returns the next message. Its body is valid until the next call.
func (r *reader) next() (kind byte, body []byte, err error) {
	if err := r.need(5); err != nil {
		return 0, nil, err
	}
	n, err := r.bodyLength(r.buf[r.r+1:])
	if err != nil {
		return 0, nil, err
	}
	kind = r.buf[r.r]
	if !knownMessage(kind) {
		return 0, nil, protocolError("the message type 0x%02x is none of the protocol's", kind)
	}
	// Nothing is taken before all of it is there: a read that timed out can
	// be taken up again.
	if err := r.need(5 + n); err != nil {
		return 0, nil, err
	}
	return kind, r.take(5 + n)[5:], nil
}

// startup returns the next message of the kind that has no type: what a
// connection begins with.
func (r *reader) startup() ([]byte, error) {
	if err := r.need(4); err != nil {
		return nil, err
	}
	n, err := r.bodyLength(r.buf[r.r:])
	if err != nil {
		return nil, err
	}
	if n < 4 {
		return nil, protocolError("the startup packet is too short")
	}
	if err := r.need(4 + n); err != nil {
		return nil, err
	}
	return r.take(4 + n)[4:], nil
}

// bodyLength reads a length, which counts itself, and checks it.
func (r *reader) bodyLength(b []byte) (int, error) {
	n := int64(binary.BigEndian.Uint32(b)) - 4
	if n < 0 || n > 1<<30 {
		return 0, protocolError("a message's length is out of range")
	}
	if n > int64(r.max) {
		return 0, fault.New("protocol", fault.TooLarge, "a message of %d bytes is over the limit of %d", n, r.max)
	}
	return int(n), nil
}

// rest gives memory back when there is nothing to read.
func (r *reader) rest() {
	if r.r == r.w && len(r.buf) > idleReadBytes {
		r.buf, r.r, r.w = make([]byte, idleReadBytes), 0, 0
		_ = r.ask(0) // giving back is not refused
	}
}

// knownMessage says whether a client may send a message of the type.
func knownMessage(kind byte) bool {
	switch kind {
	case 'B', 'C', 'D', 'E', 'F', 'H', 'P', 'Q', 'S', 'X', 'c', 'd', 'f', 'p':
		return true
	}
	return false
}

func protocolError(format string, args ...any) *fault.Error {
	return fault.New("protocol", fault.Invalid, format, args...).WithState("08P01")
}
