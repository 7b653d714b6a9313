package lock

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"hash/maphash"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/internal/core"
	"github.com/redstart-go/redstart/internal/keys"
	"github.com/redstart-go/redstart/observe"
)

// Locker takes locks. One per process and set of Options is enough: it renews all its locks with one timer and hears
// of all wake-ups on one subscription (in a cluster: one per name that is waited for). Its methods are safe for
// concurrent use. It ends with its client.
type Locker struct {
	core    *core.Core
	opt     Options
	args    arguments
	space   keys.Space
	clock   clock
	process string // this Locker in owners' ids
	ids     atomic.Uint64
	cluster bool
	home    string // our channel of wake-ups, outside clusters
	keeper  *keeper
	wakes   *wakes
	orphans *orphans
	stats   counters
	seed    maphash.Seed
	busy    [256]atomic.Bool // names, by hash, that were waited for lately: to ask with the short script first is in vain
	closed  atomic.Bool
	done    chan struct{} // closed with the client
}

// New returns a Locker. Errors name the option that is out of range.
func New(client *redstart.Client, opts Options) (*Locker, error) {
	if client == nil {
		return nil, errors.New("lock: the client is nil")
	}
	opts, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	c := client.Core()
	space, err := c.Keys("lock", "")
	if err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}
	l := &Locker{core: c, opt: opts, args: opts.arguments(), space: space, clock: newClock(), process: strings.ToLower(rand.Text()[:13]), done: make(chan struct{}), seed: maphash.MakeSeed()}
	addr, known := c.Owner(0)
	l.cluster = !known || addr != ""
	l.home = space.Sibling("", "wake."+l.process)
	l.wakes = newWakes(c)
	l.orphans = newOrphans(l)
	l.keeper = newKeeper(l.clock, opts.TTL, opts.Margin)
	l.keeper.renew = l.renew
	l.keeper.renewal = func() { l.stats.renewals.Add(1) }
	l.keeper.spawn = c.Group().Go
	if !c.Group().Go("renewal of locks", l.keeper.run) {
		return nil, fmt.Errorf("lock: %w: the client is closed", redstart.ErrUnavailable)
	}
	c.OnClose(l.close)
	c.OnMetrics(l.metrics)
	return l, nil
}

// Acquire takes the lock of that name, waiting its turn while somebody else holds it: first come, first served,
// woken by the release (K6). One round trip when the lock is free. It costs no connection, and one command per second, to wait.
//
// Errors: ErrNotAcquired after Options.Wait; that and ctx's error if ctx ends first; ErrNotReplicated;
// redstart.ErrUnavailable and the other classes. Whatever the error is, nothing stays behind: what may have been
// taken without an answer is given back in the background (K4).
func (l *Locker) Acquire(ctx context.Context, name string) (*Lock, error) {
	t, err := l.target(alone, name, 0)
	if err != nil {
		return nil, err
	}
	return l.observed(ctx, "acquire", func(ctx context.Context) (*Lock, error) { return l.acquire(ctx, t, l.newID(alone)) })
}

// TryAcquire takes the lock of that name if it is free and nobody waits for it, else it returns ErrNotAcquired: one round trip.
func (l *Locker) TryAcquire(ctx context.Context, name string) (*Lock, error) {
	t, err := l.target(alone, name, 0)
	if err != nil {
		return nil, err
	}
	return l.observed(ctx, "try", func(ctx context.Context) (*Lock, error) { return l.try(ctx, t, l.newID(alone)) })
}

// Do acquires the lock, calls fn and releases. Fn's context derives from ctx and ends, cause ErrLost, when the lock
// is lost. Do returns fn's error, joined with ErrLost if the lock was lost before fn returned, or the error of Acquire.
// If fn panics the lock is released and the panic goes on.
func (l *Locker) Do(ctx context.Context, name string, fn func(ctx context.Context, held *Lock) error) error {
	held, err := l.Acquire(ctx, name)
	if err != nil {
		return err
	}
	return held.do(ctx, fn)
}

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

// try asks once.
func (l *Locker) try(ctx context.Context, t *target, id string) (*Lock, error) {
	if ctx.Err() != nil {
		return nil, fmt.Errorf("lock: try %s: %w", shown(t.name), because(ctx))
	}
	sent := l.clock()
	got, settled, err := l.take(ctx, t, id)
	if err == nil && !settled {
		sent = l.clock()
		got, err = l.ask(ctx, t, id, false, 0)
	}
	if err != nil {
		l.doubt(err, t, id)
		return nil, fmt.Errorf("lock: try %s: %w", shown(t.name), err)
	}
	if got.token == 0 {
		l.stats.refused.Add(1)
		return nil, fmt.Errorf("%w: %s is held by another", ErrNotAcquired, shown(t.name))
	}
	return l.own(ctx, id, given{token: got.token, since: sent}, t)
}

// answer of an acquire script.
type answer struct {
	token int64         // > 0: it is ours
	soon  time.Duration // else: when the present lease ends
	age   time.Duration // how long ago it was passed to us, if it was
	now   int64         // else: the server's clock, µs
}

// take asks with the short script, which knows the answer unless somebody waits or a lease has ended.
func (l *Locker) take(ctx context.Context, t *target, id string) (got answer, settled bool, err error) {
	if t.kind != alone {
		return answer{}, false, nil
	}
	msg, err := l.core.Eval(ctx, takeScript, []string{t.state}, []string{id, l.args.ttl, l.args.kept})
	if err != nil {
		return answer{}, false, err
	}
	n, err := msg.AsInt64()
	switch {
	case err != nil:
		return answer{}, false, fmt.Errorf("%w: %w", redstart.ErrCorrupt, err)
	case n > 0:
		return answer{token: n}, true, nil
	}
	return answer{soon: time.Duration(-n) * time.Millisecond}, n < 0, nil
}

func (l *Locker) ask(ctx context.Context, t *target, id string, queued bool, waited time.Duration) (answer, error) {
	msg, err := l.core.Eval(ctx, t.family.acquire, l.keys(t), l.acquireArgs(t, id, queued, waited.Microseconds()))
	if err != nil {
		return answer{}, err
	}
	if msg.IsArray() {
		pair, err := msg.AsIntSlice()
		if err != nil || len(pair) != 2 {
			return answer{}, fmt.Errorf("%w: a script answered %d numbers", redstart.ErrCorrupt, len(pair))
		}
		if pair[0] < 0 {
			return answer{soon: time.Duration(-pair[0]) * time.Millisecond, now: pair[1]}, nil
		}
		return answer{token: pair[0], age: time.Duration(pair[1]) * time.Microsecond}, nil
	}
	n, err := msg.AsInt64()
	if err != nil {
		return answer{}, fmt.Errorf("%w: %w", redstart.ErrCorrupt, err)
	}
	if n <= 0 {
		return answer{}, fmt.Errorf("%w: a script answered %d", redstart.ErrCorrupt, n)
	}
	return answer{token: n}, nil
}

// doubt has an id freed unless it is certain that the server knows nothing of it.
func (l *Locker) doubt(err error, targets *target, id string) {
	if errors.Is(err, redstart.ErrUnavailable) || errors.Is(err, redstart.ErrDenied) || errors.Is(err, redstart.ErrFull) {
		return // not executed
	}
	l.orphans.free(id, 0, targets)
}

// own makes the Lock of what the server gave to id.
func (l *Locker) own(ctx context.Context, id string, won given, targets ...*target) (*Lock, error) {
	if l.opt.MinReplicas > 0 {
		if err := l.replicate(ctx, targets, id); err != nil {
			l.orphans.free(id, won.token, targets...)
			return nil, fmt.Errorf("lock: acquire %s: %w", shown(targets[0].name), err)
		}
	}
	ls := &lease{id: id, token: won.token, targets: targets, node: l.node(targets[0]), begun: won.since, clock: l.clock, place: -1}
	ls.onLost = l.lost
	lk := &Lock{locker: l, lease: ls}
	lk.ctx, _ = ls.context(context.WithoutCancel(ctx))
	l.keeper.add(ls, won.since, won.brief, l.opt.MaxHold)
	l.stats.acquired.Add(1)
	if ls.check(); ls.status.Load() == lost {
		// The answer took so long that the lease may be over.
		return nil, fmt.Errorf("lock: acquire %s: %w", shown(targets[0].name), errLapsed)
	}
	if l.closed.Load() {
		ls.lose(errClosed)
		return nil, fmt.Errorf("lock: acquire %s: %w: the client is closed", shown(targets[0].name), redstart.ErrUnavailable)
	}
	return lk, nil
}

// lost is called once for each lease that was lost, after its context has ended.
func (l *Locker) lost(ls *lease, why error) {
	l.keeper.remove(ls)
	l.stats.lost.Add(1)
	l.stats.held(l.clock().mono - ls.begun.mono)
	if why == errMaxHold {
		return // its holder is told, and has the rest of the lease to end; then Release frees it, or it lapses
	}
	if why != errGone {
		l.orphans.free(ls.id, ls.token, ls.targets...)
	}
	l.core.Logger().Warn("redstart: "+why.Error(), "locker", l.opt.Name, "lock", ls.targets[0].name, "token", ls.token)
}

// renew asks the server to extend leases, all of one node, in one pipeline.
func (l *Locker) renew(leases []*lease) []verdict {
	verdicts := make([]verdict, len(leases))
	var alones, shareds []core.Call
	var aloneOf, sharedOf []int
	for i, ls := range leases {
		verdicts[i] = renewed
		for _, t := range ls.targets {
			if t.family == &mutex {
				alones, aloneOf = append(alones, l.renewCall(t, ls.id)), append(aloneOf, i)
			} else {
				shareds, sharedOf = append(shareds, l.renewCall(t, ls.id)), append(sharedOf, i)
			}
		}
	}
	ctx := l.core.Group().Context()
	for _, part := range []struct {
		family *family
		calls  []core.Call
		of     []int
	}{{&mutex, alones, aloneOf}, {&shared, shareds, sharedOf}} {
		for start := 0; start < len(part.calls); start += chunk {
			end := min(start+chunk, len(part.calls))
			for j, r := range l.core.EvalMulti(ctx, part.family.renew, part.calls[start:end]) {
				i := part.of[start+j]
				verdicts[i] = min(verdicts[i], verdictOf(r.Get()))
			}
		}
	}
	return verdicts
}
