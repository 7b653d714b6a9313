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
	subscribeWait    = 2 * time.Second       // for one attempt
	subscribePause   = 50 * time.Millisecond // after the first attempt; doubled up to
	subscribeSlowest = 5 * time.Second       // this
	subscribeDenied  = 30 * time.Second      // after an attempt that the server denied
	lingerFor        = 10 * time.Second      // how long a channel without waiters stays subscribed
	lingerMax        = 64                    // how many of them
)

// wakes hands wake-ups to waiters. A message is the id of the waiter that a lock was passed to, the token, and when that was
// by the server's clock.
type wakes struct {
	core *core.Core
	deaf func(err error) // reports that this user may not subscribe
	pool sync.Pool       // of *waiter; not of the process, because a channel must not leave its testing/synctest bubble

	mu       sync.Mutex
	waiters  map[string]*waiter
	channels map[string]*channel
	idle     int // channels without waiters
}

type waiter struct {
	id   string
	wake chan passed // holds one
	on   *channel
	at   int // in on.waiters
}

// passed is what a message says. The zero value says nothing but that it may be our turn: ask.
type passed struct {
	token int64
	at    int64 // µs of the server's clock
}

// parse reads a message. What it can't read is still a reason to ask.
func parse(message string) (id string, p passed) {
	id, rest, _ := strings.Cut(message, " ")
	token, at, _ := strings.Cut(rest, " ")
	n, err := strconv.ParseInt(token, 10, 64)
	if err != nil {
		return id, passed{}
	}
	began, err := strconv.ParseInt(at, 10, 64)
	if err != nil || n < 1 || began < 1 {
		return id, passed{}
	}
	return id, passed{n, began}
}

// channel is one subscription, kept for a while after its last waiter has left.
type channel struct {
	name      string
	waiters   []*waiter // in no order
	idleSince time.Time
	opening   bool
	standing  *hub.Subscription
	dropped   bool
}

func (ch *channel) add(w *waiter) {
	w.on, w.at = ch, len(ch.waiters)
	ch.waiters = append(ch.waiters, w)
}

func (ch *channel) remove(w *waiter) {
	last := len(ch.waiters) - 1
	ch.waiters[w.at] = ch.waiters[last]
	ch.waiters[w.at].at = w.at
	ch.waiters[last] = nil
	ch.waiters = ch.waiters[:last]
}

func newWakes(c *core.Core, deaf func(err error)) *wakes {
	return &wakes{core: c, deaf: deaf, waiters: make(map[string]*waiter), channels: make(map[string]*channel)}
}

// expect makes an id known, so that no wake-up for it is missed from now on.
func (s *wakes) expect(id string) *waiter {
	w, ok := s.pool.Get().(*waiter)
	if !ok {
		w = &waiter{wake: make(chan passed, 1)}
	}
	w.id = id
	s.mu.Lock()
	s.waiters[id] = w
	s.mu.Unlock()
	return w
}

// forget ends expect and listen.
func (s *wakes) forget(w *waiter) {
	s.mu.Lock()
	delete(s.waiters, w.id)
	var surplus []*hub.Subscription
	if ch := w.on; ch != nil {
		if ch.remove(w); len(ch.waiters) == 0 {
			ch.idleSince = time.Now()
			s.idle++
			surplus = s.sweep()
		}
	}
	s.mu.Unlock()
	for _, sub := range surplus {
		sub.Close()
	}
	w.on = nil
	select {
	case <-w.wake:
	default:
	}
	s.pool.Put(w)
}

// listen sees to it that the waiter's channel is subscribed. It does not wait for that: once it is, the waiter is woken
// to ask again, because it may have missed its turn.
func (s *wakes) listen(w *waiter, name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ch := s.channels[name]
	if ch == nil {
		ch = &channel{name: name}
		s.channels[name] = ch
		s.idle++
	}
	if ch.add(w); len(ch.waiters) == 1 {
		s.idle--
	}
	if ch.standing == nil && !ch.opening {
		ch.opening = s.core.Group().Go("subscription to wake-ups", func(ctx context.Context) { s.open(ctx, ch) })
	}
}

// open subscribes, trying again while a caller waits: after a pause that doubles, and after a long one when this user may
// not subscribe. Until then the waiters of the channel poll.
func (s *wakes) open(ctx context.Context, ch *channel) {
	for pause := subscribePause; ; pause = min(2*pause, subscribeSlowest) {
		try, cancel := context.WithTimeout(ctx, subscribeWait)
		sub, err := s.core.Hub().Subscribe(try, ch.name, hub.Receiver{
			Message:  s.message,
			Restored: func() { s.all(ch) },
		})
		cancel()
		s.mu.Lock()
		if err == nil && len(ch.waiters) > 0 {
			ch.standing, ch.opening = sub, false
			s.mu.Unlock()
			s.all(ch)
			return
		}
		if len(ch.waiters) == 0 || ctx.Err() != nil {
			ch.opening = false
			if !ch.dropped {
				s.drop(ch)
			}
			s.mu.Unlock()
			if sub != nil {
				sub.Close()
			}
			return
		}
		s.mu.Unlock()

		if errors.Is(err, fault.ErrDenied) {
			s.deaf(err)
			pause = subscribeDenied
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause/2 + rand.N(pause/2)):
		}
	}
}

// message wakes the waiter that is named. Called from a connection's reader.
func (s *wakes) message(text string) {
	id, p := parse(text)
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.waiters[id]
	if w == nil {
		return
	}
	select {
	case <-w.wake: // says less, or is older
	default:
	}
	w.wake <- p // there is room: all who send do so under the lock
}

// all wakes those who wait on a channel: messages may have been missed.
func (s *wakes) all(ch *channel) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range ch.waiters {
		w.poke()
	}
}

// ask wakes waiters to ask again.
func (s *wakes) ask(ids []string) {
	if len(ids) == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range ids {
		if w := s.waiters[id]; w != nil {
			w.poke()
		}
	}
}

func (w *waiter) poke() {
	select {
	case w.wake <- passed{}:
	default:
	}
}

// sweep drops channels that nobody has waited on for a while, or that are too many. The caller closes them
// when it has let go of the lock: the hub calls message under its own.
func (s *wakes) sweep() (surplus []*hub.Subscription) {
	if s.idle <= 1 {
		return nil
	}
	now := time.Now()
	for _, ch := range s.channels {
		if len(ch.waiters) == 0 && ch.standing != nil && (s.idle > lingerMax || now.Sub(ch.idleSince) > lingerFor) {
			surplus = append(surplus, ch.standing)
			s.drop(ch)
		}
	}
	return surplus
}

func (s *wakes) drop(ch *channel) {
	ch.dropped = true
	delete(s.channels, ch.name)
	if len(ch.waiters) == 0 {
		s.idle--
	}
}
