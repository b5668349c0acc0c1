//go:build unix

package upstream

import (
	"errors"
	"syscall"
	"time"
)

// quiet reports whether an idle connection is still open and has nothing to
// say. One system call, which does not block.
func (cn *conn) quiet() bool {
	sc, ok := cn.raw.(syscall.Conn)
	if !ok {
		return true
	}
	rc, err := sc.SyscallConn()
	if err != nil {
		return false
	}
	_ = cn.raw.SetDeadline(time.Time{}) // one that has passed would make the look fail
	open := false
	err = rc.Read(func(fd uintptr) bool {
		var b [1]byte
		n, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		open = n < 0 && (errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EWOULDBLOCK))
		return true
	})
	return err == nil && open
}
