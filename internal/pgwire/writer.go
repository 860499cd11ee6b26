package pgwire

import (
	"encoding/binary"
	"io"
	"strconv"
	"sync"

	"github.com/jackc/pgx/v5/pgproto3"
)

// flushBytes is how much answer is collected before it is sent.
const flushBytes = 64 << 10

// buffers are shared by all connections, so that one that waits holds none.
// They are not cleared: they only ever hold what is about to be overwritten,
// and no reader of them sees beyond what its connection has appended.
var buffers = sync.Pool{New: func() any {
	b := make([]byte, 0, flushBytes+(8<<10))
	return &b
}}

// writer collects messages to the client. It is used by one goroutine. After a
// failed write it swallows everything; failed says so.
type writer struct {
	dst    io.Writer
	pooled *[]byte
	buf    []byte
	failed error
	// sent counts the bytes handed to dst.
	sent int64
}

// out returns the buffer to append a message to; keep stores the result.
func (w *writer) out() []byte {
	if w.pooled == nil {
		w.pooled = buffers.Get().(*[]byte)
		w.buf = (*w.pooled)[:0]
	}
	return w.buf
}

// keep stores the buffer after an append and sends it once it is large.
func (w *writer) keep(b []byte) error {
	w.buf = b
	if len(b) >= flushBytes {
		return w.flush()
	}
	return nil
}

// send appends a message.
func (w *writer) send(m pgproto3.BackendMessage) error {
	b, err := m.Encode(w.out())
	if err != nil {
		return err
	}
	return w.keep(b)
}

// pending is how many bytes wait to be sent.
func (w *writer) pending() int { return len(w.buf) }

// flush sends what was collected and gives the buffer back.
func (w *writer) flush() error {
	if w.pooled == nil {
		return w.failed
	}
	if w.failed == nil && len(w.buf) > 0 {
		n, err := w.dst.Write(w.buf)
		w.sent += int64(n)
		w.failed = err
	}
	if cap(w.buf) <= 2*flushBytes { // a larger one was for one large row
		*w.pooled = w.buf[:0]
		buffers.Put(w.pooled)
	}
	w.pooled, w.buf = nil, nil
	return w.failed
}

// header begins a message; finish writes its length.
func header(b []byte, kind byte) []byte { return append(b, kind, 0, 0, 0, 0) }

// finish writes the length of the message that began at start.
func finish(b []byte, start int) []byte {
	binary.BigEndian.PutUint32(b[start+1:], uint32(len(b)-start-1))
	return b
}

// empty appends a message without a body.
func (w *writer) empty(kind byte) error { return w.keep(append(w.out(), kind, 0, 0, 0, 4)) }

func (w *writer) readyForQuery(status byte) error {
	return w.keep(append(w.out(), 'Z', 0, 0, 0, 5, status))
}

// commandComplete sends a statement's tag, with a count unless it is negative.
func (w *writer) commandComplete(tag string, count int64) error {
	b := w.out()
	start := len(b)
	b = append(header(b, 'C'), tag...)
	if count >= 0 {
		b = strconv.AppendInt(append(b, ' '), count, 10)
	}
	return w.keep(finish(append(b, 0), start))
}

func (w *writer) parameterStatus(name, value string) error {
	return w.send(&pgproto3.ParameterStatus{Name: name, Value: value})
}
