package session

import (
	"context"
	"time"
)

// queues make writers of this process wait that met a conflict on one session. One writer at a time
// tries again. Without the queue, n writers would retry at the same time, and n-1 of their writes
// would be refused. A writer without a conflict never waits. Sessions share 64 queues by the first
// bits of their id.
type queues [64]chan struct{}

// maxWait bounds the time in a queue. The queue saves writes, but correctness does not depend on
// it, because save.lua compares versions. The bound lets a change that waits for another change
// make progress.
const maxWait = 250 * time.Millisecond

func (q *queues) init() {
	for i := range q {
		q[i] = make(chan struct{}, 1)
	}
}

// enter waits until the queue of the session is free, at most maxWait. Call leave in any case.
func (q *queues) enter(ctx context.Context, id string) (leave func(), waited bool) {
	queue := q[id[0]&7<<3|id[1]&7] // ids are random
	select {
	case queue <- struct{}{}:
		return func() { <-queue }, false
	default:
	}

	timer := time.NewTimer(maxWait)
	defer timer.Stop()
	select {
	case queue <- struct{}{}:
		return func() { <-queue }, true
	case <-timer.C:
	case <-ctx.Done():
	}
	return func() {}, true
}
