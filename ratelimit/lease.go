package ratelimit

import (
	"sync"
	"sync/atomic"
	"time"
)

// leaseState is the state of one key's lease. Only the goroutine that holds lease.mu changes it:
//
//	from      event                            to        what happens to tokens
//	–         the key became busy              idle      none yet
//	idle      a caller finds too few           fetching  a batch is requested; the caller waits for it
//	idle      few are left                     fetching  a batch is requested; no caller waits
//	fetching  the batch was charged            idle      the batch is added
//	fetching  the batch was refused, or failed idle      unchanged; waiting callers ask Redis, or get the error
//	fetching  the answer took Hold or longer   idle      the batch is returned; waiting callers ask Redis
//	idle      Hold has passed                  ended     returned
//	idle      the client closes                ended     returned
//	any       Reset                            ended     dropped, also a batch in flight
//	ended     –                                –         final: callers ask Redis
//
// Tokens are added and a lease is ended under the same mutex, and an ended lease accepts no tokens.
// So no token is lost with a lease that ends.
type leaseState uint8

const (
	leaseIdle leaseState = iota
	leaseFetching
	leaseEnded
)

// lease is the tokens of one key that this process has charged in advance. Taking one is a
// subtraction without a mutex.
type lease struct {
	tokens     atomic.Int64 // tokens left; noTokens after the end
	validUntil atomic.Int64 // by since: no token is taken after this time
	// by since: no batch is requested before this time, because there was no room for one
	noBatchUntil atomic.Int64
	last         atomic.Pointer[Result]

	mu              sync.Mutex
	state           leaseState
	batch           *batch        // set while fetching
	taken, answered time.Duration // when the last batch was requested, and when its answer arrived
}

// noTokens is less than any cost.
const noTokens = -1

// batch is a charge of several tokens in flight.
type batch struct {
	done   chan struct{} // closed when the fields below are set
	result Result
	err    error
}

// surplus is the tokens of a lease that ended.
type surplus struct {
	key             string
	tokens          int64
	taken, answered time.Duration
}

// take takes n tokens. It returns how many are left, or a negative number if the lease has fewer
// than n.
func (e *lease) take(n int64, now time.Duration) (Result, int64) {
	if int64(now) >= e.validUntil.Load() {
		return Result{}, -1
	}

	for {
		left := e.tokens.Load()
		if left < n {
			return Result{}, -1
		}
		if e.tokens.CompareAndSwap(left, left-n) {
			return *e.last.Load(), left - n
		}
	}
}

// begin returns the batch in flight. If there is none, it moves an idle lease to fetching, and
// returns a batch that the caller requests. Both are nil if the lease has ended.
func (e *lease) begin() (mine, underWay *batch) {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch e.state {
	case leaseFetching:
		return nil, e.batch
	case leaseEnded:
		return nil, nil
	}
	e.state, e.batch = leaseFetching, &batch{done: make(chan struct{})}
	return e.batch, nil
}

// applyBatch applies the answer of a batch of size tokens. It returns true if the answer came too
// late to use its tokens.
func (e *lease) applyBatch(b *batch, size int64, sent, answered, hold time.Duration) (late bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.state == leaseEnded {
		return false
	}

	e.state, e.batch = leaseIdle, nil
	switch {
	case b.err != nil:
	case !b.result.Allowed:
		e.noBatchUntil.Store(int64(sent + hold/8))
	case answered-sent >= hold:
		e.noBatchUntil.Store(int64(answered + hold))
		return true
	default:
		e.taken, e.answered = sent, answered
		e.last.Store(&b.result)
		e.validUntil.Store(int64(sent + hold))
		e.tokens.Add(size)
	}

	return false
}

// expired reports whether Hold has passed.
func (e *lease) expired(now time.Duration) bool { return int64(now) >= e.validUntil.Load() }

// end ends an idle lease, or any lease if always is set. It returns the lease's tokens.
func (e *lease) end(key string, always bool) (surplus, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.state == leaseEnded || e.state == leaseFetching && !always {
		return surplus{}, false
	}
	e.state, e.batch = leaseEnded, nil
	e.validUntil.Store(0)
	return surplus{key, e.tokens.Swap(noTokens), e.taken, e.answered}, true
}
