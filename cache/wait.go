package cache

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

// waiters are the loads of this process that wait for a load of another process. A push for the
// value or for the lease wakes them.
type waiters struct {
	mu    sync.Mutex
	byKey map[string][]chan struct{}
}

// add registers a waiter, which may wait for several keys. It comes before the read whose answer
// may be "wait": a push that overtakes the answer is then not missed.
func (w *waiters) add(key string, wake chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.byKey == nil {
		w.byKey = make(map[string][]chan struct{})
	}
	w.byKey[key] = append(w.byKey[key], wake)
}

func (w *waiters) remove(key string, wake chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := w.byKey[key]
	for i, other := range all {
		if other == wake {
			all[i] = all[len(all)-1]
			all = all[:len(all)-1]
			break
		}
	}
	if len(all) == 0 {
		delete(w.byKey, key)
	} else {
		w.byKey[key] = all
	}
}

// wake wakes the waiters of a key. It does not block.
func (w *waiters) wake(key string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, wake := range w.byKey[key] {
		rouse(wake)
	}
}

func (w *waiters) wakeAll() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, all := range w.byKey {
		for _, wake := range all {
			rouse(wake)
		}
	}
}

func rouse(wake chan struct{}) {
	select {
	case wake <- struct{}{}:
	default:
	}
}

// Times after which a waiter reads again: with pushes, and without pushes.
const (
	pollTracked = time.Second
	pollFirst   = 8 * time.Millisecond
	pollMax     = 100 * time.Millisecond
)

// patience computes how long a waiter waits before it reads again.
type patience struct {
	tracked bool
	next    time.Duration
}

// step returns the wait before the next read. left is the rest of the lease that it waits for. The
// wait is random, so that processes that began together don't read together.
func (p *patience) step(left time.Duration) time.Duration {
	wait := pollTracked
	if !p.tracked {
		wait = max(p.next, pollFirst)
		p.next = min(wait*3/2, pollMax)
	}
	wait = wait/2 + rand.N(wait/2+1)
	return min(wait, left+time.Millisecond+rand.N(5*time.Millisecond))
}

// sleep waits for a wake-up or a duration. It reports false if ctx ended.
func sleep(ctx context.Context, wake <-chan struct{}, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-wake:
		return true
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
