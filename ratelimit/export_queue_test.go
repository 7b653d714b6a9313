package ratelimit

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// Queue is the queues of Wait with a bucket in memory in place of Redis, for virtual time.
type Queue struct {
	queues *queues
	bucket Local
	began  time.Time
	ended  context.CancelFunc
	ctx    context.Context
	served sync.WaitGroup

	// Asked counts requests, Charged the tokens that they took, Refunded the returned tokens.
	Asked, Charged, Refunded atomic.Int64
	// Fail is the error of every request; Latency is how long one takes.
	Fail    atomic.Pointer[error]
	Latency time.Duration
}

// NewQueue returns a Queue for so many waiters per key. Close it.
func NewQueue(waiters int, open bool, rules ...Rule) *Queue {
	q := &Queue{bucket: NewLocal(GCRA, 1, rules...), began: time.Now()}
	q.ctx, q.ended = context.WithCancel(context.Background())
	l := &Limiter{plan: q.bucket.plan}
	q.queues = &queues{
		plan: q.bucket.plan, limit: waiters, open: open, keys: map[string]*queue{},
		ask:    q.ask,
		refund: func(_ string, n int64) { q.Refunded.Add(n) },
		start: func(serve func(context.Context)) bool {
			if q.ctx.Err() != nil {
				return false
			}
			q.served.Go(func() { serve(q.ctx) })
			return true
		},
		next: l.nextToken,
	}
	return q
}

func (q *Queue) ask(_ context.Context, key string, n int64) (Result, error) {
	q.Asked.Add(1)
	time.Sleep(q.Latency)
	if fail := q.Fail.Load(); fail != nil {
		if q.queues.open {
			return q.queues.plan.degradedResult(), nil
		}
		return Result{}, *fail
	}
	result := q.Take(key, n)
	if result.Allowed {
		q.Charged.Add(n)
	}
	return result, nil
}

// Take is a charge by another process.
func (q *Queue) Take(key string, n int64) Result {
	result := q.bucket.Allow(key, n, time.Since(q.began))
	result.Degraded = false
	return result
}

// Wait is Limiter.Wait.
func (q *Queue) Wait(ctx context.Context, key string) error {
	_, err := q.queues.wait(ctx, key)
	return err
}

// Waiting returns how many callers wait for a key, and Keys how many keys have a queue.
func (q *Queue) Waiting(key string) int {
	q.queues.mu.Lock()
	defer q.queues.mu.Unlock()
	if w := q.queues.keys[key]; w != nil {
		return w.count
	}
	return 0
}

func (q *Queue) Keys() int {
	q.queues.mu.Lock()
	defer q.queues.mu.Unlock()
	return len(q.queues.keys)
}

// Close ends the server of the queues, as the client's Close does.
func (q *Queue) Close() {
	q.ended()
	q.served.Wait()
}

// Waiting returns how many callers of this limiter wait for a key.
func (l *Limiter) Waiting(key string) int { return (&Queue{queues: l.queues}).Waiting(key) }

// RetryAfter parses the field.
func RetryAfter(value string, now time.Time) time.Duration { return retryAfter(value, now) }
