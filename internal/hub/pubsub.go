package hub

import (
	"context"
	"errors"
	"sync"

	"github.com/redis/rueidis"

	"github.com/redstart-go/redstart/internal/fault"
)

// Source is where the hub gets connections from; the connection layer implements it.
type Source interface {
	// Dedicate takes a connection to a node ("" outside cluster mode) out of the pool for good; release closes it.
	Dedicate(ctx context.Context, addr string) (conn rueidis.DedicatedClient, release func(), err error)
	// Route is the node that serves a channel, and whether it is known now.
	Route(channel string) (addr string, known bool)
	// Sharded reports whether channels are shard channels (SSUBSCRIBE).
	Sharded() bool
	// OnRoute has fn called whenever routes may have changed.
	OnRoute(fn func())
	// Reroute asks for a look at the routes soon.
	Reroute()
	// Done is closed when the client closes.
	Done() <-chan struct{}
	// Go runs fn until its context ends with the client.
	Go(name string, fn func(ctx context.Context)) bool
}

// Receiver takes what comes on one channel. Its functions are called from the connection's reader, in
// order; they must not block and must not call the hub. Any may be nil.
type Receiver struct {
	Message func(payload string)
	// Lost says that messages may be missed from now on; Restored that the
	// subscription stands again. Each Lost is followed by one Restored, unless the subscription ends.
	Lost     func()
	Restored func()
	// Refused says, while messages are missed, that the server refuses the subscription, as an ACL does. It is asked again
	// and again; Restored follows when it agrees.
	Refused func()
}

// ErrClosed is returned by Subscribe once the client is closed.
var ErrClosed = fault.New(fault.ErrUnavailable, errors.New("the client is closed"), "")

type pubsub struct {
	source Source
	begin  sync.Once

	mu       sync.Mutex
	channels map[string]*channel
	feeds    map[string]*feed // by node
}

// channel is one subscription at the server, shared by all its receivers here.
type channel struct {
	name      string
	receivers []*Subscription
	on        *feed         // the feed that it is subscribed on, or is about to be
	up        bool          // the server has confirmed it
	refused   bool          // the node does not serve it, for now
	confirmed chan struct{} // closed at the first confirmation after a change
}

// Subscription is one receiver's share of a channel.
type Subscription struct {
	hub      *pubsub
	channel  *channel
	receiver Receiver
	pending  bool  // Subscribe has not returned yet
	err      error // of a pending subscription that the server refused
	down     bool  // Lost was called, Restored was not
}

func (p *pubsub) init(source Source) {
	p.source = source
	p.channels = make(map[string]*channel)
	p.feeds = make(map[string]*feed)
}

// Subscribe adds a receiver for an exact channel and returns when the server has confirmed the
// subscription. With an error nothing is subscribed: ctx's, ErrClosed, or the server's refusal. Channels of
// one node share a connection.
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
	s.pending = true // to the receiver, the first confirmation is the return of this function
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

// Close ends the receiver's share. No function of the receiver begins after it returned.
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

// Suspect says that the connection under the subscription looks healthy but delivers nothing. It is replaced: all receivers on
// it hear Lost, and Restored when their subscriptions stand again.
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

// place puts a channel on the feed of the node that serves it. It holds the lock.
func (p *pubsub) place(ch *channel) bool {
	addr, known := p.source.Route(ch.name)
	if !known {
		p.source.Reroute()
		return true // reroute will place it
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

// lost and restored tell the receivers of a channel. They hold the lock, so that a
// receiver that was closed hears nothing more.
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

// failed ends the wait of those who have just asked for a channel.
func (p *pubsub) failed(ch *channel, err error) {
	for _, s := range ch.receivers {
		if s.pending {
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
