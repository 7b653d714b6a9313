package session

import (
	"context"
	"time"
)

// lines are where writers of this process queue that met a conflict on one session: one at a time tries again, instead of
// all of them each time, which would be a write and n-1 refusals per success. Without a conflict nobody queues.
type lines [64]chan struct{}

// maxWait is how long a writer queues: politeness, not exclusion. A change that itself waits for
// another change must not wait for ever, and the versions decide anyway.
const maxWait = 250 * time.Millisecond

func (l *lines) init() {
	for i := range l {
		l[i] = make(chan struct{}, 1)
	}
}

// join waits for the session's turn. Call leave in any case.
func (l *lines) join(ctx context.Context, id string) (leave func(), waited bool) {
	line := l[id[0]&7<<3|id[1]&7] // of a random id
	select {
	case line <- struct{}{}:
		return func() { <-line }, false
	default:
	}
	timer := time.NewTimer(maxWait)
	defer timer.Stop()
	select {
	case line <- struct{}{}:
		return func() { <-line }, true
	case <-timer.C:
	case <-ctx.Done():
	}
	return func() {}, true
}
