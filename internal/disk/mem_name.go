package disk

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"slices"
	"syscall"
	"time"
)

const knownFlags = os.O_RDONLY | os.O_WRONLY | os.O_RDWR | os.O_CREATE | os.O_EXCL | os.O_TRUNC

// OpenFile implements [FS].
func (m *Mem) OpenFile(name string, flag int, perm fs.FileMode) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.open(name, flag, perm)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	n.handles++
	access := flag & (os.O_RDONLY | os.O_WRONLY | os.O_RDWR)
	return &memFile{mem: m, node: n, name: name, writes: access != os.O_RDONLY, reads: access != os.O_WRONLY}, nil
}

func (m *Mem) open(name string, flag int, perm fs.FileMode) (*inode, error) {
	if flag&^knownFlags != 0 {
		return nil, syscall.EINVAL
	}
	dir, base, n, err := m.find(name)
	switch {
	case err != nil:
		return nil, err
	case n == nil && flag&os.O_CREATE == 0:
		return nil, syscall.ENOENT
	case n == nil:
		n = &inode{mode: perm.Perm(), links: 1}
		m.change(dir, nameChange{bind: base, node: n})
		return n, nil
	case flag&os.O_CREATE != 0 && flag&os.O_EXCL != 0:
		return nil, syscall.EEXIST
	case n.names != nil:
		return nil, syscall.EISDIR
	}
	if flag&os.O_TRUNC != 0 {
		m.used -= n.size
		n.truncate(0)
	}
	return n, nil
}

// Remove implements [FS].
func (m *Mem) Remove(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir, base, n, err := m.find(name)
	switch {
	case err != nil:
	case n == nil:
		err = syscall.ENOENT
	case dir == nil:
		err = syscall.EBUSY
	case len(n.names) > 0:
		err = syscall.ENOTEMPTY
	}
	if err != nil {
		return &fs.PathError{Op: "remove", Path: name, Err: err}
	}
	m.remove(dir, base, n)
	return nil
}

func (m *Mem) remove(dir *inode, base string, n *inode) {
	m.change(dir, nameChange{drop: base})
	if n.names == nil {
		m.unlink(n)
	}
}

// RemoveAll implements [FS]. A power loss can leave any part of the tree.
func (m *Mem) RemoveAll(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir, base, n, err := m.find(name)
	switch {
	case errors.Is(err, syscall.ENOENT), err == nil && n == nil:
		return nil
	case err == nil && dir == nil:
		err = syscall.EBUSY
	}
	if err != nil {
		return &fs.PathError{Op: "removeall", Path: name, Err: err}
	}
	m.removeTree(dir, base, n)
	return nil
}

func (m *Mem) removeTree(dir *inode, base string, n *inode) {
	for _, child := range slices.Sorted(maps.Keys(n.names)) {
		m.removeTree(n, child, n.names[child])
	}
	m.remove(dir, base, n)
}

// Rename implements [FS].
func (m *Mem) Rename(from, to string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.rename(from, to); err != nil {
		return &os.LinkError{Op: "rename", Old: from, New: to, Err: err}
	}
	return nil
}

func (m *Mem) rename(from, to string) error {
	fromDir, fromBase, n, err := m.find(from)
	if err != nil {
		return err
	}
	toDir, toBase, old, err := m.find(to)
	switch {
	case err != nil:
		return err
	case n == nil:
		return syscall.ENOENT
	case fromDir == nil || toDir == nil:
		return syscall.EBUSY
	case old != nil && old.names != nil:
		return syscall.EEXIST // as package os has it, empty or not
	case n == old:
		return nil
	case n.names != nil && within(split(from), split(to)):
		return syscall.EINVAL
	case old != nil && n.names != nil:
		return syscall.ENOTDIR
	}
	if fromDir == toDir {
		m.change(fromDir, nameChange{drop: fromBase, bind: toBase, node: n})
	} else {
		m.change(toDir, nameChange{bind: toBase, node: n})
		m.change(fromDir, nameChange{drop: fromBase})
	}
	if old != nil {
		m.unlink(old)
	}
	return nil
}

// within reports whether inner lies below outer.
func within(outer, inner []string) bool {
	return len(inner) > len(outer) && slices.Equal(outer, inner[:len(outer)])
}

// MkdirAll implements [FS].
func (m *Mem) MkdirAll(dir string, perm fs.FileMode) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.root
	for _, part := range split(dir) {
		next, ok := n.names[part]
		if !ok {
			next = newDir(perm)
			m.change(n, nameChange{bind: part, node: next})
		}
		if next.names == nil {
			return &fs.PathError{Op: "mkdir", Path: dir, Err: syscall.ENOTDIR}
		}
		n = next
	}
	return nil
}

// dir returns the directory of a name, with the error as op would give it.
func (m *Mem) dir(op, name string) (*inode, error) {
	n, err := m.walk(split(name))
	if err != nil {
		return nil, &fs.PathError{Op: op, Path: name, Err: err}
	}
	return n, nil
}

// ReadDir implements [FS].
func (m *Mem) ReadDir(dir string) ([]string, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	n, err := m.dir("open", dir)
	if err != nil {
		return nil, err
	}
	return slices.Sorted(maps.Keys(n.names)), nil
}

// SyncDir implements [FS].
func (m *Mem) SyncDir(dir string) error {
	callHook(&m.before, dir)
	if err := m.syncDir(dir); err != nil {
		return err
	}
	callHook(&m.after, dir)
	return nil
}

func (m *Mem) syncDir(dir string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.dir("open", dir)
	if err != nil {
		return err
	}
	applyChanges(n.durable, n.changes)
	n.changes = nil
	return nil
}

func applyChanges(names map[string]*inode, changes []nameChange) {
	for _, c := range changes {
		if c.drop != "" {
			delete(names, c.drop)
		}
		if c.bind != "" {
			names[c.bind] = c.node
		}
	}
}

// FreeBytes implements [FS]: what SetCapacity leaves.
func (m *Mem) FreeBytes(dir string) (uint64, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if _, err := m.dir("statfs", dir); err != nil {
		return 0, err
	}
	return uint64(max(0, m.capacity-m.used)), nil
}

// Stat implements [FS].
func (m *Mem) Stat(name string) (fs.FileInfo, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	_, base, n, err := m.find(name)
	if err == nil && n == nil {
		err = syscall.ENOENT
	}
	if err != nil {
		return nil, &fs.PathError{Op: "stat", Path: name, Err: err}
	}
	if base == "" {
		base = "/"
	}
	return memInfo{name: base, size: n.size, mode: n.mode}, nil
}

// memInfo describes a file or directory of Mem.
type memInfo struct {
	name string
	size int64
	mode fs.FileMode
}

func (i memInfo) Name() string       { return i.name }
func (i memInfo) Size() int64        { return i.size }
func (i memInfo) Mode() fs.FileMode  { return i.mode }
func (i memInfo) ModTime() time.Time { return time.Time{} }
func (i memInfo) IsDir() bool        { return i.mode.IsDir() }
func (i memInfo) Sys() any           { return nil }
