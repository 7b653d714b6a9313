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

// Limiter limits how often something happens per key, over all processes. Use New. Its methods are safe for concurrent use.
type Limiter struct {
	*shared
	plan   *plan
	one    *batcher.Batcher // calls for one token; nil: they can't go together
	leases *leases          // nil: no leasing
	queues *queues          // of Wait
}

// shared is what a limiter and the plans made from it by With have in common.
type shared struct {
	core     *core.Core
	name     string
	opt      Options
	space    keys.Space
	refusals *refusals
	counters *counters
	local    *local // nil unless FailLocal
	holders  holders
	charges  atomic.Int64 // of responses, under way
}

// Result is the answer for one request.
type Result struct {
	// Allowed says whether the request may go on; if so, it has been charged.
	Allowed bool
	// Rule is the name of the rule that binds: if refused, of those that refuse the one that does so longest; if
	// allowed, the one with the least left.
	Rule string
	// Limit and Remaining are that rule's: its tokens per window, and how many more it would admit now. Unlimited and
	// math.MaxInt64 if no rule has a limit.
	Limit, Remaining int64
	// RetryAfter is when the same request will be admitted if nothing else is in the meantime (R3); 0 if allowed. From memory
	// (R4) one of a second or more may be 10 ms too long. Never if a rule's limit is 0.
	RetryAfter time.Duration
	// NextAfter is when the rule will have at least one more than Remaining; 0 if it has all, or if that is not known: a refusal
	// from memory (R4), or of several tokens, can leave it out.
	NextAfter time.Duration
	// ResetAfter is when the rule will be as if it had never been used.
	ResetAfter time.Duration
	// Degraded says that Redis could not be asked and Options.Outage decided.
	Degraded bool
}

// New returns a limiter. Limiters of the same name on the same namespace share their counts, in whatever process. The
// name may be any string up to 128 bytes; it is visible in metrics.
func New(client *redstart.Client, name string, opts Options) (*Limiter, error) {
	if client == nil {
		return nil, errors.New("ratelimit: New: the client is nil: use redstart.Open")
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
		return nil, fmt.Errorf("ratelimit: name: %w", err)
	}
	s := &shared{core: c, name: name, opt: opts, space: space, counters: newCounters()}
	s.refusals = newRefusals(c.Clock(), s.counters)
	if opts.Outage == FailLocal {
		s.local = newLocal(opts.LocalShare, opts.MaxLocalKeys)
	}
	c.OnMetrics(s.metrics)
	c.OnClose(s.holders.close)
	return s.with(p, lease), nil
}

// With returns a limiter with other rules over the same keys: another plan of the same service, or a route with rules
// of its own. Everything but the rules is that of l.
//
// Rules that both plans have, equal in every field, share their count; all others count apart. Reset of a key resets it in every plan. A key
// keeps the counts of 128 rules of other plans, those charged last. Make the plans once, not per request.
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
	l.one = l.newBatcher(1)
	if lease.Batch > 0 {
		l.leases = newLeases(l, lease)
	}
	l.queues = newQueues(l)
	return l
}

// newBatcher returns a batcher for charges of n tokens, or nil if the script takes one key only.
func (l *Limiter) newBatcher(n int64) *batcher.Batcher {
	if !l.plan.algorithm.many {
		return nil
	}
	return batcher.New(l.core, l.plan.algorithm.charge, l.plan.argsFor(n), len(l.plan.rules))
}

// Allow asks for one token of key: AllowN with 1.
func (l *Limiter) Allow(ctx context.Context, key string) (Result, error) {
	return l.AllowN(ctx, key, 1)
}

// AllowN asks for n tokens of key. If every rule has that many they are all charged, otherwise nothing is (R2).
//
// A refusal is no error. One round trip; none for a key that is known to be refused (R4) or leased, and none if a rule's limit is 0
// or no rule has one. Errors: ErrCost;
// redstart.ErrTooLarge for a key above 1,024 bytes; the context's, if it was cancelled; under FailClosed the
// class of what happened to Redis.
func (l *Limiter) AllowN(ctx context.Context, key string, n int64) (Result, error) {
	if !l.core.Observed() {
		if n != 1 || l.plan.verdict != asks {
			return l.allow(ctx, key, n, nil)
		}
		if e, now := l.refusals.find(l.plan, key, 1); e != nil { // a flood's way: as short as can be
			return e.result(now), nil
		}
		return l.unrefused(ctx, key, 1, nil)
	}
	ctx, end := l.core.Start(ctx, observe.Operation{Pattern: "ratelimit", Name: l.name, Verb: "allow"})
	result, err := l.allow(ctx, key, n, nil)
	if end != nil {
		end(err)
	}
	return result, err
}

// allowSeen is AllowN for the response fields, which list every rule.
func (l *Limiter) allowSeen(ctx context.Context, key string, n int64) (Result, *seen, error) {
	seen := &seen{rules: make([]status, len(l.plan.rules))}
	ctx, end := l.core.Start(ctx, observe.Operation{Pattern: "ratelimit", Name: l.name, Verb: "allow"})
	result, err := l.allow(ctx, key, n, seen)
	if end != nil {
		end(err)
	}
	return result, seen, err
}

// allow is AllowN without a span. seen, if not nil, receives what Redis answered of every rule.
func (l *Limiter) allow(ctx context.Context, key string, n int64, seen *seen) (Result, error) {
	if n != 1 {
		if err := l.plan.checkCost(n); err != nil {
			return Result{}, err
		}
	}
	if l.plan.verdict != asks {
		return l.judged(key)
	}
	if e, now := l.refusals.find(l.plan, key, n); e != nil {
		return e.result(now), nil
	}
	return l.unrefused(ctx, key, n, seen)
}

// unrefused is for a key that is not known to be refused.
func (l *Limiter) unrefused(ctx context.Context, key string, n int64, seen *seen) (Result, error) {
	if err := l.check("allow", key); err != nil {
		return Result{}, err
	}
	if l.leases != nil {
		return l.leases.allow(ctx, key, n)
	}
	return l.ask(ctx, key, n, l.since(), seen)
}

// ask charges n tokens in Redis: one round trip.
func (l *Limiter) ask(ctx context.Context, key string, n int64, now time.Duration, seen *seen) (Result, error) {
	if err := ctx.Err(); err != nil { // ended before: not Redis' doing
		return Result{}, fmt.Errorf("ratelimit: allow: %w", err)
	}
	if l.opt.Timeout > 0 {
		return l.askBy(ctx, key, n, now+l.timeout(), seen)
	}
	result, err := l.charge(ctx, key, n, now, seen)
	return l.settle(ctx, key, n, result, err)
}

// timeout is how long a call may take before the outage policy decides.
func (l *Limiter) timeout() time.Duration {
	if most := l.core.Timeout(); l.opt.Timeout == 0 || l.opt.Timeout > most {
		return most
	}
	return l.opt.Timeout
}

// askBy is ask with less time than a command has.
func (l *Limiter) askBy(ctx context.Context, key string, n int64, due time.Duration, seen *seen) (Result, error) {
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

// settle counts what Redis answered, or turns to the outage policy.
func (l *Limiter) settle(ctx context.Context, key string, n int64, result Result, err error) (Result, error) {
	if err != nil {
		return l.outage(ctx, "allow", key, n, err)
	}
	l.count(key, result)
	return result, nil
}

// charge is ask without counters and outage policy.
func (l *Limiter) charge(ctx context.Context, key string, n int64, now time.Duration, seen *seen) (Result, error) {
	group := l.one
	if n != 1 {
		group = nil
	}
	result, err := l.run(ctx, group, key, n, seen)
	switch {
	case err != nil:
	case result.Allowed:
		l.refusals.admitted(l.plan, key, n)
	default:
		l.refusals.add(l.plan, key, n, now, l.since(), result)
	}
	return result, err
}

// run runs the script for a charge, in a group of others for the same cost if there is one.
func (l *Limiter) run(ctx context.Context, group *batcher.Batcher, key string, n int64, seen *seen) (Result, error) {
	if group != nil {
		var debts [maxRules]int64
		if err := group.Eval(ctx, l.key(key), debts[:]); err != nil {
			return Result{}, err
		}
		return l.plan.readDebts(&debts, n, true, seen)
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

// Peek tells what Allow would answer, and charges nothing: one round trip that only reads. It always asks Redis. Errors and
// outages are as in AllowN, but nothing is counted. A plan with a limit of 0, or without limits, needs no round trip.
func (l *Limiter) Peek(ctx context.Context, key string) (Result, error) {
	if err := l.check("peek", key); err != nil {
		return Result{}, err
	}
	ctx, end := l.core.Start(ctx, observe.Operation{Pattern: "ratelimit", Name: l.name, Verb: "peek"})
	result, err := l.peek(ctx, key)
	if end != nil {
		end(err)
	}
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
	if err := l.own(ctx, "peek", err); err != nil {
		return Result{}, err
	}
	switch {
	case l.opt.Outage == FailClosed:
		return Result{Degraded: true}, fmt.Errorf("ratelimit: peek: %w", err)
	case l.local != nil:
		return l.local.peek(l.plan, key, l.since()), nil
	}
	return l.plan.unasked(), nil
}

// Reset forgets what was charged to key, in every plan: one round trip. Other processes may refuse the key from memory for up
// to a second more (R4), and go on handing out tokens that they hold on lease.
func (l *Limiter) Reset(ctx context.Context, key string) error {
	if err := l.check("reset", key); err != nil {
		return err
	}
	ctx, end := l.core.Start(ctx, observe.Operation{Pattern: "ratelimit", Name: l.name, Verb: "reset"})
	_, err := l.core.Do(ctx, core.Write("DEL", l.key(key)))
	if err != nil {
		err = fmt.Errorf("ratelimit: reset: %w", err)
	}
	l.forget(key)
	if end != nil {
		end(err)
	}
	return err
}

// Refund gives n tokens back, for a request that was admitted and then not done: one round trip. It never gives back more
// than is charged.
//
// Call it right after the charge. GCRA lowers what is owed now, SlidingLog takes the newest n tokens out, the window
// algorithms lower the present window: if what was charged has left by itself in the meantime, up to n other
// tokens are given back in its place, and the bounds of R1 hold with those n on top.
func (l *Limiter) Refund(ctx context.Context, key string, n int64) error {
	if err := l.check("refund", key); err != nil {
		return err
	}
	if err := l.plan.checkCost(n); err != nil {
		return err
	}
	if l.plan.verdict != asks { // nothing was charged
		return nil
	}
	ctx, end := l.core.Start(ctx, observe.Operation{Pattern: "ratelimit", Name: l.name, Verb: "refund"})
	err := l.refund(ctx, key, n)
	if err != nil {
		err = fmt.Errorf("ratelimit: refund: %w", err)
	}
	if end != nil {
		end(err)
	}
	return err
}

func (l *Limiter) refund(ctx context.Context, key string, n int64) error {
	_, err := l.eval(ctx, l.plan.algorithm.charge, key, -n)
	l.refusals.forget(key)
	return err
}

// forget drops what this process knows of a key.
func (l *Limiter) forget(key string) {
	l.refusals.forget(key)
	l.holders.forget(key)
	if l.local != nil {
		l.local.forget(key)
	}
}

func (l *Limiter) key(key string) string {
	if l.plan.algorithm.suffix == "" {
		return l.space.Key(key)
	}
	return l.space.Sibling(key, l.plan.algorithm.suffix)
}

func (l *Limiter) check(op, key string) error {
	if len(key) > maxKey {
		return fmt.Errorf("ratelimit: %s: %w", op, fault.New(fault.ErrTooLarge, fmt.Errorf("the key is %d bytes long, at most %d are allowed", len(key), maxKey), "hash it"))
	}
	return nil
}

// since is the time that local decisions are made by. Refusals by it end within a second, so it need not survive a suspension.
func (s *shared) since() time.Duration { return s.core.Clock().Exact() }
