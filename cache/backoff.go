package cache

import (
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// backoff remembers the keys whose refresh failed. A failing source is then not asked on every read
// of a stale entry. Each process has its own; the lease lets one process refresh a key at a time.
type backoff struct {
	now func() time.Duration

	some atomic.Bool // something is remembered
	mu   sync.Mutex
	keys map[string]retryState
	// others is shared by all keys for which keys has no room.
	others retryState
	swept  time.Duration
}

// retryState is the state of a key whose last refresh failed.
type retryState struct {
	wait  time.Duration // the last wait; 0 for none
	until time.Duration
}

const (
	backoffFirst  = 200 * time.Millisecond
	backoffMax    = 10 * time.Second
	maxFailedKeys = 10_000
)

// after returns the state after one more failure. The wait doubles, less a random part of up to a
// half.
func (t retryState) after(now time.Duration) retryState {
	wait := backoffFirst
	if !t.old(now) {
		wait = min(2*t.wait, backoffMax)
	}
	return retryState{wait: wait, until: now + wait/2 + rand.N(wait/2+1)}
}

// old reports whether the last failure is too long ago to delay a refresh.
func (t retryState) old(now time.Duration) bool { return t.wait == 0 || now >= t.until+backoffMax }

// holds reports whether key may not be refreshed yet.
func (b *backoff) holds(key string) bool {
	if !b.some.Load() {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	t, known := b.keys[key]
	if !known {
		t = b.others
	}
	return b.now() < t.until
}

// failed records a failed refresh of key.
func (b *backoff) failed(key string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.some.Store(true)
	now := b.now()
	t, known := b.keys[key]
	if !known && len(b.keys) >= maxFailedKeys && !b.sweep(now) {
		b.others = b.others.after(now)
		return
	}
	if b.keys == nil {
		b.keys = make(map[string]retryState)
	}
	b.keys[strings.Clone(key)] = t.after(now) // cloned: the key may be a part of a request
}

// sweep removes old states. It reports whether there is room.
func (b *backoff) sweep(now time.Duration) bool {
	if now < b.swept+backoffFirst { // not after every failure
		return false
	}
	b.swept = now
	for key, t := range b.keys {
		if t.old(now) {
			delete(b.keys, key)
		}
	}
	return len(b.keys) < maxFailedKeys
}

// succeeded records that the source has answered for key.
func (b *backoff) succeeded(key string) {
	if b.some.Load() {
		b.mu.Lock()
		defer b.mu.Unlock()
		if _, known := b.keys[key]; !known {
			b.others = retryState{}
		}
		b.drop(key)
	}
}

// changed allows a refresh of key at once: the key now has another entry.
func (b *backoff) changed(key string) {
	if b.some.Load() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.drop(key)
	}
}

func (b *backoff) drop(key string) {
	delete(b.keys, key)
	b.some.Store(len(b.keys) > 0 || b.others.wait > 0)
}
