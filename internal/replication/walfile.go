package replication

import (
	"errors"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"
)

const (
	// walBlock is what a log file is written in: whole blocks at multiples of
	// it. A part of a block that is not in memory would have to be read first,
	// and the operating system forgets old blocks whenever it likes.
	walBlock = 4 << 10
	// walBuffer bounds what a log file collects between two syncs.
	walBuffer = 128 << 10
)

// walFile is a log file that is written over bytes that are there already. It
// collects what the engine writes and writes it at the sync, in whole blocks:
// what the last one has after the engine's bytes is zeros, as after the end of
// any log, and its beginning is written again by the next sync. Where the
// operating system lets it, it writes past the page cache.
type walFile struct {
	*guardFile
	buf     []byte // from base on; a size that Go aligns in memory as disks want it
	base    int64  // where buf goes, a multiple of walBlock
	written int    // how much of buf is in the file
	filled  int64  // length of the file, in bytes
	direct  bool   // past the page cache
}

func newWALFile(f *guardFile) *walFile {
	w := &walFile{guardFile: f, buf: make([]byte, 0, walBuffer)}
	if info, err := f.File.Stat(); err == nil {
		w.filled = info.Size()
	}
	if fd := f.File.Fd(); fd != vfs.InvalidFd {
		w.direct = setDirect(fd, true) == nil
	}
	return w
}

// zeros is what a log file grows by.
var zeros = make([]byte, 256<<10)

// Write implements [vfs.File]. The bytes are the file's at the next sync.
func (w *walFile) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		if len(w.buf) == cap(w.buf) {
			w.guard.try(w.flush)
			w.base += int64(len(w.buf))
			w.buf, w.written = w.buf[:0], 0
		}
		k := min(len(p), cap(w.buf)-len(w.buf))
		w.buf = append(w.buf, p[:k]...)
		p = p[k:]
	}
	return n, nil
}

// flush writes what was collected, and keeps the last block unless it is full.
func (w *walFile) flush() error {
	if w.written == len(w.buf) {
		return nil
	}
	to := (len(w.buf) + walBlock - 1) &^ (walBlock - 1)
	end := w.base + int64(to)
	if err := w.fill(end); err != nil {
		return err
	}
	clear(w.buf[len(w.buf):to])
	if err := w.writeAt(w.buf[:to], w.base); err != nil {
		return err
	}
	w.filled = max(w.filled, end)
	whole := len(w.buf) &^ (walBlock - 1)
	w.buf = w.buf[:copy(w.buf[:cap(w.buf)], w.buf[whole:])]
	w.base, w.written = w.base+int64(whole), len(w.buf)
	return nil
}

// writeAt writes whole blocks. A disk with larger ones, or that wants them
// elsewhere in memory, refuses them past the page cache: that is given up then.
func (w *walFile) writeAt(p []byte, off int64) error {
	_, err := w.File.WriteAt(p, off)
	if !w.direct || !errors.Is(err, syscall.EINVAL) {
		return err
	}
	w.direct = false
	if err := setDirect(w.File.Fd(), false); err != nil {
		return err
	}
	_, err = w.File.WriteAt(p, off)
	return err
}

// fill makes the file reach a step beyond end, by writing zeros, when it does
// not reach end. The sync that follows makes the new length durable too.
func (w *walFile) fill(end int64) error {
	if end <= w.filled {
		return nil
	}
	at := w.filled &^ (walBlock - 1) // nothing of this run stands behind it
	for target := (end/walStep + 1) * walStep; at < target; {
		n := min(int64(len(zeros)), target-at)
		if err := w.writeAt(zeros[:n], at); err != nil {
			return err
		}
		at += n
		w.filled = at
	}
	return nil
}

// Sync implements [vfs.File].
func (w *walFile) Sync() error { return w.sync(w.File.Sync) }

// SyncData implements [vfs.File].
func (w *walFile) SyncData() error { return w.sync(w.File.SyncData) }

// SyncTo implements [vfs.File].
func (w *walFile) SyncTo(int64) (full bool, err error) { return true, w.SyncData() }

func (w *walFile) sync(how func() error) error {
	w.guard.try(func() error {
		if err := w.flush(); err != nil {
			return err
		}
		return how()
	})
	return nil
}

// Close implements [vfs.File].
func (w *walFile) Close() error {
	w.guard.try(w.flush)
	return w.guardFile.Close()
}

// Preallocate implements [vfs.File]: fill does better.
func (w *walFile) Preallocate(int64, int64) error { return nil }

// Fd hides the descriptor, so that nothing goes around the guard.
func (w *walFile) Fd() uintptr { return vfs.InvalidFd }
