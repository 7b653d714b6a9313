package faults

import (
	"bytes"
	"net"
	"sync"
	"time"
)

// Expiring returns a connection that ends when its last login is older than lifetime, as a managed
// service ends connections whose token has expired. Each AUTH, and each HELLO with AUTH, is a
// login. The connection calls ended once if its login expires.
func Expiring(nc net.Conn, lifetime time.Duration, ended func()) net.Conn {
	e := &expiring{Conn: nc, lifetime: lifetime}
	e.timer = time.AfterFunc(lifetime, func() {
		ended()
		_ = nc.Close()
	})
	return e
}

type expiring struct {
	net.Conn
	lifetime time.Duration
	timer    *time.Timer

	mu   sync.Mutex
	rest []byte // the beginning of a command
}

// Write passes the bytes to the server, and looks for logins in them.
func (e *expiring) Write(p []byte) (int, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.rest = append(e.rest, p...)
	for {
		n, err := frame(e.rest)
		if err != nil {
			return 0, err
		}
		if n == 0 {
			break
		}
		if isLogin(e.rest[:n]) && e.timer.Stop() {
			e.timer.Reset(e.lifetime)
		}
		e.rest = e.rest[n:]
	}
	e.rest = bytes.Clone(e.rest)
	return e.Conn.Write(p)
}

// Close ends the connection before its login expires.
func (e *expiring) Close() error {
	e.timer.Stop()
	return e.Conn.Close()
}

func isLogin(request []byte) bool {
	switch name(request) {
	case "AUTH":
		return true
	case "HELLO":
		return bytes.Contains(bytes.ToUpper(request), []byte("\r\nAUTH\r\n"))
	}
	return false
}
