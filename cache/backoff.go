package cache

import (
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// backoff remembers in which keys a refresh has failed, so that not every read of a stale entry asks a source that is
// broken. It is this process' own: that of all processes only one refreshes at a time is what the lease is for.
type backoff struct {
	now func() time.Duration

	some atomic.Bool // anything is remembered
	mu   sync.Mutex
	keys map[string]trouble
	// others is what all keys share that keys has no room for.
	others trouble
	swept  time.Duration
}

// trouble is what is known of a key whose last refresh failed.
type trouble struct {
	wait  time.Duration // the last, zero for none
	until time.Duration
}

const (
	backoffFirst = 200 * time.Millisecond
	backoffMax   = 10 * time.Second
	maxTroubled  = 10_000
)

// after is the trouble that one more failure makes: it waits twice as long, less up to a half by chance.
func (t trouble) after(now time.Duration) trouble {
	wait := backoffFirst
	if !t.old(now) {
		wait = min(2*t.wait, backoffMax)
	}
	return trouble{wait: wait, until: now + wait/2 + rand.N(wait/2+1)}
}

// old reports that the last failure is too long ago to delay another try.
func (t trouble) old(now time.Duration) bool { return t.wait == 0 || now >= t.until+backoffMax }

// holds reports that key is not to be refreshed yet.
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

// failed notes that a refresh of key has.
func (b *backoff) failed(key string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.some.Store(true)
	now := b.now()
	t, known := b.keys[key]
	if !known && len(b.keys) >= maxTroubled && !b.sweep(now) {
		b.others = b.others.after(now)
		return
	}
	if b.keys == nil {
		b.keys = make(map[string]trouble)
	}
	b.keys[strings.Clone(key)] = t.after(now) // the caller's may be a part of a request
}

// sweep makes room, and reports whether there is some.
func (b *backoff) sweep(now time.Duration) bool {
	if now < b.swept+backoffFirst { // not for every failure
		return false
	}
	b.swept = now
	for key, t := range b.keys {
		if t.old(now) {
			delete(b.keys, key)
		}
	}
	return len(b.keys) < maxTroubled
}

// succeeded notes that the source is well, as far as key goes.
func (b *backoff) succeeded(key string) {
	if b.some.Load() {
		b.mu.Lock()
		defer b.mu.Unlock()
		if _, known := b.keys[key]; !known {
			b.others = trouble{}
		}
		b.drop(key)
	}
}

// changed lets key be refreshed at once, whatever was: it is another entry now.
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
