// Package faults creates faults of the network between clients and a server: cut, stalled, delayed
// and refused connections, and lost answers. The test harness and the test kit use it.
package faults

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Proxy is a proxy in this process between clients and one server. Clients reach it through a port
// ([Proxy.Listen]) or inside the process ([Proxy.Dial]). Its methods are safe for concurrent use.
type Proxy struct {
	dial func(ctx context.Context) (net.Conn, error)
	addr string // of the listener; "" without one
	wg   sync.WaitGroup

	mu       sync.Mutex
	listener net.Listener // nil while it refuses connections, and without a port
	refusing bool
	links    map[*link]struct{} // nil after Close
	requests gate
	replies  gate

	delay    atomic.Int64 // added to every reply
	sent     atomic.Int64
	received atomic.Int64
	accepted atomic.Int64
	cuts     int // guarded by mu: a connection that was accepted before the last cut is cut too

	losses *losses              // nil: the proxy does not read commands
	look   func(request []byte) // receives each command
}

// New returns a proxy to the server that dial connects to. Close ends it.
func New(dial func(ctx context.Context) (net.Conn, error)) *Proxy {
	return &Proxy{dial: dial, links: map[*link]struct{}{}, requests: openGate(), replies: openGate()}
}

// Listen opens a port. After Refuse and Accept it is the same.
func (p *Proxy) Listen(addr string) error {
	p.addr = addr
	return p.listen()
}

// Addr returns the host:port of the proxy. It stays the same after Refuse and Accept.
func (p *Proxy) Addr() string { return p.addr }

// Dial returns a connection through the proxy inside the process.
func (p *Proxy) Dial(ctx context.Context) (net.Conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.refusing || p.links == nil {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	}
	theirs, ours := net.Pipe()
	cuts := p.cuts
	p.accepted.Add(1)
	p.wg.Go(func() { p.serve(ours, cuts) })
	return theirs, nil
}

// Cut closes all connections with FIN, like a restarted middlebox or a killed server. The proxy
// accepts new connections.
func (p *Proxy) Cut() { p.cut(false) }

// Reset closes all connections with RST.
func (p *Proxy) Reset() { p.cut(true) }

// Stall holds the bytes of both directions, like a network that drops packets. Connections stay
// open, and the proxy accepts new ones. The held bytes arrive after Resume, unless Cut ends their
// connection.
func (p *Proxy) Stall() {
	p.StallRequests()
	p.StallReplies()
}

// StallRequests holds the bytes that clients send.
func (p *Proxy) StallRequests() { p.set(&p.requests, false) }

// StallReplies holds the bytes that the server sends. The server executes commands, but no client
// receives a reply.
func (p *Proxy) StallReplies() { p.set(&p.replies, false) }

// Deafen drops the bytes that the server sends on connections with a subscription, like a middlebox
// that has lost their state. These connections stay open and receive nothing. New connections and
// all others work. It returns the number of the affected connections.
func (p *Proxy) Deafen() (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.links {
		if l.subscribed.Load() {
			l.deaf.Store(true)
			n++
		}
	}
	return n
}

// Resume ends each kind of Stall.
func (p *Proxy) Resume() {
	p.set(&p.requests, true)
	p.set(&p.replies, true)
}

// Delay delays each reply by d. Order and throughput stay. 0 ends the delay.
func (p *Proxy) Delay(d time.Duration) { p.delay.Store(int64(d)) }

// Refuse closes the listener, so that the kernel refuses new connections. Existing connections stay
// open; Cut ends them.
func (p *Proxy) Refuse() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refusing = true
	if p.listener != nil {
		p.hush()
		p.listener.Close()
		p.listener = nil
	}
}

// hush shuts the listener down. Closing it is not enough. A process that is being started has a
// copy of the listener until it runs its own program, and the kernel accepts connections for the
// copy.
func (p *Proxy) hush() {
	raw, err := p.listener.(*net.TCPListener).SyscallConn()
	if err == nil {
		_ = raw.Control(func(fd uintptr) { _ = syscall.Shutdown(int(fd), syscall.SHUT_RD) })
	}
}

// Accept ends Refuse.
func (p *Proxy) Accept() error {
	p.mu.Lock()
	p.refusing = false
	open := p.listener != nil || p.addr == ""
	p.mu.Unlock()
	if open {
		return nil
	}
	return p.listen()
}

// Sent returns the number of bytes that passed from clients to the server.
func (p *Proxy) Sent() int64 { return p.sent.Load() }

// Received returns the number of bytes that passed from the server to clients.
func (p *Proxy) Received() int64 { return p.received.Load() }

// Accepted returns the number of connections since the start.
func (p *Proxy) Accepted() int64 { return p.accepted.Load() }

// Open returns the number of open connections.
func (p *Proxy) Open() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.links)
}

func (p *Proxy) listen() error {
	l, err := net.Listen("tcp4", p.addr)
	if err != nil {
		return err
	}
	p.mu.Lock()
	p.listener = l
	p.mu.Unlock()
	p.wg.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			p.mu.Lock()
			cuts := p.cuts
			p.mu.Unlock()
			p.accepted.Add(1)
			p.wg.Go(func() { p.serve(client, cuts) })
		}
	})
	return nil
}

func (p *Proxy) serve(client net.Conn, cuts int) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	server, err := p.dial(ctx)
	if err != nil {
		client.Close()
		return
	}
	l := &link{client: client, server: server, done: make(chan struct{})}
	p.mu.Lock()
	if p.links == nil || p.cuts != cuts { // closed or cut in the meantime
		p.mu.Unlock()
		l.cut(false)
		return
	}
	p.links[l] = struct{}{}
	p.mu.Unlock()

	var pumps sync.WaitGroup
	pumps.Go(func() { p.pump(l, server, client, &p.requests, &p.sent, nil) })
	pumps.Go(func() { p.pump(l, client, server, &p.replies, &p.received, &p.delay) })
	pumps.Wait()
	p.mu.Lock()
	delete(p.links, l)
	p.mu.Unlock()
}

func (p *Proxy) cut(rst bool) {
	p.mu.Lock()
	p.cuts++
	links := make([]*link, 0, len(p.links))
	for l := range p.links {
		links = append(links, l)
	}
	p.mu.Unlock()
	for _, l := range links {
		l.cut(rst)
	}
}

// Close ends all connections and the port.
func (p *Proxy) Close() {
	p.Refuse()
	p.mu.Lock()
	links := p.links
	p.links = nil
	p.mu.Unlock()
	for l := range links {
		l.cut(false)
	}
	p.wg.Wait()
}
