package hub

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/redis/rueidis"

	"github.com/redstart-go/redstart/internal/fault"
)

// feed is the Pub/Sub connection to one node. Its fields are under the hub's lock.
type feed struct {
	hub    *pubsub
	addr   string
	wanted map[string]*channel // what should be subscribed here
	asked  map[string]bool     // what has been asked for on the connection that stands: true once it is confirmed
	dirty  map[string]struct{} // where the two may differ
	kick   chan struct{}
	ended  chan struct{}
	doubt  chan struct{} // the connection that stands does not deliver
}

const (
	subscribeBatch = 512
	askTimeout     = 2 * time.Second
	redialFirst    = 20 * time.Millisecond
	redialMax      = time.Second
	refusedAgain   = 250 * time.Millisecond // a node that refuses a channel is asked again
)

func newFeed(p *pubsub, addr string) *feed {
	return &feed{
		hub: p, addr: addr, wanted: make(map[string]*channel), dirty: make(map[string]struct{}),
		kick: make(chan struct{}, 1), ended: make(chan struct{}), doubt: make(chan struct{}, 1),
	}
}

func (f *feed) want(ch *channel) {
	f.wanted[ch.name] = ch
	if f.asked[ch.name] { // it was dropped just now, and the server has not been told: no confirmation will come
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

// difference takes one batch of what is to be subscribed and unsubscribed.
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
		case wanted != nil && wanted.refused: // retry asks
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

// ask sends one batch. It reports whether the node refused any of it, and whether the connection stands.
func (f *feed) ask(ctx context.Context, conn rueidis.DedicatedClient, add, remove []string) (refused, ok bool) {
	if len(add)+len(remove) == 0 {
		return false, true
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	// A command per channel: shard channels of different slots can't share one, and each has its own answer.
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
		if err := r.Error(); err != nil && i < len(add) { // a slot that has moved away takes its subscriptions along
			refused = true
			f.refuse(add[i], err)
		}
	}
	return refused, true
}

// refuse records that the node does not serve a channel: its slot has moved, or the ACL forbids it. The others on
// the connection hear nothing of it.
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

// retry asks again for what the node has refused.
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

// changed hears from the server what it has subscribed and unsubscribed, by our wish or because a slot has moved.
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
			return // the end of an earlier subscription; the new one has been asked for, and comes after it
		}
		delete(f.asked, s.Channel)
		if ch != nil && ch.on == f { // the slot has moved
			f.hub.lost(ch)
			f.hub.source.Reroute()
			f.mark(s.Channel)
		}
	}
}

// down marks everything on the connection as lost.
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
