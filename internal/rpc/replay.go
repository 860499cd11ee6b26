package rpc

import (
	"errors"
	"io"
	"net/http"
	"sync"

	"kimberlite/internal/fault"
)

// replay is a request's body that can be read several times: what was read is
// kept, up to a limit. Nothing is read before somebody asks.
type replay struct {
	mu    sync.Mutex // guards all below; held while the source is read
	src   io.Reader
	kept  []byte
	limit int
	// lost says that more was read than is kept.
	lost bool
	err  error // of the source's end
}

func newReplay(src io.Reader, limit int) *replay { return &replay{src: src, limit: limit} }

// again returns a reader from the beginning.
func (r *replay) again() io.ReadCloser { return &replayed{from: r} }

// whole says whether the body can be read from the beginning.
func (r *replay) whole() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return !r.lost
}

// ended says whether somebody has read the body to its end.
func (r *replay) ended() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return errors.Is(r.err, io.EOF)
}

func (r *replay) tooLong() error {
	return fault.New("rpc", fault.TooLarge, "the request is longer than the limit of %d bytes", r.limit)
}

// replayed is one reading. It is used by one goroutine, others by others.
type replayed struct {
	from *replay
	at   int
}

// Read implements io.Reader.
func (p *replayed) Read(b []byte) (int, error) {
	r := p.from
	r.mu.Lock()
	defer r.mu.Unlock()
	if p.at < len(r.kept) {
		n := copy(b, r.kept[p.at:])
		p.at += n
		return n, nil
	}
	if r.err != nil {
		return 0, r.err
	}
	if r.lost || len(r.kept) >= r.limit {
		// Longer than any message may be: who reads refuses it anyway.
		r.lost = true
		return 0, r.tooLong()
	}
	n, err := r.src.Read(b[:min(len(b), r.limit-len(r.kept))])
	r.kept = append(r.kept, b[:n]...)
	p.at += n
	r.err = err
	return n, err
}

// Close implements io.Closer; the server closes the source.
func (*replayed) Close() error { return nil }

// heldWriter swallows the answer of a call that ended Misrouted, if that is the
// first that it says.
type heldWriter struct {
	http.ResponseWriter
	call      *call
	begun     bool
	swallowed bool
}

// begin decides, at the first sign of an answer.
func (w *heldWriter) begin() {
	if !w.begun {
		w.begun = true
		w.swallowed = w.call.err != nil && fault.Is(w.call.err, fault.Misrouted)
	}
}

// WriteHeader implements http.ResponseWriter.
func (w *heldWriter) WriteHeader(status int) {
	if w.begin(); !w.swallowed {
		w.ResponseWriter.WriteHeader(status)
	}
}

// Write implements http.ResponseWriter.
func (w *heldWriter) Write(b []byte) (int, error) {
	if w.begin(); w.swallowed {
		return len(b), nil
	}
	return w.ResponseWriter.Write(b)
}

// Flush implements http.Flusher.
func (w *heldWriter) Flush() {
	if w.begin(); !w.swallowed {
		_ = w.call.control.Flush() // shows at the next write
	}
}

// Unwrap is for http.ResponseController.
func (w *heldWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
