package main

import (
	"context"
	"errors"
	"io"

	"kimberlite/internal/fault"
)

// interruptible makes reads end when a context does. The read that was under
// way then goes on, for nobody, until the process ends. It is for one
// goroutine.
type interruptible struct {
	ctx  context.Context
	r    io.Reader
	buf  []byte
	left []byte // of buf, read and not yet handed out
	err  error  // after left
}

func newInterruptible(ctx context.Context, r io.Reader) *interruptible {
	return &interruptible{ctx: ctx, r: r, buf: make([]byte, 64<<10)}
}

// Read implements [io.Reader].
func (i *interruptible) Read(p []byte) (int, error) {
	if len(i.left) == 0 && i.err == nil {
		done := make(chan struct{})
		var n int
		var err error
		go func() {
			defer close(done)
			n, err = i.r.Read(i.buf)
		}()
		select {
		case <-done:
			i.left, i.err = i.buf[:n], err
		case <-i.ctx.Done():
			i.err = i.ctx.Err()
		}
	}
	if len(i.left) > 0 {
		n := copy(p, i.left)
		i.left = i.left[n:]
		return n, nil
	}
	return 0, i.err
}

// errInput is the error of a read that failed, or was interrupted.
func errInput(err error) error {
	if errors.Is(err, context.Canceled) {
		return fault.New("input", fault.Canceled, "interrupted")
	}
	return fault.Wrap("input", fault.Unavailable, err, "cannot read the input")
}
