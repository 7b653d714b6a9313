// Package hub receives the pushes of the servers for one client, and passes them to the patterns.
// Invalidations of tracked keys are passed by key space, and Pub/Sub messages by channel. All
// channels of one node share one Pub/Sub connection.
package hub

import (
	"strings"
	"sync"
	"sync/atomic"
)

// Tracker is notified of changes to the keys of one space that were read on the tracked connection.
// The connection's reader calls both methods, so they must not block.
type Tracker interface {
	// Invalidate reports that a key has changed or expired.
	Invalidate(key string)
	// Flush reports that any key may have changed, because the tracked connection was lost or the
	// server was flushed.
	Flush()
}

// Hub dispatches pushes. Make it with [New].
type Hub struct {
	mu       sync.Mutex
	trackers atomic.Pointer[map[string][]Tracker]
	flushes  atomic.Int64

	pubsub
}

// New returns a hub. It subscribes through source.
func New(source Source) *Hub {
	h := &Hub{}
	h.trackers.Store(&map[string][]Tracker{})
	h.pubsub.init(source)
	return h
}

// Track registers t for all keys of a space. space is keys.Space.Prefix, the part before the first
// brace. The returned function removes t.
func (h *Hub) Track(space string, t Tracker) (stop func()) {
	h.change(func(m map[string][]Tracker) { m[space] = append(m[space][:len(m[space]):len(m[space])], t) })
	return sync.OnceFunc(func() {
		h.change(func(m map[string][]Tracker) {
			var rest []Tracker
			for _, other := range m[space] {
				if other != t {
					rest = append(rest, other)
				}
			}
			if m[space] = rest; rest == nil {
				delete(m, space)
			}
		})
	})
}

// Flushes returns how often all keys were invalidated at once.
func (h *Hub) Flushes() int64 { return h.flushes.Load() }

// Flush reports to all trackers that any key may have changed.
func (h *Hub) Flush() {
	h.flushes.Add(1)
	for _, ts := range *h.trackers.Load() {
		for _, t := range ts {
			t.Flush()
		}
	}
}

// Invalidate reports to the trackers of a key's space that the server has pushed the key.
func (h *Hub) Invalidate(key string) {
	for _, t := range (*h.trackers.Load())[space(key)] {
		t.Invalidate(key)
	}
}

// Announce reports to the trackers of a key's space, except by, that this process has changed the
// key. The push of the server comes later, or does not come at all (NOLOOP).
func (h *Hub) Announce(key string, by Tracker) {
	for _, t := range (*h.trackers.Load())[space(key)] {
		if t != by {
			t.Invalidate(key)
		}
	}
}

// space returns the part before the first brace. All keys of a space share it.
func space(key string) string {
	if i := strings.IndexByte(key, '{'); i >= 0 {
		return key[:i]
	}
	return key
}

func (h *Hub) change(edit func(map[string][]Tracker)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	next := make(map[string][]Tracker)
	for k, v := range *h.trackers.Load() {
		next[k] = v
	}
	edit(next)
	h.trackers.Store(&next)
}
