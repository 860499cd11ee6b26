package node

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"kimberlite/internal/disk"
	"kimberlite/internal/fault"
)

// dirLock keeps other processes, and other openings in this one, out of a
// data directory. The operating system lets go of it when the process ends,
// however it ends.
type dirLock struct {
	dir  string
	file *os.File // nil on a filesystem that is not the operating system's
}

var (
	heldMu sync.Mutex              // guards held
	held   = map[string]struct{}{} // directories open in this process
)

// IsDataDir says whether a path is a data directory.
func IsDataDir(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, settingsFile))
	return err == nil
}

// LockDir takes a data directory for this process; release lets go of it.
// InUse says who holds it.
func LockDir(dir string) (release func() error, err error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, fault.Wrap("open", fault.Invalid, err, "the data directory has no absolute path")
	}
	l, err := lockDir(disk.OS{}, abs)
	if err != nil {
		return nil, err
	}
	return l.release, nil
}

func lockDir(fsys disk.FS, dir string) (*dirLock, error) {
	_, real := fsys.(disk.OS)
	key := dir
	if !real {
		key = fmt.Sprintf("%p:%s", fsys, dir)
	}
	heldMu.Lock()
	defer heldMu.Unlock()
	if _, ok := held[key]; ok {
		return nil, fault.New("open", fault.InUse, "this process has the data directory %s open already", dir)
	}
	l := &dirLock{dir: key}
	if real {
		f, err := flock(filepath.Join(dir, lockFile))
		if err != nil {
			return nil, err
		}
		l.file = f
	}
	held[key] = struct{}{}
	return l, nil
}

func flock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fault.Wrap("open", fault.Unavailable, err, "cannot write in the data directory %s: it must belong to the user who runs this", filepath.Dir(path))
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, errors.Join(fault.Wrap("open", fault.Unavailable, err, "cannot lock the data directory: its filesystem may know no locks"), f.Close())
		}
		holder, _ := os.ReadFile(path)
		err = fault.New("open", fault.InUse, "the data directory %s is in use%s: stop that process, or talk to it with --server", filepath.Dir(path), byProcess(holder))
		return nil, errors.Join(err, f.Close())
	}
	if err := f.Truncate(0); err == nil {
		_, err = fmt.Fprintf(f, "%d\n", os.Getpid())
		if err != nil {
			return nil, errors.Join(fault.Wrap("open", fault.Unavailable, err, "cannot write the data directory's lock"), f.Close())
		}
	}
	return f, nil
}

func byProcess(holder []byte) string {
	pid := strings.TrimSpace(string(holder))
	if pid == "" || strings.Trim(pid, "0123456789") != "" {
		return ""
	}
	return " by process " + pid
}

func (l *dirLock) release() error {
	heldMu.Lock()
	defer heldMu.Unlock()
	delete(held, l.dir)
	if l.file == nil {
		return nil
	}
	return l.file.Close()
}
