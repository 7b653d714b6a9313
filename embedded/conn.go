package embedded

import (
	"bufio"
	"net"
	"sync"
)

// maxPending limits the bytes of replies and pushes that wait for a client that does not read.
// Beyond it the server closes the connection, as Redis does. Below it a client may write a pipeline
// of any length before it reads.
const maxPending = 64 << 20

// conn is a connection. One goroutine reads and executes its commands, another writes its replies.
type conn struct {
	server *Server
	nc     net.Conn

	// The lock of the server guards these fields.
	id          int64
	name        string
	proto       int
	space       int
	transaction transaction
	subscribed  subscriptions
	tracked     trackingMode
	waits       *waiter // the command that blocks the connection

	last *waiter // of the reading goroutine: the command that blocked the connection last

	mu      sync.Mutex
	more    sync.Cond
	pending []byte
	spare   []byte
	closed  bool
}

func newConn(s *Server, nc net.Conn, id int64) *conn {
	c := &conn{server: s, nc: nc, id: id, proto: 2}
	c.more.L = &c.mu
	return c
}

// read executes commands until the connection ends.
func (c *conn) read() {
	defer c.gone()
	r := bufio.NewReaderSize(c.nc, 16<<10)
	for {
		args, err := readCommand(r)
		if err == errProtocol {
			c.send(failure("ERR Protocol error"))
			return
		}
		if err != nil {
			return
		}
		if len(args) == 0 {
			continue
		}
		if !c.server.execute(c, args) {
			return
		}
	}
}

// write sends all pending replies together.
func (c *conn) write() {
	for {
		c.mu.Lock()
		for len(c.pending) == 0 && !c.closed {
			c.more.Wait()
		}
		if len(c.pending) == 0 {
			c.mu.Unlock()
			c.nc.Close()
			return
		}
		out := c.pending
		c.pending = c.spare[:0]
		c.mu.Unlock()
		if _, err := c.nc.Write(out); err != nil {
			c.close()
			c.nc.Close()
			return
		}
		if cap(out) > 1<<20 {
			out = nil
		}
		c.spare = out
	}
}

// send queues a reply or a push.
func (c *conn) send(reply any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	c.pending = appendReply(c.pending, reply, c.proto)
	if len(c.pending) > maxPending {
		c.pending, c.closed = nil, true
		c.nc.Close()
	}
	c.more.Signal()
}

// close ends the connection. The reading goroutine cleans up.
func (c *conn) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pending, c.closed = nil, true
	c.nc.Close()
	c.more.Signal()
}

// gone removes the state of the connection. Its pending replies are still written.
func (c *conn) gone() {
	s := c.server
	s.mu.Lock()
	delete(s.conns, c)
	s.channels.leave(c)
	s.tracking.leave(c)
	s.unwatch(c)
	s.blocked.remove(c.waits)
	s.mu.Unlock()

	c.mu.Lock()
	c.closed = true
	c.more.Signal()
	c.mu.Unlock()
}
