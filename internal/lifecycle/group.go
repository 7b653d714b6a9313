// Package lifecycle owns goroutines. The owner of a goroutine can stop it and wait for its end.
package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// ErrClosed is the cause with which the context of a [Group] ends.
var ErrClosed = errors.New("closed")

// Group is a set of named goroutines that end together. Make it with [New].
type Group struct {
	ctx    context.Context
	cancel context.CancelCauseFunc

	mu      sync.Mutex
	closed  bool
	running map[string]int
	work    *work
	idle    chan struct{} // closed when the last goroutine of a closed group ends
	reuse   idlePool
}

// New returns an empty group.
func New() *Group {
	return newGroup(&work{running: make(map[string]int)})
}

// Sub returns an empty group that closes on its own. Its background work counts in [Group.Settle]
// of this group.
func (g *Group) Sub() *Group { return newGroup(g.work) }

func newGroup(w *work) *Group {
	g := &Group{running: make(map[string]int), work: w, idle: make(chan struct{})}
	g.ctx, g.cancel = context.WithCancelCause(context.Background())
	return g
}

// Context returns the group's context. It ends with the cause [ErrClosed] when the group closes.
func (g *Group) Context() context.Context { return g.ctx }

// Go runs fn on a goroutine of the group. fn must return when its context ends. If the group is
// closed, Go reports false and does not run fn. The name appears in the error of [Group.Close].
//
// The goroutine has no profiler labels. It may have run other functions before.
func (g *Group) Go(name string, fn func(ctx context.Context)) bool {
	g.mu.Lock()
	if g.closed {
		g.mu.Unlock()
		return false
	}
	g.running[name]++
	waiting := g.reuse.take()
	g.mu.Unlock()
	if waiting != nil {
		waiting <- task{name, fn}
	} else {
		go g.serve(task{name, fn})
	}
	return true
}

// Close ends the group's context and waits, at most for limit. The error names the goroutines that
// have not returned by then. They continue to run.
func (g *Group) Close(limit time.Duration) error {
	g.mu.Lock()
	if !g.closed {
		g.closed = true
		g.cancel(ErrClosed)
		g.reuse.end()
		if len(g.running) == 0 {
			close(g.idle)
		}
	}
	g.mu.Unlock()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-g.idle:
		return nil
	case <-timer.C:
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.running) == 0 {
		return nil
	}
	return fmt.Errorf("still running after %v: %s (a callback that ignores its context?)", limit, namesOf(g.running))
}

// ended removes a goroutine from the list. The group's lock is held.
func (g *Group) ended(name string) {
	if g.running[name]--; g.running[name] == 0 {
		delete(g.running, name)
	}
	if g.closed && len(g.running) == 0 {
		close(g.idle)
	}
}

// namesOf returns the names of goroutines, with their numbers.
func namesOf(running map[string]int) string {
	var names []string
	for name, n := range running {
		if n > 1 {
			name = fmt.Sprintf("%s (%d)", name, n)
		}
		names = append(names, name)
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}
