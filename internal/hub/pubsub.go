package hub

import (
	"context"
	"errors"
	"sync"

	"github.com/redis/rueidis"

	"github.com/redstart-go/redstart/internal/fault"
)

// Source gives connections to the hub. The call layer implements it.
type Source interface {
	// Dedicate takes a connection to a node from its pool. addr is "" outside cluster mode. release
	// closes the connection.
	Dedicate(ctx context.Context, addr string) (conn rueidis.DedicatedClient, release func(), err error)
	// Route returns the node that serves a channel, and whether the node is known now.
	Route(channel string) (addr string, known bool)
	// Sharded reports whether channels are shard channels (SSUBSCRIBE).
	Sharded() bool
	// OnRoute registers fn, which is called whenever routes may have changed.
	OnRoute(fn func())
	// Reroute requests a refresh of the routes.
	Reroute()
	// Done is closed when the client closes.
	Done() <-chan struct{}
	// Go runs fn until its context ends with the client.
	Go(name string, fn func(ctx context.Context)) bool
}

// Receiver receives the messages of one channel. The connection's reader calls its functions, in
// order. They must not block and must not call the hub. Each of them may be nil.
type Receiver struct {
	Message func(payload string)
	// Lost reports that messages may be missed from now on. Restored reports that the subscription
	// works again. Each Lost is followed by one Restored, unless the subscription ends.
	Lost     func()
	Restored func()
	// Refused reports that the server refuses the subscription, for example because of an ACL,
	// while messages are missed. The hub tries again until the server accepts; then it calls
	// Restored.
	Refused func()
}

// ErrClosed is the error of [Hub.Subscribe] after the client has closed.
var ErrClosed = fault.New(fault.ErrUnavailable, errors.New("the client is closed"), "")

type pubsub struct {
	source Source
	begin  sync.Once

	mu       sync.Mutex
	channels map[string]*channel
	feeds    map[string]*feed // by node
}

// channel is one subscription on the server. All its receivers in this process share it.
type channel struct {
	name      string
	receivers []*Subscription
	on        *feed         // the feed on which it is subscribed, or will be
	up        bool          // the server has confirmed it
	refused   bool          // the node does not serve it now
	confirmed chan struct{} // closed at the first confirmation after a change
}

// Subscription is the subscription of one receiver to a channel.
type Subscription struct {
	hub      *pubsub
	channel  *channel
	receiver Receiver
	pending  bool  // Subscribe has not returned yet
	err      error // refusal of the server, while pending; written once
	down     bool  // Lost was called, and Restored was not
}

func (p *pubsub) init(source Source) {
	p.source = source
	p.channels = make(map[string]*channel)
	p.feeds = make(map[string]*feed)
}

// Subscribe adds a receiver for a channel. It returns when the server has confirmed the
// subscription. Its error is the error of ctx, [ErrClosed], or the server's refusal; then nothing
// is subscribed. Channels of one node share a connection.
func (p *pubsub) Subscribe(ctx context.Context, name string, r Receiver) (*Subscription, error) {
	p.begin.Do(func() { p.source.OnRoute(p.reroute) })
	p.mu.Lock()
	ch := p.channels[name]
	if ch == nil {
		ch = &channel{name: name, confirmed: make(chan struct{})}
		p.channels[name] = ch
	}
	s := &Subscription{hub: p, channel: ch, receiver: r}
	ch.receivers = append(ch.receivers, s)
	if ch.up {
		p.mu.Unlock()
		return s, nil
	}
	s.pending = true // the receiver sees the first confirmation as the return of Subscribe
	confirmed := ch.confirmed
	ok := p.place(ch)
	p.mu.Unlock()
	if !ok {
		s.Close()
		return nil, ErrClosed
	}
	select {
	case <-confirmed:
		if s.err != nil {
			s.Close()
			return nil, s.err
		}
		return s, nil
	case <-ctx.Done():
		s.Close()
		return nil, context.Cause(ctx)
	case <-p.source.Done():
		s.Close()
		return nil, ErrClosed
	}
}

// Close ends the subscription of the receiver. After Close returns, no function of the receiver is
// called.
func (s *Subscription) Close() {
	p := s.hub
	p.mu.Lock()
	defer p.mu.Unlock()
	ch := s.channel
	for i, other := range ch.receivers {
		if other == s {
			ch.receivers = append(ch.receivers[:i:i], ch.receivers[i+1:]...)
			break
		}
	}
	if len(ch.receivers) == 0 && p.channels[ch.name] == ch {
		delete(p.channels, ch.name)
		if ch.on != nil {
			ch.on.drop(ch)
		}
	}
}

// Suspect reports that the connection seems healthy but delivers nothing. The hub replaces the
// connection. All its receivers get Lost, and Restored when their subscriptions work again.
func (s *Subscription) Suspect() {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	if f := s.channel.on; f != nil {
		select {
		case f.doubt <- struct{}{}:
		default:
		}
	}
}

// place moves a channel to the feed of the node that serves it. The lock is held.
func (p *pubsub) place(ch *channel) bool {
	addr, known := p.source.Route(ch.name)
	if !known {
		p.source.Reroute()
		return true // reroute calls place again
	}
	f := p.feeds[addr]
	if f == nil {
		f = newFeed(p, addr)
		if !p.source.Go("pushes from "+addr, f.run) {
			return false
		}
		p.feeds[addr] = f
	}
	if ch.on != f {
		if ch.on != nil {
			ch.on.drop(ch)
		}
		ch.on = f
		f.want(ch)
	}
	return true
}

// reroute moves channels whose slot has moved.
func (p *pubsub) reroute() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, ch := range p.channels {
		addr, known := p.source.Route(ch.name)
		if known && (ch.on == nil || ch.on.addr != addr) {
			p.lost(ch)
			p.place(ch)
		}
	}
	for addr, f := range p.feeds {
		if len(f.wanted) == 0 && addr != "" {
			delete(p.feeds, addr)
			f.end()
		}
	}
}

// lost notifies the receivers of a channel. lost and restored need the lock, so that a closed
// receiver is not called.
func (p *pubsub) lost(ch *channel) {
	if ch.up {
		ch.up = false
		ch.confirmed = make(chan struct{})
	}
	for _, s := range ch.receivers {
		if !s.down && !s.pending {
			s.down = true
			if s.receiver.Lost != nil {
				s.receiver.Lost()
			}
		}
	}
}

// failed ends the wait of pending receivers. Only the first error counts: Subscribe reads err
// without the lock.
func (p *pubsub) failed(ch *channel, err error) {
	for _, s := range ch.receivers {
		if s.pending && s.err == nil {
			s.err = err
		}
	}
	close(ch.confirmed)
	ch.confirmed = make(chan struct{})
}

func (p *pubsub) restored(ch *channel) {
	if ch.up {
		return
	}
	ch.up, ch.refused = true, false
	close(ch.confirmed)
	for _, s := range ch.receivers {
		s.pending = false
		if s.down {
			s.down = false
			if s.receiver.Restored != nil {
				s.receiver.Restored()
			}
		}
	}
}

func (p *pubsub) deliver(f *feed, name, payload string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	ch := p.channels[name]
	if ch == nil || ch.on != f {
		return
	}
	for _, s := range ch.receivers {
		if s.receiver.Message != nil {
			s.receiver.Message(payload)
		}
	}
}
