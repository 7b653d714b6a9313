package console

import (
	"context"
	"sync"
	"time"
)

// sharedLimit bounds one shared reading. A page does not wait for its end: see shared.get.
const sharedLimit = 5 * time.Second

// shared is a reading that all viewers of all pages share, because it asks each node. At most one
// reading runs at a time, in a goroutine of the console.
type shared[T any] struct {
	name  string                                                // of the goroutine
	age   time.Duration                                         // a younger state is used again
	start func(name string, run func(ctx context.Context)) bool // false after Close
	read  func(ctx context.Context) (T, error)

	mu      sync.Mutex
	state   section[T]    // what the last reading left
	due     time.Time     // when the next reading may begin
	running chan struct{} // closed when the running reading ends; nil while none runs
}

// get returns the state, and begins a reading if one is due. It waits for a running reading, at
// most for readTimeout, so that a distant server does not delay the page.
func (s *shared[T]) get(ctx context.Context) section[T] {
	if running := s.begin(); running != nil {
		within, cancel := context.WithTimeout(ctx, readTimeout)
		defer cancel()
		select {
		case <-running:
		case <-within.Done():
		}
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	state := s.state
	state.Waits = !state.Has && state.Problem == ""
	return state
}

// begin returns the end of the running reading, or of a new one. It returns nil if none is due.
func (s *shared[T]) begin() chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running != nil || time.Now().Before(s.due) {
		return s.running
	}
	ended := make(chan struct{})
	if s.start(s.name, func(ctx context.Context) { s.run(ctx, ended) }) {
		s.running = ended
	}
	return s.running
}

// run reads once.
func (s *shared[T]) run(ctx context.Context, ended chan struct{}) {
	within, cancel := context.WithTimeout(ctx, sharedLimit)
	defer cancel()
	began := time.Now()
	value, err := s.read(within)

	s.mu.Lock()
	defer s.mu.Unlock()
	defer close(ended)
	s.running = nil
	s.due = time.Now().Add(max(s.age, rest*time.Since(began)))
	if err == nil {
		s.state = section[T]{Value: value, Has: true, At: time.Now()}
		return
	}
	s.due = time.Now().Add(max(interval, time.Since(began))) // soon, to see the end of an outage
	s.state.Problem = explain(err)
	s.state.Stale = s.state.Has && isOutage(err)
	if !s.state.Stale {
		s.state = section[T]{Problem: s.state.Problem}
	}
}
