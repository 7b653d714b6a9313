package core

import (
	"bytes"
	"fmt"
	"net"
	"sync/atomic"

	"github.com/redstart-go/redstart/internal/wire"
)

// foreignConn is an open connection of a foreignClient. The client closes it if the server does not
// answer.
//
// The library accepts one text as a refusal of HELLO, and servers and proxies have many. So the
// connection translates the handshake:
//
//	library: HELLO 3 …        server: -NOPROTO …   library reads: -ERR unknown command 'HELLO'
//	library: HELLO 2          server reads: PING, because a new connection uses RESP2 anyway
//	library: CLIENT SETNAME   server reads: PING, if it refuses names
//
// The library believes each length in a reply, so the connection checks it first.
type foreignConn struct {
	net.Conn
	client   *foreignClient
	sentinel bool // to a sentinel

	resp2 atomic.Bool // the next write with HELLO 2 is translated
	asked atomic.Bool // the first write has HELLO 3
	wrote bool        // used by the writing goroutine alone

	// used by the reading goroutine alone
	guard    wire.Guard
	answered bool   // the first reply needs no translation any more
	pending  []byte // what was read and not returned
}

var (
	hello3 = []byte("\r\n$5\r\nHELLO\r\n$1\r\n3\r\n")
	hello2 = []byte("*2\r\n$5\r\nHELLO\r\n$1\r\n2\r\n")
	pong   = []byte("*1\r\n$4\r\nPING\r\n")

	noHello = []byte("-ERR unknown command 'HELLO'\r\n")
)

// maxRefusal is the longest error reply that is translated, in bytes.
const maxRefusal = 1024

// Write writes p. The library writes from one goroutine at a time.
func (c *foreignConn) Write(p []byte) (int, error) {
	if !c.wrote {
		c.wrote = true
		if bytes.Contains(p, hello3) { // the reply shows whether HELLO 2 follows
			c.asked.Store(true)
			return c.Conn.Write(p)
		}
	}
	if !c.resp2.Load() {
		return c.Conn.Write(p)
	}

	c.resp2.Store(false)
	out := bytes.Replace(p, hello2, pong, 1)
	if f := c.client; f.core.agreed.unnamed.Load() {
		name := f.core.opt.ClientName + ":" + f.name
		out = bytes.Replace(out, fmt.Appendf(nil, "*3\r\n$6\r\nCLIENT\r\n$7\r\nSETNAME\r\n$%d\r\n%s\r\n", len(name), name), pong, 1)
	}
	if _, err := c.Conn.Write(out); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Read reads into p. The library reads from one goroutine at a time.
func (c *foreignConn) Read(p []byte) (int, error) {
	for !c.answered {
		n, err := c.read(p)
		c.pending = append(c.pending, p[:n]...)
		c.translate()
		if err != nil {
			c.answered = true
			if len(c.pending) == 0 {
				return 0, err
			}
		}
	}
	if len(c.pending) == 0 {
		return c.read(p)
	}

	n := copy(p, c.pending)
	if c.pending = c.pending[n:]; len(c.pending) == 0 {
		c.pending = nil
	}
	return n, nil
}

// read reads into p. It ends the connection at a length that the library must not see.
func (c *foreignConn) read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if bad := c.guard.Check(p[:n]); bad != nil {
		_ = c.Conn.Close()
		return 0, bad
	}
	return n, err
}

// translate looks at the beginning of the first reply.
func (c *foreignConn) translate() {
	if len(c.pending) == 0 {
		return
	}
	if !c.asked.Load() {
		c.answered = true
		return
	}
	line, rest, whole := bytes.Cut(c.pending, []byte("\r\n"))
	if c.pending[0] == '-' && !whole && len(c.pending) <= maxRefusal {
		return // more is needed
	}

	c.answered = true
	refused := c.pending[0] == '-' && len(line) <= maxRefusal && refusesHello(string(line[1:]))
	c.resp2.Store(refused)
	if refused {
		c.pending = append(bytes.Clone(noHello), rest...)
	}
}

// sentinelAddr is the address of a sentinel.
type sentinelAddr struct{ net.Addr }

// RemoteAddr returns the address of the server, or a sentinelAddr.
func (c *foreignConn) RemoteAddr() net.Addr {
	if c.sentinel {
		return sentinelAddr{c.Conn.RemoteAddr()}
	}
	return c.Conn.RemoteAddr()
}

func (c *foreignConn) Close() error {
	c.client.mu.Lock()
	delete(c.client.open, c)
	c.client.mu.Unlock()
	return c.Conn.Close()
}
