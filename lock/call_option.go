package lock

import (
	"fmt"
	"strconv"
	"time"
)

// CallOption changes one call: see [Wait], [TTL] and [Permits].
type CallOption struct {
	kind  optionKind
	value int64
}

type optionKind int8

const (
	optionWait optionKind = iota + 1
	optionTTL
	optionWeight
)

// Wait is how long this Acquire or Do waits for a lock that is taken, in place of Options.Wait: from 0, which asks
// once, or WaitForever. TryAcquire does not wait and ignores it.
func Wait(d time.Duration) CallOption { return CallOption{optionWait, int64(d)} }

// TTL is the lease of what this call acquires, in place of Options.TTL: from 100 ms to 24 h. The margin is
// Options.Margin, or TTL/5 if that is the default or longer than half of the lease.
func TTL(d time.Duration) CallOption { return CallOption{optionTTL, int64(d)} }

// Permits is how many permits of a semaphore this call acquires, from 1 to the number that the semaphore has; the
// default is 1. It waits at its place in the queue until that many are free, and those behind it wait with it. Other
// locks have no weight. While processes of a release without Permits use the same semaphore, they count it as 1.
func Permits(n int) CallOption { return CallOption{optionWeight, int64(n)} }

// terms are the conditions of one acquisition: the Options, changed by CallOptions.
type callSettings struct {
	ttl, margin, wait time.Duration
	weight            int

	ttlArg, keyTTLArg, grantArg string // for the scripts
}

var (
	retentionArg = strconv.FormatInt(retention.Milliseconds(), 10)
	aliveForArg  = strconv.FormatInt(aliveFor.Microseconds(), 10)
)

// terms returns the Locker's own without CallOptions, and allocates nothing then.
func (l *Locker) settings(t *target, opts []CallOption) (*callSettings, error) {
	if len(opts) == 0 {
		return l.defaults, nil
	}
	c := *l.defaults
	for _, opt := range opts {
		d := time.Duration(opt.value)
		switch opt.kind {
		case optionWait:
			if d < 0 && d != WaitForever {
				return nil, fmt.Errorf("lock: Wait is %v: it must be 0 or more, or WaitForever", d)
			}
			c.wait = d
		case optionTTL:
			if d < minTTL || d > maxTTL {
				return nil, fmt.Errorf("lock: TTL is %v: it must be from %v to %v", d, minTTL, maxTTL)
			}
			c.ttl, c.margin = d, d/5
			if l.marginSet && l.opt.Margin <= d/2 {
				c.margin = l.opt.Margin
			}
		case optionWeight:
			most := 1
			if t.kind == kindPermit {
				most, _ = strconv.Atoi(t.permits)
			}
			if opt.value < 1 || opt.value > int64(most) {
				return nil, fmt.Errorf("lock: Permits is %d: %s has permits from 1 to %d", opt.value, quoted(t.name), most)
			}
			c.weight = int(opt.value)
		default:
			return nil, fmt.Errorf("lock: a CallOption is made by Wait, TTL or Permits")
		}
	}
	c.encode(l.opt.MinReplicas)
	return &c, nil
}

// encode writes the terms as the scripts take them.
func (c *callSettings) encode(minReplicas int) {
	micros := func(d time.Duration) string { return strconv.FormatInt(d.Microseconds(), 10) }
	c.ttlArg = micros(c.ttl)
	c.keyTTLArg = strconv.FormatInt((c.ttl + retention).Milliseconds(), 10)
	c.grantArg = micros(grantTTL + c.handoffMargin(minReplicas))
}

// ahead is the part of a grant that is the margin, 0 if the waiter asks the server in any case.
func (c *callSettings) handoffMargin(minReplicas int) time.Duration {
	if c.margin > handoffMarginMax || minReplicas > 0 {
		return 0
	}
	return c.margin
}

// span is what a renewal gives, by our clocks.
func (c *callSettings) validity() time.Duration { return c.ttl - c.margin }

// every is the interval of renewals; those that are due soon after go along.
func (c *callSettings) renewEvery() time.Duration { return c.ttl / 3 }

// retry is the longest time between a failed renewal and the next.
func (c *callSettings) renewRetry() time.Duration {
	return min(max(c.ttl/20, renewRetryMin), 500*time.Millisecond)
}
