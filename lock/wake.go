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
	subscribeTimeout  = 2 * time.Second       // for one attempt
	subscribePause    = 50 * time.Millisecond // after the first attempt; doubled up to
	subscribePauseMax = 5 * time.Second       // this
	subscribeDenied   = 30 * time.Second      // after an attempt that the server denied
	idleChannelFor    = 10 * time.Second      // how long a channel without waiters stays subscribed
	idleChannelsMax   = 64                    // how many of them
)

// wakes hands wake-ups to waiters. A message is the id of the waiter that a lock was passed to, the token, and when that was
// by the server's clock.
type wakeUps struct {
	core     *core.Core
	onDenied func(err error) // reports that this user may not subscribe
	pool     sync.Pool       // of *waiter; not of the process, because a channel must not leave its testing/synctest bubble

	mu       sync.Mutex
	waiters  map[string]*waiter
	channels map[string]*channel
	idle     int // channels without waiters
}

type waiter struct {
	id      string
	wake    chan handoff // holds one
	channel *channel
	index   int // in on.waiters
}

// passed is what a message says. The zero value says nothing but that it may be our turn: ask.
type handoff struct {
	token int64
	at    int64 // µs of the server's clock
}

// parse reads a message. What it can't read is still a reason to ask.
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

// channel is one subscription, kept for a while after its last waiter has left.
type channel struct {
	name         string
	waiters      []*waiter // in no order
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

// expect makes an id known, so that no wake-up for it is missed from now on.
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

// forget ends expect and listen.
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

// listen sees to it that the waiter's channel is subscribed. It does not wait for that: once it is, the waiter is woken
// to ask again, because it may have missed its turn.
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

// open subscribes, trying again while a caller waits: after a pause that doubles, and after a long one when this user may
// not subscribe. Until then the waiters of the channel poll.
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

// message wakes the waiter that is named. Called from a connection's reader.
func (u *wakeUps) receive(text string) {
	id, h := parse(text)
	u.mu.Lock()
	defer u.mu.Unlock()
	w := u.waiters[id]
	if w == nil {
		return
	}
	select {
	case <-w.wake: // says less, or is older
	default:
	}
	w.wake <- h // there is room: all who send do so under the lock
}

// all wakes those who wait on a channel: messages may have been missed.
func (u *wakeUps) wakeAll(ch *channel) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, w := range ch.waiters {
		w.wakeWithoutHandoff()
	}
}

// ask wakes waiters to ask again.
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

// sweep drops channels that nobody has waited on for a while, or that are too many. The caller closes them
// when it has let go of the lock: the hub calls message under its own.
func (u *wakeUps) sweep() (surplus []*hub.Subscription) {
	if u.idle <= 1 {
		return nil
	}
	now := time.Now()
	for _, ch := range u.channels {
		if len(ch.waiters) == 0 && ch.subscription != nil && (u.idle > idleChannelsMax || now.Sub(ch.idleSince) > idleChannelFor) {
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
