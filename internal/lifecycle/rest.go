package lifecycle

import (
	"context"
	"runtime/pprof"
	"time"
)

// A goroutine whose work is done rests for a while and takes the next: it has the stack already that a new one would
// have to grow, copy by copy. That was a seventh of what a cache miss cost this process.
type rest struct {
	idle    []chan task
	low     int // fewest since the last look
	look    *time.Timer
	looking bool // it runs
}

// task is one run of Go.
type task struct {
	name string
	fn   func(ctx context.Context)
}

const (
	maxIdle   = 512
	lookEvery = 5 * time.Second
)

// take returns where a resting goroutine waits, nil if none does. Like all of rest's methods it is under the group's lock.
func (r *rest) take() chan task {
	n := len(r.idle) - 1
	if n < 0 {
		return nil
	}
	in := r.idle[n]
	r.idle[n] = nil
	r.idle = r.idle[:n]
	r.low = min(r.low, n)
	return in
}

// end sends those home who rest.
func (r *rest) end() {
	r.dismiss(len(r.idle))
	if r.look != nil {
		r.look.Stop()
	}
}

// dismiss ends the first n, who have rested longest.
func (r *rest) dismiss(n int) {
	for _, in := range r.idle[:n] {
		close(in)
	}
	kept := copy(r.idle, r.idle[n:])
	clear(r.idle[kept:])
	r.idle = r.idle[:kept]
	r.low = kept
}

func (g *Group) serve(t task) {
	in := make(chan task, 1) // Go never waits for it to look
	for ok := true; ok; t, ok = <-in {
		if !g.run(t, in) {
			return
		}
		t = task{}
	}
}

// run reports whether the goroutine rests.
func (g *Group) run(t task, in chan task) (rests bool) {
	returned := false
	defer func() { // also when fn panics or calls runtime.Goexit
		g.mu.Lock()
		defer g.mu.Unlock()
		g.ended(t.name)
		rests = returned && g.lieDown(in)
	}()
	pprof.SetGoroutineLabels(g.ctx) // not those of whoever started this goroutine
	t.fn(g.ctx)
	returned = true
	return rests
}

func (g *Group) lieDown(in chan task) bool {
	r := &g.rest
	if g.closed || len(r.idle) >= maxIdle {
		return false
	}
	r.idle = append(r.idle, in)
	switch {
	case r.looking:
	case r.look == nil:
		r.look = time.AfterFunc(lookEvery, g.dismissIdle)
	default:
		r.look.Reset(lookEvery)
	}
	r.looking = true
	return true
}

// dismissIdle ends those whom nobody has needed since it was last here.
func (g *Group) dismissIdle() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return
	}
	r := &g.rest
	r.dismiss(r.low)
	if r.looking = len(r.idle) > 0; r.looking {
		r.look.Reset(lookEvery)
	}
}
