package disk

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"syscall"
)

const (
	blockSize   = 4096
	maxFileSize = 1 << 36 // Mem refuses more with EFBIG, so that a wild offset does not eat the machine
)

// block is a piece of a file. Once frozen it never changes again, so that what
// programs see, what is durable and any number of crash clones can share it.
type block struct {
	frozen bool
	data   [blockSize]byte
}

var zeros [blockSize]byte

// blocks is a sparse file's content: a missing or nil block reads as zeros,
// and so does every byte after the file's length.
type blocks []*block

// own returns block i of b for writing: made when missing, copied when frozen.
func (b *blocks) own(i int64) *block {
	for int64(len(*b)) <= i {
		*b = append(*b, nil)
	}
	switch at := (*b)[i]; {
	case at == nil:
		(*b)[i] = new(block)
	case at.frozen:
		(*b)[i] = &block{data: at.data}
	}
	return (*b)[i]
}

// write puts p at off.
func (b *blocks) write(p []byte, off int64) {
	for len(p) > 0 {
		n := copy(b.own(off / blockSize).data[off%blockSize:], p)
		p, off = p[n:], off+int64(n)
	}
}

// cut makes every byte from size on zero.
func (b *blocks) cut(size int64) {
	whole := (size + blockSize - 1) / blockSize
	if whole < int64(len(*b)) {
		clear((*b)[whole:])
		*b = (*b)[:whole]
	}
	i, at := size/blockSize, size%blockSize
	if at == 0 || i >= int64(len(*b)) || (*b)[i] == nil {
		return
	}
	// A clean tail, the usual case, must not cost a copy of the block.
	if !bytes.Equal((*b)[i].data[at:], zeros[at:]) {
		clear(b.own(i).data[at:])
	}
}

// read fills p from off.
func (b blocks) read(p []byte, off int64) {
	for len(p) > 0 {
		i, at := off/blockSize, off%blockSize
		n := min(int64(len(p)), blockSize-at)
		if i < int64(len(b)) && b[i] != nil {
			copy(p[:n], b[i].data[at:])
		} else {
			clear(p[:n])
		}
		p, off = p[n:], off+n
	}
}

// content is what a file holds and what of it is durable.
type content struct {
	live blocks // as programs see it
	size int64

	synced     blocks // as of the last Sync, each block frozen
	syncedSize int64
	pending    []write        // since the last Sync, in order
	dirty      map[int64]bool // blocks of live changed since the last Sync
}

// write is one unsynced write or, when data is nil, truncate.
type write struct {
	off  int64 // of data; a truncate's new length
	data []byte
	size int64 // the file's length after it
}

func (c *content) touch(i int64) {
	if c.dirty == nil {
		c.dirty = map[int64]bool{}
	}
	c.dirty[i] = true
}

func (c *content) writeAt(p []byte, off int64) {
	if len(p) == 0 {
		return
	}
	c.live.write(p, off)
	for i := off / blockSize; i <= (off+int64(len(p))-1)/blockSize; i++ {
		c.touch(i)
	}
	if end := off + int64(len(p)); end > c.size {
		c.size = end
	}
	c.pending = append(c.pending, write{off: off, data: append([]byte(nil), p...), size: c.size})
}

func (c *content) truncate(size int64) {
	if size == c.size {
		return
	}
	if size < c.size {
		for i := size / blockSize; i < int64(len(c.live)); i++ {
			c.touch(i)
		}
		c.live.cut(size)
	}
	c.size = size
	c.pending = append(c.pending, write{off: size, size: size})
}

// sync makes all of it durable. With nothing pending it does nothing: what a
// failed sync lost stays lost.
func (c *content) sync() {
	if len(c.pending) == 0 {
		return
	}
	for i := range c.dirty {
		if i >= int64(len(c.live)) {
			continue
		}
		for int64(len(c.synced)) <= i {
			c.synced = append(c.synced, nil)
		}
		if b := c.live[i]; b != nil && !b.frozen { // a frozen one may be shared: not even written
			b.frozen = true
		}
		c.synced[i] = c.live[i]
	}
	c.syncedSize = c.size
	if len(c.synced) > len(c.live) {
		clear(c.synced[len(c.live):])
		c.synced = c.synced[:len(c.live)]
	}
	c.forget()
}

// forget drops the memory of what is unsynced, without making it durable.
func (c *content) forget() {
	c.pending, c.dirty = nil, nil
}

// memFile is an open file of Mem.
type memFile struct {
	mem    *Mem
	node   *inode
	name   string // as it was opened
	reads  bool
	writes bool
	closed bool // guarded by mem.mu
}

var errNegativeOffset = errors.New("negative offset")

func (f *memFile) fail(op string, err error) error {
	return &fs.PathError{Op: op, Path: f.name, Err: err}
}

// check returns why a call cannot be made on f. Call it with mem.mu held.
func (f *memFile) check(op string, allowed bool, off int64) error {
	switch {
	case f.closed:
		return f.fail(op, fs.ErrClosed)
	case off < 0:
		return f.fail(op, errNegativeOffset)
	case !allowed:
		return f.fail(op, syscall.EBADF)
	}
	return nil
}

// ReadAt implements [File].
func (f *memFile) ReadAt(p []byte, off int64) (int, error) {
	f.mem.mu.RLock()
	defer f.mem.mu.RUnlock()
	if err := f.check("read", f.reads, off); err != nil {
		return 0, err
	}
	n := max(0, min(int64(len(p)), f.node.size-off))
	f.node.live.read(p[:n], off)
	if n < int64(len(p)) {
		return int(n), io.EOF
	}
	return int(n), nil
}

// WriteAt implements [File]. On a full filesystem it writes what fits.
func (f *memFile) WriteAt(p []byte, off int64) (int, error) {
	f.mem.mu.Lock()
	defer f.mem.mu.Unlock()
	if err := f.check("write", f.writes, off); err != nil {
		return 0, err
	}
	if off > maxFileSize-int64(len(p)) {
		return 0, f.fail("write", syscall.EFBIG)
	}
	fits := p
	if limit := f.node.size + max(0, f.mem.capacity-f.mem.used); off+int64(len(p)) > limit {
		fits = p[:max(0, limit-off)]
	}
	before := f.node.size
	f.node.writeAt(fits, off)
	f.mem.used += f.node.size - before
	if len(fits) < len(p) {
		return len(fits), f.fail("write", syscall.ENOSPC)
	}
	return len(p), nil
}

// Truncate implements [File]. Growth takes room, as writing does.
func (f *memFile) Truncate(size int64) error {
	f.mem.mu.Lock()
	defer f.mem.mu.Unlock()
	if err := f.check("truncate", true, size); err != nil {
		return err
	}
	grow := size - f.node.size
	switch {
	case !f.writes:
		return f.fail("truncate", syscall.EINVAL) // as ftruncate(2) has it
	case size > maxFileSize:
		return f.fail("truncate", syscall.EFBIG)
	case grow > 0 && grow > f.mem.capacity-f.mem.used:
		return f.fail("truncate", syscall.ENOSPC)
	}
	f.node.truncate(size)
	f.mem.used += grow
	return nil
}

// Sync implements [File].
func (f *memFile) Sync() error {
	callHook(&f.mem.before, f.name)
	if err := f.sync(); err != nil {
		return err
	}
	callHook(&f.mem.after, f.name)
	return nil
}

func (f *memFile) sync() error {
	f.mem.mu.Lock()
	defer f.mem.mu.Unlock()
	if err := f.check("sync", true, 0); err != nil {
		return err
	}
	f.node.sync()
	return nil
}

// loseUnsynced is what a failed sync of the machine does: the bytes stay
// readable, count as clean, and never reach the disk.
func (f *memFile) loseUnsynced() {
	f.mem.mu.Lock()
	defer f.mem.mu.Unlock()
	f.node.forget()
}

// Size implements [File].
func (f *memFile) Size() (int64, error) {
	f.mem.mu.RLock()
	defer f.mem.mu.RUnlock()
	if err := f.check("stat", true, 0); err != nil {
		return 0, err
	}
	return f.node.size, nil
}

// Close implements [File].
func (f *memFile) Close() error {
	f.mem.mu.Lock()
	defer f.mem.mu.Unlock()
	if err := f.check("close", true, 0); err != nil {
		return err
	}
	f.closed = true
	f.node.handles--
	f.mem.release(f.node)
	return nil
}
