package disk

import (
	"io/fs"
	"math"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
)

// Mem is a filesystem in memory that knows what a power loss would leave. It
// is for tests: it keeps, beside what programs see, what is durable, and
// [Mem.CrashClone] returns the filesystem as the next start would find it.
//
// A file's bytes and length become durable by Sync of any of its handles, a
// name by SyncDir of the directory that holds it, a directory by SyncDir of
// its parent. A name that moves from one directory to another is two changes:
// sync the directory that gains it first, else a power loss can lose the file.
// Syncing a file does not make its name durable.
//
// Relative and absolute names mean the same file; the root exists and is
// durable. Times are zero. It holds in memory the content of all files and
// each byte written since the file's last Sync. Safe for concurrent use.
type Mem struct {
	before atomic.Pointer[func(string)]
	after  atomic.Pointer[func(string)]

	mu       sync.RWMutex // guards all below, every inode and every block
	root     *inode
	capacity int64 // in bytes
	used     int64 // lengths of all files that have a name or a handle
}

// inode is a file or a directory. Guarded by Mem.mu.
type inode struct {
	mode fs.FileMode

	// Of a directory.
	names   map[string]*inode // as programs see it
	durable map[string]*inode // as of the last SyncDir
	changes []nameChange      // since the last SyncDir, in order

	// Of a file.
	content
	links, handles int
}

// nameChange is one atomic change to a directory: drop one name, bind
// another, or both (a rename inside the directory).
type nameChange struct {
	drop string // "" when none
	bind string // "" when none
	node *inode
}

func newDir(perm fs.FileMode) *inode {
	return &inode{mode: fs.ModeDir | perm.Perm(), names: map[string]*inode{}, durable: map[string]*inode{}}
}

// NewMem returns an empty filesystem without limit.
func NewMem() *Mem {
	return &Mem{root: newDir(0o755), capacity: math.MaxInt64}
}

// OnSync sets a function that is called after each Sync and SyncDir took
// effect and before it returns, with the name that was synced: the moment
// from which a caller may rely on it. fn runs on the syncing goroutine, under
// no lock of m, possibly many at once, and may call any method of m. nil
// unsets it.
func (m *Mem) OnSync(fn func(name string)) { setHook(&m.after, fn) }

// BeforeSync is OnSync for the moment before a Sync or SyncDir takes effect:
// all is written and nothing of it durable, which is when a power loss tears.
func (m *Mem) BeforeSync(fn func(name string)) { setHook(&m.before, fn) }

func setHook(at *atomic.Pointer[func(string)], fn func(string)) {
	if fn == nil {
		at.Store(nil)
		return
	}
	at.Store(&fn)
}

func callHook(at *atomic.Pointer[func(string)], name string) {
	if fn := at.Load(); fn != nil {
		(*fn)(name)
	}
}

// SetCapacity limits the sum of all files' lengths, in bytes. Growth beyond it
// fails with syscall.ENOSPC, after writing what still fits. A capacity below
// what is used removes nothing.
func (m *Mem) SetCapacity(bytes int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.capacity = bytes
}

// Bytes returns the sum of the lengths of all files that have a name or an
// open handle.
func (m *Mem) Bytes() int64 {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.used
}

// split returns the path components of a name, none for the root.
func split(name string) []string {
	clean := strings.TrimPrefix(path.Clean("/"+filepath.ToSlash(name)), "/")
	if clean == "" {
		return nil
	}
	return strings.Split(clean, "/")
}

// walk returns the directory that parts lead to, and ENOENT or ENOTDIR.
func (m *Mem) walk(parts []string) (*inode, error) {
	n := m.root
	for _, part := range parts {
		next, ok := n.names[part]
		if !ok {
			return nil, syscall.ENOENT
		}
		if next.names == nil {
			return nil, syscall.ENOTDIR
		}
		n = next
	}
	return n, nil
}

// find returns the directory that holds name, the last component, and the
// inode that it names, nil when there is none. The root has no parent.
func (m *Mem) find(name string) (dir *inode, base string, n *inode, err error) {
	parts := split(name)
	if len(parts) == 0 {
		return nil, "", m.root, nil
	}
	last := len(parts) - 1
	dir, err = m.walk(parts[:last])
	if err != nil {
		return nil, "", nil, err
	}
	return dir, parts[last], dir.names[parts[last]], nil
}

// change applies c to what programs see of dir and remembers it.
func (m *Mem) change(dir *inode, c nameChange) {
	if c.drop != "" {
		delete(dir.names, c.drop)
	}
	if c.bind != "" {
		dir.names[c.bind] = c.node
	}
	dir.changes = append(dir.changes, c)
}

// unlink counts a name of n less and frees its room when it was the last use.
func (m *Mem) unlink(n *inode) {
	n.links--
	m.release(n)
}

func (m *Mem) release(n *inode) {
	if n.links == 0 && n.handles == 0 {
		m.used -= n.size
	}
}
