package cache

import (
	"context"
	"errors"
	"time"

	"github.com/redis/rueidis"

	"github.com/redstart-go/redstart/internal/core"
	"github.com/redstart-go/redstart/internal/fault"
)

// A lease is a key beside the value that holds the token of the one load that may store it. It is taken with
// two plain commands, which travel together and run in this order:
//
//	SET lease token NX GET PX …    granted, or who holds it
//	GET value                      what was stored before the lease was ours
//
// Nobody else can fill between the two. A script that did both would cost the server more before it began:
// 5.5 µs for an empty one, where these two take 3.5.

type leaseAnswer uint8

const (
	leaseFailed   leaseAnswer = iota // not known: see err
	leaseGranted                     // load
	leaseBusy                        // another load holds it, for left
	leaseHeldDown                    // load, but nothing will be stored
	leaseValue                       // there is a value by now: see data
)

// ask is one request for a lease, and its answer.
type ask struct {
	key, token string
	pair       []string // the names of value and lease
	seen       string   // '=' and the head of a value that is of no use; "" if there was none

	answer leaseAnswer
	data   string
	left   time.Duration
	err    error
	holds  bool // the lease is ours, or may be, though the answer is another: it is to be given back
	alien  bool // another kind of key lies in the value's place
}

// leaseChunk is how many leases are asked for together: two commands each, or three.
const leaseChunk = 300

// lease asks for leases: one round trip per node, another one for those that are busy.
func (s *store) lease(ctx context.Context, asks []*ask) {
	for begin := 0; begin < len(asks); begin += leaseChunk {
		if busy := s.takeLeases(ctx, asks[begin:min(begin+leaseChunk, len(asks))]); busy != nil {
			s.howLong(ctx, busy)
		}
	}
}

// takeLeases asks without howLong, and returns those that are busy.
func (s *store) takeLeases(ctx context.Context, asks []*ask) (busy []*ask) {
	b := s.core.B()
	cmds := make([]rueidis.Completed, 0, 2*len(asks))
	for _, a := range asks {
		cmds = append(cmds,
			b.Set().Key(a.pair[1]).Value(a.token).Nx().Get().PxMilliseconds(max(s.opt.LoadTimeout.Milliseconds(), 1)).Build(),
			b.Get().Key(a.pair[0]).Build())
	}
	s.at("lease", asks[0].key)
	results := s.core.DoMulti(ctx, cmds...)
	s.at("leased", asks[0].key)
	for i, a := range asks {
		a.read(results[2*i], results[2*i+1])
		if a.alien && a.seen == "" { // MGET takes it for nothing
			s.count.add(cUnreadable, 1)
		}
		switch {
		case a.answer == leaseBusy:
			busy = append(busy, a)
		case a.answer == leaseFailed && wrongType(a.err): // no lease is that: the next load shall store again (C5)
			s.core.Do(ctx, b.Del().Key(a.pair[1]).Build())
		}
	}
	return busy
}

// read makes an answer of the two replies.
func (a *ask) read(lease, value core.Result) {
	a.answer, a.data, a.left, a.err, a.holds, a.alien = leaseFailed, "", 0, nil, false, false
	holder, err := lease.Get()
	a.holds = errors.Is(err, fault.ErrIndeterminate) || err == nil && holder.IsNil() // what never left holds nothing
	found, readErr := value.Get()
	switch {
	case readErr == nil && a.take(found):
		return
	case readErr != nil && !wrongType(readErr):
		a.err = readErr
		return
	}
	a.alien = readErr != nil
	if err != nil {
		a.err = err
		return
	}
	token, _ := holder.ToString()
	switch {
	case holder.IsNil():
		a.answer, a.holds = leaseGranted, false
	case token == holdMark:
		a.answer = leaseHeldDown
	default:
		a.answer = leaseBusy
	}
}

// holdMark in place of a token is a hold-down: see hold.lua.
const holdMark = "hold"

// howLong asks for what is left of leases that others hold. It reads on the tracked connection, so that a
// waiter is woken when the value is filled or the lease given up, and reads the value once more: it may have come
// since.
func (s *store) howLong(ctx context.Context, asks []*ask) {
	b := s.core.B()
	cmds := make([]rueidis.Completed, 0, 3*len(asks))
	for _, a := range asks {
		value, lease := a.pair[0], a.pair[1]
		cmds = append(cmds, b.Get().Key(lease).Build(), b.Pttl().Key(lease).Build(), b.Get().Key(value).Build())
	}
	results := s.core.DoMultiTracked(ctx, cmds...)
	for i, a := range asks {
		holder, err := results[3*i].Get()
		ttl, ttlErr := results[3*i+1].Get()
		value, valueErr := results[3*i+2].Get()
		if valueErr == nil && a.take(value) {
			continue
		}
		left, numberErr := int64(0), error(nil)
		if ttlErr == nil {
			left, numberErr = ttl.AsInt64()
		}
		switch {
		case err != nil, ttlErr != nil, numberErr != nil:
			a.answer, a.err = leaseFailed, errors.Join(err, ttlErr, numberErr)
		case left == -1: // not one of ours: those have a TTL
			if token, err := holder.ToString(); err == nil {
				s.core.Eval(ctx, freeScript, a.pair, []string{token, ""}) // asked again in a moment, whatever came of it
			}
		case left > 0:
			a.left = time.Duration(left) * time.Millisecond
		}
	}
}

// take makes a value the answer, if it is there and not the one that was rejected.
func (a *ask) take(value core.Reply) bool {
	if value.IsNil() {
		return false
	}
	data, err := value.ToString()
	if err != nil || a.seen == "="+head(data) {
		return false
	}
	a.answer, a.data = leaseValue, data
	return true
}
