package faults

import (
	"bytes"
	"fmt"
	"net"
	"sync"
)

// Refusing returns a connection on which the server refuses some commands, as a proxy or a managed
// service does. denials has the commands in capital letters, and the error reply to each. The
// server sees a script that returns the error instead. So replies keep their order. If the error is
// "", the connection ends at the command.
//
// The connection refuses nothing before a login on a server with a password.
func Refusing(nc net.Conn, denials map[string]string) net.Conn {
	return &refusing{Conn: nc, denials: denials}
}

type refusing struct {
	net.Conn
	denials map[string]string

	mu   sync.Mutex
	rest []byte // the beginning of a command
}

// Write passes complete commands to the server.
func (r *refusing) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rest = append(r.rest, p...)

	var out []byte
	for {
		n, err := frame(r.rest)
		if err != nil {
			return 0, err
		}
		if n == 0 {
			break
		}
		request := r.rest[:n]
		r.rest = r.rest[n:]
		switch answer, refused := r.denials[name(request)]; {
		case !refused:
			out = append(out, request...)
		case answer == "":
			_ = r.Conn.Close()
			return 0, net.ErrClosed
		default:
			source := "return redis.error_reply('" + answer + "')"
			out = fmt.Appendf(out, "*3\r\n$4\r\nEVAL\r\n$%d\r\n%s\r\n$1\r\n0\r\n", len(source), source)
		}
	}
	r.rest = bytes.Clone(r.rest)
	if len(out) == 0 {
		return len(p), nil
	}
	if _, err := r.Conn.Write(out); err != nil {
		return 0, err
	}
	return len(p), nil
}
