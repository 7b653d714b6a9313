package ratelimit

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/redstart-go/redstart/internal/fault"
)

// queues are the waiters of one plan in this process: one FIFO queue per key.
//
// A queue is in the table while exactly one goroutine serves it: the caller who found no queue, or the server that
// this caller starts when others wait too. Only that goroutine asks for tokens, so that no waiter overtakes another.
type queues struct {
	plan  *plan
	limit int  // waiters per key
	open  bool // FailOpen: a degraded answer admits everyone

	ask    func(ctx context.Context, key string, n int64) (Result, error)
	refund func(key string, n int64)
	start  func(serve func(ctx context.Context)) bool // false: the client is closed
	next   func(Result) time.Duration                 // after an answer that leaves nothing: when the next token comes at the earliest

	mu   sync.Mutex
	keys map[string]*queue
}

// queue is one key's. All fields are guarded by queues.mu.
type queue struct {
	key         string
	first, last *waiter
	count       int
	emptied     chan struct{} // receives when the last waiter left

	// The last answer: room tokens come at ready, of the rule binds. Before the first answer room is unknownRoom.
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
	deadline      time.Time // zero: none
	done          chan struct{}
	err           error // set before done is closed; nil: one token is charged
}

func newWaiter(ctx context.Context) *waiter {
	deadline, _ := ctx.Deadline()
	return &waiter{deadline: deadline, done: make(chan struct{})}
}

// wait returns when one token of key is charged for this caller.
func (qs *queues) wait(ctx context.Context, key string) error {
	q, w, err := qs.join(ctx, key)
	if err != nil {
		return err
	}
	if w == nil {
		if w, err = qs.serveFirst(ctx, q); w == nil {
			return err
		}
	}
	select {
	case <-w.done:
		return w.err
	case <-ctx.Done():
		return qs.leave(ctx, q, w)
	}
}

// join appends a waiter to the key's queue. If there is none, it makes one, which the caller must serve; the waiter is nil then.
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

// estimate is the earliest time, from now, at which the waiter with so many others before it is admitted.
func (qs *queues) estimate(q *queue, ahead int) time.Duration {
	if q.room == unknownRoom {
		return 0
	}
	after := qs.plan.delay(q.binds, max(0, int64(ahead)-q.room))
	if until := time.Until(q.ready); until > 0 {
		after += min(until, math.MaxInt64-after)
	}
	return after
}

func (w *waiter) tooLate(after time.Duration) bool {
	return !w.deadline.IsZero() && time.Until(w.deadline) < after
}

// serveFirst asks on the goroutine of the caller who found no queue: one round trip and no goroutine if no other waits. A refusal
// makes the caller the first waiter, which is returned.
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
		pause := qs.note(q, result)
		if result.Degraded && q.room == unknownRoom {
			q.grant(math.MaxInt)
		}
		qs.resume(q, pause)
		return nil, nil
	}

	w := newWaiter(ctx)
	q.prepend(w)
	qs.resume(q, qs.note(q, result))
	return w, nil
}

// resume removes an empty queue, and starts the server of another.
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

// note stores what an answer says about the tokens to come, ends the waiters who cannot be admitted before their deadline, and
// returns how long to pause before the next question.
func (qs *queues) note(q *queue, result Result) (pause time.Duration) {
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
	q.ready, q.binds = time.Now().Add(pause), result.Rule

	ahead := 0
	for w := q.first; w != nil; {
		after := w.after
		if late := qs.estimate(q, ahead); w.tooLate(late) {
			q.end(w, &WaitError{reason: ErrDeadline, Rule: q.binds, RetryAfter: late})
		} else if ahead++; !firstAnswer { // the others were checked when they joined
			break
		}
		w = after
	}
	return min(pause, believed) // Reset and Refund of other processes are noticed
}

// serve charges tokens for the waiters, in their order, until none is left.
func (qs *queues) serve(ctx context.Context, q *queue, pause time.Duration) {
	for {
		if pause > 0 {
			q.sleep(ctx, pause)
		}
		n := qs.wanted(ctx, q)
		if n == 0 {
			return
		}

		result, err := qs.ask(ctx, q.key, n)
		if err == nil && !result.Allowed && n > 1 { // another process took some
			pause = qs.fewer(q, min(n/2, result.Remaining))
			continue
		}
		pause = qs.settle(ctx, q, n, result, err)
	}
}

// sleep returns earlier if the queue empties or the client closes.
func (q *queue) sleep(ctx context.Context, pause time.Duration) {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-q.emptied:
	case <-ctx.Done():
	}
}

// wanted is how many tokens to ask for; 0 if the queue is empty and removed.
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

// fewer corrects the room after a refusal of several tokens, which does not say when one is admitted.
func (qs *queues) fewer(q *queue, n int64) time.Duration {
	qs.mu.Lock()
	defer qs.mu.Unlock()
	q.room = n
	return 0
}

// settle hands out what was charged, and returns the pause before the next question. Tokens of waiters who left in the meantime
// are given back.
func (qs *queues) settle(ctx context.Context, q *queue, n int64, result Result, err error) time.Duration {
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
	pause := qs.note(q, result)
	if q.room == unknownRoom {
		q.grant(math.MaxInt)
	}
	if q.count == 0 { // the server ends
		return 0
	}
	return pause
}

// leave removes a waiter whose context ended. The next one has its place. A waiter who was admitted before keeps its token.
func (qs *queues) leave(ctx context.Context, q *queue, w *waiter) error {
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

// end takes a waiter out and ends its call.
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
