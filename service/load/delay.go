package main

import (
	"encoding/json"
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// delayConfig makes a part that passes connections on to a PostgreSQL and delays its answers.
type delayConfig struct {
	Target  string // path of the socket
	Socket  string // path of the socket to listen on
	Latency time.Duration
}

// delayPart runs the part until its input ends.
func delayPart(in *json.Decoder, out *json.Encoder) (err error) {
	var cfg delayConfig
	if err := in.Decode(&cfg); err != nil {
		return err
	}
	listener, err := net.Listen("unix", cfg.Socket)
	if err != nil {
		return err
	}
	var open conns
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return // closed
			}
			wg.Go(func() { open.pass(client, cfg) })
		}
	})
	if err := out.Encode(true); err != nil {
		return err
	}
	err = serve(in, out, func(bool) bool { return true })
	err = errors.Join(err, listener.Close())
	open.close()
	wg.Wait()
	return err
}

// conns closes the open connections at the end.
type conns struct {
	mu     sync.Mutex
	closed bool
	open   map[net.Conn]struct{}
}

func (c *conns) add(conn net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		conn.Close()
		return
	}
	if c.open == nil {
		c.open = make(map[net.Conn]struct{})
	}
	c.open[conn] = struct{}{}
}

func (c *conns) remove(conn net.Conn) {
	conn.Close()
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.open, conn)
}

func (c *conns) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	for conn := range c.open {
		conn.Close()
	}
}

// pass copies a connection both ways until one side ends. What the database says is held for the
// latency: once per answer, because a client of the database sends one statement at a time.
func (c *conns) pass(client net.Conn, cfg delayConfig) {
	c.add(client)
	defer c.remove(client)
	server, err := net.Dial("unix", cfg.Target)
	if err != nil {
		return // the client sees the end of its connection
	}
	c.add(server)
	defer c.remove(server)

	var wg sync.WaitGroup
	wg.Go(func() {
		io.Copy(server, client) // the end of either side ends both
		server.Close()
	})
	defer wg.Wait()
	defer client.Close()

	buffer := make([]byte, 64<<10)
	for {
		n, err := server.Read(buffer)
		if n > 0 {
			time.Sleep(cfg.Latency)
			if _, err := client.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}
