package disk

import (
	"errors"
	"io/fs"
	"syscall"
)

// Sync implements [File]. fdatasync persists the bytes and the length, and
// spares the times, which would cost a second write of the inode.
func (f osFile) Sync() error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var syncErr error
	err = conn.Control(func(fd uintptr) {
		for {
			if syncErr = syscall.Fdatasync(int(fd)); !errors.Is(syncErr, syscall.EINTR) {
				return
			}
		}
	})
	if err = errors.Join(err, syncErr); err != nil {
		return &fs.PathError{Op: "fdatasync", Path: f.Name(), Err: err}
	}
	return nil
}
