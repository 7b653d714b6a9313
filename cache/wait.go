package cache

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

// waiters are the loads of this process that wait for another process' load. A push for the value or
// the lease wakes them.
type waiters struct {
	mu    sync.Mutex
	byKey map[string][]chan struct{}
}

// add registers a waiter, which may wait for several keys. It comes before the question whose answer may be "wait", so that a
// push which overtakes the answer is not missed.
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

// wake has those who wait for key ask again. It does not block.
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

// How long a waiter trusts that a push will come, and how often it asks where there are none.
const (
	pollTracked = time.Second
	pollFirst   = 8 * time.Millisecond
	pollMax     = 100 * time.Millisecond
)

// patience says how long a waiter waits before it asks again.
type patience struct {
	tracked bool
	next    time.Duration
}

// step is the wait before the next question, given what is left of the lease that stands in the way.
// It is spread out, so that processes which began together don't ask together.
func (p *patience) step(left time.Duration) time.Duration {
	wait := pollTracked
	if !p.tracked {
		wait = max(p.next, pollFirst)
		p.next = min(wait*3/2, pollMax)
	}
	wait = wait/2 + rand.N(wait/2+1)
	return min(wait, left+time.Millisecond+rand.N(5*time.Millisecond))
}

// sleep waits for a wake-up or a time, and reports false if ctx ended.
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
