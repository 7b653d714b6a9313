package rig

import (
	"bytes"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// Proxy is a TCP proxy in this process between clients and one server. It creates faults of the
// network. Its methods are safe for concurrent use.
type Proxy struct {
	target string
	port   *port
	wg     sync.WaitGroup

	mu       sync.Mutex
	listener net.Listener // nil while it refuses connections
	links    map[*link]struct{}
	requests gate
	replies  gate

	delay    atomic.Int64 // added to every reply
	sent     atomic.Int64
	received atomic.Int64
	accepted atomic.Int64
	cuts     int // guarded by mu: a connection that was accepted before the last cut is cut too
}

// link is one proxied connection.
type link struct {
	client, server net.Conn
	done           chan struct{} // closed when the link is cut
	once           sync.Once
	subscribed     atomic.Bool // the client has a subscription
	deaf           atomic.Bool // the proxy drops the replies
}

// NewProxy starts a proxy to target (host:port). The proxy ends with the test.
func NewProxy(t testing.TB, target string) *Proxy {
	t.Helper()
	port, err := reservePort()
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{target: target, port: port, links: map[*link]struct{}{}, requests: openGate(), replies: openGate()}
	if err := p.listen(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.close)
	return p
}

// Addr returns the host:port of the proxy. It stays the same after Refuse and Accept.
func (p *Proxy) Addr() string { return p.port.addr() }

// URL returns a redis URL of the proxy, without credentials.
func (p *Proxy) URL() string { return "redis://" + p.Addr() + "/0" }

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
	open := p.listener != nil
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
	l, err := net.Listen("tcp4", p.port.addr())
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
	server, err := net.DialTimeout("tcp", p.target, 2*time.Second)
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

type chunk struct {
	bytes []byte
	due   time.Time
}

// pump copies one direction until one end closes. Reading and writing are separate, so that a delay
// does not reduce the throughput.
func (p *Proxy) pump(l *link, dst, src net.Conn, g *gate, count, delay *atomic.Int64) {
	chunks := make(chan chunk, 64)
	p.wg.Go(func() {
		defer close(chunks)
		for {
			buf := make([]byte, 32<<10)
			n, err := src.Read(buf)
			if n > 0 {
				c := chunk{bytes: buf[:n]}
				if delay != nil && delay.Load() > 0 {
					c.due = time.Now().Add(time.Duration(delay.Load()))
				}
				select {
				case chunks <- c:
				case <-l.done:
					return
				}
			}
			if err != nil {
				return
			}
		}
	})
	for {
		select {
		case <-l.done:
			return
		case c, open := <-chunks:
			if !l.wait(c.due) || !p.pass(l, g) {
				return
			}
			if !open {
				l.cut(false)
				return
			}
			if dst == l.server && bytes.Contains(c.bytes, []byte("SUBSCRIBE\r\n")) {
				l.subscribed.Store(true)
			}
			if dst == l.client && l.deaf.Load() {
				continue
			}
			if _, err := dst.Write(c.bytes); err != nil {
				l.cut(false)
				return
			}
			count.Add(int64(len(c.bytes)))
		}
	}
}

// wait sleeps until due. It returns false if the link was cut before.
func (l *link) wait(due time.Time) bool {
	if due.IsZero() {
		return true
	}
	timer := time.NewTimer(time.Until(due))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-l.done:
		return false
	}
}

// pass waits until the gate is open. It returns false if the link was cut before.
func (p *Proxy) pass(l *link, g *gate) bool {
	p.mu.Lock()
	opened := g.opened
	p.mu.Unlock()
	select {
	case <-opened:
		return true
	case <-l.done:
		return false
	}
}

// gate stalls one direction: the channel opened is closed while bytes may pass.
type gate struct{ opened chan struct{} }

func openGate() gate {
	g := gate{opened: make(chan struct{})}
	close(g.opened)
	return g
}

func (p *Proxy) set(g *gate, open bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-g.opened:
		if !open {
			g.opened = make(chan struct{})
		}
	default:
		if open {
			close(g.opened)
		}
	}
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

func (l *link) cut(rst bool) {
	l.once.Do(func() {
		close(l.done)
		if rst {
			reset(l.client)
			reset(l.server)
		}
		l.client.Close()
		l.server.Close()
	})
}

// reset makes the next Close send RST.
func reset(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		tcp.SetLinger(0)
	}
}

func (p *Proxy) close() {
	p.Refuse()
	p.mu.Lock()
	links := p.links
	p.links = nil
	p.mu.Unlock()
	for l := range links {
		l.cut(false)
	}
	p.wg.Wait()
	p.port.release()
}
