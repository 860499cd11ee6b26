package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"kimberlite/internal/fault"
)

// maxHeld is how much of an input that cannot be read twice is kept in
// memory. It is not copied to disk, where it would stand unsealed.
const maxHeld = 64 << 20

// source is what is loaded.
type source struct {
	name string // as errors call it
	size int64  // 0 is unknown
	// whole can be read again from its start; it is nil when the input is
	// longer than maxHeld, and then stream gives it once.
	whole  io.ReadSeeker
	stream io.Reader
	file   *os.File // to close, or nil
	types  []string // of the columns, with --create
}

// again returns the input from its start.
func (s *source) again() (io.Reader, error) {
	if s.whole == nil {
		return s.stream, nil
	}
	if _, err := s.whole.Seek(0, io.SeekStart); err != nil {
		return nil, errInput(err)
	}
	return s.whole, nil
}

func (s *source) close() error {
	if s.file == nil {
		return nil
	}
	return s.file.Close()
}

func (a *app) openSource(ctx context.Context, name string) (*source, error) {
	if name == "-" {
		src := &source{name: "standard input"}
		return src, src.hold(ctx, a.stdin)
	}
	f, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fault.New("load", fault.NotFound, "there is no file %s", name)
	}
	if err != nil {
		return nil, fault.Wrap("load", fault.Invalid, err, "cannot open the file")
	}
	src := &source{name: filepath.Base(name), file: f}
	if err := src.examine(ctx, name); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return src, nil
}

// examine tells a file that can be read twice from a pipe.
func (s *source) examine(ctx context.Context, name string) error {
	info, err := s.file.Stat()
	switch {
	case err != nil:
		return fault.Wrap("load", fault.Unavailable, err, "cannot see the file")
	case info.IsDir():
		return fault.New("load", fault.Invalid, "%s is a directory", name)
	case !info.Mode().IsRegular():
		return s.hold(ctx, s.file)
	}
	s.size, s.whole = info.Size(), s.file
	return nil
}

// hold reads an input that can be read only once into memory, as far as that
// goes.
func (s *source) hold(ctx context.Context, in io.Reader) error {
	r := newInterruptible(ctx, in)
	held, err := io.ReadAll(io.LimitReader(r, maxHeld+1))
	if err != nil {
		return errInput(err)
	}
	if len(held) <= maxHeld {
		s.size, s.whole = int64(len(held)), bytes.NewReader(held)
		return nil
	}
	s.stream = io.MultiReader(bytes.NewReader(held), r)
	return nil
}
