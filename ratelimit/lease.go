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
//	idle      a caller finds too few           fetching  a batch is asked for; the caller waits for it
//	idle      few are left                     fetching  a batch is asked for; no caller waits
//	fetching  the batch was charged            idle      the batch is added
//	fetching  the batch was refused, or failed idle      unchanged; those who wait ask for themselves, or get the error
//	fetching  the answer took Hold or longer   idle      the batch is given back; those who wait ask for themselves
//	idle      Hold has passed                  ended     given back
//	idle      the client closes                ended     given back
//	any       Reset                            ended     dropped, a batch under way too
//	ended     –                                –         final: callers ask Redis themselves
//
// Tokens are added and a lease is ended under the same lock, and an ended lease takes no tokens: none can leave with it.
type leaseState uint8

const (
	leaseIdle leaseState = iota
	leaseFetching
	leaseEnded
)

// lease is the tokens of one key that this process has charged in advance. Handing one out is a subtraction without a lock.
type lease struct {
	tokens atomic.Int64 // in hand; noTokens when ended
	until  atomic.Int64 // by since: from then on none is handed out
	direct atomic.Int64 // by since: until then no batch is asked for, there was no room for one
	last   atomic.Pointer[Result]

	mu              sync.Mutex
	state           leaseState
	batch           *batch        // while fetching
	taken, answered time.Duration // when the last batch was asked for, and when the answer arrived
}

// noTokens is less than any cost.
const noTokens = -1

// batch is a charge of several tokens that is under way.
type batch struct {
	done   chan struct{} // closed when the rest is known
	result Result
	err    error
}

// surplus is what a lease held when it ended.
type surplus struct {
	key             string
	tokens          int64
	taken, answered time.Duration
}

// hand takes n tokens out of a lease, and returns how many are left, or less than 0 if the lease has not so many.
func (e *lease) hand(n int64, now time.Duration) (Result, int64) {
	if int64(now) >= e.until.Load() {
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

// begin returns the batch that is under way, or moves an idle lease to fetching and returns a batch for the caller to ask for.
// Both are nil if the lease has ended.
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

// settle takes what a batch of size tokens brought. It returns true if the batch is of no use, because its tokens can't be held any more.
func (e *lease) settle(b *batch, size int64, sent, answered, hold time.Duration) (late bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.state == leaseEnded {
		return false
	}
	e.state, e.batch = leaseIdle, nil
	switch {
	case b.err != nil:
	case !b.result.Allowed:
		e.direct.Store(int64(sent + hold/8))
	case answered-sent >= hold:
		e.direct.Store(int64(answered + hold))
		return true
	default:
		e.taken, e.answered = sent, answered
		e.last.Store(&b.result)
		e.until.Store(int64(sent + hold))
		e.tokens.Add(size)
	}
	return false
}

// expired reports whether Hold has passed.
func (e *lease) expired(now time.Duration) bool { return int64(now) >= e.until.Load() }

// end ends an idle lease, or any lease if always is set, and returns what it held.
func (e *lease) end(key string, always bool) (surplus, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.state == leaseEnded || e.state == leaseFetching && !always {
		return surplus{}, false
	}
	e.state, e.batch = leaseEnded, nil
	e.until.Store(0)
	return surplus{key, e.tokens.Swap(noTokens), e.taken, e.answered}, true
}
