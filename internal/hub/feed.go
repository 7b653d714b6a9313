package hub

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/redis/rueidis"
)

// feed is the Pub/Sub connection to one node. Its fields are under the hub's lock.
type feed struct {
	hub    *pubsub
	addr   string
	wanted map[string]*channel // what should be subscribed here
	asked  map[string]bool     // what has been asked for on the connection that stands
	kick   chan struct{}
	ended  chan struct{}
	doubt  chan struct{} // the connection that stands does not deliver
}

const (
	subscribeBatch = 512
	askTimeout     = 2 * time.Second
	redialFirst    = 20 * time.Millisecond
	redialMax      = time.Second
)

func newFeed(p *pubsub, addr string) *feed {
	return &feed{hub: p, addr: addr, wanted: make(map[string]*channel), kick: make(chan struct{}, 1), ended: make(chan struct{}), doubt: make(chan struct{}, 1)}
}

func (f *feed) want(ch *channel) {
	f.wanted[ch.name] = ch
	f.wake()
}

func (f *feed) drop(ch *channel) {
	if f.wanted[ch.name] == ch {
		delete(f.wanted, ch.name)
		f.wake()
	}
}

func (f *feed) wake() {
	select {
	case f.kick <- struct{}{}:
	default:
	}
}

func (f *feed) end() { close(f.ended) }

// run keeps a connection up and its subscriptions as wanted.
func (f *feed) run(ctx context.Context) {
	wait := redialFirst
	for {
		began := time.Now()
		f.serve(ctx)
		f.down()
		if time.Since(began) > redialMax {
			wait = redialFirst
		}
		select {
		case <-ctx.Done():
			return
		case <-f.ended:
			return
		case <-time.After(wait/2 + rand.N(wait/2+1)):
		}
		wait = min(2*wait, redialMax)
		f.hub.source.Reroute()
	}
}

// serve works on one connection until it is lost.
func (f *feed) serve(ctx context.Context) {
	conn, release, err := f.hub.source.Dedicate(ctx, f.addr)
	if err != nil {
		return
	}
	defer release()
	gone := conn.SetPubSubHooks(rueidis.PubSubHooks{
		OnMessage:      func(m rueidis.PubSubMessage) { f.hub.deliver(f, m.Channel, m.Message) },
		OnSubscription: f.changed,
	})
	f.hub.mu.Lock()
	f.asked = make(map[string]bool)
	select {
	case <-f.doubt: // it was about another connection
	default:
	}
	f.hub.mu.Unlock()
	for {
		add, remove := f.difference()
		if !f.ask(ctx, conn, true, add) || !f.ask(ctx, conn, false, remove) {
			return
		}
		if len(add)+len(remove) > 0 {
			continue
		}
		select {
		case <-ctx.Done():
			return
		case <-f.ended:
			return
		case <-gone:
			return
		case <-f.doubt:
			return
		case <-f.kick:
		}
	}
}

// difference takes one batch of what is to be subscribed and unsubscribed.
func (f *feed) difference() (add, remove []string) {
	f.hub.mu.Lock()
	defer f.hub.mu.Unlock()
	for name := range f.wanted {
		if !f.asked[name] && len(add) < subscribeBatch {
			f.asked[name] = true
			add = append(add, name)
		}
	}
	for name := range f.asked {
		if f.wanted[name] == nil && len(remove) < subscribeBatch {
			delete(f.asked, name)
			remove = append(remove, name)
		}
	}
	return add, remove
}

func (f *feed) ask(ctx context.Context, conn rueidis.DedicatedClient, subscribe bool, names []string) bool {
	if len(names) == 0 {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	// Shard channels of different slots can't share a command, but can share a pipeline.
	var cmds []rueidis.Completed
	b := conn.B()
	switch sharded := f.hub.source.Sharded(); {
	case sharded && subscribe:
		for _, name := range names {
			cmds = append(cmds, b.Ssubscribe().Channel(name).Build())
		}
	case sharded:
		for _, name := range names {
			cmds = append(cmds, b.Sunsubscribe().Channel(name).Build())
		}
	case subscribe:
		cmds = append(cmds, b.Subscribe().Channel(names...).Build())
	default:
		cmds = append(cmds, b.Unsubscribe().Channel(names...).Build())
	}
	for _, r := range conn.DoMulti(ctx, cmds...) {
		if r.Error() != nil {
			return false // a new connection and new routes decide
		}
	}
	return true
}

// changed hears from the server what it has subscribed and unsubscribed, by our wish or because a slot has moved.
func (f *feed) changed(s rueidis.PubSubSubscription) {
	f.hub.mu.Lock()
	defer f.hub.mu.Unlock()
	ch := f.wanted[s.Channel]
	switch s.Kind {
	case "subscribe", "ssubscribe":
		if ch != nil && ch.on == f {
			f.hub.restored(ch)
		}
	case "unsubscribe", "sunsubscribe":
		if ch != nil && ch.on == f { // wanted again in the meantime, or the slot has moved
			f.hub.lost(ch)
			delete(f.asked, s.Channel)
			f.hub.source.Reroute()
			f.wake()
		}
	}
}

// down marks everything on the connection as lost.
func (f *feed) down() {
	f.hub.mu.Lock()
	defer f.hub.mu.Unlock()
	f.asked = nil
	for _, ch := range f.wanted {
		if ch.on == f {
			f.hub.lost(ch)
		}
	}
}
