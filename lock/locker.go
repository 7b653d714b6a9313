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

// Locker acquires locks. Use [New]. One Locker per process and set of Options is enough: it renews
// all its locks with one timer and receives all notifications on one subscription (in a cluster:
// one per name with waiters). Its methods are safe for concurrent use. It ends with its client.
type Locker struct {
	core        *core.Core
	opt         Options
	defaults    *callSettings // from Options
	space       keys.Space
	clock       clock
	process     string // part of each owner's id: Options.Process and a random part
	ids         atomic.Uint64
	cluster     bool
	wakeChannel string // channel of this Locker's notifications, without a cluster
	renewer     *renewer
	wakeUps     *wakeUps
	heartbeats  *heartbeats
	stats       counters
	onLost      func(*lease, error)
	seed        maphash.Seed
	// by hash of the name: it had waiters a moment ago, so a fast script would fail
	recentlyBusy [256]atomic.Bool
	closed       atomic.Bool
	done         chan struct{} // closed with the client
	calls        calls

	marginSet   bool // Options.Margin was set by the user
	unconfirmed *unconfirmed
	lossLog     lossLog
	reported    struct{ publish, subscribe sync.Once } // missing rights are logged once
}

// New returns a [Locker]. Its error names the option that is out of range.
func New(client *redstart.Client, opts Options) (*Locker, error) {
	if client == nil {
		return nil, errors.New("lock: new: the client is nil")
	}

	ownMargin := opts.Margin != 0
	opts, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}

	c := clientcore.Of(client)
	space, err := c.Keys("lock", "")
	if err != nil {
		return nil, fmt.Errorf("lock: new: %w", err)
	}

	random := strings.ToLower(rand.Text()[:13])
	l := &Locker{
		core: c, opt: opts, marginSet: ownMargin, space: space, clock: newClock(c.Time()), process: opts.Process + "~" + random,
		done: make(chan struct{}), seed: maphash.MakeSeed(), calls: calls{idle: make(chan struct{})},
	}

	l.defaults = &callSettings{ttl: opts.TTL, margin: opts.Margin, wait: opts.Wait, permits: 1}
	l.defaults.encode(opts.MinReplicas)
	addr, known := c.Owner(0)
	l.cluster = !known || addr != ""
	l.wakeChannel = space.Sibling("", "wake."+random)
	l.wakeUps = newWakeUps(c, l.reportSubscribeDenied)
	l.heartbeats = newHeartbeats(l)
	l.unconfirmed = newUnconfirmed(l)
	l.lossLog.locker = l
	l.onLost = l.lost
	l.renewer = newRenewer(l.clock, c.Time())
	l.renewer.renew = l.renew
	l.renewer.countRenewal = func() { l.stats.renewals.Add(1) }
	l.renewer.spawn = c.Group().Go
	if !c.Group().Go("renewal of locks", l.renewer.run) {
		return nil, fmt.Errorf("lock: new: %w: the client is closed", redstart.ErrUnavailable)
	}

	c.OnClose(l.close)
	c.OnMetrics(l.metrics)
	return l, nil
}

// Acquire acquires the lock of a name. While another holder has the lock, Acquire waits in the
// lock's queue. Waiters get the lock in order of arrival, and the release notifies the first (K6).
// If the lock is free, Acquire takes one round trip. A waiter needs no connection and no commands
// of its own.
//
// Errors: [ErrNotAcquired] after [Options.Wait]; ErrNotAcquired joined with ctx's error if ctx ends
// first; [ErrNotReplicated]; the classes of package redstart. After an error, the caller has
// nothing to release: the Locker releases in the background what a call without an answer may have
// acquired (K4).
func (l *Locker) Acquire(ctx context.Context, name string, opts ...CallOption) (*Lock, error) {
	h, err := l.plain(name, opts)
	if err != nil {
		return nil, err
	}
	return l.acquire(ctx, h)
}

// TryAcquire acquires the lock of a name if the lock is free and has no waiters. Otherwise it
// returns [ErrNotAcquired]. It takes one round trip.
func (l *Locker) TryAcquire(ctx context.Context, name string, opts ...CallOption) (*Lock, error) {
	h, err := l.plain(name, opts)
	if err != nil {
		return nil, err
	}
	return l.tryAcquire(ctx, h)
}

// Do acquires the lock of a name, calls fn, and releases the lock. The context of fn derives from
// ctx. It ends with cause [ErrLost] when the lock is lost. Do returns the error of
// [Locker.Acquire], or fn's error. If the lock was lost before fn returned, fn's error is joined
// with ErrLost. If fn panics, Do releases the lock and the panic continues.
func (l *Locker) Do(ctx context.Context, name string, fn func(ctx context.Context, held *Lock) error, opts ...CallOption) error {
	held, err := l.Acquire(ctx, name, opts...)
	if err != nil {
		return err
	}
	_, err = held.do(ctx, fn)
	return err
}

// plain returns a Lock for a name. The Lock is not acquired yet.
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

// acquire acquires a Lock that plain or a Resource returned.
func (l *Locker) acquire(ctx context.Context, h *Lock) (*Lock, error) {
	return l.observed(ctx, "acquire", func(traced context.Context) (*Lock, error) {
		if !l.calls.enter() {
			return nil, errClosing("acquire", h.lease.target)
		}
		defer l.calls.leave()

		won, err := l.acquireTarget(traced, &h.lease)
		if won.waited > 0 {
			l.core.Record(traced, l.operation("acquire"), observe.Wait, won.waited)
		}
		if err != nil {
			return nil, err
		}
		return l.hold(ctx, h, won)
	})
}

// tryAcquire is acquire without a wait.
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

// observed runs one operation in a span. The context of the lock derives from the caller's context
// and not from the span's context, because the span ends with the operation.
func (l *Locker) observed(ctx context.Context, verb string, do func(context.Context) (*Lock, error)) (*Lock, error) {
	if !l.core.Observed() {
		return do(ctx)
	}
	ctx, end := l.core.Start(ctx, l.operation(verb))
	lk, err := do(ctx)
	if errors.Is(err, ErrNotAcquired) {
		end(nil) // a held lock is an answer and not a failure
	} else {
		end(err)
	}
	return lk, err
}

func (l *Locker) operation(verb string) observe.Operation {
	return observe.Operation{Pattern: "lock", Name: l.opt.Name, Verb: verb}
}

// reportSubscribeDenied logs once that this user may not subscribe to notifications.
func (l *Locker) reportSubscribeDenied(err error) {
	l.reported.subscribe.Do(func() {
		l.core.Logger().Warn("redstart: waiters for locks poll, because this user may not subscribe to the channels of notifications",
			"locker", l.opt.Name, "channel", l.space.Sibling("*", "wake.*"), "error", err)
	})
}

// reportPublishDenied logs once that this user may not publish notifications.
func (l *Locker) reportPublishDenied() {
	l.reported.publish.Do(func() {
		l.core.Logger().Warn("redstart: waiters for locks poll, because this user may not publish on the channels of notifications",
			"locker", l.opt.Name, "missing", l.core.PublishCommand(context.Background()), "channel",
			l.space.Sibling("*", "wake.*"))
	})
}
