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
	sync := func(fd uintptr) {
		for {
			if syncErr = syscall.Fdatasync(int(fd)); !errors.Is(syncErr, syscall.EINTR) {
				return
			}
		}
	}
	if err := conn.Control(sync); err != nil {
		syncErr = fs.ErrClosed // the one reason why Control does not run sync
	}
	if syncErr != nil {
		return &fs.PathError{Op: "fdatasync", Path: f.Name(), Err: syncErr}
	}
	return nil
}
