package replication

import "golang.org/x/sys/unix"

// setDirect says whether an open file is written past the page cache. Not all
// filesystems can.
func setDirect(fd uintptr, direct bool) error {
	flags, err := unix.FcntlInt(fd, unix.F_GETFL, 0)
	if err != nil {
		return err
	}
	if flags &^= unix.O_DIRECT; direct {
		flags |= unix.O_DIRECT
	}
	_, err = unix.FcntlInt(fd, unix.F_SETFL, flags)
	return err
}
