package hub

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/redis/rueidis"

	"github.com/redstart-go/redstart/internal/fault"
)

// feed is the Pub/Sub connection to one node. The hub's lock protects its fields.
type feed struct {
	hub    *pubsub
	addr   string
	wanted map[string]*channel // channels that should be subscribed here
	// channels requested on the current connection; true after the confirmation
	asked map[string]bool
	dirty map[string]struct{} // channels for which wanted and asked may differ
	kick  chan struct{}
	ended chan struct{}
	doubt chan struct{} // holds one signal: the current connection delivers nothing
}

const (
	subscribeBatch = 512
	askTimeout     = 2 * time.Second
	redialFirst    = 20 * time.Millisecond
	redialMax      = time.Second
	refusedAgain   = 250 * time.Millisecond // until a refused channel is requested again
)

func newFeed(p *pubsub, addr string) *feed {
	return &feed{
		hub: p, addr: addr, wanted: make(map[string]*channel), dirty: make(map[string]struct{}),
		kick: make(chan struct{}, 1), ended: make(chan struct{}), doubt: make(chan struct{}, 1),
	}
}

func (f *feed) want(ch *channel) {
	f.wanted[ch.name] = ch
	// it was just dropped and the server does not know yet: no confirmation will come
	if f.asked[ch.name] {
		f.hub.restored(ch)
		return
	}
	f.mark(ch.name)
}

func (f *feed) drop(ch *channel) {
	if f.wanted[ch.name] == ch {
		delete(f.wanted, ch.name)
		f.mark(ch.name)
	}
}

func (f *feed) mark(name string) {
	f.dirty[name] = struct{}{}
	f.wake()
}

func (f *feed) wake() {
	select {
	case f.kick <- struct{}{}:
	default:
	}
}

func (f *feed) end() { close(f.ended) }

// run keeps a connection open and its subscriptions up to date.
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

// serve uses one connection until it is lost.
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
	case <-f.doubt: // it concerned an earlier connection
	default:
	}
	for name := range f.wanted {
		f.dirty[name] = struct{}{}
	}
	f.hub.mu.Unlock()
	again := time.NewTimer(0)
	defer again.Stop()
	for {
		add, remove := f.difference()
		refused, ok := f.ask(ctx, conn, add, remove)
		if !ok {
			return
		}
		if refused {
			f.hub.source.Reroute()
			again.Reset(refusedAgain)
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
		case <-again.C:
			f.retry()
		}
	}
}

// difference returns the next batch of channels to subscribe and to unsubscribe.
func (f *feed) difference() (add, remove []string) {
	f.hub.mu.Lock()
	defer f.hub.mu.Unlock()
	for name := range f.dirty {
		if len(add)+len(remove) == subscribeBatch {
			break
		}
		delete(f.dirty, name)
		wanted := f.wanted[name]
		_, asked := f.asked[name]
		switch {
		case wanted != nil && wanted.refused: // retry requests it again
		case wanted != nil && !asked:
			f.asked[name] = false
			add = append(add, name)
		case wanted == nil && asked:
			delete(f.asked, name)
			remove = append(remove, name)
		}
	}
	return add, remove
}

// ask sends one batch. refused reports whether the node refused a channel of it. ok reports whether
// the connection works.
func (f *feed) ask(ctx context.Context, conn rueidis.DedicatedClient, add, remove []string) (refused, ok bool) {
	if len(add)+len(remove) == 0 {
		return false, true
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	// One command per channel: shard channels of different slots can't share a command, and each
	// command has its own answer.
	sharded := f.hub.source.Sharded()
	cmds := make([]rueidis.Completed, 0, len(add)+len(remove))
	b := conn.B()
	for _, name := range add {
		if sharded {
			cmds = append(cmds, b.Ssubscribe().Channel(name).Build())
		} else {
			cmds = append(cmds, b.Subscribe().Channel(name).Build())
		}
	}
	for _, name := range remove {
		if sharded {
			cmds = append(cmds, b.Sunsubscribe().Channel(name).Build())
		} else {
			cmds = append(cmds, b.Unsubscribe().Channel(name).Build())
		}
	}
	for i, r := range conn.DoMulti(ctx, cmds...) {
		if r.NonRedisError() != nil {
			return false, false
		}
		// the slot has moved, or the ACL forbids the channel
		if err := r.Error(); err != nil && i < len(add) {
			refused = true
			f.refuse(add[i], err)
		}
	}
	return refused, true
}

// refuse records that the node does not serve a channel, because its slot has moved or the ACL
// forbids it. Other channels of the connection are not affected.
func (f *feed) refuse(name string, err error) {
	f.hub.mu.Lock()
	defer f.hub.mu.Unlock()
	delete(f.asked, name)
	if ch := f.wanted[name]; ch != nil && ch.on == f {
		ch.refused = true
		f.hub.lost(ch)
		if err = fault.Classify(err, false); !errors.Is(err, fault.ErrUnavailable) {
			f.hub.failed(ch, err)
			for _, s := range ch.receivers {
				if s.down && s.receiver.Refused != nil {
					s.receiver.Refused()
				}
			}
		}
	}
}

// retry requests the refused channels again.
func (f *feed) retry() {
	f.hub.mu.Lock()
	defer f.hub.mu.Unlock()
	for name, ch := range f.wanted {
		if ch.refused {
			ch.refused = false
			f.dirty[name] = struct{}{}
		}
	}
}

// changed handles a notification of the server that a channel was subscribed or unsubscribed. The
// server sends it as an answer, or because a slot has moved.
func (f *feed) changed(s rueidis.PubSubSubscription) {
	f.hub.mu.Lock()
	defer f.hub.mu.Unlock()
	ch := f.wanted[s.Channel]
	_, asked := f.asked[s.Channel]
	switch s.Kind {
	case "subscribe", "ssubscribe":
		if asked {
			f.asked[s.Channel] = true
		}
		if ch != nil && ch.on == f {
			f.hub.restored(ch)
		}
	case "unsubscribe", "sunsubscribe":
		if asked && !f.asked[s.Channel] {
			return // the end of an earlier subscription; the answer to the new request comes later
		}
		delete(f.asked, s.Channel)
		if ch != nil && ch.on == f { // the slot has moved
			f.hub.lost(ch)
			f.hub.source.Reroute()
			f.mark(s.Channel)
		}
	}
}

// down marks all channels of the connection as lost.
func (f *feed) down() {
	f.hub.mu.Lock()
	defer f.hub.mu.Unlock()
	f.asked = nil
	clear(f.dirty)
	for _, ch := range f.wanted {
		ch.refused = false
		if ch.on == f {
			f.hub.lost(ch)
		}
	}
}
