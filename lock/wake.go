package lock

import (
	"context"
	"errors"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redstart-go/redstart/internal/core"
	"github.com/redstart-go/redstart/internal/fault"
	"github.com/redstart-go/redstart/internal/hub"
)

const (
	subscribeTimeout = 2 * time.Second // of one attempt
	// pause after the first attempt; it doubles after each
	subscribePause    = 50 * time.Millisecond
	subscribePauseMax = 5 * time.Second  // maximum pause
	subscribeDenied   = 30 * time.Second // pause after the server denied the subscription
	idleChannelFor    = 10 * time.Second // a channel without waiters stays subscribed for this time
	idleChannelsMax   = 64               // maximum number of channels without waiters
)

// wakeUps notifies waiters. A message contains the id of the waiter that the lock was handed to,
// the token, and the time of the hand-off by the server's clock.
type wakeUps struct {
	core     *core.Core
	onDenied func(err error) // called if this user may not subscribe
	// of *waiter; one per Locker, because a Go channel must not leave its testing/synctest bubble
	pool sync.Pool

	mu       sync.Mutex
	waiters  map[string]*waiter
	channels map[string]*channel
	idle     int // number of channels without waiters
}

type waiter struct {
	id      string
	wake    chan handoff // capacity 1
	channel *channel
	index   int // index in channel.waiters
}

// handoff is the content of a message. The zero value means that the waiter must ask the server.
type handoff struct {
	token int64
	at    int64 // time of the hand-off, µs of the server's clock
}

// parse parses a message. A malformed message is the zero handoff: the waiter asks the server.
func parse(message string) (id string, h handoff) {
	id, rest, _ := strings.Cut(message, " ")
	token, at, _ := strings.Cut(rest, " ")
	n, err := strconv.ParseInt(token, 10, 64)
	if err != nil {
		return id, handoff{}
	}
	began, err := strconv.ParseInt(at, 10, 64)
	if err != nil || n < 1 || began < 1 {
		return id, handoff{}
	}
	return id, handoff{n, began}
}

// channel is one subscription. It is kept for a while after its last waiter has left.
type channel struct {
	name         string
	waiters      []*waiter // in any order
	idleSince    time.Time
	opening      bool
	subscription *hub.Subscription
	dropped      bool
}

func (ch *channel) add(w *waiter) {
	w.channel, w.index = ch, len(ch.waiters)
	ch.waiters = append(ch.waiters, w)
}

func (ch *channel) remove(w *waiter) {
	last := len(ch.waiters) - 1
	ch.waiters[w.index] = ch.waiters[last]
	ch.waiters[w.index].index = w.index
	ch.waiters[last] = nil
	ch.waiters = ch.waiters[:last]
}

func newWakeUps(c *core.Core, deaf func(err error)) *wakeUps {
	return &wakeUps{core: c, onDenied: deaf, waiters: make(map[string]*waiter), channels: make(map[string]*channel)}
}

// register registers an id, so that none of its notifications is missed.
func (u *wakeUps) register(id string) *waiter {
	w, ok := u.pool.Get().(*waiter)
	if !ok {
		w = &waiter{wake: make(chan handoff, 1)}
	}
	w.id = id
	u.mu.Lock()
	u.waiters[id] = w
	u.mu.Unlock()
	return w
}

// unregister ends register and subscribe.
func (u *wakeUps) unregister(w *waiter) {
	u.mu.Lock()
	delete(u.waiters, w.id)
	var surplus []*hub.Subscription
	if ch := w.channel; ch != nil {
		if ch.remove(w); len(ch.waiters) == 0 {
			ch.idleSince = time.Now()
			u.idle++
			surplus = u.sweep()
		}
	}

	u.mu.Unlock()
	for _, sub := range surplus {
		sub.Close()
	}

	w.channel = nil
	select {
	case <-w.wake:
	default:
	}

	u.pool.Put(w)
}

// subscribe subscribes to the waiter's channel and does not wait for the subscription. When the
// subscription is confirmed, the waiter asks the server, because it may have missed its
// notification.
func (u *wakeUps) subscribe(w *waiter, name string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	ch := u.channels[name]
	if ch == nil {
		ch = &channel{name: name}
		u.channels[name] = ch
		u.idle++
	}

	if ch.add(w); len(ch.waiters) == 1 {
		u.idle--
	}

	if ch.subscription == nil && !ch.opening {
		ch.opening = u.core.Group().Go("subscription to wake-ups", func(ctx context.Context) { u.open(ctx, ch) })
	}
}

// open subscribes, and tries again while the channel has waiters. The pause between attempts
// doubles. If this user may not subscribe, the pause is long. Until the subscription is confirmed,
// the waiters of the channel poll.
func (u *wakeUps) open(ctx context.Context, ch *channel) {
	for pause := subscribePause; ; pause = min(2*pause, subscribePauseMax) {
		try, cancel := context.WithTimeout(ctx, subscribeTimeout)
		sub, err := u.core.Hub().Subscribe(try, ch.name, hub.Receiver{
			Message:  u.receive,
			Restored: func() { u.wakeAll(ch) },
		})
		cancel()
		u.mu.Lock()
		if err == nil && len(ch.waiters) > 0 {
			ch.subscription, ch.opening = sub, false
			u.mu.Unlock()
			u.wakeAll(ch)
			return
		}
		if len(ch.waiters) == 0 || ctx.Err() != nil {
			ch.opening = false
			if !ch.dropped {
				u.drop(ch)
			}
			u.mu.Unlock()
			if sub != nil {
				sub.Close()
			}
			return
		}
		u.mu.Unlock()

		if errors.Is(err, fault.ErrDenied) {
			u.onDenied(err)
			pause = subscribeDenied
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause/2 + rand.N(pause/2)):
		}
	}
}

// receive wakes the waiter that a message names. The reader of a connection calls it.
func (u *wakeUps) receive(text string) {
	id, h := parse(text)
	u.mu.Lock()
	defer u.mu.Unlock()
	w := u.waiters[id]
	if w == nil {
		return
	}

	select {
	case <-w.wake: // a zero or older hand-off
	default:
	}

	w.wake <- h // does not block: all senders hold the mutex
}

// wakeAll wakes the waiters of a channel, because messages may have been missed.
func (u *wakeUps) wakeAll(ch *channel) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, w := range ch.waiters {
		w.wakeWithoutHandoff()
	}
}

// wakeIDs wakes waiters, so that they ask the server.
func (u *wakeUps) wakeIDs(ids []string) {
	if len(ids) == 0 {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, id := range ids {
		if w := u.waiters[id]; w != nil {
			w.wakeWithoutHandoff()
		}
	}
}

func (w *waiter) wakeWithoutHandoff() {
	select {
	case w.wake <- handoff{}:
	default:
	}
}

// sweep removes channels without waiters, if they are idle for idleChannelFor or if there are too
// many. The caller closes the returned subscriptions after it has released the mutex, because the
// hub calls receive under its own mutex.
func (u *wakeUps) sweep() (surplus []*hub.Subscription) {
	if u.idle <= 1 {
		return nil
	}

	now := time.Now()
	for _, ch := range u.channels {
		if len(ch.waiters) == 0 && ch.subscription != nil &&
			(u.idle > idleChannelsMax || now.Sub(ch.idleSince) > idleChannelFor) {
			surplus = append(surplus, ch.subscription)
			u.drop(ch)
		}
	}

	return surplus
}

func (u *wakeUps) drop(ch *channel) {
	ch.dropped = true
	delete(u.channels, ch.name)
	if len(ch.waiters) == 0 {
		u.idle--
	}
}
