// Package hub receives what servers push, once per client, and hands it to the patterns:
// invalidations of tracked keys, by key space, and Pub/Sub messages, by channel. It keeps one
// Pub/Sub connection per node however many channels there are.
package hub

import (
	"strings"
	"sync"
	"sync/atomic"
)

// Tracker is told about keys of one space that were read on the tracked connection. Both
// methods are called from the connection's reader: they must not block.
type Tracker interface {
	// Invalidate says that a key was changed, or has expired.
	Invalidate(key string)
	// Flush says that any key may have changed: the tracking
	// connection was lost, or the server was flushed.
	Flush()
}

// Hub dispatches pushes. Use New.
type Hub struct {
	mu       sync.Mutex
	trackers atomic.Pointer[map[string][]Tracker]
	flushes  atomic.Int64

	pubsub
}

// New returns a hub that subscribes through source when it is first asked to.
func New(source Source) *Hub {
	h := &Hub{}
	h.trackers.Store(&map[string][]Tracker{})
	h.pubsub.init(source)
	return h
}

// Track registers t for all keys of a space (keys.Space.Prefix: what stands before
// the first brace). The returned function ends it.
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

// Flushes counts how often everything was invalidated at once.
func (h *Hub) Flushes() int64 { return h.flushes.Load() }

// Flush says that any key may have changed: a tracked connection was lost, or the server was flushed.
func (h *Hub) Flush() {
	h.flushes.Add(1)
	for _, ts := range *h.trackers.Load() {
		for _, t := range ts {
			t.Flush()
		}
	}
}

// Invalidate says that the server has pushed the name of a key: it was changed, or has expired.
func (h *Hub) Invalidate(key string) {
	for _, t := range (*h.trackers.Load())[space(key)] {
		t.Invalidate(key)
	}
}

// Announce tells the trackers of a key's space, except the one that says it, that this process has changed
// the key: at once, where the push would take its time or not come at all.
func (h *Hub) Announce(key string, by Tracker) {
	for _, t := range (*h.trackers.Load())[space(key)] {
		if t != by {
			t.Invalidate(key)
		}
	}
}

// space is the part of a key that all keys of a space share.
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
