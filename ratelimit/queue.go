package ratelimit

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/redstart-go/redstart/internal/clock"
	"github.com/redstart-go/redstart/internal/fault"
)

// queues are the waiters of one plan in this process: one FIFO queue per key.
//
// A queue is in the table while exactly one goroutine serves it. This is the caller that found no
// queue, or the server that this caller starts when others wait too. Only that goroutine asks for
// tokens, so no waiter overtakes another.
type queues struct {
	plan  *plan
	limit int // maximum number of waiters per key
	time  *clock.Source
	open  bool // FailOpen: a degraded answer admits all waiters

	ask    func(ctx context.Context, key string, n int64) (Result, error)
	refund func(key string, n int64)
	start  func(serve func(ctx context.Context)) bool // false: the client is closed
	// after an answer that leaves no token: earliest time of the next token
	next func(Result) time.Duration

	mu   sync.Mutex
	keys map[string]*queue
}

// queue is the queue of one key. queues.mu guards all fields.
type queue struct {
	key         string
	first, last *waiter
	count       int
	emptied     chan struct{} // receives when the last waiter left

	// From the last answer: room tokens are available at ready, and rule is the binding rule.
	// Before the first answer, room is unknownRoom.
	ready time.Time
	room  int64
	binds string
}

const (
	unknownRoom    = math.MaxInt64
	defaultWaiters = 10_000
)

var errQueueClosed = fault.New(fault.ErrUnavailable, errors.New("the client was closed while the call waited"), "")

// waiter is one caller in a queue.
type waiter struct {
	before, after *waiter
	queued        bool
	deadline      time.Time // zero: no deadline
	done          chan struct{}
	err           error // set before done is closed; nil: one token was charged
}

func newWaiter(ctx context.Context) *waiter {
	deadline, _ := ctx.Deadline()
	return &waiter{deadline: deadline, done: make(chan struct{})}
}

// wait returns when one token of key was charged for this caller. queued reports that the caller
// was a waiter in the queue.
func (qs *queues) wait(ctx context.Context, key string) (queued bool, err error) {
	q, w, err := qs.join(ctx, key)
	if err != nil {
		return false, err
	}

	if w == nil {
		if w, err = qs.serveFirst(ctx, q); w == nil {
			return false, err
		}
	}

	select {
	case <-w.done:
		return true, w.err
	case <-ctx.Done():
		return true, qs.remove(ctx, q, w)
	}
}

// join appends a waiter to the key's queue. If there is no queue, it creates one, which the caller
// must serve. Then the waiter is nil.
func (qs *queues) join(ctx context.Context, key string) (*queue, *waiter, error) {
	qs.mu.Lock()
	defer qs.mu.Unlock()
	q := qs.keys[key]
	if q == nil {
		q = &queue{key: key, emptied: make(chan struct{}, 1), room: unknownRoom}
		qs.keys[key] = q
		return q, nil, nil
	}

	w := newWaiter(ctx)
	after := qs.estimate(q, q.count)
	if q.count >= qs.limit {
		return nil, nil, &WaitError{reason: ErrQueueFull, Rule: q.binds, RetryAfter: after}
	}

	if w.tooLate(after) {
		return nil, nil, &WaitError{reason: ErrDeadline, Rule: q.binds, RetryAfter: after}
	}

	q.append(w)
	return q, w, nil
}

// estimate returns the earliest time, from now, at which the waiter with ahead others before it is
// admitted.
func (qs *queues) estimate(q *queue, ahead int) time.Duration {
	if q.room == unknownRoom {
		return 0
	}
	after := qs.plan.delay(q.binds, max(0, int64(ahead)-q.room))
	if until := qs.time.Until(q.ready); until > 0 {
		after += min(until, math.MaxInt64-after)
	}
	return after
}

func (w *waiter) tooLate(after time.Duration) bool {
	return !w.deadline.IsZero() && time.Until(w.deadline) < after
}

// serveFirst asks on the goroutine of the caller that found no queue. This takes one round trip and
// no goroutine if no other caller waits. If the answer is a refusal, the caller becomes the first
// waiter, which is returned.
func (qs *queues) serveFirst(ctx context.Context, q *queue) (*waiter, error) {
	result, err := qs.ask(ctx, q.key, 1)
	qs.mu.Lock()
	defer qs.mu.Unlock()
	if err != nil {
		if ctx.Err() == nil {
			q.failAll(err)
		}
		qs.resume(q, 0)
		return nil, err
	}

	if result.Allowed {
		pause := qs.noteAnswer(q, result)
		if result.Degraded && q.room == unknownRoom {
			q.grant(math.MaxInt)
		}
		qs.resume(q, pause)
		return nil, nil
	}

	w := newWaiter(ctx)
	q.prepend(w)
	qs.resume(q, qs.noteAnswer(q, result))
	return w, nil
}

// resume removes an empty queue, and starts the server of any other queue.
func (qs *queues) resume(q *queue, pause time.Duration) {
	if q.count == 0 {
		delete(qs.keys, q.key)
		return
	}
	if !qs.start(func(ctx context.Context) { qs.serve(ctx, q, pause) }) {
		q.failAll(errQueueClosed)
		delete(qs.keys, q.key)
	}
}

// noteAnswer stores when the next tokens come. It ends the waiters that cannot be admitted before
// their deadline, and returns the pause before the next request.
func (qs *queues) noteAnswer(q *queue, result Result) (pause time.Duration) {
	firstAnswer := q.room == unknownRoom
	switch {
	case result.Allowed && result.Degraded && qs.open:
		q.room = unknownRoom
		return 0
	case result.Allowed:
		q.room, pause = result.Remaining, 0
		if q.room == 0 {
			pause = qs.next(result)
		}
	default:
		q.room, pause = 0, result.RetryAfter
	}

	q.ready, q.binds = qs.time.Now().Add(pause), result.Rule

	ahead := 0
	for w := q.first; w != nil; {
		after := w.after
		if late := qs.estimate(q, ahead); w.tooLate(late) {
			q.end(w, &WaitError{reason: ErrDeadline, Rule: q.binds, RetryAfter: late})
		} else if ahead++; !firstAnswer { // later waiters were checked when they joined
			break
		}
		w = after
	}

	return min(pause, askAfter) // so that Reset and Refund of other processes are noticed
}

// serve charges tokens for the waiters, in order, until the queue is empty.
func (qs *queues) serve(ctx context.Context, q *queue, pause time.Duration) {
	for {
		if pause > 0 {
			qs.sleep(ctx, q, pause)
		}
		n := qs.wanted(ctx, q)
		if n == 0 {
			return
		}

		result, err := qs.ask(ctx, q.key, n)
		if err == nil && !result.Allowed && n > 1 { // another process took some of the tokens
			pause = qs.noteRefusal(q, min(n/2, result.Remaining))
			continue
		}
		pause = qs.handOut(ctx, q, n, result, err)
	}
}

// sleep returns earlier if the queue becomes empty or the client closes.
func (qs *queues) sleep(ctx context.Context, q *queue, pause time.Duration) {
	timer := qs.time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-q.emptied:
	case <-ctx.Done():
	}
}

// wanted returns how many tokens to request. It is 0 if the queue is empty and was removed.
func (qs *queues) wanted(ctx context.Context, q *queue) int64 {
	qs.mu.Lock()
	defer qs.mu.Unlock()
	if ctx.Err() != nil {
		q.failAll(errQueueClosed)
	}

	if q.count == 0 {
		delete(qs.keys, q.key)
		return 0
	}

	if q.room == unknownRoom {
		return 1
	}

	return max(1, min(int64(q.count), q.room, qs.plan.most))
}

// noteRefusal corrects the room after a refusal of several tokens. Such a refusal does not say when
// one token is available.
func (qs *queues) noteRefusal(q *queue, n int64) time.Duration {
	qs.mu.Lock()
	defer qs.mu.Unlock()
	q.room = n
	return 0
}

// handOut gives the charged tokens to waiters, and returns the pause before the next request.
// Tokens of waiters that left in the meantime are returned.
func (qs *queues) handOut(ctx context.Context, q *queue, n int64, result Result, err error) time.Duration {
	qs.mu.Lock()
	defer qs.mu.Unlock()
	if err != nil {
		if ctx.Err() != nil {
			err = errQueueClosed
		}
		q.failAll(err)
		return 0
	}

	if result.Allowed {
		granted := q.grant(int(n))
		if surplus := n - int64(granted); surplus > 0 && !result.Degraded {
			qs.start(func(context.Context) { qs.refund(q.key, surplus) })
		}
	}

	pause := qs.noteAnswer(q, result)
	if q.room == unknownRoom {
		q.grant(math.MaxInt)
	}

	if q.count == 0 { // the server of the queue ends
		return 0
	}

	return pause
}

// remove removes a waiter whose context ended. The next waiter gets its position. A waiter that was
// admitted before keeps its token.
func (qs *queues) remove(ctx context.Context, q *queue, w *waiter) error {
	qs.mu.Lock()
	queued := w.queued
	if queued {
		q.end(w, nil)
		if q.count == 0 {
			select {
			case q.emptied <- struct{}{}:
			default:
			}
		}
	}

	qs.mu.Unlock()
	if queued {
		return fmt.Errorf("ratelimit: wait: %w", ctx.Err())
	}

	<-w.done
	return w.err
}

func (q *queue) append(w *waiter) {
	w.before, w.queued = q.last, true
	if q.last == nil {
		q.first = w
	} else {
		q.last.after = w
	}
	q.last = w
	q.count++
}

func (q *queue) prepend(w *waiter) {
	w.after, w.queued = q.first, true
	if q.first == nil {
		q.last = w
	} else {
		q.first.before = w
	}
	q.first = w
	q.count++
}

// end removes a waiter and ends its call.
func (q *queue) end(w *waiter, err error) {
	if w.before == nil {
		q.first = w.after
	} else {
		w.before.after = w.after
	}

	if w.after == nil {
		q.last = w.before
	} else {
		w.after.before = w.before
	}

	w.before, w.after, w.queued = nil, nil, false
	q.count--
	w.err = err
	close(w.done)
}

// grant admits up to n waiters.
func (q *queue) grant(n int) (granted int) {
	for ; q.first != nil && granted < n; granted++ {
		q.end(q.first, nil)
	}
	return granted
}

func (q *queue) failAll(err error) {
	for q.first != nil {
		q.end(q.first, err)
	}
}
