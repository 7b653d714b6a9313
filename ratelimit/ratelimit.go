package ratelimit

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/internal/batcher"
	"github.com/redstart-go/redstart/internal/clientcore"
	"github.com/redstart-go/redstart/internal/core"
	"github.com/redstart-go/redstart/internal/fault"
	"github.com/redstart-go/redstart/internal/keys"
	"github.com/redstart-go/redstart/observe"
)

// Limiter limits how often something happens, per key and over all processes. Use [New]. Its
// methods are safe for concurrent use.
type Limiter struct {
	*shared
	plan   *plan
	single *batcher.Batcher // groups calls for one token; nil: the script takes one key only
	leases *leases          // nil: no leasing
	queues *queues          // queues of Wait
}

// shared is what a limiter and its plans (With) have in common.
type shared struct {
	core     *core.Core
	name     string
	opt      Options
	space    keys.Space
	denied   *deniedKeys
	counters *counters
	local    *local // nil without FailLocal
	holders  heldLeases
	charges  atomic.Int64 // charges of responses in flight
}

// Result is the answer for one request.
type Result struct {
	// Allowed reports whether the request may proceed. If so, it was charged.
	Allowed bool
	// Rule is the name of the binding rule. If rules refuse, it is the one that refuses longest. If
	// all admit, it is the one with the least remaining.
	Rule string
	// Limit is the binding rule's tokens per window, and Remaining is how many more it would admit
	// now. If no rule has a limit, they are [Unlimited] and math.MaxInt64.
	Limit, Remaining int64
	// RetryAfter is when the same request will be admitted if no other request is charged in the
	// meantime (R3). It is 0 if allowed, and [Never] if a rule's limit is 0. A refusal from memory
	// (R4) may be 10 ms too long if it is a second or more.
	RetryAfter time.Duration
	// NextAfter is when more than Remaining will be available. It is 0 if all tokens are available,
	// or if the time is not known: after a refusal from memory (R4) or of several tokens.
	NextAfter time.Duration
	// ResetAfter is when the rule will have all its tokens again.
	ResetAfter time.Duration
	// Degraded reports that Redis did not answer and [Options.Outage] decided.
	Degraded bool
}

// New returns a [Limiter]. Limiters with the same name and namespace share their counts, in all
// processes. The name is from 1 to 128 bytes long, and it is visible in metrics. Errors name the
// invalid option.
func New(client *redstart.Client, name string, opts Options) (*Limiter, error) {
	if client == nil {
		return nil, errors.New("ratelimit: new: the client is nil: use redstart.Open")
	}

	if name == "" {
		return nil, errNoName
	}

	opts, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}

	p, err := newPlan(opts.Algorithm, opts.Rules)
	if err != nil {
		return nil, err
	}

	lease, err := opts.leaseFor(p)
	if err != nil {
		return nil, err
	}

	c := clientcore.Of(client)
	space, err := c.Keys("limit", name)
	if err != nil {
		return nil, fmt.Errorf("ratelimit: new: name: %w", err)
	}

	s := &shared{core: c, name: name, opt: opts, space: space, counters: newCounters()}
	s.denied = newDeniedKeys(c.Clock(), s.counters)
	if opts.Outage == FailLocal {
		s.local = newLocal(opts.LocalShare, opts.MaxLocalKeys)
	}

	c.OnMetrics(s.metrics)
	c.OnClose(s.holders.close)
	return s.with(p, lease), nil
}

// With returns a limiter with other rules for the same keys: for example another plan of the same
// service, or a route with its own rules. All other options are the options of l.
//
// Equal rules of both limiters share their count. Rules that differ in any field count separately.
// Reset of a key resets it in every plan. A key keeps the counts of the 128 rules of other plans
// that were charged last. Create the plans once and not per request.
func (l *Limiter) With(rules ...Rule) (*Limiter, error) {
	p, err := newPlan(l.opt.Algorithm, rules)
	if err != nil {
		return nil, err
	}
	lease, err := l.opt.leaseFor(p)
	if err != nil {
		return nil, err
	}
	return l.shared.with(p, lease), nil
}

func (s *shared) with(p *plan, lease Lease) *Limiter {
	for i := range p.rules {
		p.rules[i].refused = s.counters.rule(p.rules[i].Name)
	}
	l := &Limiter{shared: s, plan: p}
	l.single = l.newBatcher(1)
	if lease.Batch > 0 {
		l.leases = newLeases(l, lease)
	}
	l.queues = newQueues(l)
	l.register()
	return l
}

// newBatcher returns a batcher for charges of n tokens, or nil if the script takes one key only.
func (l *Limiter) newBatcher(n int64) *batcher.Batcher {
	if !l.plan.algorithm.many {
		return nil
	}
	return batcher.New(l.core, l.plan.algorithm.charge, l.plan.argsFor(n), len(l.plan.rules))
}

// Allow asks for one token of key. It is [Limiter.AllowN] with n = 1.
func (l *Limiter) Allow(ctx context.Context, key string) (Result, error) {
	return l.AllowN(ctx, key, 1)
}

// AllowN asks for n tokens of key, which has at most 1,024 bytes. If every rule has n tokens, all
// rules are charged; otherwise none is (R2). A refusal is not an error.
//
// It takes one round trip. It takes none if the key is denied from memory (R4) or leased, if a
// rule's limit is 0, or if no rule has a limit. Errors: [ErrCost]; redstart.ErrTooLarge for a
// longer key; ctx's error if ctx ended; with [FailClosed], the class of the failure of Redis.
func (l *Limiter) AllowN(ctx context.Context, key string, n int64) (Result, error) {
	if !l.core.Observed() {
		if n != 1 || l.plan.verdict != asks {
			return l.allow(ctx, key, n, nil)
		}
		// the shortest path, for floods of refused requests
		if e, now := l.denied.find(l.plan, key, 1); e != nil {
			return e.result(now), nil
		}
		return l.allowNotDenied(ctx, key, 1, nil)
	}

	ctx, end := l.core.Start(ctx, observe.Operation{Pattern: "ratelimit", Name: l.name, Verb: "allow"})
	result, err := l.allow(ctx, key, n, nil)
	end(err)

	return result, err
}

// allowSeen is AllowN for the response fields, which list every rule.
func (l *Limiter) allowSeen(ctx context.Context, key string, n int64) (Result, *seen, error) {
	seen := &seen{rules: make([]status, len(l.plan.rules))}
	ctx, end := l.core.Start(ctx, observe.Operation{Pattern: "ratelimit", Name: l.name, Verb: "allow"})
	result, err := l.allow(ctx, key, n, seen)
	end(err)
	return result, seen, err
}

// allow is AllowN without a span. If seen is not nil, it receives what Redis answered for every
// rule.
func (l *Limiter) allow(ctx context.Context, key string, n int64, seen *seen) (Result, error) {
	if n != 1 {
		if err := l.plan.checkCost(n); err != nil {
			return Result{}, err
		}
	}

	if l.plan.verdict != asks {
		return l.judged(key)
	}

	if e, now := l.denied.find(l.plan, key, n); e != nil {
		return e.result(now), nil
	}

	return l.allowNotDenied(ctx, key, n, seen)
}

// allowNotDenied is for a key that is not denied from memory.
func (l *Limiter) allowNotDenied(ctx context.Context, key string, n int64, seen *seen) (Result, error) {
	if err := l.check("allow", key); err != nil {
		return Result{}, err
	}
	if l.leases != nil {
		return l.leases.allow(ctx, key, n)
	}
	return l.ask(ctx, key, n, l.since(), seen)
}

// ask charges n tokens in Redis. It takes one round trip.
func (l *Limiter) ask(ctx context.Context, key string, n int64, now time.Duration, seen *seen) (Result, error) {
	if err := ctx.Err(); err != nil { // the context ended before the call: Redis is not the cause
		return Result{}, fmt.Errorf("ratelimit: allow in %q: %w", l.name, err)
	}
	if l.opt.Timeout > 0 {
		return l.askWithin(ctx, key, n, now+l.timeout(), seen)
	}
	result, err := l.charge(ctx, key, n, now, seen)
	return l.settle(ctx, key, n, result, err)
}

// timeout returns how long a call may take before the outage policy decides.
func (l *Limiter) timeout() time.Duration {
	if most := l.core.Timeout(); l.opt.Timeout == 0 || l.opt.Timeout > most {
		return most
	}
	return l.opt.Timeout
}

// askWithin is ask with less time than the command timeout.
func (l *Limiter) askWithin(ctx context.Context, key string, n int64, due time.Duration, seen *seen) (Result, error) {
	now := l.since()
	own, cancel := context.WithTimeoutCause(ctx, due-now, errLate)
	defer cancel()
	result, err := l.charge(own, key, n, now, seen)
	if err != nil && own.Err() != nil && ctx.Err() == nil {
		err = fault.New(fault.ErrIndeterminate, errLate, "it may have been executed")
	}
	return l.settle(ctx, key, n, result, err)
}

var errLate = errors.New("no answer within the timeout of the call")

// settle counts the answer of Redis, or applies the outage policy.
func (l *Limiter) settle(ctx context.Context, key string, n int64, result Result, err error) (Result, error) {
	if err != nil {
		return l.outage(ctx, "allow", key, n, err)
	}
	l.count(key, result)
	return result, nil
}

// charge is ask without counters and outage policy.
func (l *Limiter) charge(ctx context.Context, key string, n int64, now time.Duration, seen *seen) (Result, error) {
	group := l.single
	if n != 1 {
		group = nil
	}

	result, err := l.run(ctx, group, key, n, seen)
	switch {
	case err != nil:
	case result.Allowed:
		l.denied.admitted(l.plan, key, n)
	default:
		l.denied.add(l.plan, key, n, now, l.since(), result)
	}

	return result, err
}

// run runs the script of a charge. With a batcher, it joins other charges of the same cost.
func (l *Limiter) run(ctx context.Context, group *batcher.Batcher, key string, n int64, seen *seen) (Result, error) {
	if group != nil {
		var outstanding [maxRules]int64
		if err := group.Eval(ctx, l.key(key), outstanding[:]); err != nil {
			return Result{}, err
		}
		return l.plan.readOutstanding(&outstanding, n, true, seen)
	}

	msg, err := l.eval(ctx, l.plan.algorithm.charge, key, n)
	if err != nil {
		return Result{}, err
	}

	return l.plan.read(msg, n, true, seen)
}

func (l *Limiter) count(key string, result Result) {
	if result.Allowed {
		l.counters.allowed.Add(1)
		return
	}
	l.counters.refused.Add(1)
	l.plan.named(result.Rule).refused.Add(1)
	l.counters.top.add(key, 1)
}

// Peek returns what Allow would answer, and charges nothing. It takes one round trip that only
// reads. It always asks Redis. Errors and outages are as in [Limiter.AllowN], but nothing is
// counted. If a rule's limit is 0, or if no rule has a limit, it takes no round trip.
func (l *Limiter) Peek(ctx context.Context, key string) (Result, error) {
	if err := l.check("peek", key); err != nil {
		return Result{}, err
	}
	ctx, end := l.core.Start(ctx, observe.Operation{Pattern: "ratelimit", Name: l.name, Verb: "peek"})
	result, err := l.peek(ctx, key)
	end(err)
	return result, err
}

func (l *Limiter) peek(ctx context.Context, key string) (Result, error) {
	if l.plan.verdict != asks {
		return l.plan.standing, nil
	}

	msg, err := l.eval(ctx, l.plan.algorithm.peek, key, 0)
	if err == nil {
		var result Result
		if result, err = l.plan.read(msg, 1, false, nil); err == nil {
			return result, nil
		}
	}

	if err := l.callerError(ctx, "peek", err); err != nil {
		return Result{}, err
	}

	switch {
	case l.opt.Outage == FailClosed:
		return Result{Degraded: true}, fmt.Errorf("ratelimit: peek in %q: %w", l.name, err)
	case l.local != nil:
		return l.local.peek(l.plan, key, l.since()), nil
	}

	return l.plan.degradedResult(), nil
}

func (l *Limiter) key(key string) string {
	if l.plan.algorithm.suffix == "" {
		return l.space.Key(key)
	}
	return l.space.Sibling(key, l.plan.algorithm.suffix)
}

func (l *Limiter) check(op, key string) error {
	if len(key) > maxKey {
		return fmt.Errorf("ratelimit: %s: %w", op,
			fault.New(fault.ErrTooLarge, fmt.Errorf("the key is %d bytes long, the limit is %d",
				len(key), maxKey), "hash the key"))
	}
	return nil
}

// since is the clock of local decisions. Denials by it end within a second, so it may stop while
// the machine is suspended.
func (s *shared) since() time.Duration { return s.core.Clock().Exact() }
