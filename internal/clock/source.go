// Package clock is the time by which a client decides: whether a lease is over, a limit is free
// again or an entry is too old. A test kit moves it together with the time of the server.
//
// The limits of calls do not use it. A call that waits for a reply has the same time, whatever a
// test does with the clock.
package clock

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// Source is a time that a test can move forward. The server and the clients of a test share one
// Source, so they decide by the same time. A nil Source is the time of the machine.
type Source struct {
	ahead atomic.Int64

	mu      sync.Mutex
	timers  map[*Timer]struct{} // timers that may not have fired
	pruneAt int                 // number of timers at which those that have fired are removed
	fired   time.Duration       // what was added when Fire ran last
}

// NewSource returns a source that shows the time of the machine until [Source.Add] moves it.
func NewSource() *Source {
	return &Source{timers: make(map[*Timer]struct{}), pruneAt: pruneMin}
}

// Now returns the time. Its monotonic and its wall reading are moved alike.
func (s *Source) Now() time.Time {
	if s == nil {
		return time.Now()
	}
	return time.Now().Add(s.Ahead())
}

// Ahead returns how far the source is ahead of the machine.
func (s *Source) Ahead() time.Duration {
	if s == nil {
		return 0
	}
	return time.Duration(s.ahead.Load())
}

// Add moves the time forward by d. It takes effect at once for all users of the source, because it
// is one store. The caller calls [Source.Fire] afterwards.
func (s *Source) Add(d time.Duration) { s.ahead.Add(int64(d)) }

// Fire ends the timers that are due after [Source.Add], and shortens the others. It is separate
// from Add, so that a server can remove expired keys in between. The code that a timer wakes then
// does not find them.
func (s *Source) Fire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fired = s.Ahead()
	now := time.Now().Add(s.fired)

	for t := range s.timers {
		if !t.timer.Stop() { // it has fired without the move: a Reset would fire it twice
			delete(s.timers, t)
			continue
		}
		t.timer.Reset(max(t.at.Sub(now), 0))
	}
}

type contextKey struct{}

// Context returns a context that carries the source to a server that is started with it.
func (s *Source) Context(ctx context.Context) context.Context {
	return context.WithValue(ctx, contextKey{}, s)
}

// From returns the source of a context, or nil.
func From(ctx context.Context) *Source {
	s, _ := ctx.Value(contextKey{}).(*Source)
	return s
}
