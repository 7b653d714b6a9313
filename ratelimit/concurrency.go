package ratelimit

import (
	"context"
	"crypto/rand"
	_ "embed"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/internal/clientcore"
	"github.com/redstart-go/redstart/internal/core"
	"github.com/redstart-go/redstart/internal/fault"
	"github.com/redstart-go/redstart/internal/keys"
	"github.com/redstart-go/redstart/internal/script"
	"github.com/redstart-go/redstart/observe"
)

//go:embed acquire.lua
var acquireLua string

var acquireScript = script.New(acquireLua)

// Concurrency limits how many units of work run at the same time, per key and over all processes.
// At most Limit permits are out. A permit that its holder neither extends nor releases expires
// after TTL, so a crashed process frees its permits. Use [NewConcurrency]. Its methods are safe for
// concurrent use.
//
// Concurrency refuses work while all permits are out. Use the semaphore of package lock for work
// that waits, or for holders that must know at once when a permit is lost.
type Concurrency struct {
	core  *core.Core
	name  string
	space keys.Space
	opt   ConcurrencyOptions

	granted, refused, degraded, lapsed atomic.Int64
}

// ConcurrencyOptions configure a [Concurrency]. Only Limit is required.
type ConcurrencyOptions struct {
	// Limit is how many permits of one key are out at most: from 1 to 100,000.
	Limit int64
	// TTL is how long a permit lasts without Extend. Default 30 s. If work runs longer without
	// Extend, one more unit of work may run next to it.
	TTL time.Duration
	// Outage is what happens while Redis does not answer. Default [FailOpen]: Acquire returns a
	// permit with Degraded set. [FailLocal] is refused, because a process cannot know how many
	// permits other processes hold.
	Outage Outage
}

// Permit is the right to run one unit of work. Release it after the work.
type Permit struct {
	limit *Concurrency
	key   string
	id    string
	state atomic.Int32
	// Degraded reports that Redis did not answer and FailOpen granted the permit. Only this process
	// knows the permit.
	Degraded bool
	// Remaining is how many permits were left after this one.
	Remaining int64
}

// NewConcurrency returns a [Concurrency]. Values with the same name and namespace share their
// permits. The name is from 1 to 128 bytes long.
func NewConcurrency(client *redstart.Client, name string, opts ConcurrencyOptions) (*Concurrency, error) {
	if client == nil {
		return nil, errors.New("ratelimit: NewConcurrency: the client is nil: use redstart.Open")
	}

	if name == "" {
		return nil, errNoName
	}

	if opts.Limit < 1 || opts.Limit > 100_000 {
		return nil, fmt.Errorf("ratelimit: ConcurrencyOptions.Limit is %d: it must be between 1 and 100000", opts.Limit)
	}

	if opts.TTL == 0 {
		opts.TTL = 30 * time.Second
	}

	if opts.TTL < time.Millisecond || opts.TTL > 24*time.Hour {
		return nil, fmt.Errorf("ratelimit: ConcurrencyOptions.TTL is %v: it must be between 1ms and 24h", opts.TTL)
	}

	if opts.Outage != FailOpen && opts.Outage != FailClosed {
		return nil, errors.New("ratelimit: ConcurrencyOptions.Outage must be FailOpen or FailClosed")
	}

	space, err := clientcore.Of(client).Keys("limit", name)
	if err != nil {
		return nil, fmt.Errorf("ratelimit: name: %w", err)
	}

	c := &Concurrency{core: clientcore.Of(client), name: name, space: space, opt: opts}
	c.core.OnMetrics(c.metrics)
	return c, nil
}

// Acquire acquires a permit of a key, which has at most 1,024 bytes. It takes one round trip and
// does not wait. If all permits are out, it returns a [*BusyError], which is [ErrBusy]. Other
// errors: ctx's error; redstart.ErrTooLarge for a longer key; with [FailClosed], the class of the
// failure of Redis.
func (c *Concurrency) Acquire(ctx context.Context, key string) (*Permit, error) {
	if len(key) > maxKey {
		return nil, fmt.Errorf("ratelimit: acquire: %w",
			fault.New(fault.ErrTooLarge, fmt.Errorf("the key is %d bytes long, the limit is %d",
				len(key), maxKey), "hash the key"))
	}

	ctx, end := c.core.Start(ctx, observe.Operation{Pattern: "ratelimit", Name: c.name, Verb: "acquire"})
	p, err := c.acquire(ctx, key)
	if errors.Is(err, ErrBusy) { // busy is an answer and not a failure
		end(nil)
	} else {
		end(err)
	}

	return p, err
}

func (c *Concurrency) acquire(ctx context.Context, key string) (*Permit, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("ratelimit: acquire: %w", err)
	}

	p := &Permit{limit: c, key: c.space.Sibling(key, "permits"), id: rand.Text() + ":" + decimal(c.opt.TTL.Microseconds())}
	left, err := c.eval(ctx, p, "new")
	switch {
	case err == nil && left >= 0:
		c.granted.Add(1)
		p.Remaining = left
		return p, nil
	case err == nil:
		c.refused.Add(1)
		return nil, &BusyError{RetryAfter: micros(-1 - left)}
	}

	if errors.Is(err, fault.ErrIndeterminate) {
		// The server may have granted the permit, so it is released.
		c.core.Group().Work("return of a permit", func(ctx context.Context) { _ = c.drop(ctx, p) })
	}

	// the end of the caller's context is not an outage
	if ctx.Err() != nil || c.opt.Outage == FailClosed {
		return nil, fmt.Errorf("ratelimit: acquire: %w", err)
	}

	c.degraded.Add(1)
	c.core.Degraded("ratelimit", c.name, c.opt.Outage.String(), err)
	p.Degraded = true
	return p, nil
}

func (c *Concurrency) eval(ctx context.Context, p *Permit, how string) (int64, error) {
	msg, err := c.core.Eval(ctx, acquireScript, []string{p.key},
		[]string{decimal(c.opt.Limit), decimal(c.opt.TTL.Microseconds()), p.id, how})
	if err != nil {
		return 0, err
	}
	left, err := msg.AsInt64()
	if err != nil {
		return 0, unreadable(msg.String())
	}
	return left, nil
}

const (
	held = iota
	released
)

// Extend extends the permit to TTL from now. It takes one round trip. If the permit has expired, it
// returns [ErrExpired]: other work may run in its place, so stop the work.
func (p *Permit) Extend(ctx context.Context) error {
	if p.state.Load() == released {
		return ErrExpired
	}

	if p.Degraded {
		return nil
	}

	left, err := p.limit.eval(ctx, p, "extend")
	if err != nil {
		return fmt.Errorf("ratelimit: extend: %w", err)
	}

	if left < 0 {
		p.limit.lapsed.Add(1)
		return ErrExpired
	}

	return nil
}

// Release releases the permit. It takes one round trip. If the permit had expired, Release returns
// [ErrExpired]. A second call returns nil. If ctx ends, the release continues in the background. If
// that fails too, the permit expires after TTL.
func (p *Permit) Release(ctx context.Context) error {
	if !p.state.CompareAndSwap(held, released) || p.Degraded {
		return nil
	}
	err := p.limit.drop(ctx, p)
	if err != nil && !errors.Is(err, ErrExpired) {
		p.limit.core.Group().Work("release of a permit", func(ctx context.Context) { _ = p.limit.drop(ctx, p) })
		return fmt.Errorf("ratelimit: release: %w", err)
	}
	return err
}

func (c *Concurrency) drop(ctx context.Context, p *Permit) error {
	msg, err := c.core.Do(ctx, core.Write("ZREM", p.key, p.id))
	if err != nil {
		return err
	}
	if n, err := msg.AsInt64(); err == nil && n == 0 {
		c.lapsed.Add(1)
		return ErrExpired
	}
	return nil
}

func (c *Concurrency) metrics(yield func(observe.Metric) bool) bool {
	for _, m := range []struct {
		outcome string
		n       *atomic.Int64
	}{{"granted", &c.granted}, {"refused", &c.refused}, {"degraded", &c.degraded}, {"lapsed", &c.lapsed}} {
		if !yield(observe.Metric{
			Name: "redstart.ratelimit.permits", Help: "Permits of a concurrency limit by outcome.", Unit: "1",
			Kind:   observe.Counter,
			Labels: []observe.Label{{Name: "limiter", Value: c.name}, {Name: "outcome", Value: m.outcome}},
			Value:  float64(m.n.Load()),
		}) {
			return false
		}
	}

	return true
}
