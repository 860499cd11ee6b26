//go:build !unix

package pgwire

import "syscall"

// arrived says whether a read of the socket would not wait: not known here.
func arrived(syscall.RawConn) bool { return true }
