package transport

import (
	"net"

	"golang.org/x/sys/unix"
)

// queued is how many bytes written to a TCP connection its peer has not
// acknowledged (tcp(7), SIOCOUTQ); 0 for other connections.
func queued(c net.Conn) int64 {
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return 0
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return 0
	}
	var n int
	err = raw.Control(func(fd uintptr) { n, _ = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ) })
	if err != nil {
		return 0
	}
	return int64(n)
}
