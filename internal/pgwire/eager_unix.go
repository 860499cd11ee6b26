//go:build unix

package pgwire

import "syscall"

// arrived says whether a read of the socket would not wait.
func arrived(socket syscall.RawConn) bool {
	ready := true
	err := socket.Read(func(fd uintptr) bool {
		var b [1]byte
		_, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		ready = err != syscall.EAGAIN && err != syscall.EINTR
		return true
	})
	return ready || err != nil
}
