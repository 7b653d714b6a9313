package lock

import (
	"fmt"
	"strconv"
	"time"
)

// CallOption changes one call. [Wait], [TTL] and [Permits] return it.
type CallOption struct {
	kind  optionKind
	value int64
}

type optionKind int8

const (
	optionWait optionKind = iota + 1
	optionTTL
	optionPermits
)

// Wait is how long this Acquire or Do waits for a lock that is held, in place of [Options.Wait]. 0
// asks once. [WaitForever] waits until the context ends. TryAcquire does not wait and ignores the
// option.
func Wait(d time.Duration) CallOption { return CallOption{optionWait, int64(d)} }

// TTL is the lease of what this call acquires, in place of [Options.TTL]: from 100 ms to 24 h. The
// margin is [Options.Margin] if it was set and is at most d/2. Otherwise the margin is d/5.
func TTL(d time.Duration) CallOption { return CallOption{optionTTL, int64(d)} }

// Permits is how many permits of a semaphore this call acquires, from 1 to the semaphore's number.
// Default 1. The call waits at its position in the queue until n permits are free, and later
// waiters wait behind it. Other locks accept only 1. Processes with an older release, without this
// option, count the call as one permit.
func Permits(n int) CallOption { return CallOption{optionPermits, int64(n)} }

// callSettings are the settings of one acquisition: the Options, changed by CallOptions.
type callSettings struct {
	ttl, margin, wait time.Duration
	permits           int

	ttlArg, keyTTLArg, grantArg string // the same, as arguments of the scripts
}

var (
	retentionArg = strconv.FormatInt(retention.Milliseconds(), 10)
	aliveForArg  = strconv.FormatInt(aliveFor.Microseconds(), 10)
)

// settings returns the settings of one call. Without CallOptions it returns the Locker's defaults
// and allocates nothing.
func (l *Locker) settings(t *target, opts []CallOption) (*callSettings, error) {
	if len(opts) == 0 {
		return l.defaults, nil
	}

	s := *l.defaults
	for _, opt := range opts {
		d := time.Duration(opt.value)
		switch opt.kind {
		case optionWait:
			if d < 0 && d != WaitForever {
				return nil, fmt.Errorf("lock: Wait is %v: it must be 0 or more, or WaitForever", d)
			}
			s.wait = d
		case optionTTL:
			if d < minTTL || d > maxTTL {
				return nil, fmt.Errorf("lock: TTL is %v: it must be from %v to %v", d, minTTL, maxTTL)
			}
			s.ttl, s.margin = d, d/5
			if l.marginSet && l.opt.Margin <= d/2 {
				s.margin = l.opt.Margin
			}
		case optionPermits:
			limit := 1
			if t.kind == kindPermit {
				limit, _ = strconv.Atoi(t.permits)
			}
			if opt.value < 1 || opt.value > int64(limit) {
				return nil, fmt.Errorf("lock: Permits is %d: it must be from 1 to %[3]d for %[2]s", opt.value,
					quoted(t.name), limit)
			}
			s.permits = int(opt.value)
		default:
			return nil, fmt.Errorf("lock: zero CallOption: use Wait, TTL or Permits")
		}
	}

	s.encode(l.opt.MinReplicas)
	return &s, nil
}

// encode sets the arguments of the scripts.
func (s *callSettings) encode(minReplicas int) {
	micros := func(d time.Duration) string { return strconv.FormatInt(d.Microseconds(), 10) }
	s.ttlArg = micros(s.ttl)
	s.keyTTLArg = strconv.FormatInt((s.ttl + retention).Milliseconds(), 10)
	s.grantArg = micros(grantTTL + s.handoffMargin(minReplicas))
}

// handoffMargin is the part of a grant that covers the margin. It is 0 if the waiter asks the
// server in any case.
func (s *callSettings) handoffMargin(minReplicas int) time.Duration {
	if s.margin > handoffMarginMax || minReplicas > 0 {
		return 0
	}
	return s.margin
}

// validity is how long a lease is valid in this process, counted from the moment before its request
// was sent.
func (s *callSettings) validity() time.Duration { return s.ttl - s.margin }

// renewEvery is the interval of renewals.
func (s *callSettings) renewEvery() time.Duration { return s.ttl / 3 }

// renewRetry is the longest pause between a failed renewal and the next attempt.
func (s *callSettings) renewRetry() time.Duration {
	return min(max(s.ttl/20, renewRetryMin), 500*time.Millisecond)
}
