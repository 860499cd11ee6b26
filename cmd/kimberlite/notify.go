package main

import (
	"net"
	"os"
)

// notify tells the service manager, where there is one that asked to be told,
// how it stands: systemd's protocol is a datagram to a socket that the
// environment names.
func notify(state string) {
	name := os.Getenv("NOTIFY_SOCKET")
	if name == "" {
		return
	}
	if name[0] == '@' { // an abstract one
		name = "\x00" + name[1:]
	}
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		return // it does not listen; there is nobody else to tell
	}
	_, _ = c.Write([]byte(state)) // the same
	_ = c.Close()
}
