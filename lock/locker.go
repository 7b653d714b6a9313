package lock

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"hash/maphash"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/internal/clientcore"
	"github.com/redstart-go/redstart/internal/core"
	"github.com/redstart-go/redstart/internal/keys"
	"github.com/redstart-go/redstart/observe"
)

// Locker takes locks. One per process and set of Options is enough: it renews all its locks with one timer and hears
// of all wake-ups on one subscription (in a cluster: one per name that is waited for). Its methods are safe for
// concurrent use. It ends with its client.
type Locker struct {
	core         *core.Core
	opt          Options
	defaults     *callSettings // of the Options
	space        keys.Space
	clock        clock
	process      string // this Locker in owners' ids
	ids          atomic.Uint64
	cluster      bool
	wakeChannel  string // our channel of wake-ups, outside clusters
	renewer      *renewer
	wakeUps      *wakeUps
	heartbeats   *heartbeats
	stats        counters
	onLost       func(*lease, error)
	seed         maphash.Seed
	recentlyBusy [256]atomic.Bool // names, by hash, that were waited for lately: to ask with the short script first is in vain
	closed       atomic.Bool
	done         chan struct{} // closed with the client
	calls        calls

	marginSet   bool // Options.Margin is not the default
	unconfirmed *unconfirmed
	lossLog     lossLog
	reported    struct{ publish, subscribe sync.Once } // rights, reported once
}

// New returns a Locker. Errors name the option that is out of range.
func New(client *redstart.Client, opts Options) (*Locker, error) {
	if client == nil {
		return nil, errors.New("lock: the client is nil")
	}
	ownMargin := opts.Margin != 0
	opts, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	c := clientcore.Of(client)
	space, err := c.Keys("lock", "")
	if err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}

	random := strings.ToLower(rand.Text()[:13])
	l := &Locker{
		core: c, opt: opts, marginSet: ownMargin, space: space, clock: newClock(), process: opts.Process + "~" + random,
		done: make(chan struct{}), seed: maphash.MakeSeed(), calls: calls{none: make(chan struct{})},
	}
	l.defaults = &callSettings{ttl: opts.TTL, margin: opts.Margin, wait: opts.Wait, weight: 1}
	l.defaults.encode(opts.MinReplicas)
	addr, known := c.Owner(0)
	l.cluster = !known || addr != ""
	l.wakeChannel = space.Sibling("", "wake."+random)
	l.wakeUps = newWakeUps(c, l.reportSubscribeDenied)
	l.heartbeats = newHeartbeats(l)
	l.unconfirmed = newUnconfirmed(l)
	l.lossLog.locker = l
	l.onLost = l.lost
	l.renewer = newRenewer(l.clock)
	l.renewer.renew = l.renew
	l.renewer.countRenewal = func() { l.stats.renewals.Add(1) }
	l.renewer.spawn = c.Group().Go
	if !c.Group().Go("renewal of locks", l.renewer.run) {
		return nil, fmt.Errorf("lock: %w: the client is closed", redstart.ErrUnavailable)
	}
	c.OnClose(l.close)
	c.OnMetrics(l.metrics)
	return l, nil
}

// Acquire takes the lock of that name, waiting its turn while somebody else holds it: first come, first served,
// woken by the release (K6). One round trip when the lock is free. To wait costs no connection and no commands of its own.
//
// Errors: ErrNotAcquired after Options.Wait; that and ctx's error if ctx ends first; ErrNotReplicated;
// redstart.ErrUnavailable and the other classes. Whatever the error is, nothing stays behind: what may have been
// taken without an answer is given back in the background (K4).
func (l *Locker) Acquire(ctx context.Context, name string, opts ...CallOption) (*Lock, error) {
	h, err := l.plain(name, opts)
	if err != nil {
		return nil, err
	}
	return l.acquire(ctx, h)
}

// TryAcquire takes the lock of that name if it is free and nobody waits for it, else it returns ErrNotAcquired: one round trip.
func (l *Locker) TryAcquire(ctx context.Context, name string, opts ...CallOption) (*Lock, error) {
	h, err := l.plain(name, opts)
	if err != nil {
		return nil, err
	}
	return l.tryAcquire(ctx, h)
}

// Do acquires the lock, calls fn and releases. Fn's context derives from ctx and ends, cause ErrLost, when the lock
// is lost. Do returns fn's error, joined with ErrLost if the lock was lost before fn returned, or the error of Acquire.
// If fn panics the lock is released and the panic goes on.
func (l *Locker) Do(ctx context.Context, name string, fn func(ctx context.Context, held *Lock) error, opts ...CallOption) error {
	held, err := l.Acquire(ctx, name, opts...)
	if err != nil {
		return err
	}
	_, err = held.do(ctx, fn)
	return err
}

// plain returns a Lock of a name, to be acquired.
func (l *Locker) plain(name string, opts []CallOption) (*Lock, error) {
	t, err := l.target(kindMutex, name, 0)
	if err != nil {
		return nil, err
	}
	c, err := l.settings(&t, opts)
	if err != nil {
		return nil, err
	}
	h := &Lock{locker: l, plain: t}
	h.lease.init(l, &h.plain, c)
	return h, nil
}

// acquire acquires a Lock that plain or a Resource has made.
func (l *Locker) acquire(ctx context.Context, h *Lock) (*Lock, error) {
	return l.observed(ctx, "acquire", func(traced context.Context) (*Lock, error) {
		if !l.calls.enter() {
			return nil, errClosing("acquire", h.lease.target)
		}
		defer l.calls.leave()

		won, err := l.acquireTarget(traced, &h.lease)
		if err != nil {
			return nil, err
		}
		return l.hold(ctx, h, won)
	})
}

// tryAcquire is acquire without waiting.
func (l *Locker) tryAcquire(ctx context.Context, h *Lock) (*Lock, error) {
	return l.observed(ctx, "try", func(traced context.Context) (*Lock, error) {
		if !l.calls.enter() {
			return nil, errClosing("try", h.lease.target)
		}
		defer l.calls.leave()

		won, err := l.try(traced, &h.lease)
		if err != nil {
			return nil, err
		}
		return l.hold(ctx, h, won)
	})
}

// observed runs one operation in a span. The lock's Context descends from the caller's context, not from the span's,
// which ends when the operation does.
func (l *Locker) observed(ctx context.Context, verb string, do func(context.Context) (*Lock, error)) (*Lock, error) {
	if !l.core.Observed() {
		return do(ctx)
	}
	ctx, end := l.core.Start(ctx, observe.Operation{Pattern: "lock", Name: l.opt.Name, Verb: verb})
	lk, err := do(ctx)
	if errors.Is(err, ErrNotAcquired) {
		end(nil) // an answer
	} else {
		end(err)
	}
	return lk, err
}

// deaf reports once that this user may not subscribe to wake-ups.
func (l *Locker) reportSubscribeDenied(err error) {
	l.reported.subscribe.Do(func() {
		l.core.Logger().Warn("redstart: waiters for locks poll, because this user may not subscribe to the channels of wake-ups",
			"locker", l.opt.Name, "channel", l.space.Sibling("*", "wake.*"), "error", err)
	})
}

// mute reports once that this user may not publish wake-ups.
func (l *Locker) reportPublishDenied() {
	l.reported.publish.Do(func() {
		l.core.Logger().Warn("redstart: waiters for locks poll, because this user may not publish on the channels of wake-ups",
			"locker", l.opt.Name, "missing", l.core.PublishCommand(context.Background()), "channel", l.space.Sibling("*", "wake.*"))
	})
}
