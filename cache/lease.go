package cache

import (
	"context"
	"errors"
	"time"

	"github.com/redstart-go/redstart/internal/core"
	"github.com/redstart-go/redstart/internal/fault"
)

// A lease is a key next to the value. It holds the token of the one load that may store the value.
// Two plain commands request it. They travel together and run in this order:
//
//	SET lease token NX GET PX …    granted, or the token of its holder
//	GET value                      what was stored before the lease was granted
//
// No other load can store between the two. A script for both costs the server more: an empty script
// takes 5.5 µs, and these two commands take 3.5 µs.

type leaseAnswer uint8

const (
	leaseFailed   leaseAnswer = iota // see err
	leaseGranted                     // the caller loads
	leaseBusy                        // the load with the token in holder has the lease, for left
	leaseHeldDown                    // the caller loads and stores nothing
	leaseValue                       // a value is stored: see data
	leaseEnded                       // the other load ended and stored nothing: see outcome
	leaseFree                        // the lease is free: request it
)

// ask is one request for a lease, or one read of it, with the answer.
type ask struct {
	key, token string
	names      []string // of value, lease and outcome
	seen       string   // "=" and the head of a stored value that can't be used; "" if nothing was stored
	holder     string   // token of the load to wait for

	answer  leaseAnswer
	data    string
	refused string // the stored value that can't be used
	outcome string
	left    time.Duration
	err     error
	mayHold bool // this load has the lease, or may have it, and does not need it: release it
	foreign bool // the value's key has another type
}

// leaseChunk is the number of leases that are requested together. Each takes two commands, and a
// read of it takes four.
const leaseChunk = 300

// leaseTTL is the time that a lease lasts: the time of a load, and the time in which its outcome
// reaches the server.
func (s *store) leaseTTL() time.Duration {
	return s.opt.LoadTimeout + min(max(s.opt.LoadTimeout/10, 100*time.Millisecond), time.Second)
}

// takeLeases requests leases: one round trip per node.
func (s *store) takeLeases(ctx context.Context, asks []*ask) {
	for begin := 0; begin < len(asks); begin += leaseChunk {
		s.takeChunk(ctx, asks[begin:min(begin+leaseChunk, len(asks))])
	}
}

func (s *store) takeChunk(ctx context.Context, asks []*ask) {
	ttl := millis(s.leaseTTL())
	cmds := make([]core.Command, 0, 2*len(asks))
	for _, a := range asks {
		cmds = append(cmds,
			core.Write("SET", a.names[1], a.token, "NX", "GET", "PX", ttl),
			core.Read("GET", a.names[0]))
	}
	s.points.Hold("lease", asks[0].key)
	results := s.core.DoMulti(ctx, cmds...)
	s.points.Hold("leased", asks[0].key)

	for i, a := range asks {
		a.read(results[2*i], results[2*i+1])
		if a.foreign && a.seen == "" { // GetOrLoadMany reads with MGET, which reports it as a missing key
			s.count.add(cUnreadable, 1)
		}
		// no lease has another type: remove the key, so that the next load can store (C5)
		if a.answer == leaseFailed && wrongType(a.err) {
			s.core.Do(ctx, core.Write("DEL", a.names[1]))
		}
	}
}

// read makes an answer of the two replies.
func (a *ask) read(lease, value core.Result) {
	a.answer, a.data, a.refused, a.left, a.err, a.foreign = leaseFailed, "", "", 0, nil, false
	holder, err := lease.Get()
	// a request that was never sent holds nothing
	a.mayHold = errors.Is(err, fault.ErrIndeterminate) || err == nil && holder.IsNil()
	found, readErr := value.Get()
	switch {
	case readErr == nil && a.take(found):
		return
	case readErr != nil && !wrongType(readErr):
		a.err = readErr
		return
	}
	a.foreign = readErr != nil
	if err != nil {
		a.err = err
		return
	}
	if holder.IsNil() {
		a.answer, a.mayHold = leaseGranted, false
	} else if token, _ := holder.ToString(); token == holdMark {
		a.answer = leaseHeldDown
	} else {
		a.answer, a.holder = leaseBusy, token
	}
}

// holdMark is stored in place of a token during a hold-down: see hold.lua.
const holdMark = "hold"

// look reads the leases of other loads, and what they have stored. It reads on the tracked
// connection: the server then pushes the next change, which wakes the waiter.
func (s *store) look(ctx context.Context, asks []*ask) {
	for begin := 0; begin < len(asks); begin += leaseChunk {
		s.lookChunk(ctx, asks[begin:min(begin+leaseChunk, len(asks))])
	}
}

func (s *store) lookChunk(ctx context.Context, asks []*ask) {
	const each = 4
	cmds := make([]core.Command, 0, each*len(asks))
	for _, a := range asks {
		value, lease, outcome := a.names[0], a.names[1], a.names[2]
		cmds = append(cmds, core.Read("GET", lease), core.Read("PTTL", lease), core.Read("GET", value), core.Read("GET", outcome))
	}
	results := s.core.DoMultiAwaited(ctx, cmds...)
	for i, a := range asks {
		left := a.seeHolder(results[each*i : each*i+each])
		if left == -1 { // a key without a TTL is no lease
			// the job reads the lease again in any case
			s.core.Eval(ctx, freeScript, a.names, []string{a.holder, "", "", "0"})
		}
	}
}

// seeHolder makes an answer of the replies to look. It returns the reply to PTTL.
func (a *ask) seeHolder(r []core.Result) (left int64) {
	a.answer, a.data, a.left, a.err, a.mayHold = leaseFailed, "", 0, nil, false
	lease, err := r[0].Get()
	ttl, ttlErr := r[1].Get()
	value, valueErr := r[2].Get()
	outcome, outcomeErr := r[3].Get()

	if valueErr == nil && a.take(value) {
		return 0
	}
	if text, err := outcome.ToString(); outcomeErr == nil && err == nil && len(text) > tokenSize && text[:tokenSize] == a.holder {
		a.answer, a.outcome = leaseEnded, text[tokenSize:]
		return 0
	}
	if err = errors.Join(err, ttlErr); err != nil {
		a.err = err
		return 0
	}
	token, tokenErr := lease.ToString()
	left, leftErr := ttl.AsInt64()
	switch {
	case lease.IsNil(), token == holdMark:
		a.answer = leaseFree
	case tokenErr != nil, leftErr != nil:
		a.err = errors.Join(tokenErr, leftErr)
	default:
		a.answer, a.holder = leaseBusy, token
		a.left = max(time.Duration(left)*time.Millisecond, 0)
	}
	return left
}

// take makes a stored value the answer, unless it is the one that can't be used.
func (a *ask) take(value core.Reply) bool {
	if value.IsNil() {
		return false
	}
	data, err := value.ToString()
	if err != nil {
		return false
	}
	if a.seen == "="+head(data) {
		a.refused = data
		return false
	}
	a.answer, a.data = leaseValue, data
	return true
}
