package demo

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"
)

// Outage stands between the shop and its Redis and can make it fall silent, as a server does that is stopped: connections stay
// open and nothing comes back. Use NewOutage.
type Outage struct {
	network, target string
	listener        net.Listener
	wg              sync.WaitGroup

	mu     sync.Mutex
	flows  chan struct{} // closed while data flows
	open   map[net.Conn]struct{}
	closed bool

	ends      time.Time
	forgotten *time.Timer // ends an outage that nobody ends
}

// longestOutage is when a forgotten outage ends by itself.
const longestOutage = time.Minute

// NewOutage forwards a free loopback port to target.
func NewOutage(ctx context.Context, network, target string) (*Outage, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	o := &Outage{network: network, target: target, listener: listener, flows: make(chan struct{}), open: make(map[net.Conn]struct{})}
	close(o.flows)
	o.wg.Go(o.accept)
	return o, nil
}

// Addr is where to connect instead of the target.
func (o *Outage) Addr() string { return o.listener.Addr().String() }

// Stop begins the outage. It ends with Resume, or after a minute.
func (o *Outage) Stop() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.stopped() {
		return
	}
	flows := make(chan struct{})
	o.flows, o.ends = flows, time.Now().Add(longestOutage)
	o.forgotten = time.AfterFunc(longestOutage, func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		if o.flows == flows { // else this outage has ended, and another may have begun
			o.end()
		}
	})
}

// Resume ends the outage.
func (o *Outage) Resume() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.end()
}

func (o *Outage) end() {
	if o.stopped() {
		o.forgotten.Stop()
		close(o.flows)
	}
}

// Stopped reports whether there is an outage, and when it ends by itself.
func (o *Outage) Stopped() (bool, time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.stopped() {
		return false, 0
	}
	return true, time.Until(o.ends)
}

func (o *Outage) stopped() bool {
	select {
	case <-o.flows:
		return false
	default:
		return true
	}
}

// Close ends all connections.
func (o *Outage) Close() error {
	o.Resume()
	err := o.listener.Close()
	o.mu.Lock()
	o.closed = true
	for conn := range o.open {
		conn.Close()
	}
	o.mu.Unlock()
	o.wg.Wait()
	return err
}

func (o *Outage) accept() {
	for {
		client, err := o.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		o.wg.Go(func() { o.forward(client) })
	}
}

func (o *Outage) forward(client net.Conn) {
	defer client.Close()
	server, err := net.DialTimeout(o.network, o.target, time.Second)
	if err != nil {
		return
	}
	defer server.Close()
	if !o.keep(client, server) {
		return
	}
	defer o.drop(client, server)
	var both sync.WaitGroup
	both.Go(func() { o.copy(server, client) })
	both.Go(func() { o.copy(client, server) })
	both.Wait()
}

// copy passes data on while it flows, and ends both connections with either.
func (o *Outage) copy(to, from net.Conn) {
	defer to.Close()
	defer from.Close()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		o.mu.Lock()
		flows := o.flows
		o.mu.Unlock()
		<-flows
		if n > 0 {
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

func (o *Outage) keep(conns ...net.Conn) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return false
	}
	for _, c := range conns {
		o.open[c] = struct{}{}
	}
	return true
}

func (o *Outage) drop(conns ...net.Conn) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, c := range conns {
		delete(o.open, c)
	}
}
