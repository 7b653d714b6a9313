package demo

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"
)

// Outage is a proxy between the shop and Redis. It can stop to forward data, as a stopped server
// does: connections stay open, and no reply arrives. Create it with NewOutage.
type Outage struct {
	network, target string
	listener        net.Listener
	wg              sync.WaitGroup

	mu     sync.Mutex
	flows  chan struct{} // closed while data flows
	open   map[net.Conn]struct{}
	closed bool

	ends  time.Time
	timer *time.Timer // ends an outage after longestOutage
}

// longestOutage is the time after which an outage ends without Resume.
const longestOutage = time.Minute

// NewOutage forwards a free loopback port to target.
func NewOutage(ctx context.Context, network, target string) (*Outage, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	o := &Outage{network: network, target: target, listener: listener, flows: make(chan struct{}),
		open: make(map[net.Conn]struct{})}
	close(o.flows)
	o.wg.Go(o.accept)
	return o, nil
}

// Addr returns the address of the proxy.
func (o *Outage) Addr() string { return o.listener.Addr().String() }

// Stop starts the outage. It ends with Resume, or after one minute.
func (o *Outage) Stop() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.stopped() {
		return
	}
	flows := make(chan struct{})
	o.flows, o.ends = flows, time.Now().Add(longestOutage)
	o.timer = time.AfterFunc(longestOutage, func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		if o.flows == flows { // otherwise this outage has ended, and another may have started
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
		o.timer.Stop()
		close(o.flows)
	}
}

// Stopped reports whether there is an outage, and the time until it ends.
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

// Close closes all connections.
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

// copy forwards data while it flows. It closes both connections when one of them ends.
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
