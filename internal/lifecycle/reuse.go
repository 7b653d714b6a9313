package lifecycle

import (
	"context"
	"runtime/pprof"
	"time"
)

// idlePool holds goroutines that wait for their next function. A new goroutine grows its stack in
// several steps, and each step copies the stack. Reuse saves a seventh of the processor time of a
// cache miss.
type idlePool struct {
	idle     []chan task
	fewest   int // smallest number of waiting goroutines since the last check
	check    *time.Timer
	checking bool // check is active
}

// task is one call of [Group.Go].
type task struct {
	name string
	fn   func(ctx context.Context)
}

const (
	maxIdle    = 512
	checkEvery = 5 * time.Second
)

// take returns the channel of a waiting goroutine, or nil if none waits. All methods of idlePool
// need the group's lock.
func (p *idlePool) take() chan task {
	n := len(p.idle) - 1
	if n < 0 {
		return nil
	}
	in := p.idle[n]
	p.idle[n] = nil
	p.idle = p.idle[:n]
	p.fewest = min(p.fewest, n)
	return in
}

// end ends all waiting goroutines.
func (p *idlePool) end() {
	p.dismiss(len(p.idle))
	if p.check != nil {
		p.check.Stop()
	}
}

// dismiss ends the first n goroutines of the list. They have waited longest.
func (p *idlePool) dismiss(n int) {
	for _, in := range p.idle[:n] {
		close(in)
	}
	left := copy(p.idle, p.idle[n:])
	clear(p.idle[left:])
	p.idle = p.idle[:left]
	p.fewest = left
}

// serve runs a task, and further tasks while the group keeps the goroutine.
func (g *Group) serve(t task) {
	in := make(chan task, 1) // with space for one task, so that Go does not wait
	for ok := true; ok; t, ok = <-in {
		if !g.run(t, in) {
			return
		}
		t = task{}
	}
}

// run reports whether the goroutine waits for another function.
func (g *Group) run(t task, in chan task) (waits bool) {
	returned := false
	defer func() { // also when fn panics or calls runtime.Goexit
		g.mu.Lock()
		defer g.mu.Unlock()
		g.ended(t.name)
		waits = returned && g.waitForTask(in)
	}()
	pprof.SetGoroutineLabels(g.ctx) // without the labels of the goroutine that called Go
	t.fn(g.ctx)
	returned = true
	return waits
}

// waitForTask reports false if the goroutine must end.
func (g *Group) waitForTask(in chan task) bool {
	p := &g.reuse
	if g.closed || len(p.idle) >= maxIdle {
		return false
	}
	p.idle = append(p.idle, in)
	switch {
	case p.checking:
	case p.check == nil:
		p.check = time.AfterFunc(checkEvery, g.dismissIdle)
	default:
		p.check.Reset(checkEvery)
	}
	p.checking = true
	return true
}

// dismissIdle ends the goroutines that were not needed since the last check.
func (g *Group) dismissIdle() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return
	}
	p := &g.reuse
	p.dismiss(p.fewest)
	if p.checking = len(p.idle) > 0; p.checking {
		p.check.Reset(checkEvery)
	}
}
